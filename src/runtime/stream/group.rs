//! What goes in and out of the door that a lane takes: requests, what became of them, and what is kept
//! once their transaction with the broker is committed.

use super::changelog::BlobWriter;
use super::position::Position;
use crate::domain::Label;
use crate::runtime::decisions::{Held, Origin, Record};
use crate::runtime::entities::LabelOutcome;
use crate::runtime::scorer::Request;
use crate::runtime::store::put_label;

/// One transaction of the stream to decide.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    /// What a request says. `deadline` bounds waiting for the other door; the model has its own.
    pub request: Request,
    /// Beyond the allowed lateness: decided as of its own time, and no state changes.
    pub late: bool,
    /// A decision that stands: of another instance's REST door whose signature was checked, or made here of the same record
    /// before its partition went and came back. Taken as it is.
    pub decided: Option<Box<Record>>,
    /// Where its record lies; a request that came by REST has none.
    pub origin: Origin,
}

/// What became of one transaction of the stream.
pub enum Streamed {
    /// Decided now, or taken over from another instance: to be published.
    New(Held),
    /// Decided by the REST door here and not published yet: to be published.
    Confirmed(Held),
    /// Published before, or earlier in the same group: no output.
    Duplicate,
    /// The id stands for another payload: a dead letter.
    Conflict,
    /// The REST door holds the id and did not settle it in time, or its record cannot be read: try again.
    Busy,
}

impl Streamed {
    /// Returns what is to be published.
    #[must_use]
    pub const fn held(&self) -> Option<&Held> {
        match self {
            Self::New(held) | Self::Confirmed(held) => Some(held),
            Self::Duplicate | Self::Conflict | Self::Busy => None,
        }
    }
}

/// A label that entity state has, until its transaction with the broker is committed.
#[derive(Clone, Debug)]
pub struct HeldLabel {
    /// What entity state made of it.
    pub outcome: LabelOutcome,
    payload: Vec<u8>,
}

impl HeldLabel {
    pub(crate) fn new(label: &Label, outcome: LabelOutcome) -> Self {
        let mut payload = Vec::with_capacity(96);
        put_label(&mut payload, label);
        Self { outcome, payload }
    }

    /// Appends it to the changelog's blob.
    pub fn put(&self, blob: &mut BlobWriter) {
        blob.label(&self.payload);
    }

    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload
    }
}

/// How one partition moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Which partition.
    pub partition: u32,
    /// Where it was; `None` when nothing local comes before it. What does not continue the position in
    /// the local store is not written there, so that the store never claims more than it has.
    pub before: Option<Position>,
    /// Where it is.
    pub after: Position,
}

/// What one committed transaction with the broker leaves to be kept.
#[derive(Default)]
pub struct StreamGroup {
    /// How each of its partitions moved.
    pub advances: Vec<Advance>,
    /// Its decisions, in order.
    pub held: Vec<Held>,
    /// Its labels.
    pub labels: Vec<HeldLabel>,
    /// Partitions that are ours no longer: their positions are forgotten.
    pub released: Vec<u32>,
}

//! A record: one decision with all it followed from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;

use crate::domain::{Decision, DegradedReason, FeatureVector, FieldRef, Timestamp, Transaction};
use crate::scoring::decide::policy::StandinLoad;
use crate::scoring::list::{ListEntry, ListKind};

/// What a record weighs beside its own texts and vectors: structs, map entry, queue entry.
const RECORD_BYTES: usize = 1_200;

/// One decision with all it followed from: enough to make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The answer.
    pub decision: Decision,
    /// What was asked.
    pub transaction: Transaction,
    /// [`Transaction::payload_hash`].
    pub payload_hash: u128,
    /// The features as they were then.
    pub features: FeatureVector,
    /// How much the stand-in had been used then.
    pub standin: StandinLoad,
    /// The list entries that matched then.
    pub list_hits: Vec<ListHit>,
    /// When the transaction came in.
    pub received_at: Timestamp,
    /// Place in the feed.
    pub cursor: Cursor,
    /// By which door it came.
    pub origin: Origin,
}

/// By which door a transaction came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// By the REST door of this instance, a replay or a dry run.
    #[default]
    Rest,
    /// By the stream: where its record lies.
    Stream {
        /// The partition of the input.
        partition: u32,
        /// The offset in it.
        offset: i64,
    },
}

/// A place in the feed, from 1; 0 before the record has one (a dry run never has).
#[derive(Default)]
pub struct Cursor(AtomicU64);

impl Cursor {
    /// Names a place.
    #[must_use]
    pub const fn new(place: u64) -> Self {
        Self(AtomicU64::new(place))
    }

    /// Returns the place.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Gives the record its place: only who orders the feed does.
    pub(crate) fn set(&self, place: u64) {
        self.0.store(place, Ordering::Relaxed);
    }
}

impl Clone for Cursor {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(out)
    }
}

/// A list entry that matched, as recorded: without its value, which the transaction holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListHit {
    /// Which list.
    pub list: ListKind,
    /// The field it matched on.
    pub field: FieldRef,
    /// Why it is there.
    pub reason: CompactString,
}

impl ListHit {
    /// Records an entry that matched.
    #[must_use]
    pub fn of(entry: &ListEntry) -> Self {
        Self { list: entry.list, field: entry.field.clone(), reason: entry.reason.clone() }
    }

    /// Gives the entry back as far as a decision needs it.
    #[must_use]
    pub fn to_entry(&self) -> ListEntry {
        let (field, reason) = (self.field.clone(), self.reason.clone());
        ListEntry { list: self.list, field, value: CompactString::default(), reason, expires_at: None, added_by: None }
    }
}

impl Record {
    pub(super) fn bytes(&self) -> usize {
        RECORD_BYTES + self.features.len() * 8 + self.list_hits.len() * 64
    }

    /// Returns the record with one more thing that was less than whole.
    #[must_use]
    pub fn with(&self, reason: DegradedReason) -> Self {
        let mut record = self.clone();
        if !record.decision.degraded.contains(&reason) {
            record.decision.degraded.push(reason);
        }
        record
    }
}

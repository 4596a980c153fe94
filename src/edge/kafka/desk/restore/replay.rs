//! The changelog into state: from the local position to the committed one, every step checked.

use std::time::Duration;

use super::{Cancel, Reader};
use crate::domain::{Span, Timestamp};
use crate::runtime::clock::Clock;
use crate::runtime::stream::changelog::Error;
use crate::runtime::stream::{Blob, Position, StateSink};
use crate::tasks::crash;
use crate::telemetry::events::PartitionRestoring;

/// How long nothing may come before the end that the broker named is in doubt.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many records before the end one looks first for the local position; then eight times as many.
const LOOK_BACK: i64 = 16;
/// Records between two tellings of how far it is.
const TELL_EACH: u64 = 256;

/// Why state cannot be had whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Failure {
    /// For a person.
    pub(super) reason: String,
    /// Whether `on_lost_state = "continue"` covers it.
    pub(super) may_continue: bool,
    /// Whether it may be had later as it is: the broker is away, or the partition went.
    pub(super) is_passing: bool,
}

impl Failure {
    pub(super) fn lost(reason: String) -> Self {
        Self { reason, may_continue: true, is_passing: false }
    }

    pub(super) fn newer(reason: String) -> Self {
        Self { reason, may_continue: false, is_passing: false }
    }

    /// The broker does not give it now: nothing is lost yet.
    pub(super) fn unreachable(reason: impl std::fmt::Display) -> Self {
        Self { reason: format!("the changelog cannot be read: {reason}"), may_continue: false, is_passing: true }
    }
}

/// One partition's replay.
pub(super) struct Replay<'a> {
    pub(super) sink: &'a StateSink,
    pub(super) partition: u32,
    /// Where state is; `None` before its first record.
    pub(super) position: Option<Position>,
    pub(super) to: Position,
    pub(super) reach: Span,
    pub(super) clock: &'a Clock,
    pub(super) started: Timestamp,
    /// The offset that the first record taken began at.
    pub(super) first: Option<i64>,
    pub(super) entries: u64,
}

impl Replay<'_> {
    /// Reads until the committed position is reached.
    pub(super) fn run(&mut self, reader: &mut dyn Reader, is_cancelled: &Cancel) -> Result<(), Failure> {
        let (low, high) = reader.bounds().map_err(Failure::unreachable)?;
        let mut found = self.find(reader, low, high)?;
        let mut blobs = 0;
        while self.position != Some(self.to) {
            if is_cancelled.is_asked() {
                return Err(Failure::unreachable("the partition went"));
            }
            let next = match found.take() {
                Some(bytes) => Some(bytes),
                None => reader.next(PATIENCE).map_err(Failure::unreachable)?,
            };
            let Some(bytes) = next else {
                return Err(self.too_short());
            };
            self.take(&bytes)?;
            blobs += 1;
            if blobs % TELL_EACH == 0 {
                self.tell();
            }
        }
        Ok(())
    }

    /// Sets the reader behind a record at or before the one that continues the local position, and returns that record;
    /// none of them stands at the changelog's beginning. Looks back from the end, further each time, because state here
    /// is rarely far behind. A seek costs several round trips to the broker, so what it brought is kept.
    fn find(&self, reader: &mut dyn Reader, low: i64, high: i64) -> Result<Option<Vec<u8>>, Failure> {
        let mut back = LOOK_BACK;
        loop {
            let offset = if self.position.is_some() { high.saturating_sub(back).max(low) } else { low };
            reader.seek(offset).map_err(Failure::unreachable)?;
            let Some(position) = self.position.filter(|_| offset > low) else { return Ok(None) };
            if let Some(bytes) = reader.next(PATIENCE).map_err(Failure::unreachable)? {
                let before = decode(&bytes)?.before;
                if before.transactions <= position.transactions && before.labels <= position.labels {
                    return Ok(Some(bytes));
                }
            }
            back = back.saturating_mul(8);
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let blob = decode(bytes)?;
        match &self.position {
            Some(position) => match StateSink::follow(position, &blob) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(Failure::lost(error.to_string())),
            },
            None => self.check_beginning(&blob)?,
        }
        self.first.get_or_insert(blob.before.transactions);
        self.entries += blob.entries.len() as u64;
        self.sink.apply(self.partition, &blob, self.position.is_some());
        self.position = Some(blob.after);
        crash::point("mid-restore");
        Ok(())
    }

    /// A changelog that does not begin at the first record must reach back as far as windows do.
    fn check_beginning(&self, blob: &Blob<'_>) -> Result<(), Failure> {
        let begins_at_first = blob.before.chain == 0;
        let age = Span::from_micros(self.clock.now().micros().saturating_sub(blob.wall_ms.saturating_mul(1_000)));
        if begins_at_first || age >= self.reach {
            return Ok(());
        }
        let reason = format!(
            "the changelog reaches back {age}, and the windows need {}: its retention is too short",
            self.reach
        );
        Err(Failure::lost(reason))
    }

    fn too_short(&self) -> Failure {
        let ends = self
            .position
            .map_or_else(|| "has no record".to_owned(), |at| format!("ends at offset {}", at.transactions));
        Failure::lost(format!("the changelog {ends}, and the group has committed {}", self.to.transactions))
    }

    fn tell(&self) {
        let first = self.first.unwrap_or(0);
        let done = self.position.map_or(0, |position| position.transactions - first);
        let share = (done as f64 / (self.to.transactions - first).max(1) as f64).clamp(0.001, 1.0);
        let took = Span::from_micros(self.clock.now().micros() - self.started.micros()).to_std();
        let left = took.mul_f64((1.0 - share) / share);
        PartitionRestoring { partition: self.partition, share, entries: self.entries, left }.emit();
    }
}

fn decode(bytes: &[u8]) -> Result<Blob<'_>, Failure> {
    Blob::decode(bytes).map_err(|error| match error {
        Error::Newer { .. } => Failure::newer(error.to_string()),
        Error::Malformed => Failure::lost(error.to_string()),
    })
}

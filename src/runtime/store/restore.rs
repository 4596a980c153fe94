//! Restoring: the event log into entity state, while decisions go on by rules.
//!
//! ```text
//! read what was there ─> read what came meanwhile, until little is left ─> move the gate ─> read the rest ─> live
//! ```
//! Events are taken in log order, so state is what replaying the same log always gives.

use std::sync::Arc;
use std::time::Duration;

use super::encoding::{self, Event};
use super::error::{Damage, Error};
use super::frame::{self, Found};
use super::gate::Gate;
use super::log::{Log, Segment, entries_from};
use super::segment::HEADER_LEN;
use crate::runtime::clock::Moment;
use crate::runtime::entities::Entities;

/// Events between two calls of the progress callback.
const TELL_EACH: u64 = 20_000;
/// When this few are left the gate is moved.
const NEARLY: u64 = 1_000;
/// Rounds of reading what came meanwhile; then the gate is moved whatever is left.
const ROUNDS_MAX: u32 = 100;

/// How far restoring is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RestoreProgress {
    /// Events read.
    pub events: u64,
    /// Share of the log's bytes that is read, 0 to 1.
    pub share: f64,
    /// Events a second so far.
    pub per_second: f64,
    /// About how long it still takes.
    pub left: Duration,
}

impl RestoreProgress {
    /// Returns the share in thousandths.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a share is 0 to 1")]
    pub fn permille(&self) -> u64 {
        (self.share * 1_000.0) as u64
    }
}

/// What restoring did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Transactions and labels read.
    pub events: u64,
    /// How long it took.
    pub took: Duration,
}

struct Replay<'a> {
    log: &'a Log,
    entities: &'a Entities,
    gate: &'a Gate,
    tell: &'a dyn Fn(RestoreProgress) -> bool,
    started: Moment,
    /// The sequence to go on from.
    next: u64,
    events: u64,
    bytes: u64,
    bytes_all: u64,
}

pub(super) fn restore(
    log: &Arc<Log>,
    (entities, released): (&Entities, &[u32]),
    gate: &Gate,
    tell: &dyn Fn(RestoreProgress) -> bool,
) -> Result<Option<Restored>, Error> {
    let next = log.segments().first().map_or(1, |segment| segment.header.first);
    let (started, bytes_all) = (Moment::now(), log.bytes());
    let mut replay = Replay { log, entities, gate, tell, started, next, events: 0, bytes: 0, bytes_all };
    for _ in 0..ROUNDS_MAX {
        if log.next().saturating_sub(replay.next) <= NEARLY {
            break;
        }
        if !replay.catch_up()? {
            return Ok(None);
        }
    }
    gate.close_replay();
    if !replay.catch_up()? {
        return Ok(None);
    }
    entities.release(released);
    gate.go_live();
    Ok(Some(Restored { events: replay.events, took: started.elapsed() }))
}

impl Replay<'_> {
    /// Reads all there is; `false`: told to stop.
    fn catch_up(&mut self) -> Result<bool, Error> {
        let end = self.log.next();
        loop {
            let before = self.next;
            for segment in self.log.segments() {
                if segment.next() > self.next && !self.read(&segment)? {
                    return Ok(false);
                }
            }
            // What was written anew meanwhile is in a segment that was not there when we looked.
            if self.next >= end || self.next == before {
                return Ok(true);
            }
        }
    }

    fn read(&mut self, segment: &Segment) -> Result<bool, Error> {
        let until = segment.next();
        let mut offset = HEADER_LEN;
        if self.next > segment.header.first {
            let index = segment.entries()?;
            let Some(entry) = entries_from(&index, self.next).first() else { return Ok(true) };
            offset = usize::try_from(entry.offset).unwrap_or(usize::MAX);
        } else {
            // What is missing before it was let go, or left out by a repair.
            self.next = segment.header.first;
        }
        let bytes = segment.bytes()?;
        // A segment that is written anew ends earlier from then on.
        while self.next < until.min(segment.next()) {
            let event = match frame::at(&bytes, offset, segment.header.salt) {
                Found::Whole(frame) if frame.sequence == self.next => {
                    encoding::event(frame.payload).map(|event| (event, frame.end))
                }
                Found::Whole(_) | Found::End | Found::Damaged => None,
            };
            let Some((event, end)) = event else { return Err(self.damaged(segment, &bytes, offset)) };
            match event {
                Event::Transaction(transaction) => self.entities.absorb(&transaction),
                Event::Label(label) => drop(self.entities.label(&label)),
            }
            self.bytes += (end - offset) as u64;
            (offset, self.next, self.events) = (end, self.next + 1, self.events + 1);
            if self.events.is_multiple_of(TELL_EACH) && !self.tell() {
                return Ok(false);
            }
        }
        Ok(self.tell())
    }

    fn tell(&self) -> bool {
        let took = self.started.elapsed().as_secs_f64().max(1e-6);
        let share = (self.bytes as f64 / self.bytes_all.max(1) as f64).clamp(1e-6, 1.0);
        self.gate.set_share(self.bytes.saturating_mul(1_000) / self.bytes_all.max(1));
        let left = Duration::try_from_secs_f64(took / share * (1.0 - share)).unwrap_or(Duration::MAX);
        (self.tell)(RestoreProgress { events: self.events, share, per_second: self.events as f64 / took, left })
    }

    fn damaged(&self, segment: &Segment, bytes: &[u8], offset: usize) -> Error {
        let (mut from, mut after, mut newest) = (offset + 1, 0, self.next);
        while let Some((_, found)) = frame::resume(bytes, from, segment.header.salt, newest) {
            (from, after, newest) = (found.end, after + 1, found.sequence);
        }
        let before = self.next - segment.header.first;
        Error::Damaged(Damage { path: segment.path.clone(), offset: offset as u64, before, after })
    }
}

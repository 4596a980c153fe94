//! What a lane's records mean: each becomes a decision, a label or a dead letter, with everything that goes with it.
//!
//! ```text
//! records ─ intake ─> transactions ─ Scorer::decide_group ─> held decisions ─ scribe ─> outputs
//!              ├─> labels                                        └─> changelog, position    (one part a partition)
//!              └─> refusals ──────────────────────────────────────── scribe ─> dead letters
//! committed:  decisions visible, store told, positions moved on          shed: the part is dropped, its ids are free
//! assigned:   restorer: local state, changelog -> Live                   revoked: state let go -> Foreign
//! ```
//! A record is decided in the order of its partition, with the watermark of the records before it. A panic
//! over one record makes that one a dead letter. Knows no client library.

mod intake;
mod locals;
mod part;
mod rate;
mod restore;
mod scribe;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Label, Timestamp, Transaction};
use crate::edge::kafka::lane::{Assigned, Fault, Fetched, NextOffset, Output, Restored, Work};
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::decisions::{Held, Origin, Record};
use crate::runtime::scorer::{Effort, Request, Scorer};
use crate::runtime::stream::{
    Lateness, Ownership, Prefix, Standing, StateSink, StreamGroup, StreamRequest, Streamed, TimeBounds,
};
use crate::tasks::crash;
use crate::telemetry::events::StreamDecided;
pub use intake::Options as IntakeOptions;
use intake::{Arrival, Incoming, Note};
pub(in crate::edge::kafka) use intake::{Intake, Refusal};
pub use locals::Locals;
pub(in crate::edge::kafka) use part::tell_refused;
use part::{Part, Verdict};
pub use rate::Options as RateOptions;
pub(in crate::edge::kafka) use rate::Rate;
use restore::Restorer;
pub use restore::{Changelog, Options as RestoreOptions, Reader};
pub use scribe::Options as ScribeOptions;
use scribe::Scribe;
pub(in crate::edge::kafka) use scribe::dead_letter;
use spans::Spans;

/// What a record is, while its group is decided.
enum Turn {
    Transaction(Note),
    Labels(Vec<Label>),
    Refused(Refusal),
}

/// How often a record is tried that the other door holds, before it becomes a dead letter.
const BUSY_TRIES_MAX: u32 = 50;

/// How a desk works.
#[derive(Clone, Debug)]
pub struct Options {
    /// How records are read.
    pub intake: IntakeOptions,
    /// How outputs are written.
    pub scribe: ScribeOptions,
    /// When dead letters are too many.
    pub rate: RateOptions,
    /// How state is restored.
    pub restore: RestoreOptions,
    /// The bounds on event time.
    pub bounds: TimeBounds,
    /// How long a batch may wait for the other door, and the model for a batch.
    pub deadline: Duration,
    /// The length at which a record of the changelog is ended and another one begun, in bytes.
    pub changelog_len_max: usize,
}

/// The parts a desk works with.
pub struct Parts {
    /// Scores.
    pub scorer: Scorer,
    /// Which partitions are ours.
    pub ownership: Arc<Ownership>,
    /// Takes what the changelog says into state.
    pub sink: StateSink,
    /// Where the state that is here stands, by partition.
    pub locals: Locals,
    /// The number of the lane.
    pub lane: usize,
    /// Wall time.
    pub clock: Clock,
}

/// The work behind a lane.
pub struct Desk {
    parts: Parts,
    intake: Intake,
    scribe: Scribe,
    spans: Spans,
    rate: Rate,
    restorer: Restorer,
    /// Partitions that came while the store was being read: what they are restored upon is not there yet.
    early: Vec<Assigned>,
    bounds: TimeBounds,
    deadline: Duration,
    changelog_len_max: usize,
    /// Where each partition that is ours stands; moved on by commits alone.
    prefixes: BTreeMap<i32, Prefix>,
    /// Decisions of records that were shed, by partition and offset. Entities that live in no partition have seen their
    /// events: decided again, an event out of order would see what came after it. So they stand, if they come back.
    shed: BTreeMap<i32, BTreeMap<i64, Arc<Record>>>,
}

/// A decided batch: what each partition's records left.
#[derive(Default)]
pub struct Batch {
    parts: BTreeMap<i32, Part>,
}

impl Desk {
    /// Builds a desk; `changelog` reads the changelog's topic.
    #[must_use]
    pub fn new(parts: Parts, options: Options, changelog: Changelog) -> Self {
        let Options { intake, scribe, rate, restore, bounds, deadline, changelog_len_max } = options;
        let restorer =
            Restorer::new(restore, (parts.sink.clone(), parts.locals.clone()), (changelog, parts.clock.clone()));
        let intake = Intake::new(intake, Arc::clone(&parts.ownership));
        let spans = Spans::new(scribe.group.clone(), scribe.inputs[0].clone());
        let (scribe, rate) = (Scribe::new(scribe), Rate::new(rate));
        Self {
            parts,
            intake,
            scribe,
            spans,
            rate,
            restorer,
            early: Vec::new(),
            bounds,
            deadline,
            changelog_len_max,
            prefixes: BTreeMap::new(),
            shed: BTreeMap::new(),
        }
    }

    /// Makes a request of a transaction.
    fn request(&self, record: &Fetched, arrival: Arrival, note: &Note) -> StreamRequest {
        let Arrival { transaction, decided, .. } = arrival;
        let decided = decided.or_else(|| self.decided_before(record, &transaction));
        let started = Moment::now();
        let request = Request {
            transaction,
            trace_id: note.trace.trace_id,
            received_at: note.received_at,
            started,
            deadline: started.after(self.deadline),
            explain: false,
            effort: Effort::Whole,
        };
        let origin = Origin::Stream { partition: number(record.partition), offset: record.offset };
        StreamRequest { request, late: note.is_late, decided, origin }
    }

    /// Returns the decision of a record that was shed and has come back.
    fn decided_before(&self, record: &Fetched, transaction: &Transaction) -> Option<Box<Record>> {
        let before = self.shed.get(&record.partition)?.get(&record.offset)?;
        let is_same = before.payload_hash == transaction.payload_hash() && before.transaction.id() == transaction.id();
        is_same.then(|| Box::new(Record::clone(before)))
    }

    /// Decides one record by itself: after a panic over its group, or while the REST door holds its id,
    /// which it lets go at its request's deadline.
    fn decide_alone(&self, record: &Fetched, note: &Note) -> Result<Streamed, Refusal> {
        for _ in 0..BUSY_TRIES_MAX {
            let Incoming::Transaction(arrival) = self.intake.read(record, note.received_at) else {
                return Err(Refusal::panicked());
            };
            let request = self.request(record, *arrival, note);
            let decided = catch_unwind(AssertUnwindSafe(|| self.parts.scorer.decide_group(vec![request])));
            match decided.ok().and_then(|mut decided| decided.pop()).ok_or_else(Refusal::panicked)? {
                Streamed::Busy => {}
                streamed => return Ok(streamed),
            }
        }
        Err(Refusal::unavailable())
    }

    /// Reads records and makes requests of those that are transactions, each as of the records before it.
    fn sort(&self, records: Vec<Fetched>, now: Timestamp) -> (Vec<(Fetched, Turn)>, Vec<StreamRequest>) {
        let mut ahead = self.prefixes.clone();
        let mut turns = Vec::with_capacity(records.len());
        let mut requests = Vec::with_capacity(records.len());
        for record in records {
            // Records of a partition without a position are none of ours: the lane starts no such partition.
            let Some(prefix) = ahead.get_mut(&record.partition) else { continue };
            let turn = match self.intake.read(&record, now) {
                Incoming::Labels(labels) => Turn::Labels(labels),
                Incoming::Refused(refusal) => Turn::Refused(refusal),
                Incoming::Transaction(arrival) => {
                    let at = arrival.transaction.occurred_at();
                    let lateness = prefix.classify(at, arrival.appended_at);
                    // A decision of the REST door has passed this there.
                    let is_late = lateness == Lateness::Late && arrival.decided.is_none();
                    if !is_late {
                        prefix.watch(at);
                    }
                    let note = Note::of(&arrival, is_late, now);
                    requests.push(self.request(&record, *arrival, &note));
                    Turn::Transaction(note)
                }
            };
            turns.push((record, turn));
        }
        (turns, requests)
    }
}

impl Work for Desk {
    type Batch = Batch;

    fn assigned(&mut self, partitions: Vec<Assigned>) {
        self.parts.locals.heard(self.parts.lane, partitions.iter().map(|assigned| number(assigned.partition)));
        for assigned in partitions {
            self.parts.ownership.set(number(assigned.partition), Standing::Restoring);
            self.early.push(assigned);
        }
    }

    fn restored(&mut self) -> Vec<Restored> {
        if !self.early.is_empty() && !self.parts.scorer.is_restoring() {
            self.early.drain(..).for_each(|assigned| self.restorer.begin(assigned));
        }
        let mut told = Vec::new();
        for (partition, outcome) in self.restorer.finished() {
            told.push(match outcome {
                Ok(position) => {
                    self.prefixes.insert(partition, Prefix::new(position, self.bounds));
                    self.parts.ownership.set(number(partition), Standing::Live);
                    restore::ready(partition, position)
                }
                Err(reason) => Restored::Failed { partition, reason },
            });
        }
        told
    }

    fn revoked(&mut self, partitions: &[i32], _is_lost: bool) {
        for partition in partitions {
            self.prefixes.remove(partition);
            self.early.retain(|assigned| assigned.partition != *partition);
            self.restorer.cancel(*partition);
            let _gone = self.parts.locals.take(number(*partition));
            self.parts.ownership.set(number(*partition), Standing::Foreign);
        }
        let released: Vec<u32> = partitions.iter().map(|partition| number(*partition)).collect();
        self.parts.sink.release(&released);
    }

    fn has_room(&self) -> bool {
        true // The store's line is bounded and waited for after the commit.
    }

    fn is_paused(&self) -> bool {
        self.parts.scorer.shield().current().is_paused
    }

    fn decide(&mut self, records: Vec<Fetched>) -> Batch {
        let (now, release) = (self.parts.clock.now(), self.parts.scorer.release());
        let (turns, requests) = self.sort(records, now);
        let group = catch_unwind(AssertUnwindSafe(|| self.parts.scorer.decide_group(requests)));
        // After a panic one of them is poison: what the group held is free again, and events count once.
        let mut decided = group.ok().map(Vec::into_iter);
        crash::point("mid-decide");
        let mut batch = Batch::default();
        // A decision of the REST door is to be published until the batch is committed: once.
        let mut confirmed = BTreeSet::new();
        for (record, turn) in turns {
            let Some(prefix) = self.prefixes.get(&record.partition) else { continue };
            let begin = || Part::new(record.partition, *prefix, self.changelog_len_max);
            let part = batch.parts.entry(record.partition).or_insert_with(begin);
            let verdict = match turn {
                Turn::Labels(labels) => {
                    Verdict::Labels(labels.iter().map(|label| self.parts.scorer.take_label(label)).collect())
                }
                Turn::Refused(refusal) => Verdict::Refused(refusal),
                Turn::Transaction(note) => {
                    let streamed = match decided.as_mut().and_then(Iterator::next) {
                        Some(Streamed::Busy) | None => self.decide_alone(&record, &note),
                        Some(streamed) => Ok(streamed),
                    };
                    match streamed {
                        Err(refusal) => Verdict::Refused(refusal),
                        Ok(Streamed::Confirmed(_)) if !confirmed.insert(note.id_hash) => {
                            Verdict::Decided(note, Streamed::Duplicate)
                        }
                        Ok(streamed) => Verdict::Decided(note, streamed),
                    }
                }
            };
            let is_dead = part.take(&record, verdict, (&self.scribe, &release));
            self.rate.record(is_dead, now);
        }
        self.rate.conclude();
        let wall = self.parts.clock.now();
        batch.parts.values_mut().for_each(|part| part.seal(wall));
        batch
    }

    fn shed(&mut self, batch: &mut Batch, partitions: &[i32]) {
        for partition in partitions {
            let Some(part) = batch.parts.remove(partition) else { continue };
            let decided = self.shed.entry(*partition).or_default();
            for record in part.held.iter().map(Held::record) {
                if let Origin::Stream { offset, .. } = record.origin {
                    decided.insert(offset, Arc::clone(record));
                }
            }
        }
    }

    fn is_empty(&self, batch: &Batch) -> bool {
        batch.parts.is_empty()
    }

    fn emit(&self, batch: &Batch, to: &mut dyn FnMut(&Output) -> Result<(), Fault>) -> Result<(), Fault> {
        batch.parts.values().flat_map(|part| &part.outputs).try_for_each(to)
    }

    fn offsets(&self, batch: &Batch) -> Vec<NextOffset> {
        batch.parts.values().flat_map(Part::offsets).collect()
    }

    fn committed(&mut self, batch: Batch) {
        let mut group = StreamGroup::default();
        for (partition, part) in batch.parts {
            self.prefixes.insert(partition, part.after);
            if let Some(shed) = self.shed.get_mut(&partition) {
                *shed = shed.split_off(&part.after.position().transactions);
            }
            self.parts.locals.put(number(partition), part.after.position());
            part.tell();
            self.spans.tell((partition, &part.traced), &self.parts.clock);
            StreamDecided { counts: &part.counts }.emit();
            part.keep(&mut group);
        }
        crash::point("before-journal");
        self.parts.scorer.keep_group(group);
        crash::point("after-journal");
    }

    fn halt(&self) -> Option<String> {
        self.rate.verdict()
    }
}

#[expect(clippy::cast_sign_loss, reason = "partitions are numbered from 0")]
const fn number(partition: i32) -> u32 {
    partition as u32
}

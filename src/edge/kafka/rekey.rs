//! A topic keyed by something else becomes `transactions`, exactly once: the work of a lane without state.
//!
//! ```text
//! foreign record ─ contract or mapping ─ first field of the key that was sent ─> same bytes, that key, its partition
//!        └ any fault ───────────────────────────────────────────────────────────> dead letter
//! ```
//! The record goes on as it is: payload, headers, and its time where the topic lets senders tell it. Whether it lies too
//! far ahead, came too late or came before is for those to say who decide it. Records of one key that lie in different
//! partitions of the source have no order there, and get none here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::dead::letter::Stage;
use super::desk::{Intake, IntakeOptions, Rate, RateOptions, Refusal, dead_letter, tell_refused};
use super::lane::{Assigned, Fault, Fetched, NextOffset, Output, Place, Restored, Sink, Source, Start, Work};
use super::options::{OnLostState, Start as StartAt};
use crate::domain::{Timestamp, Transaction};
use crate::runtime::clock::Clock;
use crate::runtime::stream::Ownership;
use crate::tasks::crash;
use crate::telemetry::events::{RekeyGap, Rekeyed};

/// The longest record, all in all, that is passed on: what a topic takes unless it was told otherwise.
const RECORD_LEN_MAX: usize = 1_000_000;

/// How records are re-keyed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The foreign topic.
    pub source: String,
    /// How its records are read.
    pub intake: IntakeOptions,
    /// When dead letters are too many.
    pub rate: RateOptions,
    /// The most bytes kept of a dead letter's original.
    pub dead_len_max: usize,
    /// Where a group without offsets begins.
    pub start: StartAt,
    /// What to do when records were lost before they were read.
    pub on_lost_state: OnLostState,
}

/// The work behind a re-key lane.
pub struct Rekey {
    options: Options,
    intake: Intake,
    ownership: Arc<Ownership>,
    rate: Rate,
    clock: Clock,
    ready: Vec<Restored>,
}

/// Records that are re-keyed, by partition of the source.
#[derive(Default)]
pub struct Batch {
    parts: BTreeMap<i32, Part>,
}

#[derive(Default)]
struct Part {
    /// The next offset of the source.
    next: i64,
    outputs: Vec<Output>,
    moved: u64,
    refusals: Vec<Refusal>,
}

impl Rekey {
    /// Re-keys as `ownership` says where keys belong.
    #[must_use]
    pub fn new(options: Options, ownership: Arc<Ownership>, clock: Clock) -> Self {
        let intake = Intake::new(options.intake.clone(), Arc::clone(&ownership));
        let rate = Rate::new(options.rate);
        Self { options, intake, ownership, rate, clock, ready: Vec::new() }
    }

    /// Returns where a partition is read from.
    fn begin(&self, partition: i32, place: &Place) -> Restored {
        let (next, lost) = first(place, self.options.start);
        let ready = Restored::Ready(Start { partition, transactions: next, labels: 0 });
        let Some(lost) = lost else { return ready };
        let reason = format!("partition {partition} of {}: {lost}", self.options.source);
        let goes_on = self.options.on_lost_state == OnLostState::Continue;
        RekeyGap { reason: &reason, goes_on }.emit();
        if goes_on { ready } else { Restored::Failed { partition, reason } }
    }

    /// Reads a record, or says why it cannot be passed on.
    fn read(&self, record: &Fetched) -> Result<Transaction, Refusal> {
        if record.size() > RECORD_LEN_MAX {
            let detail = format!("{} bytes with its headers, at most {RECORD_LEN_MAX} are passed on", record.size());
            return Err(Refusal::new("record_too_large", Stage::Decode, detail));
        }
        self.intake.transaction(record)
    }

    /// Gives a record on under the key of its transaction; one that has no field of the key stays as it is keyed.
    fn keyed(&self, record: Fetched, transaction: &Transaction, now: Timestamp) -> Output {
        let key = self.ownership.key_of(transaction);
        let partition =
            key.map_or_else(|| self.modulo(record.partition), |key| number(self.ownership.partition_of_key(key)));
        let now_ms = now.micros() / 1_000;
        Output {
            sink: Sink::Transactions,
            partition,
            key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())).or(record.key),
            payload: record.payload,
            headers: record.headers,
            // A broker may refuse a time that lies ahead; then it is better its own.
            timestamp_ms: record.timestamp_ms.filter(|at| *at <= now_ms),
        }
    }

    /// Returns a partition of the stream for one of the source.
    fn modulo(&self, partition: i32) -> i32 {
        partition.rem_euclid(number(self.ownership.partitions()))
    }

    fn dead(&self, record: &Fetched, refusal: &Refusal) -> Output {
        let letter = dead_letter(record, &self.options.source, refusal, self.options.dead_len_max);
        Output { partition: self.modulo(record.partition), ..letter }
    }
}

/// Returns where to read on, and what is lost when it is not where the group stands.
fn first(place: &Place, start: StartAt) -> (i64, Option<String>) {
    let Place { earliest, latest, .. } = *place;
    match place.committed.as_ref().map(|committed| committed.offset) {
        None => match start {
            StartAt::Earliest => (earliest, None),
            StartAt::Latest => (latest, None),
        },
        Some(next) if next < earliest => {
            let last = earliest - 1;
            let lost =
                format!("offsets {next} to {last} were deleted before they were re-keyed: retention is too short");
            (earliest, Some(lost))
        }
        Some(next) if next > latest => {
            let lost = format!("the group stands at offset {next}, and it ends at {latest}: the topic was made anew");
            (earliest, Some(lost))
        }
        Some(next) => (next, None),
    }
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

impl Work for Rekey {
    type Batch = Batch;

    fn assigned(&mut self, partitions: Vec<Assigned>) {
        for Assigned { partition, transactions, .. } in partitions {
            let ready = self.begin(partition, &transactions);
            self.ready.push(ready);
        }
    }

    fn restored(&mut self) -> Vec<Restored> {
        std::mem::take(&mut self.ready)
    }

    fn revoked(&mut self, partitions: &[i32], _is_lost: bool) {
        self.ready.retain(|ready| match ready {
            Restored::Ready(Start { partition, .. }) | Restored::Failed { partition, .. } => {
                !partitions.contains(partition)
            }
        });
    }

    fn has_room(&self) -> bool {
        true // Nothing is kept here.
    }

    fn decide(&mut self, records: Vec<Fetched>) -> Batch {
        let now = self.clock.now();
        let mut batch = Batch::default();
        for record in records {
            let part = batch.parts.entry(record.partition).or_default();
            part.next = record.offset + 1;
            let read = self.read(&record);
            self.rate.record(read.is_err(), now);
            match read {
                Ok(transaction) => {
                    part.moved += 1;
                    part.outputs.push(self.keyed(record, &transaction, now));
                }
                Err(refusal) => {
                    part.outputs.push(self.dead(&record, &refusal));
                    part.refusals.push(refusal);
                }
            }
        }
        self.rate.conclude();
        crash::point("rekey-decided");
        batch
    }

    fn shed(&mut self, batch: &mut Batch, partitions: &[i32]) {
        batch.parts.retain(|partition, _| !partitions.contains(partition));
    }

    fn is_empty(&self, batch: &Batch) -> bool {
        batch.parts.is_empty()
    }

    fn emit(&self, batch: &Batch, to: &mut dyn FnMut(&Output) -> Result<(), Fault>) -> Result<(), Fault> {
        batch.parts.values().flat_map(|part| &part.outputs).try_for_each(to)
    }

    fn offsets(&self, batch: &Batch) -> Vec<NextOffset> {
        let next = |(partition, part): (&i32, &Part)| NextOffset {
            source: Source::Transactions,
            partition: *partition,
            offset: part.next,
            watermark: None,
            metadata: String::new(),
        };
        batch.parts.iter().map(next).collect()
    }

    fn committed(&mut self, batch: Batch) {
        for (partition, part) in batch.parts {
            Rekeyed { moved: part.moved, dead: part.refusals.len() as u64 }.emit();
            tell_refused(&part.refusals, partition);
        }
        crash::point("rekey-committed");
    }

    fn halt(&self) -> Option<String> {
        self.rate.verdict()
    }
}

#[cfg(test)]
mod tests;

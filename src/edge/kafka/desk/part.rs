//! What one partition's records of a batch left: outputs, changelog, decisions to keep, and where it stands then.

use bytes::Bytes;

use super::intake::{Note, Refusal};
use super::scribe::Scribe;
use super::spans::Traced;
use crate::domain::Timestamp;
use crate::edge::kafka::lane::{Fetched, NextOffset, Output, Sink, Source};
use crate::runtime::decisions::Held;
use crate::runtime::slot::Release;
use crate::runtime::stream::position::Step;
use crate::runtime::stream::{
    Advance, BlobWriter, Disposition, HeldLabel, Position, Prefix, StreamGroup, Streamed, Topic,
};
use crate::telemetry::events::{DeadLettered, StreamCounts};
use crate::telemetry::otlp;

/// Refusals of one batch and partition that are logged.
const TOLD_MAX: usize = 3;

/// What was made of one record.
pub(super) enum Verdict {
    /// A transaction and what became of it.
    Decided(Note, Streamed),
    /// Labels that entity state has taken.
    Labels(Vec<HeldLabel>),
    /// Nothing.
    Refused(Refusal),
}

/// One partition's part of a batch.
pub(super) struct Part {
    partition: i32,
    before: Prefix,
    pub(super) after: Prefix,
    pub(super) outputs: Vec<Output>,
    pub(super) held: Vec<Held>,
    pub(super) counts: StreamCounts,
    labels: Vec<HeldLabel>,
    refusals: Vec<Refusal>,
    /// Those of which a span is wanted.
    pub(super) traced: Vec<Traced>,
    /// The changelog's record while it is written, and those that are full, each with the position behind it.
    blob: Option<BlobWriter>,
    full: Vec<(BlobWriter, Position)>,
    blob_len_max: usize,
}

impl Part {
    /// Begins a part; a changelog record of `blob_len_max` bytes is ended and the next one begun.
    pub(super) fn new(partition: i32, prefix: Prefix, blob_len_max: usize) -> Self {
        Self {
            partition,
            before: prefix,
            after: prefix,
            outputs: Vec::new(),
            held: Vec::new(),
            counts: StreamCounts::default(),
            labels: Vec::new(),
            refusals: Vec::new(),
            traced: Vec::new(),
            blob: Some(BlobWriter::new(prefix.position())),
            full: Vec::new(),
            blob_len_max,
        }
    }

    /// Takes one record in, in the order of offsets. Tells whether it became a dead letter.
    pub(super) fn take(&mut self, record: &Fetched, verdict: Verdict, (scribe, release): (&Scribe, &Release)) -> bool {
        let mut step = Step {
            topic: match record.source {
                Source::Transactions => Topic::Transactions,
                Source::Labels => Topic::Labels,
            },
            offset: record.offset,
            disposition: Disposition::Dead,
            event_time: None,
            id_hash: 0,
            payload_hash: 0,
        };
        let refusal = match verdict {
            Verdict::Refused(refusal) => Some(refusal),
            Verdict::Labels(labels) => {
                step.disposition = Disposition::Label;
                self.take_labels(labels);
                None
            }
            Verdict::Decided(note, streamed) => {
                step.id_hash = note.id_hash;
                step.payload_hash = note.payload_hash;
                step.event_time = (!note.is_late).then_some(note.occurred_at);
                self.take_decided(&mut step, (record, &note), streamed, (scribe, release))
            }
        };
        let is_dead = refusal.is_some();
        if let Some(refusal) = refusal {
            self.counts.dead += 1;
            scribe.dead(record, &refusal, &mut self.outputs);
            self.refusals.push(refusal);
        }
        // An offset that was passed before cannot come: the lane starts a partition where its position is.
        let is_new = self.after.advance(&step);
        debug_assert!(is_new, "KA-2: offset {} of partition {} came twice", record.offset, self.partition);
        self.turn_over();
        is_dead
    }

    /// Ends a changelog record that is full. All of a part go into the same transaction, and each begins where the one
    /// before it ended, so that whoever restores reads them like those of several transactions.
    fn turn_over(&mut self) {
        let at = self.after.position();
        if let Some(full) = self.blob.take_if(|blob| blob.len() >= self.blob_len_max) {
            self.full.push((full, at));
            self.blob = Some(BlobWriter::new(at));
        }
    }

    fn take_decided(
        &mut self,
        step: &mut Step,
        (record, note): (&Fetched, &Note),
        streamed: Streamed,
        (scribe, release): (&Scribe, &Release),
    ) -> Option<Refusal> {
        let (held, disposition) = match streamed {
            Streamed::New(held) if held.is_late() => (held, Disposition::Late),
            Streamed::New(held) => (held, Disposition::New),
            Streamed::Confirmed(held) => (held, Disposition::Confirmed),
            Streamed::Duplicate => {
                step.disposition = Disposition::Duplicate;
                self.counts.duplicates += 1;
                return None;
            }
            Streamed::Conflict => return Some(Refusal::conflict()),
            Streamed::Busy => return Some(Refusal::unavailable()),
        };
        step.disposition = disposition;
        let is_late = disposition == Disposition::Late;
        match disposition {
            Disposition::Confirmed => self.counts.confirmed += 1,
            Disposition::Late => self.counts.late += 1,
            Disposition::New | Disposition::Duplicate | Disposition::Dead | Disposition::Label => self.counts.new += 1,
        }
        scribe.decision(held.record(), release, (record, note, is_late), &mut self.outputs);
        if let Some(blob) = &mut self.blob {
            held.put(blob);
        }
        if otlp::wants(&note.trace) {
            self.traced.push(Traced::of(*note, record.offset, held.record()));
        }
        self.held.push(held);
        None
    }

    fn take_labels(&mut self, labels: Vec<HeldLabel>) {
        for label in labels {
            self.counts.label(label.outcome);
            if let Some(blob) = &mut self.blob {
                label.put(blob);
            }
            self.labels.push(label);
        }
    }

    /// Ends the part: its changelog is written.
    pub(super) fn seal(&mut self, wall: Timestamp) {
        let end = self.after.position();
        let last = self.blob.take().filter(|blob| self.full.is_empty() || blob.before() != end);
        for (blob, after) in self.full.drain(..).chain(last.map(|blob| (blob, end))) {
            self.outputs.push(Output {
                sink: Sink::State,
                partition: self.partition,
                key: Some(Bytes::copy_from_slice(&blob.before().transactions.to_be_bytes())),
                payload: Some(Bytes::from(blob.finish(after, wall.micros() / 1_000))),
                headers: Vec::new(),
                timestamp_ms: None,
            });
        }
    }

    /// Returns where both topics of the partition stand afterwards.
    pub(super) fn offsets(&self) -> [NextOffset; 2] {
        let position = self.after.position();
        let next = |source, offset, watermark, metadata| NextOffset {
            source,
            partition: self.partition,
            offset,
            watermark,
            metadata,
        };
        let watermark = Some(position.watermark_micros);
        [
            next(Source::Transactions, position.transactions, watermark, position.metadata()),
            next(Source::Labels, position.labels, None, String::new()),
        ]
    }

    /// Logs what was refused, now that it is committed as dead letters.
    pub(super) fn tell(&self) {
        tell_refused(&self.refusals, self.partition);
    }

    /// Adds what is to be kept to a group.
    pub(super) fn keep(self, group: &mut StreamGroup) {
        group.advances.push(Advance {
            partition: super::number(self.partition),
            before: Some(self.before.position()),
            after: self.after.position(),
        });
        group.held.extend(self.held);
        group.labels.extend(self.labels);
    }
}

/// Logs refusals of one batch and partition. The first ones tell the story; all are counted, and all are in the topic.
pub(in crate::edge::kafka) fn tell_refused(refusals: &[Refusal], partition: i32) {
    for Refusal { reason, stage, detail } in refusals.iter().take(TOLD_MAX) {
        DeadLettered { reason, stage: stage.name(), detail, partition }.emit();
    }
}

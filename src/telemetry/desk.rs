//! What becomes of the stream's records, of its state and of the outbox: events and their metrics.

use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntGauge};
use tracing::{debug, error, info, warn};

use super::metrics::{Builder, metrics};
use crate::runtime::entities::LabelOutcome;

/// What may become of a record of the stream.
pub const RECORD_RESULTS: [&str; 8] =
    ["decided", "confirmed", "late", "duplicate", "dead", "label_applied", "label_pending", "label_unchanged"];
/// What may become of a partition's state.
pub const RESTORE_RESULTS: [&str; 3] = ["restored", "lost", "refused"];
/// What may become of a decision that the outbox sends.
pub const OUTBOX_RESULTS: [&str; 2] = ["acknowledged", "failed"];

/// What may become of a record that is to be re-keyed.
pub const REKEY_RESULTS: [&str; 2] = ["moved", "dead"];

/// Metrics of the stream's records.
pub struct Desk {
    /// Records by [`RECORD_RESULTS`].
    pub records: Vec<IntCounter>,
    /// Decisions in records that did not verify.
    pub seals_refused: IntCounter,
    /// Partitions by [`RESTORE_RESULTS`].
    pub restores: Vec<IntCounter>,
    /// Entries of the changelog taken into state.
    pub restored_entries: IntCounter,
    /// Decisions of the outbox by [`OUTBOX_RESULTS`].
    pub outbox: Vec<IntCounter>,
    /// Decisions of the REST door that are not in the stream yet.
    pub outbox_waiting: IntGauge,
    /// How old the oldest of them is.
    pub outbox_age: Gauge,
    /// How far the event time of the partition that is most behind lies in the past.
    pub watermark_lag: Gauge,
    /// Records of a foreign topic by [`REKEY_RESULTS`].
    pub rekeyed: Vec<IntCounter>,
    /// Times a partition of it was gone on with after records of it were lost.
    pub rekey_gaps: IntCounter,
}

impl Desk {
    pub(super) fn new(build: &Builder) -> Self {
        Self {
            records: build.by_label(
                "fraudd_stream_records_total",
                "Records of the stream that were committed, by what became of them.",
                "result",
                &RECORD_RESULTS,
            ),
            seals_refused: build.counter(
                "fraudd_stream_seals_refused_total",
                "Decisions in records that did not verify: scored here instead.",
            ),
            restores: build.by_label(
                "fraudd_stream_restores_total",
                "Partitions whose state was restored or lost.",
                "result",
                &RESTORE_RESULTS,
            ),
            restored_entries: build
                .counter("fraudd_stream_restored_entries_total", "Entries of the changelog taken into state."),
            outbox: build.by_label(
                "fraudd_outbox_records_total",
                "Decisions of the REST door sent to the stream, by result.",
                "result",
                &OUTBOX_RESULTS,
            ),
            outbox_waiting: build
                .gauge("fraudd_outbox_waiting", "Decisions of the REST door that the stream has not published yet."),
            outbox_age: build.float_gauge(
                "fraudd_outbox_age_seconds",
                "Age of the oldest decision of the REST door that the broker does not have; 0 when it has all.",
            ),
            watermark_lag: build.float_gauge(
                "fraudd_stream_watermark_lag_seconds",
                "How far the watermark of the partition most behind lies in the past; grows also while nothing is sent.",
            ),
            rekeyed: build.by_label(
                "fraudd_rekey_records_total",
                "Records of the foreign topic that were re-keyed and committed, by what became of them.",
                "result",
                &REKEY_RESULTS,
            ),
            rekey_gaps: build.counter(
                "fraudd_rekey_gaps_total",
                "Partitions of the foreign topic gone on with, as configured, although records of them were lost: an alarm.",
            ),
        }
    }
}

/// What became of one partition's records in one transaction with the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Decided here.
    pub new: u64,
    /// Decided by the REST door before, published now.
    pub confirmed: u64,
    /// Decided beyond the allowed lateness.
    pub late: u64,
    /// Published before.
    pub duplicates: u64,
    /// Put aside as dead letters.
    pub dead: u64,
    /// Labels by outcome: applied, pending, unchanged.
    pub labels: [u64; 3],
}

impl StreamCounts {
    /// Counts a label.
    pub const fn label(&mut self, outcome: LabelOutcome) {
        let place = match outcome {
            LabelOutcome::Applied => 0,
            LabelOutcome::Pending => 1,
            LabelOutcome::Unchanged => 2,
        };
        self.labels[place] += 1;
    }
}

/// One partition's records of a transaction with the broker are committed.
pub struct StreamDecided<'a> {
    /// What became of them.
    pub counts: &'a StreamCounts,
}

impl StreamDecided<'_> {
    /// Counts them.
    pub fn emit(&self) {
        let StreamCounts { new, confirmed, late, duplicates, dead, labels } = *self.counts;
        let counts = [new, confirmed, late, duplicates, dead, labels[0], labels[1], labels[2]];
        for (counter, count) in metrics().desk.records.iter().zip(counts) {
            counter.inc_by(count);
        }
    }
}

/// A record became a dead letter.
pub struct DeadLettered<'a> {
    /// Why, in one word.
    pub reason: &'a str,
    /// Where it failed.
    pub stage: &'static str,
    /// More, without values of the sender.
    pub detail: &'a str,
    /// Its partition.
    pub partition: i32,
}

impl DeadLettered<'_> {
    /// Logs it: a person may want to look.
    pub fn emit(&self) {
        let Self { reason, stage, detail, partition } = self;
        warn!(reason, stage, partition, detail, "record put aside as a dead letter");
    }
}

/// A decision in a record was not believed.
pub struct SealRefused<'a> {
    /// Why.
    pub reason: &'a str,
}

impl SealRefused<'_> {
    /// Counts and logs it: somebody may be forging.
    pub fn emit(&self) {
        metrics().desk.seals_refused.inc();
        warn!(reason = self.reason, "a decision in a record does not verify: the record is scored here");
    }
}

/// A stream is configured.
pub struct StreamOpened<'a> {
    /// The group.
    pub group: &'a str,
    /// This instance in it.
    pub instance: &'a str,
    /// Partitions of the input.
    pub partitions: u32,
    /// Partitions whose state is here.
    pub known: usize,
}

impl StreamOpened<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { group, instance, partitions, known } = self;
        info!(group, instance, partitions, known, "stream opened");
    }
}

/// No broker answers.
pub struct BrokerAway<'a> {
    /// Why.
    pub reason: &'a str,
}

impl BrokerAway<'_> {
    /// Logs it.
    pub fn emit(&self) {
        warn!(reason = self.reason, "Kafka is not there yet");
    }
}

/// The broker does not check transactions of older clients against its own state.
pub struct BrokerUnverified;

impl BrokerUnverified {
    /// Logs it.
    pub fn emit(&self) {
        warn!(
            "the broker is older than 3.6: it does not verify transactions on its side (KIP-890); 4.0 or later is advised"
        );
    }
}

/// Some entities are whole on one instance only.
pub struct InexactKinds<'a> {
    /// The field that the stream is keyed by.
    pub key: &'a str,
    /// The kinds of entities, separated by commas.
    pub kinds: &'a str,
}

impl InexactKinds<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { key, kinds } = self;
        info!(
            key,
            kinds,
            "with several instances, features of these entities see only the transactions of an instance's own partitions; \
             features of entities with the key are exact on any number"
        );
    }
}

/// A partition's state is whole.
pub struct PartitionRestored {
    /// Which.
    pub partition: u32,
    /// Entries of the changelog that were taken.
    pub entries: u64,
    /// How long it took.
    pub took: Duration,
}

impl PartitionRestored {
    /// Counts and logs it.
    pub fn emit(&self) {
        let desk = &metrics().desk;
        desk.restores[0].inc();
        desk.restored_entries.inc_by(self.entries);
        let Self { partition, entries, took } = self;
        info!(partition, entries, seconds = took.as_secs_f64(), "state of a partition is whole");
    }
}

/// Restoring a partition goes on.
pub struct PartitionRestoring {
    /// Which.
    pub partition: u32,
    /// The share that is done, 0 to 1.
    pub share: f64,
    /// Entries so far.
    pub entries: u64,
    /// About how long it still takes.
    pub left: Duration,
}

impl PartitionRestoring {
    /// Logs it; the caller keeps to a line every few seconds.
    pub fn emit(&self) {
        let Self { partition, share, entries, left } = self;
        let (percent, left_s) = ((share * 100.0).round(), left.as_secs());
        info!(partition, percent, entries, left_s, "restoring a partition, rules answer for it");
    }
}

/// A partition waits for the broker before it can be restored.
pub struct PartitionWaits<'a> {
    /// Which.
    pub partition: u32,
    /// Why.
    pub reason: &'a str,
}

impl PartitionWaits<'_> {
    /// Logs it.
    pub fn emit(&self) {
        warn!(partition = self.partition, reason = self.reason, "a partition waits for its changelog");
    }
}

/// A partition's state is lost, and the settings say to go on without.
pub struct StateLost<'a> {
    /// Which.
    pub partition: u32,
    /// Why.
    pub reason: &'a str,
}

impl StateLost<'_> {
    /// Counts and logs it: an alarm.
    pub fn emit(&self) {
        metrics().desk.restores[1].inc();
        error!(
            partition = self.partition,
            reason = self.reason,
            "going on without state, as configured: windows begin anew"
        );
    }
}

/// A partition's state is lost, and the settings say to leave it alone then.
pub struct PartitionRefused<'a> {
    /// Which.
    pub partition: u32,
    /// Why.
    pub reason: &'a str,
}

impl PartitionRefused<'_> {
    /// Counts and logs it: nothing of the partition is decided until somebody acts.
    pub fn emit(&self) {
        metrics().desk.restores[2].inc();
        error!(
            partition = self.partition,
            reason = self.reason,
            "a partition is not read, its state cannot be had; kafka.on_lost_state = \"continue\" goes on without"
        );
    }
}

/// The broker has a decision of the REST door.
pub struct OutboxSent {
    /// How many.
    pub count: u64,
    /// How many the broker did not take; they are sent again.
    pub failed: u64,
}

impl OutboxSent {
    /// Counts them.
    pub fn emit(&self) {
        let desk = &metrics().desk;
        desk.outbox[0].inc_by(self.count);
        desk.outbox[1].inc_by(self.failed);
        debug!(count = self.count, failed = self.failed, "the broker has decisions of the outbox");
    }
}

/// So many decisions wait in the outbox.
pub struct OutboxWaits {
    /// Decisions that the broker does not have.
    pub waiting: u64,
    /// How long ago the oldest of them was made.
    pub age: Duration,
}

impl OutboxWaits {
    /// Sets the gauges.
    pub fn emit(&self) {
        metrics().desk.outbox_age.set(self.age.as_secs_f64());
        metrics().desk.outbox_waiting.set(i64::try_from(self.waiting).unwrap_or(i64::MAX));
    }
}

/// The outbox cannot send; decisions wait in the journal.
pub struct OutboxStuck<'a> {
    /// Why.
    pub reason: &'a str,
    /// Whether an episode begins.
    pub is_first: bool,
}

impl OutboxStuck<'_> {
    /// Logs it once per episode.
    pub fn emit(&self) {
        if self.is_first {
            warn!(reason = self.reason, "the outbox cannot reach the broker: decisions wait in the journal");
        }
    }
}

/// Records of one partition of a foreign topic are re-keyed and committed.
pub struct Rekeyed {
    /// Those that are transactions now.
    pub moved: u64,
    /// Those that became dead letters.
    pub dead: u64,
}

impl Rekeyed {
    /// Counts them.
    pub fn emit(&self) {
        for (counter, count) in metrics().desk.rekeyed.iter().zip([self.moved, self.dead]) {
            counter.inc_by(count);
        }
    }
}

/// Records of a foreign topic were gone before they were re-keyed.
pub struct RekeyGap<'a> {
    /// What is missing.
    pub reason: &'a str,
    /// Whether the settings say to go on without them.
    pub goes_on: bool,
}

impl RekeyGap<'_> {
    /// Counts and logs it: an alarm.
    pub fn emit(&self) {
        if self.goes_on {
            metrics().desk.rekey_gaps.inc();
            error!(reason = self.reason, "re-keying goes on without lost records, as configured");
        } else {
            error!(reason = self.reason, "a partition of the foreign topic is not re-keyed: this needs a person");
        }
    }
}

/// How far event time is behind, just before a scrape.
pub struct WatermarkLag {
    /// The distance of the partition most behind; zero when none has events.
    pub lag: Duration,
}

impl WatermarkLag {
    /// Sets the gauge.
    pub fn emit(&self) {
        metrics().desk.watermark_lag.set(self.lag.as_secs_f64());
    }
}

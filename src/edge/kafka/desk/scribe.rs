//! What one decided record leaves on the output topics, as records: payload, key, headers.
//!
//! ```text
//! decided ──> scores (always) · alerts (all but approve) · features (when configured) · late (beyond the lateness)
//! refused ──> dead
//! ```
//! Payloads are the REST door's JSON. Headers are those of `CloudEvents` in binary mode (its Kafka
//! protocol binding 1.0.2, section 3.2) and our own trace context. The key is the input's own.

use bytes::Bytes;
use compact_str::CompactString;

use super::intake::{Note, Refusal, TRACEPARENT};
use crate::domain::{EvaluationStatus, Outcome};
use crate::edge::kafka::dead::letter::{Cause, Letter, Origin};
use crate::edge::kafka::headers::NamedValue;
use crate::edge::kafka::lane::{Fetched, Headers, Output, Sink, Source};
use crate::edge::wire::{DecisionWriter, vector};
use crate::runtime::decisions::Record;
use crate::runtime::slot::Release;

/// The header that marks what came beyond the allowed lateness.
const LATE: &str = "fraudd-late";
/// A decision with twenty rules is about this long.
const DECISION_BYTES: usize = 3 << 10;
const FEATURES_BYTES: usize = 4 << 10;

/// How outputs are written.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names this group of instances in `ce_source`.
    pub group: String,
    /// Whether feature vectors are published.
    pub features: bool,
    /// Names of the input topics, for dead letters: transactions, labels.
    pub inputs: [String; 2],
    /// The most bytes kept of a dead letter's original.
    pub dead_len_max: usize,
}

/// Writes outputs.
pub(super) struct Scribe {
    options: Options,
    writer: DecisionWriter,
    source: Bytes,
}

impl Scribe {
    pub(super) fn new(options: Options) -> Self {
        let source = Bytes::from(format!("urn:fraudd:{}", options.group).into_bytes());
        Self { options, writer: DecisionWriter::default(), source }
    }

    /// Appends what a decision leaves. `release` names the features; one of another schema names none.
    pub(super) fn decision(
        &self,
        record: &Record,
        release: &Release,
        (input, note, is_late): (&Fetched, &Note, bool),
        outputs: &mut Vec<Output>,
    ) {
        let mut payload = Vec::with_capacity(DECISION_BYTES);
        self.writer.write(&mut payload, &record.decision, EvaluationStatus::New, None);
        let payload = Bytes::from(payload);
        let headers = self.headers("fraudd.decision.v1", record, note, is_late);
        let is_alert = record.decision.outcome != Outcome::Approve;
        let out = |sink, payload, headers| Output {
            sink,
            partition: input.partition,
            key: input.key.clone(),
            payload: Some(payload),
            headers,
            timestamp_ms: None,
        };
        if is_alert {
            let headers = self.headers("fraudd.alert.v1", record, note, is_late);
            outputs.push(out(Sink::Alerts, payload.clone(), headers));
        }
        outputs.push(out(Sink::Scores, payload, headers));
        if self.options.features && release.schema.hash() == record.decision.release.schema_hash {
            let mut payload = Vec::with_capacity(FEATURES_BYTES);
            vector::write(&mut payload, record, &release.schema);
            let headers = self.headers("fraudd.features.v1", record, note, is_late);
            outputs.push(out(Sink::Features, Bytes::from(payload), headers));
        }
        if is_late {
            outputs.push(late(input));
        }
    }

    /// Appends the dead letter of a record.
    pub(super) fn dead(&self, input: &Fetched, refusal: &Refusal, outputs: &mut Vec<Output>) {
        let [transactions, labels] = &self.options.inputs;
        let topic = match input.source {
            Source::Transactions => transactions,
            Source::Labels => labels,
        };
        outputs.push(dead_letter(input, topic, refusal, self.options.dead_len_max));
    }

    fn headers(&self, kind: &'static str, record: &Record, note: &Note, is_late: bool) -> Headers {
        let mut headers = Headers::with_capacity(8);
        let mut add = |name: &'static str, value: Bytes| headers.push((CompactString::const_new(name), Some(value)));
        add("ce_specversion", Bytes::from_static(b"1.0"));
        add("ce_type", Bytes::from_static(kind.as_bytes()));
        add("ce_source", self.source.clone());
        add("ce_id", Bytes::from(record.decision.id.to_string().into_bytes()));
        add("ce_time", Bytes::from(record.decision.evaluated_at.to_string().into_bytes()));
        add("content-type", Bytes::from_static(b"application/json"));
        // Whoever traces goes on from our span; where nobody does, nothing is written.
        if note.sender.is_some() || note.trace.sampled {
            add(TRACEPARENT, Bytes::copy_from_slice(&note.trace.to_header()));
        }
        if is_late {
            add(LATE, Bytes::from_static(b"true"));
        }
        headers
    }
}

/// Writes the dead letter of a record of `topic`, into the partition it came from.
pub(in crate::edge::kafka) fn dead_letter(
    input: &Fetched,
    topic: &str,
    refusal: &Refusal,
    value_len_max: usize,
) -> Output {
    let headers: Vec<NamedValue> =
        input.headers.iter().map(|(name, value)| (name.to_string(), value.as_deref().map(<[u8]>::to_vec))).collect();
    let origin = Origin {
        topic,
        partition: input.partition,
        offset: input.offset,
        timestamp_ms: input.timestamp_ms,
        key: input.key.as_deref(),
        value: input.payload.as_deref(),
        headers: &headers,
    };
    let cause = Cause { reason: refusal.reason, stage: refusal.stage, error: &refusal.detail };
    let Letter { key, value, headers } = Letter::write(&origin, &cause, value_len_max);
    Output {
        sink: Sink::Dead,
        partition: input.partition,
        key: key.map(Bytes::from),
        payload: value.map(Bytes::from),
        headers: headers.into_iter().map(|(name, value)| (name.into(), value.map(Bytes::from))).collect(),
        timestamp_ms: None,
    }
}

/// Gives a record that came too late on as it was.
fn late(input: &Fetched) -> Output {
    Output {
        sink: Sink::Late,
        partition: input.partition,
        key: input.key.clone(),
        payload: input.payload.clone(),
        headers: input.headers.clone(),
        timestamp_ms: input.timestamp_ms,
    }
}

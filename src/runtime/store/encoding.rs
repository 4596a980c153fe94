//! What payloads say: transactions and labels in the event log, decisions and releases in the ledger.
//!
//! ```text
//! | tag u8 | time i64 | hash u64 | body .. |     the first 17 bytes are read without the body
//!   transaction  event time    of the id        fields as they were checked
//!   label        event time    of the id        what it says
//!   decision     receipt time  of the id        release key u64, the record, its features
//!   release      -             its key          facts as JSON, once a segment before its first decision
//!   streamed     as decision   of the id        release key, partition u32, offset i64, the record, its features
//!   known        receipt time  of the id        an id that another instance decided: its key, its payload's hash
//!   confirmed    receipt time  of the id        a decision of the REST door that the stream has published
//!   positions    -             -                how far the partitions are: see `positions.rs`
//! ```
//! The last four appear only in segments of format version 2, which are written once a stream is on.
//! A body is postcard; feature values are packed, because most are small whole numbers. The layout is
//! part of the store's format version: whoever changes it raises [`super::FORMAT_VERSION`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::packing::{features_of, put_features};
use crate::domain::transaction::Kept;
use crate::domain::{
    Decision, DecisionId, DecisionSource, DegradedReason, FieldRef, Label, LabelKind, Latency, Outcome, Reason,
    ReasonSource, ReleaseFacts, RuleVerdict, Score, Timestamp, TraceId, Transaction,
};
use crate::runtime::decisions::{Cursor, ListHit, Origin, Record};
use crate::scoring::decide::policy::StandinLoad;
use crate::scoring::list::ListKind;

/// Bytes before the body.
pub(super) const PREFIX_LEN: usize = 17;
/// Where the release key of a decision lies in its payload.
const RELEASE_AT: usize = PREFIX_LEN;
const OMISSIONS: [&str; 3] = ["deadline", "budget", "model_error"];

/// What a payload is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Transaction = 1,
    Label = 2,
    Decision = 3,
    Release = 4,
    Streamed = 5,
    Known = 6,
    Confirmed = 7,
    Positions = 8,
}

impl Tag {
    pub(super) const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Transaction),
            2 => Some(Self::Label),
            3 => Some(Self::Decision),
            4 => Some(Self::Release),
            5 => Some(Self::Streamed),
            6 => Some(Self::Known),
            7 => Some(Self::Confirmed),
            8 => Some(Self::Positions),
            _ => None,
        }
    }

    /// Tells whether a frame says that an id was decided.
    pub(super) const fn is_id(self) -> bool {
        match self {
            Self::Decision | Self::Streamed | Self::Known => true,
            Self::Transaction | Self::Label | Self::Release | Self::Confirmed | Self::Positions => false,
        }
    }

    /// Tells whether a frame has a decision.
    pub(super) const fn is_decision(self) -> bool {
        match self {
            Self::Decision | Self::Streamed => true,
            Self::Transaction | Self::Label | Self::Release | Self::Known | Self::Confirmed | Self::Positions => false,
        }
    }

    /// Tells whether a frame's time counts for retention.
    pub(super) const fn has_time(self) -> bool {
        match self {
            Self::Transaction | Self::Label | Self::Decision | Self::Streamed | Self::Known | Self::Confirmed => true,
            Self::Release | Self::Positions => false,
        }
    }
}

/// What the first bytes of a payload say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) tag: Tag,
    pub(super) time: i64,
    pub(super) hash: u64,
}

/// Reads the first bytes of a payload.
pub(super) fn note(payload: &[u8]) -> Option<Note> {
    let tag = Tag::of(*payload.first()?)?;
    let time = i64::from_le_bytes(payload.get(1..9)?.try_into().ok()?);
    Some(Note { tag, time, hash: u64::from_le_bytes(payload.get(9..PREFIX_LEN)?.try_into().ok()?) })
}

/// Returns the 128 bits that stand for a transaction id; the upper half is the one on disk.
pub(crate) fn id_key(transaction_id: &str) -> u128 {
    xxh3_128(transaction_id.as_bytes())
}

/// Returns the half of [`id_key`] that is kept on disk and in the index.
pub(crate) const fn id_hash(key: u128) -> u64 {
    (key >> 64) as u64
}

pub(super) fn begin(out: &mut Vec<u8>, tag: Tag, time: i64, hash: u64) {
    out.push(tag as u8);
    out.extend_from_slice(&time.to_le_bytes());
    out.extend_from_slice(&hash.to_le_bytes());
}

/// Appends a body. Writing to memory cannot fail, and every type below is one that postcard takes.
fn body(out: &mut Vec<u8>, value: &impl Serialize) {
    let written = postcard::to_extend(value, std::mem::take(out));
    *out = written.unwrap_or_default();
}

/// Appends the payload of a transaction as entity state needs it.
pub(crate) fn put_transaction(out: &mut Vec<u8>, transaction: &Transaction) {
    let hash = id_hash(id_key(transaction.id()));
    begin(out, Tag::Transaction, transaction.occurred_at().micros(), hash);
    body(out, &transaction.kept());
}

#[derive(Serialize, Deserialize)]
struct KeptLabel<'a> {
    transaction_id: &'a str,
    kind: LabelKind,
    occurred_at: i64,
    source: &'a str,
}

/// Appends the payload of a label.
pub(crate) fn put_label(out: &mut Vec<u8>, label: &Label) {
    begin(out, Tag::Label, label.occurred_at.micros(), id_hash(id_key(&label.transaction_id)));
    let occurred_at = label.occurred_at.micros();
    let (transaction_id, source) = (label.transaction_id.as_str(), label.source.as_str());
    body(out, &KeptLabel { transaction_id, kind: label.kind, occurred_at, source });
}

/// One entry of the event log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Transaction(Box<Transaction>),
    Label(Label),
}

/// Reads an entry of the event log; `None` when the bytes are no such thing.
pub(crate) fn event(payload: &[u8]) -> Option<Event> {
    let rest = payload.get(PREFIX_LEN..)?;
    match note(payload)?.tag {
        Tag::Transaction => {
            let kept: Kept<'_> = postcard::from_bytes(rest).ok()?;
            Some(Event::Transaction(Box::new(kept.to_transaction()?)))
        }
        Tag::Label => {
            let kept: KeptLabel<'_> = postcard::from_bytes(rest).ok()?;
            let occurred_at = Timestamp::from_micros(kept.occurred_at);
            let (transaction_id, source) = (kept.transaction_id.into(), kept.source.into());
            Some(Event::Label(Label { transaction_id, kind: kept.kind, occurred_at, source }))
        }
        Tag::Decision | Tag::Release | Tag::Streamed | Tag::Known | Tag::Confirmed | Tag::Positions => None,
    }
}

#[derive(Serialize, Deserialize)]
struct KeptReason<'a> {
    code: &'a str,
    description: &'a str,
    contribution: Option<f64>,
    source: ReasonSource,
    decisive: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptRecord<'a> {
    id: u128,
    payload_hash: u128,
    received_at: i64,
    evaluated_at: i64,
    outcome: Outcome,
    score: Option<f64>,
    risk_score: u16,
    #[serde(borrow)]
    reasons: SmallVec<[KeptReason<'a>; 4]>,
    rules: SmallVec<[RuleVerdict; 24]>,
    explanation_omitted: Option<u8>,
    source: DecisionSource,
    degraded: SmallVec<[DegradedReason; 2]>,
    latency: [u32; 4],
    trace_id: u128,
    #[serde(borrow)]
    transaction: Kept<'a>,
    standin: (i64, f64),
    list_hits: Vec<(bool, String, String)>,
}

/// Appends the payload of a record. Its release key is zero until [`set_release`].
pub(crate) fn put_record(out: &mut Vec<u8>, record: &Record) {
    let Record { decision, transaction, payload_hash, features, standin, list_hits, received_at, cursor: _, origin } =
        record;
    let tag = match origin {
        Origin::Rest => Tag::Decision,
        Origin::Stream { .. } => Tag::Streamed,
    };
    begin(out, tag, received_at.micros(), id_hash(id_key(transaction.id())));
    out.extend_from_slice(&[0; 8]);
    if let Origin::Stream { partition, offset } = origin {
        out.extend_from_slice(&partition.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
    }
    let reason = |reason: &'_ Reason| (reason.contribution, reason.source, reason.decisive);
    let reasons = decision.reasons.iter().map(|kept| {
        let (contribution, source, decisive) = reason(kept);
        KeptReason { code: &kept.code, description: &kept.description, contribution, source, decisive }
    });
    let omitted = decision.explanation_omitted;
    let omitted = omitted.and_then(|why| (0..).zip(OMISSIONS).find(|(_, known)| *known == why));
    let Latency { total, features: features_us, rules, model } = decision.latency;
    body(
        out,
        &KeptRecord {
            id: decision.id.0,
            payload_hash: *payload_hash,
            received_at: received_at.micros(),
            evaluated_at: decision.evaluated_at.micros(),
            outcome: decision.outcome,
            score: decision.score.map(Score::get),
            risk_score: decision.risk_score,
            reasons: reasons.collect(),
            rules: decision.rules.clone(),
            explanation_omitted: omitted.map(|(number, _)| number),
            source: decision.source,
            degraded: decision.degraded.clone(),
            latency: [total, features_us, rules, model],
            trace_id: decision.trace_id.0,
            transaction: transaction.kept(),
            standin: (standin.entity_total, standin.review_share),
            list_hits: list_hits.iter().map(kept_hit).collect(),
        },
    );
    put_features(out, features);
}

fn kept_hit(hit: &ListHit) -> (bool, String, String) {
    let entry = hit.to_entry();
    (hit.list == ListKind::Deny, entry.field_path().into(), hit.reason.to_string())
}

/// Names the release of a decision's payload.
pub(super) fn set_release(payload: &mut [u8], key: u64) {
    if let Some(place) = payload.get_mut(RELEASE_AT..RELEASE_AT + 8) {
        place.copy_from_slice(&key.to_le_bytes());
    }
}

/// Returns the release key of a decision's payload.
pub(super) fn release_of(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.get(RELEASE_AT..RELEASE_AT + 8)?.try_into().ok()?))
}

/// Appends the payload of a release and returns its key.
pub(super) fn put_release(out: &mut Vec<u8>, facts: &ReleaseFacts) -> u64 {
    // A map of strings and numbers: writing it to memory cannot fail.
    let json = serde_json::to_vec(facts).unwrap_or_default();
    let key = xxh3_64(&json);
    begin(out, Tag::Release, i64::MIN, key);
    out.extend_from_slice(&json);
    key
}

/// Reads a release.
pub(super) fn release(payload: &[u8]) -> Option<ReleaseFacts> {
    let rest = payload.get(PREFIX_LEN..).filter(|_| note(payload).is_some_and(|note| note.tag == Tag::Release))?;
    serde_json::from_slice(rest).ok()
}

/// Reads by which door a decision came, and what follows.
fn origin(tag: Tag, rest: &[u8]) -> Option<(Origin, &[u8])> {
    match tag {
        Tag::Decision => Some((Origin::Rest, rest)),
        Tag::Streamed => {
            let (head, rest) = rest.split_at_checked(12)?;
            let partition = u32::from_le_bytes(head[..4].try_into().ok()?);
            let offset = i64::from_le_bytes(head[4..].try_into().ok()?);
            Some((Origin::Stream { partition, offset }, rest))
        }
        Tag::Transaction | Tag::Label | Tag::Release | Tag::Known | Tag::Confirmed | Tag::Positions => None,
    }
}

/// Appends the payload of an id that another instance decided.
pub(crate) fn put_known(out: &mut Vec<u8>, at: Timestamp, key: u128, payload_hash: u128) {
    begin(out, Tag::Known, at.micros(), id_hash(key));
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&payload_hash.to_le_bytes());
}

/// Reads an id that another instance decided: its key and the hash of its payload.
pub(super) fn known(payload: &[u8]) -> Option<(u128, u128)> {
    let rest = payload.get(PREFIX_LEN..).filter(|_| note(payload).is_some_and(|note| note.tag == Tag::Known))?;
    let (key, payload_hash) = rest.split_at_checked(16)?;
    Some((u128::from_le_bytes(key.try_into().ok()?), u128::from_le_bytes(payload_hash.try_into().ok()?)))
}

/// Appends the payload that says a decision of the REST door was published.
pub(crate) fn put_confirmed(out: &mut Vec<u8>, at: Timestamp, key: u128) {
    begin(out, Tag::Confirmed, at.micros(), id_hash(key));
}

/// Reads a record; its release is `facts`.
pub(super) fn record(payload: &[u8], cursor: u64, facts: Arc<ReleaseFacts>) -> Option<Record> {
    let (origin, rest) = origin(note(payload)?.tag, payload.get(RELEASE_AT + 8..)?)?;
    let (kept, packed): (KeptRecord<'_>, &[u8]) = postcard::take_from_bytes(rest).ok()?;
    let reasons = kept.reasons.into_iter().map(|reason| Reason {
        code: reason.code.into(),
        description: reason.description.into(),
        contribution: reason.contribution,
        source: reason.source,
        decisive: reason.decisive,
    });
    let list_hits = kept.list_hits.into_iter().map(|(deny, field, why)| {
        let list = if deny { ListKind::Deny } else { ListKind::Allow };
        Some(ListHit { list, field: FieldRef::parse(&field)?, reason: why.into() })
    });
    let list_hits = list_hits.collect::<Option<_>>()?;
    let reasons = reasons.collect();
    let transaction = kept.transaction.to_transaction()?;
    let [total, features, rules, model] = kept.latency;
    Some(Record {
        decision: Decision {
            id: DecisionId(kept.id),
            transaction_id: transaction.id().into(),
            outcome: kept.outcome,
            score: kept.score.map(Score::new).transpose().ok()?,
            risk_score: kept.risk_score,
            reasons,
            rules: kept.rules,
            explanation_omitted: kept.explanation_omitted.and_then(|why| OMISSIONS.get(usize::from(why)).copied()),
            release: facts,
            source: kept.source,
            degraded: kept.degraded,
            latency: Latency { total, features, rules, model },
            trace_id: TraceId(kept.trace_id),
            evaluated_at: Timestamp::from_micros(kept.evaluated_at),
        },
        transaction,
        payload_hash: kept.payload_hash,
        features: features_of(packed)?,
        standin: StandinLoad { entity_total: kept.standin.0, review_share: kept.standin.1 },
        list_hits,
        received_at: Timestamp::from_micros(kept.received_at),
        cursor: Cursor::new(cursor),
        origin,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::FeatureVector;
    use crate::runtime::store::samples;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let record = samples::record("t-1", 7);
        let mut payload = Vec::new();
        put_record(&mut payload, &record);
        set_release(&mut payload, 42);
        assert_eq!(release_of(&payload), Some(42));
        let note = note(&payload).expect("a note");
        assert_eq!((note.tag, note.hash), (Tag::Decision, id_hash(id_key("t-1"))));
        let again = super::record(&payload, 7, Arc::clone(&record.decision.release)).expect("readable");
        // NaN is not equal to itself: values are compared by their bits.
        let bits = |record: &Record| record.features.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&again), bits(&record));
        let plain = |record: &Record| Record { features: FeatureVector::default(), ..record.clone() };
        assert_eq!(plain(&again), plain(&record));
        for place in 0..record.features.len() {
            assert_eq!(again.features.is_missing(place), record.features.is_missing(place));
        }
        for cut in 0..payload.len() {
            assert_eq!(super::record(&payload[..cut], 7, Arc::default()), None, "cut at {cut}");
        }
    }

    #[test]
    fn releases_and_events_come_back() {
        let record = samples::record("t-1", 7);
        let mut payload = Vec::new();
        let key = put_release(&mut payload, &record.decision.release);
        assert_eq!(note(&payload).expect("a note").hash, key);
        assert_eq!(release(&payload).as_ref(), Some(&*record.decision.release));
        assert_eq!(event(&payload), None);

        let mut payload = Vec::new();
        put_transaction(&mut payload, &record.transaction);
        assert_eq!(event(&payload), Some(Event::Transaction(Box::new(record.transaction.clone()))));

        let label = Label {
            transaction_id: "t-1".into(),
            kind: LabelKind::Chargeback,
            occurred_at: Timestamp::from_seconds(5),
            source: "bank".into(),
        };
        let mut payload = Vec::new();
        put_label(&mut payload, &label);
        assert_eq!(event(&payload), Some(Event::Label(label)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(payload in prop::collection::vec(any::<u8>(), 0..300), tag in 0..10_u8) {
            let mut payload = payload;
            if let Some(first) = payload.first_mut() {
                *first = tag;
            }
            let _ = event(&payload);
            let _ = super::record(&payload, 1, Arc::default());
            let _ = release(&payload);
            let _ = known(&payload);
        }
    }
}

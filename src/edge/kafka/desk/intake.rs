//! A record becomes a transaction, labels, or a refusal that says why.
//!
//! ```text
//! record ─ size ─ JSON or mapping ─ contract ─ key's partition ─> transaction (+ a decision that was sealed elsewhere)
//!              └ any fault: a refusal, which becomes a dead letter
//! ```
//! A record that says it is in the contract's own form is read as such, whatever the topic's mapping: the
//! outbox writes those. A panic over one record is a refusal too.
//! Nothing is skipped: every record becomes one of the three. No value of the sender is repeated in a
//! refusal's words. Whether an event comes too late is not known here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::domain::{Label, Timestamp, Transaction};
use crate::edge::kafka::dead::letter::Stage;
use crate::edge::kafka::lane::{Fetched, Source};
use crate::edge::kafka::outbox::{FORM_HEADER, FORM_OWN};
use crate::edge::kafka::signature::{DECISION_HEADER, Key, Subject};
use crate::edge::problem::Problem;
use crate::edge::wire::{self, Contract, Mapping, Reject, label};
use crate::runtime::decisions::Record;
use crate::runtime::store::{id_hash, id_key, read_record};
use crate::runtime::stream::Ownership;
use crate::telemetry::events::{FieldsIgnored, SealRefused};
use crate::telemetry::trace::{RemoteSpan, TraceContext};

/// The header that carries a trace (W3C).
pub(super) const TRACEPARENT: &str = "traceparent";

/// How records are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a transaction must be.
    pub contract: Contract,
    /// How a foreign record is read; `None`: our own JSON.
    pub mapping: Option<Mapping>,
    /// The longest payload that is read, in bytes.
    pub payload_len_max: usize,
    /// The group's key; without it no decision of another instance is believed.
    pub key: Option<Key>,
}

/// Reads records.
pub(in crate::edge::kafka) struct Intake {
    options: Options,
    ownership: Arc<Ownership>,
}

/// What a record is.
#[derive(Debug)]
pub(super) enum Incoming {
    /// One to decide.
    Transaction(Box<Arrival>),
    /// What became of others.
    Labels(Vec<Label>),
    /// Nothing that can be read.
    Refused(Refusal),
}

/// A transaction that arrived.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) transaction: Transaction,
    /// The decision that another instance's REST door gave, verified.
    pub(super) decided: Option<Box<Record>>,
    /// The sender's span, when it sent one.
    pub(super) sender: Option<RemoteSpan>,
    /// When the broker took the record, when it says so.
    pub(super) appended_at: Option<Timestamp>,
}

/// What is needed of a transaction once it is on its way to the scorer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    pub(super) occurred_at: Timestamp,
    /// The ledger's hash of its id.
    pub(super) id_hash: u64,
    pub(super) payload_hash: u128,
    /// Our own span over this record.
    pub(super) trace: TraceContext,
    /// The sender's, which ours is linked to.
    pub(super) sender: Option<RemoteSpan>,
    /// When deciding it began.
    pub(super) received_at: Timestamp,
    /// Beyond the allowed lateness.
    pub(super) is_late: bool,
}

impl Note {
    /// Takes down what an arrival is; its span begins now.
    pub(super) fn of(arrival: &Arrival, is_late: bool, received_at: Timestamp) -> Self {
        let transaction = &arrival.transaction;
        Self {
            occurred_at: transaction.occurred_at(),
            id_hash: id_hash(id_key(transaction.id())),
            payload_hash: transaction.payload_hash(),
            trace: TraceContext::beside(arrival.sender.as_ref()),
            sender: arrival.sender,
            received_at,
            is_late,
        }
    }
}

/// Why a record became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge::kafka) struct Refusal {
    /// A stable name, as in the problems of the REST door.
    pub(in crate::edge::kafka) reason: &'static str,
    /// Where it failed.
    pub(in crate::edge::kafka) stage: Stage,
    /// More, for a person; without values of the sender.
    pub(in crate::edge::kafka) detail: String,
}

impl Refusal {
    pub(in crate::edge::kafka) fn new(reason: &'static str, stage: Stage, detail: impl Into<String>) -> Self {
        Self { reason, stage, detail: detail.into() }
    }

    /// The id was decided with another payload before.
    pub(super) fn conflict() -> Self {
        Self::new("id_conflict", Stage::Conflict, "the transaction id was decided with another payload")
    }

    /// The id's first decision cannot be seen.
    pub(super) fn unavailable() -> Self {
        let detail = "the id is held by the other door, or its record cannot be read from disk";
        Self::new("id_unavailable", Stage::Conflict, detail)
    }

    pub(super) fn panicked() -> Self {
        Self::new("panic", Stage::Panic, "deciding this record failed in an unforeseen way; the log has more")
    }

    fn of(reject: Reject) -> Self {
        let stage = match &reject {
            Reject::Utf8 { .. } | Reject::Syntax { .. } | Reject::TooDeep { .. } => Stage::Decode,
            Reject::Shape { .. } | Reject::TooMany { .. } | Reject::Fields { .. } => Stage::Schema,
        };
        let problem = Problem::from(reject);
        let mut detail = Vec::with_capacity(256);
        problem.write(&mut detail);
        Self { reason: problem.code().name(), stage, detail: String::from_utf8(detail).unwrap_or_default() }
    }
}

impl Intake {
    pub(in crate::edge::kafka) const fn new(options: Options, ownership: Arc<Ownership>) -> Self {
        Self { options, ownership }
    }

    /// Reads a record; `now` stands in for the broker's time where a record has none.
    pub(super) fn read(&self, record: &Fetched, now: Timestamp) -> Incoming {
        let read = || match record.source {
            Source::Transactions => self.arrival(record, now),
            Source::Labels => {
                let (labels, _) = label::read(self.payload(record)?).map_err(Refusal::of)?;
                Ok(Incoming::Labels(labels))
            }
        };
        unbroken(read).unwrap_or_else(Incoming::Refused)
    }

    /// Reads a record as a transaction and nothing more: in whatever partition it lies, however far ahead it is.
    pub(in crate::edge::kafka) fn transaction(&self, record: &Fetched) -> Result<Transaction, Refusal> {
        unbroken(|| self.understood(record, Timestamp::MAX).map(|taken| taken.transaction))
    }

    fn payload<'r>(&self, record: &'r Fetched) -> Result<&'r [u8], Refusal> {
        let Some(payload) = &record.payload else {
            return Err(Refusal::new("empty_record", Stage::Decode, "the record has no payload (a tombstone)"));
        };
        if payload.len() > self.options.payload_len_max {
            let detail = format!("{} bytes, at most {} are read", payload.len(), self.options.payload_len_max);
            return Err(Refusal::new("record_too_large", Stage::Decode, detail));
        }
        Ok(payload)
    }

    /// Reads a payload by the contract, in the form that the record or the topic says.
    fn understood(&self, record: &Fetched, received_at: Timestamp) -> Result<wire::Intake, Refusal> {
        let payload = self.payload(record)?;
        let mapping = match header(record, FORM_HEADER) {
            None => self.options.mapping.as_ref(),
            Some(form) if form == FORM_OWN.as_bytes() => None,
            Some(_) => {
                let detail = format!("its header {FORM_HEADER} names a form that is not {FORM_OWN}");
                return Err(Refusal::new("unknown_form", Stage::Schema, detail));
            }
        };
        self.options.contract.read(payload, mapping, received_at).map_err(Refusal::of)
    }

    fn arrival(&self, record: &Fetched, now: Timestamp) -> Result<Incoming, Refusal> {
        let appended_at = record.timestamp_ms.map(|ms| Timestamp::from_micros(ms.saturating_mul(1_000)));
        let taken = self.understood(record, appended_at.unwrap_or(now))?;
        FieldsIgnored { count: taken.fields_ignored }.emit();
        let transaction = taken.transaction;
        self.check_partition(&transaction, record.partition)?;
        let decided = self.sealed(record, &transaction);
        let sender = header(record, TRACEPARENT).and_then(RemoteSpan::from_header);
        Ok(Incoming::Transaction(Box::new(Arrival { transaction, decided, sender, appended_at })))
    }

    /// State is kept by partition: a record in another one than its key's would be decided without it.
    fn check_partition(&self, transaction: &Transaction, found: i32) -> Result<(), Refusal> {
        let expected = self.ownership.partition_of(transaction);
        if expected.is_none_or(|expected| i64::from(expected) == i64::from(found)) {
            return Ok(());
        }
        let detail = format!(
            "lies in partition {found}, its key belongs to partition {}: set kafka.partitioner to what the producers use, \
             or re-key the topic",
            expected.unwrap_or_default()
        );
        Err(Refusal::new("wrong_partition", Stage::Key, detail))
    }

    /// Returns the decision of another instance's REST door, if the record has one that verifies.
    fn sealed(&self, record: &Fetched, transaction: &Transaction) -> Option<Box<Record>> {
        let sealed = header(record, DECISION_HEADER)?;
        let payload_hash = transaction.payload_hash();
        let subject = Subject { transaction_id: transaction.id(), payload_hash };
        let opened = match &self.options.key {
            Some(key) => key.open(&subject, sealed).map_err(|refused| refused.to_string()),
            None => Err("kafka.hmac_key is not set".to_owned()),
        };
        let decided = opened.and_then(|bytes| {
            let decided = read_record(bytes).ok_or("the sealed decision is of another version of fraudd")?;
            let fits = decided.payload_hash == payload_hash && decided.transaction.id() == transaction.id();
            if fits { Ok(Box::new(decided)) } else { Err("the sealed decision is of another transaction".to_owned()) }
        });
        decided.map_err(|reason| SealRefused { reason: &reason }.emit()).ok()
    }
}

/// Makes a panic over one record a refusal of it.
fn unbroken<T>(read: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(Refusal::panicked()))
}

/// Returns the value of a record's first header of this name.
fn header<'r>(record: &'r Fetched, name: &str) -> Option<&'r [u8]> {
    record.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref())
}

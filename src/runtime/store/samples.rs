//! Records, transactions and stores for tests.

use std::sync::Arc;
use std::time::Duration;

use super::{Durability, OnFailure, Options};
use crate::domain::decision::samples::decision;
use crate::domain::transaction::{Attribute, samples};
use crate::domain::{FeatureVector, FieldRef, Span, TextField, Timestamp, Transaction};
use crate::runtime::decisions::{Cursor, ListHit, Origin, Record};
use crate::runtime::entities::{self, Entities};
use crate::scoring::decide::policy::StandinLoad;
use crate::scoring::feature::Schema;
use crate::scoring::list::ListKind;

/// A transaction of one customer and card.
pub(crate) fn transaction(id: &str, at: Timestamp) -> Transaction {
    samples::transaction(id, at, 1_250, |draft| {
        draft.text(TextField::CustomerId, "c-1");
        draft.text(TextField::CardToken, "tok_1");
        draft.text(TextField::Channel, "pos");
        draft.latitude(48.85);
        draft.longitude(2.35);
        draft.attribute("tier", Attribute::Text("gold".into()));
        draft.attribute("visits", Attribute::Int(3));
    })
}

/// A decision with everything there can be in one.
pub(crate) fn record(id: &str, cursor: u64) -> Record {
    record_at(id, cursor, Timestamp::from_seconds(1_772_359_200))
}

/// The same, received at a time.
pub(crate) fn record_at(id: &str, cursor: u64, at: Timestamp) -> Record {
    let transaction = transaction(id, at);
    let mut features = FeatureVector::with_capacity(5);
    features.push(Some(0.1 + 0.2), 0.0);
    features.push(None, f64::NAN);
    features.push(None, -1.0);
    features.push(Some(300.0), 0.0);
    features.push(Some(0.0), 0.0);
    Record {
        decision: decision(id),
        payload_hash: transaction.payload_hash(),
        transaction,
        features,
        standin: StandinLoad { entity_total: 5_000, review_share: 0.25 },
        list_hits: vec![ListHit {
            list: ListKind::Deny,
            field: FieldRef::parse("attributes.tier").expect("a field"),
            reason: "test".into(),
        }],
        received_at: at,
        cursor: Cursor::new(cursor),
        origin: Origin::Rest,
    }
}

/// Options of a store in a directory.
pub(crate) fn options(directory: &std::path::Path) -> Options {
    Options {
        directory: directory.into(),
        durability: Durability::Process,
        on_failure: OnFailure::Answer,
        bytes_max: 1 << 30,
        age_max: Span::from_days(36_500),
        events_age_min: Span::ZERO,
        segment_len_max: 16 << 10,
        sync_interval: Duration::from_millis(1),
    }
}

/// Entity state of the shipped schema.
pub(crate) fn entities() -> (Arc<Entities>, Arc<Schema>) {
    let schema = Schema::parse(include_str!("../../../models/schemas/card-fraud.toml")).expect("a schema");
    let schema = Arc::new(schema);
    let entities = Entities::new(entities::Options::default(), std::slice::from_ref(&schema)).expect("entities");
    (Arc::new(entities), schema)
}

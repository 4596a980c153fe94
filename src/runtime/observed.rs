//! A decided transaction as the detectors read it, and as it waits for its label.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::decisions::Record;
use crate::domain::{Score, TextField};
use crate::healing::ModelRef;
use crate::healing::drift::Observation;
use crate::healing::quality::Decided;

/// Whose a transaction is, in the order in which it is asked: who votes once in a block.
const ENTITY: [TextField; 3] = [TextField::CardToken, TextField::CustomerId, TextField::DeviceId];
/// Where it was, in the order in which it is asked.
const MERCHANT: [TextField; 2] = [TextField::MerchantId, TextField::MerchantTerminalId];

/// Names a transaction among those that wait for their label.
#[must_use]
pub fn key_of(transaction_id: &str) -> u64 {
    xxh3_64(transaction_id.as_bytes())
}

/// Turns a record into what waits for its label.
#[must_use]
pub fn decided(record: &Record, model: &Arc<ModelRef>) -> Decided {
    Decided {
        model: Arc::clone(model),
        transaction: key_of(record.transaction.id()),
        score: record.decision.score.map(Score::get),
        standby_score: None,
        outcome: record.decision.outcome,
        occurred_at: record.transaction.occurred_at(),
        decided_at: record.received_at,
    }
}

/// Turns a record into an observation. `inputs` are the places of the model's inputs among the features, in order; `row`
/// is filled with their values.
pub fn observation<'a>(record: &Record, inputs: &[usize], row: &'a mut Vec<f64>) -> Observation<'a> {
    row.clear();
    row.extend(inputs.iter().map(|place| record.features.values().get(*place).copied().unwrap_or(f64::NAN)));
    // What stands for a masked feature tells nothing of its source. One that had no value reads as it does in training:
    // by what is declared for it, which is what stands there.
    for (masked, value) in record.features.unmasked() {
        let place = inputs.iter().position(|place| place == masked);
        if let (Some(input), Some(value)) = (place, value) {
            row[input] = *value;
        }
    }
    let hash = |fields: &[TextField]| {
        let text = fields.iter().find_map(|field| record.transaction.text(*field));
        // 0 stands for unknown.
        text.map_or(0, |text| xxh3_64(text.as_bytes()).max(1))
    };
    Observation {
        received_at: record.received_at,
        occurred_at: record.transaction.occurred_at(),
        entity: hash(&ENTITY),
        merchant: hash(&MERCHANT),
        device: hash(&[TextField::DeviceId]),
        row,
        score: record.decision.score.map(Score::get),
        outcome: record.decision.outcome,
        degraded: !record.decision.degraded.is_empty(),
    }
}

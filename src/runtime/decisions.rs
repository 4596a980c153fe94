//! The ledger: the shape the edge needs; the scorer's own replaces this file.
#![allow(missing_docs)]
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::{Decision, FeatureVector, Outcome, Timestamp, Transaction};

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub decision: Decision,
    pub transaction: Transaction,
    pub payload_hash: u128,
    pub features: FeatureVector,
    pub received_at: Timestamp,
    pub cursor: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Page {
    pub records: Vec<Arc<Record>>,
    pub next: u64,
}

#[derive(Default)]
pub struct Ledger {
    pub(super) records: Mutex<BTreeMap<String, Arc<Record>>>,
}

impl Ledger {
    pub fn get(&self, transaction_id: &str) -> Option<Arc<Record>> {
        self.records.lock().get(transaction_id).cloned()
    }

    pub fn after(&self, cursor: u64, outcome: Option<Outcome>, limit: usize) -> Page {
        let mut records: Vec<_> = self.records.lock().values().cloned().collect();
        records.sort_by_key(|record| record.cursor);
        records.retain(|record| record.cursor > cursor);
        records.truncate(limit);
        let next = records.last().map_or(cursor, |record| record.cursor);
        records.retain(|record| outcome.is_none_or(|wanted| record.decision.outcome == wanted));
        Page { records, next }
    }
}

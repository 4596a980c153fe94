//! The scorer: the shape the edge needs; the scorer's own replaces this file.
#![allow(missing_docs, clippy::unused_async)]
use std::sync::Arc;

use super::clock::Moment;
use super::decisions::{Ledger, Record};
use super::entities::{Entities, LabelOutcome};
use super::slot::{Release, Slot};
use crate::domain::{
    Decision, DecisionId, DecisionSource, EvaluationStatus, FeatureVector, Label, Latency, Outcome, Timestamp, TraceId,
    Transaction,
};
use crate::telemetry::events;

#[derive(Clone, Debug)]
pub struct Request {
    pub transaction: Transaction,
    pub trace_id: TraceId,
    pub received_at: Timestamp,
    pub started: Moment,
    pub deadline: Moment,
    pub explain: bool,
}

#[derive(Clone, Debug)]
pub enum Answer {
    Decided { record: Arc<Record>, status: EvaluationStatus },
    Conflict,
    InFlight,
}

#[derive(Clone)]
pub struct Scorer {
    pub slot: Arc<Slot>,
    pub ledger: Arc<Ledger>,
    pub entities: Arc<Entities>,
}

impl Scorer {
    pub async fn score(&self, request: Request) -> Answer {
        let mut records = self.ledger.records.lock();
        if let Some(record) = records.get(request.transaction.id()) {
            if record.payload_hash != request.transaction.payload_hash() {
                return Answer::Conflict;
            }
            return Answer::Decided { record: Arc::clone(record), status: EvaluationStatus::Duplicate };
        }
        let record = Arc::new(self.decide(request, records.len() as u64 + 1));
        records.insert(record.transaction.id().to_owned(), Arc::clone(&record));
        events::DecisionMade { decision: &record.decision }.emit();
        Answer::Decided { record, status: EvaluationStatus::New }
    }

    pub async fn dry_run(&self, request: Request) -> Arc<Record> {
        Arc::new(self.decide(request, 0))
    }

    pub fn label(&self, label: &Label) -> LabelOutcome {
        if self.ledger.get(&label.transaction_id).is_some() { LabelOutcome::Applied } else { LabelOutcome::Pending }
    }

    pub fn release(&self) -> Arc<Release> {
        self.slot.load()
    }

    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub fn entities(&self) -> &Entities {
        &self.entities
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn decide(&self, request: Request, cursor: u64) -> Record {
        let payload_hash = request.transaction.payload_hash();
        let decision = Decision {
            id: DecisionId(payload_hash),
            transaction_id: request.transaction.id().into(),
            outcome: if request.transaction.amount() > 100_000 { Outcome::Review } else { Outcome::Approve },
            score: None,
            risk_score: 0,
            reasons: smallvec::SmallVec::new(),
            rules: smallvec::SmallVec::new(),
            explanation_omitted: None,
            release: Arc::clone(&self.release().facts),
            source: DecisionSource::Rules,
            degraded: smallvec::SmallVec::new(),
            latency: Latency::default(),
            trace_id: request.trace_id,
            evaluated_at: request.received_at,
        };
        let mut features = FeatureVector::with_capacity(1);
        features.push(Some(1.0), 0.0);
        let (transaction, received_at) = (request.transaction, request.received_at);
        Record { decision, transaction, payload_hash, features, received_at, cursor }
    }
}

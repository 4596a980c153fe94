//! What the label watch is given.

use std::sync::Arc;

use crate::domain::{Outcome, Timestamp};
use crate::healing::model::ModelRef;

/// A transaction that was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The model that was asked; shared, for a hundred thousand of these wait.
    pub model: Arc<ModelRef>,
    /// A hash of the transaction's id.
    pub transaction: u64,
    /// The model's score.
    pub score: Option<f64>,
    /// The standby's score, where it was asked, too.
    pub standby_score: Option<f64>,
    /// What was decided.
    pub outcome: Outcome,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it was decided.
    pub decided_at: Timestamp,
}

/// A decided transaction whose label has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// What was decided.
    pub decided: Decided,
    /// What it was.
    pub is_fraud: bool,
    /// When the label came.
    pub labelled_at: Timestamp,
}

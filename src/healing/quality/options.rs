//! What is promised about labels, and how long they take.

use serde::{Deserialize, Serialize};

use crate::domain::Span;
use crate::healing::rates::Learning;

/// How labels are watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Labels that stand, on average, at least between two false acting alarms.
    pub run_length_acting: f64,
    /// The same between two false advisory alarms.
    pub run_length_advisory: f64,
    /// The same between two false words that something ended.
    pub run_length_ended: f64,
    /// How old a transaction is when the labels of its age are complete.
    pub maturity: Span,
    /// The most labels that wait for their age; beyond, the oldest counts at once.
    pub pending_max: usize,
    /// The most decided transactions that are followed to see whether their labels come.
    pub sampled_max: usize,
    /// Without a label for so long, while transactions are decided, the feed is silent.
    pub silence: Span,
    /// What an old transaction without a label is.
    pub unlabelled: Unlabelled,
    /// How usual rates are learned, and what they may do.
    pub learning: Learning,
    /// How far observed frauds may be from expected ones, as a ratio less 1.
    pub calibration_tolerance: f64,
    /// How far coverage and delay of labels may move, as a ratio less 1.
    pub feed_tolerance: f64,
}

/// What an old transaction without a label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlabelled {
    /// Not known: nothing is said about it.
    Missing,
    /// Legitimate: only frauds are reported.
    Legitimate,
}

/// What a model is known to reach, from its validation; what is `None` is learned from its first labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Share of frauds among what was stopped.
    pub precision: Option<f64>,
    /// Share of what was stopped among frauds.
    pub recall: Option<f64>,
    /// Mean place of frauds among legitimate transactions, 0 to 1 (see the ranks).
    pub rank: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run_length_acting: 1e6,
            run_length_advisory: 1e5,
            run_length_ended: 1e4,
            maturity: Span::from_days(7),
            pending_max: 200_000,
            sampled_max: 50_000,
            silence: Span::from_days(2),
            unlabelled: Unlabelled::Missing,
            learning: Learning::default(),
            calibration_tolerance: 0.25,
            feed_tolerance: 0.3,
        }
    }
}

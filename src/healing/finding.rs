//! What a detector has found: an alarm, how far it may be acted on, and the numbers behind it.
//!
//! A finding says what is seen, never what to do. One that rests on a model's behaviour names that model,
//! so that evidence about another one is ignored (`HE-3`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::ModelRef;
use crate::domain::Timestamp;

/// What is wrong, as the decision table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// Calls fail, give NaN, wrong shapes, or never come back.
    ModelFault,
    /// Computing takes too long while the line is short and the host has its processor.
    SlowModel,
    /// The line is long; computing is as fast as ever.
    Overload,
    /// The processor is throttled or stolen: everything is slow, whatever the model.
    HostSlow,
    /// Model inputs are distributed otherwise than in training.
    InputDrift,
    /// Scores are distributed otherwise than in training.
    ScoreDrift,
    /// One feature lost its values or left its range: nulls, non-finite, unseen, out of range.
    BrokenFeature,
    /// Far more transactions are stopped than in training.
    AlertSurge,
    /// Far fewer transactions are stopped than in training.
    AlertCollapse,
    /// Transactions come late, stand still, or come in an unknown quantity.
    Volume,
    /// Labels stop, thin out or come late.
    LabelFeed,
    /// Labels show that precision or recall was lost.
    QualityLost,
    /// Labels show that scores promise too many or too few frauds, while their order is kept.
    CalibrationOff,
    /// A golden row no longer gives its score.
    GoldenMismatch,
    /// What is done cannot be written down.
    AuditDown,
}

impl Alarm {
    /// Every alarm, for metrics and tables.
    pub const ALL: [Self; 15] = [
        Self::ModelFault,
        Self::SlowModel,
        Self::Overload,
        Self::HostSlow,
        Self::InputDrift,
        Self::ScoreDrift,
        Self::BrokenFeature,
        Self::AlertSurge,
        Self::AlertCollapse,
        Self::Volume,
        Self::LabelFeed,
        Self::QualityLost,
        Self::CalibrationOff,
        Self::GoldenMismatch,
        Self::AuditDown,
    ];

    /// Returns the name used in JSON, settings and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModelFault => "model_fault",
            Self::SlowModel => "slow_model",
            Self::Overload => "overload",
            Self::HostSlow => "host_slow",
            Self::InputDrift => "input_drift",
            Self::ScoreDrift => "score_drift",
            Self::BrokenFeature => "broken_feature",
            Self::AlertSurge => "alert_surge",
            Self::AlertCollapse => "alert_collapse",
            Self::Volume => "volume",
            Self::LabelFeed => "label_feed",
            Self::QualityLost => "quality_lost",
            Self::CalibrationOff => "calibration_off",
            Self::GoldenMismatch => "golden_mismatch",
            Self::AuditDown => "audit_down",
        }
    }
}

/// How far a finding may be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The detector starves, warms up or saw the clock jump: it neither alarms nor clears.
    Inconclusive,
    /// What was found is over.
    Ended,
    /// People should know; nothing is done about it.
    Advisory,
    /// Strong enough to act on, at the stated rate of false alarms.
    Acting,
}

/// The numbers behind a finding, enough to judge it again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Natural logarithm of the evidence gathered (an e-value), finite; 0 where the finding is a plain count.
    pub log_e: f64,
    /// What it had to reach: the logarithm of the stated run between false alarms.
    pub log_threshold: f64,
    /// Votes, calls or labels it rests on.
    pub votes: u64,
    /// Named figures, finite: effect sizes, rates, latencies.
    pub values: BTreeMap<String, f64>,
    /// One line a person can read at three in the morning.
    pub text: String,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub alarm: Alarm,
    /// What it is about, where an alarm can be about several: a feature, a source of labels, an entity kind.
    pub subject: Option<String>,
    /// The model whose behaviour it rests on; `None` when it is not about a model.
    pub model: Option<ModelRef>,
    /// How far it may be acted on.
    pub verdict: Verdict,
    /// When the evidence began to gather.
    pub since: Timestamp,
    /// When it was found.
    pub at: Timestamp,
    /// The numbers behind it.
    pub evidence: Evidence,
}

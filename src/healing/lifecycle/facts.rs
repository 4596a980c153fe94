//! What is known of the fleet at one instant: what plans rest on, and what people are shown.

use serde::{Deserialize, Serialize};

use super::{Change, Trust};
use crate::domain::Timestamp;
use crate::healing::model::{ModelRef, Stage};
use crate::healing::trial::{Figures, Verdict};

/// The fleet at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetFacts {
    /// The bundle that answers.
    pub active: Option<ActiveFacts>,
    /// The bundle that stands by.
    pub standby: Option<StandbyFacts>,
    /// The bundle on trial.
    pub trial: Option<TrialFacts>,
    /// Bundles that passed every gate and wait, oldest first.
    pub validated: Vec<ValidatedFacts>,
    /// Bundles that are banned.
    pub quarantined: Vec<ModelRef>,
    /// Bundles that were proven and are out of use.
    pub retired: Vec<ModelRef>,
    /// The last change of what answers.
    pub last_change: Option<Change>,
    /// Whether a rollback waits to be accepted or followed by a new release.
    pub rolled_back: bool,
}

/// The bundle that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveFacts {
    /// Which.
    pub model: ModelRef,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub cause: String,
    /// When golden rows last gave their scores; `None` before the first check.
    pub golden_checked_at: Option<Timestamp>,
}

/// The bundle that stands by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StandbyFacts {
    /// Which.
    pub model: ModelRef,
    /// Since when.
    pub since: Timestamp,
    /// When golden rows last gave their scores; `None` before the first check, and after one that failed.
    pub golden_checked_at: Option<Timestamp>,
    /// Whether every window of its schema is full.
    pub warm: bool,
}

/// The bundle on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialFacts {
    /// Which.
    pub model: ModelRef,
    /// Shadow or canary.
    pub stage: Stage,
    /// The share of entities it answers for; 0 in shadow.
    pub percent: u8,
    /// The share to go to when this step is won; 100 is promotion.
    pub next_percent: u8,
    /// Since when it is at this step.
    pub since: Timestamp,
    /// Whether healing may promote it.
    pub trust: Trust,
    /// Whether every window of its schema is full.
    pub warm: bool,
    /// What the evidence says.
    pub verdict: Verdict,
    /// The evidence.
    pub figures: Figures,
}

/// A bundle that passed every gate and waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatedFacts {
    /// Which.
    pub model: ModelRef,
    /// Since when.
    pub since: Timestamp,
    /// Whether healing may promote it.
    pub trust: Trust,
}

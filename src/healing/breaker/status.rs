//! What is told about a breaker: its place, how it came there, who forced it.

use serde::{Deserialize, Serialize};

use super::window::Counts;
use crate::domain::Timestamp;
use crate::healing::model::ModelRef;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Every call goes to the model.
    Closed,
    /// None does.
    Open,
    /// Half open: golden rows are scored, nobody waits for them.
    Probe,
    /// Half open: live rows are scored and thrown away.
    Shadow,
    /// Half open: a share of the calls goes to the model.
    Ramp,
    /// A person keeps it open.
    ForcedOpen,
    /// A person keeps it closed.
    ForcedClosed,
    /// A person lets it watch and say what it would have done.
    ObserveOnly,
}

impl Place {
    /// Every place, in the order of the enum.
    pub const ALL: [Self; 8] = [
        Self::Closed,
        Self::Open,
        Self::Probe,
        Self::Shadow,
        Self::Ramp,
        Self::ForcedOpen,
        Self::ForcedClosed,
        Self::ObserveOnly,
    ];

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probe => "probe",
            Self::Shadow => "shadow",
            Self::Ramp => "ramp",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::ObserveOnly => "observe_only",
        }
    }

    /// Tells whether it is one of the steps of a half-open breaker.
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::Probe | Self::Shadow | Self::Ramp)
    }
}

/// Why a breaker moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Too many hard failures in a row.
    HardInARow,
    /// Too large a share of hard failures.
    HardRate,
    /// Too many slow calls in a row.
    SlowInARow,
    /// Too large a share of slow calls.
    SlowRate,
    /// An inference thread did not come back.
    Hung,
    /// A golden row did not give its score.
    GoldenMismatch,
    /// A probe, a shadow call or a call of the ramp failed.
    StepFailed,
    /// A step took so long that its ticket was given up.
    StepStuck,
    /// The wait was over.
    Cooled,
    /// A step went well.
    StepPassed,
    /// A person forced it.
    Forced,
    /// A person ended a force.
    Cleared,
    /// A force ran out.
    Expired,
}

impl Cause {
    /// Every cause, in the order of the enum.
    pub const ALL: [Self; 13] = [
        Self::HardInARow,
        Self::HardRate,
        Self::SlowInARow,
        Self::SlowRate,
        Self::Hung,
        Self::GoldenMismatch,
        Self::StepFailed,
        Self::StepStuck,
        Self::Cooled,
        Self::StepPassed,
        Self::Forced,
        Self::Cleared,
        Self::Expired,
    ];

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HardInARow => "hard_in_a_row",
            Self::HardRate => "hard_rate",
            Self::SlowInARow => "slow_in_a_row",
            Self::SlowRate => "slow_rate",
            Self::Hung => "hung",
            Self::GoldenMismatch => "golden_mismatch",
            Self::StepFailed => "step_failed",
            Self::StepStuck => "step_stuck",
            Self::Cooled => "cooled",
            Self::StepPassed => "step_passed",
            Self::Forced => "forced",
            Self::Cleared => "cleared",
            Self::Expired => "expired",
        }
    }

    /// Tells whether slowness, not failure, is what it says.
    #[must_use]
    pub const fn is_slowness(self) -> bool {
        matches!(self, Self::SlowInARow | Self::SlowRate)
    }
}

/// What a person may force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// Nobody asks the model.
    Open,
    /// Everybody asks it, whatever happens.
    Closed,
    /// Everybody asks it, and the breaker says when it would have opened.
    ObserveOnly,
}

impl Force {
    /// Returns the place it puts a breaker in.
    #[must_use]
    pub const fn place(self) -> Place {
        match self {
            Self::Open => Place::ForcedOpen,
            Self::Closed => Place::ForcedClosed,
            Self::ObserveOnly => Place::ObserveOnly,
        }
    }
}

/// One move of a breaker, in its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where it stood.
    pub from: Place,
    /// Where it stands.
    pub to: Place,
    /// The share of calls that goes to the model now, in percent.
    pub percent: u32,
    /// Why.
    pub cause: Cause,
    /// The calls that it followed from.
    pub counts: Counts,
    /// How often it opened before, as far as it is not forgotten.
    pub attempt: u32,
    /// Whether it only would have moved: a person lets it watch.
    pub is_observed: bool,
}

/// One move of a model's breaker, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Whose breaker.
    pub model: ModelRef,
    /// The move.
    #[serde(flatten)]
    pub change: Change,
    /// When.
    pub at: Timestamp,
    /// Who forced it, and their reason.
    pub by: Option<String>,
    /// Their reason.
    pub reason: Option<String>,
}

/// A force that is in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForceStatus {
    /// What is forced.
    pub force: Force,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
}

/// A breaker at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// Whose.
    pub model: ModelRef,
    /// Where it stands.
    pub place: Place,
    /// The share of calls that goes to the model, in percent.
    pub percent: u32,
    /// Since when.
    pub since: Timestamp,
    /// Why; absent before the first move.
    pub cause: Option<Cause>,
    /// When it will be tried again, while it is open.
    pub tried_at: Option<Timestamp>,
    /// How often it opened, as far as it is not forgotten.
    pub attempt: u32,
    /// What a person forced.
    pub force: Option<ForceStatus>,
    /// The calls of the last second.
    pub last_second: Counts,
    /// Calls of the step it is in.
    pub step: Counts,
    /// Calls that were let through since the start.
    pub admitted: u64,
    /// Calls that were settled since the start.
    pub settled: u64,
    /// Calls that were kept from the model since the start.
    pub refused: u64,
    /// Inference threads that were written off since the start.
    pub written_off: u64,
}

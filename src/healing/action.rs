//! What can be done about a finding. Planned here, performed by `runtime`, recorded before and after.

use serde::{Deserialize, Serialize};

use super::model::ModelRef;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Rules answer alone, for everybody.
    RulesOnly,
    /// The model answers again.
    ModelAgain,
    /// Another proven model answers from now on.
    Swap {
        /// The one that answers now.
        from: ModelRef,
        /// The one that shall.
        to: ModelRef,
    },
    /// Bans a bundle by its hash.
    Quarantine {
        /// Which.
        model: ModelRef,
    },
    /// Moves a bundle on: validated to shadow, to canary, to active.
    Promote {
        /// Which.
        model: ModelRef,
        /// The share of entities it answers for, in percent; 0 is shadow, 100 active.
        percent: u8,
    },
    /// Replaces the map from score to probability by one fitted on recent labels.
    Recalibrate {
        /// Whose.
        model: ModelRef,
    },
    /// Takes the map from score to probability away again: labels speak against it.
    Uncalibrate {
        /// Whose.
        model: ModelRef,
    },
    /// A feature takes its declared default, and decisions say so.
    Mask {
        /// Its name.
        feature: String,
    },
    /// A masked feature counts again.
    Unmask {
        /// Its name.
        feature: String,
    },
    /// The weights of velocity rules rise; nothing is loosened.
    Tighten,
    /// More transactions go to review, within the cap on reviews and declines.
    WidenReview,
    /// The most severe of rules, active and standby model decides.
    Union,
    /// Ends [`Action::Tighten`], [`Action::WidenReview`] and [`Action::Union`].
    Relax,
    /// Replaces the inference threads of the active model.
    RestartInference,
    /// The stream's lanes stop reading.
    PauseIntake,
    /// They read again.
    ResumeIntake,
    /// Asks for a new model.
    RequestRetraining,
    /// Tells people.
    Page,
    /// Holds the safest proven state until a person unlocks.
    Lock,
}

impl Action {
    /// Returns the name used in settings, JSON and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RulesOnly => "rules_only",
            Self::ModelAgain => "model_again",
            Self::Swap { .. } => "swap",
            Self::Quarantine { .. } => "quarantine",
            Self::Promote { .. } => "promote",
            Self::Recalibrate { .. } => "recalibrate",
            Self::Uncalibrate { .. } => "uncalibrate",
            Self::Mask { .. } => "mask",
            Self::Unmask { .. } => "unmask",
            Self::Tighten => "tighten",
            Self::WidenReview => "widen_review",
            Self::Union => "union",
            Self::Relax => "relax",
            Self::RestartInference => "restart_inference",
            Self::PauseIntake => "pause_intake",
            Self::ResumeIntake => "resume_intake",
            Self::RequestRetraining => "request_retraining",
            Self::Page => "page",
            Self::Lock => "lock",
        }
    }

    /// Tells whether it only protects answers: such actions need no budget, and are taken also when the
    /// record of actions cannot be written.
    #[must_use]
    pub const fn is_protective(&self) -> bool {
        match self {
            Self::RulesOnly
            | Self::Mask { .. }
            | Self::Tighten
            | Self::WidenReview
            | Self::Union
            | Self::RestartInference
            | Self::PauseIntake
            | Self::Page
            | Self::Lock => true,
            Self::ModelAgain
            | Self::Swap { .. }
            | Self::Quarantine { .. }
            | Self::Promote { .. }
            | Self::Recalibrate { .. }
            | Self::Uncalibrate { .. }
            | Self::Unmask { .. }
            | Self::Relax
            | Self::ResumeIntake
            | Self::RequestRetraining => false,
        }
    }
}

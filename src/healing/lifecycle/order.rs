//! Orders: what may be asked of the fleet, by whom, and when it is legal.

use serde::{Deserialize, Serialize};

use super::{Life, Lives, Rollback, Trust};
use crate::domain::Timestamp;
use crate::healing::model::{ModelRef, Stage};

/// One thing to do with a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// A proven bundle answers again, in place of the active one.
    Swap {
        /// The one that shall answer.
        to: ModelRef,
    },
    /// Bans a bundle by its hash; when it answers, the standby takes over, else rules alone.
    Quarantine {
        /// Which.
        model: ModelRef,
    },
    /// Lifts a ban: the bundle is a candidate again and has every gate to pass.
    Release {
        /// Which.
        model: ModelRef,
    },
    /// It scores beside the active model and answers nobody.
    Shadow {
        /// Which.
        model: ModelRef,
    },
    /// It answers for a share of the entities.
    Canary {
        /// Which.
        model: ModelRef,
        /// The share in percent, 1 to 99.
        percent: u8,
    },
    /// It answers; the one before stands by.
    Promote {
        /// Which.
        model: ModelRef,
    },
    /// A trial ends without a verdict against the bundle: it is validated, and answers nobody.
    Withdraw {
        /// Which.
        model: ModelRef,
    },
    /// A person accepts the last rollback: decisions no longer say `rolled_back`.
    AcceptRollback,
}

impl Order {
    /// Returns the name used in JSON, logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Swap { .. } => "swap",
            Self::Quarantine { .. } => "quarantine",
            Self::Release { .. } => "release",
            Self::Shadow { .. } => "shadow",
            Self::Canary { .. } => "canary",
            Self::Promote { .. } => "promote",
            Self::Withdraw { .. } => "withdraw",
            Self::AcceptRollback => "accept_rollback",
        }
    }

    /// Every name, for metrics.
    pub const NAMES: [&'static str; 8] =
        ["swap", "quarantine", "release", "shadow", "canary", "promote", "withdraw", "accept_rollback"];

    /// Returns the bundle it is about.
    #[must_use]
    pub const fn model(&self) -> Option<&ModelRef> {
        match self {
            Self::Swap { to: model }
            | Self::Quarantine { model }
            | Self::Release { model }
            | Self::Shadow { model }
            | Self::Canary { model, .. }
            | Self::Promote { model }
            | Self::Withdraw { model } => Some(model),
            Self::AcceptRollback => None,
        }
    }

    /// Tells whether it takes something out of force: such an order is carried out also when it cannot be saved.
    #[must_use]
    pub const fn is_protective(&self) -> bool {
        match self {
            Self::Swap { .. } | Self::Quarantine { .. } | Self::Withdraw { .. } => true,
            Self::Release { .. }
            | Self::Shadow { .. }
            | Self::Canary { .. }
            | Self::Promote { .. }
            | Self::AcceptRollback => false,
        }
    }
}

/// Who gives an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Mandate {
    /// The healing loop: nothing unsigned, no ban lifted, no rollback accepted.
    Healing,
    /// A person, by the name of their key.
    Person {
        /// The key's name.
        name: String,
    },
}

/// Why an order cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// Nothing of this hash was ever seen.
    #[error("{0} is not known: put it into the model directory first")]
    Unknown(String),
    /// The hash is banned.
    #[error("{0} is quarantined: a person must release it first")]
    Quarantined(String),
    /// It is not at a stage from which this goes.
    #[error("{model} is {stage}, and cannot {act}")]
    Stage {
        /// The bundle.
        model: String,
        /// Its stage.
        stage: &'static str,
        /// What was asked.
        act: &'static str,
    },
    /// It has not passed every gate (`RL-1`, `RL-2`).
    #[error("{0} has not passed every gate: {1}")]
    NotValidated(String, String),
    /// Only a person may do this.
    #[error("{0}")]
    NeedsPerson(String),
    /// Another bundle has the place.
    #[error("{by} is {place} already: withdraw it first")]
    Taken {
        /// Which place.
        place: &'static str,
        /// Who has it.
        by: String,
    },
    /// A share that is none.
    #[error("{0} percent is no share of a canary: say 1 to 99")]
    Percent(u8),
    /// There is no rollback to accept.
    #[error("there is no rollback that waits to be accepted")]
    NoRollback,
}

impl Illegal {
    pub(super) fn stage(life: &Life, act: &'static str) -> Self {
        Self::Stage { model: life.model.to_string(), stage: life.stage.name(), act }
    }
}

type Why<'a> = (Timestamp, &'a str);

pub(super) fn perform(lives: &mut Lives, order: &Order, mandate: &Mandate, why: Why<'_>) -> Result<(), Illegal> {
    match order {
        Order::Swap { to } => swap(lives, to, why),
        Order::Quarantine { model } => quarantine(lives, model, why),
        Order::Release { model } => release(lives, model, mandate, why),
        Order::Shadow { model } => shadow(lives, model, why),
        Order::Canary { model, percent } => canary(lives, (model, *percent), mandate, why),
        Order::Promote { model } => promote(lives, model, mandate, why),
        Order::Withdraw { model } => withdraw(lives, model, why),
        Order::AcceptRollback => accept(lives, mandate),
    }
}

fn swap(lives: &mut Lives, to: &ModelRef, (now, cause): Why<'_>) -> Result<(), Illegal> {
    let life = validated(lives, to)?;
    match life.stage {
        Stage::Standby | Stage::Retired => {}
        Stage::Candidate | Stage::Validated | Stage::Shadow | Stage::Canary | Stage::Active | Stage::Quarantined => {
            return Err(Illegal::stage(life, "be swapped to: a rollback goes to a proven bundle"));
        }
    }
    let from = lives.at(Stage::Active).map(|life| life.model.clone());
    into_force(lives, to, (now, cause));
    if let Some(from) = from {
        lives.rollback = Some(Rollback { from, at: now, cause: cause.to_owned() });
    }
    Ok(())
}

fn quarantine(lives: &mut Lives, model: &ModelRef, (now, cause): Why<'_>) -> Result<(), Illegal> {
    let life = lives.known(model)?;
    match life.stage {
        Stage::Quarantined => return Err(Illegal::stage(life, "be quarantined again")),
        Stage::Active => {
            if let Some(standby) = lives.at(Stage::Standby).map(|life| life.model.clone()) {
                swap(lives, &standby, (now, cause))?;
            } else {
                lives.rollback = Some(Rollback { from: model.clone(), at: now, cause: cause.to_owned() });
            }
        }
        Stage::Candidate | Stage::Validated | Stage::Shadow | Stage::Canary | Stage::Standby | Stage::Retired => {}
    }
    lives.step(&model.sha256, Stage::Quarantined, now, cause);
    Ok(())
}

fn release(lives: &mut Lives, model: &ModelRef, mandate: &Mandate, (now, cause): Why<'_>) -> Result<(), Illegal> {
    let life = lives.known(model)?;
    if life.stage != Stage::Quarantined {
        return Err(Illegal::stage(life, "be released: it is not quarantined"));
    }
    if *mandate == Mandate::Healing {
        return Err(Illegal::NeedsPerson(format!("{model} is quarantined: only a person may release it")));
    }
    lives.step(&model.sha256, Stage::Candidate, now, cause);
    if let Some(life) = lives.by_hash.get_mut(&model.sha256) {
        (life.validated_at, life.proven_at, life.refusal) = (None, None, None);
    }
    Ok(())
}

fn shadow(lives: &mut Lives, model: &ModelRef, (now, cause): Why<'_>) -> Result<(), Illegal> {
    let life = validated(lives, model)?;
    match life.stage {
        Stage::Validated | Stage::Canary => {}
        Stage::Candidate | Stage::Shadow | Stage::Active | Stage::Standby | Stage::Retired | Stage::Quarantined => {
            return Err(Illegal::stage(life, "go into shadow"));
        }
    }
    nobody_else_on_trial(lives, model)?;
    lives.step(&model.sha256, Stage::Shadow, now, cause);
    Ok(())
}

fn canary(
    lives: &mut Lives,
    (model, percent): (&ModelRef, u8),
    mandate: &Mandate,
    (now, cause): Why<'_>,
) -> Result<(), Illegal> {
    if !(1..=99).contains(&percent) {
        return Err(Illegal::Percent(percent));
    }
    let life = validated(lives, model)?;
    match life.stage {
        Stage::Validated | Stage::Shadow | Stage::Canary => {}
        Stage::Candidate | Stage::Active | Stage::Standby | Stage::Retired | Stage::Quarantined => {
            return Err(Illegal::stage(life, "become a canary"));
        }
    }
    trusted(life, mandate)?;
    nobody_else_on_trial(lives, model)?;
    lives.step(&model.sha256, Stage::Canary, now, cause);
    if let Some(life) = lives.by_hash.get_mut(&model.sha256) {
        life.percent = percent;
    }
    Ok(())
}

fn promote(lives: &mut Lives, model: &ModelRef, mandate: &Mandate, why: Why<'_>) -> Result<(), Illegal> {
    let life = validated(lives, model)?;
    match life.stage {
        Stage::Validated | Stage::Shadow | Stage::Canary | Stage::Standby | Stage::Retired => {}
        Stage::Candidate | Stage::Active | Stage::Quarantined => return Err(Illegal::stage(life, "be promoted")),
    }
    trusted(life, mandate)?;
    into_force(lives, model, why);
    lives.rollback = None;
    Ok(())
}

fn withdraw(lives: &mut Lives, model: &ModelRef, (now, cause): Why<'_>) -> Result<(), Illegal> {
    let life = lives.known(model)?;
    match life.stage {
        Stage::Shadow | Stage::Canary => {}
        Stage::Candidate | Stage::Validated | Stage::Active | Stage::Standby | Stage::Retired | Stage::Quarantined => {
            return Err(Illegal::stage(life, "be withdrawn: it is not on trial"));
        }
    }
    lives.step(&model.sha256, Stage::Validated, now, cause);
    Ok(())
}

fn accept(lives: &mut Lives, mandate: &Mandate) -> Result<(), Illegal> {
    if *mandate == Mandate::Healing {
        return Err(Illegal::NeedsPerson("only a person may accept a rollback".to_owned()));
    }
    lives.rollback.take().map(drop).ok_or(Illegal::NoRollback)
}

/// Puts a bundle in force: the one before stands by, and what stood by retires.
fn into_force(lives: &mut Lives, model: &ModelRef, (now, cause): Why<'_>) {
    let holder = |lives: &Lives, stage| lives.at(stage).map(|life| life.model.sha256.clone());
    let (active, standby) = (holder(lives, Stage::Active), holder(lives, Stage::Standby));
    if let Some(standby) = standby.filter(|standby| *standby != model.sha256 && active.is_some()) {
        lives.step(&standby, Stage::Retired, now, cause);
    }
    if let Some(active) = active {
        lives.step(&active, Stage::Standby, now, cause);
    }
    lives.step(&model.sha256, Stage::Active, now, cause);
}

fn validated<'l>(lives: &'l Lives, model: &ModelRef) -> Result<&'l Life, Illegal> {
    let life = lives.known(model)?;
    if life.stage == Stage::Quarantined {
        return Err(Illegal::Quarantined(model.to_string()));
    }
    if life.validated_at.is_none() {
        let reason = life.refusal.clone().unwrap_or_else(|| "they have not been asked yet".to_owned());
        return Err(Illegal::NotValidated(model.to_string(), reason));
    }
    Ok(life)
}

fn trusted(life: &Life, mandate: &Mandate) -> Result<(), Illegal> {
    // What answered before has been trusted by a person already.
    let is_trusted = life.trust == Trust::Signed || life.proven_at.is_some();
    match mandate {
        Mandate::Healing if !is_trusted => {
            let model = &life.model;
            Err(Illegal::NeedsPerson(format!(
                "{model} is not signed by a trusted key: only a person may let it answer"
            )))
        }
        Mandate::Healing | Mandate::Person { .. } => Ok(()),
    }
}

fn nobody_else_on_trial(lives: &Lives, model: &ModelRef) -> Result<(), Illegal> {
    match lives.on_trial().filter(|life| life.model.sha256 != model.sha256) {
        Some(other) => Err(Illegal::Taken { place: "on trial", by: other.model.to_string() }),
        None => Ok(()),
    }
}

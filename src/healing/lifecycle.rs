//! The life of bundles: which stage each has reached, which moves are legal, and what must hold at any time.
//!
//! ```text
//! found ─> candidate ─judged─> validated ─> shadow ─> canary ─> ACTIVE ──another promoted──> STANDBY ──> retired
//!              ▲                   └───────────┴─────────┴─ promote ─▲                          │            │
//!              └── release ── quarantined <── any stage              └────────── swap ──────────┴────────────┘
//! ```
//! [`Lives`] is a value: an [`Order`] either gives the next value or says why it is illegal. At most one bundle
//! is active, one stands by, one is on trial; only what passed its gates gets that far (`RL-1`), and a rollback
//! goes to what did so before (`RL-2`). Files, sessions and the slot are `runtime`'s.

mod facts;
mod order;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{ModelRef, Stage};
use crate::domain::Timestamp;

pub use facts::{ActiveFacts, FleetFacts, StandbyFacts, TrialFacts, ValidatedFacts};
pub use order::{Illegal, Mandate, Order};

/// The most bundles remembered; beyond it the oldest that are out of use are forgotten.
pub const LIVES_MAX: usize = 256;

/// Whether a bundle may be promoted without a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Signed by a trusted key.
    Signed,
    /// Without such a signature: people may promote it, healing may not.
    #[default]
    Unsigned,
}

/// One bundle's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Which bundle.
    pub model: ModelRef,
    /// How far it has come.
    pub stage: Stage,
    /// The share of entities it answers for as a canary, in percent; 0 at any other stage.
    #[serde(default)]
    pub percent: u8,
    /// Since when it is at this stage; for a canary, at this percentage.
    pub since: Timestamp,
    /// Why it came to this stage, for people.
    pub cause: String,
    /// When it last passed every gate; it is not validated without.
    #[serde(default)]
    pub validated_at: Option<Timestamp>,
    /// When it first answered everybody.
    #[serde(default)]
    pub proven_at: Option<Timestamp>,
    /// Whether healing may promote it.
    #[serde(default)]
    pub trust: Trust,
    /// Why the gates refused it, when they did.
    #[serde(default)]
    pub refusal: Option<String>,
}

/// One bundle's step from a stage to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub model: ModelRef,
    /// Where it was.
    pub from: Stage,
    /// Where it is now.
    pub to: Stage,
    /// Why.
    pub cause: String,
}

/// A rollback nobody has accepted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The bundle that was taken out of force.
    pub from: ModelRef,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: String,
}

/// Every bundle that was ever seen, by its hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lives {
    by_hash: BTreeMap<String, Life>,
    #[serde(default)]
    rollback: Option<Rollback>,
    #[serde(default)]
    last_change: Option<Change>,
}

impl Lives {
    /// Returns every life, by hash.
    pub fn all(&self) -> impl Iterator<Item = &Life> {
        self.by_hash.values()
    }

    /// Finds a life by the bundle's hash.
    #[must_use]
    pub fn get(&self, sha256: &str) -> Option<&Life> {
        self.by_hash.get(sha256)
    }

    /// Returns the life that is at a stage, where there can be one only: active, standby, shadow, canary.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Option<&Life> {
        self.all().find(|life| life.stage == stage)
    }

    /// Returns the life that is on trial: in shadow or as a canary.
    #[must_use]
    pub fn on_trial(&self) -> Option<&Life> {
        self.at(Stage::Shadow).or_else(|| self.at(Stage::Canary))
    }

    /// Returns the rollback that nobody has accepted yet.
    #[must_use]
    pub const fn rollback(&self) -> Option<&Rollback> {
        self.rollback.as_ref()
    }

    /// Returns the last change of what answers: active, standby, canary.
    #[must_use]
    pub const fn last_change(&self) -> Option<&Change> {
        self.last_change.as_ref()
    }

    /// Returns the proven bundle to recall when nothing stands by: the one that answered last.
    #[must_use]
    pub fn to_recall(&self) -> Option<&Life> {
        if self.at(Stage::Standby).is_some() {
            return None;
        }
        let retired = self.all().filter(|life| life.stage == Stage::Retired && life.validated_at.is_some());
        retired.max_by_key(|life| (life.since, &life.model.sha256))
    }

    /// Takes a bundle in as a candidate; one that is known stays as it is. Tells whether it is new.
    pub fn find(&mut self, model: &ModelRef, trust: Trust, now: Timestamp) -> bool {
        if self.by_hash.contains_key(&model.sha256) {
            return false;
        }
        self.forget_oldest();
        let life = Life {
            model: model.clone(),
            stage: Stage::Candidate,
            percent: 0,
            since: now,
            cause: "found".to_owned(),
            validated_at: None,
            proven_at: None,
            trust,
            refusal: None,
        };
        self.by_hash.insert(model.sha256.clone(), life);
        true
    }

    /// Takes the verdict of the gates on a candidate.
    ///
    /// # Errors
    /// [`Illegal`] when it is unknown or no candidate.
    pub fn judge(&mut self, model: &ModelRef, verdict: Result<Trust, String>, now: Timestamp) -> Result<(), Illegal> {
        let life = self.by_hash.get_mut(&model.sha256).ok_or_else(|| Illegal::Unknown(model.to_string()))?;
        if life.stage != Stage::Candidate {
            return Err(Illegal::stage(life, "be judged by the gates"));
        }
        match verdict {
            Ok(trust) => {
                life.trust = trust;
                life.validated_at = Some(now);
                life.refusal = None;
                life.move_to(Stage::Validated, now, "passed every gate");
            }
            Err(reason) => {
                life.validated_at = None;
                life.refusal = Some(reason);
            }
        }
        Ok(())
    }

    /// Puts the bundles of the settings in their places at a start; both have passed their gates just now.
    /// What had a place and is not named goes out of it.
    ///
    /// # Errors
    /// [`Illegal::Quarantined`]: a banned bundle has no place, whatever the settings say.
    pub fn install(
        &mut self,
        active: Option<(&ModelRef, Trust)>,
        standby: Option<(&ModelRef, Trust)>,
        now: Timestamp,
    ) -> Result<(), Illegal> {
        for (model, trust) in active.into_iter().chain(standby) {
            if self.get(&model.sha256).is_some_and(|life| life.stage == Stage::Quarantined) {
                return Err(Illegal::Quarantined(model.to_string()));
            }
            self.find(model, trust, now);
        }
        let (active, standby) = (active.map(|(model, _)| model), standby.map(|(model, _)| model));
        let is_first = self.all().all(|life| life.proven_at.is_none());
        if self.at(Stage::Active).map(|life| &life.model) != active {
            self.rollback = None;
        }
        let places = [(Stage::Active, active), (Stage::Standby, standby)];
        for (place, meant) in places {
            let Some(holder) = self.at(place).map(|life| life.model.sha256.clone()) else { continue };
            if meant.is_none_or(|model| model.sha256 != holder) {
                self.step(&holder, Stage::Retired, now, "the settings name another");
            }
        }
        for (place, meant) in places {
            let Some(life) = meant.and_then(|model| self.by_hash.get_mut(&model.sha256)) else { continue };
            life.validated_at = life.validated_at.or(Some(now));
            life.refusal = None;
            if life.stage != place {
                self.step(
                    &meant.map(|model| model.sha256.clone()).unwrap_or_default(),
                    place,
                    now,
                    "the settings name it",
                );
            }
        }
        if is_first {
            // Nothing answered before: nothing has changed that could be to blame.
            self.last_change = None;
        }
        Ok(())
    }

    /// Performs an order: returns the lives after it, or why it is illegal. Nothing is changed here.
    ///
    /// # Errors
    /// [`Illegal`], with the rule it would break.
    pub fn after(&self, order: &Order, mandate: &Mandate, now: Timestamp, cause: &str) -> Result<Self, Illegal> {
        let mut next = self.clone();
        order::perform(&mut next, order, mandate, (now, cause))?;
        debug_assert!(next.fault().is_none(), "RL-1, RL-2: {:?}", next.fault());
        Ok(next)
    }

    /// Brings a retired bundle back to stand by, when nothing does.
    ///
    /// # Errors
    /// [`Illegal`] when something stands by, or this one was not proven.
    pub fn recall(&mut self, model: &ModelRef, now: Timestamp) -> Result<(), Illegal> {
        if let Some(standby) = self.at(Stage::Standby) {
            return Err(Illegal::Taken { place: "standby", by: standby.model.to_string() });
        }
        let life = self.known(model)?;
        if life.stage != Stage::Retired || life.validated_at.is_none() {
            return Err(Illegal::stage(life, "be recalled"));
        }
        self.step(&model.sha256, Stage::Standby, now, "recalled: nothing stood by");
        Ok(())
    }

    /// Says what does not hold, if anything: the invariants of the register, for tests and for files that are read.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        for stage in [Stage::Active, Stage::Standby] {
            if self.all().filter(|life| life.stage == stage).count() > 1 {
                return Some(format!("several bundles are {}", stage.name()));
            }
        }
        let on_trial = |life: &&Life| matches!(life.stage, Stage::Shadow | Stage::Canary);
        if self.all().filter(on_trial).count() > 1 {
            return Some("several bundles are on trial".to_owned());
        }
        let must_be_validated = |stage| !matches!(stage, Stage::Candidate | Stage::Quarantined);
        for life in self.all() {
            if must_be_validated(life.stage) && life.validated_at.is_none() {
                return Some(format!("{} is {} and was never validated", life.model, life.stage.name()));
            }
            let is_share =
                if life.stage == Stage::Canary { (1..=99).contains(&life.percent) } else { life.percent == 0 };
            if !is_share {
                return Some(format!("{} is {} for {} percent", life.model, life.stage.name(), life.percent));
            }
        }
        let keys = self.by_hash.iter().find(|(key, life)| **key != life.model.sha256);
        keys.map(|(key, life)| format!("{} is kept under the hash {key}", life.model))
    }

    fn known(&self, model: &ModelRef) -> Result<&Life, Illegal> {
        self.by_hash.get(&model.sha256).ok_or_else(|| Illegal::Unknown(model.to_string()))
    }

    /// Moves a bundle to a stage and notes it when what answers has changed.
    fn step(&mut self, sha256: &str, to: Stage, now: Timestamp, cause: &str) {
        let Some(life) = self.by_hash.get_mut(sha256) else { return };
        let from = life.stage;
        life.move_to(to, now, cause);
        if to == Stage::Active {
            life.proven_at = life.proven_at.or(Some(now));
        }
        let answers = |stage| matches!(stage, Stage::Active | Stage::Standby | Stage::Canary);
        // Of several steps of one change the one into force is the one to be told.
        let is_told = self.last_change.as_ref().is_some_and(|last| last.at == now && last.to == Stage::Active);
        if answers(from) || answers(to) {
            let change = Change { at: now, model: life.model.clone(), from, to, cause: cause.to_owned() };
            if to == Stage::Active || !is_told {
                self.last_change = Some(change);
            }
        }
    }

    fn forget_oldest(&mut self) {
        while self.by_hash.len() >= LIVES_MAX {
            // A ban is never forgotten before what is merely out of use.
            let forgettable = |life: &&Life| matches!(life.stage, Stage::Candidate | Stage::Retired);
            let oldest = self.all().filter(forgettable).min_by_key(|life| life.since);
            let oldest = oldest
                .or_else(|| self.all().filter(|life| life.stage == Stage::Validated).min_by_key(|life| life.since));
            let Some(sha256) = oldest.map(|life| life.model.sha256.clone()) else { return };
            self.by_hash.remove(&sha256);
        }
    }
}

impl Life {
    fn move_to(&mut self, stage: Stage, now: Timestamp, cause: &str) {
        (self.stage, self.since, self.percent) = (stage, now, 0);
        cause.clone_into(&mut self.cause);
    }
}

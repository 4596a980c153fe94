//! What is in force: model, schema, thresholds, baseline, rules, lists and policy as one value, and a canary beside it.
//!
//! ```text
//! InForce ─┬─ active: Release                    everybody else
//!          └─ canary: Release for P percent      entities whose hash falls below P: the same ones as long as it lasts
//! ```
//! What must agree is swapped as one pointer ([`Slot`], an `ArcSwap`); a transaction loads it once and
//! keeps it to its end (`SC-2`, `RL-3`). Changes are made one at a time from the value in force, so
//! that a rules reload and a list entry cannot undo each other. What a model is here, active or canary, is its
//! place and not its own; who comes into which place is `fleet`'s.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::guard::Guard;
use super::inference::Inference;
use crate::domain::{Calibration, RateTable, ReleaseFacts, RuleFacts, SecondFacts, Thresholds};
use crate::healing::{ModelRef, Stage};
use crate::scoring::decide::policy::Policy;
use crate::scoring::feature::{Plan, Schema};
use crate::scoring::list::Lists;
use crate::scoring::rule::{Effect, Mode, Rule, RuleFault, RuleSet};
use crate::telemetry::RuleCounters;

/// A loaded model and what belongs to it alone.
pub struct Model {
    /// Name in the bundle's manifest.
    pub name: String,
    /// Version in the bundle's manifest.
    pub version: String,
    /// The model file's sha256 in hex.
    pub sha256: String,
    /// Which bundle it is, by the hash of its manifest.
    pub reference: ModelRef,
    /// The bundle's score limits.
    pub thresholds: Thresholds,
    /// A baseline value per model input, for explanations.
    pub baseline: Vec<f64>,
    /// The threads that score.
    pub inference: Inference,
    /// Who may ask it; a new model starts closed.
    pub guard: Arc<Guard>,
}

/// A model that is asked beside the one that answers; the most severe of both counts.
pub struct Second {
    /// The model.
    pub model: Arc<Model>,
    /// Its features.
    pub schema: Arc<Schema>,
    /// Its schema compiled for the entity store.
    pub plan: Arc<Plan>,
}

/// Several models decide together; the second one is absent when it cannot score.
#[derive(Clone, Default)]
pub struct Union {
    /// The second model.
    pub second: Option<Arc<Second>>,
}

/// Everything a decision follows from, swapped as one.
#[derive(Clone)]
pub struct Release {
    /// The part every decision carries.
    pub facts: Arc<ReleaseFacts>,
    /// The feature schema.
    pub schema: Arc<Schema>,
    /// The schema compiled for the entity store.
    pub plan: Arc<Plan>,
    /// The model; `None` when none could be loaded, then rules and stand-in answer.
    pub model: Option<Arc<Model>>,
    /// The rules in force.
    pub rules: Arc<RuleSet>,
    /// Allow and deny entries in force.
    pub lists: Arc<Lists>,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Exchange rates in force.
    pub rates: Arc<RateTable>,
    /// How often each evaluated rule spoke, in the order of [`RuleSet::evaluated`].
    pub rule_counters: Arc<RuleCounters>,
    /// Whether it came by a rollback that nobody has accepted yet: every decision says so.
    pub rolled_back: bool,
    /// Whether another model is asked, too.
    pub union: Option<Union>,
    /// The map from this model's score to a probability; it goes with the model.
    pub calibration: Option<Calibration>,
}

impl Release {
    /// Makes the release of another model with the rules, lists, policy and rates of this one.
    ///
    /// # Errors
    /// Every rule that reads what the other schema does not have; nothing is changed then.
    pub fn with_model(
        &self,
        model: Option<Arc<Model>>,
        schema: &Arc<Schema>,
        plan: Arc<Plan>,
    ) -> Result<Self, Vec<RuleFault>> {
        let rules = rules_for(self, &self.rules, schema)?;
        let named = |model: &Option<Arc<Model>>| model.as_ref().map(|model| model.reference.clone());
        let calibration = self.calibration.filter(|_| named(&model) == named(&self.model));
        Ok(Self { schema: Arc::clone(schema), plan, model, rules, calibration, ..self.clone() })
    }

    /// Takes over the rules, lists, policy and rates of `other`, which was `before` until now.
    fn following(&self, other: &Self, before: &Self) -> Result<Self, Vec<RuleFault>> {
        let rules = if Arc::ptr_eq(&other.rules, &before.rules) {
            Arc::clone(&self.rules)
        } else {
            rules_for(other, &other.rules, &self.schema)?
        };
        let (lists, policy, rates) = (Arc::clone(&other.lists), Arc::clone(&other.policy), Arc::clone(&other.rates));
        Ok(Self { rules, lists, policy, rates, ..self.clone() })
    }

    /// Derives facts and counters from the parts and the place; called whenever one of them changed.
    #[must_use]
    fn with_facts(mut self, place: &str) -> Self {
        self.rule_counters = Arc::new(RuleCounters::new(self.rules.evaluated().map(|rule| &*rule.id)));
        let model = self.model.as_deref();
        let text = |read: fn(&Model) -> &str| model.map(read).unwrap_or_default().to_owned();
        self.facts = Arc::new(ReleaseFacts {
            model_name: text(|model| &model.name),
            model_version: text(|model| &model.version),
            model_sha256: text(|model| &model.sha256),
            model_role: model.map_or("none", |_| place).to_owned(),
            rules_version: self.rules.version().to_owned(),
            policy_version: self.policy.version.clone(),
            schema_hash: self.schema.hash().to_owned(),
            rates_version: self.rates.version.clone(),
            thresholds: model.map_or_else(Thresholds::default, |model| model.thresholds),
            rules: self.rules.rules().iter().filter(|rule| rule.mode == Mode::Active).map(rule_facts).collect(),
            second: self.union.as_ref().and_then(|union| union.second.as_deref()).map(second_facts),
            calibration: self.calibration,
        });
        self
    }
}

/// Gives the rules of `release` as they are checked against a schema.
fn rules_for(release: &Release, rules: &Arc<RuleSet>, schema: &Schema) -> Result<Arc<RuleSet>, Vec<RuleFault>> {
    if release.schema.hash() == schema.hash() {
        return Ok(Arc::clone(rules));
    }
    rules.against(&schema.environment(true)).map(Arc::new)
}

fn second_facts(second: &Second) -> SecondFacts {
    let Model { name, version, sha256, thresholds, .. } = &*second.model;
    let (name, version, sha256) = (name.clone(), version.clone(), sha256.clone());
    SecondFacts { name, version, sha256, thresholds: *thresholds }
}

fn rule_facts(rule: &Rule) -> RuleFacts {
    let (weight, asks_for) = match rule.effect {
        Effect::Weight(weight) => (weight, None),
        Effect::Outcome(outcome) => (0, Some(outcome)),
    };
    let on_error_weight = rule.on_error_weight;
    RuleFacts { id: Arc::clone(&rule.id), version: rule.version, weight, on_error_weight, asks_for }
}

/// A release that answers for a share of the entities.
#[derive(Clone)]
pub struct Canary {
    /// The release.
    pub release: Arc<Release>,
    /// The share in percent.
    pub percent: u8,
}

impl Canary {
    /// Tells whether it answers for an entity. Each canary draws its own entities; raising the share adds to them.
    #[must_use]
    pub fn answers_for(&self, entity: u64) -> bool {
        let salt = self.release.model.as_ref().map_or("", |model| &model.reference.sha256);
        let drawn = xxh3_64_with_seed(salt.as_bytes(), entity) % 10_000;
        drawn < u64::from(self.percent) * 100
    }
}

/// Everything that answers at one instant.
#[derive(Clone)]
pub struct InForce {
    /// The release that answers for everybody else.
    pub active: Arc<Release>,
    /// The release on trial with customers, when there is one.
    pub canary: Option<Canary>,
}

impl InForce {
    /// Returns the release that answers for an entity. The hash is asked for only beside a canary; without an
    /// entity the active one answers.
    #[must_use]
    pub fn release_for(&self, entity: impl FnOnce() -> Option<u64>) -> &Arc<Release> {
        match &self.canary {
            Some(canary) if entity().is_some_and(|entity| canary.answers_for(entity)) => &canary.release,
            Some(_) | None => &self.active,
        }
    }
}

/// What shall be in force: see [`Slot::replace`].
pub struct Next {
    /// The release for everybody else.
    pub active: Release,
    /// The release of a canary and its share in percent.
    pub canary: Option<(Release, u8)>,
}

/// The one place the release in force is read from and changed.
pub struct Slot {
    current: ArcSwap<InForce>,
    changing: Mutex<()>,
}

impl Slot {
    /// Puts the first release in force.
    #[must_use]
    pub fn new(release: Release) -> Self {
        let active = Arc::new(release.with_facts(Stage::Active.name()));
        Self { current: ArcSwap::from_pointee(InForce { active, canary: None }), changing: Mutex::new(()) }
    }

    /// Takes the active release; hold it for one transaction, no longer.
    #[must_use]
    pub fn load(&self) -> Arc<Release> {
        Arc::clone(&self.current.load().active)
    }

    /// Takes the release that answers for an entity; hold it for one transaction, no longer.
    #[must_use]
    pub fn load_for(&self, entity: impl FnOnce() -> Option<u64>) -> Arc<Release> {
        Arc::clone(self.current.load().release_for(entity))
    }

    /// Takes all that is in force; hold it for one batch, no longer.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Replaces the active release by what `change` makes of it, one change at a time; an error changes nothing. A
    /// canary follows with its own model; one whose schema the new rules do not fit ends.
    ///
    /// # Errors
    /// Whatever `change` refuses with.
    pub fn change<E>(&self, change: impl FnOnce(&Release) -> Result<Release, E>) -> Result<Arc<Release>, E> {
        let _one_at_a_time = self.changing.lock();
        let current = self.current.load_full();
        let active = Arc::new(change(&current.active)?.with_facts(Stage::Active.name()));
        let canary = current.canary.as_ref().and_then(|canary| {
            let release = canary.release.following(&active, &current.active).ok()?;
            Some(Canary { release: Arc::new(release.with_facts(Stage::Canary.name())), percent: canary.percent })
        });
        self.current.store(Arc::new(InForce { active: Arc::clone(&active), canary }));
        Ok(active)
    }

    /// Replaces all that is in force by what `change` makes of it, with one store of one pointer; an error changes nothing.
    ///
    /// # Errors
    /// Whatever `change` refuses with.
    pub fn replace<E>(&self, change: impl FnOnce(&InForce) -> Result<Next, E>) -> Result<Arc<InForce>, E> {
        let _one_at_a_time = self.changing.lock();
        let Next { active, canary } = change(&self.current.load_full())?;
        let active = Arc::new(active.with_facts(Stage::Active.name()));
        let canary = canary
            .map(|(release, percent)| Canary { release: Arc::new(release.with_facts(Stage::Canary.name())), percent });
        let next = Arc::new(InForce { active, canary });
        self.current.store(Arc::clone(&next));
        Ok(next)
    }
}

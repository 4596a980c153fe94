//! The release in force: model, schema, thresholds, baseline, rules, lists and policy as one value.
//!
//! What must agree is swapped as one pointer ([`Slot`], an `ArcSwap`); a transaction loads it once and
//! keeps it to its end (`SC-2`, `RL-3`). Changes are made one at a time from the value in force, so
//! that a rules reload and a list entry cannot undo each other.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::guard::Guard;
use super::inference::Inference;
use crate::domain::{RateTable, ReleaseFacts, RuleFacts, Thresholds};
use crate::scoring::decide::policy::Policy;
use crate::scoring::feature::{Plan, Schema};
use crate::scoring::list::Lists;
use crate::scoring::rule::{Effect, Mode, Rule, RuleSet};
use crate::telemetry::RuleCounters;

/// A loaded model and what belongs to it alone.
pub struct Model {
    /// Name in the bundle's manifest.
    pub name: String,
    /// Version in the bundle's manifest.
    pub version: String,
    /// The model file's sha256 in hex.
    pub sha256: String,
    /// `active`, `standby` or `candidate`.
    pub role: &'static str,
    /// The bundle's score limits.
    pub thresholds: Thresholds,
    /// A baseline value per model input, for explanations.
    pub baseline: Vec<f64>,
    /// The threads that score.
    pub inference: Inference,
    /// Who may ask it; a new model starts closed.
    pub guard: Arc<Guard>,
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
}

impl Release {
    /// Derives facts and counters from the parts; called whenever one of them changed.
    #[must_use]
    pub fn with_facts(mut self) -> Self {
        self.rule_counters = Arc::new(RuleCounters::new(self.rules.evaluated().map(|rule| &*rule.id)));
        let model = self.model.as_deref();
        let text = |read: fn(&Model) -> &str| model.map(read).unwrap_or_default().to_owned();
        self.facts = Arc::new(ReleaseFacts {
            model_name: text(|model| &model.name),
            model_version: text(|model| &model.version),
            model_sha256: text(|model| &model.sha256),
            model_role: model.map_or("none", |model| model.role).to_owned(),
            rules_version: self.rules.version().to_owned(),
            policy_version: self.policy.version.clone(),
            schema_hash: self.schema.hash().to_owned(),
            rates_version: self.rates.version.clone(),
            thresholds: model.map_or_else(Thresholds::default, |model| model.thresholds),
            rules: self.rules.rules().iter().filter(|rule| rule.mode == Mode::Active).map(rule_facts).collect(),
        });
        self
    }
}

fn rule_facts(rule: &Rule) -> RuleFacts {
    let (weight, asks_for) = match rule.effect {
        Effect::Weight(weight) => (weight, None),
        Effect::Outcome(outcome) => (0, Some(outcome)),
    };
    let on_error_weight = rule.on_error_weight;
    RuleFacts { id: Arc::clone(&rule.id), version: rule.version, weight, on_error_weight, asks_for }
}

/// The one place the release in force is read from and changed.
pub struct Slot {
    current: ArcSwap<Release>,
    changing: Mutex<()>,
}

impl Slot {
    /// Puts the first release in force.
    #[must_use]
    pub fn new(release: Release) -> Self {
        Self { current: ArcSwap::from_pointee(release.with_facts()), changing: Mutex::new(()) }
    }

    /// Takes the release in force; hold it for one transaction, no longer.
    #[must_use]
    pub fn load(&self) -> Arc<Release> {
        self.current.load_full()
    }

    /// Replaces the release by what `change` makes of it, one change at a time; an error changes nothing.
    ///
    /// # Errors
    /// Whatever `change` refuses with.
    pub fn change<E>(&self, change: impl FnOnce(&Release) -> Result<Release, E>) -> Result<Arc<Release>, E> {
        let _one_at_a_time = self.changing.lock();
        let next = Arc::new(change(&self.current.load_full())?.with_facts());
        self.current.store(Arc::clone(&next));
        Ok(next)
    }
}

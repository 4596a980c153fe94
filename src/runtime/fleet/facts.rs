//! What is known of the fleet: facts for plans, views for people.

use serde::Serialize;

use super::{Fleet, Inner};
use crate::domain::Timestamp;
use crate::healing::lifecycle::{ActiveFacts, FleetFacts, Life, StandbyFacts, TrialFacts, Trust, ValidatedFacts};
use crate::healing::{ModelRef, Stage};
use crate::runtime::release::gates::{Check, Report};
use crate::telemetry::fleet::FleetShown;

/// One bundle as `GET /v1/models` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The model file's sha256 in hex; empty when it is not loaded.
    pub sha256: String,
    /// Its manifest's sha256 in hex: the hash a bundle is known, and banned, by.
    pub manifest_sha256: String,
    /// The place it has: `active`, `standby`, `shadow`, `canary`, or `candidate` for any other.
    pub role: String,
    /// Its stage of life.
    pub stage: &'static str,
    /// The share of entities it answers for, in percent.
    pub percent: u8,
    /// Since when it is at this stage.
    pub since: Timestamp,
    /// Why.
    pub cause: String,
    /// Whether healing may promote it.
    pub trust: Trust,
    /// When it last passed every gate.
    pub validated_at: Option<Timestamp>,
    /// Why the gates refused it.
    pub refusal: Option<String>,
    /// What the gates said when this process asked them.
    pub gates: Vec<Check>,
    /// Hash of its schema; empty when it is not loaded.
    pub schema_hash: String,
    /// Whether it can score now.
    pub loaded: bool,
    /// Whether every window of its schema is full; only of loaded ones.
    pub warm: Option<bool>,
}

impl Fleet {
    /// Tells how the fleet stands.
    #[must_use]
    pub fn facts(&self) -> FleetFacts {
        let now = self.parts.clock.now();
        let inner = self.inner.lock();
        let lives = &inner.lives;
        let is_loaded = |life: &&Life| inner.loaded_as(&life.model).is_some();
        let golden = |life: &Life| inner.golden.get(&life.model.sha256).copied();
        let of = |stage: Stage| lives.all().filter(move |life| life.stage == stage);
        let models = |stage| of(stage).map(|life| life.model.clone()).collect::<Vec<ModelRef>>();
        let mut validated: Vec<ValidatedFacts> = of(Stage::Validated)
            .map(|life| ValidatedFacts { model: life.model.clone(), since: life.since, trust: life.trust })
            .collect();
        validated.sort_by(|one, other| (one.since, &one.model).cmp(&(other.since, &other.model)));
        FleetFacts {
            active: lives.at(Stage::Active).filter(is_loaded).map(|life| ActiveFacts {
                model: life.model.clone(),
                since: life.since,
                cause: life.cause.clone(),
                golden_checked_at: golden(life),
            }),
            standby: lives.at(Stage::Standby).filter(is_loaded).map(|life| StandbyFacts {
                model: life.model.clone(),
                since: life.since,
                golden_checked_at: golden(life),
                warm: self.is_warm_loaded(&inner, &life.model),
            }),
            trial: self.trial_facts(&inner, now),
            validated,
            quarantined: models(Stage::Quarantined),
            retired: models(Stage::Retired),
            last_change: lives.last_change().cloned(),
            rolled_back: lives.rollback().is_some(),
        }
    }

    fn trial_facts(&self, inner: &Inner, now: Timestamp) -> Option<TrialFacts> {
        let (running, life) = (inner.trial.as_ref()?, inner.lives.on_trial()?);
        let warm = self.is_warm_loaded(inner, &running.model);
        let (verdict, figures) = running.trial.judge(now, warm);
        Some(TrialFacts {
            model: life.model.clone(),
            stage: life.stage,
            percent: life.percent,
            next_percent: self.options.settings.trial.next_percent(life.percent),
            since: life.since,
            trust: life.trust,
            warm,
            verdict,
            figures,
        })
    }

    fn is_warm_loaded(&self, inner: &Inner, model: &ModelRef) -> bool {
        inner.loaded_as(model).is_some_and(|loaded| self.is_warm(&loaded.schema))
    }

    /// Shows every bundle: those at hand first, active, standby, others in the order they came; then those that are known.
    #[must_use]
    pub fn models(&self) -> Vec<ModelView> {
        let loaded = self.loaded();
        let at_hand: Vec<ModelRef> = loaded.iter().map(|loaded| loaded.model.reference.clone()).collect();
        let inner = self.inner.lock();
        let known = inner.lives.all().map(|life| &life.model).filter(|model| !at_hand.contains(model));
        at_hand.iter().chain(known).filter_map(|model| self.view(&inner, model)).collect()
    }

    fn view(&self, inner: &Inner, model: &ModelRef) -> Option<ModelView> {
        let life = inner.lives.get(&model.sha256)?;
        let loaded = inner.loaded_as(model);
        let is_placed = inner.has_place(model);
        let role = if is_placed { life.stage } else { Stage::Candidate };
        Some(ModelView {
            name: model.name.clone(),
            version: model.version.clone(),
            sha256: loaded.as_ref().map(|loaded| loaded.model.sha256.clone()).unwrap_or_default(),
            manifest_sha256: model.sha256.clone(),
            role: role.name().to_owned(),
            stage: life.stage.name(),
            percent: life.percent,
            since: life.since,
            cause: life.cause.clone(),
            trust: life.trust,
            validated_at: life.validated_at,
            refusal: life.refusal.clone(),
            gates: inner.reports.get(&model.sha256).map(|Report { checks }| checks.clone()).unwrap_or_default(),
            schema_hash: loaded.as_ref().map(|loaded| loaded.schema.hash().to_owned()).unwrap_or_default(),
            warm: loaded.as_ref().map(|loaded| self.is_warm(&loaded.schema)),
            loaded: loaded.is_some(),
        })
    }

    /// Exports how the fleet stands, before a scrape.
    pub fn export(&self) {
        let facts = self.facts();
        let inner = self.inner.lock();
        let count = |stage: Stage| inner.lives.all().filter(|life| life.stage == stage).count();
        FleetShown {
            stages: Stage::ALL.map(count),
            trial: facts.trial.as_ref().map(|trial| (trial.percent, trial.verdict)),
            rolled_back: facts.rolled_back,
            dropped: self.parts.tap.dropped() + inner.shadowed_dropped,
        }
        .emit();
    }
}

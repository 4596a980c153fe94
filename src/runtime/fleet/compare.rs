//! Comparing: the model on trial, and now and then the standby, on transactions that another model answered.
//!
//! Features are those the transaction had: out of its record where the schemas are the same, else read again as of the
//! transaction. Both sides of a pair are decided anew by today's rules, so that only the models differ.

use std::borrow::Cow;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::bench::{Shadowed, ask};
use super::{Fleet, Inner, RECENT_MAX};
use crate::domain::{FeatureVector, Outcome, Score};
use crate::healing::trial::{Pair, Side};
use crate::healing::{ModelRef, Stage};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Record;
use crate::runtime::inference::ModelFailure;
use crate::runtime::resident::Loaded;
use crate::runtime::slot::{InForce, Model, Release};
use crate::scoring::decide::policy::StandinLoad;
use crate::scoring::decide::{self, Inputs};
use crate::scoring::expression::Scope;
use crate::scoring::rule::Mode;
use crate::telemetry::fleet::Compared;

/// The most transactions one round compares; further ones of the round are only kept.
const ROUND_MAX: usize = 2_048;
/// The most results that wait to be fetched.
const SHADOWED_MAX: usize = 8_192;
/// Alerts among the newest decisions below which nothing is said of their rate.
const ALERTS_MIN: usize = 20;
/// Timed rows that are kept, the newest.
const TIMES_MAX: usize = 201;

impl Fleet {
    /// Takes what the tap has gathered and compares. One round of the bench; the order of calls is the order of the stream.
    pub fn compare(&self) {
        let mut records = Vec::new();
        self.parts.tap.drain_into(&mut records);
        if records.is_empty() {
            return;
        }
        self.keep(&records);
        let records = &records[..records.len().min(ROUND_MAX)];
        let in_force = self.parts.slot.in_force();
        let (standby, trial) = {
            let inner = self.inner.lock();
            let of = |model: &ModelRef| inner.loaded_as(model);
            let standby = inner.lives.at(Stage::Standby).and_then(|life| of(&life.model));
            (standby, inner.trial.as_ref().and_then(|trial| of(&trial.model)))
        };
        if let Some(standby) = standby {
            self.sample(&in_force, &standby, records);
        }
        if let Some(candidate) = trial {
            self.pair(&in_force, &candidate, records);
        }
    }

    /// Returns the newest decisions, at most `count` of them, in order.
    #[must_use]
    pub fn recent(&self, count: usize) -> Vec<Arc<Record>> {
        let inner = self.inner.lock();
        let from = inner.recent.len().saturating_sub(count);
        inner.recent.iter().skip(from).cloned().collect()
    }

    /// Scores the newest decisions with a loaded model at once, on the caller's thread.
    ///
    /// # Errors
    /// [`super::Error::NotLoaded`], and what keeps its features from being read.
    pub fn score_recent(&self, model: &ModelRef, count: usize) -> Result<Vec<Shadowed>, super::Error> {
        let loaded = self.loaded_as(model).ok_or(super::Error::NotLoaded)?;
        let in_force = self.parts.slot.in_force();
        let release = self.release_of(&in_force.active, &loaded)?;
        let records = self.recent(count);
        let scores = self.scores(&release, &loaded.model, &records);
        Ok(shadowed(&loaded.model.reference, &records, &scores))
    }

    /// Takes what models in shadow have said since the last call; the oldest is dropped when nobody fetches it.
    #[must_use]
    pub fn shadowed(&self) -> Vec<Shadowed> {
        self.inner.lock().shadowed.drain(..).collect()
    }

    fn keep(&self, records: &[Arc<Record>]) {
        let mut inner = self.inner.lock();
        inner.recent.extend(records.iter().cloned());
        let surplus = inner.recent.len().saturating_sub(RECENT_MAX);
        inner.recent.drain(..surplus);
    }

    /// Scores the standby's share of the transactions.
    fn sample(&self, in_force: &InForce, standby: &Loaded, records: &[Arc<Record>]) {
        let share = u64::from(self.options.settings.standby_sample_percent);
        let is_drawn = |record: &&Arc<Record>| xxh3_64(record.transaction.id().as_bytes()) % 100 < share;
        let drawn: Vec<Arc<Record>> = records.iter().filter(is_drawn).cloned().collect();
        let Ok(release) = self.release_of(&in_force.active, standby) else { return };
        let scores = self.scores(&release, &standby.model, &drawn);
        self.publish(shadowed(&standby.model.reference, &drawn, &scores));
    }

    /// Pairs what the active model and the candidate make of the same transactions, whichever of them answered.
    fn pair(&self, in_force: &InForce, candidate: &Loaded, records: &[Arc<Record>]) {
        let active = &in_force.active;
        let Some(active_model) = &active.model else { return };
        let Ok(tried) = self.release_of(active, candidate) else { return };
        let by = |model: &Model| {
            let answered = |record: &&Arc<Record>| {
                let facts = &record.decision.release;
                (&facts.model_name, &facts.model_version) == (&model.name, &model.version)
            };
            records.iter().filter(answered).cloned().collect::<Vec<_>>()
        };
        let (of_active, of_candidate) = (by(active_model), by(&candidate.model));
        let candidate_scores = self.scores(&tried, &candidate.model, &of_active);
        let active_scores = self.scores(active, active_model, &of_candidate);
        self.publish(shadowed(&candidate.model.reference, &of_active, &candidate_scores));
        let mut pairs = Vec::with_capacity(records.len());
        for (record, score) in of_active.iter().zip(&candidate_scores) {
            let Some(known) = record.decision.score else { continue };
            let active_side = self.side(active, record, known);
            let other = match Said::of(score) {
                Said::Score(score) => Some(self.side(&tried, record, score)),
                Said::Fault => None,
                Said::Nothing => continue,
            };
            pairs.push((record, active_side, other));
        }
        for (record, score) in of_candidate.iter().zip(&active_scores) {
            let Ok(score) = score else { continue };
            let own = match record.decision.score {
                Some(own) => Some(self.side(&tried, record, own)),
                None if is_fault(record) => None,
                None => continue,
            };
            pairs.push((record, self.side(active, record, *score), own));
        }
        self.observe(&candidate.model.reference, &pairs);
        self.time(active_model, &candidate.model, of_active.first().map(|record| (record, active, &tried)));
        Compared { pairs: pairs.len() }.emit();
    }

    fn observe(&self, candidate: &ModelRef, pairs: &[(&Arc<Record>, Side, Option<Side>)]) {
        let now = self.parts.clock.now();
        let mut inner = self.inner.lock();
        let Some(running) = inner.trial.as_mut().filter(|running| running.model == *candidate) else { return };
        for (record, active, candidate) in pairs {
            let entity = entity_of(record);
            running.trial.observe(&Pair { at: now, entity, active: *active, candidate: *candidate });
        }
    }

    /// Times one row through both models, in turns, so that whatever else the host does falls on both.
    fn time(&self, active: &Model, candidate: &Model, row: Option<(&Arc<Record>, &Arc<Release>, &Release)>) {
        let Some((record, active_release, tried)) = row else { return };
        let rows = [(active, self.row(active_release, record)), (candidate, self.row(tried, record))];
        let timed = |(model, row): &(&Model, Vec<f64>)| {
            let started = Moment::now();
            let scored = ask(model, row);
            scored.first().is_some_and(Result::is_ok).then(|| Moment::now().micros_since(started))
        };
        let mut times = self.bench.times.lock();
        let is_candidate_first = times.len().is_multiple_of(2);
        let (one, other) = if is_candidate_first {
            let candidate = timed(&rows[1]);
            (timed(&rows[0]), candidate)
        } else {
            (timed(&rows[0]), timed(&rows[1]))
        };
        let (Some(active_us), Some(candidate_us)) = (one, other) else { return };
        times.push((active_us, candidate_us));
        let surplus = times.len().saturating_sub(TIMES_MAX);
        times.drain(..surplus);
        let ratio = f64::from(median(times.iter().map(|(_, candidate)| *candidate)))
            / f64::from(median(times.iter().map(|(active, _)| *active)).max(1));
        let count = times.len() as u64;
        drop(times);
        if let Some(running) = &mut self.inner.lock().trial {
            running.trial.timed(ratio, count);
        }
    }

    fn publish(&self, results: Vec<Shadowed>) {
        let mut inner = self.inner.lock();
        inner.shadowed.extend(results);
        let surplus = inner.shadowed.len().saturating_sub(SHADOWED_MAX);
        inner.shadowed.drain(..surplus);
        inner.shadowed_dropped += surplus as u64;
    }

    /// Makes the release a loaded model would be: today's rules, its own schema.
    fn release_of(&self, active: &Release, loaded: &Loaded) -> Result<Release, super::Error> {
        let plan = self.parts.entities.admit(&loaded.schema);
        let plan = plan.map_err(|error| super::Error::Schema(error.to_string()))?;
        let made = active.with_model(Some(Arc::clone(&loaded.model)), &loaded.schema, plan);
        made.map_err(|faults| super::Error::Rules(faults.iter().map(ToString::to_string).collect()))
    }

    fn scores(&self, release: &Release, model: &Model, records: &[Arc<Record>]) -> Vec<Result<Score, ModelFailure>> {
        let cells: Vec<f64> = records.iter().flat_map(|record| self.row(release, record)).collect();
        ask(model, &cells)
    }

    fn row(&self, release: &Release, record: &Record) -> Vec<f64> {
        let features = self.features(release, record);
        release.schema.inputs().iter().map(|place| features.values()[*place]).collect()
    }

    fn features<'r>(&self, release: &Release, record: &'r Record) -> Cow<'r, FeatureVector> {
        if record.decision.release.schema_hash == release.schema.hash() {
            return Cow::Borrowed(&record.features);
        }
        Cow::Owned(self.parts.entities.peek(&record.transaction, &release.plan))
    }

    /// Decides a transaction again with a score, by a release's rules, lists and policy.
    fn side(&self, release: &Release, record: &Record, score: Score) -> Side {
        let features = self.features(release, record);
        let scope = Scope { transaction: &record.transaction, features: &features, score: Some(score) };
        let verdicts = release.rules.evaluate(&scope);
        let evaluated = release.rules.evaluated().zip(verdicts);
        let rules: Vec<_> = evaluated.filter(|(rule, _)| rule.mode == Mode::Active).collect();
        let lists = release.lists.matches(&record.transaction, record.received_at);
        let decided = decide::decide(&Inputs {
            transaction: &record.transaction,
            score: Some(score),
            rules: &rules,
            lists: &lists,
            thresholds: &release.model.as_ref().map_or(release.facts.thresholds, |model| model.thresholds),
            policy: &release.policy,
            standin: StandinLoad::default(),
            tighten_percent: 0,
            calibration: None,
        });
        let outcome: Outcome = decided.outcome;
        Side { score: score.get(), outcome }
    }
}

/// What a run says about the model that was asked.
enum Said {
    /// It has a score.
    Score(Score),
    /// It failed.
    Fault,
    /// It was not asked, or not in time: a crowd and a slow host look so, too. That it computes slowly is for the ratio of
    /// times to say.
    Nothing,
}

impl Said {
    const fn of(score: &Result<Score, ModelFailure>) -> Self {
        match score {
            Ok(score) => Self::Score(*score),
            Err(ModelFailure::Failed(_) | ModelFailure::NotFinite | ModelFailure::OutOfRange) => Self::Fault,
            Err(ModelFailure::QueueFull | ModelFailure::Timeout) => Self::Nothing,
        }
    }
}

/// Tells whether a decision has no score because its model failed; one that was late may have met a crowd.
fn is_fault(record: &Record) -> bool {
    use crate::domain::DegradedReason::{ModelError, ScoreNotFinite, ScoreOutOfRange};
    let faults = [ModelError, ScoreNotFinite, ScoreOutOfRange];
    record.decision.degraded.iter().any(|reason| faults.contains(reason))
}

/// Names whose transaction it is: the customer, else the card, else the transaction itself.
fn entity_of(record: &Record) -> u64 {
    use crate::domain::TextField;
    let fields = [TextField::CustomerId, TextField::AccountId, TextField::CardToken];
    let named = fields.into_iter().find_map(|field| record.transaction.text(field));
    xxh3_64(named.unwrap_or_else(|| record.transaction.id()).as_bytes())
}

fn shadowed(model: &ModelRef, records: &[Arc<Record>], scores: &[Result<Score, ModelFailure>]) -> Vec<Shadowed> {
    let pairs = records.iter().zip(scores);
    let of = |(record, score): (&Arc<Record>, &Result<Score, ModelFailure>)| Shadowed {
        record: Arc::clone(record),
        model: model.clone(),
        score: score.as_ref().ok().map(|score| score.get()),
    };
    pairs.map(of).collect()
}

impl Inner {
    /// Tells how many times as much as in training the active model stops of the newest decisions, by its score alone; 1 while
    /// too few tell.
    pub(super) fn excess(&self) -> f64 {
        let Some(active) = self.lives.at(Stage::Active).and_then(|life| self.loaded_as(&life.model)) else {
            return 1.0;
        };
        let model = &active.model;
        let is_its = |record: &&Arc<Record>| {
            let facts = &record.decision.release;
            (&facts.model_name, &facts.model_version) == (&model.name, &model.version)
        };
        let scores: Vec<f64> =
            self.recent.iter().filter(is_its).filter_map(|record| record.decision.score.map(Score::get)).collect();
        let alerts = scores.iter().filter(|score| **score >= model.thresholds.review).count();
        let usual = active.baseline.profile(&[], &model.thresholds).alert_rate;
        if alerts < ALERTS_MIN || usual <= 0.0 {
            return 1.0;
        }
        alerts as f64 / scores.len() as f64 / usual
    }
}

fn median(values: impl Iterator<Item = u32>) -> u32 {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_counts_against_a_candidate_and_a_crowd_does_not() {
        let is_fault = |failure| matches!(Said::of(&Err(failure)), Said::Fault);
        assert!(is_fault(ModelFailure::Failed("shape".into())));
        assert!(is_fault(ModelFailure::NotFinite) && is_fault(ModelFailure::OutOfRange));
        assert!(!is_fault(ModelFailure::Timeout) && !is_fault(ModelFailure::QueueFull));
    }

    #[test]
    fn the_median_is_of_what_there_is() {
        assert_eq!(median([9, 1, 5].into_iter()), 5);
        assert_eq!(median(std::iter::empty()), 0);
    }
}

//! What matured labels say of one model.

use std::collections::BTreeMap;

use super::label::Labelled;
use super::options::{Expected, Options};
use super::ranks::Ranks;
use super::recalibrate::{Cases, Trial};
use crate::domain::{Calibration as Calibrated, Outcome, Timestamp};
use crate::healing::drift::Ceilings;
use crate::healing::drift::evidence::{Over, Run, mean_log};
use crate::healing::rates::{Direction, Learned};

/// How far the alternatives of calibration lie, in log-odds.
const DISTANCES: [f64; 4] = [0.3, 0.6, 1.1, 2.0];
const SCORE_MIN: f64 = 1e-4;
/// From so much evidence (log) on that ranks fell, the order of scores counts as lost.
const ORDER_LOST: f64 = 9.2;
/// What is kept of the shown ratio from label to label.
const SHOWN_KEEP: f64 = 0.9998;

/// The evidence about one model.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    /// What was stopped and is fraud.
    pub(crate) precision: Learned,
    /// Frauds that were stopped.
    pub(crate) recall: Learned,
    /// Places of frauds.
    pub(crate) rank: Learned,
    /// Frauds against what scores promise.
    pub(crate) calibration: Calibration,
    /// When a label came last.
    pub(crate) newest: Timestamp,
    /// What a new map can be fitted on.
    pub(crate) cases: Cases,
    /// The map in force, and how it does.
    pub(crate) map: Option<(Calibrated, Trial)>,
    ranks: Ranks,
}

/// Are there as many frauds as scores promise?
#[derive(Clone, Debug, Default)]
pub(crate) struct Calibration {
    more: [Run; DISTANCES.len()],
    fewer: [Run; DISTANCES.len()],
    expected: f64,
    observed: f64,
    votes: u64,
    over: Option<[Run; DISTANCES.len()]>,
    is_more: bool,
}

impl Track {
    /// Begins with what is known of the model.
    #[must_use]
    pub(crate) fn new(expected: Expected, options: &Options) -> Self {
        let falling = |known| Learned::new(Direction::Falling, known, options.learning);
        Self {
            precision: falling(expected.precision),
            recall: falling(expected.recall),
            rank: falling(expected.rank),
            calibration: Calibration::default(),
            newest: Timestamp::MIN,
            cases: Cases::default(),
            map: None,
            ranks: Ranks::default(),
        }
    }

    /// Counts a label whose transaction is old enough.
    pub(crate) fn matured(&mut self, label: &Labelled, options: &Options, ceilings: Ceilings) {
        let is_stopped = label.decided.outcome != Outcome::Approve;
        let vote = |is_hit: bool| f64::from(u8::from(is_hit));
        if is_stopped {
            self.precision.vote(vote(label.is_fraud), ceilings);
        }
        if label.is_fraud {
            self.recall.vote(vote(is_stopped), ceilings);
        }
        let Some(score) = label.decided.score.filter(|score| score.is_finite()) else { return };
        if label.is_fraud {
            if let Some(place) = self.ranks.place(score) {
                self.rank.vote(place, ceilings);
            }
        } else {
            self.ranks.legitimate(score, None);
        }
        self.cases.keep(score, label.is_fraud);
        // Judged is what is promised now: a decision of before the map tells of the map, too.
        let promised = match &mut self.map {
            Some((map, trial)) => {
                trial.vote(map, (score, label.is_fraud));
                map.probability(score)
            }
            None => score,
        };
        self.calibration.vote(promised, label.is_fraud, options.calibration_tolerance, ceilings);
    }

    /// Keeps the score of a transaction that stands for a legitimate one.
    pub(crate) fn stands_for_legitimate(&mut self, score: f64) {
        self.ranks.legitimate(score, None);
    }

    /// Says that scores stand for other probabilities from now on: what is promised is judged anew.
    pub(crate) fn calibrated(&mut self, map: Option<Calibrated>) {
        self.map = map.map(|map| (map, Trial::default()));
        self.calibration = Calibration::default();
    }

    /// Forgets the evidence, keeping what was learned.
    pub(crate) fn clear(&mut self) {
        self.precision.clear();
        self.recall.clear();
        self.rank.clear();
        self.calibration = Calibration::default();
    }

    /// Returns figures for people, all finite.
    #[must_use]
    pub(crate) fn values(&self) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        for (name, learned) in [("precision", &self.precision), ("recall", &self.recall), ("rank", &self.rank)] {
            values.insert(name.to_owned(), learned.recent());
            values.insert(format!("{name}_usual"), learned.usual());
            values.insert(format!("{name}_labels"), learned.votes() as f64);
            values.insert(format!("log_e.{name}"), learned.log());
        }
        let calibration = &self.calibration;
        values.insert("observed_over_expected".to_owned(), calibration.ratio());
        values.insert("log_e.calibration".to_owned(), calibration.log());
        if let Some((_, trial)) = &self.map {
            values.insert("log_e.map_better".to_owned(), trial.log_e);
            values.insert("map_labels".to_owned(), trial.votes as f64);
        }
        // Order counts as kept while there is little evidence that ranks fell beyond their own tolerance.
        let is_kept = self.rank.log() < ORDER_LOST;
        values.insert("order_kept".to_owned(), f64::from(u8::from(is_kept)));
        values
    }
}

impl Calibration {
    fn vote(&mut self, score: f64, is_fraud: bool, tolerance: f64, ceilings: Ceilings) {
        let score = score.clamp(SCORE_MIN, 1.0 - SCORE_MIN);
        let high = (score * (1.0 + tolerance)).min(1.0 - SCORE_MIN / 2.0);
        let low = score / (1.0 + tolerance);
        let factors = |bound: f64, sign: f64| {
            let odds = (bound / (1.0 - bound)).ln();
            DISTANCES.map(|distance| {
                let q = 1.0 / (1.0 + (-(odds + sign * distance)).exp());
                if is_fraud { q / bound } else { (1.0 - q) / (1.0 - bound) }
            })
        };
        let (more, fewer) = (factors(high, 1.0), factors(low, -1.0));
        for place in 0..DISTANCES.len() {
            self.more[place].multiply(more[place], ceilings.acting);
            self.fewer[place].multiply(fewer[place], ceilings.acting);
        }
        if let Some(over) = &mut self.over {
            // The mirror of "more" bets that there are not more than the bound, and the other way round.
            let back = if self.is_more { factors(high, -1.0) } else { factors(low, 1.0) };
            over.iter_mut().zip(back).for_each(|(run, factor)| run.multiply(factor, ceilings.ended));
        }
        self.expected = self.expected * SHOWN_KEEP + score;
        self.observed = self.observed * SHOWN_KEEP + f64::from(u8::from(is_fraud));
        self.votes += 1;
    }

    /// Returns the logarithm of the larger evidence, at least 0.
    #[must_use]
    pub(crate) fn log(&self) -> f64 {
        self.sides().0.max(self.sides().1)
    }

    fn sides(&self) -> (f64, f64) {
        let log = |runs: &[Run]| mean_log(runs.iter().map(|run| run.get()), 2 * DISTANCES.len());
        (log(&self.more), log(&self.fewer))
    }

    /// Starts the mirror.
    pub(crate) fn alarmed(&mut self) {
        let (more, fewer) = self.sides();
        (self.is_more, self.over) = (more >= fewer, Some(Default::default()));
    }

    /// Returns what speaks for the end of what alarmed; `None` where nothing alarmed.
    #[must_use]
    pub(crate) fn over(&self) -> Option<Over> {
        self.over.map(|over| Over { log: mean_log(over.iter().map(|run| run.get()), DISTANCES.len()), fresh: 0.0 })
    }

    /// Returns observed over expected frauds; 1 before any are expected.
    #[must_use]
    pub(crate) fn ratio(&self) -> f64 {
        if self.expected > 0.0 { self.observed / self.expected } else { 1.0 }
    }

    /// Returns the labels it rests on.
    #[must_use]
    pub(crate) fn votes(&self) -> u64 {
        self.votes
    }
}

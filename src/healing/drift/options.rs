//! What drift detection promises and what it tolerates.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::Span;

/// Kinds of alarm that share the stated run length: inputs, broken features, scores, surge, collapse.
const KINDS: f64 = 5.0;

/// How the distribution of inputs and scores is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Votes that stand, on average, at least between two false acting alarms of a model.
    pub run_length_acting: f64,
    /// The same between two false advisory alarms.
    pub run_length_advisory: f64,
    /// The same between two false words that something ended.
    pub run_length_ended: f64,
    /// Votes in a block: an entity votes once in it.
    pub block_votes: usize,
    /// The most votes of one merchant in a block.
    pub merchant_votes_max: usize,
    /// How far the share of a bin may be from the baseline's, as a ratio less 1, and still be benign.
    pub tolerance: f64,
    /// The same for single features and for `score`, where a calibration found that they need it.
    pub tolerances: BTreeMap<String, f64>,
    /// The schema whose features the tolerances were calibrated for, by its hash; empty for any.
    pub calibrated_for: String,
    /// What findings on distributions are worth while no tolerance has been calibrated: every stream has rhythms, and
    /// a baseline alone does not know them.
    pub uncalibrated: Standing,
    /// Features that are not watched.
    pub excluded: BTreeSet<String>,
    /// A share that any bin may gain, however rare it was in training.
    pub slack: f64,
    /// The share of missing or non-finite values that a feature may gain before it counts as broken.
    pub lost_slack: f64,
    /// The share of values outside the training range that a feature may have before it counts as broken.
    pub range_slack: f64,
    /// How far the rate of alerts may be from the baseline's, as a ratio less 1.
    pub alert_tolerance: f64,
    /// Without a vote for so long, an open finding is inconclusive.
    pub starved_after: Span,
    /// Ticks further apart than this, or a clock that goes back, hold everything.
    pub clock_jump: Span,
    /// How long they hold.
    pub hold: Span,
    /// How far back figures for people reach; at most a day.
    pub figures_span: Span,
    /// Without a transaction for so long, where there were some, the stream counts as standing still.
    pub silence: Span,
    /// Transactions so much later than they used to be count as late.
    pub lateness: Span,
    /// By what factor the number of transactions a minute may move.
    pub volume_factor: f64,
    /// The classic rule, for those whose policy names it.
    pub classic: Option<Classic>,
}

/// Kolmogorov-Smirnov distance above a limit on a sliding window.
#[derive(Clone, Debug, PartialEq)]
pub struct Classic {
    /// Votes in the window.
    pub window: usize,
    /// The distance from which it alarms.
    pub distance: f64,
    /// Whether the alarm may be acted on.
    pub standing: Standing,
}

/// Whether an alarm is acted on or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is told.
    Advisory,
    /// It may be acted on.
    Acting,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // 100 years and one week at 5,000 votes a second.
            run_length_acting: 1.58e13,
            run_length_advisory: 3.02e9,
            run_length_ended: 1e6,
            block_votes: 25,
            merchant_votes_max: 5,
            tolerance: 0.15,
            tolerances: BTreeMap::new(),
            calibrated_for: String::new(),
            uncalibrated: Standing::Advisory,
            excluded: BTreeSet::new(),
            slack: 0.001,
            lost_slack: 0.01,
            range_slack: 0.05,
            alert_tolerance: 0.5,
            starved_after: Span::from_seconds(300),
            clock_jump: Span::from_seconds(3_600),
            hold: Span::from_seconds(60),
            figures_span: Span::from_seconds(3_600),
            silence: Span::from_seconds(60),
            lateness: Span::from_seconds(900),
            volume_factor: 5.0,
            classic: None,
        }
    }
}

impl Options {
    /// Returns the options for a model with this schema: what was calibrated for another one says nothing about it, and
    /// is left out with the standing that it gave.
    #[must_use]
    pub fn of_schema(&self, schema_hash: &str) -> Self {
        if self.calibrated_for.is_empty() || self.calibrated_for == schema_hash {
            return self.clone();
        }
        Self { tolerances: BTreeMap::new(), excluded: BTreeSet::new(), calibrated_for: String::new(), ..self.clone() }
    }

    /// Returns the tolerance of a feature, or of the scores under `score`.
    #[must_use]
    pub fn tolerance_of(&self, name: &str) -> f64 {
        self.tolerances.get(name).copied().unwrap_or(self.tolerance)
    }

    /// Tells whether findings on distributions may be acted on.
    #[must_use]
    pub fn may_act(&self) -> bool {
        !self.tolerances.is_empty() || !self.calibrated_for.is_empty() || self.uncalibrated == Standing::Acting
    }

    /// Returns what the statistics have to reach, in logarithms of blocks.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let blocks = |votes: f64| (votes * KINDS / self.block_votes as f64).max(1.0).ln();
        let [acting, advisory] = [self.run_length_acting, self.run_length_advisory].map(blocks);
        Limits { acting, advisory, ended: (self.run_length_ended / self.block_votes as f64).max(1.0).ln() }
    }
}

/// Thresholds of evidence, in natural logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// From here on an alarm may be acted on.
    pub acting: f64,
    /// From here on people are told.
    pub advisory: f64,
    /// From here on what was found counts as over.
    pub ended: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_of_another_schema_do_not_count() {
        let tolerances = BTreeMap::from([("amount".to_owned(), 2.0)]);
        let calibrated = Options { tolerances, calibrated_for: "a".to_owned(), ..Options::default() };
        assert!(calibrated.of_schema("a").may_act() && calibrated.of_schema("a").tolerance_of("amount") > 1.9);
        assert!(!calibrated.of_schema("b").may_act() && calibrated.of_schema("b").tolerance_of("amount") < 0.2);
        let needless = Options { calibrated_for: "a".to_owned(), ..Options::default() };
        assert!(needless.of_schema("a").may_act(), "calibrated, and no feature needs more");
        let anywhere = Options { calibrated_for: String::new(), ..calibrated };
        assert!(anywhere.of_schema("b").may_act());
    }
}

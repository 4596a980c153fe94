//! A map from a model's score to a probability: monotone, so that the order of scores is kept.
//!
//! ```text
//! logit p = slope_low ln s - slope_high ln (1 - s) + shift          both slopes >= 0, not both 0
//! ```
//! This is the beta calibration of Kull, Silva Filho and Flach ("Beta calibration: a well-founded and easily implemented
//! improvement on logistic calibration for binary classifiers", AISTATS 2017). With slopes of 1 and no shift it changes
//! nothing; a shift alone moves all odds by one factor, which is what another share of frauds does. Three numbers need
//! few frauds to be fitted, and a strictly monotone map makes no ties, which isotonic regression would.

use serde::{Deserialize, Serialize};

use super::decision::Thresholds;

/// Scores beyond are not told from these: logarithms stay finite.
const SCORE_MIN: f64 = 1e-9;

/// A map from score to probability. Part of every decision made under it, so that it can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How fast odds grow with low scores, at least 0.
    pub slope_low: f64,
    /// How fast odds grow with high scores, at least 0.
    pub slope_high: f64,
    /// By how much all log-odds are moved.
    pub shift: f64,
    /// Labels it was fitted on.
    pub labels: u64,
}

impl Calibration {
    /// The map that changes nothing.
    pub const IDENTITY: Self = Self { slope_low: 1.0, slope_high: 1.0, shift: 0.0, labels: 0 };

    /// Returns the probability that a score within 0..=1 stands for, within 0..=1.
    #[must_use]
    pub fn probability(&self, score: f64) -> f64 {
        let [low, high] = Self::logs(score);
        let odds = self.slope_low * low + self.slope_high * high + self.shift;
        1.0 / (1.0 + (-odds).exp())
    }

    /// Returns what the two slopes are multiplied by: `ln s` and `-ln (1 - s)`, finite.
    #[must_use]
    pub fn logs(score: f64) -> [f64; 2] {
        let score = score.clamp(SCORE_MIN, 1.0 - SCORE_MIN);
        [score.ln(), -(-score).ln_1p()]
    }

    /// Returns the limits that mean for probabilities what these mean for scores.
    #[must_use]
    pub fn thresholds(&self, scores: &Thresholds) -> Thresholds {
        Thresholds {
            review: self.probability(scores.review),
            challenge: scores.challenge.map(|challenge| self.probability(challenge)),
            decline: self.probability(scores.decline),
        }
    }

    /// Tells whether it is a map at all: finite, and never falling.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Self { slope_low, slope_high, shift, labels: _ } = *self;
        let are_finite = slope_low.is_finite() && slope_high.is_finite() && shift.is_finite();
        are_finite && slope_low >= 0.0 && slope_high >= 0.0 && slope_low + slope_high > 0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_never_falls_and_stays_a_probability(
            slope_low in 0.0..5.0_f64, slope_high in 0.01..5.0_f64, shift in -8.0..8.0_f64,
            one in 0.0..=1.0_f64, other in 0.0..=1.0_f64,
        ) {
            let map = Calibration { slope_low, slope_high, shift, labels: 0 };
            let (low, high) = (one.min(other), one.max(other));
            prop_assert!(map.is_sound());
            prop_assert!(map.probability(low) <= map.probability(high) + 1e-12);
            prop_assert!((0.0..=1.0).contains(&map.probability(one)));
            let limits = Thresholds { review: low, challenge: None, decline: high };
            prop_assert!(map.thresholds(&limits).review <= map.thresholds(&limits).decline + 1e-12);
        }
    }

    #[test]
    fn the_identity_changes_nothing_and_a_shift_moves_the_odds() {
        for score in [0.001, 0.2, 0.5, 0.97] {
            assert!((Calibration::IDENTITY.probability(score) - score).abs() < 1e-12);
        }
        let halved = Calibration { shift: -(2.0_f64.ln()), ..Calibration::IDENTITY };
        assert!((halved.probability(0.5) - 1.0 / 3.0).abs() < 1e-12);
        assert!(!Calibration { slope_low: -0.1, ..halved }.is_sound());
        assert!(!Calibration { shift: f64::NAN, ..halved }.is_sound());
    }
}

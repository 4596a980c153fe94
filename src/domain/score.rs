//! The score: a probability of fraud that is always finite and within 0..=1.

use serde::Serialize;

/// A model's probability of fraud (`SC-3`: finite, within 0..=1). A failed model has no score;
/// there is no value of this type that stands for an error.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// Accepts a finite probability within 0..=1.
    ///
    /// # Errors
    /// [`ScoreError::NotFinite`] for NaN and infinities, [`ScoreError::OutOfRange`] for the rest.
    pub fn new(probability: f64) -> Result<Self, ScoreError> {
        if !probability.is_finite() {
            return Err(ScoreError::NotFinite);
        }
        if !(0.0..=1.0).contains(&probability) {
            return Err(ScoreError::OutOfRange);
        }
        Ok(Self(probability))
    }

    /// Returns the probability.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// Why a number is not a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// NaN or an infinity.
    #[error("score is not finite")]
    NotFinite,
    /// Finite, but below 0 or above 1.
    #[error("score is outside 0..=1")]
    OutOfRange,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probabilities_are_scores() {
        assert!(Score::new(0.0).is_ok() && Score::new(1.0).is_ok());
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Score::new(wrong), Err(ScoreError::NotFinite));
        }
        for wrong in [-1e-9, 1.000_001] {
            assert_eq!(Score::new(wrong), Err(ScoreError::OutOfRange));
        }
    }
}

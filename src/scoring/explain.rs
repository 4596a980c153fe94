//! Which features moved the score: one feature at a time put back to its baseline.
//!
//! Model-agnostic: contribution of feature j = score(row) - score(row with j at its baseline value),
//! the occlusion attribution of Zeiler & Fergus (2014) on tabular rows. It needs one batched run of as
//! many rows as features differ from their baseline; interactions are not shared out, so the
//! contributions need not add up to the score.

use crate::domain::{Contribution, Score};

/// The most features named in one explanation.
pub const CONTRIBUTIONS_MAX: usize = 4;
/// Contributions below this share of probability are noise and left out.
const AMOUNT_MIN: f64 = 0.001;

/// The rows to score for one explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Occlusion {
    /// Which input each row has at its baseline.
    pub inputs: Vec<usize>,
    /// `inputs.len()` rows of the model's inputs, row-major.
    pub rows: Vec<f64>,
}

impl Occlusion {
    /// Builds the rows of a model input row; inputs already at their baseline get none.
    #[must_use]
    pub fn new(row: &[f64], baseline: &[f64]) -> Self {
        debug_assert_eq!(row.len(), baseline.len(), "a baseline value per input");
        let differs = |place: &usize| row[*place].to_bits() != baseline[*place].to_bits();
        let inputs: Vec<usize> = (0..row.len().min(baseline.len())).filter(differs).collect();
        let mut rows = Vec::with_capacity(inputs.len() * row.len());
        for &place in &inputs {
            let start = rows.len();
            rows.extend_from_slice(row);
            rows[start + place] = baseline[place];
        }
        Self { inputs, rows }
    }
}

/// Ranks the contributions: largest movement first, at most [`CONTRIBUTIONS_MAX`]. A row whose score
/// failed is left out. `inputs` are [`Occlusion::inputs`]; `feature_of` maps a model input to its
/// place in the schema.
#[must_use]
pub fn rank(inputs: &[usize], score: Score, occluded: &[Option<Score>], feature_of: &[usize]) -> Vec<Contribution> {
    let mut contributions: Vec<Contribution> = inputs
        .iter()
        .zip(occluded)
        .filter_map(|(&input, without)| {
            let amount = score.get() - without.as_ref()?.get();
            (amount.abs() >= AMOUNT_MIN).then_some(Contribution { feature: feature_of[input], amount })
        })
        .collect();
    contributions.sort_by(|left, right| right.amount.abs().total_cmp(&left.amount.abs()));
    contributions.truncate(CONTRIBUTIONS_MAX);
    contributions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(probability: f64) -> Score {
        Score::new(probability).expect("a probability")
    }

    #[test]
    fn only_what_differs_is_occluded() {
        let occlusion = Occlusion::new(&[1.0, 2.0, f64::NAN], &[1.0, 5.0, f64::NAN]);
        assert_eq!(occlusion.inputs, [1]);
        assert_eq!(occlusion.rows[..2], [1.0, 5.0]);
        assert!(occlusion.rows[2].is_nan());
    }

    #[test]
    fn a_linear_model_gets_its_weights_back() {
        let (weights, row) = ([0.1, 0.4, -0.2, 0.0, 0.05, 0.02], [1.0; 6]);
        let model = |row: &[f64]| score(0.3 + row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>());
        let occlusion = Occlusion::new(&row, &[0.0; 6]);
        let occluded: Vec<_> = occlusion.rows.chunks(6).map(|row| Some(model(row))).collect();
        let ranked = rank(&occlusion.inputs, model(&row), &occluded, &[10, 11, 12, 13, 14, 15]);
        let features: Vec<_> = ranked.iter().map(|c| c.feature).collect();
        assert_eq!(features, [11, 12, 10, 14]);
        assert!((ranked[1].amount + 0.2).abs() < 1e-12);
        let partly: Vec<_> = occluded.iter().enumerate().map(|(at, s)| if at == 1 { None } else { *s }).collect();
        assert_eq!(rank(&occlusion.inputs, model(&row), &partly, &[10, 11, 12, 13, 14, 15])[0].feature, 12);
    }
}

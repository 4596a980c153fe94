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

/// Lists the inputs that are not at their baseline: those an explanation is about.
#[must_use]
pub fn moved_inputs(row: &[f64], baseline: &[f64]) -> Vec<usize> {
    debug_assert_eq!(row.len(), baseline.len(), "a baseline value per input");
    let pairs = row.iter().zip(baseline).enumerate();
    pairs.filter(|(_, (value, at_rest))| value.to_bits() != at_rest.to_bits()).map(|(place, _)| place).collect()
}

/// Builds the rows to score: for each of `inputs` the row with that input back at its baseline, row-major.
#[must_use]
pub fn occluded_rows(row: &[f64], baseline: &[f64], inputs: &[usize]) -> Vec<f64> {
    let mut rows = Vec::with_capacity(inputs.len() * row.len());
    for &place in inputs {
        let start = rows.len();
        rows.extend_from_slice(row);
        rows[start + place] = baseline[place];
    }
    rows
}

/// Ranks the contributions: largest movement first, at most [`CONTRIBUTIONS_MAX`]. A row whose score
/// failed is left out. `inputs` are [`moved_inputs`]; `feature_of` maps a model input to its
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
        let (row, baseline) = ([1.0, 2.0, f64::NAN], [1.0, 5.0, f64::NAN]);
        let inputs = moved_inputs(&row, &baseline);
        assert_eq!(inputs, [1]);
        let rows = occluded_rows(&row, &baseline, &inputs);
        assert_eq!(rows[..2], [1.0, 5.0]);
        assert!(rows.len() == 3 && rows[2].is_nan());
    }

    #[test]
    fn a_linear_model_gets_its_weights_back() {
        let (weights, row) = ([0.1, 0.4, -0.2, 0.0, 0.05, 0.02], [1.0; 6]);
        let model = |row: &[f64]| score(0.3 + row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>());
        let inputs = moved_inputs(&row, &[0.0; 6]);
        let occluded: Vec<_> = occluded_rows(&row, &[0.0; 6], &inputs).chunks(6).map(|row| Some(model(row))).collect();
        let ranked = rank(&inputs, model(&row), &occluded, &[10, 11, 12, 13, 14, 15]);
        let features: Vec<_> = ranked.iter().map(|c| c.feature).collect();
        assert_eq!(features, [11, 12, 10, 14]);
        assert!((ranked[1].amount + 0.2).abs() < 1e-12);
        let partly: Vec<_> = occluded.iter().enumerate().map(|(at, s)| if at == 1 { None } else { *s }).collect();
        assert_eq!(rank(&inputs, model(&row), &partly, &[10, 11, 12, 13, 14, 15])[0].feature, 12);
    }
}

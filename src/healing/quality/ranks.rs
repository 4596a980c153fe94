//! Where frauds stand among legitimate transactions: quality that needs no threshold and no calibration.
//!
//! ```text
//! place of a fraud = 1 - ln(1 + k) / ln(1 + n)     k of the last n legitimate scores are at least as high
//! ```
//! 1 when none is higher, 0 when all are. The logarithm puts the weight on the top, where alerts are: from the first to
//! the tenth counts as much as from the tenth to the hundredth.

use std::collections::VecDeque;

const KEPT_MAX: usize = 512;
/// Fewer legitimate scores than this say too little.
const KEPT_MIN: usize = 100;

/// The scores of the last legitimate transactions, of the model and of its standby.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranks {
    kept: VecDeque<(f64, Option<f64>)>,
}

impl Ranks {
    /// Keeps the scores of a legitimate transaction.
    pub(crate) fn legitimate(&mut self, score: f64, standby: Option<f64>) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((score, standby.filter(|score| score.is_finite())));
    }

    /// Returns the place of a fraud; `None` while too few are known.
    #[must_use]
    pub(crate) fn place(&self, score: f64) -> Option<f64> {
        place(self.kept.iter().map(|(own, _)| *own), score)
    }

    /// Returns the places of a fraud with both models, among the same transactions.
    #[must_use]
    pub(crate) fn places(&self, score: f64, standby: f64) -> Option<(f64, f64)> {
        let both = || self.kept.iter().filter_map(|(own, other)| Some((*own, (*other)?)));
        Some((place(both().map(|pair| pair.0), score)?, place(both().map(|pair| pair.1), standby)?))
    }

    /// Forgets the scores: another model, or another standby.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }
}

fn place(scores: impl Iterator<Item = f64>, score: f64) -> Option<f64> {
    let (mut count, mut higher, mut equal) = (0_u32, 0_u32, 0_u32);
    for other in scores {
        count += 1;
        higher += u32::from(other > score);
        equal += u32::from(other.total_cmp(&score).is_eq());
    }
    let above = f64::from(higher) + 0.5 * f64::from(equal);
    (count as usize >= KEPT_MIN).then(|| 1.0 - above.ln_1p() / f64::from(count).ln_1p())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_between_the_last_and_the_first() {
        let mut ranks = Ranks::default();
        assert_eq!(ranks.place(0.5), None);
        (0..600).for_each(|score| ranks.legitimate(f64::from(score) / 600.0, Some(0.5)));
        assert!(ranks.place(1.0).is_some_and(|place| (place - 1.0).abs() < 1e-12));
        assert!(ranks.place(-1.0).is_some_and(|place| place.abs() < 1e-12));
        let (own, constant) = ranks.places(0.99, 0.5).expect("enough");
        assert!(own > 0.6 && constant < 0.15, "a constant model ranks nothing: {own} {constant}");
    }
}

//! The tolerance set: every law of the bins that counts as benign, and the robust normaliser over it.
//!
//! ```text
//! N = { P : low_b <= P_b <= high_b, sum P = 1 }        low, high from the baseline, its sampling error and the tolerance
//! Z(g) = max over P in N of sum P_b g_b                greedy: what is free goes to the largest g first
//! s_b  = ln g_b - ln Z          so that E_P[exp s] <= 1 for every P in N, whatever came before
//! ```
//! This is what makes the product over votes an e-value without independent or identically distributed
//! transactions: the next vote's law, given the past, only has to be in N.

/// How many standard errors of the baseline itself are benign.
const ERRORS: f64 = 3.0;

/// Lower and upper bounds on the share of each bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    /// The baseline's shares, every one above 0.
    pub shares: Vec<f64>,
    low: Vec<f64>,
    free: Vec<f64>,
}

impl Tolerance {
    /// Builds the set around the shares of a baseline of so many rows.
    #[must_use]
    pub fn new(shares: &[f64], rows: u64, ratio: f64, slack: f64) -> Self {
        let (rows, bins) = (rows.max(1) as f64, shares.len().max(1) as f64);
        // Half a row more in each bin: a bin that training never filled is rare, not impossible.
        let shares: Vec<f64> = shares.iter().map(|share| (share * rows + 0.5) / (rows + 0.5 * bins)).collect();
        let bounds = shares.iter().map(|share| {
            let error = ERRORS * (share * (1.0 - share) / rows).sqrt();
            let high = (share + error.max(ratio * share).max(slack)).min(1.0);
            let low = (share - error.max(share * ratio / (1.0 + ratio))).max(0.0);
            (low, high - low)
        });
        let (low, free) = bounds.unzip();
        Self { shares, low, free }
    }

    /// Returns the lower and upper bound of a bin.
    #[must_use]
    pub fn bounds(&self, bin: usize) -> (f64, f64) {
        (self.low[bin], self.low[bin] + self.free[bin])
    }

    /// Tells whether a law is benign.
    #[must_use]
    pub fn holds(&self, law: &[f64]) -> bool {
        let bounds = self.low.iter().zip(&self.free);
        bounds.zip(law).all(|((low, free), share)| *low <= *share && *share <= low + free)
    }

    /// Returns the largest mean that these weights can have over the set.
    #[must_use]
    pub fn largest_mean(&self, weights: &[f64]) -> f64 {
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_unstable_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        let mut mean: f64 = self.low.iter().zip(weights).map(|(low, weight)| low * weight).sum();
        let mut left = 1.0 - self.low.iter().sum::<f64>();
        for bin in order {
            let given = self.free[bin].min(left).max(0.0);
            mean += given * weights[bin];
            left -= given;
        }
        mean
    }

    /// Turns the shares of an alternative into the logarithm of what a vote for each bin is worth.
    #[must_use]
    pub fn increments(&self, alternative: &[f64]) -> Vec<f64> {
        let weights: Vec<f64> = alternative.iter().zip(&self.shares).map(|(q, p)| q / p).collect();
        let normaliser = self.largest_mean(&weights).max(f64::MIN_POSITIVE);
        weights.iter().map(|weight| (weight / normaliser).max(f64::MIN_POSITIVE).ln()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every vertex of the box cut by the simplex: all bins but one at a bound, the last one takes the rest.
    fn vertices(set: &Tolerance) -> Vec<Vec<f64>> {
        let bins = set.shares.len();
        let mut found = Vec::new();
        for rest in 0..bins {
            for corners in 0..1_u32 << (bins - 1) {
                let mut law: Vec<f64> = Vec::with_capacity(bins);
                let mut bit = 0;
                for bin in 0..bins {
                    let (low, high) = set.bounds(bin);
                    if bin == rest {
                        law.push(0.0);
                    } else {
                        law.push(if corners >> bit & 1 == 0 { low } else { high });
                        bit += 1;
                    }
                }
                law[rest] = 1.0 - law.iter().sum::<f64>();
                let (low, high) = set.bounds(rest);
                if (low - 1e-12..=high + 1e-12).contains(&law[rest]) {
                    found.push(law);
                }
            }
        }
        found
    }

    fn normalised(raw: &[f64]) -> Vec<f64> {
        let total: f64 = raw.iter().sum();
        raw.iter().map(|share| share / total).collect()
    }

    proptest! {
        #[test]
        fn no_law_of_the_set_gains_on_average(
            shares in prop::collection::vec(0.001..1.0_f64, 2..8),
            alternative in prop::collection::vec(0.001..1.0_f64, 8),
            ratio in 0.0..1.0_f64,
            rows in 50_u64..1_000_000,
        ) {
            let shares = normalised(&shares);
            let alternative = normalised(&alternative[..shares.len()]);
            let set = Tolerance::new(&shares, rows, ratio, 0.001);
            let weights: Vec<f64> = alternative.iter().zip(&set.shares).map(|(q, p)| q / p).collect();
            let worths = set.increments(&alternative);
            let vertices = vertices(&set);
            prop_assert!(!vertices.is_empty());
            let mean = |law: &[f64], of: &[f64]| law.iter().zip(of).map(|(p, weight)| p * weight).sum::<f64>();
            let exhaustive = vertices.iter().map(|law| mean(law, &weights)).fold(f64::MIN, f64::max);
            let greedy = set.largest_mean(&weights);
            prop_assert!((exhaustive - greedy).abs() <= 1e-9 * greedy.max(1.0), "{exhaustive} {greedy}");
            let gains: Vec<f64> = worths.iter().map(|worth| worth.exp()).collect();
            for law in &vertices {
                prop_assert!(mean(law, &gains) <= 1.0 + 1e-9);
            }
            // Not idle: the worst law of the set gains nothing, but loses nothing either.
            prop_assert!(vertices.iter().any(|law| mean(law, &gains) >= 1.0 - 1e-9));
        }
    }

    #[test]
    fn rows_decide_how_much_the_baseline_is_trusted() {
        let few = Tolerance::new(&[0.5, 0.5], 100, 0.15, 0.001).bounds(0);
        let many = Tolerance::new(&[0.5, 0.5], 1_000_000, 0.15, 0.001).bounds(0);
        assert!((few.1 - 0.65).abs() < 1e-9 && (many.1 - 0.575).abs() < 1e-9, "{few:?} {many:?}");
        let never = Tolerance::new(&[1.0, 0.0], 1_000_000, 0.15, 0.001);
        assert!(never.shares[1] > 0.0 && never.bounds(1).1 > 0.001);
    }
}

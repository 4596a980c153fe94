//! Distances between two histograms, for people and policies that know them by name: never for detection.
//!
//! ```text
//! PSI = sum (a - e) ln(a / e)     less its expectation when nothing moved, (bins - 1)(1/n + 1/m)
//! JS  = KL(a | m)/2 + KL(e | m)/2, m = (a + e)/2, natural logarithm (scipy gives its square root)
//! KS  = largest distance of the cumulated shares      W1 = sum of those distances, in bins
//! ```

use serde::Serialize;

/// What people see of a watched model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Transactions counted.
    pub transactions: u64,
    /// Each model input, in order.
    pub inputs: Vec<Distances>,
    /// The scores.
    pub score: Distances,
    /// The share of scores from the review threshold on; `None` without scores.
    pub alert_rate: Option<f64>,
    /// The same share in training.
    pub alert_rate_baseline: f64,
    /// The share of transactions that were not approved; `None` without transactions.
    pub stopped_share: Option<f64>,
    /// The share of transactions that were decided with less than everything.
    pub degraded_share: Option<f64>,
    /// Median lateness of recent transactions in seconds: receipt less occurrence.
    pub late_seconds: Option<f64>,
}

/// How far one column is from its baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Distances {
    /// The feature's name, or `score`.
    pub name: String,
    /// Finite values counted.
    pub values: u64,
    /// Population stability index, less what chance alone gives; may be a little below 0.
    pub psi: f64,
    /// Jensen-Shannon divergence in nats: 0 to ln 2.
    pub js: f64,
    /// Kolmogorov-Smirnov distance of the bins: at most the distance of the values.
    pub ks: f64,
    /// Wasserstein distance in bins.
    pub w1: f64,
    /// Share of missing values.
    pub null: f64,
    /// Share of infinities.
    pub non_finite: f64,
    /// Share below the training range.
    pub below: f64,
    /// Share above the training range.
    pub above: f64,
    /// Logarithm of the evidence of a change.
    pub log_e: f64,
    /// Whether it waits for full windows, and is not judged.
    pub warming: bool,
    /// Whether it is left out: by the calendar, by the settings, or because nothing about it could be told.
    pub excluded: bool,
}

/// Returns the Kolmogorov-Smirnov distance of two lists of shares.
#[must_use]
pub fn ks(actual: &[f64], expected: &[f64]) -> f64 {
    gaps(actual, expected).map(f64::abs).fold(0.0, f64::max)
}

/// Returns the Wasserstein distance of two lists of shares, in bins.
#[must_use]
pub fn w1(actual: &[f64], expected: &[f64]) -> f64 {
    gaps(actual, expected).map(f64::abs).sum()
}

fn gaps(actual: &[f64], expected: &[f64]) -> impl Iterator<Item = f64> {
    let (mut a, mut e) = (0.0, 0.0);
    actual.iter().zip(expected).map(move |(share, other)| {
        a += share;
        e += other;
        a - e
    })
}

/// Returns the Jensen-Shannon divergence of two lists of shares in nats.
#[must_use]
pub fn js(actual: &[f64], expected: &[f64]) -> f64 {
    let part = |share: f64, middle: f64| if share > 0.0 { share * (share / middle).ln() } else { 0.0 };
    let each = actual.iter().zip(expected).map(|(a, e)| {
        let middle = f64::midpoint(*a, *e);
        f64::midpoint(part(*a, middle), part(*e, middle))
    });
    each.sum::<f64>().max(0.0)
}

/// Returns the population stability index of two lists of shares, none of which may be 0.
#[must_use]
pub fn psi(actual: &[f64], expected: &[f64]) -> f64 {
    actual.iter().zip(expected).map(|(a, e)| (a - e) * (a / e).ln()).sum()
}

/// Returns what [`psi`] is on average when nothing moved, from so many rows each.
#[must_use]
pub fn psi_by_chance(bins: usize, actual_rows: u64, expected_rows: u64) -> f64 {
    bins.saturating_sub(1) as f64 * (1.0 / actual_rows.max(1) as f64 + 1.0 / expected_rows.max(1) as f64)
}

/// Turns counts into shares with half a row more in each bin, so that none is 0.
#[must_use]
pub fn smoothed(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>() as f64 + 0.5 * counts.len() as f64;
    counts.iter().map(|count| (*count as f64 + 0.5) / total).collect()
}

/// Turns counts into shares; all 0 without any.
#[must_use]
pub fn shares(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().map(|count| *count as f64 / total).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn distances_keep_their_bounds(a in prop::collection::vec(0_u64..1_000, 2..40), seed in any::<u64>()) {
            let b: Vec<u64> = a.iter().enumerate().map(|(place, _)| seed.wrapping_mul(place as u64 + 1) >> 54).collect();
            let (a, b) = (smoothed(&a), smoothed(&b));
            for same in [ks(&a, &a), w1(&a, &a), js(&a, &a), psi(&a, &a)] {
                prop_assert!(same.abs() < 1e-12);
            }
            prop_assert!((0.0..=1.0).contains(&ks(&a, &b)) && w1(&a, &b) >= ks(&a, &b) - 1e-12);
            prop_assert!(js(&a, &b) <= std::f64::consts::LN_2 + 1e-12 && psi(&a, &b) >= 0.0);
            prop_assert!((js(&a, &b) - js(&b, &a)).abs() < 1e-12);
        }
    }
}

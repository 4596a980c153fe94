//! The reference profile: how features and scores were distributed when the model was trained.
//!
//! At most 32 quantile bins a feature, equally full but where equal values pile up, and shares of
//! null and non-finite values; score bins are dense in the upper tail, where fraud is, with the thresholds as exact
//! edges. `baseline` (the median) stands for a feature when its contribution to a score is asked for.

use serde::{Deserialize, Serialize};

use crate::domain::Thresholds;
use crate::healing::drift::{InputProfile, Profile, ScoresProfile};

/// The most bins of a feature.
pub const BINS_MAX: usize = 32;
/// Quantiles of the score that become edges.
pub const SCORE_QUANTILES: [f64; 17] =
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999];
/// How far the shares of a profile may be from summing to 1.
const SUM_ERROR_MAX: f64 = 1e-6;

/// `baseline.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Rows it was computed from.
    pub rows: u64,
    /// One profile for each model input, in order.
    pub features: Vec<FeatureProfile>,
    /// The scores of the model on the same rows.
    pub score: ScoreProfile,
}

/// How one feature was distributed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureProfile {
    /// The feature's name.
    pub name: String,
    /// The value that stands for it in contributions: its median.
    pub baseline: f64,
    /// The smallest finite value.
    pub min: f64,
    /// The largest finite value.
    pub max: f64,
    /// Inner edges, ascending: a value goes to the first bin whose edge it does not exceed, else to the last.
    pub edges: Vec<f64>,
    /// Share of all rows in each bin; one more than edges.
    pub shares: Vec<f64>,
    /// Share of rows without a value (NaN).
    pub null: f64,
    /// Share of rows with an infinity.
    pub non_finite: f64,
    /// Share of rows below `min`: 0 in training, kept so that a reader counts the same bins.
    pub below: f64,
    /// Share of rows above `max`: 0 in training.
    pub above: f64,
}

/// How the scores were distributed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreProfile {
    /// Inner edges, ascending; both thresholds are among them.
    pub edges: Vec<f64>,
    /// Share of rows in each bin; one more than edges.
    pub shares: Vec<f64>,
}

impl Baseline {
    /// Computes the profile of rows (row-major, in input order) and their scores.
    #[must_use]
    pub fn of(names: &[&str], cells: &[f64], scores: &[f64], thresholds: &Thresholds) -> Self {
        let column = |place: usize| cells.iter().skip(place).step_by(names.len()).copied().collect::<Vec<f64>>();
        let features = names.iter().enumerate().map(|(place, name)| FeatureProfile::of(name, &column(place))).collect();
        Self { rows: scores.len() as u64, features, score: ScoreProfile::of(scores, thresholds) }
    }

    /// Returns the values that stand for the features in contributions, in input order.
    #[must_use]
    pub fn baselines(&self) -> Vec<f64> {
        self.features.iter().map(|feature| feature.baseline).collect()
    }

    /// Returns the baseline as the detectors read it; `calendar` says of each input whether it is read off the calendar,
    /// which does not drift.
    #[must_use]
    pub fn profile(&self, calendar: &[bool], thresholds: &Thresholds) -> Profile {
        let input = |(place, feature): (usize, &FeatureProfile)| InputProfile {
            name: feature.name.clone(),
            edges: feature.edges.clone(),
            shares: feature.shares.clone(),
            min: feature.min,
            max: feature.max,
            null: feature.null,
            non_finite: feature.non_finite,
            calendar: calendar.get(place).copied().unwrap_or(false),
        };
        let ScoreProfile { edges, shares } = self.score.clone();
        let inputs = self.features.iter().enumerate().map(input).collect();
        Profile::new(self.rows, inputs, ScoresProfile { edges, shares, review: thresholds.review })
    }

    /// Returns what is wrong with the profile for these inputs.
    #[must_use]
    pub fn fault(&self, names: &[&str]) -> Option<String> {
        if self.rows == 0 {
            return Some("it was computed from no rows".to_owned());
        }
        if !self.features.iter().map(|feature| feature.name.as_str()).eq(names.iter().copied()) {
            return Some("its features are not the model's inputs in order".to_owned());
        }
        let bins = |edges: &[f64], shares: &[f64]| edges.is_sorted_by(|a, b| a < b) && shares.len() == edges.len() + 1;
        let wrong = self.features.iter().find(|feature| {
            !bins(&feature.edges, &feature.shares)
                || !feature.baseline.is_finite()
                || !sums_to_one(feature.all_shares())
        });
        if let Some(wrong) = wrong {
            return Some(format!("bins of {} do not fit together", wrong.name));
        }
        let score = bins(&self.score.edges, &self.score.shares) && sums_to_one(self.score.shares.iter().copied());
        (!score).then(|| "score bins do not fit together".to_owned())
    }
}

fn sums_to_one(shares: impl Iterator<Item = f64>) -> bool {
    (shares.sum::<f64>() - 1.0).abs() <= SUM_ERROR_MAX
}

impl FeatureProfile {
    /// Computes the profile of one column.
    #[must_use]
    pub fn of(name: &str, column: &[f64]) -> Self {
        let rows = column.len().max(1) as f64;
        let mut finite: Vec<f64> = column.iter().copied().filter(|value| value.is_finite()).collect();
        finite.sort_by(f64::total_cmp);
        let null = column.iter().filter(|value| value.is_nan()).count() as f64 / rows;
        let non_finite = column.iter().filter(|value| value.is_infinite()).count() as f64 / rows;
        let (Some(min), Some(max)) = (finite.first().copied(), finite.last().copied()) else {
            return Self { name: name.to_owned(), shares: vec![0.0], null, non_finite, ..Self::default() };
        };
        let quantiles = (1..BINS_MAX).map(|bin| bin as f64 / BINS_MAX as f64);
        let mut edges: Vec<f64> = quantiles.map(|share| quantile(&finite, share)).filter(|edge| *edge < max).collect();
        edges.dedup();
        let shares = shares(&finite, &edges, rows);
        let baseline = quantile(&finite, 0.5);
        Self { name: name.to_owned(), baseline, min, max, edges, shares, null, non_finite, below: 0.0, above: 0.0 }
    }

    fn all_shares(&self) -> impl Iterator<Item = f64> + '_ {
        self.shares.iter().copied().chain([self.null, self.non_finite, self.below, self.above])
    }
}

impl ScoreProfile {
    /// Computes the profile of scores.
    #[must_use]
    pub fn of(scores: &[f64], thresholds: &Thresholds) -> Self {
        let mut sorted: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let mut edges: Vec<f64> = SCORE_QUANTILES.iter().map(|share| quantile(&sorted, *share)).collect();
        edges.extend([Some(thresholds.review), thresholds.challenge, Some(thresholds.decline)].into_iter().flatten());
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        let shares = shares(&sorted, &edges, sorted.len().max(1) as f64);
        Self { edges, shares }
    }
}

/// Returns the smallest value that at least `share` of the sorted values do not exceed; 0 without values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "a rank within the slice")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

fn shares(sorted: &[f64], edges: &[f64], rows: f64) -> Vec<f64> {
    let mut shares = Vec::with_capacity(edges.len() + 1);
    let mut before = 0;
    for edge in edges {
        let until = sorted.partition_point(|value| value <= edge);
        shares.push((until - before) as f64 / rows);
        before = until;
    }
    shares.push((sorted.len() - before) as f64 / rows);
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { review: 0.2, challenge: None, decline: 0.9 };

    #[test]
    fn equal_mass_bins_where_values_differ() {
        let column: Vec<f64> = (1..=3200).map(f64::from).collect();
        let profile = FeatureProfile::of("n", &column);
        assert_eq!((profile.edges.len(), profile.baseline, profile.min, profile.max), (31, 1600.0, 1.0, 3200.0));
        assert!(profile.shares.iter().all(|share| (share - 1.0 / 32.0).abs() < 1e-12), "{:?}", profile.shares);
    }

    #[test]
    fn zeros_that_pile_up_share_a_bin() {
        let mut column = vec![0.0; 90];
        column.extend([1.0, 2.0, f64::NAN, f64::NAN, f64::INFINITY, 3.0, 3.0, 3.0, 3.0, 3.0]);
        let profile = FeatureProfile::of("z", &column);
        assert!(
            profile.edges.iter().map(|edge| edge.to_bits()).eq([0.0_f64, 1.0].map(f64::to_bits)),
            "{:?}",
            profile.edges
        );
        assert!((profile.shares[0] - 0.9).abs() < 1e-12);
        assert!((profile.null - 0.02).abs() < 1e-12 && (profile.non_finite - 0.01).abs() < 1e-12);
        let nothing = FeatureProfile::of("n", &[f64::NAN]);
        assert_eq!((nothing.null, nothing.shares.as_slice()), (1.0, [0.0].as_slice()));
    }

    #[test]
    fn thresholds_are_score_edges() {
        let scores: Vec<f64> = (0..10_000).map(|place| f64::from(place) / 10_000.0).collect();
        let profile = ScoreProfile::of(&scores, &THRESHOLDS);
        assert!(profile.edges.contains(&0.2) && profile.edges.contains(&0.9) && profile.edges.contains(&0.9994));
    }

    proptest! {
        #[test]
        fn every_profile_fits_together(
            cells in prop::collection::vec(prop_oneof![
                8 => -5.0..5.0_f64, 4 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(f64::NEG_INFINITY), 1 => any::<f64>()
            ], 1..200),
            scores in prop::collection::vec(0.0..=1.0_f64, 1..200),
        ) {
            let mut baseline = Baseline::of(&["a"], &cells, &scores, &THRESHOLDS);
            prop_assert_eq!(baseline.fault(&["a"]), None);
            prop_assert!(baseline.fault(&["b"]).is_some());
            let written = serde_json::to_string(&baseline).expect("written");
            let read: Baseline = serde_json::from_str(&written).expect("read");
            prop_assert_eq!(&read, &baseline);
            baseline.score.shares.push(0.5);
            prop_assert!(baseline.fault(&["a"]).is_some());
        }
    }
}

//! Ranking and calibration of scores, with ties collapsed and weights counted.

use super::Scored;

/// Counts one group of equal scores.
#[derive(Clone, Copy, Default)]
struct Group {
    fraud: f64,
    genuine: f64,
}

/// Groups rows of equal score, highest first.
fn groups(rows: &[Scored]) -> Vec<Group> {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut groups: Vec<Group> = Vec::new();
    let mut last = None;
    for row in sorted {
        // Bit for bit: the scores of a tie are the same number.
        if last != Some(row.score.to_bits()) {
            groups.push(Group::default());
            last = Some(row.score.to_bits());
        }
        if let Some(group) = groups.last_mut() {
            if row.fraud { group.fraud += row.weight } else { group.genuine += row.weight }
        }
    }
    groups
}

fn totals(groups: &[Group]) -> (f64, f64) {
    groups.iter().fold((0.0, 0.0), |(fraud, genuine), group| (fraud + group.fraud, genuine + group.genuine))
}

/// Returns the area under the ROC curve: the chance that a fraud scores above a genuine row, ties counting half.
/// `None` without both kinds.
#[must_use]
pub fn roc_auc(rows: &[Scored]) -> Option<f64> {
    let groups = groups(rows);
    let (fraud, genuine) = totals(&groups);
    let (mut above, mut area) = (0.0, 0.0);
    for group in groups {
        area += group.genuine * (above + group.fraud / 2.0);
        above += group.fraud;
    }
    (fraud > 0.0 && genuine > 0.0).then(|| area / (fraud * genuine))
}

/// Returns the average precision: the sum over steps of recall gained times precision reached. `None` without frauds.
#[must_use]
pub fn average_precision(rows: &[Scored]) -> Option<f64> {
    let groups = groups(rows);
    let (all, _) = totals(&groups);
    let (mut fraud, mut genuine, mut sum) = (0.0, 0.0, 0.0);
    for group in groups {
        fraud += group.fraud;
        genuine += group.genuine;
        sum += group.fraud * fraud / (fraud + genuine);
    }
    (all > 0.0).then(|| sum / all)
}

/// Returns frauds expected by the scores over frauds found: 1 when calibrated in the large. `None` without frauds.
#[must_use]
pub fn calibration(rows: &[Scored]) -> Option<f64> {
    let expected: f64 = rows.iter().map(|row| row.score * row.weight).sum();
    let found: f64 = rows.iter().filter(|row| row.fraud).map(|row| row.weight).sum();
    (found > 0.0).then(|| expected / found)
}

/// Returns the mean squared distance of scores from the truth. `None` without rows.
#[must_use]
pub fn brier(rows: &[Scored]) -> Option<f64> {
    let weight: f64 = rows.iter().map(|row| row.weight).sum();
    let squares = rows.iter().map(|row| row.weight * (row.score - f64::from(u8::from(row.fraud))).powi(2));
    (weight > 0.0).then(|| squares.sum::<f64>() / weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(pairs: &[(f64, bool)]) -> Vec<Scored> {
        pairs.iter().map(|(score, fraud)| Scored { score: *score, fraud: *fraud, weight: 1.0 }).collect()
    }

    #[test]
    fn figures_of_scikit_learn() {
        // sklearn 1.9.1: roc_auc_score .75, average_precision_score .8333333333
        let plain = rows(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]);
        assert!((roc_auc(&plain).expect("both") - 0.75).abs() < 1e-12);
        assert!((average_precision(&plain).expect("frauds") - 0.833_333_333_333).abs() < 1e-9);
        // With a tie across the classes: roc_auc_score .875, average_precision_score .8333333333
        let tied = rows(&[(0.1, false), (0.4, false), (0.4, true), (0.8, true)]);
        assert!((roc_auc(&tied).expect("both") - 0.875).abs() < 1e-12);
        assert!((average_precision(&tied).expect("frauds") - 0.833_333_333_333).abs() < 1e-9);
    }

    #[test]
    fn constant_scores_know_nothing() {
        let constant = rows(&[(0.5, false), (0.5, true), (0.5, false), (0.5, false)]);
        assert_eq!(roc_auc(&constant), Some(0.5));
        assert_eq!(average_precision(&constant), Some(0.25));
        assert_eq!(calibration(&constant), Some(2.0));
        assert_eq!(brier(&constant), Some(0.25));
        assert_eq!((roc_auc(&[]), average_precision(&[]), calibration(&[]), brier(&[])), (None, None, None, None));
    }

    proptest! {
        #[test]
        fn auc_is_the_share_of_right_pairs(pairs in prop::collection::vec(((0..8_u8), any::<bool>(), 1..4_u8), 2..40)) {
            let rows: Vec<Scored> = pairs.iter().map(|(score, fraud, weight)| Scored {
                score: f64::from(*score) / 8.0, fraud: *fraud, weight: f64::from(*weight),
            }).collect();
            let (mut right, mut all) = (0.0, 0.0);
            for fraud in rows.iter().filter(|row| row.fraud) {
                for genuine in rows.iter().filter(|row| !row.fraud) {
                    let weight = fraud.weight * genuine.weight;
                    all += weight;
                    right += weight * if fraud.score > genuine.score { 1.0 } else if fraud.score < genuine.score { 0.0 } else { 0.5 };
                }
            }
            match roc_auc(&rows) {
                Some(area) => prop_assert!((area - right / all).abs() < 1e-12),
                None => prop_assert!(all < 1.0),
            }
        }

        #[test]
        fn the_order_of_rows_never_matters(pairs in prop::collection::vec(((0..8_u8), any::<bool>()), 2..40)) {
            let forward: Vec<(f64, bool)> = pairs.iter().map(|(score, fraud)| (f64::from(*score) / 8.0, *fraud)).collect();
            let backward: Vec<(f64, bool)> = forward.iter().rev().copied().collect();
            prop_assert_eq!(average_precision(&rows(&forward)), average_precision(&rows(&backward)));
        }
    }
}

//! The classic rule: Kolmogorov-Smirnov distance above a limit on a sliding window of votes.
//!
//! Kept for policies that name it. It states no rate of false alarms, is blind to every mean shift below .38 standard
//! deviations at a limit of .15, and cannot see an alert rate that doubles; `docs/detectors.md` has the numbers.

use std::collections::VecDeque;

use super::figures::ks;
use super::options::Classic;

/// One sliding window a feature.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    rule: Classic,
    columns: Vec<Window>,
}

#[derive(Clone, Debug)]
struct Window {
    expected: Vec<f64>,
    votes: VecDeque<usize>,
    counts: Vec<u64>,
}

impl Windows {
    /// Watches columns with these baseline shares.
    #[must_use]
    pub(crate) fn new(rule: Classic, columns: impl Iterator<Item = Vec<f64>>) -> Self {
        let window = |expected: Vec<f64>| Window { counts: vec![0; expected.len()], votes: VecDeque::new(), expected };
        Self { rule, columns: columns.map(window).collect() }
    }

    /// Returns the rule.
    #[must_use]
    pub(crate) fn rule(&self) -> &Classic {
        &self.rule
    }

    /// Counts a vote of a column.
    pub(crate) fn vote(&mut self, column: usize, bin: usize) {
        let Some(window) = self.columns.get_mut(column) else { return };
        if window.votes.len() >= self.rule.window.max(1)
            && let Some(oldest) = window.votes.pop_front()
        {
            window.counts[oldest] -= 1;
        }
        window.votes.push_back(bin);
        window.counts[bin] += 1;
    }

    /// Returns the distance of a column; `None` until its window is full.
    #[must_use]
    pub(crate) fn distance(&self, column: usize) -> Option<f64> {
        let window = self.columns.get(column)?;
        let total = window.votes.len();
        (total >= self.rule.window.max(1)).then(|| {
            let actual: Vec<f64> = window.counts.iter().map(|count| *count as f64 / total as f64).collect();
            ks(&actual, &window.expected)
        })
    }

    /// Empties every window.
    pub(crate) fn clear(&mut self) {
        for window in &mut self.columns {
            window.votes.clear();
            window.counts.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Standing;
    use super::*;

    #[test]
    fn the_window_slides() {
        let rule = Classic { window: 10, distance: 0.15, standing: Standing::Advisory };
        let mut windows = Windows::new(rule, [vec![0.5, 0.5]].into_iter());
        (0..9).for_each(|_| windows.vote(0, 0));
        assert_eq!(windows.distance(0), None);
        windows.vote(0, 0);
        assert!(windows.distance(0).is_some_and(|distance| (distance - 0.5).abs() < 1e-12));
        (0..5).for_each(|_| windows.vote(0, 1));
        assert!(windows.distance(0).is_some_and(|distance| distance.abs() < 1e-12));
    }
}

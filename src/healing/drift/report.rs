//! Figures of a watch for people: distances of every input and of the scores over the last while.

use super::figures::{Distances, Figures, js, ks, psi, psi_by_chance, shares, smoothed, w1};
use super::profile::Cells;
use super::watch::Watch;
use crate::domain::{Span, Timestamp};

impl Watch {
    /// Returns the figures of the span the settings name, up to the last transaction.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures_over(self.options.figures_span)
    }

    /// Returns the figures of about this span, up to a day, up to the last transaction.
    #[must_use]
    pub fn figures_over(&self, span: Span) -> Figures {
        let now = self.last_seen().unwrap_or(Timestamp::MIN);
        let counts = self.ring.sum(now, span);
        let mut from = 0;
        let mut column = |cells: &Cells| {
            let part = &counts[from..from + cells.len()];
            from += cells.len();
            self.distances(cells, part)
        };
        let mut inputs: Vec<Distances> = self.profile.inputs.iter().map(&mut column).collect();
        let mut score = column(&self.profile.scores);
        score.log_e = self.scores.channel.log();
        for (distances, input) in inputs.iter_mut().zip(&self.inputs) {
            distances.log_e = input.channel.as_ref().map_or(0.0, super::channel::Channel::log);
            (distances.warming, distances.excluded) = (input.is_warming, input.channel.is_none());
        }
        let totals = &counts[from..];
        let share = |of: u64, all: u64| (all > 0).then(|| of as f64 / all as f64);
        let [transactions, alerts, stopped, degraded] = [totals[0], totals[1], totals[2], totals[3]];
        Figures {
            transactions,
            alert_rate: share(alerts, score.values),
            alert_rate_baseline: self.profile.alert_rate,
            stopped_share: share(stopped, transactions),
            degraded_share: share(degraded, transactions),
            late_seconds: self.volume.late_seconds(),
            inputs,
            score,
        }
    }

    fn distances(&self, cells: &Cells, counts: &[u64]) -> Distances {
        let bins = cells.bins();
        let mut votes = vec![0_u64; bins];
        for (cell, count) in counts.iter().enumerate() {
            if let Some(bin) = cells.vote(cell) {
                votes[bin] += count;
            }
        }
        let (all, values) = (counts.iter().sum::<u64>(), votes.iter().sum::<u64>());
        let share = |cell: usize| if all == 0 { 0.0 } else { counts[cell] as f64 / all as f64 };
        let mut distances = Distances {
            name: cells.name.clone(),
            values,
            below: share(0),
            above: share(bins + 1),
            null: share(bins + 2),
            non_finite: share(bins + 3),
            ..Distances::default()
        };
        if values > 0 {
            let rows = self.profile.rows.max(1) as f64;
            let expected: Vec<f64> =
                cells.shares.iter().map(|share| (share * rows + 0.5) / (rows + 0.5 * bins as f64)).collect();
            let (plain, smooth) = (shares(&votes), smoothed(&votes));
            distances.psi = psi(&smooth, &expected) - psi_by_chance(bins, values, self.profile.rows);
            distances.js = js(&plain, &cells.shares);
            distances.ks = ks(&plain, &cells.shares);
            distances.w1 = w1(&plain, &cells.shares);
        }
        distances
    }
}

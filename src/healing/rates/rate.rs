//! A rate against a boundary that is known.
//!
//! ```text
//! worth of a hit = ln(q / bound), of a miss = ln((1 - q) / (1 - bound)), q beyond the bound
//! under every rate on the benign side the mean of exp(worth) is at most 1: it is linear in the rate, and 1 at the bound
//! ```

use crate::healing::drift::Ceilings;
use crate::healing::drift::evidence::{GOES_ON, Mirror, Over, Run, mean_log};

/// How far beyond the bound the alternatives lie, in log-odds.
const DISTANCES: [f64; 6] = [0.25, 0.6, 1.1, 1.8, 3.0, 5.0];
const ALTERNATIVES: usize = DISTANCES.len();
const BOUND_MIN: f64 = 1e-9;
/// Half-life, in votes, of the share that is shown to people.
const SHOWN_HALF_LIFE: f64 = 200.0;

/// Which side of the bound is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More than the bound.
    Rising,
    /// Less than the bound.
    Falling,
}

/// One rate under watch.
#[derive(Clone, Debug)]
pub struct Rate {
    bound: f64,
    worths: [(f64, f64); ALTERNATIVES],
    runs: [Run; ALTERNATIVES],
    /// Factors of a block without a hit, by its votes: nearly every block is one.
    idle: (u32, [f64; ALTERNATIVES]),
    mirror: Option<Mirror>,
    /// Runs since the mirror began to gain.
    fresh: [Run; ALTERNATIVES],
    shown: f64,
    shown_votes: f64,
    /// What a block of so many votes leaves of what is shown.
    keep: (u32, f64),
    votes: u64,
}

impl Rate {
    /// Watches a rate that is benign up to the bound, or down to it.
    #[must_use]
    pub fn new(direction: Direction, bound: f64) -> Self {
        let (bound, worths) = worths(direction, bound);
        let (runs, idle) = ([Run::default(); ALTERNATIVES], (0, [1.0; ALTERNATIVES]));
        Self {
            bound,
            worths,
            runs,
            idle,
            fresh: runs,
            mirror: None,
            shown: 0.0,
            shown_votes: 0.0,
            keep: (0, 1.0),
            votes: 0,
        }
    }

    /// Counts a block of votes with so many hits.
    pub fn block(&mut self, hits: u32, votes: u32, ceilings: Ceilings) {
        if votes == 0 {
            return;
        }
        let misses = votes.saturating_sub(hits);
        if hits == 0 {
            if self.idle.0 != misses {
                self.idle = (misses, self.worths.map(|(_, miss)| (miss * f64::from(misses)).exp()));
            }
            for (run, factor) in self.runs.iter_mut().zip(self.idle.1) {
                run.multiply(factor, ceilings.acting);
            }
        } else {
            for (run, (hit, miss)) in self.runs.iter_mut().zip(self.worths) {
                run.add(hit * f64::from(hits) + miss * f64::from(misses), ceilings.acting);
            }
        }
        if let Some(mirror) = &mut self.mirror {
            (0..hits).for_each(|_| mirror.vote(1, ceilings.ended));
            (0..misses).for_each(|_| mirror.vote(0, ceilings.ended));
            let goes_on = mirror.log() < GOES_ON;
            for (run, (hit, miss)) in self.fresh.iter_mut().zip(self.worths) {
                run.add(hit * f64::from(hits) + miss * f64::from(misses), ceilings.acting);
                if goes_on {
                    run.clear();
                }
            }
        }
        self.votes += u64::from(votes);
        if self.keep.0 != votes {
            self.keep = (votes, 0.5_f64.powf(f64::from(votes) / SHOWN_HALF_LIFE));
        }
        self.shown = self.shown * self.keep.1 + f64::from(hits);
        self.shown_votes = self.shown_votes * self.keep.1 + f64::from(votes);
    }

    /// Returns the logarithm of the evidence, at least 0.
    #[must_use]
    pub fn log(&self) -> f64 {
        mean_log(self.runs.iter().map(|run| run.get()), ALTERNATIVES)
    }

    /// Returns the mean of the runs.
    #[must_use]
    pub fn run(&self) -> f64 {
        self.runs.iter().map(|run| run.get()).sum::<f64>() / ALTERNATIVES as f64
    }

    /// Starts the mirror of the alternative that has gathered most.
    pub fn alarmed(&mut self) {
        let best = self.runs.iter().enumerate().max_by(|(_, a), (_, b)| a.get().total_cmp(&b.get()));
        let (hit, miss) = self.worths[best.map_or(0, |(place, _)| place)];
        self.mirror = Some(Mirror::new(vec![miss, hit]));
        self.fresh.iter_mut().for_each(Run::clear);
    }

    /// Returns what speaks for the end of what alarmed; `None` where nothing alarmed.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        let fresh = mean_log(self.fresh.iter().map(|run| run.get()), ALTERNATIVES);
        self.mirror.as_ref().map(|mirror| Over { log: mirror.log(), fresh })
    }

    /// Forgets the evidence.
    pub fn clear(&mut self) {
        self.runs.iter_mut().for_each(Run::clear);
        (self.mirror, self.votes) = (None, 0);
    }

    /// Returns the recent share, about the last few hundred votes; the bound before any vote.
    #[must_use]
    pub fn recent(&self) -> f64 {
        if self.shown_votes > 0.0 { self.shown / self.shown_votes } else { self.bound }
    }

    /// Returns the bound.
    #[must_use]
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// Returns the votes since it was cleared.
    #[must_use]
    pub fn votes(&self) -> u64 {
        self.votes
    }
}

/// Returns the bound that is used and what hits and misses are worth against it.
fn worths(direction: Direction, bound: f64) -> (f64, [(f64, f64); ALTERNATIVES]) {
    let bound = bound.clamp(BOUND_MIN, 1.0 - BOUND_MIN);
    let odds = (bound / (1.0 - bound)).ln();
    let worth = |distance: f64| {
        let beyond = match direction {
            Direction::Rising => odds + distance,
            Direction::Falling => odds - distance,
        };
        let q = 1.0 / (1.0 + (-beyond).exp());
        ((q / bound).ln(), ((1.0 - q) / (1.0 - bound)).ln())
    };
    (bound, DISTANCES.map(worth))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CEILINGS: Ceilings = Ceilings { acting: 1e30, ended: 1e30 };

    proptest! {
        #[test]
        fn no_benign_rate_gains_on_average(bound in 0.0001..0.999_f64, part in 0.0..=1.0_f64) {
            for (direction, rate) in
                [(Direction::Rising, bound * part), (Direction::Falling, 1.0 - (1.0 - bound) * part)]
            {
                for (hit, miss) in worths(direction, bound).1 {
                    let mean = rate * hit.exp() + (1.0 - rate) * miss.exp();
                    prop_assert!(mean <= 1.0 + 1e-9, "{direction:?} {rate} {bound}: {mean}");
                }
            }
        }

        #[test]
        fn blocks_are_votes(hits in prop::collection::vec(0_u32..5, 1..40)) {
            let (mut blocks, mut votes) = (Rate::new(Direction::Rising, 0.05), Rate::new(Direction::Rising, 0.05));
            for hits in hits {
                blocks.block(hits, 25, CEILINGS);
                for (run, (hit, miss)) in votes.runs.iter_mut().zip(votes.worths) {
                    run.add(hit * f64::from(hits) + miss * f64::from(25 - hits), CEILINGS.acting);
                }
            }
            prop_assert!((blocks.log() - votes.log()).abs() < 1e-6 * votes.log().max(1.0));
        }
    }

    #[test]
    fn an_end_is_told_from_going_on() {
        let mut rate = Rate::new(Direction::Rising, 0.02);
        (0..10).for_each(|_| rate.block(25, 25, CEILINGS));
        assert!(rate.log() > 30.0);
        rate.alarmed();
        (0..40).for_each(|_| rate.block(20, 25, CEILINGS));
        assert!(rate.over().is_some_and(|over| over.log < 9.0), "{:?}", rate.over());
        (0..40).for_each(|_| rate.block(0, 25, CEILINGS));
        assert!(rate.over().is_some_and(|over| over.log > 12.0 && over.fresh < 5.0), "{:?}", rate.over());
        rate.clear();
        assert!(rate.over().is_none() && rate.log() < 1e-9);
    }
}

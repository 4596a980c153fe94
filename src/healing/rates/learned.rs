//! A mean whose usual value is learned: precision, recall, ranks, the errors of a model, the coverage of labels.
//!
//! ```text
//! votes in 0..=1        usual = mean of the past        bound = usual -/+ (standard errors, or the tolerance if larger)
//! factor of a vote = 1 + bet * (vote - bound) / bound            rising; its mean is at most 1 while the mean is within
//!                    1 + bet * (bound - vote) / (1 - bound)      falling
//! ```
//! The bound rests on the past only, so each vote is a fair bet against "the mean is within the bound", whatever the law.
//! Votes are learned from late, and not at all while evidence gathers, so that a change does not hide itself. Memory is
//! bounded, and a change too small to gather evidence becomes the usual after a while.

use std::collections::VecDeque;

use super::rate::Direction;
use crate::healing::drift::Ceilings;
use crate::healing::drift::evidence::{GOES_ON, Over, Run, mean_log};

/// The share that is bet on a vote.
const BETS: [f64; 6] = [0.01, 0.03, 0.08, 0.2, 0.45, 0.8];
const BOUND_MIN: f64 = 1e-6;
/// A vote is learned from when so many have come after it.
const LAG_VOTES: usize = 200;
/// From so much evidence (log) on nothing is learned.
const SUSPICIOUS: f64 = 7.0;
/// Half-life, in votes, of the mean that is shown to people.
const SHOWN_VOTES: f64 = 100.0;

/// How a mean is learned and what it may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Votes before it is judged.
    pub votes_min: u32,
    /// The most votes that are remembered.
    pub votes_max: f64,
    /// How many standard errors of what was learned are benign.
    pub errors: f64,
    /// How far the mean may be from the usual one, as a ratio less 1.
    pub tolerance: f64,
}

impl Default for Learning {
    fn default() -> Self {
        Self { votes_min: 100, votes_max: 5_000.0, errors: 2.0, tolerance: 0.1 }
    }
}

/// A mean that knows its own past.
#[derive(Clone, Debug)]
pub struct Learned {
    learning: Learning,
    direction: Direction,
    known: Option<f64>,
    sum: f64,
    squares: f64,
    votes: f64,
    counted: u64,
    /// Votes that wait to be learned from.
    waiting: VecDeque<f64>,
    shown: f64,
    runs: [Run; BETS.len()],
    over: Option<[Run; BETS.len()]>,
    /// Runs since the mirror began to gain.
    fresh: [Run; BETS.len()],
    /// The bound while something is open: what ends it must be the same as what began it.
    held_bound: Option<f64>,
}

impl Learned {
    /// Watches a mean; where `known` is given it is not learned.
    #[must_use]
    pub fn new(direction: Direction, known: Option<f64>, learning: Learning) -> Self {
        let runs = [Run::default(); BETS.len()];
        Self {
            learning,
            direction,
            known,
            sum: 0.0,
            squares: 0.0,
            votes: 0.0,
            counted: 0,
            waiting: VecDeque::new(),
            shown: known.unwrap_or(0.5),
            runs,
            fresh: runs,
            over: None,
            held_bound: None,
        }
    }

    /// Counts a vote of 0 to 1; anything else is left out.
    pub fn vote(&mut self, vote: f64, ceilings: Ceilings) {
        if !(0.0..=1.0).contains(&vote) {
            return;
        }
        if let Some(bound) = self.bound() {
            let up = (vote - bound) / bound;
            let down = (bound - vote) / (1.0 - bound);
            let (towards, back) = match self.direction {
                Direction::Rising => (up, down),
                Direction::Falling => (down, up),
            };
            bet(&mut self.runs, towards, ceilings.acting);
            if let Some(over) = &mut self.over {
                bet(over, back, ceilings.ended);
                bet(&mut self.fresh, towards, ceilings.acting);
                if mean_log(over.iter().map(|run| run.get()), BETS.len()) < GOES_ON {
                    self.fresh.iter_mut().for_each(Run::clear);
                }
            }
            self.counted += 1;
        }
        let share = (1.0 / SHOWN_VOTES).max(1.0 / (self.votes + 1.0));
        self.shown += (vote - self.shown) * share;
        if self.votes < f64::from(self.learning.votes_min) {
            self.learn(vote);
            return;
        }
        self.waiting.push_back(vote);
        if self.waiting.len() > LAG_VOTES
            && let Some(oldest) = self.waiting.pop_front()
            && self.log() < SUSPICIOUS
        {
            self.learn(oldest);
        }
    }

    fn learn(&mut self, vote: f64) {
        let keep = if self.votes >= self.learning.votes_max { 1.0 - 1.0 / self.learning.votes_max } else { 1.0 };
        self.sum = self.sum * keep + vote;
        self.squares = self.squares * keep + vote * vote;
        self.votes = self.votes * keep + 1.0;
    }

    /// Returns the usual mean; one half before anything is known.
    #[must_use]
    pub fn usual(&self) -> f64 {
        self.known.unwrap_or((self.sum + 0.5) / (self.votes + 1.0))
    }

    /// Returns the bound; `None` while too little is known.
    #[must_use]
    pub fn bound(&self) -> Option<f64> {
        if self.held_bound.is_some() {
            return self.held_bound;
        }
        let usual = self.usual();
        let error = if self.known.is_some() {
            0.0
        } else {
            if self.votes < f64::from(self.learning.votes_min.max(2)) {
                return None;
            }
            // A hit and a miss more: a run of equal votes does not make the mean certain.
            let votes = self.votes + 2.0;
            let mean = (self.sum + 1.0) / votes;
            let variance = ((self.squares + 1.0) / votes - mean * mean).max(0.0);
            self.learning.errors * (variance / votes).sqrt()
        };
        let tolerance = self.learning.tolerance;
        let bound = match self.direction {
            Direction::Rising => usual + error.max(usual * tolerance),
            Direction::Falling => usual - error.max(usual * tolerance / (1.0 + tolerance)),
        };
        Some(bound.clamp(BOUND_MIN, 1.0 - BOUND_MIN))
    }

    /// Returns the logarithm of the evidence, at least 0.
    #[must_use]
    pub fn log(&self) -> f64 {
        mean_log(self.runs.iter().map(|run| run.get()), BETS.len())
    }

    /// Returns what speaks for the end of what alarmed; `None` where nothing alarmed.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        let log = |runs: &[Run]| mean_log(runs.iter().map(|run| run.get()), BETS.len());
        self.over.map(|over| Over { log: log(&over), fresh: log(&self.fresh) })
    }

    /// Starts the mirror, against the bound that held.
    pub fn alarmed(&mut self) {
        self.held_bound = self.bound();
        self.over = Some([Run::default(); BETS.len()]);
    }

    /// Returns the recent mean: about the last hundred votes.
    #[must_use]
    pub fn recent(&self) -> f64 {
        self.shown
    }

    /// Returns the votes that were judged since it was cleared.
    #[must_use]
    pub fn votes(&self) -> u64 {
        self.counted
    }

    /// Forgets the evidence, keeping what was learned.
    pub fn clear(&mut self) {
        self.runs.iter_mut().for_each(Run::clear);
        (self.over, self.held_bound, self.counted) = (None, None, 0);
    }

    /// Forgets everything: a new usual mean is learned.
    pub fn relearn(&mut self) {
        *self = Self::new(self.direction, self.known, self.learning);
    }
}

/// A gain of at least -1 a vote, so that no bet loses more than it puts in.
fn bet(runs: &mut [Run; BETS.len()], gain: f64, ceiling: f64) {
    for (run, bet) in runs.iter_mut().zip(BETS) {
        run.multiply(1.0 + bet * gain, ceiling);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const CEILINGS: Ceilings = Ceilings { acting: 1e30, ended: 1e30 };

    fn votes_to(rate: f64, direction: Direction, seed: u64) -> Option<u64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut learned = Learned::new(direction, Some(0.4), Learning::default());
        (1..=20_000).find(|_| {
            learned.vote(f64::from(u8::from(random.random_bool(rate))), CEILINGS);
            learned.log() >= 1e5_f64.ln()
        })
    }

    #[test]
    fn a_fall_is_found_and_a_rise_is_not_a_fall() {
        let found = votes_to(0.2, Direction::Falling, 1).expect("40 % to 20 %");
        assert!(found < 400, "{found}");
        assert_eq!(votes_to(0.6, Direction::Falling, 2), None);
        assert!(votes_to(0.6, Direction::Rising, 3).is_some());
        assert_eq!(votes_to(0.37, Direction::Falling, 4), None, "within the tolerance");
    }

    #[test]
    fn what_is_over_ends_and_the_usual_stays() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut learned = Learned::new(Direction::Falling, None, Learning::default());
        let mut feed = |learned: &mut Learned, rate: f64, votes: u32| {
            (0..votes).for_each(|_| learned.vote(f64::from(u8::from(random.random_bool(rate))), CEILINGS));
        };
        feed(&mut learned, 0.5, 1_000);
        assert!(learned.log() < 9.0, "{}", learned.log());
        feed(&mut learned, 0.2, 200);
        assert!(learned.log() > 12.0, "{}", learned.log());
        learned.alarmed();
        feed(&mut learned, 0.2, 500);
        assert!(learned.over().is_some_and(|over| over.log < 9.0));
        feed(&mut learned, 0.6, 500);
        assert!(learned.over().is_some_and(|over| over.log > 9.3), "{:?}", learned.over());
        learned.clear();
        assert!(learned.log() < 1e-9 && (0.3..0.6).contains(&learned.usual()));
        learned.relearn();
        assert_eq!(learned.bound(), None);
    }

    proptest! {
        /// No law with its mean within the bound gains on average: tried at laws of two points, which are its corners.
        #[test]
        fn a_vote_within_the_bound_gains_nothing(bound in 0.01..0.99_f64, low in 0.0..1.0_f64, high in 0.0..1.0_f64) {
            let (low, high) = (bound * low, bound + (1.0 - bound) * high);
            let share = (bound - low) / (high - low).max(1e-12);
            for bet in BETS {
                let up = |vote: f64| 1.0 + bet * (vote - bound) / bound;
                let down = |vote: f64| 1.0 + bet * (bound - vote) / (1.0 - bound);
                for factor in [&up as &dyn Fn(f64) -> f64, &down] {
                    let mean = (1.0 - share) * factor(low) + share * factor(high);
                    prop_assert!(mean <= 1.0 + 1e-9 && factor(low) >= 0.0 && factor(high) >= 0.0);
                }
            }
        }
    }
}

//! Stops a lane that keeps making its clients anew, and lets it try again after a while.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The shortest pause that is worth one.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Counts rebuilds in a sliding window and draws pauses.
#[derive(Debug)]
pub(super) struct Breaker {
    rebuilds: VecDeque<Duration>,
    rebuilds_max: usize,
    within: Duration,
    trips: u32,
    chance: ChaCha8Rng,
}

impl Breaker {
    pub(super) fn new(rebuilds_max: usize, within: Duration, seed: u64) -> Self {
        Self { rebuilds: VecDeque::new(), rebuilds_max, within, trips: 0, chance: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Counts a rebuild and tells whether it is one too many.
    pub(super) fn strikes_out(&mut self, now: Duration) -> bool {
        let oldest = now.saturating_sub(self.within);
        while self.rebuilds.front().is_some_and(|at| *at < oldest) {
            self.rebuilds.pop_front();
        }
        self.rebuilds.push_back(now);
        let is_out = self.rebuilds.len() > self.rebuilds_max;
        if is_out {
            // One try after the pause; the next strike trips it again.
            self.rebuilds.pop_front();
        }
        is_out
    }

    /// Draws the pause of a broken lane: full jitter below a bound that doubles with each trip.
    pub(super) fn broken_pause(&mut self, max: Duration) -> Duration {
        self.trips = self.trips.saturating_add(1);
        self.pause(self.trips.saturating_add(6), max)
    }

    /// Draws the pause before a batch is published for the `attempt`-th time: none before the first repetition.
    pub(super) fn pause(&mut self, attempt: u32, max: Duration) -> Duration {
        if attempt <= 1 {
            return Duration::ZERO;
        }
        let bound = PAUSE_MIN.saturating_mul(1 << attempt.min(20)).min(max).max(PAUSE_MIN);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.chance.random_range(1_000..=micros.max(1_000)))
    }

    /// A batch was committed: all is well.
    pub(super) fn heal(&mut self) {
        self.rebuilds.clear();
        self.trips = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn five_in_a_minute_are_one_less_than_too_many() {
        let mut breaker = Breaker::new(5, S(60), 1);
        assert!((0..5).all(|at| !breaker.strikes_out(S(at))));
        assert!(breaker.strikes_out(S(5)) && breaker.strikes_out(S(6)), "the sixth, and the next");
        assert!(!breaker.strikes_out(S(120)), "the window slides");
        breaker.heal();
        assert!((0..5).all(|_| !breaker.strikes_out(S(120))));
    }

    #[test]
    fn pauses_are_jittered_and_bounded() {
        let mut breaker = Breaker::new(5, S(60), 7);
        assert_eq!(breaker.pause(1, S(1)), Duration::ZERO);
        let drawn: Vec<Duration> = (0..200).map(|_| breaker.broken_pause(S(30))).collect();
        assert!(drawn.iter().all(|pause| *pause <= S(30) && *pause > Duration::ZERO));
        assert!(drawn.iter().any(|pause| *pause > S(15)) && drawn[20..].iter().any(|pause| *pause < S(10)));
    }
}

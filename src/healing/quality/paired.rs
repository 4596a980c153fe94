//! Is the standby better than the active model? On the same frauds, among the same legitimate transactions.
//!
//! ```text
//! gain of a fraud = place with the standby - place with the active model           in -1..=1
//! e = sum over j of w_j * product from j on of (1 + bet * gain)                     an e-process: valid at any time
//! ```
//! The sum over starting points (prior weights that add up to 1) lets it find a standby that became better
//! only lately. It stays below 1/a for ever with probability 1 - a where the standby is never better.

use serde::{Deserialize, Serialize};

/// The share that is bet on a gain.
const BETS: [f64; 4] = [0.1, 0.3, 0.6, 0.9];
/// How slowly the prior weights of starting points fall: half of them within so many frauds.
const HORIZON: f64 = 50.0;
const CEILING: f64 = 1e200;

/// What labelled frauds say about standby and active model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Logarithm of the evidence that the standby ranks frauds better, finite.
    pub log_e_standby_better: f64,
    /// Logarithm of the evidence that it ranks them worse, finite.
    pub log_e_standby_worse: f64,
    /// Frauds that both have scored.
    pub pairs: u64,
    /// Mean place of those frauds with the active model, 0 to 1.
    pub active_place: f64,
    /// Mean place with the standby.
    pub standby_place: f64,
}

/// The evidence as it gathers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gains {
    pairs: u64,
    active: f64,
    standby: f64,
    better: [f64; BETS.len()],
    worse: [f64; BETS.len()],
}

impl Gains {
    /// Counts a fraud by its places.
    pub(crate) fn fraud(&mut self, active: f64, standby: f64) {
        let gain = (standby - active).clamp(-1.0, 1.0);
        // The weight of the starting point before this fraud, of the prior HORIZON / (HORIZON + j).
        let weight = tail(self.pairs) - tail(self.pairs + 1);
        for (place, bet) in BETS.into_iter().enumerate() {
            self.better[place] = ((self.better[place] + weight) * (1.0 + bet * gain)).min(CEILING);
            self.worse[place] = ((self.worse[place] + weight) * (1.0 - bet * gain)).min(CEILING);
        }
        self.pairs += 1;
        let share = 1.0 / self.pairs as f64;
        self.active += (active - self.active) * share;
        self.standby += (standby - self.standby) * share;
    }

    /// Returns what it says now.
    #[must_use]
    pub(crate) fn paired(&self) -> Paired {
        let log = |sums: &[f64; BETS.len()]| (sums.iter().sum::<f64>() / BETS.len() as f64 + tail(self.pairs)).ln();
        Paired {
            log_e_standby_better: log(&self.better),
            log_e_standby_worse: log(&self.worse),
            pairs: self.pairs,
            active_place: self.active,
            standby_place: self.standby,
        }
    }
}

/// The weight of the starting points that are still to come, at an e-value of 1.
fn tail(pairs: u64) -> f64 {
    HORIZON / (HORIZON + pairs as f64)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_standby_that_became_better_is_found_and_a_like_one_is_not() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut gains = Gains::default();
        (0..300).for_each(|_| gains.fraud(random.random_range(0.4..1.0), random.random_range(0.3..0.9)));
        assert!(gains.paired().log_e_standby_worse > 9.2, "{:?}", gains.paired());
        (0..300).for_each(|_| gains.fraud(random.random_range(0.0..0.6), random.random_range(0.3..0.9)));
        assert!(gains.paired().log_e_standby_better > 9.2, "{:?}", gains.paired());
        let mut false_alarms = 0;
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut gains = Gains::default();
            let mut highest = f64::MIN;
            for _ in 0..500 {
                gains.fraud(random.random(), random.random());
                highest = highest.max(gains.paired().log_e_standby_better);
            }
            false_alarms += u32::from(highest >= 20.0_f64.ln());
        }
        assert!(false_alarms <= 20, "at a level of 5 % at most 10 of 200 are expected: {false_alarms}");
        assert!(Gains::default().paired().log_e_standby_better.abs() < 1e-12);
    }
}

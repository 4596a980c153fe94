//! Shiryaev-Roberts evidence: how much speaks for a change at some time in the past.
//!
//! ```text
//! R <- (1 + R) * exp(worth of the block)      E[R] grows by at most 1 a block while the law is benign, whatever it is,
//!                                             so the mean run to R >= A is at least A blocks
//! ```
//! Kept as it is, not as a logarithm: a double reaches 1e308 and no threshold comes near, and one exponential
//! a block is cheaper than two logarithms. It saturates above the threshold (lowering it keeps the promise), so that it
//! also comes down again when what it saw is over.

/// Where a statistic stops growing: this far above the highest limit.
const HEADROOM: f64 = 3.0;

/// One statistic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Run {
    value: f64,
}

/// Returns the ceiling for a limit given as a logarithm.
#[must_use]
pub(crate) fn ceiling(limit: f64) -> f64 {
    (limit + HEADROOM).clamp(0.0, 600.0).exp()
}

impl Run {
    /// Adds a block of so much worth (log).
    pub(crate) fn add(&mut self, worth: f64, ceiling: f64) {
        let grown = (1.0 + self.value) * worth.exp();
        // A worth of minus infinity times an infinite run would be no number; the ceiling keeps runs finite.
        self.value = if grown < ceiling { grown } else { ceiling };
    }

    /// Multiplies by a factor, the linear form of [`Self::add`].
    pub(crate) fn multiply(&mut self, factor: f64, ceiling: f64) {
        let grown = (1.0 + self.value) * factor.max(0.0);
        self.value = if grown < ceiling { grown } else { ceiling };
    }

    /// Returns the statistic.
    #[must_use]
    pub(crate) fn get(self) -> f64 {
        self.value
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.value = 0.0;
    }
}

/// The share that is bet against "it goes on".
const BETS: [f64; 4] = [0.1, 0.3, 0.6, 0.9];

/// Below so much evidence (log) that it is over, it goes on.
pub(crate) const GOES_ON: f64 = 3.0;

/// What speaks for the end of an alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Over {
    /// Logarithm of the mirror's evidence.
    pub log: f64,
    /// Logarithm of the evidence for a change since the mirror began to gain: for another change than the one that
    /// alarmed.
    pub fresh: f64,
}

impl Over {
    /// Returns what can be said of two: the weaker end, the stronger other change.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { log: self.log.min(other.log), fresh: self.fresh.max(other.fresh) }
    }
}

/// The mirrored detector: is what alarmed over?
///
/// It bets against the claim that the worth which raised the alarm still has a mean of 0 or more: a factor of
/// `1 - bet * worth / largest worth` a vote has a mean of at most 1 under every law of which that is true.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mirror {
    worths: Vec<f64>,
    largest: f64,
    runs: [Run; BETS.len()],
    votes: u64,
}

impl Mirror {
    /// Watches the worths of the alternative that raised the alarm, by bin.
    #[must_use]
    pub(crate) fn new(worths: Vec<f64>) -> Self {
        let largest = worths.iter().copied().fold(0.0, f64::max);
        // What can only lose raised no alarm, and nothing could be said about its end.
        let worths = if largest > 0.0 { worths } else { vec![0.0; worths.len()] };
        Self {
            worths,
            largest: if largest > 0.0 { largest } else { 1.0 },
            runs: [Run::default(); BETS.len()],
            votes: 0,
        }
    }

    /// Counts a vote for a bin.
    pub(crate) fn vote(&mut self, bin: usize, ceiling: f64) {
        self.votes += 1;
        let worth = self.worths.get(bin).copied().unwrap_or(0.0) / self.largest;
        for (run, bet) in self.runs.iter_mut().zip(BETS) {
            run.multiply(1.0 - bet * worth, ceiling);
        }
    }

    /// Returns the logarithm of the evidence, 0 before there is any.
    #[must_use]
    pub(crate) fn log(&self) -> f64 {
        mean_log(self.runs.iter().map(|run| run.get()), BETS.len())
    }
}

/// Returns the logarithm of the mean of some runs; 0 where it would be less.
pub(crate) fn mean_log(runs: impl Iterator<Item = f64>, count: usize) -> f64 {
    (runs.sum::<f64>() / count.max(1) as f64).max(1.0).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_linear_form_is_the_logarithmic_one(worths in prop::collection::vec(-5.0..5.0_f64, 1..200)) {
            let (mut evidence, mut log) = (Run::default(), f64::NEG_INFINITY);
            for worth in worths {
                evidence.add(worth, f64::MAX);
                log = log.exp().ln_1p() + worth;
                if log > 600.0 {
                    break;
                }
                prop_assert!((evidence.get().ln() - log).abs() < 1e-9 * log.abs().max(1.0));
            }
        }

        #[test]
        fn nothing_makes_it_less_than_a_number(worths in prop::collection::vec(prop_oneof![
            Just(f64::NEG_INFINITY), Just(f64::INFINITY), -1e9..1e9_f64], 1..50)) {
            let mut evidence = Run::default();
            for worth in worths {
                evidence.add(worth, ceiling(30.0));
                prop_assert!(evidence.get().is_finite() && evidence.get() >= 0.0);
            }
        }

        /// The mean factor is at most 1 under every law with a mean worth of 0 or more: tried at its corners,
        /// mixtures of two bins whose mean worth is exactly 0.
        #[test]
        fn the_mirror_gains_nothing_while_it_goes_on(low in -8.0..-0.01_f64, high in 0.01..8.0_f64) {
            let mirror = Mirror::new(vec![low, high]);
            let share = -low / (high - low);
            for bet in BETS {
                let mean = (1.0 - share) * (1.0 - bet * low / mirror.largest) + share * (1.0 - bet * high / mirror.largest);
                prop_assert!((mean - 1.0).abs() < 1e-9);
            }
        }
    }
}

//! A sequential test of a rate against a band, both ways.
//!
//! Two processes are kept, each a mean of likelihood ratios that is at most 1 in expectation whatever the
//! past, as long as its hypothesis holds: one grows when the rate lies above the band, one when it lies below.
//! By Ville's inequality the chance that one ever reaches `1 / error_rate` under its hypothesis is at most
//! `error_rate`, so it may be looked at after every observation.

use serde::{Deserialize, Serialize};

/// Rates tested against a band, as multiples of it, above and below.
const ABOVE: [f64; 5] = [1.3, 1.6, 2.0, 3.0, 5.0];
const BELOW: [f64; 5] = [0.75, 0.5, 0.25, 0.1, 0.02];

/// What a test has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateTest {
    /// Observations.
    pub trials: u64,
    /// Those that count against the candidate.
    pub hits: u64,
    /// The band: the largest rate that is tolerated.
    pub band: f64,
    /// Natural logarithm of the evidence that the rate is above the band.
    pub log_e_above: f64,
    /// Natural logarithm of the evidence that the rate is below the band.
    pub log_e_below: f64,
    /// What either must reach.
    pub log_threshold: f64,
}

/// A rate under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    band: f64,
    log_threshold: f64,
    trials: u64,
    hits: u64,
    above: [f64; 5],
    below: [f64; 5],
    /// The most evidence there ever was: a band once shown to be left stays so.
    most_above: f64,
}

impl Rate {
    /// Begins a test against a band within 0..1, with a bound on the chance to err.
    #[must_use]
    pub fn new(band: f64, error_rate: f64) -> Self {
        let log_threshold = -error_rate.clamp(1e-12, 0.5).ln();
        let band = band.clamp(1e-9, 1.0 - 1e-9);
        Self { band, log_threshold, trials: 0, hits: 0, above: [0.0; 5], below: [0.0; 5], most_above: 0.0 }
    }

    /// Takes one observation in.
    pub fn observe(&mut self, is_hit: bool) {
        self.trials += 1;
        self.hits += u64::from(is_hit);
        let band = self.band;
        let step = |rate: f64| if is_hit { (rate / band).ln() } else { ((1.0 - rate) / (1.0 - band)).ln() };
        for (log, multiple) in self.above.iter_mut().zip(ABOVE) {
            // Above one half there is no room for multiples: half way to 1 is as good an alternative.
            *log += step((band * multiple).min(f64::midpoint(band, 1.0)));
        }
        for (log, multiple) in self.below.iter_mut().zip(BELOW) {
            *log += step(band * multiple);
        }
        self.most_above = self.most_above.max(log_mean(&self.above));
    }

    /// Tells whether the rate is shown to lie above the band.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.most_above >= self.log_threshold
    }

    /// Tells whether the rate is shown to lie below the band.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.is_left() && log_mean(&self.below) >= self.log_threshold
    }

    /// Tells whether the band is shown to be kept, or what it is about is too rare among `votes` to show it: fewer than 20, and less than one in 200.
    #[must_use]
    pub fn is_kept_or_rare(&self, votes: u64) -> bool {
        let is_rare = self.trials < 20 && self.trials.saturating_mul(200) <= votes;
        self.is_kept() || (is_rare && !self.is_left())
    }

    /// Returns what was found.
    #[must_use]
    pub fn figures(&self) -> RateTest {
        RateTest {
            trials: self.trials,
            hits: self.hits,
            band: self.band,
            log_e_above: log_mean(&self.above),
            log_e_below: log_mean(&self.below),
            log_threshold: self.log_threshold,
        }
    }
}

/// The logarithm of the mean of numbers given by their logarithms.
fn log_mean(logs: &[f64; 5]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
    most + (sum / 5.0).ln()
}

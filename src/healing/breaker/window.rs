//! What calls came to, within the last second: ten buckets of 100 ms.

use serde::{Deserialize, Serialize};

/// How long one bucket lasts, in microseconds.
pub(super) const BUCKET_US: u64 = 100_000;
const BUCKETS: usize = 10;

/// What one call says about the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It answered in time.
    Good,
    /// It computed for too long, whether or not it answered.
    Slow,
    /// It failed: an error, NaN, out of range, a wrong shape.
    Hard,
    /// Nothing: the line was long, the caller left or had no time.
    Neutral,
}

impl CallOutcome {
    /// Every outcome, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Good, Self::Slow, Self::Hard, Self::Neutral];

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Slow => "slow",
            Self::Hard => "hard",
            Self::Neutral => "neutral",
        }
    }
}

/// How many calls came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Answered in time.
    pub good: u64,
    /// Computed for too long.
    pub slow: u64,
    /// Failed.
    pub hard: u64,
    /// Said nothing about the model.
    pub neutral: u64,
}

impl Counts {
    /// Counts one call.
    #[must_use]
    pub const fn one(outcome: CallOutcome) -> Self {
        let mut counts = Self { good: 0, slow: 0, hard: 0, neutral: 0 };
        match outcome {
            CallOutcome::Good => counts.good = 1,
            CallOutcome::Slow => counts.slow = 1,
            CallOutcome::Hard => counts.hard = 1,
            CallOutcome::Neutral => counts.neutral = 1,
        }
        counts
    }

    /// Counts good calls.
    #[must_use]
    pub const fn good(good: u64) -> Self {
        Self { good, slow: 0, hard: 0, neutral: 0 }
    }

    /// Returns how many say something about the model.
    #[must_use]
    pub const fn telling(&self) -> u64 {
        self.good.saturating_add(self.slow).saturating_add(self.hard)
    }

    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.good = self.good.saturating_add(other.good);
        self.slow = self.slow.saturating_add(other.slow);
        self.hard = self.hard.saturating_add(other.hard);
        self.neutral = self.neutral.saturating_add(other.neutral);
    }

    /// Turns slow calls into neutral ones: the host was slow, not the model.
    pub const fn excuse_slow(&mut self) {
        self.neutral = self.neutral.saturating_add(self.slow);
        self.slow = 0;
    }
}

/// Tells whether `part` is at least `percent` of `whole`.
pub(super) const fn reaches(part: u64, whole: u64, percent: u32) -> bool {
    part.saturating_mul(100) >= whole.saturating_mul(percent as u64)
}

/// The calls of the last second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    buckets: [(u64, Counts); BUCKETS],
}

impl Window {
    pub(super) fn add(&mut self, now_us: u64, counts: Counts) {
        let slot = now_us / BUCKET_US;
        let Some((held, sum)) = self.buckets.get_mut(place(slot)) else { return };
        if *held != slot {
            // A late one does not overwrite what is newer.
            if *held > slot {
                return;
            }
            (*held, *sum) = (slot, Counts::default());
        }
        sum.add(counts);
    }

    pub(super) fn sum(&self, now_us: u64) -> Counts {
        let newest = now_us / BUCKET_US;
        let oldest = newest.saturating_sub(BUCKETS as u64 - 1);
        let mut sum = Counts::default();
        for (slot, counts) in &self.buckets {
            if (oldest..=newest).contains(slot) {
                sum.add(*counts);
            }
        }
        sum
    }

    pub(super) fn excuse_slow(&mut self) {
        self.buckets.iter_mut().for_each(|(_, counts)| counts.excuse_slow());
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn place(slot: u64) -> usize {
    usize::try_from(slot % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_kept_and_no_more() {
        let mut window = Window::default();
        window.add(50_000, Counts::good(3));
        window.add(950_000, Counts::one(CallOutcome::Hard));
        assert_eq!((window.sum(999_999).good, window.sum(999_999).hard), (3, 1));
        assert_eq!((window.sum(1_000_000).good, window.sum(1_000_000).hard), (0, 1));
        // The same bucket of the next second begins at nothing, and what is late is left out.
        window.add(1_050_000, Counts::good(1));
        window.add(50_000, Counts::good(100));
        assert_eq!(window.sum(1_050_000), Counts { good: 1, hard: 1, ..Counts::default() });
        assert_eq!(window.sum(60_000_000), Counts::default());
    }
}

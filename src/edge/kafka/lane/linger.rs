//! How long a batch waits for company: little while the lane keeps up, longer while it is behind.
//!
//! A commit costs the broker the same for one record as for five hundred, so a longer wait is what a backlog
//! pays with; without a backlog it would only be latency.

use std::time::Duration;

/// The wait, between its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linger {
    min: Duration,
    max: Duration,
    now: Duration,
}

impl Linger {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), now: min }
    }

    pub(super) fn wait(self) -> Duration {
        self.now
    }

    /// Learns from a batch: `rows` of at most `rows_max`, with `lag` records left behind it.
    pub(super) fn learn(&mut self, rows: usize, rows_max: usize, lag: u64) {
        let is_behind = rows >= rows_max || lag > u64::try_from(rows_max).unwrap_or(u64::MAX);
        let next = if is_behind { self.now.saturating_mul(2) } else { self.now / 2 };
        self.now = next.clamp(self.min, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn it_grows_with_a_backlog_and_shrinks_without() {
        let mut linger = Linger::new(MS(1), MS(20));
        let mut seen = Vec::new();
        for (rows, lag) in [(512, 0), (512, 0), (3, 9_000), (512, 0), (512, 0), (512, 512), (3, 0), (1, 512)] {
            linger.learn(rows, 512, lag);
            seen.push(linger.wait().as_millis());
        }
        assert_eq!(seen, [2, 4, 8, 16, 20, 20, 10, 5]);
        (0..10).for_each(|_| linger.learn(0, 512, 0));
        assert_eq!(linger.wait(), MS(1));
    }
}

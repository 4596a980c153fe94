//! How many records become dead letters: single ones are poison, many at once are a fault of the whole.
//!
//! Counted over a sliding number of records, not over time, so that a replay of the same records says the
//! same. Beyond the share the lane stops before it commits, because a wrong mapping, a wrong partitioner or a
//! producer's new schema must not empty a topic into the dead letters.

use std::collections::VecDeque;

/// When dead letters are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The share of records that may become dead letters, 0 to 1; 1 lets everything pass.
    pub share_max: f64,
    /// Records that are looked back on.
    pub window_len: usize,
    /// Dead letters below which nothing is concluded.
    pub count_min: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { share_max: 0.2, window_len: 1_000, count_min: 100 }
    }
}

/// The last records, dead or not.
#[derive(Debug)]
pub(super) struct Rate {
    options: Options,
    window: VecDeque<bool>,
    dead: usize,
}

impl Rate {
    pub(super) fn new(options: Options) -> Self {
        let window = VecDeque::with_capacity(options.window_len.min(1 << 16));
        Self { options, window, dead: 0 }
    }

    pub(super) fn record(&mut self, is_dead: bool) {
        self.window.push_back(is_dead);
        self.dead += usize::from(is_dead);
        while self.window.len() > self.options.window_len {
            self.dead -= usize::from(self.window.pop_front().unwrap_or(false));
        }
    }

    /// Says what is wrong when dead letters are too many.
    pub(super) fn verdict(&self) -> Option<String> {
        let share = self.dead as f64 / self.window.len().max(1) as f64;
        let is_over = self.dead >= self.options.count_min && share > self.options.share_max;
        is_over.then(|| {
            format!(
                "{} of the last {} records could not be taken: a fault of the source, not of single records; nothing of \
                 them is committed. See the log for their reasons; raise kafka.dead_letters.share_max to let them pass",
                self.dead,
                self.window.len()
            )
        })
    }

    /// Begins anew, after a stop.
    pub(super) fn clear(&mut self) {
        self.window.clear();
        self.dead = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(records: impl IntoIterator<Item = bool>) -> bool {
        let mut rate = Rate::new(Options { share_max: 0.2, window_len: 100, count_min: 10 });
        records.into_iter().for_each(|is_dead| rate.record(is_dead));
        rate.verdict().is_some()
    }

    #[test]
    fn poison_passes_and_a_fault_of_the_whole_stops() {
        assert!(!after([]));
        assert!(!after((0..9).map(|_| true)), "too few to conclude anything");
        assert!(after((0..10).map(|_| true)));
        assert!(!after((0..1_000).map(|n| n % 5 == 0)), "just the share");
        assert!(after((0..1_000).map(|n| n % 4 == 0)));
        assert!(!after((0..50).map(|_| true).chain((0..100).map(|_| false))), "long over");
    }
}

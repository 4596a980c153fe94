//! How many records become dead letters: single ones are poison, many at once are a fault of the whole.
//!
//! Beyond the share the lane stops before it commits, because a wrong mapping, a wrong partitioner or a
//! producer's new schema must not empty a topic into the dead letters.

use std::collections::VecDeque;

use crate::domain::{Span, Timestamp};

/// When dead letters are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The share of records that may become dead letters, above 0 to 1; 1 lets everything pass.
    pub share_max: f64,
    /// How far one looks back, in wall time; whole seconds are kept.
    pub window: Span,
    /// Dead letters below which nothing is concluded.
    pub count_min: u64,
}

/// Records of one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    at: i64,
    records: u64,
    dead: u64,
}

/// The records of the window, dead or not.
#[derive(Debug)]
pub(in crate::edge::kafka) struct Rate {
    options: Options,
    seconds: VecDeque<Second>,
    /// What was wrong when there were too many: once said, it stands.
    verdict: Option<String>,
}

impl Rate {
    pub(in crate::edge::kafka) fn new(options: Options) -> Self {
        Self { options, seconds: VecDeque::new(), verdict: None }
    }

    pub(in crate::edge::kafka) fn record(&mut self, is_dead: bool, now: Timestamp) {
        let at = now.micros() / 1_000_000;
        let oldest = at - self.options.window.micros() / 1_000_000;
        while self.seconds.front().is_some_and(|second| second.at <= oldest) {
            self.seconds.pop_front();
        }
        match self.seconds.back_mut() {
            // A clock that is set back counts into the newest second.
            Some(second) if second.at >= at => {
                second.records += 1;
                second.dead += u64::from(is_dead);
            }
            _ => self.seconds.push_back(Second { at, records: 1, dead: u64::from(is_dead) }),
        }
    }

    /// Concludes what there is to conclude, at the end of a batch.
    pub(in crate::edge::kafka) fn conclude(&mut self) {
        self.verdict = self.verdict.take().or_else(|| self.judge());
    }

    /// Says what was wrong when dead letters were too many.
    pub(in crate::edge::kafka) fn verdict(&self) -> Option<String> {
        self.verdict.clone()
    }

    fn judge(&self) -> Option<String> {
        let (mut records, mut dead) = (0, 0);
        for second in &self.seconds {
            records += second.records;
            dead += second.dead;
        }
        let is_over = dead >= self.options.count_min && dead as f64 > self.options.share_max * records as f64;
        is_over.then(|| {
            format!(
                "{dead} of the last {records} records could not be taken: a fault of the source, not of single records; the log \
                 names their reasons. Mend it and restart, or let them pass with kafka.dead.share_max"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(records: impl IntoIterator<Item = (bool, i64)>) -> bool {
        let mut rate = Rate::new(Options { share_max: 0.2, window: Span::from_seconds(60), count_min: 10 });
        for (is_dead, second) in records {
            rate.record(is_dead, Timestamp::from_seconds(second));
        }
        rate.conclude();
        rate.verdict().is_some()
    }

    #[test]
    fn poison_passes_and_a_fault_of_the_whole_stops() {
        assert!(!after([]));
        assert!(!after((0..9).map(|_| (true, 5))), "too few to conclude anything");
        assert!(after((0..10).map(|_| (true, 5))));
        assert!(!after((0..1_000).map(|n| (n % 5 == 0, 5))), "just the share");
        assert!(after((0..1_000).map(|n| (n % 4 == 0, 5))));
        assert!(!after((0..50).map(|n| (true, n)).chain([(false, 200)])), "long over");
        let mut rate = Rate::new(Options { share_max: 0.2, window: Span::from_seconds(60), count_min: 10 });
        (0..50).for_each(|_| rate.record(true, Timestamp::from_seconds(1)));
        rate.conclude();
        rate.record(false, Timestamp::from_seconds(500));
        rate.conclude();
        assert!(rate.verdict().is_some(), "once said, it stands");
        assert!(after((0..50).map(|n| (true, 100 - n))), "a clock that runs back forgets nothing");
    }
}

//! The way of decisions into the loop: bounded, never waiting, and thinned when more come than it looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::domain::Label;
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Record;
use crate::runtime::tap::Tap;
use crate::telemetry::metrics;

/// The most decisions that wait.
const WAITING_MAX: usize = 4_096;

/// What the loop sees.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A decision that was recorded.
    Decided(Arc<Record>),
    /// What became of a transaction.
    Labelled(Box<Label>),
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    tap: Arc<Tap<Seen>>,
    pace: Arc<Pace>,
}

struct Pace {
    rate_max: u32,
    began: Moment,
    /// The second that is counted, and how many came in it.
    second: AtomicU64,
    count: AtomicU32,
    /// Every n-th is taken: from what came in the second before.
    stride: AtomicU32,
}

impl Feed {
    pub(super) fn new(rate_max: u32) -> Self {
        let tap = Tap::new(WAITING_MAX);
        tap.open();
        let pace = Pace {
            rate_max: rate_max.max(1),
            began: Moment::now(),
            second: AtomicU64::new(0),
            count: AtomicU32::new(0),
            stride: AtomicU32::new(1),
        };
        Self { tap: Arc::new(tap), pace: Arc::new(pace) }
    }

    /// Offers a decision; never waits and wakes nobody. Without room, or beyond the rate, the loop does not see it.
    pub fn offer(&self, record: &Arc<Record>) {
        let healing = &metrics().healing;
        if !self.pace.takes(self.pace.began.elapsed().as_secs()) {
            healing.skipped.inc();
        } else if self.tap.offer(|| Seen::Decided(Arc::clone(record))) {
            healing.observed.inc();
        } else {
            healing.dropped.inc();
        }
    }

    /// Offers a label; never waits, and is never thinned: labels are few.
    pub fn offer_label(&self, label: &Label) {
        if !self.tap.offer(|| Seen::Labelled(Box::new(label.clone()))) {
            metrics().healing.dropped.inc();
        }
    }

    /// Swaps what has come, in its order, for `taken`.
    pub(super) fn drain_into(&self, taken: &mut Vec<Seen>) {
        self.tap.drain_into(taken);
    }
}

impl Pace {
    fn takes(&self, second: u64) -> bool {
        if self.second.swap(second, Ordering::Relaxed) != second {
            let came = self.count.swap(0, Ordering::Relaxed);
            self.stride.store(came.div_ceil(self.rate_max).max(1), Ordering::Relaxed);
        }
        let place = self.count.fetch_add(1, Ordering::Relaxed);
        place.is_multiple_of(self.stride.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_rate_is_thinned_from_the_next_second_on() {
        let feed = Feed::new(100);
        let taken = |second, offered: usize| (0..offered).filter(|_| feed.pace.takes(second)).count();
        assert_eq!(taken(1, 1_000), 1_000);
        assert_eq!(taken(2, 1_000), 100);
        assert_eq!(taken(3, 50), 5);
        assert_eq!(taken(4, 50), 50);
    }
}

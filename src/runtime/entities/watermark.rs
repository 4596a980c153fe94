//! The clock of event time: how far the store has come, as far as enough events vouch for it.
//!
//! Expiry needs a "now", and event time is the only one that replays the same. It must not trust one
//! event: a single time stamp years ahead would expire everything. So the clock follows the events by
//! at most a step each, a quarter of the lateness allowed: one event of the future, or three, takes nothing
//! from any window, and to wipe a month takes more than a hundred (the doors refuse them beyond five
//! minutes). On a quiet stream the clock lags, which only keeps events longer. An event too old for any
//! window sets the clock back to itself: also that only keeps more, and it undoes a first event that
//! came from the future.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::Span;

const NEVER: i64 = i64::MIN;

/// Event time in microseconds; shared by all threads.
#[derive(Debug)]
pub(super) struct Watermark {
    clock: AtomicI64,
    first: AtomicI64,
    step_max: i64,
}

impl Watermark {
    pub(super) fn new(lateness_max: Span) -> Self {
        let step_max = lateness_max.micros() / 4;
        Self { clock: AtomicI64::new(NEVER), first: AtomicI64::new(NEVER), step_max }
    }

    /// Lets the clock follow an event; `kept` is how far back events are kept.
    pub(super) fn follow(&self, time: i64, kept: i64) {
        let step = |clock: i64| {
            let next = if clock == NEVER || time < clock.saturating_sub(kept) {
                time
            } else {
                time.min(clock.saturating_add(self.step_max)).max(clock)
            };
            (next != clock).then_some(next)
        };
        // Relaxed: each value is right by itself, and nothing is read through it.
        let _ = self.clock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        if self.first.load(Ordering::Relaxed) == NEVER {
            let _ = self.first.compare_exchange(NEVER, time, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Returns the clock; `i64::MIN` before the first event.
    pub(super) fn clock(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Returns the time of the first event.
    pub(super) fn first(&self) -> Option<i64> {
        Some(self.first.load(Ordering::Relaxed)).filter(|first| *first != NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: i64 = 15_000_000;

    #[test]
    fn one_event_of_the_future_does_not_move_the_world() {
        let watermark = Watermark::new(Span::from_seconds(60));
        let check = |time, clock| {
            watermark.follow(time, 100 * STEP);
            assert_eq!(watermark.clock(), clock, "after {time}");
        };
        check(1_000 * STEP, 1_000 * STEP);
        check(1_000 * STEP + 5, 1_000 * STEP + 5);
        check(9_000 * STEP, 1_001 * STEP + 5);
        check(1_000 * STEP + 6, 1_001 * STEP + 5);
        check(900 * STEP, 900 * STEP);
        check(1_001 * STEP, 901 * STEP);
        assert_eq!(watermark.first(), Some(1_000 * STEP));
    }
}

//! When requests are due: evenly spaced, whatever the answers do.

use std::time::Duration;

/// Arrivals at a constant rate, counted from 0 at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate: f64,
}

impl Schedule {
    /// Spaces arrivals `1 / rate` seconds apart; a rate of 0 makes each due at once (a closed loop).
    pub(crate) fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// Tells whether arrivals wait for nobody.
    pub(crate) fn is_open(self) -> bool {
        self.rate > 0.0
    }

    /// Returns when an arrival is due, after the start.
    pub(crate) fn due(self, arrival: usize) -> Duration {
        if self.is_open() { Duration::from_secs_f64(arrival as f64 / self.rate) } else { Duration::ZERO }
    }

    /// Returns the arrivals due by `elapsed` that come after the first `sent` of `count`.
    pub(crate) fn overdue(self, sent: usize, count: usize, elapsed: Duration) -> std::ops::Range<usize> {
        let open_count = if self.is_open() { count } else { sent };
        let due = (sent..open_count).take_while(|&arrival| self.due(arrival) <= elapsed).count();
        sent..sent + due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_evenly_spaced_from_the_start() {
        let schedule = Schedule::new(4.0);
        let dues: Vec<_> = (0..4).map(|arrival| schedule.due(arrival).as_millis()).collect();
        assert_eq!(dues, [0, 250, 500, 750]);
        // No drift: the millionth is where it should be, to the microsecond.
        assert_eq!(Schedule::new(40_000.0).due(1_000_000).as_micros(), 25_000_000);
    }

    #[test]
    fn overdue_counts_those_due_and_not_sent() {
        let schedule = Schedule::new(10.0);
        let check = |sent, count, millis, expected: std::ops::Range<usize>| {
            assert_eq!(schedule.overdue(sent, count, Duration::from_millis(millis)), expected);
        };
        check(0, 100, 0, 0..1);
        check(3, 100, 500, 3..6);
        check(3, 4, 500, 3..4);
        check(6, 100, 500, 6..6);
        check(4, 4, 9_000, 4..4);
    }

    #[test]
    fn a_closed_loop_is_always_due_and_never_late() {
        let schedule = Schedule::new(0.0);
        assert!(!schedule.is_open());
        assert_eq!(schedule.due(7), Duration::ZERO);
        assert!(schedule.overdue(2, 10, Duration::from_secs(9)).is_empty());
    }
}

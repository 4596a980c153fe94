//! How event time passes: when a turn is due, when bundles are looked for, and how long a command that trains holds both up.
//! Values in, values out.

use std::time::Duration;

use crate::domain::{Span, Timestamp};

/// A gap of more turns than this is passed over in one step, as a service that was down would.
const TURNS_MAX: i64 = 24 * 60;

/// Where event time stands.
pub(super) struct Course {
    tick: Span,
    next: Timestamp,
    look_every: Span,
    next_look: Timestamp,
}

impl Course {
    /// Begins at an instant. Bundles are never looked for when `look_every` is zero.
    pub(super) fn new(from: Timestamp, tick: Span, look_every: Span) -> Self {
        Self { tick, next: from, look_every, next_look: from }
    }

    /// Returns the next turn that is due by this instant.
    pub(super) fn next_tick(&mut self, by: Timestamp) -> Option<Timestamp> {
        if by.since(self.next).micros() > self.tick.micros().saturating_mul(TURNS_MAX) {
            self.next = by;
        }
        let tick = self.next;
        (tick <= by).then(|| {
            self.next = tick.plus(self.tick);
            tick
        })
    }

    /// Tells whether bundles are looked for now; if so, the next time is a while later.
    pub(super) fn is_look_due(&mut self, now: Timestamp) -> bool {
        let is_due = self.look_every > Span::ZERO && now >= self.next_look;
        if is_due {
            self.next_look = now.plus(self.look_every);
        }
        is_due
    }

    /// Looks for no bundle before this instant: what was trained is there only then.
    pub(super) fn hold_look_until(&mut self, at: Timestamp) {
        self.next_look = self.next_look.max(at);
    }
}

/// A command that trains, since it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Training {
    pub(super) asked_at: Timestamp,
}

impl Training {
    /// Returns when it is over in event time, when it took so long.
    pub(super) fn over_at(self, took: Duration) -> Timestamp {
        self.asked_at.plus(Span::from_micros(i64::try_from(took.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Tells whether event time may come to this instant while it still runs.
    pub(super) fn allows(self, at: Timestamp, elapsed: Duration) -> bool {
        at <= self.over_at(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn after(seconds: i64) -> Timestamp {
        START.plus(Span::from_seconds(seconds))
    }

    #[test]
    fn each_turn_comes_once_and_a_long_gap_is_one_step() {
        let mut course = Course::new(START, Span::from_seconds(60), Span::ZERO);
        let mut ticks = |by: i64| std::iter::from_fn(|| course.next_tick(after(by))).collect::<Vec<_>>();
        assert_eq!(ticks(59), [START]);
        assert_eq!(ticks(200), [after(60), after(120), after(180)]);
        assert_eq!(ticks(200), []);
        assert_eq!(ticks(90_000_000), [after(90_000_000)]);
        assert_eq!(ticks(90_000_060), [after(90_000_060)]);
        assert!(!course.is_look_due(after(90_000_060)), "never looked for");
    }

    #[test]
    fn event_time_waits_for_a_training_and_its_bundle_comes_when_it_is_over() {
        let training = Training { asked_at: START };
        assert!(training.allows(after(5), Duration::from_secs(5)));
        assert!(!training.allows(after(6), Duration::from_secs(5)));
        let mut course = Course::new(START, Span::from_seconds(60), Span::from_seconds(10));
        assert!(course.is_look_due(START) && !course.is_look_due(after(9)));
        course.hold_look_until(training.over_at(Duration::from_mins(5)));
        assert!(!course.is_look_due(after(299)) && course.is_look_due(after(300)));
    }
}

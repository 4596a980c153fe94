//! The one place that knows what time it is.
//!
//! A [`Clock`] gives wall time for records and lateness; [`Moment`] measures and sets deadlines and
//! never goes back. Tests take a manual clock and move it by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::{Span, Timestamp};

/// Wall time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// Reads the operating system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self { manual: None }
    }

    /// Stands still at `start` until moved; clones share the time.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(start.micros()))) }
    }

    /// Moves a manual clock forward; nothing happens to a system clock.
    pub fn advance(&self, by: Span) {
        if let Some(time) = &self.manual {
            time.fetch_add(by.micros(), Ordering::Relaxed);
        }
    }

    /// Returns the wall time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        if let Some(time) = &self.manual {
            return Timestamp::from_micros(time.load(Ordering::Relaxed));
        }
        #[expect(clippy::disallowed_methods, reason = "this is the door the rule points to")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A point on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Instant);

impl Moment {
    /// Returns the present.
    #[must_use]
    pub fn now() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the door the rule points to")]
        Self(Instant::now())
    }

    /// Returns this moment plus `wait`.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.checked_add(wait).unwrap_or(self.0))
    }

    /// Returns how long ago this was; zero when it lies ahead.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_duration_since(self.0)
    }

    /// Returns the microseconds from `earlier` to this, saturating at both ends.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u32 {
        u32::try_from(self.0.saturating_duration_since(earlier.0).as_micros()).unwrap_or(u32::MAX)
    }

    /// Returns the microseconds from `earlier` to this, of any length; zero when it lies ahead.
    #[must_use]
    pub fn micros_after(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_duration_since(earlier.0).as_micros()).unwrap_or(u64::MAX)
    }

    /// Returns how long until this moment; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Self::now().0)
    }

    /// Tells whether this moment has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self <= Self::now()
    }

    /// Returns the `std` instant, for timers.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Timestamp::from_seconds(100));
        clock.clone().advance(Span::from_seconds(5));
        assert_eq!(clock.now(), Timestamp::from_seconds(105));
    }

    #[test]
    fn moments_saturate() {
        let now = Moment::now();
        let later = now.after(Duration::from_secs(1));
        assert_eq!(later.micros_since(now), 1_000_000);
        assert_eq!(now.micros_since(later), 0);
        assert!(!later.has_passed());
    }
}

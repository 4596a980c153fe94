//! Calendar facts of an instant in the schema's time zone.
//!
//! Weekdays count from Monday = 0. Night is 00:00:00 to 06:59:59. The zone comes from the table that
//! is compiled in, so the same schema gives the same facts on every machine.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::domain::Timestamp;

/// One fact of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarFact {
    /// 0 to 23.
    Hour,
    /// 0 (Monday) to 6.
    Weekday,
    /// 1 on Saturday and Sunday, else 0.
    IsWeekend,
    /// 1 from midnight to 06:59:59, else 0.
    IsNight,
}

impl CalendarFact {
    /// Every fact and its name in schemas.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Hour, "hour"),
        (Self::Weekday, "weekday"),
        (Self::IsWeekend, "is_weekend"),
        (Self::IsNight, "is_night"),
    ];
}

/// A time zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    /// Finds a zone by its IANA name, such as `UTC` or `Europe/Paris`.
    #[must_use]
    pub fn new(zone: &str) -> Option<Self> {
        if zone == "UTC" {
            return Some(Self { zone: TimeZone::UTC });
        }
        TimeZoneDatabase::bundled().get(zone).ok().map(|zone| Self { zone })
    }

    /// Returns a fact of an instant.
    #[must_use]
    pub fn fact(&self, fact: CalendarFact, instant: Timestamp) -> f64 {
        let seconds = instant.seconds() + self.offset_seconds(instant);
        let hour = seconds.rem_euclid(86_400) / 3_600;
        // 1970-01-01 was a Thursday.
        let weekday = (seconds.div_euclid(86_400) + 3).rem_euclid(7);
        match fact {
            CalendarFact::Hour => hour as f64,
            CalendarFact::Weekday => weekday as f64,
            CalendarFact::IsWeekend => f64::from(u8::from(weekday >= 5)),
            CalendarFact::IsNight => f64::from(u8::from(hour <= 6)),
        }
    }

    fn offset_seconds(&self, instant: Timestamp) -> i64 {
        if self.zone == TimeZone::UTC {
            return 0;
        }
        // Instants are within 1970..2200, which jiff represents.
        let instant = jiff::Timestamp::from_microsecond(instant.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        i64::from(self.zone.to_offset(instant).seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_follow_the_zone() {
        let check = |zone: &str, instant: &str, facts: [f64; 4]| {
            let calendar = Calendar::new(zone).expect("a zone");
            let instant = Timestamp::parse(instant).expect("an instant");
            let seen = CalendarFact::ALL.map(|(fact, _)| calendar.fact(fact, instant));
            assert_eq!(seen.map(f64::to_bits), facts.map(f64::to_bits), "{zone} {instant}");
        };
        check("UTC", "1970-01-01T00:00:00Z", [0.0, 3.0, 0.0, 1.0]);
        check("UTC", "2018-04-01T06:59:59Z", [6.0, 6.0, 1.0, 1.0]);
        check("UTC", "2018-04-02T07:00:00Z", [7.0, 0.0, 0.0, 0.0]);
        check("Europe/Paris", "2026-07-03T22:30:00Z", [0.0, 5.0, 1.0, 1.0]);
        check("Europe/Paris", "2026-01-02T22:30:00Z", [23.0, 4.0, 0.0, 0.0]);
        assert!(Calendar::new("Mars/Olympus").is_none());
    }
}

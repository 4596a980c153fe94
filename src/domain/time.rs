//! Event time: instants and spans in whole microseconds.
//!
//! A [`Timestamp`] is what a transaction or a label says of itself; nothing here knows what
//! time it is now. Text forms are RFC 3339 for instants and `90s`, `5m`, `24h`, `7d` for spans.

use std::fmt;

use jiff::Timestamp as Instant;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// An instant in event time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest event time accepted: 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// The latest event time accepted: 2200-01-01T00:00:00Z.
    pub const MAX: Self = Self(7_258_118_400 * MICROS_PER_SECOND);

    /// Builds an instant from microseconds since the epoch, kept within [`Self::MIN`]..=[`Self::MAX`].
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Builds an instant from whole seconds since the epoch, kept within the same bounds.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Parses an RFC 3339 date-time with an offset; `None` when it is not one, does not exist
    /// (30 February) or lies outside the accepted range.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // jiff accepts more than RFC 3339 (a space, a bracketed zone): the shape is checked first.
        let bytes = text.as_bytes();
        let shaped = bytes.len() >= 20
            && bytes.len() <= 35
            && matches!(bytes[10], b'T' | b't')
            && bytes[16] == b':'
            && bytes.iter().all(|b| b.is_ascii_digit() || b"TtZz+-:.".contains(b));
        if !shaped {
            return None;
        }
        let instant: Instant = text.parse().ok()?;
        let micros = instant.as_microsecond();
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// Returns microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// Adds a span, saturating at the accepted bounds.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self::from_micros(self.0.saturating_add(span.0))
    }

    /// Subtracts a span, saturating at the accepted bounds.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self::from_micros(self.0.saturating_sub(span.0))
    }

    /// Returns how long after `earlier` this is; negative when it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0 - earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The range is checked at construction, so the conversion cannot fail.
        let instant = Instant::from_microsecond(self.0).unwrap_or(Instant::UNIX_EPOCH);
        instant.fmt(out)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an RFC 3339 instant: {text}")))
    }
}

/// A length of event time in microseconds. Negative only as a difference of two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Builds a span from microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Builds a span from whole seconds, saturating.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Builds a span from whole days of 86,400 s, saturating.
    #[must_use]
    pub const fn from_days(days: i64) -> Self {
        Self::from_seconds(days.saturating_mul(86_400))
    }

    /// Parses a whole number and a unit: `us`, `ms`, `s`, `m`, `h` or `d`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let scale = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => MICROS_PER_SECOND,
            "m" => 60 * MICROS_PER_SECOND,
            "h" => 3_600 * MICROS_PER_SECOND,
            "d" => 86_400 * MICROS_PER_SECOND,
            _ => return None,
        };
        number.parse::<i64>().ok()?.checked_mul(scale).map(Self)
    }

    /// Returns the length in microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns the length in seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 µs, 285 years")]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / MICROS_PER_SECOND as f64
    }

    /// Returns the same length for `std` interfaces; a negative span becomes zero.
    #[must_use]
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 5] = [
            (86_400 * MICROS_PER_SECOND, "d"),
            (3_600 * MICROS_PER_SECOND, "h"),
            (60 * MICROS_PER_SECOND, "m"),
            (MICROS_PER_SECOND, "s"),
            (1_000, "ms"),
        ];
        for (scale, unit) in UNITS {
            if self.0 != 0 && self.0 % scale == 0 {
                return write!(out, "{}{unit}", self.0 / scale);
            }
        }
        write!(out, "{}us", self.0)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("not a duration such as \"250ms\" or \"7d\": {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_their_text() {
        let check = |text: &str, shown: Option<&str>| {
            assert_eq!(Timestamp::parse(text).map(|t| t.to_string()).as_deref(), shown, "{text}");
        };
        check("2026-03-01T10:00:00Z", Some("2026-03-01T10:00:00Z"));
        check("2026-03-01T12:00:00.25+02:00", Some("2026-03-01T10:00:00.25Z"));
        check("2026-02-30T10:00:00Z", None);
        check("2026-03-01 10:00:00Z", None);
        check("2026-03-01T10:00:00", None);
        check("1969-12-31T23:59:59Z", None);
        check("", None);
    }

    #[test]
    fn spans_keep_their_text() {
        for text in ["5m", "1h", "24h", "7d", "250ms", "3us"] {
            let span = Span::parse(text).expect("a span");
            assert_eq!(Span::parse(&span.to_string()), Some(span), "{text}");
        }
        for wrong in ["", "5", "m", "-5m", "5 m", "5w", "99999999999999999999d"] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }
}

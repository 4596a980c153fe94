//! The form of a dead letter.
//!
//! Its value is the original's, card numbers masked and cut to a limit; its headers say why, where
//! from, and what the original was: hash and length, and whether anything was changed.

use sha2::{Digest, Sha256};

use crate::domain::card_number;
use crate::edge::kafka::headers::NamedValue;

/// The beginning of every header's name.
pub const PREFIX: &str = "fraudd-dead-";
/// How often a record was tried, on a dead letter and on what is replayed; 1 when absent.
pub const ATTEMPT: &str = "fraudd-dead-attempt";
/// The most bytes kept of a key.
pub const KEY_LEN_MAX: usize = 4 << 10;
/// The most bytes kept of the original's headers together.
pub const HEADERS_LEN_MAX: usize = 60 << 10;
/// The most bytes of an error.
pub const ERROR_LEN_MAX: usize = 1 << 10;

/// Where a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes that are no document.
    Decode,
    /// A document of another form.
    Schema,
    /// A field that cannot be.
    Validate,
    /// A key that is missing, or not its partition's.
    Key,
    /// A time that cannot be.
    Time,
    /// Features.
    Feature,
    /// An id that was decided with another payload.
    Conflict,
    /// Our own fault.
    Panic,
}

impl Stage {
    /// Lists all stages.
    pub const ALL: [Self; 8] =
        [Self::Decode, Self::Schema, Self::Validate, Self::Key, Self::Time, Self::Feature, Self::Conflict, Self::Panic];

    /// Returns the word in the header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Schema => "schema",
            Self::Validate => "validate",
            Self::Key => "key",
            Self::Time => "time",
            Self::Feature => "feature",
            Self::Conflict => "conflict",
            Self::Panic => "panic",
        }
    }
}

/// A record as it came.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The broker's time of it, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; a tombstone has none.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [NamedValue],
}

/// Why it is dead.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// A stable word, such as `id_conflict`.
    pub reason: &'a str,
    /// Where it failed.
    pub stage: Stage,
    /// What a person should know; card numbers are masked.
    pub error: &'a str,
}

/// A dead letter, as it is written and read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The original's key, masked and cut.
    pub key: Option<Vec<u8>>,
    /// The original's value, masked and cut.
    pub value: Option<Vec<u8>>,
    /// Ours first, then the original's.
    pub headers: Vec<NamedValue>,
}

/// Notes what was done to the original.
#[derive(Default)]
struct Changes(Vec<&'static str>);

impl Changes {
    fn note(&mut self, change: &'static str) {
        if !self.0.contains(&change) {
            self.0.push(change);
        }
    }

    /// Masks card numbers, then cuts: a number across the cut is hidden too.
    fn made_safe(&mut self, bytes: &[u8], len_max: usize) -> Vec<u8> {
        // A card number and its separators is shorter than this: nothing beyond can touch what is kept.
        let looked_at = &bytes[..bytes.len().min(len_max.saturating_add(64))];
        let masked = card_number::masked_bytes(looked_at);
        if masked.is_some() {
            self.note("masked");
        }
        let mut safe = masked.unwrap_or_else(|| looked_at.to_vec());
        if bytes.len() > len_max {
            self.note("cut");
            safe.truncate(len_max);
        }
        safe
    }
}

impl Letter {
    /// Writes the letter of a record.
    #[must_use]
    pub fn write(origin: &Origin<'_>, cause: &Cause<'_>, value_len_max: usize) -> Self {
        let mut changes = Changes::default();
        let key = origin.key.map(|key| changes.made_safe(key, KEY_LEN_MAX));
        let value = origin.value.map(|value| changes.made_safe(value, value_len_max));
        let theirs = kept_headers(origin.headers, &mut changes);
        let bytes = origin.value.unwrap_or_default();
        let mut error = card_number::masked(cause.error);
        error.truncate(error.floor_char_boundary(ERROR_LEN_MAX));
        let mut headers = Vec::with_capacity(12 + theirs.len());
        let mut add = |name: &str, value: String| headers.push((format!("{PREFIX}{name}"), Some(value.into_bytes())));
        add("reason", cause.reason.to_owned());
        add("stage", cause.stage.name().to_owned());
        add("error", error);
        add("topic", origin.topic.to_owned());
        add("partition", origin.partition.to_string());
        add("offset", origin.offset.to_string());
        if let Some(timestamp) = origin.timestamp_ms {
            add("timestamp", timestamp.to_string());
        }
        add("attempt", attempt_of(origin.headers).to_string());
        add("sha256", hex(&Sha256::digest(bytes)));
        add("length", bytes.len().to_string());
        if !changes.0.is_empty() {
            add("changed", changes.0.join(","));
        }
        headers.extend(theirs);
        Self { key, value, headers }
    }

    /// Returns one of our headers as text, by its name without the prefix.
    #[must_use]
    pub fn told(&self, name: &str) -> Option<&str> {
        let is_it = |header: &&NamedValue| header.0.strip_prefix(PREFIX) == Some(name);
        self.headers.iter().find(is_it).and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok())
    }

    /// Lists what was done to the original, `masked` and `cut`; empty when it is as it came.
    #[must_use]
    pub fn changes(&self) -> Vec<&str> {
        self.told("changed").map(|text| text.split(',').collect()).unwrap_or_default()
    }

    /// Returns how often the record was tried.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        attempt_of(&self.headers)
    }

    /// Returns the headers for sending the original again: its own, and the attempt this will be.
    #[must_use]
    pub fn replayed_headers(&self) -> Vec<NamedValue> {
        let theirs = self.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned();
        let attempt = self.attempt().saturating_add(1).to_string();
        theirs.chain([(ATTEMPT.to_owned(), Some(attempt.into_bytes()))]).collect()
    }
}

/// Returns which attempt a record is, by its headers: 1 when they do not say.
#[must_use]
pub fn attempt_of(headers: &[NamedValue]) -> u32 {
    let found = headers.iter().find(|(name, _)| name == ATTEMPT).and_then(|(_, value)| value.as_deref());
    found.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(1).max(1)
}

/// Keeps the original's headers while there is room; those of an earlier death are not its own.
fn kept_headers(headers: &[NamedValue], changes: &mut Changes) -> Vec<NamedValue> {
    let mut room = HEADERS_LEN_MAX;
    let mut kept = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)) {
        let len = name.len() + value.as_ref().map_or(0, Vec::len);
        if len > room {
            changes.note("cut");
            continue;
        }
        room -= len;
        let value = value.as_ref().map(|value| changes.made_safe(value, value.len()));
        kept.push((name.clone(), value));
    }
    kept
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSE: Cause<'_> = Cause { reason: "bad_json", stage: Stage::Decode, error: "at 4111111111111111" };

    fn origin<'a>(value: Option<&'a [u8]>, headers: &'a [NamedValue]) -> Origin<'a> {
        let key = Some(b"customer-1".as_slice());
        Origin { topic: "transactions", partition: 3, offset: 42, timestamp_ms: Some(7), key, value, headers }
    }

    #[test]
    fn a_letter_says_why_and_where_from() {
        let theirs = [("traceparent".to_owned(), Some(b"00-ab".to_vec()))];
        let letter = Letter::write(&origin(Some(b"{"), &theirs), &CAUSE, 1_024);
        let told = |name| letter.told(name).expect(name);
        assert_eq!((told("reason"), told("stage"), told("error")), ("bad_json", "decode", "at ************1111"));
        assert_eq!((told("topic"), told("partition"), told("offset")), ("transactions", "3", "42"));
        assert_eq!((told("timestamp"), told("attempt"), told("length")), ("7", "1", "1"));
        assert_eq!(told("sha256"), "021fb596db81e6d02bf3d2586ee3981fe519f275c0ac9ca76bbcf2ebb4097d96");
        assert_eq!(
            (letter.value.as_deref(), letter.key.as_deref()),
            (Some(b"{".as_slice()), Some(b"customer-1".as_slice()))
        );
        assert_eq!(letter.changes(), [""; 0]);
        assert_eq!(letter.headers.last(), theirs.last());
    }

    #[test]
    fn card_numbers_never_get_in() {
        let headers = [("note".to_owned(), Some(b"378282246310005".to_vec()))];
        let mut origin = origin(Some(b"{\"pan\":\"4111 1111 1111 1111\"}"), &headers);
        origin.key = Some(b"5500000000000004");
        let letter = Letter::write(&origin, &CAUSE, 1_024);
        assert_eq!(letter.value.as_deref(), Some(b"{\"pan\":\"**** **** **** 1111\"}".as_slice()));
        assert_eq!(letter.key.as_deref(), Some(b"************0004".as_slice()));
        assert_eq!(letter.headers.last().and_then(|(_, value)| value.clone()), Some(b"***********0005".to_vec()));
        assert_eq!(letter.changes(), ["masked"]);
    }

    #[test]
    fn a_number_across_the_cut_is_hidden_too() {
        let value = [&[b'x'; 100][..], b" 4111111111111111"].concat();
        for len_max in 101..=117 {
            let letter = Letter::write(&origin(Some(&value), &[]), &CAUSE, len_max);
            let kept = letter.value.expect("a value");
            assert_eq!(kept.len(), len_max);
            assert!(!kept.windows(5).any(|five| five.iter().all(u8::is_ascii_digit)), "{len_max}");
        }
    }

    #[test]
    fn the_largest_letter_fits_into_a_record() {
        let value = vec![b'x'; 10 << 20];
        let key = vec![b'k'; 1 << 20];
        let headers: Vec<NamedValue> = (0..1_000).map(|n| (format!("h{n}"), Some(vec![b'h'; 1 << 10]))).collect();
        let error = "e".repeat(100_000);
        let mut origin = origin(Some(&value), &headers);
        origin.key = Some(&key);
        let letter = Letter::write(&origin, &Cause { error: &error, ..CAUSE }, 900 << 10);
        let headers: usize =
            letter.headers.iter().map(|(name, value)| 10 + name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        let len = letter.value.as_ref().map_or(0, Vec::len) + letter.key.as_ref().map_or(0, Vec::len) + headers;
        // What a topic takes unless it was told otherwise, and a client sends.
        assert!(len < 1_000_000, "{len}");
        assert_eq!(letter.changes(), ["cut"]);
        assert_eq!(letter.told("length"), Some("10485760"));
    }

    #[test]
    fn attempts_count_on() {
        let first = Letter::write(&origin(Some(b"{"), &[]), &CAUSE, 1_024);
        let again = first.replayed_headers();
        assert_eq!(attempt_of(&again), 2);
        let second = Letter::write(&origin(Some(b"{"), &again), &CAUSE, 1_024);
        assert_eq!(second.attempt(), 2);
        assert_eq!(second.headers.iter().filter(|(name, _)| name == ATTEMPT).count(), 1);
        assert_eq!(attempt_of(&second.replayed_headers()), 3);
        assert_eq!(attempt_of(&[(ATTEMPT.to_owned(), Some(b"many".to_vec()))]), 1);
    }

    #[test]
    fn a_tombstone_stays_one() {
        assert_eq!(Letter::write(&origin(None, &[]), &CAUSE, 1_024).value, None);
    }
}

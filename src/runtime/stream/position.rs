//! How far a partition is: offsets, watermark and a chain over every record, as a value.
//!
//! A position is a pure function of the records before it, in the order in which they were taken: never
//! of the wall clock. It travels in the metadata of the committed offset and in the local store; the chain
//! tells whether two sides that name the same offset have seen the same records.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::{Span, Timestamp};

/// How far one partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset of the next transaction.
    pub transactions: i64,
    /// The offset of the next label.
    pub labels: i64,
    /// The newest event time seen minus the bound, in microseconds; [`i64::MIN`] before the first event.
    pub watermark_micros: i64,
    /// A rolling hash over every record so far.
    pub chain: u64,
}

/// Why metadata is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A newer version wrote it.
    #[error("the offset's metadata has version {0}, and this fraudd reads 1: start the fraudd that wrote it")]
    Newer(u32),
    /// It is something else.
    #[error("the offset's metadata is no position of fraudd")]
    Malformed,
}

impl Position {
    /// Returns the position before the first record, with both topics read from these offsets on.
    #[must_use]
    pub const fn start(transactions: i64, labels: i64) -> Self {
        Self { transactions, labels, watermark_micros: i64::MIN, chain: 0 }
    }

    /// Returns the text that goes with the committed offset of the transactions.
    #[must_use]
    pub fn metadata(&self) -> String {
        let mut text = String::with_capacity(64);
        // Writing to memory cannot fail.
        let _ = write!(text, "v1;l={};w={};h={:016x}", self.labels, self.watermark_micros, self.chain);
        text
    }

    /// Reads a committed offset with its metadata.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Malformed`].
    pub fn parse(transactions: i64, metadata: &str) -> Result<Self, Error> {
        let (version, rest) = metadata.split_once(';').ok_or(Error::Malformed)?;
        let version: u32 = version.strip_prefix('v').and_then(|v| v.parse().ok()).ok_or(Error::Malformed)?;
        if version != 1 {
            return Err(if version > 1 { Error::Newer(version) } else { Error::Malformed });
        }
        let mut parts = rest.split(';');
        let mut next = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(Error::Malformed);
        let (labels, watermark, chain) = (next("l=")?, next("w=")?, next("h=")?);
        if parts.next().is_some() || chain.len() != 16 {
            return Err(Error::Malformed);
        }
        Ok(Self {
            transactions,
            labels: labels.parse().map_err(|_| Error::Malformed)?,
            watermark_micros: watermark.parse().map_err(|_| Error::Malformed)?,
            chain: u64::from_str_radix(chain, 16).map_err(|_| Error::Malformed)?,
        })
    }
}

/// Which topic a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Transactions to decide.
    Transactions = 1,
    /// What became of them.
    Labels = 2,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Decided here.
    New = 1,
    /// Decided by the other door before; published now.
    Confirmed = 2,
    /// Published before.
    Duplicate = 3,
    /// Decided without changing state: beyond the allowed lateness.
    Late = 4,
    /// Put aside as a dead letter.
    Dead = 5,
    /// A label taken.
    Label = 6,
}

/// How the time of an event relates to its partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// At or after the watermark.
    Timely,
    /// Before the watermark, and within the allowed lateness: inserted where it belongs.
    OutOfOrder,
    /// Beyond the allowed lateness: changes no state.
    Late,
    /// Too far ahead of its receipt: does not move the watermark.
    Future,
}

/// The bounds on event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBounds {
    /// How far the watermark stays behind the newest event. Default 30 s.
    pub watermark_bound: Span,
    /// How far behind the watermark an event may be. Default 24 h.
    pub lateness_max: Span,
    /// How far ahead of its receipt by the broker an event may be. Default 5 min.
    pub ahead_max: Span,
}

impl Default for TimeBounds {
    fn default() -> Self {
        Self {
            watermark_bound: Span::from_seconds(30),
            lateness_max: Span::from_days(1),
            ahead_max: Span::from_seconds(300),
        }
    }
}

/// A record that a prefix is extended by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it came from.
    pub topic: Topic,
    /// Its offset.
    pub offset: i64,
    /// What became of it.
    pub disposition: Disposition,
    /// Its event time, when it may move the watermark: not for labels and late records, nor for those that could not be read.
    pub event_time: Option<Timestamp>,
    /// The ledger's hash of its id; 0 when it has none.
    pub id_hash: u64,
    /// The hash of its payload.
    pub payload_hash: u128,
}

/// The records of a partition so far, as far as anything depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    position: Position,
    bounds: TimeBounds,
}

impl Prefix {
    /// Goes on from a position.
    #[must_use]
    pub const fn new(position: Position, bounds: TimeBounds) -> Self {
        Self { position, bounds }
    }

    /// Returns how far it is.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Tells how an event's time relates to the partition's, and to when the broker took it.
    #[must_use]
    pub fn classify(&self, event_time: Timestamp, append_time: Option<Timestamp>) -> Lateness {
        let (time, watermark) = (event_time.micros(), self.position.watermark_micros);
        let ahead = self.bounds.ahead_max.micros();
        if append_time.is_some_and(|append| time > append.micros().saturating_add(ahead)) {
            Lateness::Future
        } else if time >= watermark {
            Lateness::Timely
        } else if time >= watermark.saturating_sub(self.bounds.lateness_max.micros()) {
            Lateness::OutOfOrder
        } else {
            Lateness::Late
        }
    }

    /// Moves the watermark alone, as far as an event does.
    pub fn watch(&mut self, event_time: Timestamp) {
        let reached = event_time.micros().saturating_sub(self.bounds.watermark_bound.micros());
        self.position.watermark_micros = self.position.watermark_micros.max(reached);
    }

    /// Extends the prefix by a record. `false`: its offset was passed before (`KA-2`), and nothing changed.
    #[must_use]
    pub fn advance(&mut self, step: &Step) -> bool {
        let next = match step.topic {
            Topic::Transactions => &mut self.position.transactions,
            Topic::Labels => &mut self.position.labels,
        };
        if step.offset < *next {
            return false;
        }
        *next = step.offset.saturating_add(1);
        if let Some(time) = step.event_time {
            self.watch(time);
        }
        let position = &mut self.position;
        let mut bytes = [0; 34];
        bytes[0] = step.topic as u8;
        bytes[1] = step.disposition as u8;
        bytes[2..10].copy_from_slice(&step.offset.to_le_bytes());
        bytes[10..18].copy_from_slice(&step.id_hash.to_le_bytes());
        bytes[18..34].copy_from_slice(&step.payload_hash.to_le_bytes());
        position.chain = xxh3_64_with_seed(&bytes, position.chain);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(offset: i64, seconds: i64) -> Step {
        Step {
            topic: Topic::Transactions,
            offset,
            disposition: Disposition::New,
            event_time: Some(Timestamp::from_seconds(seconds)),
            id_hash: offset.cast_unsigned(),
            payload_hash: 7,
        }
    }

    #[test]
    fn metadata_is_read_back_and_anything_else_is_refused() {
        let position = Position { transactions: 5, labels: 17, watermark_micros: -3, chain: 0xab };
        assert_eq!(position.metadata(), "v1;l=17;w=-3;h=00000000000000ab");
        assert_eq!(Position::parse(5, &position.metadata()), Ok(position));
        assert_eq!(Position::parse(5, "v2;anything"), Err(Error::Newer(2)));
        for text in ["", "v1", "v0;l=1;w=1;h=00000000000000ab", "v1;l=1;w=1;h=ab", "v1;w=1;l=1;h=00000000000000ab"] {
            assert_eq!(Position::parse(5, text), Err(Error::Malformed), "{text}");
        }
        let longer = format!("{};x=1", position.metadata());
        assert_eq!(Position::parse(5, &longer), Err(Error::Malformed));
    }

    #[test]
    fn times_are_classed_by_the_watermark_and_the_receipt() {
        let mut prefix = Prefix::new(Position::start(0, 0), TimeBounds::default());
        let at = Timestamp::from_seconds;
        assert_eq!(prefix.classify(at(-9_000_000), None), Lateness::Timely, "nothing is late before the first event");
        assert!(prefix.advance(&step(0, 1_000_000)));
        let check =
            |seconds, expected| assert_eq!(prefix.classify(at(seconds), Some(at(1_000_000))), expected, "{seconds}");
        check(999_970, Lateness::Timely);
        check(999_969, Lateness::OutOfOrder);
        check(999_970 - 86_400, Lateness::OutOfOrder);
        check(999_969 - 86_400, Lateness::Late);
        check(1_000_300, Lateness::Timely);
        check(1_000_301, Lateness::Future);
    }

    #[test]
    fn an_offset_that_was_passed_changes_nothing() {
        let mut prefix = Prefix::new(Position::start(3, 0), TimeBounds::default());
        assert!(prefix.advance(&step(7, 100)));
        let before = prefix;
        assert!(!prefix.advance(&step(7, 200)) && prefix == before);
        assert_eq!(prefix.position().transactions, 8);
    }

    proptest! {
        #[test]
        fn any_position_survives_its_metadata(transactions: i64, labels: i64, watermark_micros: i64, chain: u64) {
            let position = Position { transactions, labels, watermark_micros, chain };
            prop_assert_eq!(Position::parse(transactions, &position.metadata()), Ok(position));
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,60}") {
            let _ = Position::parse(1, &text);
        }

        #[test]
        fn offsets_and_watermark_never_move_back(steps in prop::collection::vec((0..40_i64, -500..500_i64, any::<bool>()), 0..60)) {
            let mut prefix = Prefix::new(Position::start(0, 0), TimeBounds::default());
            for (offset, seconds, is_label) in steps {
                let before = prefix.position();
                let topic = if is_label { Topic::Labels } else { Topic::Transactions };
                let moved = prefix.advance(&Step { topic, ..step(offset, seconds) });
                let after = prefix.position();
                prop_assert!(after.transactions >= before.transactions && after.labels >= before.labels);
                prop_assert!(after.watermark_micros >= before.watermark_micros);
                prop_assert_eq!(moved, after.chain != before.chain);
            }
        }

        #[test]
        fn the_chain_tells_any_two_prefixes_apart(offsets in prop::collection::btree_set(0..60_i64, 2..20), drop in any::<prop::sample::Index>()) {
            let run = |skip: Option<usize>| {
                let mut prefix = Prefix::new(Position::start(0, 0), TimeBounds::default());
                for (place, offset) in offsets.iter().enumerate() {
                    if Some(place) != skip {
                        assert!(prefix.advance(&step(*offset, *offset)));
                    }
                }
                prefix.position()
            };
            prop_assert_eq!(run(None), run(None));
            prop_assert_ne!(run(None).chain, run(Some(drop.index(offsets.len()))).chain);
        }
    }
}

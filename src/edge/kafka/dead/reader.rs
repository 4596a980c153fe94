//! Reads dead letters from the topic: all there are when it begins, in the order of each partition.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::letter::{Letter, PREFIX};
use crate::edge::kafka::connect::{Error, reach};
use crate::edge::kafka::options::Options;
use crate::edge::kafka::{client, headers};
use crate::runtime::clock::Moment;
use crate::tasks::Shutdown;

/// How long a broker may take to be reached.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// After how long without a record or an end reading is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// A letter in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its partition in the topic of dead letters.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it was written, milliseconds since 1970.
    pub written_ms: Option<i64>,
    /// What it says.
    pub letter: Letter,
}

/// Which letters are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these reasons; empty for any.
    pub reasons: Vec<String>,
    /// Of one of these stages; empty for any.
    pub stages: Vec<String>,
    /// From one of these topics; empty for any.
    pub topics: Vec<String>,
    /// From one of these partitions of it; empty for any.
    pub partitions: Vec<String>,
}

impl Filter {
    /// Parses `reason=bad_json,stage=decode`; a key given twice means either.
    ///
    /// # Errors
    /// What cannot be read, and what can.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let wanted = match pair.split_once('=') {
                Some(("reason", value)) => (&mut filter.reasons, value),
                Some(("stage", value)) => (&mut filter.stages, value),
                Some(("topic", value)) => (&mut filter.topics, value),
                Some(("partition", value)) => (&mut filter.partitions, value),
                _ => return Err(format!("{pair:?} is none of reason=, stage=, topic=, partition=")),
            };
            wanted.0.push(wanted.1.to_owned());
        }
        Ok(filter)
    }

    /// Tells whether a letter is wanted.
    #[must_use]
    pub fn accepts(&self, letter: &Letter) -> bool {
        let fields = [
            ("reason", &self.reasons),
            ("stage", &self.stages),
            ("topic", &self.topics),
            ("partition", &self.partitions),
        ];
        fields.into_iter().all(|(name, wanted)| {
            wanted.is_empty() || letter.told(name).is_some_and(|told| wanted.iter().any(|one| one == told))
        })
    }
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was read.
    Whole,
    /// It was asked to stop, or the caller had enough.
    Early,
}

/// Says whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read on.
    More,
    /// That was enough.
    Enough,
}

/// Reads the letters that are there when it begins, those written since `since_ms` only when given.
///
/// # Errors
/// A broker that cannot be used, or a topic that is not there. `each` may fail with the same.
pub fn read(
    options: &Options,
    since_ms: Option<i64>,
    shutdown: &Shutdown,
    each: &mut dyn FnMut(Found) -> Result<Next, Error>,
) -> Result<Ended, Error> {
    let servers = options.bootstrap_servers.as_str();
    let explained = |error: KafkaError| Error::of(&error, servers);
    let topic = options.topics.dead.as_str();
    let cluster = reach(options, PATIENCE, &mut |_| ())?;
    let Some((_, partitions)) = cluster.topics.iter().find(|(name, _)| name == topic) else {
        return Err(Error::UnknownTopic { what: format!("topic {topic}") });
    };
    let consumer: BaseConsumer = client::reader(options).create().map_err(|error| Error::of_creation(&error))?;
    let mut ends = BTreeMap::new();
    let mut from = TopicPartitionList::new();
    for partition in 0..i32::try_from(*partitions).unwrap_or(i32::MAX) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ASK_TIMEOUT).map_err(explained)?;
        if low < high {
            ends.insert(partition, high);
            let start = since_ms.map_or(Offset::Beginning, Offset::Offset);
            from.add_partition_offset(topic, partition, start).map_err(explained)?;
        }
    }
    if ends.is_empty() {
        return Ok(Ended::Whole);
    }
    if since_ms.is_some() {
        from = consumer.offsets_for_times(from, ASK_TIMEOUT).map_err(explained)?;
    }
    consumer.assign(&from).map_err(explained)?;
    run(&consumer, ends, (servers, shutdown), each)
}

fn run(
    consumer: &BaseConsumer,
    mut ends: BTreeMap<i32, i64>,
    (servers, shutdown): (&str, &Shutdown),
    each: &mut dyn FnMut(Found) -> Result<Next, Error>,
) -> Result<Ended, Error> {
    let mut quiet_since = Moment::now();
    while !ends.is_empty() {
        if shutdown.is_asked() {
            return Ok(Ended::Early);
        }
        match consumer.poll(POLL) {
            None if quiet_since.elapsed() > SILENCE_MAX => {
                let said = format!("no record and no end for {} s", SILENCE_MAX.as_secs());
                return Err(Error::Unreachable { servers: servers.into(), said });
            }
            None => continue,
            // What is committed has been read; what follows is open or came later.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.remove(&partition)),
            Some(Err(error)) => {
                let reason = Error::of(&error, servers);
                if reason.is_final() {
                    return Err(reason);
                }
                continue;
            }
            Some(Ok(message)) => {
                let end = ends.get(&message.partition()).copied().unwrap_or(0);
                // Letters written after we began are another reading's: a replay would chase its own.
                if message.offset() + 1 >= end {
                    ends.remove(&message.partition());
                }
                let found = Found {
                    partition: message.partition(),
                    offset: message.offset(),
                    written_ms: message.timestamp().to_millis(),
                    letter: Letter {
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                        headers: headers::read(&message),
                    },
                };
                let is_letter = found.letter.headers.iter().any(|(name, _)| name.starts_with(PREFIX));
                if message.offset() < end && is_letter && each(found)? == Next::Enough {
                    return Ok(Ended::Early);
                }
            }
        }
        quiet_since = Moment::now();
    }
    Ok(Ended::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(reason: &str, stage: &str) -> Letter {
        let header = |name: &str, value: &str| (format!("{PREFIX}{name}"), Some(value.as_bytes().to_vec()));
        Letter { headers: vec![header("reason", reason), header("stage", stage)], ..Letter::default() }
    }

    #[test]
    fn filters_take_either_of_a_key_and_all_keys() {
        let check = |text: &str, expected: [bool; 3]| {
            let filter = Filter::parse(text).expect(text);
            let letters =
                [letter("bad_json", "decode"), letter("bad_utf8", "decode"), letter("id_conflict", "conflict")];
            assert_eq!(letters.map(|letter| filter.accepts(&letter)), expected, "{text}");
        };
        check("", [true, true, true]);
        check("stage=decode", [true, true, false]);
        check("reason=bad_json,stage=decode", [true, false, false]);
        check("reason=bad_json, reason=id_conflict", [true, false, true]);
        check("topic=transactions", [false, false, false]);
        assert!(Filter::parse("cause=x").is_err_and(|said| said.contains("reason=")));
    }
}

//! Sends dead letters to the topic they came from again.
//!
//! Each goes with its own key and headers and the number of the attempt it will be; the key finds the
//! partition. What was masked or cut is another record than the one that died, and stays unless forced.
//! The ledger knows ids: a letter that is replayed twice is decided once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::letter::Letter;
use crate::edge::kafka::connect::Error;
use crate::edge::kafka::options::Options;
use crate::edge::kafka::{client, headers};

const POLL: Duration = Duration::from_millis(10);

/// Whether letters that are not their original any more are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// They stay.
    Refuse,
    /// They are sent as they are.
    Send,
}

/// What became of one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way.
    Sent,
    /// It is not the original any more: what was done to it.
    Refused(Vec<String>),
}

/// Sends letters; counts what the broker has.
pub struct Replay {
    producer: BaseProducer<Counts>,
    counts: Counts,
    /// Topics that letters come from; the first takes those of any other.
    inputs: Vec<String>,
    changed: Changed,
    patience: Duration,
}

/// How many records the broker has taken, and how many not.
#[derive(Clone, Default)]
struct Counts(Arc<(AtomicU64, AtomicU64)>);

impl ClientContext for Counts {}

impl ProducerContext for Counts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let (taken, lost) = &*self.0;
        if result.is_ok() { taken } else { lost }.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was sent, as the broker confirmed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Records the broker has.
    pub taken: u64,
    /// Records it has not, or nobody knows.
    pub lost: u64,
}

/// Tells whether a letter may be sent.
#[must_use]
pub fn fate(letter: &Letter, changed: Changed) -> Fate {
    let changes = letter.changes();
    if changes.is_empty() || changed == Changed::Send {
        return Fate::Sent;
    }
    Fate::Refused(changes.into_iter().map(str::to_owned).collect())
}

/// Returns the topic that a letter came from; the input when that is none of ours.
fn destination<'a>(letter: &Letter, inputs: &'a [String]) -> &'a str {
    let origin = letter.told("topic");
    let known = inputs.iter().find(|known| Some(known.as_str()) == origin);
    known.or_else(|| inputs.first()).map_or("", String::as_str)
}

impl Replay {
    /// Makes the producer.
    ///
    /// # Errors
    /// A client that cannot be made.
    pub fn new(options: &Options, changed: Changed) -> Result<Self, Error> {
        let counts = Counts::default();
        let created = client::outbox_producer(options).create_with_context(counts.clone());
        let producer = created.map_err(|error| Error::of_creation(&error))?;
        let patience = options.timeouts.message + Duration::from_secs(2);
        let inputs = [&options.topics.transactions, &options.topics.labels].into_iter().chain(&options.rekey);
        Ok(Self { producer, counts, inputs: inputs.cloned().collect(), changed, patience })
    }

    /// Sends one letter, waiting while the producer's queue is full.
    ///
    /// # Errors
    /// A record the client does not take.
    pub fn send(&self, letter: &Letter) -> Result<Fate, Error> {
        let fate = fate(letter, self.changed);
        if fate != Fate::Sent {
            return Ok(fate);
        }
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(destination(letter, &self.inputs));
        record = record.headers(headers::written(&letter.replayed_headers()));
        if let Some(key) = &letter.key {
            record = record.key(key);
        }
        if let Some(value) = &letter.value {
            record = record.payload(value);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => {
                    self.producer.poll(Duration::ZERO);
                    return Ok(fate);
                }
                // The queue empties or its records time out, so this ends.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), kept)) => {
                    record = kept;
                    self.producer.poll(POLL);
                }
                Err((error, _)) => return Err(Error::Refused { what: "a record".into(), said: error.to_string() }),
            }
        }
    }

    /// Waits for the broker to have what was sent, and says what it has.
    #[must_use]
    pub fn finish(self) -> Sent {
        // What is still on its way after this is counted as lost below.
        let _ = self.producer.flush(self.patience);
        let waiting = u64::try_from(self.producer.in_flight_count()).unwrap_or(0);
        let (taken, lost) = &*self.counts.0;
        Sent { taken: taken.load(Ordering::Relaxed), lost: lost.load(Ordering::Relaxed) + waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::{Cause, Origin, Stage};
    use super::*;

    #[test]
    fn a_letter_goes_where_it_came_from() {
        let inputs = ["transactions", "labels", "bank.payments"].map(str::to_owned);
        let cause = Cause { reason: "bad_json", stage: Stage::Decode, error: "" };
        for (topic, expected) in [("labels", "labels"), ("bank.payments", "bank.payments"), ("gone", "transactions")] {
            let origin =
                Origin { topic, partition: 0, offset: 0, timestamp_ms: None, key: None, value: None, headers: &[] };
            assert_eq!(destination(&Letter::write(&origin, &cause, 40), &inputs), expected);
        }
    }

    #[test]
    fn what_is_not_the_original_any_more_stays() {
        let cause = Cause { reason: "bad_json", stage: Stage::Decode, error: "" };
        let check = |value: &[u8], refused: &[&str]| {
            let origin = Origin {
                topic: "transactions",
                partition: 0,
                offset: 0,
                timestamp_ms: None,
                key: None,
                value: Some(value),
                headers: &[],
            };
            let letter = Letter::write(&origin, &cause, 40);
            let expected = if refused.is_empty() {
                Fate::Sent
            } else {
                Fate::Refused(refused.iter().map(|word| (*word).to_owned()).collect())
            };
            assert_eq!(fate(&letter, Changed::Refuse), expected);
            assert_eq!(fate(&letter, Changed::Send), Fate::Sent);
        };
        check(b"{}", &[]);
        check(b"4111111111111111", &["masked"]);
        check(&[b'x'; 41], &["cut"]);
    }
}

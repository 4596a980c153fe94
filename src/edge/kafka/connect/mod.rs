//! The first contact with a broker: is it there, does it let us in, is it new enough.
//!
//! ```text
//! client with ears ──> metadata ──> versions of its requests ──> Cluster
//!        └── what librdkafka complains of ──> Error: wait (not there yet) or give up (never will)
//! ```
//! librdkafka tells most troubles beside the call that suffers from them, so this room listens to
//! both. Blocks; not for an async thread.

mod error;
mod features;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

pub use error::Error;
pub use features::Features;

use super::client;
use super::options::Options;
use crate::runtime::clock::Moment;

/// How long one question may take before troubles are looked at.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long troubles are listened for between questions.
const LISTEN: Duration = Duration::from_millis(200);

/// What was learned of the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// How many brokers there are.
    pub brokers: usize,
    /// What they can do.
    pub features: Features,
    /// Every topic we may see, with its partitions.
    pub topics: Vec<(String, u32)>,
}

impl Cluster {
    /// Checks that every topic of a stream is there with as many partitions as the input, and returns that count.
    ///
    /// # Errors
    /// The first topic that is missing or differs, the input before the others.
    pub fn partitions(&self, options: &Options) -> Result<u32, Error> {
        let topics = &options.topics;
        let features = options.features_enabled.then_some(&topics.features);
        let others = [&topics.labels, &topics.scores, &topics.alerts, &topics.dead, &topics.late, &topics.state];
        let count = |name: &String| {
            let found = self.topics.iter().find(|(known, _)| known == name);
            found.map(|(_, count)| *count).ok_or_else(|| Error::UnknownTopic { what: format!("topic {name}") })
        };
        let has = count(&topics.transactions)?;
        let wanted = options.partitions.unwrap_or(has);
        if let Some(source) = &options.rekey {
            // Of any number of partitions.
            count(source)?;
        }
        let all = [&topics.transactions].into_iter().chain(others).chain(features);
        for name in all {
            let has = count(name)?;
            if has != wanted {
                return Err(Error::Partitions { topic: name.clone(), has, wanted });
            }
        }
        Ok(wanted)
    }
}

/// Reaches the brokers, waiting up to `patience` for them to be there; `tell` hears, once each time it
/// changes, why it still waits.
///
/// # Errors
/// Whatever waiting cannot cure, at once; else the last reason when patience ends.
pub fn reach(options: &Options, patience: Duration, tell: &mut dyn FnMut(&Error)) -> Result<Cluster, Error> {
    let ears = Ears::default();
    let mut config = client::admin(options);
    // The versions of a broker's requests are told in its log only.
    config.set("debug", "feature").set_log_level(RDKafkaLogLevel::Debug);
    let created: Result<BaseProducer<Ears>, _> = config.create_with_context(ears.clone());
    let producer = created.map_err(|error| Error::of_creation(&error))?;
    let deadline = Moment::now().after(patience);
    let mut told = None;
    loop {
        let asked = producer.client().fetch_metadata(None, ASK_TIMEOUT);
        // A broker that answered has told its versions before, so there is mostly nothing to wait for.
        hear(&producer, &ears, Duration::ZERO);
        if asked.is_err() || !ears.features().is_verified() {
            hear(&producer, &ears, LISTEN);
        }
        let heard = ears.take_trouble(&options.bootstrap_servers);
        let reason = match asked {
            Ok(metadata) => {
                let features = ears.features();
                features.check()?;
                let count = |topic: &rdkafka::metadata::MetadataTopic| {
                    (topic.name().to_owned(), u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX))
                };
                let topics = metadata.topics().iter().map(count).collect();
                return Ok(Cluster { brokers: metadata.brokers().len(), features, topics });
            }
            Err(error) => heard.unwrap_or_else(|| Error::of(&error, &options.bootstrap_servers)),
        };
        if reason.is_final() || deadline.has_passed() {
            return Err(reason);
        }
        if told.as_ref() != Some(&reason) {
            tell(&reason);
            told = Some(reason);
        }
    }
}

/// Listens for so long, and then to all that was said by then.
fn hear(producer: &BaseProducer<Ears>, ears: &Ears, wait: Duration) {
    producer.poll(wait);
    while ears.take_news() {
        producer.poll(Duration::ZERO);
    }
}

/// Hears what librdkafka says beside its answers.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    troubles: Vec<(RDKafkaErrorCode, String)>,
    features: Features,
    has_news: bool,
}

/// The most troubles kept between two looks.
const TROUBLES_MAX: usize = 64;

impl Ears {
    /// Tells whether anything was said since the last look.
    fn take_news(&self) -> bool {
        std::mem::take(&mut self.0.lock().has_news)
    }

    /// Returns the trouble that says most: one that waiting cannot cure before one that it may.
    fn take_trouble(&self, servers: &str) -> Option<Error> {
        let troubles = std::mem::take(&mut self.0.lock().troubles);
        let errors: Vec<Error> = troubles.iter().map(|(code, said)| Error::heard(*code, said, servers)).collect();
        errors.iter().find(|error| error.is_final()).or_else(|| errors.first()).cloned()
    }

    fn features(&self) -> Features {
        self.0.lock().features.clone()
    }
}

impl ClientContext for Ears {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        let mut heard = self.0.lock();
        heard.has_news = true;
        heard.features.hear(message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.0.lock();
        heard.has_news = true;
        if let Some(code) = error.rdkafka_error_code()
            && heard.troubles.len() < TROUBLES_MAX
        {
            heard.troubles.push((code, reason.to_owned()));
        }
    }
}

impl ProducerContext for Ears {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::options;
    use super::*;

    #[test]
    fn a_stream_needs_its_topics_alike() {
        let names =
            ["transactions", "labels", "scores", "alerts", "transactions.dead", "transactions.late", "fraudd.state"];
        let whole: Vec<(String, u32)> = names.iter().map(|name| ((*name).to_owned(), 4)).collect();
        let check = |topics: Vec<(String, u32)>, wanted, features_enabled, expected: Result<u32, &str>| {
            let options = Options { partitions: wanted, features_enabled, ..options() };
            let cluster = Cluster { brokers: 1, features: Features::default(), topics };
            let found = cluster.partitions(&options).map_err(|error| error.to_string());
            assert!(
                match (&found, expected) {
                    (Ok(found), Ok(expected)) => *found == expected,
                    (Err(found), Err(expected)) => found.starts_with(expected),
                    (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
                },
                "{found:?}, not {expected:?}"
            );
        };
        check(whole.clone(), None, false, Ok(4));
        check(whole.clone(), Some(4), false, Ok(4));
        check(whole.clone(), Some(6), false, Err("topic transactions has 4 partitions and needs 6"));
        check(whole.clone(), None, true, Err("topic features does not exist"));
        let rekeyed = |topics: Vec<(String, u32)>| {
            let options = Options { rekey: Some("bank.payments".into()), ..options() };
            Cluster { brokers: 1, features: Features::default(), topics }.partitions(&options)
        };
        assert_eq!(rekeyed(whole.clone()), Err(Error::UnknownTopic { what: "topic bank.payments".into() }));
        assert_eq!(rekeyed([&whole[..], &[("bank.payments".into(), 7)]].concat()), Ok(4));
        check(whole[1..].to_vec(), None, false, Err("topic transactions does not exist"));
        let mut odd = whole;
        odd[6].1 = 3;
        check(odd, None, false, Err("topic fraudd.state has 3 partitions and needs 4"));
    }
}

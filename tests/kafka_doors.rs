//! What goes to Kafka beside decisions: the record of healing line by line over an outage and a restart, requests for a
//! new model, and who leads among two instances.
//!
//! Starts its own broker on loopback; says "skipped" where there is no Java or Maven.

#[path = "kafka/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "each suite uses its part")]
mod service;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fraudd::config::Settings;
use fraudd::edge::kafka::options::Options;
use fraudd::edge::kafka::publisher::{Letter, sender};
use fraudd::edge::kafka::{client, headers};
use fraudd::runtime::audit::Line;
use fraudd::runtime::clock::Moment;
use fraudd::tasks::Shutdown;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use service::Service;
use support::broker::{Broker, Wanted};

const PATIENCE: Duration = Duration::from_mins(1);

/// The settings of one instance.
struct Instance {
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
    options: Options,
}

impl Instance {
    fn new(broker: &Broker, name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = [
            ("FRAUDD__KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap()),
            ("FRAUDD__KAFKA__INSTANCE", name),
            ("FRAUDD__KAFKA__LANES", "1"),
            ("FRAUDD__STATE__DIRECTORY", directory.path().to_str().expect("UTF-8")),
        ];
        let environment: Vec<_> = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (settings, _) = Settings::load(&[], environment.clone()).expect("valid");
        Self { directory, environment, options: settings.kafka.expect("a stream") }
    }

    fn start(&self) -> Service {
        let own = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Service::start(self.state(), &own.collect::<Vec<_>>())
    }

    fn state(&self) -> &Path {
        self.directory.path()
    }

    /// Reads the one partition of a topic to its end.
    fn read(&self, topic: &str) -> Vec<(String, String, Vec<headers::NamedValue>)> {
        let consumer: BaseConsumer = client::reader(&self.options).create().expect("a client");
        let mut all = TopicPartitionList::new();
        all.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
        consumer.assign(&all).expect("assigned");
        let deadline = Moment::now().after(PATIENCE);
        let mut found = Vec::new();
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text");
        loop {
            assert!(!deadline.has_passed(), "{topic} has no end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    found.push((text(message.key()), text(message.payload()), headers::read(&message)));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return found,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
    }

    /// Waits until the topic has the line of a number, and returns the numbers of all, repeats left out.
    fn lines_up_to(&self, seq: u64) -> Vec<u64> {
        let deadline = Moment::now().after(PATIENCE);
        loop {
            let records = self.read("fraudd.audit");
            let numbers: BTreeSet<u64> =
                records.iter().map(|(_, text, _)| Line::read(text).expect("a whole line").seq).collect();
            if numbers.last().is_some_and(|last| *last >= seq) {
                return numbers.into_iter().collect();
            }
            assert!(!deadline.has_passed(), "{numbers:?} has no {seq}");
        }
    }
}

/// Notes a line and returns the number of the newest.
fn order(service: &Service, what: &str) -> u64 {
    let told = service.post(&format!("/v1/healing/{what}"), r#"{"reason":"a test"}"#).expect("an answer");
    assert_eq!(told.0, 200, "{}", told.1);
    service.get("/v1/health").1["healing"]["audit"]["seq"].as_u64().expect("a number")
}

fn wait_for(service: &Service, what: &str, is_so: impl Fn(&str) -> bool) {
    let deadline = Moment::now().after(PATIENCE);
    loop {
        let (_, health) = service.get("/v1/health");
        let leadership = health["healing"]["leadership"].as_str().unwrap_or("not told yet").to_owned();
        if is_so(&leadership) {
            return;
        }
        assert!(!deadline.has_passed(), "{what}: it is {leadership}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn the_record_and_requests_reach_their_topics_and_one_of_two_instances_leads() {
    let Some(broker) = Broker::start(&Wanted::default()) else { return };
    let first = Instance::new(&broker, "first");
    let mut create = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    create.args(["topics", "create", "--partitions", "2"]).envs(first.environment.iter().cloned());
    assert!(create.output().expect("the binary").status.success());

    // The record, over an outage: every line is there, in order.
    let service = first.start();
    wait_for(&service, "nobody else is there", |leadership| leadership == "alone");
    let seq = order(&service, "lock");
    assert_eq!(first.lines_up_to(seq).len() as u64, *first.lines_up_to(seq).last().expect("a line"));
    broker.node("stop", 1);
    order(&service, "unlock");
    broker.node("cont", 1);
    // Over a restart too: what was not sent is in the files.
    assert!(service.stop());
    let service = first.start();
    service.wait_until_ready();
    let seq = order(&service, "lock");
    let numbers = first.lines_up_to(seq);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let records = first.read("fraudd.audit");
    let header = |name: &str| {
        let (_, _, headers) = &records[0];
        let value = headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone());
        String::from_utf8(value.unwrap_or_default()).expect("text")
    };
    assert_eq!((header("fraudd-sequence").as_str(), header("ce_source").as_str()), ("1", "fraudd/first"));
    assert!(records.iter().all(|(key, _, _)| *key == records[0].0), "one chain, one key");

    // A request by the producer that the service uses; what the topic does not take is said.
    let mut send = sender(&client::publisher_producer(&first.options), Duration::from_secs(10)).expect("a producer");
    let letter = |topic: &str| Letter {
        topic: topic.to_owned(),
        key: "rt_1".to_owned(),
        payload: "{\"id\":\"rt_1\"}".to_owned(),
        headers: vec![("ce_id".to_owned(), Some(b"rt_1".to_vec()))],
    };
    send(&[letter("fraudd.retrain")], &Shutdown::default()).expect("taken");
    let requests = first.read("fraudd.retrain");
    assert_eq!(
        requests.iter().map(|(key, text, _)| (key.as_str(), text.as_str())).collect::<Vec<_>>(),
        [("rt_1", "{\"id\":\"rt_1\"}")]
    );

    // A second instance takes one of the two partitions: both protect, one leads.
    let second = Instance::new(&broker, "second");
    let other = second.start();
    wait_for(&service, "one of two", |leadership| leadership == "leads" || leadership == "follows");
    wait_for(&other, "one of two", |leadership| leadership == "leads" || leadership == "follows");
    let leadership = |service: &Service| service.get("/v1/health").1["healing"]["leadership"].clone();
    let both = BTreeSet::from([leadership(&service).to_string(), leadership(&other).to_string()]);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(other.stop() && service.stop());
}

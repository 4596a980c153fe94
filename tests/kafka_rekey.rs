//! A foreign topic against real Kafka: keyed by terminal in a bank's own form, it becomes `transactions` keyed by
//! customer, each record exactly once over deaths of the process in mid-transaction, and every one of them is scored.
//!
//! Starts its own broker on loopback; says "skipped" where there is no Java or Maven.

#[path = "kafka/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "each suite uses its part")]
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fraudd::config::Settings;
use fraudd::edge::kafka::headers::{self, NamedValue};
use fraudd::edge::kafka::options::Options;
use fraudd::edge::kafka::{client, connect};
use fraudd::runtime::clock::{Clock, Moment};
use fraudd::runtime::stream::Partitioner;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use service::Service;
use support::broker::{Broker, Wanted};

const SOURCE: &str = "bank.payments";
/// Partitions of the source and of the stream: not alike.
const PARTITIONS: [i32; 2] = [3, 4];
const PAYMENTS: usize = 400;
const PATIENCE: Duration = Duration::from_secs(90);
const TRACE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const MAPPING: &str = r#"
    [mappings.bank.fields]
    transaction_id = "/id"
    occurred_at = { pointer = "/at", as = "epoch_s" }
    amount = "/cents"
    currency = { constant = "EUR" }
    customer_id = "/owner"
    "merchant.terminal_id" = "/till"
"#;

/// A record as it was read.
struct Found {
    partition: i32,
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<NamedValue>,
}

impl Found {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.value).unwrap_or_default()
    }

    fn told(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref());
        std::str::from_utf8(found.unwrap_or_default()).expect("text")
    }
}

/// The broker, the settings and the state of one run.
struct Stage {
    options: Options,
    environment: Vec<(String, String)>,
    directory: tempfile::TempDir,
}

impl Stage {
    fn new(broker: &Broker) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mapping = directory.path().join("mapping.toml");
        std::fs::write(&mapping, MAPPING).expect("written");
        let settings = [
            ("FRAUDD__KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap()),
            ("FRAUDD__KAFKA__INSTANCE", "test-0"),
            ("FRAUDD__KAFKA__BATCH_MAX", "64"),
            ("FRAUDD__KAFKA__MAPPING", "bank"),
            ("FRAUDD__KAFKA__REKEY__ENABLED", "true"),
            ("FRAUDD__KAFKA__REKEY__SOURCE", SOURCE),
            ("FRAUDD__FILES__MAPPING", mapping.to_str().expect("UTF-8")),
            ("FRAUDD__STATE__DIRECTORY", directory.path().to_str().expect("UTF-8")),
        ];
        let environment: Vec<_> = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (settings, _) = Settings::load(&[], environment.clone()).expect("valid");
        let stage = Self { options: settings.kafka.expect("a stream"), environment, directory };
        let made = stage.command(&["topics", "create", "--partitions", "4"]).output().expect("the binary");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        stage
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
        command.args(arguments).envs(self.environment.iter().cloned()).current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }

    fn make_source(&self) {
        let admin: AdminClient<DefaultClientContext> = client::admin(&self.options).create().expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let topic = NewTopic::new(SOURCE, PARTITIONS[0], TopicReplication::Fixed(1));
        let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        let deadline = Moment::now().after(PATIENCE);
        // A topic is answered for before every part of the broker has heard of it.
        while connect::reach(&self.options, PATIENCE, &mut |_| ())
            .is_ok_and(|seen| seen.partitions(&self.options).is_err())
        {
            assert!(!deadline.has_passed(), "the topics never came");
        }
    }

    /// Writes payments keyed by their terminal, in turn over the partitions of the source, and some that are none.
    fn pay(&self, second: i64) {
        let producer: BaseProducer = client::outbox_producer(&self.options).create().expect("a client");
        let trace = headers::written(&[("traceparent".into(), Some(TRACE.to_vec()))]);
        let send = |partition: i32, key: &str, payload: &str| {
            let record = BaseRecord::to(SOURCE).partition(partition).key(key).payload(payload);
            producer.send(record.headers(trace.clone())).map_err(|(error, _)| error).expect("taken");
        };
        for number in 0..PAYMENTS {
            let payload = payment(number, second);
            send(i32::try_from(number % 3).expect("small"), &format!("till-{}", number % 7), &payload);
            if number % 150 == 75 {
                send(2, "till-0", "{\"id\":");
            }
        }
        producer.flush(PATIENCE).expect("delivered");
    }

    /// Lets a service die at a crash point.
    fn crash(&self, point: &str) {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("FRAUDD_CRASH_AT", point).env("FRAUDD__MODELS__ENABLED", "false");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary");
        let deadline = Moment::now().after(PATIENCE);
        let status = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None if deadline.has_passed() => {
                    child.kill().expect("killed");
                    child.wait().expect("ended");
                    panic!("{point} was never passed");
                }
                None => std::thread::park_timeout(Duration::from_millis(20)),
            }
        };
        assert_eq!(status.code(), None, "{point}: it died of a signal and did not end by itself");
    }

    fn service(&self, collector: &Collector) -> Service {
        let own = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: Vec<(&str, &str)> =
            own.chain([("FRAUDD__TELEMETRY__OTLP__ENDPOINT", collector.endpoint.as_str())]).collect();
        Service::start(self.state(), &settings)
    }

    fn state(&self) -> &Path {
        self.directory.path()
    }

    /// Reads a topic to its end.
    fn read(&self, topic: &str, partitions: i32, isolation: &str) -> Vec<Found> {
        let mut config = client::reader(&self.options);
        let consumer: BaseConsumer = config.set("isolation.level", isolation).create().expect("a client");
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&all).expect("assigned");
        let (mut found, mut ends) = (Vec::new(), BTreeSet::new());
        let deadline = Moment::now().after(PATIENCE);
        while ends.len() < all.count() {
            assert!(!deadline.has_passed(), "{topic} has no end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => found.push(Found {
                    partition: message.partition(),
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: headers::read(&message),
                }),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.insert(partition)),
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        found
    }

    /// Reads what is committed of a topic of the stream until there is enough of it.
    fn committed(&self, topic: &str, wanted: usize) -> Vec<Found> {
        let deadline = Moment::now().after(PATIENCE);
        loop {
            let found = self.read(topic, PARTITIONS[1], "read_committed");
            if found.len() >= wanted {
                return found;
            }
            assert!(!deadline.has_passed(), "{topic}: {} of {wanted}", found.len());
        }
    }
}

/// A collector of spans that keeps what it is sent, as bytes.
struct Collector {
    endpoint: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().expect("an address"));
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let theirs = Arc::clone(&heard);
        let serve = move || {
            for stream in listener.incoming() {
                let _ = take(&stream.expect("a connection"), &theirs);
            }
        };
        std::thread::Builder::new().name("collector".into()).spawn(serve).expect("a thread");
        Self { endpoint, heard }
    }

    fn count(&self, wanted: &[u8]) -> usize {
        self.heard.lock().expect("no panic").windows(wanted.len()).filter(|part| *part == wanted).count()
    }

    fn wait_for(&self, wanted: &[u8]) {
        let deadline = Moment::now().after(PATIENCE);
        while self.count(wanted) == 0 {
            assert!(!deadline.has_passed(), "no {}", String::from_utf8_lossy(wanted));
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// Takes one request of a connection and closes it.
fn take(mut stream: &TcpStream, heard: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut len) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let is_len = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("content-length");
        if let Some((_, told)) = line.split_once(':').filter(is_len) {
            len = told.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    heard.lock().expect("no panic").extend(body);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn payment(number: usize, second: i64) -> String {
    let (owner, till, at) = (number % 29, number % 7, second - 400 + i64::try_from(number).expect("small"));
    format!(r#"{{"id":"p-{number}","at":{at},"cents":{},"owner":"c-{owner}","till":"till-{till}"}}"#, 100 + number)
}

#[test]
fn a_topic_of_other_keys_is_re_keyed_exactly_once() {
    let Some(broker) = Broker::start(&Wanted::default()) else { return };
    let stage = Stage::new(&broker);
    let missing = stage.command(&["serve", "--listen", "127.0.0.1:0"]).output().expect("the binary");
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(!missing.status.success() && said.contains("topic bank.payments does not exist"), "{said}");
    stage.make_source();
    let second = Clock::system().now().micros() / 1_000_000;
    stage.pay(second);

    // With a transaction open and everything of it at the broker: what was written is aborted and written again.
    stage.crash("after-flush");
    let open = stage.read("transactions", PARTITIONS[1], "read_uncommitted").len();
    assert!(open > 0, "the broker has it");
    assert_eq!(stage.read("transactions", PARTITIONS[1], "read_committed").len(), 0, "and nobody may read it");
    // After the commit, before anybody here knows of it.
    stage.crash("rekey-committed");
    let collector = Collector::start();
    let service = stage.service(&collector);
    let moved = stage.committed("transactions", PAYMENTS);
    let all = stage.read("transactions", PARTITIONS[1], "read_uncommitted").len();
    assert_eq!(all, PAYMENTS + open, "what was open was aborted and written again, and nothing else was");
    check_moved(&moved, second);
    check_dead(&stage.committed("transactions.dead", 3));
    check_replay(&stage);

    // A decision of the REST door travels in the contract's own form beside records of the mapping's.
    let answer = service.post("/v1/decisions", &service::transaction(7).replace("2026-03-01T", &day(second)));
    let (status, rest) = answer.expect("an answer");
    assert_eq!(status, 200, "{rest}");
    let scores = stage.committed("scores", PAYMENTS + 1);
    check_scores(&scores, &rest);
    let health = check_health(&service);
    assert_eq!(health["stream"]["group"], "fraudd");
    let metrics = service.text("/metrics");
    assert!(metrics.contains("fraudd_lane_partitions{lane=\"rekey\",state=\"live\"} 3"), "{metrics}");
    check_spans(&collector);
    assert!(service.stop(), "it ends well");
    assert_eq!(stage.read("transactions", PARTITIONS[1], "read_committed").len(), PAYMENTS + 1);
}

/// Returns yesterday as the beginning of an instant: every hour of it has passed.
fn day(second: i64) -> String {
    let text = fraudd::domain::Timestamp::from_seconds(second - 86_400).to_string();
    text.split_once('T').map(|(day, _)| format!("{day}T")).expect("an instant")
}

fn check_moved(moved: &[Found], second: i64) {
    let mut by_id = BTreeMap::new();
    for record in moved {
        let payment = record.json();
        let number: usize = payment["id"].as_str().and_then(|id| id[2..].parse().ok()).expect("a payment");
        assert!(by_id.insert(number, record).is_none(), "p-{number} came twice");
        assert_eq!(record.value, crate::payment(number, second).into_bytes(), "as it was");
        assert_eq!(record.key, payment["owner"].as_str().expect("an owner").as_bytes());
        let partition = Partitioner::Murmur2.partition(&record.key, 4);
        assert_eq!(i32::try_from(partition), Ok(record.partition), "where its key belongs");
        assert_eq!(record.told("traceparent").as_bytes(), TRACE);
    }
    assert_eq!(by_id.len(), PAYMENTS);
    // Of one source partition and one key, order is kept.
    let mut last = BTreeMap::new();
    for record in moved {
        let number: usize = record.json()["id"].as_str().and_then(|id| id[2..].parse().ok()).expect("a payment");
        let before = last.insert((record.key.clone(), number % 3), number);
        assert!(before.is_none_or(|before| before < number), "{before:?} before {number}");
    }
}

fn check_dead(dead: &[Found]) {
    assert_eq!(dead.len(), 3);
    for letter in dead {
        assert_eq!((letter.told("fraudd-dead-topic"), letter.told("fraudd-dead-partition")), (SOURCE, "2"));
        assert_eq!((letter.told("fraudd-dead-reason"), letter.partition), ("malformed_json", 2));
    }
}

/// A letter that is sent again goes to the topic it came from, and is re-keyed or dies there again.
fn check_replay(stage: &Stage) {
    let replayed = stage.command(&["dead", "replay"]).output().expect("the binary");
    let said = String::from_utf8_lossy(&replayed.stderr);
    assert!(replayed.status.success() && said.contains("3 sent again"), "{said}");
    let dead = stage.committed("transactions.dead", 6);
    let again: Vec<_> = dead.iter().filter(|letter| letter.told("fraudd-dead-attempt") == "2").collect();
    assert_eq!((dead.len(), again.len()), (6, 3));
    assert!(again.iter().all(|letter| letter.told("fraudd-dead-topic") == SOURCE));
}

fn check_scores(scores: &[Found], rest: &Value) {
    let ids: BTreeSet<String> =
        scores.iter().map(|score| score.json()["transaction_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!((ids.len(), scores.len()), (PAYMENTS + 1, PAYMENTS + 1), "each once");
    for score in scores {
        let decision = score.json();
        if decision["transaction_id"] == "t-7" {
            assert_eq!(decision["trace_id"], rest["trace_id"], "the answer that REST gave");
            continue;
        }
        let trace = decision["trace_id"].as_str().expect("a trace");
        assert!(!TRACE.windows(32).any(|part| part == trace.as_bytes()), "a trace of our own");
        assert!(score.told("traceparent").starts_with(&format!("00-{trace}-")), "{:?}", score.told("traceparent"));
    }
}

fn check_spans(collector: &Collector) {
    for name in ["process transactions", "messaging.kafka.offset", "messaging.destination.partition.id"] {
        collector.wait_for(name.as_bytes());
    }
    // The sender's span, as bytes: in a link, and nowhere as a parent, for the trace beside it is another.
    let sender = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(collector.count(&sender) > 0, "linked");
    let spans = collector.count(b"process transactions");
    assert!(collector.count(&sender) <= spans, "one link a record, and no span of the sender's trace");
}

fn check_health(service: &Service) -> Value {
    let deadline = Moment::now().after(PATIENCE);
    loop {
        let health = service.get("/v1/health").1;
        let stream = &health["stream"];
        let lane = |name: &str| stream["lanes"].as_array()?.iter().find(|lane| lane["lane"] == name).cloned();
        let lives = |name: &str| lane(name).and_then(|lane| lane["live"].as_array().map(Vec::len));
        let is_whole = lives("0") == Some(4) && lives("rekey") == Some(3) && stream["outbox"]["waiting"] == 0;
        if is_whole && lane("rekey").is_some_and(|lane| lane["state"] == "running") {
            assert_eq!(stream["outbox"]["age_seconds"].as_f64(), Some(0.0), "{health}");
            assert!(stream["watermark_lag_seconds"].as_f64().is_some_and(|lag| lag > 0.0), "{health}");
            return health;
        }
        assert!(!deadline.has_passed(), "{health}");
    }
}

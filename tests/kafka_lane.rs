//! A lane against a real Kafka: what the group does to its members, what a commit costs, and that everything is
//! counted once. Needs a broker: `FRAUDD_KAFKA_BROKERS=127.0.0.1:9092`; says so when there is none.

#![expect(clippy::print_stdout, reason = "what was skipped or measured is said")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fraudd::edge::kafka::lane::{
    Assigned, Broker, Cluster, Committed, Event, Fault, Fetched, Lag, Lane, NextOffset, Options, Output, Restored,
    Sink, Source, Start, State, Status, Topics, Work, run,
};
use fraudd::runtime::clock::{Clock, Moment};
use fraudd::tasks::{self, Shutdown};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

const PARTITIONS: i32 = 6;
/// In the order of [`Sink::ALL`]; the last is for lanes that re-key.
const SINKS: [&str; 7] = ["scores", "alerts", "features", "dead", "late", "state", "rekeyed"];

/// The brokers to test with.
fn brokers(test: &str) -> Option<String> {
    let brokers = std::env::var("FRAUDD_KAFKA_BROKERS").ok().filter(|text| !text.is_empty());
    if brokers.is_none() {
        println!("skipped: {test} needs a Kafka broker in FRAUDD_KAFKA_BROKERS");
    }
    brokers
}

/// One test's topics and group.
struct Stage {
    brokers: String,
    name: String,
}

impl Stage {
    fn new(brokers: String, name: &str) -> Self {
        let millis = Clock::system().now().micros() / 1_000;
        let stage = Self { brokers, name: format!("{name}-{millis}") };
        let admin: AdminClient<DefaultClientContext> = stage.config().create().expect("an admin client");
        let names: Vec<String> =
            ["transactions", "labels"].iter().chain(&SINKS).map(|topic| stage.topic(topic)).collect();
        let topics: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("topics");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        stage
    }

    fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.name)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    fn cluster(&self, instance: usize) -> Cluster {
        let mut consumer = self.config();
        consumer
            .set("group.id", &self.name)
            .set("group.instance.id", format!("{}-{instance}", self.name))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "500")
            .set("max.poll.interval.ms", "60000")
            .set("fetch.wait.max.ms", "10")
            .set("fetch.queue.backoff.ms", "5")
            .set("statistics.interval.ms", "1000");
        let mut producer = self.config();
        producer
            .set("transactional.id", format!("{}-{instance}", self.name))
            .set("transaction.timeout.ms", "10000")
            .set("message.timeout.ms", "8000")
            .set("acks", "all")
            .set("linger.ms", "0");
        let topics = Topics {
            transactions: self.topic("transactions"),
            labels: Some(self.topic("labels")),
            sinks: SINKS.map(|sink| self.topic(sink)),
        };
        Cluster::new(instance, topics, consumer, producer)
    }

    fn lane(&self, instance: usize, life: u64, seen: &Arc<Mutex<Seen>>) -> Lane<Spy, Desk> {
        let (options, spy, desk) = self.parts(instance, life, seen);
        Lane::new(options, spy, desk, Arc::new(Status::new(instance)))
    }

    /// Counts the records of both topics that are not committed yet.
    fn lag(&self) -> i64 {
        let consumer: BaseConsumer = self.config().set("group.id", &self.name).create().expect("a consumer");
        let wait = Duration::from_secs(10);
        let mut lag = 0;
        for topic in [self.topic("transactions"), self.topic("labels")] {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&topic, 0, PARTITIONS - 1);
            let Ok(list) = consumer.committed_offsets(list, wait) else { return i64::MAX };
            for place in list.elements() {
                let Ok((_, end)) = consumer.fetch_watermarks(&topic, place.partition(), wait) else { return i64::MAX };
                let at = if let Offset::Offset(offset) = place.offset() { offset } else { 0 };
                lag += end - at;
            }
        }
        lag
    }

    fn parts(&self, instance: usize, life: u64, seen: &Arc<Mutex<Seen>>) -> (Options, Spy, Desk) {
        let options = Options { index: instance, name: format!("l{instance}"), seed: life, ..Options::default() };
        let spy = Spy { inner: self.cluster(instance), seen: Arc::clone(seen) };
        let desk = Desk { states: BTreeMap::new(), ready: Vec::new(), seen: Arc::clone(seen), decided: None };
        (options, spy, desk)
    }

    fn produce(&self, records: std::ops::Range<u64>) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            self.config().set("linger.ms", "5").set("enable.idempotence", "true").create().expect("a producer");
        for id in records {
            let partition = i32::try_from(id % 6).expect("small");
            let payload = id.to_le_bytes();
            let topic = self.topic(if id % 10 == 3 { "labels" } else { "transactions" });
            let record: BaseRecord<'_, [u8], [u8]> =
                BaseRecord::to(&topic).partition(partition).key(&payload[..1]).payload(&payload);
            producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        }
        producer.flush(Duration::from_mins(2)).expect("everything sent");
    }

    /// Reads a topic from its beginning to its end, as `read_committed`.
    fn read(&self, topic: &str) -> Vec<(i32, u64)> {
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", format!("{}-check", self.name))
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(&self.topic(topic), partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("assigned");
        let (mut found, mut ends) = (Vec::new(), BTreeSet::new());
        while ends.len() < 6 {
            match consumer.poll(Duration::from_secs(20)).expect("an end of each partition") {
                Ok(message) => {
                    let payload = message.payload().unwrap_or_default();
                    found.push((message.partition(), u64::from_le_bytes(payload.try_into().expect("eight bytes"))));
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => drop(ends.insert(partition)),
                Err(error) => panic!("{error}"),
            }
        }
        found
    }

    /// Every transaction has one score, in the order of its partition.
    fn check(&self, records: std::ops::Range<u64>) {
        let scores = self.read("scores");
        let expected: Vec<u64> = records.filter(|id| id % 10 != 3).collect();
        assert_eq!(scores.len(), expected.len(), "each once");
        for partition in 0..PARTITIONS {
            let of = |id: &u64| i32::try_from(id % 6) == Ok(partition);
            let ids: Vec<u64> = scores.iter().filter(|(at, _)| *at == partition).map(|(_, id)| *id).collect();
            let expected: Vec<u64> = expected.iter().copied().filter(of).collect();
            let differs = ids.iter().zip(&expected).position(|(id, expected)| id != expected);
            assert!(differs.is_none() && ids.len() == expected.len(), "partition {partition}: place {differs:?}");
        }
    }
}

/// What was seen of all lanes of a test.
#[derive(Default)]
struct Seen {
    committed: usize,
    publish_ms: Vec<f64>,
    empty_assignments: usize,
    assigned: Vec<Vec<i32>>,
    revoked: usize,
    faults: Vec<String>,
    lag: u64,
}

/// Passes every call on and notes the events.
struct Spy {
    inner: Cluster,
    seen: Arc<Mutex<Seen>>,
}

impl Spy {
    fn note<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &result {
            self.seen.lock().expect("a lock").faults.push(fault.to_string());
        }
        result
    }
}

impl Broker for Spy {
    fn now(&self) -> Duration {
        self.inner.now()
    }
    fn poll(&mut self, wait: Duration) -> Event {
        let event = self.inner.poll(wait);
        let mut seen = self.seen.lock().expect("a lock");
        match &event {
            Event::Assigned(partitions) if partitions.is_empty() => seen.empty_assignments += 1,
            Event::Assigned(partitions) => seen.assigned.push(partitions.clone()),
            Event::Revoked { .. } => seen.revoked += 1,
            Event::Fault(fault) => seen.faults.push(fault.to_string()),
            Event::Record(_) | Event::Idle => {}
        }
        seen.lag = self.inner.lag().records;
        drop(seen);
        event
    }
    fn places(&mut self, partitions: &[i32]) -> Result<Vec<Assigned>, Fault> {
        let result = self.inner.places(partitions);
        self.note(result)
    }
    fn committed(&mut self, partitions: &[i32]) -> Result<Vec<(i32, Option<Committed>)>, Fault> {
        let result = self.inner.committed(partitions);
        self.note(result)
    }
    fn start(&mut self, starts: &[Start]) -> Result<(), Fault> {
        let result = self.inner.start(starts);
        self.note(result)
    }
    fn pause(&mut self) {
        self.inner.pause();
    }
    fn resume(&mut self) {
        self.inner.resume();
    }
    fn begin(&mut self) -> Result<(), Fault> {
        let result = self.inner.begin();
        self.note(result)
    }
    fn produce(&mut self, output: &Output) -> Result<(), Fault> {
        let result = self.inner.produce(output);
        self.note(result)
    }
    fn flush(&mut self, wait: Duration) -> Result<(), Fault> {
        let result = self.inner.flush(wait);
        self.note(result)
    }
    fn offsets(&mut self, offsets: &[NextOffset], token: &str, wait: Duration) -> Result<(), Fault> {
        let result = self.inner.offsets(offsets, token, wait);
        self.note(result)
    }
    fn commit(&mut self, wait: Duration) -> Result<(), Fault> {
        let result = self.inner.commit(wait);
        self.note(result)
    }
    fn abort(&mut self, wait: Duration) -> Result<(), Fault> {
        let result = self.inner.abort(wait);
        self.note(result)
    }
    fn rebuild(&mut self, wait: Duration) -> Result<(), Fault> {
        let result = self.inner.rebuild(wait);
        self.note(result)
    }
    fn reopen(&mut self) -> Result<(), Fault> {
        let result = self.inner.reopen();
        self.note(result)
    }
    fn lag(&self) -> Lag {
        self.inner.lag()
    }
    fn close(&mut self, wait: Duration) {
        self.inner.close(wait);
    }
}

/// Passes each transaction on as a score, an alert and a feature row; its state is the next offsets.
struct Desk {
    states: BTreeMap<i32, [i64; 2]>,
    ready: Vec<Restored>,
    seen: Arc<Mutex<Seen>>,
    decided: Option<Moment>,
}

struct Part {
    next: [i64; 2],
    payloads: Vec<Bytes>,
}

impl Work for Desk {
    type Batch = BTreeMap<i32, Part>;

    fn assigned(&mut self, partitions: Vec<Assigned>) {
        for Assigned { partition, transactions, labels } in partitions {
            let next = |place: fraudd::edge::kafka::lane::Place| {
                place.committed.map_or(place.earliest, |committed| committed.offset)
            };
            if let Some(committed) = &transactions.committed {
                assert_eq!(committed.metadata, format!("p{partition}"), "metadata comes back without the token");
            }
            let [transactions, labels] = [next(transactions), next(labels)];
            self.states.insert(partition, [transactions, labels]);
            self.ready.push(Restored::Ready(Start { partition, transactions, labels }));
        }
    }

    fn restored(&mut self) -> Vec<Restored> {
        std::mem::take(&mut self.ready)
    }

    fn revoked(&mut self, partitions: &[i32], _: bool) {
        self.states.retain(|partition, _| !partitions.contains(partition));
    }

    fn has_room(&self) -> bool {
        true
    }

    fn decide(&mut self, records: Vec<Fetched>) -> Self::Batch {
        self.decided = Some(Moment::now());
        let mut batch = BTreeMap::new();
        for record in records {
            let next = self.states.get_mut(&record.partition).expect("an owned partition");
            assert!(record.offset >= next[record.source as usize], "in order");
            next[record.source as usize] = record.offset + 1;
            let part = batch.entry(record.partition).or_insert_with(|| Part { next: *next, payloads: Vec::new() });
            part.next = *next;
            if record.source == Source::Transactions {
                part.payloads.extend(record.payload);
            }
        }
        batch
    }

    fn shed(&mut self, batch: &mut Self::Batch, partitions: &[i32]) {
        batch.retain(|partition, _| !partitions.contains(partition));
    }

    fn is_empty(&self, batch: &Self::Batch) -> bool {
        batch.is_empty()
    }

    fn emit(&self, batch: &Self::Batch, to: &mut dyn FnMut(&Output) -> Result<(), Fault>) -> Result<(), Fault> {
        for (partition, part) in batch {
            for payload in &part.payloads {
                for sink in [Sink::Scores, Sink::Alerts, Sink::Features] {
                    to(&output(sink, *partition, payload.clone()))?;
                }
            }
            to(&output(Sink::State, *partition, Bytes::from_static(b"statestate")))?;
        }
        Ok(())
    }

    fn offsets(&self, batch: &Self::Batch) -> Vec<NextOffset> {
        let next = |source, partition: &i32, part: &Part| NextOffset {
            source,
            partition: *partition,
            offset: part.next[source as usize],
            watermark: None,
            metadata: format!("p{partition}"),
        };
        let both =
            |(partition, part)| [next(Source::Transactions, partition, part), next(Source::Labels, partition, part)];
        batch.iter().flat_map(both).collect()
    }

    fn committed(&mut self, batch: Self::Batch) {
        let mut seen = self.seen.lock().expect("a lock");
        seen.committed += batch.values().map(|part| part.payloads.len()).sum::<usize>();
        let took = self.decided.take().map_or(0.0, |decided| decided.elapsed().as_secs_f64() * 1e3);
        seen.publish_ms.push(took);
    }

    fn halt(&self) -> Option<String> {
        None
    }
}

fn output(sink: Sink, partition: i32, payload: Bytes) -> Output {
    Output { sink, partition, key: None, payload: Some(payload), headers: Vec::new(), timestamp_ms: None }
}

/// Steps the lanes in turn until the condition holds.
fn until(lanes: &mut [&mut Lane<Spy, Desk>], what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Moment::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(90), "{what}: not within 90 s");
        for lane in lanes.iter_mut() {
            lane.step();
        }
    }
    started.elapsed()
}

fn finish(lane: &mut Lane<Spy, Desk>) {
    lane.drain();
    while lane.step() {}
}

/// Runs two lanes on their threads for `FRAUDD_KAFKA_SECONDS`, during which somebody may kill brokers.
#[test]
fn a_soak_counts_once() {
    let Some(brokers) = brokers("a_soak_counts_once") else { return };
    let seconds: u64 = std::env::var("FRAUDD_KAFKA_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let stage = Arc::new(Stage::new(brokers, "soak"));
    let shutdown = Shutdown::default();
    let seen: [Arc<Mutex<Seen>>; 2] = Default::default();
    let statuses = [Arc::new(Status::new(0)), Arc::new(Status::new(1))];
    let thread = |index: usize| {
        let (stage, seen) = (Arc::clone(&stage), Arc::clone(&seen[index]));
        let (status, shutdown) = (Arc::clone(&statuses[index]), shutdown.clone());
        let mut life = 0;
        let make = move || {
            life += 1;
            stage.parts(index, life, &seen)
        };
        tasks::thread("lane", move || run(make, &status, &shutdown)).expect("a thread")
    };
    let threads = [0, 1].map(thread);
    let until = Moment::now().after(Duration::from_secs(seconds));
    let mut records = 0;
    while !until.has_passed() {
        stage.produce(records..records + 300);
        records += 300;
        let pause = Moment::now().after(Duration::from_millis(100));
        while !pause.has_passed() {
            std::thread::park_timeout(pause.remaining());
        }
    }
    let settled = Moment::now().after(Duration::from_secs(90));
    while stage.lag() > 0 {
        assert!(!settled.has_passed(), "not consumed: {:?}", statuses.each_ref().map(|status| status.shown()));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(statuses.iter().all(|status| status.is_ready() && status.quiet_for() < Duration::from_secs(5)));
    shutdown.ask();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert!(statuses.iter().all(|status| status.shown().state == State::Stopped));
    for seen in &seen {
        let seen = seen.lock().expect("a lock");
        let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
        seen.faults.iter().for_each(|fault| *faults.entry(fault).or_default() += 1);
        println!("{} committed, {:?}, revoked {}, faults {faults:#?}", seen.committed, seen.assigned, seen.revoked);
    }
    stage.check(0..records);
}

#[test]
fn a_commit_costs_milliseconds() {
    let Some(brokers) = brokers("a_commit_costs_milliseconds") else { return };
    let stage = Stage::new(brokers, "cost");
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut lane = stage.lane(0, 1, &seen);
    stage.produce(0..40_000);
    let took = until(&mut [&mut lane], "all committed", || seen.lock().expect("a lock").committed == 36_000);
    finish(&mut lane);
    let mut seen = seen.lock().expect("a lock");
    seen.publish_ms.sort_by(f64::total_cmp);
    let at = |percent: usize| seen.publish_ms[seen.publish_ms.len() * percent / 100];
    println!(
        "{} batches in {took:?}; decide to committed p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms",
        seen.publish_ms.len(),
        at(50),
        at(90),
        at(99)
    );
    assert!(at(50) < 90.0, "the 100 ms floor of the wrapper's flush is back");
    drop(seen);
    stage.check(0..40_000);
}

#[test]
fn members_come_and_go_and_everything_counts_once() {
    let Some(brokers) = brokers("members_come_and_go_and_everything_counts_once") else { return };
    let stage = Stage::new(brokers, "group");
    let seen: [Arc<Mutex<Seen>>; 3] = Default::default();
    let committed = || seen.iter().map(|seen| seen.lock().expect("a lock").committed).sum::<usize>();
    let assigned = |at: usize| seen[at].lock().expect("a lock").assigned.clone();
    let mut first = stage.lane(0, 1, &seen[0]);
    stage.produce(0..3_000);
    let took = until(&mut [&mut first], "the first takes all", || committed() == 2_700);
    println!("first: {took:?}, {:?}", assigned(0));

    // A second member: some partitions move, with their labels, while records keep coming.
    let mut second = stage.lane(1, 1, &seen[1]);
    stage.produce(3_000..6_000);
    until(&mut [&mut first, &mut second], "the second has partitions", || !assigned(1).is_empty());
    stage.produce(6_000..9_000);
    until(&mut [&mut first, &mut second], "both", || committed() == 8_100);
    let empty = seen[0].lock().expect("a lock").empty_assignments;
    println!("second: {:?}; the first saw {empty} empty assignments", assigned(1));
    assert!(empty > 0, "an empty cooperative assignment reaches the callback");

    // A static member restarts: it gets the same partitions at once, and the other one notices nothing.
    finish(&mut second);
    drop(second);
    let (moves, before) = (seen[0].lock().expect("a lock").assigned.len(), assigned(1));
    let mut second = stage.lane(1, 2, &seen[1]);
    stage.produce(9_000..12_000);
    let took = until(&mut [&mut first, &mut second], "after the restart", || committed() == 10_800);
    println!("restart: all committed after {took:?}, {:?}", assigned(1));
    let union: BTreeSet<i32> = before.concat().into_iter().collect();
    let again: BTreeSet<i32> = assigned(1)[before.len()..].concat().into_iter().collect();
    assert_eq!(union, again, "the same partitions");
    assert_eq!(seen[0].lock().expect("a lock").assigned.len(), moves, "no rebalance for the other");

    // A zombie: another process takes the name of the second, which stops mid-batch and then goes on.
    stage.produce(12_000..15_000);
    for _ in 0..6 {
        second.step();
    }
    let mut heir = stage.lane(1, 3, &seen[2]);
    let took = until(&mut [&mut first, &mut heir], "the heir goes on", || !assigned(2).is_empty());
    println!("heir has {:?} after {took:?}", assigned(2));
    let done = || seen[1].lock().expect("a lock").faults.iter().any(|fault| fault.contains("fenced"));
    until(&mut [&mut first, &mut heir, &mut second], "the zombie is told", done);
    drop(second);
    until(&mut [&mut first, &mut heir], "all", || committed() >= 13_500);
    println!("zombie: {:?}", seen[1].lock().expect("a lock").faults);
    finish(&mut first);
    finish(&mut heir);
    stage.check(0..15_000);
}

//! What the client library calls back: the group's news with the generation it belongs to, deliveries that failed,
//! and statistics.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::bindings::{
    rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_generation_id,
};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, Statistics, TopicPartitionList};

use super::Topics;
use super::classify;
use crate::edge::kafka::lane::broker::{Event, Lag};
use crate::edge::kafka::lane::fault::Fault;
use crate::runtime::clock::Clock;
use crate::telemetry::stream_lane::{ClientSaid, LaneLag};

/// News of the group, with the generation that was in force when it was told.
pub(super) struct News {
    pub(super) event: Event,
    pub(super) generation: Option<ConsumerGroupMetadata>,
}

/// Listens to the consumer. Its callbacks run on the lane's thread, inside its polls; only a close has another.
pub(super) struct Ear {
    index: usize,
    topics: Arc<Topics>,
    news: Mutex<VecDeque<News>>,
    /// Partitions that are read; the client knows of no others.
    started: Mutex<BTreeSet<i32>>,
    lag: Mutex<Lag>,
    /// Timestamp of the newest record handed out, in milliseconds.
    pub(super) newest_ms: AtomicI64,
}

impl Ear {
    pub(super) fn new(index: usize, topics: Arc<Topics>) -> Self {
        Self {
            index,
            topics,
            news: Mutex::default(),
            started: Mutex::default(),
            lag: Mutex::default(),
            newest_ms: AtomicI64::new(0),
        }
    }

    pub(super) fn next(&self) -> Option<News> {
        self.news.lock().pop_front()
    }

    pub(super) fn lag(&self) -> Lag {
        *self.lag.lock()
    }

    pub(super) fn begin(&self, partitions: impl Iterator<Item = i32>) {
        self.started.lock().extend(partitions);
    }

    /// Lists what is read, of every topic.
    pub(super) fn started(&self) -> TopicPartitionList {
        self.places(&self.started.lock().iter().copied().collect::<Vec<_>>())
    }

    fn places(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            for (_, topic) in self.topics.read() {
                list.add_partition(topic, *partition);
            }
        }
        list
    }

    /// Lets go: of what is read, the client is told for every topic; of the rest it knows nothing.
    fn let_go(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) -> Result<(), KafkaError> {
        let mut started = self.started.lock();
        let read: Vec<i32> = partitions.iter().copied().filter(|partition| started.remove(partition)).collect();
        consumer.incremental_unassign(&self.places(&read))
    }
}

/// Takes down who this member is. None when it is nobody right now: offsets sent without a generation would not
/// be checked by the broker at all.
fn generation(consumer: &BaseConsumer<Ear>) -> Option<ConsumerGroupMetadata> {
    let metadata = consumer.group_metadata()?;
    let client = consumer.client().native_ptr();
    #[expect(unsafe_code, reason = "the safe wrapper does not show the number of the generation")]
    // SAFETY: the client lives as long as the consumer, and what it hands out is ours to destroy, once.
    let number = unsafe {
        let native = rd_kafka_consumer_group_metadata(client);
        if native.is_null() {
            return None;
        }
        let number = rd_kafka_consumer_group_metadata_generation_id(native);
        rd_kafka_consumer_group_metadata_destroy(native);
        number
    };
    (number >= 0).then_some(metadata)
}

/// Hands the library's own lines on.
fn log(level: RDKafkaLogLevel, subject: &str, text: &str) {
    let is_warning = (level as i32) <= (RDKafkaLogLevel::Warning as i32);
    ClientSaid { is_warning, subject, text }.emit();
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, text: &str) {
        log(level, subject, text);
    }

    fn stats(&self, statistics: Statistics) {
        let mut lag = Lag::default();
        let started = self.started.lock().clone();
        for (_, topic) in self.topics.read() {
            let Some(topic) = statistics.topics.get(topic) else { continue };
            for (number, partition) in topic.partitions.iter().filter(|(number, _)| started.contains(number)) {
                // Markers count as records here, so a lag of one or two may mean none.
                let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                let at = if partition.app_offset >= 0 { partition.app_offset } else { partition.next_offset };
                let left = u64::try_from(end - at).unwrap_or(0);
                lag.records += left;
                lag.records_max = lag.records_max.max(left);
                debug_assert!(*number >= 0);
            }
        }
        *self.lag.lock() = lag;
        let newest = self.newest_ms.load(Ordering::Relaxed);
        let age_ms = Clock::system().now().micros() / 1_000 - newest;
        let is_behind = lag.records > 0 && newest > 0;
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        let windows = statistics.brokers.values().filter_map(|broker| broker.rtt.as_ref());
        let micros = windows.map(|window| window.avg).max().unwrap_or(0);
        LaneLag {
            index: self.index,
            records: lag.records,
            age: if is_behind { age } else { Duration::ZERO },
            round_trip: Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
        }
        .emit();
    }

    fn error(&self, _: KafkaError, _: &str) {
        // The poll hands it out too.
    }
}

impl ConsumerContext for Ear {
    /// Partitions that come are not given to the client yet: it gets them when their state is restored. Those that go
    /// are taken from it here, together with the same partitions of `labels`, which the group knows nothing of.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // Taken down first: once the client has its answer, it may join again at any time.
        let generation = generation(consumer);
        let is_lost = consumer.assignment_lost();
        let partitions: Vec<i32> =
            list.elements_for_topic(&self.topics.transactions).iter().map(TopicPartitionListElem::partition).collect();
        let (event, result) = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            (Event::Assigned(partitions), consumer.incremental_assign(&TopicPartitionList::new()))
        } else {
            let result = self.let_go(consumer, &partitions);
            (Event::Revoked { partitions, is_lost }, result)
        };
        let generation = generation.filter(|_| !is_lost);
        let mut news = self.news.lock();
        news.push_back(News { event, generation });
        if let Err(error) = result {
            let event = Event::Fault(classify::of_consumer("rebalance", &error));
            news.push_back(News { event, generation: None });
        }
    }
}

/// Keeps the first delivery that failed since the transaction began.
#[derive(Default)]
pub(super) struct Deliveries {
    failed: Mutex<Option<Fault>>,
}

impl Deliveries {
    pub(super) fn take(&self) -> Option<Fault> {
        self.failed.lock().take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, text: &str) {
        log(level, subject, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientSaid { is_warning: true, subject: "producer", text: &format!("{error}: {reason}") }.emit();
    }

    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.lock().get_or_insert_with(|| classify::of_delivery(error));
        }
    }
}

/// Builds a list of topics at the given offsets.
pub(super) fn at_offsets<'a>(
    offsets: impl Iterator<Item = (&'a str, i32, i64)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}

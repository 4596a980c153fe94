//! The real broker: librdkafka's consumer and transactional producer, called the way that is exact and fast.
//!
//! - The group assigns `transactions` only; a partition is given to the client when its state is restored, together
//!   with the same one of `labels`, at explicit offsets. What is not started is not fetched.
//! - Before the offsets are sent, deliveries are awaited with `rd_kafka_flush`, a condition variable. The wrapper's own
//!   flush polls for 100 ms and would be the latency of every commit.
//! - What is queued of a partition never fills more than one request: the client asks without sleeping for the answer to
//!   the first one while it has records for a second.
//! - A new producer asks again at once while its predecessor's transaction is being ended; by itself the client would
//!   wait half a second.
//! - The generation is that of the last event handed out, taken down inside the group's callback.

mod classify;
mod contexts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rdkafka::bindings::rd_kafka_flush;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use self::contexts::{Deliveries, Ear, News, at_offsets};
use super::broker::{Broker, Event, Lag};
use super::fault::{Class, Fault};
use super::record::{Assigned, Committed, Fetched, Headers, NextOffset, Output, Place, Sink, Source, Start};
use crate::edge::kafka::client;
use crate::edge::kafka::headers::{self, NamedValue};
use crate::runtime::clock::Moment;
use crate::tasks;
use crate::telemetry::stream_lane::ClientStuck;

/// How long the broker may take to tell where partitions stand, before the lane serves its events again.
const LOOK_UP_WAIT: Duration = Duration::from_secs(2);
/// After how long a new producer asks again whether its predecessor's transaction has ended.
const SETTLE_AGAIN: Duration = Duration::from_millis(40);
/// How long to wait until the broker has taken a request that is full.
const REQUEST_WAIT: Duration = Duration::from_secs(1);
/// What a record takes in a request beside its texts, at most.
const RECORD_LEN_MIN: usize = 64;
/// How long a client may take to close before it is left to itself.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The names of a lane's topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Transactions to decide, or to re-key.
    pub transactions: String,
    /// Labels of transactions; a re-key lane reads none.
    pub labels: Option<String>,
    /// The outputs, in the order of [`Sink::ALL`].
    pub sinks: [String; Sink::ALL.len()],
}

impl Topics {
    fn source(&self, source: Source) -> Option<&str> {
        match source {
            Source::Transactions => Some(&self.transactions),
            Source::Labels => self.labels.as_deref(),
        }
    }

    /// Lists the topics that are read, each with what it is.
    fn read(&self) -> impl Iterator<Item = (Source, &str)> {
        [Source::Transactions, Source::Labels].into_iter().filter_map(|source| Some((source, self.source(source)?)))
    }

    fn sink(&self, sink: Sink) -> &str {
        &self.sinks[sink as usize]
    }
}

/// A lane's clients of a Kafka cluster.
pub struct Cluster {
    index: usize,
    topics: Arc<Topics>,
    consumer_config: ClientConfig,
    producer_config: ClientConfig,
    consumer: Option<BaseConsumer<Ear>>,
    producer: Option<ThreadedProducer<Deliveries>>,
    /// Whether the producer is new and still settles what its predecessor left.
    is_settling: bool,
    generation: Option<ConsumerGroupMetadata>,
    /// Bytes queued since deliveries were last awaited.
    queued: BTreeMap<(Sink, i32), usize>,
    origin: Moment,
}

impl Cluster {
    /// Takes the configurations of the clients; they are made by the lane's first steps.
    #[must_use]
    pub fn new(index: usize, topics: Topics, consumer: ClientConfig, producer: ClientConfig) -> Self {
        Self {
            index,
            topics: Arc::new(topics),
            consumer_config: consumer,
            producer_config: producer,
            consumer: None,
            producer: None,
            is_settling: false,
            generation: None,
            queued: BTreeMap::new(),
            origin: Moment::now(),
        }
    }

    fn consumer(&self, call: &'static str) -> Result<&BaseConsumer<Ear>, Fault> {
        self.consumer.as_ref().ok_or_else(|| Fault::new(Class::Retriable, call, "no consumer"))
    }

    fn producer(&self, call: &'static str) -> Result<&ThreadedProducer<Deliveries>, Fault> {
        self.producer.as_ref().ok_or_else(|| Fault::new(Class::Fatal, call, "no producer"))
    }

    fn tell(&mut self, News { event, generation }: News) -> Event {
        if !matches!(event, Event::Fault(_)) {
            self.generation = generation;
        }
        event
    }

    /// Reads where one topic is committed, in the order of `partitions`; one that is not read is nowhere.
    fn committed_of(&self, source: Source, partitions: &[i32]) -> Result<Vec<Option<Committed>>, Fault> {
        let consumer = self.consumer("committed")?;
        let Some(topic) = self.topics.source(source) else { return Ok(vec![None; partitions.len()]) };
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
        let fault = |error: KafkaError| classify::of_consumer("committed", &error);
        let list = consumer.committed_offsets(list, LOOK_UP_WAIT).map_err(fault)?;
        let of = |partition: &i32| {
            let Some(place) = list.find_partition(topic, *partition) else { return Ok(None) };
            place.error().map_err(fault)?;
            let Offset::Offset(offset) = place.offset() else { return Ok(None) };
            Ok(Some(Committed::parse(offset, place.metadata())))
        };
        partitions.iter().map(of).collect()
    }

    fn place(&self, source: Source, partition: i32, committed: Option<Committed>) -> Result<Place, Fault> {
        let consumer = self.consumer("watermarks")?;
        let Some(topic) = self.topics.source(source) else {
            return Ok(Place { committed, earliest: 0, latest: 0 });
        };
        let bounds = consumer.fetch_watermarks(topic, partition, LOOK_UP_WAIT);
        let (earliest, latest) = bounds.map_err(|error| classify::of_consumer("watermarks", &error))?;
        Ok(Place { committed, earliest, latest })
    }

    fn fetched(&self, message: &BorrowedMessage<'_>) -> Option<Fetched> {
        let (source, _) = self.topics.read().find(|(_, topic)| *topic == message.topic())?;
        let (key, payload) = (message.key(), message.payload());
        let mut bytes = BytesMut::with_capacity(key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len));
        bytes.put_slice(key.unwrap_or_default());
        let key = key.map(|_| bytes.split().freeze());
        bytes.put_slice(payload.unwrap_or_default());
        let payload = payload.map(|_| bytes.freeze());
        let owned = |(name, value): NamedValue| (name.into(), value.map(Bytes::from));
        let headers: Headers = headers::read(message).into_iter().map(owned).collect();
        let timestamp_ms = message.timestamp().to_millis();
        Some(Fetched {
            source,
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms,
            key,
            payload,
            headers,
        })
    }

    /// Lets go of clients beside the lane: closing one can hang.
    fn drop_beside(&self, clients: impl Send + 'static, wait: Duration) {
        let (done, closed) = sync_channel(1);
        let close = move || {
            drop(clients);
            // Nobody listens any more when it took too long.
            let _ = done.send(());
        };
        if let Err(error) = tasks::thread("lane-close", close) {
            return ClientStuck { index: self.index, text: &error.to_string() }.emit();
        }
        if closed.recv_timeout(wait).is_err() {
            ClientStuck { index: self.index, text: "it does not close in time" }.emit();
        }
    }
}

/// Returns about how many bytes a record takes in a request, and never less.
fn weight(output: &Output) -> usize {
    let text = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = output.headers.iter().map(|(name, value)| name.len() + text(value) + 10).sum();
    RECORD_LEN_MIN + text(&output.key) + text(&output.payload) + headers
}

impl Broker for Cluster {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn poll(&mut self, wait: Duration) -> Event {
        let Some(consumer) = &self.consumer else {
            std::thread::park_timeout(wait);
            return Event::Idle;
        };
        if let Some(news) = consumer.context().next() {
            return self.tell(news);
        }
        // The client counts in milliseconds, and a rounded-down wait would spin.
        let wait = Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX));
        match consumer.poll(wait) {
            Some(Ok(message)) => {
                let Some(record) = self.fetched(&message) else { return Event::Idle };
                if let Some(millis) = record.timestamp_ms {
                    consumer.context().newest_ms.store(millis, Ordering::Relaxed);
                }
                Event::Record(record)
            }
            Some(Err(error)) => Event::Fault(classify::of_consumer("poll", &error)),
            None => match consumer.context().next() {
                Some(news) => self.tell(news),
                None => Event::Idle,
            },
        }
    }

    fn places(&mut self, partitions: &[i32]) -> Result<Vec<Assigned>, Fault> {
        let transactions = self.committed_of(Source::Transactions, partitions)?;
        let labels = self.committed_of(Source::Labels, partitions)?;
        let both = partitions.iter().zip(transactions.into_iter().zip(labels));
        both.map(|(partition, (transactions, labels))| {
            Ok(Assigned {
                partition: *partition,
                transactions: self.place(Source::Transactions, *partition, transactions)?,
                labels: self.place(Source::Labels, *partition, labels)?,
            })
        })
        .collect()
    }

    fn committed(&mut self, partitions: &[i32]) -> Result<Vec<(i32, Option<Committed>)>, Fault> {
        let committed = self.committed_of(Source::Transactions, partitions)?;
        Ok(partitions.iter().copied().zip(committed).collect())
    }

    fn start(&mut self, starts: &[Start]) -> Result<(), Fault> {
        let places = starts.iter().flat_map(|start| {
            self.topics.read().map(|(source, topic)| match source {
                Source::Transactions => (topic, start.partition, start.transactions),
                Source::Labels => (topic, start.partition, start.labels),
            })
        });
        let fault = |error: KafkaError| Fault::new(Class::Fatal, "start", error.to_string());
        let consumer = self.consumer("start")?;
        let list = at_offsets(places).map_err(fault)?;
        consumer.incremental_assign(&list).map_err(fault)?;
        // A partition that went while it was paused is still paused when it comes back: the client keeps that by name.
        consumer.resume(&list).map_err(fault)?;
        consumer.context().begin(starts.iter().map(|start| start.partition));
        Ok(())
    }

    fn pause(&mut self) {
        if let Some(consumer) = &self.consumer {
            // Of partitions that are started nothing can fail here, and of none there is nothing to pause.
            let _ = consumer.pause(&consumer.context().started());
        }
    }

    fn resume(&mut self) {
        if let Some(consumer) = &self.consumer {
            let _ = consumer.resume(&consumer.context().started());
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.queued.clear();
        let producer = self.producer("begin")?;
        producer.client().context().take();
        producer.begin_transaction().map_err(|error| classify::of_producer("begin", &error))
    }

    fn produce(&mut self, output: &Output) -> Result<(), Fault> {
        let (place, len) = ((output.sink, output.partition), weight(output));
        if self.queued.get(&place).is_some_and(|queued| queued + len > client::REQUEST_LEN_MAX) {
            self.flush(REQUEST_WAIT)?;
        }
        *self.queued.entry(place).or_default() += len;
        let producer = self.producer("produce")?;
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(self.topics.sink(output.sink)).partition(output.partition);
        record.key = output.key.as_deref();
        record.payload = output.payload.as_deref();
        record.timestamp = output.timestamp_ms;
        if !output.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(output.headers.len());
            let add = |headers: OwnedHeaders, (key, value): &(compact_str::CompactString, Option<Bytes>)| {
                headers.insert(Header { key, value: value.as_deref() })
            };
            record = record.headers(output.headers.iter().fold(headers, add));
        }
        producer.send(record).map_err(|(error, _)| classify::of_producer("produce", &error))
    }

    fn flush(&mut self, wait: Duration) -> Result<(), Fault> {
        let producer = self.producer("flush")?;
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        #[expect(unsafe_code, reason = "the safe wrapper polls for 100 ms instead of waiting for the deliveries")]
        // SAFETY: the client lives as long as the producer, whose own thread serves the deliveries waited for.
        let code = unsafe { rd_kafka_flush(producer.client().native_ptr(), millis) };
        if let Some(fault) = producer.client().context().take() {
            return Err(fault);
        }
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                self.queued.clear();
                Ok(())
            }
            code => Err(classify::of_producer("flush", &KafkaError::Flush(code.into()))),
        }
    }

    fn offsets(&mut self, offsets: &[NextOffset], token: &str, wait: Duration) -> Result<(), Fault> {
        let Some(generation) = &self.generation else {
            return Err(Fault::new(Class::StaleGeneration, "offsets", "no generation is known"));
        };
        let fault = |error: KafkaError| classify::of_producer("offsets", &error);
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for next in offsets {
            let Some(topic) = self.topics.source(next.source) else { continue };
            let mut place = list.add_partition(topic, next.partition);
            place.set_offset(Offset::Offset(next.offset)).map_err(fault)?;
            place.set_metadata(Committed::text(&next.metadata, token));
        }
        self.producer("offsets")?.send_offsets_to_transaction(&list, generation, wait).map_err(fault)
    }

    fn commit(&mut self, wait: Duration) -> Result<(), Fault> {
        self.producer("commit")?.commit_transaction(wait).map_err(|error| classify::of_producer("commit", &error))
    }

    fn abort(&mut self, wait: Duration) -> Result<(), Fault> {
        self.producer("abort")?.abort_transaction(wait).map_err(|error| classify::of_producer("abort", &error))
    }

    fn rebuild(&mut self, wait: Duration) -> Result<(), Fault> {
        let fault = |error: KafkaError| classify::of_producer("rebuild", &error);
        if !self.is_settling {
            if let Some(producer) = self.producer.take() {
                self.drop_beside(producer, CLOSE_WAIT);
            }
            let made = ThreadedProducer::from_config_and_context(&self.producer_config, Deliveries::default());
            self.producer = Some(made.map_err(fault)?);
        }
        let until = self.now() + wait;
        loop {
            let started = self.now();
            // Called again, it goes on with what it began, and asks at once.
            let result = self.producer("rebuild")?.init_transactions(SETTLE_AGAIN.min(wait)).map_err(fault);
            // Only a retriable error leaves something to go on with.
            self.is_settling = result.as_ref().is_err_and(|fault| fault.class == Class::Retriable);
            let has_waited = self.now().saturating_sub(started) >= SETTLE_AGAIN / 2;
            if !self.is_settling || !has_waited || self.now() >= until {
                return result;
            }
        }
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        self.generation = None;
        if let Some(consumer) = self.consumer.take() {
            self.drop_beside(consumer, CLOSE_WAIT);
        }
        let fault = |error: KafkaError| classify::of_consumer("reopen", &error);
        let ear = Ear::new(self.index, Arc::clone(&self.topics));
        let consumer = BaseConsumer::from_config_and_context(&self.consumer_config, ear).map_err(fault)?;
        consumer.subscribe(&[&self.topics.transactions]).map_err(fault)?;
        self.consumer = Some(consumer);
        Ok(())
    }

    fn lag(&self) -> Lag {
        self.consumer.as_ref().map_or_else(Lag::default, |consumer| consumer.context().lag())
    }

    fn close(&mut self, wait: Duration) {
        let clients = (self.consumer.take(), self.producer.take());
        self.drop_beside(clients, wait);
    }
}

//! The limit: what exactly-once costs before anything is decided.
//!
//! ```text
//! poll a batch ─> begin ─> scores, alerts, features, one state record a partition ─> flush ─> offsets ─> commit
//! ```
//! The outputs are those of a scorer in number, size and headers; only the id in them is the input's. Records are not
//! copied on the way, nothing is parsed but the id. Flushing goes through the C library: rdkafka's own flush
//! polls 100 ms at a time.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::bindings::rd_kafka_flush;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, id_range, whole};
use super::profile::{Mould, Profile};

const IDLE_POLL: Duration = Duration::from_millis(50);
const CALL_WITHIN: Duration = Duration::from_secs(10);
const ABORTS_IN_A_ROW_MAX: u32 = 20;

/// What to copy where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic to read
    #[arg(long)]
    input: String,
    /// The group, which names the transactional id too
    #[arg(long)]
    group: String,
    /// The topic of decisions
    #[arg(long)]
    scores: String,
    /// The topic of alerts
    #[arg(long)]
    alerts: String,
    /// The topic of feature vectors, for a profile that has them
    #[arg(long)]
    features: Option<String>,
    /// The topic of state
    #[arg(long)]
    state: String,
    /// What the outputs look like
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// Records of a batch at most
    #[arg(long, default_value_t = 512)]
    rows_max: usize,
    /// How long a batch waits for more after its first record
    #[arg(long, default_value_t = 5)]
    linger_ms: u64,
}

struct Moulds {
    scores: Mould,
    alerts: Mould,
    features: Option<(String, Mould)>,
}

struct Copy<'a> {
    args: &'a Args,
    profile: Profile,
    moulds: Moulds,
    consumer: &'a BaseConsumer,
    producer: ThreadedProducer<DefaultProducerContext>,
    alerts_due: f64,
    scratch: Vec<u8>,
}

/// Copies until it is ended.
pub(crate) fn run(bootstrap: &str, args: &Args) -> anyhow::Result<()> {
    let profile = Profile::load(&args.profile)?;
    let features = match (&args.features, &profile.features) {
        (Some(topic), Some(template)) => Some((topic.clone(), template.mould()?)),
        _ => None,
    };
    let moulds = Moulds { scores: profile.scores.mould()?, alerts: profile.alerts.mould()?, features };
    let consumer: BaseConsumer = consumer(bootstrap, args).create()?;
    consumer.subscribe(&[&args.input])?;
    let producer: ThreadedProducer<DefaultProducerContext> = producer(bootstrap, args).create()?;
    producer.init_transactions(CALL_WITHIN).context("init_transactions")?;
    let mut copy = Copy { args, profile, moulds, consumer: &consumer, producer, alerts_due: 0.0, scratch: Vec::new() };
    let mut aborts = 0;
    loop {
        let batch = copy.gather()?;
        if batch.is_empty() {
            continue;
        }
        match copy.publish(&batch) {
            Ok(()) => aborts = 0,
            Err(error) => {
                aborts += 1;
                client::tell(&format!("aborting: {error:#}"));
                if aborts == ABORTS_IN_A_ROW_MAX {
                    return Err(error);
                }
                copy.producer.abort_transaction(CALL_WITHIN).context("abort_transaction")?;
                copy.rewind(&batch);
            }
        }
    }
}

fn consumer(bootstrap: &str, args: &Args) -> rdkafka::ClientConfig {
    let mut config = client::reader(bootstrap, &args.group);
    config.set("group.instance.id", format!("{}-0", args.group));
    config.set("partition.assignment.strategy", "cooperative-sticky");
    config.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "1000").set("max.poll.interval.ms", "60000");
    config.set("queued.min.messages", "5000").set("queued.max.messages.kbytes", "16384");
    config
}

fn producer(bootstrap: &str, args: &Args) -> rdkafka::ClientConfig {
    let mut config = client::client(bootstrap);
    config.set("transactional.id", format!("{}-0", args.group));
    config.set("transaction.timeout.ms", "10000").set("message.timeout.ms", "8000");
    config.set("linger.ms", "0").set("compression.type", "lz4").set("batch.size", "1000000");
    config.set("queue.buffering.max.messages", "200000").set("queue.buffering.max.kbytes", "262144");
    config
}

impl<'a> Copy<'a> {
    /// Polls until the batch is full, or its first record has waited long enough and nothing lies ready.
    fn gather(&self) -> anyhow::Result<Vec<BorrowedMessage<'a>>> {
        let mut batch = Vec::new();
        let mut wait = IDLE_POLL;
        let linger = Duration::from_millis(self.args.linger_ms);
        let mut until = None;
        while batch.len() < self.args.rows_max {
            match self.consumer.poll(wait) {
                Some(Ok(record)) => {
                    batch.push(record);
                    let until = *until.get_or_insert_with(|| Instant::now() + linger);
                    wait = until.saturating_duration_since(Instant::now());
                }
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
                Some(Err(error)) => return Err(error).context("poll"),
                None => break,
            }
        }
        Ok(batch)
    }

    fn publish(&mut self, batch: &[BorrowedMessage<'_>]) -> anyhow::Result<()> {
        let group = self.consumer.group_metadata().context("no member of the group")?;
        self.producer.begin_transaction()?;
        // Per partition: the next offset, and how many records are in.
        let mut ends: BTreeMap<i32, (i64, usize)> = BTreeMap::new();
        for record in batch {
            self.emit(record)?;
            let end = ends.entry(record.partition()).or_default();
            *end = (record.offset() + 1, end.1 + 1);
        }
        self.state(batch, &ends)?;
        flush(&self.producer)?;
        let mut offsets = TopicPartitionList::new();
        for (partition, (next, _)) in &ends {
            let mut entry = offsets.add_partition(&self.args.input, *partition);
            entry.set_offset(Offset::Offset(*next))?;
            entry.set_metadata(&self.profile.metadata);
        }
        self.producer.send_offsets_to_transaction(&offsets, &group, CALL_WITHIN)?;
        self.producer.commit_transaction(CALL_WITHIN)?;
        Ok(())
    }

    fn emit(&mut self, record: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        let payload = record.payload().unwrap_or_default();
        let id = id_range(payload).map_or(&b""[..], |range| &payload[range]);
        let key = record.key().unwrap_or_default();
        self.moulds.scores.fill(id, &mut self.scratch);
        let to = BaseRecord::to(&self.args.scores).partition(record.partition()).key(key).payload(&self.scratch);
        self.producer.send(to.headers(self.moulds.scores.headers())).map_err(|(error, _)| error)?;
        self.alerts_due += self.profile.alert_share;
        if self.alerts_due >= 1.0 {
            self.alerts_due -= 1.0;
            self.moulds.alerts.fill(id, &mut self.scratch);
            let to = BaseRecord::to(&self.args.alerts).partition(record.partition()).key(key).payload(&self.scratch);
            self.producer.send(to.headers(self.moulds.alerts.headers())).map_err(|(error, _)| error)?;
        }
        if let Some((topic, mould)) = &self.moulds.features {
            mould.fill(id, &mut self.scratch);
            let to = BaseRecord::to(topic).partition(record.partition()).key(key).payload(&self.scratch);
            self.producer.send(to.headers(mould.headers())).map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// One record a partition, made of input bytes so that it compresses like state.
    fn state(&mut self, batch: &[BorrowedMessage<'_>], ends: &BTreeMap<i32, (i64, usize)>) -> anyhow::Result<()> {
        for (partition, (next, rows)) in ends {
            let length = whole(self.profile.state_bytes_per_row * *rows as f64);
            self.scratch.clear();
            for record in batch.iter().filter(|record| record.partition() == *partition) {
                let payload = record.payload().unwrap_or_default();
                let share = (length / rows.max(&1)).min(payload.len());
                self.scratch.extend_from_slice(&payload[..share]);
            }
            self.scratch.resize(length, b'.');
            let key = next.to_be_bytes();
            let to = BaseRecord::to(&self.args.state).partition(*partition).key(&key).payload(&self.scratch);
            self.producer.send(to).map_err(|(error, _): (KafkaError, _)| error)?;
        }
        Ok(())
    }

    fn rewind(&self, batch: &[BorrowedMessage<'_>]) {
        let mut first: BTreeMap<i32, i64> = BTreeMap::new();
        for record in batch {
            let at = first.entry(record.partition()).or_insert(record.offset());
            *at = record.offset().min(*at);
        }
        for (partition, offset) in first {
            // A partition that went is its new owner's to read.
            if let Err(error) = self.consumer.seek(&self.args.input, partition, Offset::Offset(offset), CALL_WITHIN) {
                client::tell(&format!("partition {partition} is not read again: {error}"));
            }
        }
    }
}

fn flush(producer: &ThreadedProducer<DefaultProducerContext>) -> anyhow::Result<()> {
    let wait = c_int::try_from(CALL_WITHIN.as_millis())?;
    #[expect(unsafe_code, reason = "rdkafka's flush polls 100 ms at a time; the C library's waits on a condition")]
    // SAFETY: the pointer is the live client's own, which `producer` keeps for the length of the call.
    let code = unsafe { rd_kafka_flush(producer.client().native_ptr(), wait) };
    if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        bail!("flush: {code:?}");
    }
    Ok(())
}

//! Appends lines of a file to a topic, keyed and partitioned as producers of transactions do.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::json;

use super::client::{self, partition_of, text_of};

/// What to append where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON Lines
    #[arg(long, value_name = "FILE")]
    pub(crate) lines: PathBuf,
    /// The topic
    #[arg(long)]
    pub(crate) topic: String,
    /// The field whose text is the key
    #[arg(long, default_value = "customer_id")]
    pub(crate) key: String,
    /// How many lines to pass over
    #[arg(long, default_value_t = 0)]
    pub(crate) skip: usize,
    /// How many lines to append at most
    #[arg(long, default_value_t = usize::MAX)]
    pub(crate) count: usize,
    /// Lines a second; 0 appends as fast as it goes
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
}

/// A record to be: payload, key's place in it, partition.
pub(crate) struct Line {
    /// The whole line.
    pub(crate) payload: Vec<u8>,
    /// Its key.
    pub(crate) key: Vec<u8>,
    /// Where the key belongs.
    pub(crate) partition: i32,
}

/// Reads lines and finds their partitions.
pub(crate) fn read(path: &Path, key: &str, skip: usize, count: usize, partitions: i32) -> anyhow::Result<Vec<Line>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut lines = Vec::new();
    for line in BufReader::new(file).split(b'\n').skip(skip).take(count) {
        let payload = line?;
        let key = text_of(&payload, key).with_context(|| format!("a line without {key}"))?.to_vec();
        let partition = partition_of(&key, partitions);
        lines.push(Line { payload, key, partition });
    }
    Ok(lines)
}

/// Returns a producer of input: as durable as the broker can, nothing held back.
pub(crate) fn producer(bootstrap: &str, linger_ms: u32) -> anyhow::Result<ThreadedProducer<DefaultProducerContext>> {
    let mut config = client::client(bootstrap);
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", linger_ms.to_string());
    config.set("compression.type", "lz4").set("queue.buffering.max.messages", "500000");
    Ok(config.create()?)
}

/// Sends one line; waits when the queue is full.
pub(crate) fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    line: &Line,
) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(topic).key(&line.key).payload(&line.payload).partition(line.partition);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Sleeps until `due`, when that is ahead.
pub(crate) fn wait_until(due: Instant) {
    let now = Instant::now();
    if due > now {
        std::thread::sleep(due - now);
    }
}

/// Appends, and prints how many.
pub(crate) fn run(bootstrap: &str, args: &Args) -> anyhow::Result<()> {
    let producer = producer(bootstrap, if args.rate > 0.0 { 0 } else { 20 })?;
    let partitions = {
        let metadata = producer.client().fetch_metadata(Some(&args.topic), client::ANSWER_WITHIN)?;
        i32::try_from(metadata.topics().first().map_or(0, |topic| topic.partitions().len()))?
    };
    let lines = read(&args.lines, &args.key, args.skip, args.count, partitions)?;
    let begun = Instant::now();
    for (at, line) in lines.iter().enumerate() {
        if args.rate > 0.0 {
            wait_until(begun + Duration::from_secs_f64(at as f64 / args.rate));
        }
        send(&producer, &args.topic, line)?;
    }
    producer.flush(Duration::from_mins(2))?;
    client::print(&json!({"records": lines.len(), "seconds": begun.elapsed().as_secs_f64()}))
}

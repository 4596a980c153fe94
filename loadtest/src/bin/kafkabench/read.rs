//! Reads a topic from its first to its last committed record and says what is in it.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::client::{self, id_range};

/// In a decision that was made without the model or with less than its features.
const DEGRADED: &[u8] = b"\"degraded\":true";

/// What to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic
    #[arg(long)]
    topic: String,
    /// Where to write one line of id, outcome, score and partition a record
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 120)]
    within_s: u64,
}

#[derive(serde::Deserialize)]
struct Decision {
    outcome: Option<String>,
    score: Option<f64>,
}

/// Reads, and prints records, bytes, distinct ids and one record as a sample.
pub(crate) fn run(bootstrap: &str, args: &Args) -> anyhow::Result<()> {
    let mut config = client::reader(bootstrap, "kafkabench-read");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create()?;
    let partitions = client::partitions(&consumer, &args.topic)?;
    let mut assigned = TopicPartitionList::new();
    for partition in 0..partitions {
        assigned.add_partition_offset(&args.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assigned)?;
    let mut out = match &args.out {
        Some(path) => Some(BufWriter::new(File::create(path).with_context(|| format!("making {}", path.display()))?)),
        None => None,
    };
    let until = Instant::now() + Duration::from_secs(args.within_s);
    let (mut ended, mut ids, mut sample) = (HashSet::new(), HashSet::new(), None);
    let (mut records, mut bytes, mut header_bytes, mut degraded) = (0_u64, 0_usize, 0_usize, 0_u64);
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    while ended.len() < usize::try_from(partitions)? {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(record)) => {
                let payload = record.payload().unwrap_or_default();
                let headers = headers_of(&record);
                records += 1;
                bytes += payload.len();
                degraded += u64::from(memchr::memmem::find(payload, DEGRADED).is_some());
                header_bytes += headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
                let id = id_range(payload).map_or_else(Vec::new, |range| payload[range].to_vec());
                if let Some(out) = &mut out {
                    let found: Decision = serde_json::from_slice(payload).context("a value that is no decision")?;
                    let outcome = found.outcome.unwrap_or_default();
                    let score = found.score.unwrap_or(f64::NAN);
                    writeln!(out, "{}\t{outcome}\t{score}\t{}", String::from_utf8_lossy(&id), record.partition())?;
                    *outcomes.entry(outcome).or_default() += 1;
                }
                // Not the first: an entity's first decision has more absent than a usual one.
                if sample.is_none() || records == 1000 {
                    sample = Some(json!({"value": String::from_utf8_lossy(payload), "headers": headers}));
                }
                ids.insert(id);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => return Err(error).context("reading"),
            None => {}
        }
        if Instant::now() > until {
            bail!("the end of {} was not reached within {} s", args.topic, args.within_s);
        }
    }
    if let Some(mut out) = out {
        out.flush()?;
    }
    client::print(&json!({
        "records": records, "ids": ids.len(), "bytes": bytes, "header_bytes": header_bytes, "outcomes": outcomes,
        "degraded": degraded, "sample": sample,
    }))
}

fn headers_of(record: &impl Message) -> Vec<(String, String)> {
    let Some(headers) = record.headers() else { return Vec::new() };
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

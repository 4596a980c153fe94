//! End-to-end latency in an open loop.
//!
//! ```text
//! record i is due at start + i / rate ──> topic ──> worker ──> scores ──> read_committed reader: latency = now - due
//! ```
//! One process sends and reads, so both ends have one clock. Latency counts from when a record was *due*, so a
//! stall is charged for all it kept waiting; how late this process itself sent is told beside it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::client::{self, id_range, number_of, whole};
use super::fill::{self, Line};
use super::progress::cpu_seconds;

/// Waits beyond ten minutes count as that.
const MICROS_MAX: u64 = 600_000_000;

/// What to send, and where to look for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON Lines of transactions
    #[arg(long, value_name = "FILE")]
    lines: PathBuf,
    /// How many lines to pass over
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// The topic to send to
    #[arg(long)]
    input: String,
    /// The topic of decisions
    #[arg(long)]
    scores: String,
    /// Records a second
    #[arg(long)]
    rate: f64,
    /// Seconds to send for, the warm-up among them
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Seconds at the start that are not counted
    #[arg(long, default_value_t = 5.0)]
    warm_up: f64,
    /// Seconds to wait for what is missing at the end
    #[arg(long, default_value_t = 20.0)]
    linger: f64,
    /// The worker's process, for its CPU time
    #[arg(long)]
    pid: Option<u32>,
}

struct Sight {
    number: u64,
    at: Instant,
}

/// Sends, reads, and prints what was found.
pub(crate) fn run(bootstrap: &str, args: &Args) -> anyhow::Result<()> {
    let count = whole(args.rate * args.seconds);
    let consumer: BaseConsumer = client::reader(bootstrap, "kafkabench-probe").create()?;
    let partitions = client::partitions(&consumer, &args.input)?;
    let lines = fill::read(&args.lines, "customer_id", args.skip, count, partitions)?;
    let numbers: HashMap<u64, usize> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((number(line)?, at))).collect();
    anyhow::ensure!(numbers.len() == lines.len(), "the lines' ids are not numbered apart");
    let mut assigned = TopicPartitionList::new();
    for partition in 0..client::partitions(&consumer, &args.scores)? {
        assigned.add_partition_offset(&args.scores, partition, Offset::End)?;
    }
    consumer.assign(&assigned)?;
    // Positions are found before anything is sent: an end looked up later would miss what came before.
    settle(&consumer);
    let is_over = AtomicBool::new(false);
    let (sights, seen) = sync_channel(count + 1024);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(&consumer, &sights, &is_over));
        let sent = send(bootstrap, args, &lines);
        let found = match &sent {
            Ok(sent) => collect(args, &numbers, sent, &seen),
            Err(_) => Ok(()),
        };
        is_over.store(true, Ordering::Relaxed);
        let read = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        sent.map(drop)?;
        read?;
        found
    })
}

fn number(line: &Line) -> Option<u64> {
    number_of(&line.payload[id_range(&line.payload)?])
}

fn settle(consumer: &BaseConsumer) {
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        consumer.poll(Duration::from_millis(50));
    }
}

fn read(consumer: &BaseConsumer, sights: &SyncSender<Sight>, is_over: &AtomicBool) -> anyhow::Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        let Some(record) = consumer.poll(Duration::from_millis(20)) else { continue };
        let record = record.context("reading scores")?;
        let at = Instant::now();
        let payload = record.payload().unwrap_or_default();
        if let Some(number) = id_range(payload).and_then(|range| number_of(&payload[range])) {
            // Full means far more records than were sent: the count below says so.
            let _ = sights.try_send(Sight { number, at });
        }
    }
    Ok(())
}

struct Sent {
    begun: Instant,
    late: Histogram<u64>,
    cpu_at_warm: Option<f64>,
    cpu_at_end: Option<f64>,
}

fn send(bootstrap: &str, args: &Args, lines: &[Line]) -> anyhow::Result<Sent> {
    let producer = fill::producer(bootstrap, 0)?;
    producer.client().fetch_metadata(Some(&args.input), client::ANSWER_WITHIN)?;
    let warm = whole(args.rate * args.warm_up);
    let mut late = Histogram::new_with_bounds(1, MICROS_MAX, 3)?;
    let mut cpu_at_warm = None;
    let begun = Instant::now() + Duration::from_millis(200);
    for (at, line) in lines.iter().enumerate() {
        let due = begun + Duration::from_secs_f64(at as f64 / args.rate);
        fill::wait_until(due);
        if at == warm {
            cpu_at_warm = args.pid.map(cpu_seconds).transpose()?;
        }
        late.saturating_record(micros(Instant::now().saturating_duration_since(due)));
        fill::send(&producer, &args.input, line)?;
    }
    let cpu_at_end = args.pid.map(cpu_seconds).transpose()?;
    producer.flush(Duration::from_secs(20))?;
    Ok(Sent { begun, late, cpu_at_warm, cpu_at_end })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Matches what was seen with what was sent; waits for the rest, but not for ever.
fn collect(
    args: &Args,
    numbers: &HashMap<u64, usize>,
    sent: &Sent,
    seen: &std::sync::mpsc::Receiver<Sight>,
) -> anyhow::Result<()> {
    let mut latency = Histogram::<u64>::new_with_bounds(1, MICROS_MAX, 3)?;
    let mut counts = vec![0_u32; numbers.len()];
    let (mut missing, mut unknown) = (numbers.len(), 0_u64);
    let until = Instant::now() + Duration::from_secs_f64(args.linger);
    while missing > 0 && Instant::now() < until {
        let Ok(sight) = seen.recv_timeout(Duration::from_millis(100)) else { continue };
        let Some(at) = numbers.get(&sight.number).copied() else {
            unknown += 1;
            continue;
        };
        counts[at] += 1;
        if counts[at] > 1 {
            continue;
        }
        missing -= 1;
        let after = at as f64 / args.rate;
        if after >= args.warm_up {
            latency.saturating_record(micros(
                sight.at.saturating_duration_since(sent.begun + Duration::from_secs_f64(after)),
            ));
        }
    }
    let doubled = counts.iter().filter(|count| **count > 1).count();
    let ms = |histogram: &Histogram<u64>, quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    let counted = latency.len().max(1) as f64;
    let cpu = sent.cpu_at_end.zip(sent.cpu_at_warm).map(|(end, warm)| end - warm);
    client::print(&json!({
        "sent": numbers.len(), "counted": latency.len(), "missing": missing, "doubled": doubled, "unknown": unknown,
        "p50_ms": ms(&latency, 0.5), "p99_ms": ms(&latency, 0.99), "p999_ms": ms(&latency, 0.999), "max_ms": latency.max() as f64 / 1000.0,
        "send_late_p99_ms": ms(&sent.late, 0.99), "send_late_p999_ms": ms(&sent.late, 0.999),
        "cpu_seconds": cpu, "cpu_s_per_100k": cpu.map(|spent| spent / counted * 1e5),
    }))
}

//! How far a group has committed, and what its worker's process costs meanwhile.
//!
//! Asking for offsets costs the worker nothing, reading its output would cost the machine. A commit is
//! seen within the interval of asking.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::json;

use super::client;

const TICKS_PER_SECOND: f64 = 100.0;
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Whose offsets to follow.
#[derive(Debug, clap::Args)]
pub(crate) struct CommitsArgs {
    /// The group
    #[arg(long)]
    group: String,
    /// The topic it reads
    #[arg(long)]
    topic: String,
    /// How often to ask, in milliseconds
    #[arg(long, default_value_t = 3)]
    every_ms: u64,
}

/// What to wait for.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// The group
    #[arg(long)]
    group: String,
    /// The topic it reads
    #[arg(long)]
    topic: String,
    /// Records to be committed in all
    #[arg(long)]
    total: i64,
    /// The share that is warm-up and not counted
    #[arg(long, default_value_t = 0.4)]
    warm_up: f64,
    /// The worker's process
    #[arg(long)]
    pid: u32,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 1200)]
    within_s: u64,
}

struct Group {
    consumer: BaseConsumer,
    wanted: TopicPartitionList,
}

impl Group {
    fn new(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<Self> {
        let mut config = client::reader(bootstrap, group);
        // Else the broker would make us wait for open transactions.
        config.set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create()?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, client::partitions(&consumer, topic)? - 1);
        Ok(Self { consumer, wanted })
    }

    /// The sum of the committed offsets; what was never committed counts nothing.
    fn committed(&self) -> anyhow::Result<i64> {
        let until = Instant::now() + client::ANSWER_WITHIN;
        let found = loop {
            match self.consumer.committed_offsets(self.wanted.clone(), client::ANSWER_WITHIN) {
                Ok(found) => break found,
                // A group's first coordinator may still be coming up.
                Err(error) if Instant::now() > until => return Err(error).context("asking for offsets"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Ok(found.elements().iter().filter_map(|entry| entry.offset().to_raw()).filter(|offset| *offset > 0).sum())
    }
}

/// The CPU seconds of a process, user and system, its threads together.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let after = stat.rsplit_once(')').context("an odd stat file")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("an odd stat file");
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        bail!("process {pid} has ended");
    }
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Prints the sum of the offsets whenever it moved.
pub(crate) fn commits(bootstrap: &str, args: &CommitsArgs) -> anyhow::Result<()> {
    let group = Group::new(bootstrap, &args.group, &args.topic)?;
    let mut last = -1;
    loop {
        let now = group.committed()?;
        if now != last {
            client::print(&json!({"at": unix_seconds(), "committed": now}))?;
            last = now;
        }
        std::thread::sleep(Duration::from_millis(args.every_ms));
    }
}

/// Waits for the whole topic; prints rows, seconds and CPU of what came after the warm-up.
pub(crate) fn drain(bootstrap: &str, args: &DrainArgs) -> anyhow::Result<()> {
    let group = Group::new(bootstrap, &args.group, &args.topic)?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(args.within_s);
    let warm = i64::try_from(client::whole(args.total as f64 * args.warm_up))?;
    let mut first: Option<f64> = None;
    let mut start: Option<(Instant, i64, f64)> = None;
    let mut told_at = begun;
    loop {
        let rows = group.committed()?;
        let now = Instant::now();
        if rows > 0 && first.is_none() {
            first = Some(begun.elapsed().as_secs_f64());
        }
        if start.is_none() && rows >= warm {
            start = Some((now, rows, cpu_seconds(args.pid)?));
        }
        if let (Some((since, warm_rows, cpu)), true) = (start, rows >= args.total) {
            let (counted, seconds) = (rows - warm_rows, (now - since).as_secs_f64());
            let spent = cpu_seconds(args.pid)? - cpu;
            return client::print(&json!({
                "rows": counted, "seconds": seconds, "cpu_seconds": spent, "first_commit_s": first,
                "cpu_s_per_100k": spent / counted as f64 * 1e5, "rows_per_second": counted as f64 / seconds,
            }));
        }
        if now - told_at > TELL_EVERY {
            client::tell(&format!("... {rows} of {} committed", args.total));
            told_at = now;
        }
        if now > until {
            bail!("{rows} of {} committed after {} s", args.total, args.within_s);
        }
        cpu_seconds(args.pid)?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! What one run measured: counts by status, HDR percentiles, the server's CPU time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

/// Counts while a run goes on.
pub(crate) struct Tally {
    latency_us: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    degraded: u64,
    pid: Option<u32>,
    cpu_start: f64,
    cpu_end: f64,
    from: Instant,
    took: Duration,
}

/// What a run found.
pub(crate) struct Report {
    tally: Tally,
    unanswered: usize,
    late: usize,
}

impl Tally {
    /// Starts at nothing.
    pub(crate) fn new(pid: Option<u32>) -> anyhow::Result<Self> {
        let latency_us = Histogram::new_with_bounds(1, 120_000_000, 3)?;
        let from = Instant::now();
        let statuses = BTreeMap::new();
        Ok(Self { latency_us, statuses, degraded: 0, pid, cpu_start: 0.0, cpu_end: 0.0, from, took: Duration::ZERO })
    }

    /// Begins to count.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.from = Instant::now();
        self.cpu_start = self.cpu_seconds()?;
        Ok(())
    }

    /// Ends the count.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.took = self.from.elapsed();
        self.cpu_end = self.cpu_seconds()?;
        Ok(())
    }

    /// Counts one answer.
    pub(crate) fn count(&mut self, status: u16, degraded: bool, latency: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        self.degraded += u64::from(degraded);
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Finishes.
    pub(crate) fn report(self, unanswered: usize, late: usize) -> Report {
        Report { tally: self, unanswered, late }
    }

    /// Reads user and system time of the server from /proc (100 ticks a second on Linux).
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let Some(pid) = self.pid else { return Ok(0.0) };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("reading the server's CPU time")?;
        let after_name = stat.rsplit_once(") ").context("a stat line")?.1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / 100.0)
    }
}

impl Report {
    /// Prints the report.
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    pub(crate) fn print(&self, json: bool) {
        let tally = &self.tally;
        let seconds = tally.took.as_secs_f64();
        let answers: u64 = tally.statuses.values().sum();
        let cpu = tally.cpu_end - tally.cpu_start;
        let at = |quantile| tally.latency_us.value_at_quantile(quantile);
        let value = serde_json::json!({
            "answers": answers,
            "per_second": answers as f64 / seconds,
            "statuses": tally.statuses.iter().map(|(k, v)| (k.to_string(), *v)).collect::<BTreeMap<_, _>>(),
            "degraded": tally.degraded,
            "unanswered": self.unanswered,
            "late": self.late,
            "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99), "p999_us": at(0.999),
            "max_us": tally.latency_us.max(),
            "cpu_seconds": cpu,
            "cpu_us_per_answer": if answers > 0 { cpu * 1e6 / answers as f64 } else { 0.0 },
        });
        if json {
            println!("{value}");
        } else {
            println!("{value:#}");
        }
    }
}

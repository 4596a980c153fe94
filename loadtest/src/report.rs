//! What one run measured: counts by status and failure, HDR percentiles, CPU time of server and load.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::connection::Failure;

/// The longest latency told apart: two minutes.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Linux counts CPU time for users in this many ticks a second, whatever the kernel's own are.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counts while a run goes on.
pub(crate) struct Tally {
    latency_us: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<Failure, u64>,
    degraded: u64,
    pid: Option<u32>,
    from: Instant,
    took: Duration,
    /// CPU seconds of the server and of ourselves: at the start, then what was used.
    cpu: (f64, f64),
}

/// What a run found.
pub(crate) struct Report {
    tally: Tally,
    unanswered: usize,
    late: usize,
    exhausted: bool,
}

impl Tally {
    /// Starts at nothing; `pid` is the server's.
    pub(crate) fn new(pid: Option<u32>) -> anyhow::Result<Self> {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        Ok(Self {
            latency_us,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            degraded: 0,
            pid,
            from: Instant::now(),
            took: Duration::ZERO,
            cpu: (0.0, 0.0),
        })
    }

    /// Begins to count.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.from = Instant::now();
        self.cpu = self.cpu_seconds()?;
        Ok(())
    }

    /// Ends the count.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.took = self.from.elapsed();
        let (server, own) = self.cpu_seconds()?;
        self.cpu = (server - self.cpu.0, own - self.cpu.1);
        Ok(())
    }

    /// Counts one answer.
    pub(crate) fn count(&mut self, status: u16, degraded: bool, latency: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        self.degraded += u64::from(degraded);
        self.wait(latency);
    }

    /// Counts one failure of a connection.
    pub(crate) fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Charges a wait, answered or not.
    pub(crate) fn wait(&mut self, latency: Duration) {
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Returns how many failures there were.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Finishes.
    pub(crate) fn report(self, unanswered: usize, late: usize, exhausted: bool) -> Report {
        Report { tally: self, unanswered, late, exhausted }
    }

    fn cpu_seconds(&self) -> anyhow::Result<(f64, f64)> {
        let server = match self.pid {
            Some(pid) => {
                let path = format!("/proc/{pid}/stat");
                let stat = std::fs::read_to_string(&path)
                    .with_context(|| format!("reading the server's CPU time in {path}"))?;
                cpu_seconds(&stat)?
            }
            None => 0.0,
        };
        let own = std::fs::read_to_string("/proc/self/stat").context("reading our own CPU time")?;
        Ok((server, cpu_seconds(&own)?))
    }
}

/// Reads user and system time out of a `/proc/PID/stat` line.
fn cpu_seconds(stat: &str) -> anyhow::Result<f64> {
    // The name stands in brackets and may hold spaces and brackets itself.
    let after_name = stat.rsplit_once(") ").context("a stat line without a name")?.1;
    let mut fields = after_name.split(' ').skip(11);
    let mut ticks = || fields.next().context("a stat line without CPU times")?.parse::<f64>().context("CPU ticks");
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

impl Report {
    /// Prints the report.
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    pub(crate) fn print(&self, json: bool) {
        let tally = &self.tally;
        let seconds = tally.took.as_secs_f64();
        let answers: u64 = tally.statuses.values().sum();
        let (cpu, own_cpu) = tally.cpu;
        let at = |quantile| tally.latency_us.value_at_quantile(quantile);
        let value = serde_json::json!({
            "answers": answers,
            "per_second": answers as f64 / seconds,
            "statuses": tally.statuses.iter().map(|(k, v)| (k.to_string(), *v)).collect::<BTreeMap<_, _>>(),
            "failures": tally.failures.iter().map(|(k, v)| (k.name(), *v)).collect::<BTreeMap<_, _>>(),
            "degraded": tally.degraded,
            "unanswered": self.unanswered,
            "late": self.late,
            "bodies_exhausted": self.exhausted,
            "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99), "p999_us": at(0.999),
            "max_us": tally.latency_us.max(),
            "seconds": seconds,
            "load_cpu_share": own_cpu / seconds,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_system_whatever_the_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 7 20 0 5 0 100 1 1";
        assert!((cpu_seconds(stat).expect("a stat line") - 3.0).abs() < 1e-9);
        assert!(cpu_seconds("42 S 1").is_err());
        assert!(cpu_seconds("42 (x) S 1 2").is_err());
        assert!(cpu_seconds("42 (x) S 1 42 42 0 -1 4194304 100 0 0 0 x 50 7").is_err());
    }

    #[test]
    fn waits_without_an_answer_move_the_percentiles_and_not_the_counts() {
        let mut tally = Tally::new(None).expect("a tally");
        tally.count(200, false, Duration::from_micros(100));
        tally.wait(Duration::from_secs(3));
        tally.fail(Failure::Closed);
        assert_eq!((tally.statuses[&200], tally.failures()), (1, 1));
        assert!(tally.latency_us.value_at_quantile(0.99) >= 2_990_000);
    }
}

//! What one run measured: counts by status and failure, HDR percentiles, CPU time of server and load.
//!
//! Latency counts from when a request was due. Three histograms: everything (waits that ended without an
//! answer included), the accepted (200) and the refused (429, 503). For the last two also from when the
//! request left, which tells the service's own time from the wait for a free connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::connection::Failure;
use crate::timeline::Timeline;

/// The longest latency told apart: two minutes.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Linux counts CPU time for users in this many ticks a second, whatever the kernel's own are.
const TICKS_PER_SECOND: f64 = 100.0;

/// Tells whether a status says "come again later".
pub(crate) fn is_refusal(status: u16) -> bool {
    matches!(status, 429 | 503)
}

/// Makes a histogram of microseconds, to three digits.
pub(crate) fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?)
}

/// Returns whole microseconds, at least one.
pub(crate) fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// How long an answer was waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// Since the request was due.
    pub due: Duration,
    /// Since it left.
    pub sent: Duration,
}

/// Latencies of one kind of answers.
struct Latencies {
    due_us: Histogram<u64>,
    sent_us: Histogram<u64>,
}

impl Latencies {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { due_us: new_histogram()?, sent_us: new_histogram()? })
    }

    fn record(&mut self, waited: Waited) {
        self.due_us.saturating_record(micros(waited.due));
        self.sent_us.saturating_record(micros(waited.sent));
    }

    fn value(&self) -> Value {
        let mut value = percentiles(&self.due_us);
        value["count"] = self.due_us.len().into();
        value["from_sent"] = percentiles(&self.sent_us);
        value
    }
}

fn percentiles(latency_us: &Histogram<u64>) -> Value {
    let at = |quantile| latency_us.value_at_quantile(quantile);
    json!({
        "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": latency_us.max(),
    })
}

/// Counts while a run goes on.
pub(crate) struct Tally {
    latency_us: Histogram<u64>,
    accepted: Latencies,
    refused: Latencies,
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<Failure, u64>,
    degraded: u64,
    retry_after: u64,
    timeline: Timeline,
    pid: Option<u32>,
    /// Whether the warm-up is over.
    counting: bool,
    started: Instant,
    started_at: SystemTime,
    from: Instant,
    took: Duration,
    /// CPU seconds of the server at the start, then what was used; `None` when it is not known or the server has ended.
    server_cpu: Option<f64>,
    own_cpu: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Arrivals that left.
    pub sent: usize,
    /// Requests under way when the last answer had been waited for.
    pub unanswered: usize,
    /// Arrivals that were due and never left.
    pub late: usize,
    /// Whether the bodies ended before the time.
    pub exhausted: bool,
    /// Answers with status 200 that were no decision; only looked at when they are recorded.
    pub unreadable: u64,
}

/// What a run found.
pub(crate) struct Report {
    tally: Tally,
    end: End,
}

impl Tally {
    /// Starts at nothing; `pid` is the server's.
    pub(crate) fn new(pid: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            latency_us: new_histogram()?,
            accepted: Latencies::new()?,
            refused: Latencies::new()?,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            degraded: 0,
            retry_after: 0,
            timeline: Timeline::new()?,
            pid,
            counting: false,
            started: Instant::now(),
            started_at: SystemTime::now(),
            from: Instant::now(),
            took: Duration::ZERO,
            server_cpu: None,
            own_cpu: 0.0,
        })
    }

    /// Begins the run: the time line's second 0.
    pub(crate) fn begin(&mut self, started: Instant) {
        self.started = started;
        self.started_at = SystemTime::now();
    }

    /// Begins to count, after the warm-up.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.counting = true;
        self.from = Instant::now();
        self.server_cpu = self.pid.map(server_cpu_seconds).transpose()?;
        self.own_cpu = own_cpu_seconds()?;
        Ok(())
    }

    /// Tells whether the warm-up is over.
    pub(crate) fn is_counting(&self) -> bool {
        self.counting
    }

    /// Ends the count.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.took = self.from.elapsed();
        // A server that was killed under load has no CPU time left to read; the rest of the run still counts.
        let server = self.pid.and_then(|pid| server_cpu_seconds(pid).ok());
        self.server_cpu = server.zip(self.server_cpu).map(|(now, before)| now - before);
        self.own_cpu = own_cpu_seconds()? - self.own_cpu;
        Ok(())
    }

    /// Counts one answer.
    pub(crate) fn count(&mut self, answer: &Answer, waited: Waited) {
        self.timeline.count(self.started.elapsed(), answer, waited.due);
        if !self.counting {
            return;
        }
        *self.statuses.entry(answer.status).or_default() += 1;
        self.degraded += u64::from(answer.degraded);
        self.retry_after += u64::from(answer.retry_after);
        self.wait(waited.due);
        if answer.status == 200 {
            self.accepted.record(waited);
        } else if is_refusal(answer.status) {
            self.refused.record(waited);
        }
    }

    /// Counts one failure of a connection.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.timeline.fail(self.started.elapsed());
        if self.counting {
            *self.failures.entry(failure).or_default() += 1;
        }
    }

    /// Charges a wait, answered or not.
    pub(crate) fn wait(&mut self, latency: Duration) {
        self.latency_us.saturating_record(micros(latency));
    }

    /// Returns how many failures there were.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Finishes.
    pub(crate) fn report(self, end: End) -> Report {
        Report { tally: self, end }
    }
}

fn server_cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("reading the server's CPU time in {path}"))?;
    cpu_seconds(&stat)
}

fn own_cpu_seconds() -> anyhow::Result<f64> {
    cpu_seconds(&std::fs::read_to_string("/proc/self/stat").context("reading our own CPU time")?)
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
    /// Prints the report: one line of JSON, or the same to be read, without the time line.
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    pub(crate) fn print(self, json: bool) {
        let timeline = json;
        let value = self.value(timeline);
        if json {
            println!("{value}");
        } else {
            println!("{value:#}");
        }
    }

    fn value(self, timeline: bool) -> Value {
        let Self { tally, end } = self;
        let seconds = tally.took.as_secs_f64();
        let answers: u64 = tally.statuses.values().sum();
        let per_answer = |cpu: f64| (answers > 0).then(|| cpu * 1e6 / answers as f64);
        let started_at = tally.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut value = json!({
            "answers": answers,
            "per_second": answers as f64 / seconds,
            "accepted_per_second": tally.accepted.due_us.len() as f64 / seconds,
            "statuses": tally.statuses.iter().map(|(k, v)| (k.to_string(), *v)).collect::<BTreeMap<_, _>>(),
            "failures": tally.failures.iter().map(|(k, v)| (k.name(), *v)).collect::<BTreeMap<_, _>>(),
            "degraded": tally.degraded,
            "retry_after": tally.retry_after,
            "sent": end.sent,
            "unanswered": end.unanswered,
            "late": end.late,
            "unreadable": end.unreadable,
            "bodies_exhausted": end.exhausted,
            "accepted": tally.accepted.value(),
            "refused": tally.refused.value(),
            "seconds": seconds,
            "started_at": started_at.as_secs_f64(),
            "load_cpu_share": tally.own_cpu / seconds,
            "cpu_seconds": tally.server_cpu,
            "cpu_us_per_answer": tally.server_cpu.and_then(per_answer),
        });
        if let (Value::Object(all), Value::Object(value)) = (percentiles(&tally.latency_us), &mut value) {
            value.extend(all);
        }
        if timeline {
            value["timeline"] = tally.timeline.finish(tally.started.elapsed()).into();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: End = End { sent: 4, unanswered: 0, late: 0, exhausted: false, unreadable: 0 };

    fn answer(status: u16) -> Answer {
        Answer { status, degraded: status == 200, closes: false, retry_after: is_refusal(status), body_from: 0 }
    }

    fn waited(millis: u64) -> Waited {
        Waited { due: Duration::from_millis(millis), sent: Duration::from_millis(millis / 2) }
    }

    fn started() -> Tally {
        let mut tally = Tally::new(None).expect("a tally");
        tally.start().expect("our own CPU time");
        tally
    }

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
        let mut tally = started();
        tally.count(&answer(200), waited(1));
        tally.wait(Duration::from_secs(3));
        tally.fail(Failure::Closed);
        assert_eq!((tally.statuses[&200], tally.failures()), (1, 1));
        assert!(tally.latency_us.value_at_quantile(0.99) >= 2_990_000);
    }

    #[test]
    fn accepted_and_refused_have_percentiles_of_their_own() {
        let mut tally = started();
        for (status, millis) in [(200, 10), (429, 400), (503, 600), (422, 9_000)] {
            tally.count(&answer(status), waited(millis));
        }
        let value = tally.report(END).value(true);
        let figure = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64).expect("a figure");
        let near = |pointer, expected: u64| assert!(figure(pointer).abs_diff(expected) * 100 <= expected, "{pointer}");
        assert_eq!((figure("/accepted/count"), figure("/refused/count"), figure("/answers")), (1, 2, 4));
        assert_eq!((figure("/statuses/429"), figure("/degraded"), figure("/retry_after")), (1, 1, 2));
        near("/accepted/p99_us", 10_000);
        near("/accepted/from_sent/p99_us", 5_000);
        near("/refused/max_us", 600_000);
        near("/max_us", 9_000_000);
        assert_eq!(figure("/timeline/0/refused"), 2);
    }

    #[test]
    fn the_warm_up_is_in_the_time_line_and_not_in_the_counts() {
        let mut tally = Tally::new(None).expect("a tally");
        tally.count(&answer(200), waited(1));
        tally.fail(Failure::Refused);
        tally.start().expect("our own CPU time");
        let value = tally.report(END).value(true);
        assert_eq!((&value["answers"], &value["failures"]), (&json!(0), &json!({})));
        assert_eq!((&value["timeline"][0]["accepted"], &value["timeline"][0]["failures"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn a_server_that_ended_takes_its_cpu_time_with_it_and_nothing_else() {
        let mut tally = started();
        tally.pid = Some(u32::MAX);
        tally.server_cpu = Some(1.0);
        tally.count(&answer(200), waited(1));
        tally.stop().expect("the run counts");
        let value = tally.report(END).value(false);
        assert!(value["cpu_seconds"].is_null() && value["cpu_us_per_answer"].is_null());
        assert_eq!(value["answers"], 1);
    }
}

//! What happens to Kafka lanes, as types: each event knows its log line and its metrics.

use std::fmt;
use std::time::Duration;

use prometheus::{Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts};
use tracing::{debug, error, info, warn};

use super::histogram::Latencies;
use super::metrics::{Builder, Shared, metrics};

/// What a lane can be doing.
pub const LANE_STATES: [&str; 8] =
    ["starting", "running", "retrying", "paused", "broken", "halted", "draining", "stopped"];
/// The steps of publishing a batch that are timed, in the order of the histogram's children.
pub const BATCH_STEPS: [&str; 5] = ["decide", "emit", "flush", "offsets", "commit"];
/// Classes of faults.
pub const FAULT_CLASSES: [&str; 8] =
    ["retriable", "abortable", "stale_generation", "fenced", "fatal", "consumer_lost", "refused", "denied"];
/// States of a partition that a lane owns.
pub const PARTITION_STATES: [&str; 3] = ["restoring", "live", "failed"];
/// The number that stands for the re-key lane; those of the stream lie below.
pub const REKEY_LANE: usize = 64;

/// What goes on in the lanes.
pub struct Lanes {
    commits: IntCounter,
    records: IntCounter,
    rows: Histogram,
    steps: Shared<Latencies>,
    faults: Vec<IntCounter>,
    aborts: Vec<IntCounter>,
    rebuilds: IntCounter,
    unsettled: IntCounter,
    went_back: IntCounter,
    shed: IntCounter,
    states: Vec<IntGauge>,
    partitions: IntGaugeVec,
    lag_records: IntGaugeVec,
    lag_seconds: GaugeVec,
    linger: GaugeVec,
    round_trip: GaugeVec,
}

impl Lanes {
    pub(super) fn new(build: &Builder) -> Self {
        let (steps, lanes) = (STEPS, "fraudd_lanes");
        let steps = Shared::new(Latencies::new(steps.0, steps.1, "step", &BATCH_STEPS));
        build.register(steps.clone());
        let buckets = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0];
        let rows = HistogramOpts::new("fraudd_lane_batch_rows", "Records of a committed batch.").buckets(buckets);
        let rows = Histogram::with_opts(rows).expect("constants of this file");
        build.register(rows.clone());
        let states = build.gauges(lanes, "Kafka lanes, by what they are doing.", &["state"]);
        Self {
            commits: build.counter("fraudd_lane_commits_total", "Kafka transactions committed."),
            records: build.counter("fraudd_lane_records_total", "Kafka records committed."),
            rows,
            steps,
            faults: build.by_label(
                "fraudd_lane_faults_total",
                "Faults of the Kafka broker or its clients, by what can be done about them.",
                "class",
                &FAULT_CLASSES,
            ),
            aborts: build.by_label(
                "fraudd_lane_aborts_total",
                "Kafka transactions aborted, by the class of the fault.",
                "class",
                &FAULT_CLASSES,
            ),
            rebuilds: build.counter("fraudd_lane_rebuilds_total", "Kafka clients made anew after a fault."),
            unsettled: build.counter(
                "fraudd_lane_unsettled_total",
                "Commits whose outcome was not known and had to be read from the broker.",
            ),
            went_back: build.counter(
                "fraudd_lane_went_back_total",
                "Commits refused by us because an offset or a watermark would have moved back: an alarm.",
            ),
            shed: build.counter(
                "fraudd_lane_shed_total",
                "Batches that lost records because their partitions went to another instance.",
            ),
            states: LANE_STATES.iter().map(|state| states.with_label_values(&[state])).collect(),
            partitions: build.gauges(
                "fraudd_lane_partitions",
                "Partitions owned by Kafka lanes, by state.",
                &["lane", "state"],
            ),
            lag_records: build.gauges("fraudd_lane_lag_records", "Kafka records not read yet.", &["lane"]),
            lag_seconds: float_gauges(build, "fraudd_lane_lag_seconds", "Age of the newest record read, while behind."),
            linger: float_gauges(build, "fraudd_lane_linger_seconds", "How long a batch waits for company."),
            round_trip: float_gauges(
                build,
                "fraudd_lane_round_trip_seconds",
                "Round trip to the slowest broker, as the client measures it.",
            ),
        }
    }

    pub(super) fn show_all(&self) {
        self.partitions.with_label_values(&["0", "live"]);
        self.lag_records.with_label_values(&["0"]);
        for gauges in [&self.lag_seconds, &self.linger, &self.round_trip] {
            gauges.with_label_values(&["0"]);
        }
    }
}

const STEPS: (&str, &str) = ("fraudd_lane_step_seconds", "Where the time of a Kafka batch went.");

fn float_gauges(build: &Builder, name: &str, help: &str) -> GaugeVec {
    let gauges = GaugeVec::new(Opts::new(name, help), &["lane"]).expect("constants of this file");
    build.register(gauges.clone());
    gauges
}

/// A lane's name in logs and labels.
struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            REKEY_LANE => f.write_str("rekey"),
            index => index.fmt(f),
        }
    }
}

fn label(index: usize) -> String {
    Name(index).to_string()
}

fn of(gauges: &GaugeVec, index: usize) -> Gauge {
    gauges.with_label_values(&[&label(index)])
}

fn class_index(class: &str) -> Option<usize> {
    FAULT_CLASSES.iter().position(|known| *known == class)
}

/// A step of publishing a batch ended well.
pub struct BatchStep {
    /// Its place in [`BATCH_STEPS`].
    pub step: usize,
    /// How long it took.
    pub took: Duration,
}

impl BatchStep {
    /// Times it.
    pub fn emit(&self) {
        metrics().lanes.steps.observe_micros(self.step, u32::try_from(self.took.as_micros()).unwrap_or(u32::MAX));
    }
}

/// A batch was committed.
pub struct BatchCommitted {
    /// Its records.
    pub rows: usize,
}

impl BatchCommitted {
    /// Counts it.
    pub fn emit(&self) {
        let lanes = &metrics().lanes;
        lanes.commits.inc();
        lanes.records.inc_by(self.rows as u64);
        lanes.rows.observe(self.rows as f64);
    }
}

/// A call to the broker failed.
pub struct LaneFault<'a> {
    /// Which lane.
    pub index: usize,
    /// One of [`FAULT_CLASSES`].
    pub class: &'static str,
    /// Which call.
    pub call: &'static str,
    /// The original error.
    pub text: &'a str,
}

impl LaneFault<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        let Self { index, class, call, text } = self;
        let lane = Name(*index);
        if let Some(index) = class_index(class) {
            metrics().lanes.faults[index].inc();
        }
        match *class {
            "retriable" => debug!(%lane, call, error = text, "broker call to be made again"),
            "refused" | "denied" => error!(%lane, call, class, error = text, "broker refuses: this needs a person"),
            _ => warn!(%lane, call, class, error = text, "broker call failed"),
        }
    }
}

/// A transaction was aborted; its batch is published again.
pub struct BatchAborted {
    /// Which lane.
    pub index: usize,
    /// The class of the fault, one of [`FAULT_CLASSES`].
    pub class: &'static str,
}

impl BatchAborted {
    /// Counts and logs it.
    pub fn emit(&self) {
        if let Some(index) = class_index(self.class) {
            metrics().lanes.aborts[index].inc();
        }
        info!(lane = %Name(self.index), class = self.class, "transaction aborted, its batch is kept");
    }
}

/// A client was made anew.
pub struct ClientRebuilt {
    /// Which lane.
    pub index: usize,
    /// `producer` or `consumer`.
    pub client: &'static str,
}

impl ClientRebuilt {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().lanes.rebuilds.inc();
        warn!(lane = %Name(self.index), client = self.client, "client made anew");
    }
}

/// A commit's outcome was not known and has been read from the broker.
pub struct CommitSettled {
    /// Which lane.
    pub index: usize,
    /// Whether it had been committed.
    pub is_committed: bool,
}

impl CommitSettled {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().lanes.unsettled.inc();
        info!(lane = %Name(self.index), committed = self.is_committed, "outcome of a commit read from the broker");
    }
}

/// A commit was not made because an offset or a watermark would have moved back (KA-2).
pub struct WentBack<'a> {
    /// Which lane.
    pub index: usize,
    /// What would have moved, from where and to where.
    pub what: &'a str,
}

impl WentBack<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().lanes.went_back.inc();
        error!(lane = %Name(self.index), what = self.what, "KA-2: a commit would move back, the lane stops");
    }
}

/// A batch lost the records of partitions that went.
pub struct BatchShed {
    /// Which lane.
    pub index: usize,
    /// Whether anything is left.
    pub is_empty: bool,
}

impl BatchShed {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().lanes.shed.inc();
        info!(lane = %Name(self.index), empty = self.is_empty, "partitions went while a batch was in hand");
    }
}

/// A lane's state changed.
pub struct LaneChanged<'a> {
    /// Which lane.
    pub index: usize,
    /// One of [`LANE_STATES`]; none for a new lane.
    pub from: Option<&'static str>,
    /// One of [`LANE_STATES`].
    pub to: &'static str,
    /// Why, when that is not obvious.
    pub reason: &'a str,
}

impl LaneChanged<'_> {
    /// Moves the gauge and logs it.
    pub fn emit(&self) {
        let place = |name: &str| LANE_STATES.iter().position(|known| *known == name);
        let states = &metrics().lanes.states;
        if let Some(index) = self.from.and_then(place) {
            states[index].dec();
        }
        if let Some(index) = place(self.to) {
            states[index].inc();
        }
        let (lane, from, reason) = (Name(self.index), self.from.unwrap_or("none"), self.reason);
        match self.to {
            "broken" | "halted" => error!(%lane, from, to = self.to, reason, "lane takes no records"),
            "retrying" => debug!(%lane, from, to = self.to, reason, "lane changed"),
            _ => info!(%lane, from, to = self.to, reason, "lane changed"),
        }
    }
}

/// A lane's partitions changed.
pub struct LanePartitions {
    /// Which lane.
    pub index: usize,
    /// How many are looked up or restored.
    pub restoring: usize,
    /// How many are read.
    pub live: usize,
    /// How many are given up.
    pub failed: usize,
}

impl LanePartitions {
    /// Sets the gauges.
    pub fn emit(&self) {
        let lane = label(self.index);
        for (state, count) in PARTITION_STATES.iter().zip([self.restoring, self.live, self.failed]) {
            let gauge = metrics().lanes.partitions.with_label_values(&[lane.as_str(), *state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// A lane learned how far it is behind.
pub struct LaneLag {
    /// Which lane.
    pub index: usize,
    /// Records not read yet.
    pub records: u64,
    /// Age of the newest record read; zero when nothing is left.
    pub age: Duration,
    /// Round trip to the slowest broker.
    pub round_trip: Duration,
}

impl LaneLag {
    /// Sets the gauges.
    pub fn emit(&self) {
        let lanes = &metrics().lanes;
        let records = lanes.lag_records.with_label_values(&[&label(self.index)]);
        records.set(i64::try_from(self.records).unwrap_or(i64::MAX));
        of(&lanes.lag_seconds, self.index).set(self.age.as_secs_f64());
        of(&lanes.round_trip, self.index).set(self.round_trip.as_secs_f64());
    }
}

/// A lane changed how long its batches wait.
pub struct LaneLinger {
    /// Which lane.
    pub index: usize,
    /// How long.
    pub wait: Duration,
}

impl LaneLinger {
    /// Sets the gauge.
    pub fn emit(&self) {
        of(&metrics().lanes.linger, self.index).set(self.wait.as_secs_f64());
    }
}

/// A lane's thread panicked and is started again.
pub struct LanePanicked<'a> {
    /// Which lane.
    pub index: usize,
    /// The panic's text.
    pub text: &'a str,
}

impl LanePanicked<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().panics.inc();
        error!(lane = %Name(self.index), panic = self.text, "lane panicked: it starts anew, nothing of its batch was visible");
    }
}

/// A client could not be closed as it should.
pub struct ClientStuck<'a> {
    /// Which lane.
    pub index: usize,
    /// Why.
    pub text: &'a str,
}

impl ClientStuck<'_> {
    /// Logs it.
    pub fn emit(&self) {
        warn!(lane = %Name(self.index), error = self.text, "a client is left to itself");
    }
}

/// A line of the client library.
pub struct ClientSaid<'a> {
    /// Whether it is worth a warning.
    pub is_warning: bool,
    /// What it is about, in the library's words.
    pub subject: &'a str,
    /// The line.
    pub text: &'a str,
}

impl ClientSaid<'_> {
    /// Logs it.
    pub fn emit(&self) {
        if self.is_warning {
            warn!(subject = self.subject, text = self.text, "kafka client");
        } else {
            debug!(subject = self.subject, text = self.text, "kafka client");
        }
    }
}

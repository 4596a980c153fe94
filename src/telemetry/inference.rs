//! Raw calls of the inference protocol and the candidates they load: events and their metrics.

use prometheus::IntCounter;
use tracing::{info, warn};

use super::histogram::Latencies;
use super::metrics::{Builder, Shared, metrics};
use crate::runtime::inference::tally::CallTimes;

/// How a raw call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It was answered.
    Answered,
    /// It was not what the protocol or the model takes.
    Refused,
    /// A queue was full or too many calls ran.
    Busy,
    /// Its deadline passed.
    Deadline,
    /// The model failed on it.
    Failed,
}

impl CallResult {
    /// Every result, in the order of the enum.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Refused, Self::Busy, Self::Deadline, Self::Failed];

    /// Returns the metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
            Self::Failed => "failed",
        }
    }
}

/// Stages of a raw call, in the order of the histogram's children.
pub const CALL_STAGES: [&str; 5] = ["total", "decode", "queue", "run", "encode"];
/// What may become of a bundle that is loaded or unloaded.
pub const CANDIDATE_RESULTS: [&str; 3] = ["loaded", "refused", "unloaded"];

/// Metrics of raw calls.
pub struct Inference {
    /// Calls by result.
    pub calls: Vec<IntCounter>,
    /// Where the time of an answered call went, by [`CALL_STAGES`].
    pub latency: Shared<Latencies>,
    /// Rows answered.
    pub rows: IntCounter,
    /// Output numbers that were NaN or infinite.
    pub not_finite: IntCounter,
    /// Candidates by what became of them.
    pub candidates: Vec<IntCounter>,
}

impl Inference {
    pub(super) fn new(build: &Builder) -> Self {
        let latency = Shared::new(Latencies::new(
            "fraudd_inference_stage_seconds",
            "Where the time of an answered raw call went.",
            "stage",
            &CALL_STAGES,
        ));
        build.register(latency.clone());
        Self {
            calls: build.by_label(
                "fraudd_inference_calls_total",
                "Raw calls of the inference protocol, by result.",
                "result",
                &CallResult::ALL.map(CallResult::name),
            ),
            latency,
            rows: build.counter("fraudd_inference_rows_total", "Rows answered to raw calls."),
            not_finite: build
                .counter("fraudd_inference_not_finite_total", "Output numbers of raw calls that were NaN or infinite."),
            candidates: build.by_label(
                "fraudd_candidates_total",
                "Candidate bundles, by what became of them.",
                "result",
                &CANDIDATE_RESULTS,
            ),
        }
    }
}

/// A raw call was answered.
pub struct CallAnswered {
    /// Where its time went.
    pub times: CallTimes,
    /// Its rows.
    pub rows: usize,
    /// Numbers among its outputs that are not finite.
    pub not_finite: usize,
}

impl CallAnswered {
    /// Counts it.
    pub fn emit(&self) {
        let metrics = &metrics().inference;
        metrics.calls[CallResult::Answered as usize].inc();
        metrics.rows.inc_by(self.rows as u64);
        metrics.not_finite.inc_by(self.not_finite as u64);
        let times = self.times;
        let stages = [times.total, times.decode, times.queue, times.run, times.encode];
        for (stage, time) in stages.into_iter().enumerate() {
            metrics.latency.observe_micros(stage, u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// A raw call was not answered.
pub struct CallRefused<'a> {
    /// How it ended.
    pub result: CallResult,
    /// The model's own words, when it failed.
    pub reason: Option<&'a str>,
}

impl CallRefused<'_> {
    /// Counts it; what the model said goes to the log only.
    pub fn emit(&self) {
        metrics().inference.calls[self.result as usize].inc();
        if let Some(reason) = self.reason {
            warn!(reason, "the model failed on a raw call");
        }
    }
}

/// A bundle passed every gate and is loaded.
pub struct CandidateLoaded<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// `candidate`, or what it was before.
    pub role: &'a str,
}

impl CandidateLoaded<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().inference.candidates[0].inc();
        info!(model = self.name, version = self.version, role = self.role, "bundle passed every gate");
    }
}

/// A bundle was not let in.
pub struct CandidateRefused<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Why.
    pub reason: &'a str,
}

impl CandidateRefused<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().inference.candidates[1].inc();
        warn!(model = self.name, version = self.version, reason = self.reason, "bundle not let in");
    }
}

/// A candidate was let go.
pub struct CandidateUnloaded<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

impl CandidateUnloaded<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().inference.candidates[2].inc();
        info!(model = self.name, version = self.version, "candidate unloaded");
    }
}

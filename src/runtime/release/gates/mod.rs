//! The gates: what a bundle must show before it may serve, as far as it can be shown without traffic.
//!
//! ```text
//! paper   signature  schema  operators  external  profile       read, nothing is run
//! run     loads  latency  golden  ranking  finite  quality  calibration
//! ```
//! A gate that cannot be reached because an earlier one failed is skipped, and skipped is not passed.
//! Quality is computed here from the golden rows, never read from the manifest. [`child`] does all of it in
//! a process with limits; [`quick`] is the subset for the start of a service, in its own process.

pub mod child;
mod paper;
mod passed;
mod scores;

pub use passed::Passed;
pub(crate) use scores::{score, score_rows};
use serde::{Deserialize, Serialize};

use super::Bundle;

/// One question a bundle must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Every file is there, parses, and has the hash the manifest states.
    Hashes,
    /// The child process ended by itself within memory, processor time and clock.
    Limits,
    /// No wrong signature.
    Signature,
    /// Schema hash, inputs and missing values agree with the manifest.
    Schema,
    /// Only operators of the list.
    Operators,
    /// No tensor in another file.
    External,
    /// The reference profile fits the inputs.
    Profile,
    /// ONNX Runtime opens it and it is of a kind we serve.
    Loads,
    /// Fast enough, alone and beside the active model.
    Latency,
    /// The trainer's own probabilities come out again.
    Golden,
    /// The order of the golden rows is kept: swapped classes fail here.
    Ranking,
    /// Finite and within 0..=1 on extreme inputs.
    Finite,
    /// Ranks frauds above a floor, and no worse than the active model.
    Quality,
    /// Expects about as many frauds as there are.
    Calibration,
}

/// How a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It could not be asked.
    Skip,
}

/// One gate's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which gate.
    pub gate: Gate,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, for people.
    pub reason: String,
}

/// Every gate's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In the order they were asked.
    pub checks: Vec<Check>,
}

impl Report {
    /// Tells whether every gate was asked and holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.outcome == Outcome::Pass)
    }

    /// Returns the gates that fail.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Fail)
    }

    /// Makes a report of one failed gate.
    #[must_use]
    pub fn failed(gate: Gate, reason: String) -> Self {
        Self { checks: vec![Check { gate, outcome: Outcome::Fail, reason }] }
    }

    fn add(&mut self, gate: Gate, result: Result<String, String>) -> bool {
        let (outcome, reason) = match result {
            Ok(reason) => (Outcome::Pass, reason),
            Err(reason) => (Outcome::Fail, reason),
        };
        self.checks.push(Check { gate, outcome, reason });
        outcome == Outcome::Pass
    }

    fn skip(&mut self, gates: &[Gate], reason: &str) {
        let skipped = |gate: &Gate| Check { gate: *gate, outcome: Outcome::Skip, reason: reason.to_owned() };
        self.checks.extend(gates.iter().map(skipped));
    }
}

/// What the gates ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The lowest area under the ROC curve on the golden rows.
    pub auc_min: f64,
    /// How much the area may differ between our scores and the trainer's.
    pub auc_error_max: f64,
    /// The fewest golden frauds a verdict may rest on.
    pub frauds_min: usize,
    /// The least average precision as a share of the active model's on the same rows.
    pub precision_ratio_min: f64,
    /// Frauds expected over frauds found: at least this, at most its inverse.
    pub calibration_min: f64,
    /// Median time of one row, in microseconds.
    pub latency_us_max: f64,
    /// Median time as a multiple of the active model's.
    pub latency_ratio_max: f64,
    /// Below this, in microseconds, the ratio does not matter.
    pub latency_us_free: f64,
    /// Public keys in hex whose signatures count.
    pub trusted_keys: Vec<String>,
    /// Address space of the child process, in bytes.
    pub child_bytes_max: u64,
    /// Processor time of the child process, in seconds.
    pub child_cpu_seconds_max: u64,
    /// Time by the clock for the child process, in seconds.
    pub child_wall_seconds_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            auc_min: 0.7,
            auc_error_max: 0.005,
            frauds_min: super::golden::FRAUDS_MIN,
            precision_ratio_min: 0.9,
            calibration_min: 0.5,
            latency_us_max: 1000.0,
            latency_ratio_max: 3.0,
            latency_us_free: 100.0,
            trusted_keys: Vec::new(),
            child_bytes_max: 4 << 30,
            child_cpu_seconds_max: 60,
            child_wall_seconds_max: 120,
        }
    }
}

const RUN_GATES: [Gate; 7] =
    [Gate::Loads, Gate::Latency, Gate::Golden, Gate::Ranking, Gate::Finite, Gate::Quality, Gate::Calibration];

/// Asks every gate that needs no traffic, in this process. For an untrusted bundle use [`child::validate`].
#[must_use]
pub fn run(bundle: &Bundle, active: Option<&Bundle>, limits: &Limits) -> Report {
    let mut report = paper::run(bundle, limits);
    if report.failures().next().is_some() {
        report.skip(&RUN_GATES, "not run: an earlier gate failed");
        return report;
    }
    scores::run(&mut report, bundle, active, limits);
    report
}

/// Asks what a service asks of its own bundles when it starts: paper gates, loading, golden rows, finite scores.
#[must_use]
pub fn quick(bundle: &Bundle, limits: &Limits) -> Report {
    let mut report = paper::run(bundle, limits);
    if report.failures().next().is_none() {
        scores::quick(&mut report, bundle);
    }
    report
}

//! The fleet of models: orders, verdicts and trials, and their metrics.

use std::fmt::Display;

use prometheus::{IntCounter, IntGauge};
use tracing::{error, info, warn};

use super::metrics::{Builder, metrics};
use crate::domain::Calibration;
use crate::healing::lifecycle::Order;
use crate::healing::trial::Verdict;
use crate::healing::{ModelRef, Stage};

/// Verdicts of a trial, in the order of the gauges.
const VERDICTS: [Verdict; 4] = [Verdict::Going, Verdict::Won, Verdict::Lost, Verdict::Inconclusive];
/// What may become of a bundle that was found.
const JUDGEMENTS: [&str; 2] = ["validated", "refused"];

/// Metrics of the fleet.
pub struct Fleet {
    stages: Vec<IntGauge>,
    orders: Vec<IntCounter>,
    refused: Vec<IntCounter>,
    bundles: Vec<IntCounter>,
    pairs: IntCounter,
    percent: IntGauge,
    verdicts: Vec<IntGauge>,
    rolled_back: IntGauge,
    dropped: IntGauge,
    golden_failures: IntCounter,
    unsaved: IntCounter,
}

impl Fleet {
    pub(super) fn new(build: &Builder) -> Self {
        let by_order = |name, help| build.by_label(name, help, "order", &Order::NAMES);
        let stages = build.gauges("fraudd_model_stage", "Bundles, by how far they have come.", &["stage"]);
        let verdicts =
            build.gauges("fraudd_trial_verdict", "1 at what the evidence of the running trial says.", &["verdict"]);
        Self {
            stages: Stage::ALL.iter().map(|stage| stages.with_label_values(&[stage.name()])).collect(),
            orders: by_order(
                "fraudd_model_orders_total",
                "Changes of the fleet of models that were carried out, by order.",
            ),
            refused: by_order(
                "fraudd_model_orders_refused_total",
                "Changes of the fleet of models that were refused, by order.",
            ),
            bundles: build.by_label(
                "fraudd_bundles_total",
                "Bundles found in the model directory, by verdict of the gates.",
                "result",
                &JUDGEMENTS,
            ),
            pairs: build.counter(
                "fraudd_trial_pairs_total",
                "Transactions compared between the active model and one on trial.",
            ),
            percent: build.gauge("fraudd_trial_percent", "Share of entities a canary answers for; 0 without one."),
            verdicts: VERDICTS.iter().map(|verdict| verdicts.with_label_values(&[verdict.name()])).collect(),
            rolled_back: build
                .gauge("fraudd_rolled_back", "1 while a rollback waits to be accepted or followed by a new release."),
            dropped: build.gauge("fraudd_compare_dropped", "Decisions that were not compared because too many waited."),
            golden_failures: build.counter(
                "fraudd_golden_failures_total",
                "Checks of a running model by golden rows that failed: an alarm.",
            ),
            unsaved: build.counter(
                "fraudd_register_failures_total",
                "Times the register of models could not be saved: an alarm.",
            ),
        }
    }
}

/// An order was carried out.
pub struct OrderDone<'a> {
    /// Its name.
    pub order: &'static str,
    /// The bundle it is about.
    pub model: &'a str,
    /// Why it was given.
    pub reason: &'a str,
}

impl OrderDone<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        count(&metrics().fleet.orders, self.order);
        info!(order = self.order, model = self.model, reason = self.reason, "fleet changed");
    }
}

/// An order was refused.
pub struct OrderRefused<'a> {
    /// Its name.
    pub order: &'static str,
    /// The bundle it is about.
    pub model: &'a str,
    /// Why it was refused.
    pub error: &'a dyn Display,
}

impl OrderRefused<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        count(&metrics().fleet.refused, self.order);
        warn!(order = self.order, model = self.model, error = %self.error, "fleet not changed");
    }
}

fn count(counters: &[IntCounter], order: &str) {
    if let Some(place) = Order::NAMES.iter().position(|name| *name == order) {
        counters[place].inc();
    }
}

/// The register could not be saved.
pub struct RegisterUnsaved<'a> {
    /// Why.
    pub error: &'a dyn Display,
}

impl RegisterUnsaved<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().fleet.unsaved.inc();
        error!(error = %self.error, "the models' register is not saved: a restart would not know the change");
    }
}

/// Scores of the active model stand for other probabilities from now on.
pub struct Calibrated<'a> {
    /// Whose.
    pub model: &'a ModelRef,
    /// The map.
    pub map: &'a Calibration,
    /// Logarithm of the evidence for it on labels it was not fitted on.
    pub log_e: f64,
    /// How many those are.
    pub held_out: u64,
}

impl Calibrated<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Calibration { slope_low, slope_high, shift, labels } = *self.map;
        let (log_e, held_out) = (self.log_e, self.held_out);
        info!(model = %self.model, slope_low, slope_high, shift, labels, log_e, held_out, "scores are calibrated anew");
    }
}

/// The map of before the restart could not be read.
pub struct CalibrationUnread<'a> {
    /// Why.
    pub error: &'a dyn Display,
}

impl CalibrationUnread<'_> {
    /// Logs it.
    pub fn emit(&self) {
        error!(error = %self.error, "calibration.json cannot be read: scores stand for themselves until labels ask for a map");
    }
}

/// A bundle of the model directory was judged by the gates.
pub struct BundleJudged<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Why it was refused; `None` when it was not.
    pub refusal: Option<&'a str>,
}

impl BundleJudged<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().fleet.bundles[usize::from(self.refusal.is_some())].inc();
        match self.refusal {
            None => info!(model = self.name, version = self.version, "new bundle passed every gate"),
            Some(reason) => warn!(model = self.name, version = self.version, reason, "new bundle refused"),
        }
    }
}

/// Golden rows no longer give their scores.
pub struct GoldenFailed<'a> {
    /// The model.
    pub model: &'a str,
    /// What was found.
    pub error: &'a dyn Display,
}

impl GoldenFailed<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().fleet.golden_failures.inc();
        error!(model = self.model, error = %self.error, "golden rows failed");
    }
}

/// Transactions were compared between the active model and one on trial.
pub struct Compared {
    /// How many.
    pub pairs: usize,
}

impl Compared {
    /// Counts them.
    pub fn emit(&self) {
        metrics().fleet.pairs.inc_by(self.pairs as u64);
    }
}

/// How the fleet stands.
pub struct FleetShown {
    /// Bundles by stage, in the order of [`Stage::ALL`].
    pub stages: [usize; 8],
    /// The canary's share and the verdict of the running trial.
    pub trial: Option<(u8, Verdict)>,
    /// Whether a rollback waits.
    pub rolled_back: bool,
    /// Decisions that were not compared.
    pub dropped: u64,
}

impl FleetShown {
    /// Sets the gauges.
    pub fn emit(&self) {
        let fleet = &metrics().fleet;
        for (gauge, count) in fleet.stages.iter().zip(self.stages) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        fleet.percent.set(self.trial.map_or(0, |(percent, _)| percent.into()));
        for (gauge, verdict) in fleet.verdicts.iter().zip(VERDICTS) {
            gauge.set(self.trial.is_some_and(|(_, said)| said == verdict).into());
        }
        fleet.rolled_back.set(self.rolled_back.into());
        fleet.dropped.set(i64::try_from(self.dropped).unwrap_or(i64::MAX));
    }
}

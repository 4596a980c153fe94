//! What happens, as types: each event knows its log line and its metrics.
//!
//! ERROR needs a human, WARN healed itself or may, INFO once per life event, DEBUG for us. Nothing at
//! INFO or above on the hot path.

use std::fmt::Display;
use std::time::Duration;

pub use super::desk::*;
pub use super::store::*;

use tracing::{debug, error, info, warn};

use super::metrics::metrics;
use crate::domain::{Decision, DegradedReason, LabelKind, TraceId};

/// A transaction was decided for the first time.
pub struct DecisionMade<'a> {
    /// The decision.
    pub decision: &'a Decision,
}

impl DecisionMade<'_> {
    /// Counts it and observes its latencies. Hot path: below 150 ns.
    pub fn emit(&self) {
        let decision = self.decision;
        let metrics = metrics();
        metrics.decision(decision.outcome, decision.source).inc();
        for reason in &decision.degraded {
            metrics.degraded[*reason as usize].inc();
        }
        let latency = decision.latency;
        let stages = [latency.total, latency.features, latency.rules, latency.model];
        for (stage, micros) in stages.into_iter().enumerate() {
            metrics.latency.observe_micros(stage, micros);
        }
        debug!(
            transaction_id = %decision.transaction_id,
            trace_id = %decision.trace_id,
            outcome = decision.outcome.name(),
            source = decision.source.name(),
            total_us = latency.total,
            "decided"
        );
    }
}

/// A request was answered with the first decision of its id.
pub struct DuplicateAnswered {
    /// The request's trace.
    pub trace_id: TraceId,
}

impl DuplicateAnswered {
    /// Counts it.
    pub fn emit(&self) {
        metrics().duplicates.inc();
        debug!(trace_id = %self.trace_id, "answered with the first decision again");
    }
}

/// A transaction got no score, although a model was asked.
pub struct ModelFailed<'a> {
    /// Why, as the decision tells it.
    pub reason: DegradedReason,
    /// Why, in the model's words.
    pub failure: &'a dyn Display,
}

impl ModelFailed<'_> {
    /// Counts it; logged at DEBUG because a broken model fails on every transaction.
    pub fn emit(&self) {
        metrics().model_failures[self.reason as usize].inc();
        debug!(reason = self.reason.name(), failure = %self.failure, "model gave no score");
    }
}

/// An inference thread took a batch.
pub struct BatchScored {
    /// How many rows.
    pub rows: usize,
    /// How long the first of them waited.
    pub queued: Duration,
}

impl BatchScored {
    /// Counts the rows and observes the wait.
    pub fn emit(&self) {
        let metrics = metrics();
        metrics.model_rows.inc_by(self.rows as u64);
        metrics.latency.observe_micros(4, u32::try_from(self.queued.as_micros()).unwrap_or(u32::MAX));
    }
}

/// An HTTP request was answered.
pub struct RequestServed {
    /// The status.
    pub status: u16,
}

impl RequestServed {
    /// Counts it by class.
    pub fn emit(&self) {
        let class = usize::from(self.status / 100).saturating_sub(1);
        if let Some(counter) = metrics().http.requests.get(class) {
            counter.inc();
        }
    }
}

/// An HTTP request was refused.
pub struct RequestRefused {
    /// The problem's code.
    pub code: &'static str,
    /// The request's trace.
    pub trace_id: TraceId,
}

impl RequestRefused {
    /// Counts it by code.
    pub fn emit(&self) {
        metrics().http.problems.with_label_values(&[self.code]).inc();
        debug!(code = self.code, trace_id = %self.trace_id, "request refused");
    }
}

/// Fields that the contract does not know were passed over.
pub struct FieldsIgnored {
    /// How many.
    pub count: u32,
}

impl FieldsIgnored {
    /// Counts them.
    pub fn emit(&self) {
        if self.count > 0 {
            metrics().http.fields_ignored.inc_by(self.count.into());
        }
    }
}

/// A label came in.
pub struct LabelReceived {
    /// What it says.
    pub kind: LabelKind,
    /// Its place in [`super::metrics::LABEL_OUTCOMES`].
    pub outcome: usize,
}

impl LabelReceived {
    /// Counts it.
    pub fn emit(&self) {
        metrics().labels[self.kind as usize].inc();
        if let Some(counter) = metrics().label_outcomes.get(self.outcome) {
            counter.inc();
        }
    }
}

/// An entry joined or left a list over the API.
pub struct ListChanged<'a> {
    /// `allow` or `deny`.
    pub list: &'a str,
    /// `added` or `removed`.
    pub change: &'static str,
    /// Whose key it was.
    pub by: &'a str,
}

impl ListChanged<'_> {
    /// Logs it; the value is not told, it may be personal.
    pub fn emit(&self) {
        info!(list = self.list, change = self.change, by = self.by, "list changed");
    }
}

/// Rules, lists and policy were read anew and put in force.
pub struct RulesReloaded<'a> {
    /// The rules' version.
    pub version: &'a str,
}

impl RulesReloaded<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().reloads.with_label_values(&["applied"]).inc();
        info!(version = self.version, "rules, lists and policy reloaded");
    }
}

/// A reload was refused whole; what was in force stays.
pub struct ReloadRefused<'a> {
    /// Every fault.
    pub faults: &'a [String],
}

impl ReloadRefused<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().reloads.with_label_values(&["refused"]).inc();
        error!(faults = self.faults.join("; "), "reload refused: what was in force stays, correct the files");
    }
}

/// A release was put in force.
pub struct ReleaseLoaded<'a> {
    /// The model's name; empty without one.
    pub model: &'a str,
    /// The model's version.
    pub version: &'a str,
    /// Its role.
    pub role: &'a str,
}

impl ReleaseLoaded<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().releases.inc();
        if self.model.is_empty() {
            warn!("release in force without a model: rules and stand-in policy answer");
        } else {
            info!(model = self.model, version = self.version, role = self.role, "release in force");
        }
    }
}

/// A model could not be loaded.
pub struct ModelRefused<'a> {
    /// The bundle's place.
    pub bundle: &'a dyn Display,
    /// Why, with the cure.
    pub reason: &'a dyn Display,
}

impl ModelRefused<'_> {
    /// Logs it.
    pub fn emit(&self) {
        error!(bundle = %self.bundle, reason = %self.reason, "model refused");
    }
}

/// The service listens.
pub struct ServiceStarted<'a> {
    /// Where.
    pub address: &'a dyn Display,
}

impl ServiceStarted<'_> {
    /// Logs it.
    pub fn emit(&self) {
        info!(address = %self.address, "listening");
    }
}

/// The service stops taking work.
pub struct DrainStarted {
    /// How long requests in flight may take.
    pub grace: Duration,
}

impl DrainStarted {
    /// Logs it.
    pub fn emit(&self) {
        info!(grace_ms = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX), "draining");
    }
}

/// The service stopped.
pub struct DrainEnded {
    /// Connections cut because their grace was over.
    pub cut: usize,
}

impl DrainEnded {
    /// Logs it.
    pub fn emit(&self) {
        if self.cut == 0 {
            info!("drained");
        } else {
            warn!(connections = self.cut, "grace was over: connections cut");
        }
    }
}

/// The service became ready, or stopped being so.
pub struct ReadinessChanged<'a> {
    /// Whether it is ready.
    pub ready: bool,
    /// Why.
    pub reason: &'a str,
}

impl ReadinessChanged<'_> {
    /// Sets the gauge and logs it.
    pub fn emit(&self) {
        metrics().ready.set(i64::from(self.ready));
        info!(ready = self.ready, reason = self.reason, "readiness changed");
    }
}

/// The service serves everybody without keys, because it was told to.
pub struct InsecureAccess<'a> {
    /// Where it listens.
    pub address: &'a dyn Display,
}

impl InsecureAccess<'_> {
    /// Warns.
    pub fn emit(&self) {
        warn!(address = %self.address, "allow_insecure: everybody who reaches this address may do everything");
    }
}

/// A batch of spans did not reach the collector.
pub struct SpansLost<'a> {
    /// How many.
    pub count: usize,
    /// Why.
    pub reason: &'a dyn Display,
}

impl SpansLost<'_> {
    /// Counts them; the log line is at DEBUG, a dead collector must not flood the log.
    pub fn emit(&self) {
        metrics().spans[2].inc_by(self.count as u64);
        debug!(count = self.count, reason = %self.reason, "spans lost");
    }
}

//! What healing finds, plans and does, and what becomes of its record: events and their metrics.

use std::fmt::Display;

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use tracing::{debug, error, info, warn};

use super::metrics::{Builder, metrics};
use crate::healing::drift::{Distances, Figures};
use crate::healing::finding::Alarm;
use crate::healing::memory::Health;
use crate::healing::situation::Planned;

/// What becomes of an action.
pub const ACTION_OUTCOMES: [&str; 3] = ["planned", "done", "failed"];
/// Figures of a feature's drift.
pub const DRIFT_FIGURES: [&str; 6] = ["psi", "js", "ks", "w1", "null_share", "log_e"];
/// The most features whose drift is shown.
pub const FEATURES_MAX: usize = 256;

/// Metrics of healing.
pub struct Healing {
    /// The state: 1 for the one that holds.
    pub health: Vec<IntGauge>,
    /// Findings that may be acted on, by alarm.
    pub alarms: Vec<IntGauge>,
    /// Actions by what became of them.
    pub actions: IntCounterVec,
    /// Times a row was held, by row and reason.
    pub holds: IntCounterVec,
    /// What protects now.
    pub protections: IntGaugeVec,
    /// Drift by feature and figure.
    pub drift: GaugeVec,
    /// Decisions the healer looked at.
    pub observed: IntCounter,
    /// Decisions it left out, because more came than it looks at.
    pub skipped: IntCounter,
    /// Decisions that found no room in its line.
    pub dropped: IntCounter,
    /// Pages sent.
    pub pages: IntCounter,
    /// Lines of the record that were noted, by kind.
    pub audit_notes: IntCounterVec,
    /// Lines of the record that were written.
    pub audit_lines: IntCounter,
    /// Lines that found no room.
    pub audit_lost: IntCounter,
    /// Whether lines cannot be written now.
    pub audit_failing: IntGauge,
}

impl Healing {
    pub(super) fn new(build: &Builder) -> Self {
        let health = build.gauges("fraudd_health_state", "1 for the state of the service that holds.", &["state"]);
        let alarms = build.gauges("fraudd_alarms", "Findings that may be acted on, by alarm.", &["alarm"]);
        let drift = GaugeVec::new(
            Opts::new("fraudd_feature_drift", "How far a model input is from its baseline, by feature and figure."),
            &["feature", "figure"],
        )
        .expect("names, labels and help are constants of this file, each registered once");
        build.register(drift.clone());
        Self {
            health: Health::ALL.map(|state| health.with_label_values(&[state.name()])).to_vec(),
            alarms: Alarm::ALL.map(|alarm| alarms.with_label_values(&[alarm.name()])).to_vec(),
            actions: build.counters(
                "fraudd_healing_actions_total",
                "Actions of healing, by action and by what became of them.",
                &["action", "outcome"],
            ),
            holds: build.counters(
                "fraudd_healing_holds_total",
                "Times something that the table asks for was held, by row and reason.",
                &["row", "reason"],
            ),
            protections: build.gauges("fraudd_protections", "1 for what protects now, by name.", &["protection"]),
            drift,
            observed: build.counter("fraudd_healer_observed_total", "Decisions that healing looked at."),
            skipped: build
                .counter("fraudd_healer_skipped_total", "Decisions that healing left out: more came than it looks at."),
            dropped: build.counter("fraudd_healer_dropped_total", "Decisions that found no room in healing's line."),
            pages: build.counter("fraudd_pages_total", "Times people were told that they are needed."),
            audit_notes: build.counters("fraudd_audit_notes_total", "Lines noted for the record, by kind.", &["kind"]),
            audit_lines: build.counter("fraudd_audit_lines_total", "Lines of the record that were written."),
            audit_lost: build.counter("fraudd_audit_lost_total", "Lines of the record that found no room."),
            audit_failing: build.gauge(
                "fraudd_audit_failing",
                "1 while the record cannot be written: only protective actions are taken.",
            ),
        }
    }

    /// Shows every family, for the documentation.
    pub(super) fn show_all(&self) {
        self.actions.with_label_values(&["page", "done"]);
        self.holds.with_label_values(&["drift", "explained"]);
        self.protections.with_label_values(&["rules_only"]);
        self.drift.with_label_values(&["none", "psi"]);
        self.audit_notes.with_label_values(&["plan"]);
    }
}

/// How far the inputs of the active model are from its baseline.
pub struct DriftShown<'a> {
    /// The figures of its watch.
    pub figures: &'a Figures,
}

impl DriftShown<'_> {
    /// Sets the gauges: one of each figure for each input that has values, and for the score.
    pub fn emit(&self) {
        let shown = self.figures.inputs.iter().take(FEATURES_MAX).chain([&self.figures.score]);
        for distances in shown.filter(|distances| distances.values > 0) {
            let Distances { name, psi, js, ks, w1, null, log_e, .. } = distances;
            for (figure, value) in DRIFT_FIGURES.into_iter().zip([psi, js, ks, w1, null, log_e]) {
                metrics().healing.drift.with_label_values(&[name, figure]).set(*value);
            }
        }
    }
}

/// Another model answers, or none does: its inputs are others, and nothing is known of them yet.
pub struct DriftForgotten;

impl DriftForgotten {
    /// Removes every gauge.
    pub fn emit(&self) {
        metrics().healing.drift.reset();
    }
}

/// The state of the service changed.
pub struct HealthChanged {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
}

impl HealthChanged {
    /// Sets the gauge and logs it.
    pub fn emit(&self) {
        for (state, gauge) in Health::ALL.iter().zip(&metrics().healing.health) {
            gauge.set(i64::from(*state == self.to));
        }
        let (from, to) = (self.from.name(), self.to.name());
        match self.to {
            Health::Locked => error!(from, to, "service locked: only protection until a person unlocks"),
            Health::Degraded | Health::SafeMode => warn!(from, to, "health changed"),
            Health::Healthy | Health::Recovering => info!(from, to, "health changed"),
        }
    }
}

/// An action was planned.
pub struct ActionPlanned<'a> {
    /// Which.
    pub planned: &'a Planned,
}

impl ActionPlanned<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        let Planned { order, action, row, reason, .. } = self.planned;
        metrics().healing.actions.with_label_values(&[action.name(), "planned"]).inc();
        warn!(order, action = action.name(), row, reason, "action planned");
    }
}

/// An action came to its end.
pub struct ActionEnded<'a> {
    /// Its number.
    pub order: u64,
    /// Its name.
    pub action: &'static str,
    /// Why it failed, when it did.
    pub failure: Option<&'a str>,
}

impl ActionEnded<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        let Self { order, action, failure } = self;
        let outcome = if failure.is_some() { "failed" } else { "done" };
        metrics().healing.actions.with_label_values(&[action, outcome]).inc();
        if let Some(failure) = failure {
            warn!(order, action, failure, "action failed");
        } else {
            info!(order, action, "action done");
        }
    }
}

/// Something the table asks for is held, since now.
pub struct ActionHeld<'a> {
    /// The row.
    pub row: &'a str,
    /// The action; empty for the whole row.
    pub action: &'a str,
    /// Why.
    pub reason: &'static str,
}

impl ActionHeld<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().healing.holds.with_label_values(&[self.row, self.reason]).inc();
        info!(row = self.row, action = self.action, reason = self.reason, "held");
    }
}

/// People are needed.
pub struct Paged<'a> {
    /// The row that asks for them.
    pub row: &'a str,
    /// Why.
    pub reason: &'a str,
}

impl Paged<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().healing.pages.inc();
        error!(row = self.row, reason = self.reason, "people are needed");
    }
}

/// A line was noted for the record.
pub struct AuditNoted {
    /// Its kind.
    pub kind: &'static str,
    /// Whether it found no room.
    pub is_lost: bool,
}

impl AuditNoted {
    /// Counts it.
    pub fn emit(&self) {
        let healing = &metrics().healing;
        healing.audit_notes.with_label_values(&[self.kind]).inc();
        if self.is_lost {
            healing.audit_lost.inc();
        }
        debug!(kind = self.kind, lost = self.is_lost, "noted for the record");
    }
}

/// Lines of the record were written.
pub struct AuditLines {
    /// How many.
    pub count: usize,
    /// The number of the last.
    pub seq: u64,
}

impl AuditLines {
    /// Counts them.
    pub fn emit(&self) {
        metrics().healing.audit_lines.inc_by(self.count as u64);
        debug!(lines = self.count, seq = self.seq, "record written");
    }
}

/// The record cannot be written.
pub struct AuditFailed<'a> {
    /// Why.
    pub error: &'a dyn Display,
}

impl AuditFailed<'_> {
    /// Sets the gauge and logs it.
    pub fn emit(&self) {
        metrics().healing.audit_failing.set(1);
        error!(error = %self.error, "the record cannot be written: only protective actions are taken");
    }
}

/// The record can be written again.
pub struct AuditRecovered;

impl AuditRecovered {
    /// Sets the gauge and logs it.
    pub fn emit(&self) {
        metrics().healing.audit_failing.set(0);
        info!("the record is written again");
    }
}

/// What healing remembers could not be saved or read.
pub struct MemoryUnsaved<'a> {
    /// What was tried.
    pub tried: &'static str,
    /// Why it failed.
    pub error: &'a dyn Display,
}

impl MemoryUnsaved<'_> {
    /// Logs it.
    pub fn emit(&self) {
        error!(tried = self.tried, error = %self.error, "healing's memory: budgets and the lock may not survive a restart");
    }
}

/// The frauds that labels told of could not be kept or read.
pub struct FraudsUnkept<'a> {
    /// What was tried.
    pub tried: &'static str,
    /// Why it failed.
    pub error: &'a dyn Display,
}

impl FraudsUnkept<'_> {
    /// Logs it.
    pub fn emit(&self) {
        error!(tried = self.tried, error = %self.error, "known frauds: after a restart retraining may count fewer than there are");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists the features whose drift is shown, among those of a test.
    fn shown(prefix: &str) -> Vec<(String, String, f64)> {
        use prometheus::core::Collector;
        let families = metrics().healing.drift.collect();
        let all = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric).map(|metric| {
            let labels = metric.get_label();
            let of =
                |name: &str| labels.iter().find(|label| label.name() == name).map(|label| label.value().to_owned());
            (of("feature").unwrap_or_default(), of("figure").unwrap_or_default(), metric.get_gauge().get_value())
        });
        all.filter(|(feature, _, _)| feature.starts_with(prefix)).collect()
    }

    #[test]
    fn drift_is_shown_by_feature_and_figure_within_a_bound_and_forgotten_with_its_model() {
        let named =
            |number: usize| Distances { name: format!("shown_{number}"), values: 9, psi: 0.25, ..Distances::default() };
        let silent = Distances { name: "shown_silent".to_owned(), ..Distances::default() };
        let inputs = std::iter::once(silent).chain((0..FEATURES_MAX).map(named)).collect();
        DriftShown { figures: &Figures { inputs, ..Figures::default() } }.emit();
        let all = shown("shown_");
        assert_eq!(
            all.len(),
            (FEATURES_MAX - 1) * DRIFT_FIGURES.len(),
            "bounded; without a value there is nothing to show"
        );
        assert!(all.contains(&("shown_0".to_owned(), "psi".to_owned(), 0.25)), "{all:?}");
        assert!(!all.iter().any(|(feature, _, _)| feature == "shown_silent"));
        DriftForgotten.emit();
        assert_eq!(shown("shown_"), []);
    }
}

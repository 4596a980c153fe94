//! The process's metrics: one registry, every child resolved once.
//!
//! Events write here; `/metrics` reads here. Gauges that somebody else knows (entities, ledger, queue)
//! are set just before a scrape through [`Metrics::before_scrape`].

mod builder;

use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};

pub(super) use builder::Builder;

use super::bundles::Bundles;
use super::desk::Desk;
use super::fleet::Fleet;
use super::guard::Guards;
use super::healing::Healing;
use super::histogram::Latencies;
use super::inference::Inference;
use super::process::Process;
use super::publisher::Publishing;
use super::retraining::Retraining;
use super::stream_lane::Lanes;
use crate::domain::{DecisionSource, DegradedReason, LabelKind, Outcome};

/// Stages of a decision, in the order of the histogram's children.
pub const STAGES: [&str; 5] = ["total", "features", "rules", "model", "queue"];
/// What became of a label.
pub const LABEL_OUTCOMES: [&str; 3] = ["applied", "pending", "unchanged"];
/// Classes of a response's status.
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// What a spans' queue does with one.
pub const SPAN_OUTCOMES: [&str; 3] = ["exported", "dropped", "failed"];
/// What becomes of a reload.
pub const RELOAD_RESULTS: [&str; 2] = ["applied", "refused"];
/// What the gauges of state count.
pub const STATE_PARTS: [&str; 15] = [
    "entities",
    "entity_events",
    "entity_bytes",
    "labels_pending",
    "ledger_records",
    "ledger_bytes",
    "inference_queue",
    "inference_raw_queue",
    "list_entries",
    "ledger_kept",
    "ledger_index_bytes",
    "ledger_disk_bytes",
    "event_disk_bytes",
    "restored_permille",
    "ledger_waiting",
];
/// What the store spends time on, in the order of the histogram's children.
pub const STORE_CALLS: [&str; 2] = ["write", "sync"];

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    scrape: Mutex<Vec<Hook>>,
    /// Decisions by outcome and source; index by [`Self::decision`].
    decisions: Vec<IntCounter>,
    /// Decisions that were less than whole, by reason.
    pub degraded: Vec<IntCounter>,
    /// Where the time of a decision went, by [`STAGES`].
    pub latency: Shared<Latencies>,
    /// Duplicates answered with the first decision.
    pub duplicates: IntCounter,
    /// Transactions that no model scored, by reason.
    pub model_failures: Vec<IntCounter>,
    /// Rows scored by the model, warm-up and explanations included.
    pub model_rows: IntCounter,
    /// Raw calls of the inference protocol.
    pub inference: Inference,
    /// What goes on at the guards of models.
    pub guards: Guards,
    /// What goes on in the fleet of models.
    pub fleet: Fleet,
    /// What goes on at the HTTP doors.
    pub http: Http,
    /// What goes on at the store.
    pub store: Store,
    /// What becomes of the stream's records.
    pub desk: Desk,
    /// What goes on in the Kafka lanes.
    pub lanes: Lanes,
    /// What comes out of the object store of bundles.
    pub bundles: Bundles,
    /// What goes to topics beside decisions.
    pub publishing: Publishing,
    /// What goes on in retraining.
    pub retraining: Retraining,
    /// What healing finds and does.
    pub healing: Healing,
    /// Labels by kind.
    pub labels: Vec<IntCounter>,
    /// Labels by what became of them.
    pub label_outcomes: Vec<IntCounter>,
    /// Verdicts but `no_hit`, by rule.
    pub rule_verdicts: IntCounterVec,
    /// Reloads of rules, lists and policy by result.
    pub reloads: IntCounterVec,
    /// Releases put in force.
    pub releases: IntCounter,
    /// State by part, set before a scrape.
    pub state: Vec<IntGauge>,
    /// Bounds of state by part, set once.
    state_max: IntGaugeVec,
    /// Whether the service is ready.
    pub ready: IntGauge,
    /// Spans by what became of them.
    pub spans: Vec<IntCounter>,
    /// Panics that were caught or ended a thread.
    pub panics: IntCounter,
}

/// What goes on at the HTTP doors.
pub struct Http {
    /// Requests by status class.
    pub requests: Vec<IntCounter>,
    /// Refusals by problem code.
    pub problems: IntCounterVec,
    /// Requests being served.
    pub in_flight: IntGauge,
    /// Connections open.
    pub connections: IntGauge,
    /// Fields passed over because the contract does not know them.
    pub fields_ignored: IntCounter,
}

/// What goes on at the store.
pub struct Store {
    /// Time of calls, by [`STORE_CALLS`].
    pub latency: Shared<Latencies>,
    /// Frames written.
    pub frames: IntCounter,
    /// Bytes written.
    pub bytes: IntCounter,
    /// Failures by operation.
    pub failures: IntCounterVec,
    /// Whether records cannot be written now.
    pub failing: IntGauge,
    /// Decisions that were not recorded in time.
    pub not_recorded: IntCounter,
    /// Records given up.
    pub lost: IntCounter,
    /// Segments let go, by log.
    pub gone: IntCounterVec,
    /// Bytes of torn tails that were cut.
    pub cut: IntCounter,
    /// Time that lanes of the stream waited for room in the line.
    pub line_wait: Counter,
    /// Decisions let go before the stream had published them.
    pub unpublished_lost: IntCounter,
}

type Hook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// The metrics of this process.
#[must_use]
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

/// A collector that both the registry and we hold.
#[derive(Debug)]
pub struct Shared<C>(Arc<C>);

impl<C> Shared<C> {
    pub(super) fn new(collector: C) -> Self {
        Self(Arc::new(collector))
    }
}

impl<C> Clone for Shared<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> std::ops::Deref for Shared<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C: Collector> Collector for Shared<C> {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

/// Makes the histograms of a decision's stages.
fn stages(build: &Builder) -> Shared<Latencies> {
    let latency = Shared::new(Latencies::new(
        "fraudd_decision_stage_seconds",
        "Where the time of a decision went; queue is the wait for an inference thread.",
        "stage",
        &STAGES,
    ));
    build.register(latency.clone());
    latency
}

impl Metrics {
    fn new() -> Self {
        let build = Builder { registry: Registry::new() };
        let reasons = DegradedReason::ALL.map(DegradedReason::name);
        let latency = stages(&build);
        build.register(Process::new());
        Self {
            decisions: build.decisions(),
            degraded: build.by_label(
                "fraudd_decisions_degraded_total",
                "Decisions that were less than whole, by reason.",
                "reason",
                &reasons,
            ),
            latency,
            duplicates: build.counter("fraudd_duplicates_total", "Requests answered with the first decision again."),
            model_failures: build.by_label(
                "fraudd_model_failures_total",
                "Transactions that no model scored, by reason.",
                "reason",
                &reasons,
            ),
            model_rows: build.counter("fraudd_model_rows_total", "Rows scored by models, explanations included."),
            inference: Inference::new(&build),
            guards: Guards::new(&build),
            fleet: Fleet::new(&build),
            http: Http::new(&build),
            store: Store::new(&build),
            desk: Desk::new(&build),
            lanes: Lanes::new(&build),
            bundles: Bundles::new(&build),
            publishing: Publishing::new(&build),
            retraining: Retraining::new(&build),
            healing: Healing::new(&build),
            labels: build.by_label(
                "fraudd_labels_total",
                "Labels received, by kind.",
                "label",
                &LabelKind::ALL.map(LabelKind::name),
            ),
            label_outcomes: build.by_label(
                "fraudd_label_outcomes_total",
                "What became of labels.",
                "result",
                &LABEL_OUTCOMES,
            ),
            rule_verdicts: build.counters(
                "fraudd_rule_verdicts_total",
                "Rule verdicts other than no_hit, by configured rule.",
                &["rule", "verdict"],
            ),
            reloads: build.counters_from_start(RELOADS, "result", &RELOAD_RESULTS),
            releases: build.counter("fraudd_releases_total", "Releases put in force."),
            state: {
                let vec = build.gauges("fraudd_state", "State held in memory, by part.", &["part"]);
                STATE_PARTS.iter().map(|part| vec.with_label_values(&[part])).collect()
            },
            state_max: build.gauges("fraudd_state_max", STATE_MAX_HELP, &["part"]),
            ready: build.gauge("fraudd_ready", "1 when the service is ready."),
            spans: build.by_label(
                "fraudd_spans_total",
                "Trace spans, by what became of them.",
                "result",
                &SPAN_OUTCOMES,
            ),
            panics: build.counter("fraudd_panics_total", "Panics, each of them a defect."),
            scrape: Mutex::default(),
            registry: build.registry,
        }
    }

    /// Returns the counter of decisions of one outcome and source.
    #[must_use]
    pub fn decision(&self, outcome: Outcome, source: DecisionSource) -> &IntCounter {
        &self.decisions[outcome as usize * DecisionSource::ALL.len() + source as usize]
    }

    /// Adds something to do before each scrape: set gauges of state.
    pub fn before_scrape(&self, hook: impl Fn(&Self) + Send + Sync + 'static) {
        self.scrape.lock().push(Box::new(hook));
    }

    /// Sets a gauge of state; a name that is not one of [`STATE_PARTS`] changes nothing.
    pub fn set_state(&self, part: &str, value: u64) {
        if let Some(index) = STATE_PARTS.iter().position(|known| *known == part) {
            self.state[index].set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Tells the bound of a gauge of state; a name that is not one of [`STATE_PARTS`] changes nothing.
    pub fn set_state_max(&self, part: &str, value: u64) {
        if STATE_PARTS.contains(&part) {
            self.state_max.with_label_values(&[part]).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Appends the Prometheus text format to `out`.
    pub fn scrape(&self, out: &mut Vec<u8>) {
        for hook in self.scrape.lock().iter() {
            hook(self);
        }
        // Writing to memory fails only on a malformed family, which registering has excluded.
        let _ = TextEncoder::new().encode(&self.registry.gather(), out);
    }

    /// Returns the name and help of every metric, for the documentation.
    #[must_use]
    pub fn documented(&self) -> Vec<(String, String)> {
        self.state_max.with_label_values(&["inference_queue"]);
        self.rule_verdicts.with_label_values(&["none", "hit"]);
        self.store.failures.with_label_values(&["write"]);
        self.store.gone.with_label_values(&["ledger"]);
        self.lanes.show_all();
        self.guards.show_all();
        self.healing.show_all();
        let families = self.registry.gather();
        families.iter().map(|family| (family.name().to_owned(), family.help().to_owned())).collect()
    }
}

impl Http {
    fn new(build: &Builder) -> Self {
        Self {
            requests: build.by_label(
                "fraudd_http_requests_total",
                "HTTP requests by class of status.",
                "status",
                &STATUS_CLASSES,
            ),
            problems: build.counters_from_start(
                ("fraudd_http_problems_total", "HTTP refusals by problem code."),
                "code",
                &["internal", "too_many_requests"],
            ),
            in_flight: build.gauge("fraudd_http_requests_in_flight", "HTTP requests being served."),
            connections: build.gauge("fraudd_http_connections", "HTTP connections open."),
            fields_ignored: build
                .counter("fraudd_fields_ignored_total", "Fields passed over because the contract does not know them."),
        }
    }
}

const RELOADS: (&str, &str) = ("fraudd_reloads_total", "Reloads of rules, lists and policy, by result.");
const STATE_MAX_HELP: &str = "Bounds of state, by part; a part without one is not there.";

impl Store {
    fn new(build: &Builder) -> Self {
        let latency = Shared(Arc::new(Latencies::new(
            "fraudd_store_seconds",
            "How long the store's calls to the operating system took.",
            "call",
            &STORE_CALLS,
        )));
        build.register(latency.clone());
        Self {
            latency,
            frames: build.counter("fraudd_store_frames_total", "Transactions, labels and decisions written to disk."),
            bytes: build.counter("fraudd_store_bytes_total", "Bytes written to disk."),
            failures: build.counters(
                "fraudd_store_failures_total",
                "Failures of the disk, by operation.",
                &["operation"],
            ),
            failing: build.gauge("fraudd_store_failing", "1 while decisions cannot be recorded: an alarm."),
            not_recorded: build
                .counter("fraudd_store_not_recorded_total", "Decisions not recorded in time: answered so, or refused."),
            lost: build.counter("fraudd_store_lost_total", "Records given up because too many waited for the disk."),
            gone: build.counters("fraudd_store_segments_gone_total", "Segments let go by retention, by log.", &["log"]),
            cut: build.counter("fraudd_store_cut_bytes_total", "Bytes of torn journal ends cut at start."),
            line_wait: build.seconds("fraudd_store_line_wait_seconds_total", "Time that lanes waited for the store."),
            unpublished_lost: build
                .counter("fraudd_store_unpublished_lost_total", "Decisions let go before they were published."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_the_registry() {
        let page = include_str!("../../docs/metrics.md");
        let documented: Vec<_> = page.lines().filter(|line| line.starts_with("| `fraudd_")).collect();
        let expected: Vec<_> =
            metrics().documented().into_iter().map(|(name, help)| format!("| `{name}` | {help} |")).collect();
        assert_eq!(documented, expected, "\n{}", expected.join("\n"));
    }

    #[test]
    fn bounds_and_both_results_of_reloads_are_there_from_the_start() {
        let registry = Metrics::new();
        registry.set_state_max("entity_bytes", 1_024);
        registry.set_state_max("no such part", 7);
        let mut text = Vec::new();
        registry.scrape(&mut text);
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains(r#"fraudd_state_max{part="entity_bytes"} 1024"#) && !text.contains("no such part"));
        for result in RELOAD_RESULTS {
            assert!(text.contains(&format!(r#"fraudd_reloads_total{{result="{result}"}} 0"#)), "{result}");
        }
    }

    #[test]
    fn decisions_are_counted_apart() {
        let registry = Metrics::new();
        registry.decision(Outcome::Decline, DecisionSource::Standin).inc();
        let mut text = Vec::new();
        registry.scrape(&mut text);
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains(r#"fraudd_decisions_total{outcome="decline",source="standin"} 1"#));
        assert!(text.contains(r#"fraudd_decisions_total{outcome="approve",source="model"} 0"#));
    }
}

//! Makes metrics and registers each once.

use prometheus::core::Collector;
use prometheus::{Counter, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::domain::{DecisionSource, Outcome};

pub(in crate::telemetry) struct Builder {
    pub(super) registry: Registry,
}

const CONSTANT: &str = "names, labels and help are constants of this floor, each registered once";

impl Builder {
    pub(in crate::telemetry) fn register(&self, collector: impl Collector + 'static) {
        self.registry.register(Box::new(collector)).expect(CONSTANT);
    }

    pub(in crate::telemetry) fn counter(&self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::new(name, help).expect(CONSTANT);
        self.register(counter.clone());
        counter
    }

    pub(super) fn seconds(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::new(name, help).expect(CONSTANT);
        self.register(counter.clone());
        counter
    }

    pub(in crate::telemetry) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let counters = IntCounterVec::new(Opts::new(name, help), labels).expect(CONSTANT);
        self.register(counters.clone());
        counters
    }

    /// Builds counters of which those of `values`, which alerts look at, are there from the start: an
    /// increase from nothing is no increase to Prometheus.
    pub(in crate::telemetry) fn counters_from_start(
        &self,
        (name, help): (&str, &str),
        label: &str,
        values: &[&str],
    ) -> IntCounterVec {
        let counters = self.counters(name, help, &[label]);
        for value in values {
            counters.with_label_values(&[value]);
        }
        counters
    }

    /// Builds a counter per value of one label.
    pub(in crate::telemetry) fn by_label(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> Vec<IntCounter> {
        let counters = self.counters(name, help, &[label]);
        values.iter().map(|value| counters.with_label_values(&[value])).collect()
    }

    /// Builds a counter per outcome and source, in the order of [`super::Metrics::decision`].
    pub(super) fn decisions(&self) -> Vec<IntCounter> {
        let help = "Decisions made, by outcome and by who made them.";
        let counters = self.counters("fraudd_decisions_total", help, &["outcome", "source"]);
        let of = |outcome: Outcome| {
            DecisionSource::ALL.map(|source| counters.with_label_values(&[outcome.name(), source.name()]))
        };
        Outcome::ALL.into_iter().flat_map(of).collect()
    }

    pub(in crate::telemetry) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::new(name, help).expect(CONSTANT);
        self.register(gauge.clone());
        gauge
    }

    pub(in crate::telemetry) fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::new(name, help).expect(CONSTANT);
        self.register(gauge.clone());
        gauge
    }

    pub(in crate::telemetry) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect(CONSTANT);
        self.register(gauges.clone());
        gauges
    }
}

//! A latency histogram that costs two relaxed additions per observation.
//!
//! Whole microseconds in, Prometheus seconds out. The count is the sum of the buckets, so nothing
//! else needs to agree with them while somebody is reading.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

/// The upper bounds in microseconds: 25 µs to 1 s.
pub const BOUNDS_MICROS: [u32; 15] =
    [25, 50, 100, 200, 350, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Latencies of one thing, split by one label from a closed set.
#[derive(Debug)]
pub struct Latencies {
    desc: Desc,
    label: &'static str,
    children: Vec<(&'static str, Child)>,
}

#[derive(Debug, Default)]
struct Child {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

impl Latencies {
    /// Builds the histogram with a child per value of `label`.
    ///
    /// # Panics
    /// When the name is no Prometheus name: ours are constants.
    #[must_use]
    pub fn new(name: &str, help: &str, label: &'static str, values: &[&'static str]) -> Self {
        let desc = Desc::new(name.to_owned(), help.to_owned(), vec![label.to_owned()], HashMap::new())
            .expect("names and labels are constants of this crate");
        let children = values.iter().map(|value| (*value, Child::default())).collect();
        Self { desc, label, children }
    }

    /// Counts one observation of the child at `index`.
    pub fn observe_micros(&self, index: usize, micros: u32) {
        let Some((_, child)) = self.children.get(index) else { return };
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_MICROS.len());
        child.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        child.sum_micros.fetch_add(micros.into(), Ordering::Relaxed);
    }

    /// Returns how many observations the child at `index` has.
    #[must_use]
    pub fn count(&self, index: usize) -> u64 {
        self.children
            .get(index)
            .map_or(0, |(_, child)| child.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum())
    }
}

impl Child {
    fn metric(&self, label: &str, value: &str) -> proto::Metric {
        let mut histogram = proto::Histogram::default();
        let mut below = 0;
        let mut buckets = Vec::with_capacity(BUCKETS);
        for (index, count) in self.buckets.iter().enumerate() {
            below += count.load(Ordering::Relaxed);
            let Some(bound) = BOUNDS_MICROS.get(index) else { continue };
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(below);
            bucket.set_upper_bound(f64::from(*bound) / 1e6);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(below);
        histogram.set_sample_sum(self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6);
        let mut pair = proto::LabelPair::default();
        pair.set_name(label.to_owned());
        pair.set_value(value.to_owned());
        let mut metric = proto::Metric::default();
        metric.set_label(vec![pair]);
        metric.set_histogram(histogram);
        metric
    }
}

impl Collector for Latencies {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(self.children.iter().map(|(value, child)| child.metric(self.label, value)).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, Registry, TextEncoder};

    use super::*;

    #[test]
    fn observations_fall_into_their_buckets() {
        let latencies: &'static Latencies =
            Box::leak(Box::new(Latencies::new("t_seconds", "help", "stage", &["total", "model"])));
        for micros in [0, 25, 26, 999_999, 2_000_000] {
            latencies.observe_micros(1, micros);
        }
        latencies.observe_micros(7, 1);
        assert_eq!((latencies.count(0), latencies.count(1)), (0, 5));
        let registry = Registry::new();
        registry.register(Box::new(Borrowed(latencies))).expect("registered");
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).expect("text");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains(r#"t_seconds_bucket{stage="model",le="0.000025"} 2"#), "{text}");
        assert!(text.contains(r#"t_seconds_bucket{stage="model",le="1"} 4"#), "{text}");
        assert!(text.contains(r#"t_seconds_bucket{stage="model",le="+Inf"} 5"#), "{text}");
        assert!(text.contains(r#"t_seconds_count{stage="model"} 5"#), "{text}");
    }

    struct Borrowed(&'static Latencies);

    impl Collector for Borrowed {
        fn desc(&self) -> Vec<&Desc> {
            self.0.desc()
        }

        fn collect(&self) -> Vec<proto::MetricFamily> {
            self.0.collect()
        }
    }
}

//! What happens between us and the object store of bundles, as types: each event knows its log line and metrics.

use std::fmt::Display;

use prometheus::{IntCounter, IntGauge};
use tracing::{info, warn};

use super::metrics::{Builder, metrics};

/// Why something did not come out of a store.
pub const REASONS: [&str; 12] = [
    "unreachable",
    "denied",
    "slow",
    "incomplete",
    "hash",
    "changed",
    "name",
    "too_large",
    "too_many",
    "malformed",
    "taken",
    "disk",
];

/// Metrics of the source of bundles.
pub struct Bundles {
    fetched: IntCounter,
    bytes: IntCounter,
    failures: Vec<IntCounter>,
    looks: Vec<IntCounter>,
    up: IntGauge,
    waiting: IntGauge,
}

impl Bundles {
    pub(super) fn new(build: &Builder) -> Self {
        Self {
            fetched: build.counter("fraudd_bundle_source_fetched_total", "Bundles fetched out of the object store."),
            bytes: build
                .counter("fraudd_bundle_source_bytes_total", "Bytes of bundles fetched out of the object store."),
            failures: build.by_label(
                "fraudd_bundle_source_failures_total",
                "Times a bundle was not fetched, or the object store not read, by reason.",
                "reason",
                &REASONS,
            ),
            looks: build.by_label(
                "fraudd_bundle_source_looks_total",
                "Looks at the object store of bundles, by result.",
                "result",
                &["read", "failed"],
            ),
            up: build.gauge("fraudd_bundle_source_up", "1 while the object store of bundles can be read."),
            waiting: build
                .gauge("fraudd_bundle_source_waiting", "Bundles in the object store that could not be fetched so far."),
        }
    }
}

fn count(reason: &str) {
    if let Some(place) = REASONS.iter().position(|known| *known == reason) {
        metrics().bundles.failures[place].inc();
    }
}

/// A bundle was fetched.
pub struct BundleFetched<'a> {
    /// Its name and version.
    pub bundle: &'a str,
    /// How much it was.
    pub bytes: u64,
}

impl BundleFetched<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().bundles.fetched.inc();
        metrics().bundles.bytes.inc_by(self.bytes);
        info!(bundle = self.bundle, bytes = self.bytes, "bundle fetched: its gates come next");
    }
}

/// A bundle was not fetched.
pub struct BundleNotFetched<'a> {
    /// Its name and version.
    pub bundle: &'a str,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, for people.
    pub error: &'a dyn Display,
    /// Whether this was not told before.
    pub is_news: bool,
}

impl BundleNotFetched<'_> {
    /// Counts it, and logs it when it is news.
    pub fn emit(&self) {
        count(self.reason);
        if self.is_news {
            warn!(bundle = self.bundle, reason = self.reason, error = %self.error, "bundle not fetched");
        }
    }
}

/// The store was looked at.
pub enum SourceLooked<'a> {
    /// It could be read.
    Read {
        /// How many bundles it has.
        bundles: usize,
        /// How many of them could not be fetched so far.
        waiting: usize,
        /// Whether it could not be read before.
        is_news: bool,
    },
    /// It could not.
    Failed {
        /// Why, in one word.
        reason: &'static str,
        /// Why, for people.
        error: &'a dyn Display,
        /// Whether this was not told before.
        is_news: bool,
    },
}

impl SourceLooked<'_> {
    /// Counts it, and logs it when it is news.
    pub fn emit(&self) {
        let bundles = &metrics().bundles;
        match self {
            Self::Read { bundles: count, waiting, is_news } => {
                bundles.looks[0].inc();
                bundles.up.set(1);
                bundles.waiting.set(i64::try_from(*waiting).unwrap_or(i64::MAX));
                if *is_news {
                    info!(bundles = count, "the object store of bundles can be read again");
                }
            }
            Self::Failed { reason, error, is_news } => {
                count(reason);
                bundles.looks[1].inc();
                bundles.up.set(0);
                if *is_news {
                    warn!(reason, error = %error, "the object store of bundles cannot be read: it is tried again");
                }
            }
        }
    }
}

//! What happens to the record and to requests on their way to their topics, as types.

use prometheus::{IntCounter, IntGauge};
use tracing::{info, warn};

use super::metrics::{Builder, metrics};

/// What is published.
const TOPICS: [&str; 2] = ["audit", "retrain"];

/// Metrics of the publisher.
pub struct Publishing {
    taken: Vec<IntCounter>,
    failures: Vec<IntCounter>,
    waiting: Vec<IntGauge>,
    lost: IntCounter,
}

impl Publishing {
    pub(super) fn new(build: &Builder) -> Self {
        let waiting = build.gauges(
            "fraudd_publish_waiting",
            "Lines of the record and requests for a new model that the broker does not have yet.",
            &["topic"],
        );
        Self {
            taken: build.by_label(
                "fraudd_published_total",
                "Lines of the record and requests for a new model that the broker took.",
                "topic",
                &TOPICS,
            ),
            failures: build.by_label(
                "fraudd_publish_failures_total",
                "Batches of the record and of requests that the broker did not take: they are sent again.",
                "topic",
                &TOPICS,
            ),
            waiting: TOPICS.iter().map(|topic| waiting.with_label_values(&[topic])).collect(),
            lost: build.counter(
                "fraudd_publish_lost_total",
                "Lines of the record that went with their file before they were published: an alarm.",
            ),
        }
    }
}

fn place(what: &str) -> usize {
    TOPICS.iter().position(|known| *known == what).unwrap_or(0)
}

/// A batch was handed to the broker.
pub enum Published<'a> {
    /// The broker has it.
    Taken {
        /// What it is of.
        what: &'static str,
        /// How many.
        count: usize,
        /// Whether the one before was not taken.
        is_news: bool,
    },
    /// The broker does not have it.
    Refused {
        /// What it is of.
        what: &'static str,
        /// Why.
        reason: &'a str,
        /// Whether this was not told before.
        is_news: bool,
    },
}

impl Published<'_> {
    /// Counts it, and logs it when it is news.
    pub fn emit(&self) {
        let publishing = &metrics().publishing;
        match self {
            Self::Taken { what, count, is_news } => {
                publishing.taken[place(what)].inc_by(*count as u64);
                if *is_news {
                    info!(topic = what, "published again");
                }
            }
            Self::Refused { what, reason, is_news } => {
                publishing.failures[place(what)].inc();
                if *is_news {
                    warn!(topic = what, reason, "not published: it waits and is sent again");
                }
            }
        }
    }
}

/// Lines of the record are gone that were not published.
pub struct LinesGone {
    /// The first of them.
    pub from: u64,
    /// The last of them.
    pub until: u64,
}

impl LinesGone {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().publishing.lost.inc_by(self.until.saturating_sub(self.from) + 1);
        let Self { from, until } = self;
        tracing::error!(from, until, "lines of the record went before they were published: copy them by hand");
    }
}

/// How much waits.
pub struct Waiting {
    /// Lines of the record.
    pub lines: u64,
    /// Requests for a new model.
    pub requests: u64,
}

impl Waiting {
    /// Sets the gauges.
    pub fn emit(&self) {
        let waiting = &metrics().publishing.waiting;
        waiting[0].set(i64::try_from(self.lines).unwrap_or(i64::MAX));
        waiting[1].set(i64::try_from(self.requests).unwrap_or(i64::MAX));
    }
}

//! What happens to retraining and to what is told to others, as types: each event knows its log line and metrics.

use std::io;

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use tracing::{debug, error, info, warn};

use super::metrics::{Builder, metrics};
use crate::healing::retraining::Outcome;

/// The ways out of a request.
const DOORS: [&str; 3] = ["command", "webhook", "stream"];
/// What becomes of an event for a webhook.
const WEBHOOK_RESULTS: [&str; 3] = ["delivered", "given_up", "dropped"];

/// Counters of retraining.
pub struct Retraining {
    requests: IntCounterVec,
    unheard: IntCounter,
    outcomes: Vec<IntCounter>,
    under_way: IntGauge,
    webhook: Vec<IntCounter>,
    webhook_retries: IntCounter,
}

impl Retraining {
    pub(super) fn new(build: &Builder) -> Self {
        Self {
            requests: build.counters_from_start(
                ("fraudd_retraining_requests_total", "Requests for a new model, by who took them."),
                "door",
                &DOORS,
            ),
            unheard: build
                .counter("fraudd_retraining_unheard_total", "Requests for a new model that nobody took: an alarm."),
            outcomes: build.by_label(
                "fraudd_retraining_outcomes_total",
                "What came of requests for a new model.",
                "outcome",
                &Outcome::ALL.map(Outcome::name),
            ),
            under_way: build.gauge("fraudd_retraining_under_way", "1 while a request for a new model is under way."),
            webhook: build.by_label(
                "fraudd_webhook_events_total",
                "Events for the webhook, by what became of them.",
                "result",
                &WEBHOOK_RESULTS,
            ),
            webhook_retries: build
                .counter("fraudd_webhook_retries_total", "Deliveries to the webhook that were tried again."),
        }
    }
}

/// A new model was asked for.
pub struct RetrainingAsked<'a> {
    /// The request's id.
    pub id: &'a str,
    /// What speaks for it.
    pub reason: &'a str,
    /// Who took it.
    pub taken: &'a [&'static str],
    /// Who did not, and why.
    pub refused: &'a [String],
}

impl RetrainingAsked<'_> {
    /// Counts it and logs it.
    pub fn emit(&self) {
        let Self { id, reason, taken, refused } = self;
        for door in *taken {
            metrics().retraining.requests.with_label_values(&[door]).inc();
        }
        metrics().retraining.under_way.set(1);
        if taken.is_empty() {
            metrics().retraining.unheard.inc();
            error!(id, reason, refused = refused.join("; "), "a new model is needed, and nobody takes the request");
        } else {
            let (taken, refused) = (taken.join(", "), refused.join("; "));
            info!(id, reason, taken, refused, "a new model is asked for");
        }
    }
}

/// Something came of a request.
pub struct RetrainingEnded<'a> {
    /// The request's id.
    pub id: &'a str,
    /// In one word.
    pub outcome: Outcome,
    /// In one line.
    pub said: &'a str,
}

impl RetrainingEnded<'_> {
    /// Counts it and logs it.
    pub fn emit(&self) {
        let Self { id, outcome, said } = self;
        metrics().retraining.outcomes[*outcome as usize].inc();
        metrics().retraining.under_way.set(0);
        let name = outcome.name();
        match outcome {
            Outcome::Delivered => info!(id, said, "retraining delivered a candidate"),
            Outcome::NothingBetter | Outcome::TooLittle => {
                info!(id, outcome = name, said, "retraining brought nothing");
            }
            Outcome::Failed => warn!(id, said, "retraining failed: it is asked for again after a pause"),
        }
    }
}

/// The command that trains said something.
pub struct TrainerSaid<'a> {
    /// The line, cut.
    pub line: &'a str,
    /// Whether no further line is logged.
    pub is_last: bool,
}

impl TrainerSaid<'_> {
    /// Logs it.
    pub fn emit(&self) {
        info!(line = self.line, "the retraining command says");
        if self.is_last {
            info!("the retraining command says more, which is not logged");
        }
    }
}

/// What retraining must remember could not be written.
pub struct RetrainingNotKept<'a> {
    /// Why.
    pub error: &'a io::Error,
}

impl RetrainingNotKept<'_> {
    /// Logs it.
    pub fn emit(&self) {
        error!(error = %self.error, "what retraining remembers cannot be written: a restart would forget it");
    }
}

/// Something became of an event for the webhook.
pub enum WebhookEvent<'a> {
    /// It was taken.
    Delivered {
        /// The event's id.
        id: &'a str,
        /// After so many tries.
        tries: u32,
    },
    /// It was not, and is tried again.
    Again {
        /// The event's id.
        id: &'a str,
        /// Why not.
        reason: &'a str,
    },
    /// It was not, and is given up.
    GivenUp {
        /// The event's id.
        id: &'a str,
        /// Why not.
        reason: &'a str,
    },
    /// Too many waited already.
    Dropped {
        /// The event's id.
        id: &'a str,
    },
}

impl WebhookEvent<'_> {
    /// Counts it and logs it.
    pub fn emit(&self) {
        let retraining = &metrics().retraining;
        match self {
            Self::Delivered { id, tries } => {
                retraining.webhook[0].inc();
                info!(id, tries, "the webhook took an event");
            }
            Self::Again { id, reason } => {
                retraining.webhook_retries.inc();
                debug!(id, reason, "the webhook did not take an event: it is tried again");
            }
            Self::GivenUp { id, reason } => {
                retraining.webhook[1].inc();
                error!(id, reason, "the webhook does not take an event: given up");
            }
            Self::Dropped { id } => {
                retraining.webhook[2].inc();
                error!(id, "too many events wait for the webhook: this one is dropped");
            }
        }
    }
}

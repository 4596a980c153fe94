//! What goes on at the guards of models: moves of a breaker, threads that hang or die. Events and their metrics.

use std::fmt::Display;
use std::time::Duration;

use prometheus::{IntCounter, IntGaugeVec};
use tracing::{error, info, warn};

use super::metrics::{Builder, metrics};
use crate::domain::DegradedReason;
use crate::healing::breaker::{Cause, Place, Transition};

/// What may happen to an inference thread.
pub const THREAD_ENDS: [&str; 2] = ["hung", "died"];

/// Metrics of guards.
pub struct Guards {
    /// 1 for the place where the breaker of a role's model stands.
    pub places: IntGaugeVec,
    /// Moves of breakers by cause.
    pub moves: Vec<IntCounter>,
    /// Moves by the place they led to.
    pub places_entered: Vec<IntCounter>,
    /// Inference threads that did not go on, by [`THREAD_ENDS`].
    pub threads: Vec<IntCounter>,
}

impl Guards {
    pub(super) fn new(build: &Builder) -> Self {
        Self {
            places: build.gauges(
                "fraudd_breaker_state",
                "1 for the state in which the breaker of a model is, by the model's role.",
                &["role", "state"],
            ),
            moves: build.by_label(
                "fraudd_breaker_transitions_total",
                "Moves of breakers, by cause.",
                "cause",
                &Cause::ALL.map(Cause::name),
            ),
            places_entered: build.by_label(
                "fraudd_breaker_entered_total",
                "Moves of breakers, by the state they led to; those of a person are the forced ones.",
                "state",
                &Place::ALL.map(Place::name),
            ),
            threads: build.by_label(
                "fraudd_inference_threads_lost_total",
                "Inference threads that did not come back (hung) or ended by a panic (died).",
                "end",
                &THREAD_ENDS,
            ),
        }
    }

    /// Lets every gauge be there, for the documentation.
    pub(super) fn show_all(&self) {
        self.places.with_label_values(&["active", "closed"]);
    }
}

/// Sets the state of each role's breaker; roles without a model show none.
pub fn tell_places<'a>(places: impl Iterator<Item = (&'a str, Place)>) {
    let gauge = &metrics().guards.places;
    gauge.reset();
    for (role, stands) in places {
        for place in Place::ALL {
            gauge.with_label_values(&[role, place.name()]).set(i64::from(place == stands));
        }
    }
}

/// A breaker moved.
pub struct BreakerMoved<'a> {
    /// How.
    pub transition: &'a Transition,
}

impl BreakerMoved<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        let (told, moved) = (self.transition, &self.transition.change);
        let (model, cause, percent) = (&told.model, moved.cause.name(), moved.percent);
        let (from, to, reason) = (moved.from.name(), moved.to.name(), told.reason.as_deref().unwrap_or_default());
        if moved.is_observed {
            warn!(%model, cause, "the breaker would have opened: it only watches, as a person wants");
            return;
        }
        let guards = &metrics().guards;
        guards.moves[moved.cause as usize].inc();
        guards.places_entered[moved.to as usize].inc();
        let by = told.by.as_deref().unwrap_or_default();
        match moved.to {
            Place::Open => {
                let (good, slow, hard) = (moved.counts.good, moved.counts.slow, moved.counts.hard);
                warn!(%model, from, cause, good, slow, hard, "the breaker opened: rules answer");
            }
            Place::Closed => info!(%model, from, cause, by, "the breaker closed: the model answers"),
            Place::Probe | Place::Shadow | Place::Ramp => info!(%model, from, to, cause, percent, "the model is tried"),
            Place::ForcedOpen | Place::ForcedClosed | Place::ObserveOnly => {
                warn!(%model, from, to, by, reason, "the breaker is forced");
            }
        }
    }
}

/// A transaction was kept from its model.
pub struct CallRefused;

impl CallRefused {
    /// Counts it among the transactions that no model scored.
    pub fn emit(&self) {
        metrics().model_failures[DegradedReason::BreakerOpen as usize].inc();
    }
}

/// An inference thread did not come back and was written off.
pub struct ThreadHung {
    /// How long its run had lasted.
    pub ran: Duration,
}

impl ThreadHung {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().guards.threads[0].inc();
        warn!(ran_ms = self.ran.as_millis(), "an inference run does not end: its thread is written off and replaced");
    }
}

/// An inference thread ended by a panic.
pub struct ThreadDied {
    /// Whether another takes its place.
    pub replaced: bool,
}

impl ThreadDied {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().guards.threads[1].inc();
        if self.replaced {
            warn!("an inference thread died and is replaced");
        } else {
            error!("an inference thread died, and too many did before: it is not replaced, restart the service");
        }
    }
}

/// An inference thread could not be replaced.
pub struct ThreadNotReplaced<'a> {
    /// Why.
    pub reason: &'a dyn Display,
}

impl ThreadNotReplaced<'_> {
    /// Logs it.
    pub fn emit(&self) {
        error!(reason = %self.reason, "an inference thread could not be replaced: rules answer what it would have scored");
    }
}

/// Too many threads of a model were written off: the process ends, to be started anew.
pub struct ProcessRecycles<'a> {
    /// Whose threads.
    pub model: &'a dyn Display,
    /// How many.
    pub threads: u64,
}

impl ProcessRecycles<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let (model, threads) = (self.model, self.threads);
        error!(%model, threads, "inference threads hang and cannot be freed: draining, to be started anew");
    }
}

/// The model that would be started crashed the process before.
pub struct ModelCrashes<'a> {
    /// Which.
    pub model: &'a dyn Display,
    /// How often in a row.
    pub crashes: u32,
}

impl ModelCrashes<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let (model, crashes) = (self.model, self.crashes);
        error!(%model, crashes, "the process ended soon after this model was activated, again: it is not started");
    }
}

/// The boot guard cannot remember.
pub struct BootGuardBlind<'a> {
    /// Why.
    pub reason: &'a dyn Display,
    /// Whether it was meant to.
    pub is_fault: bool,
}

impl BootGuardBlind<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let reason = self.reason;
        if self.is_fault {
            warn!(%reason, "a model that crashes the process would not be known at the next start");
        } else {
            info!(%reason, "a model that crashes the process would not be known at the next start");
        }
    }
}

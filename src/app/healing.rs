//! Wires healing: what the loop asks and which hands act for it.
//!
//! Protection is put in force through the scorer's shield. What nobody here can do is refused with its reason, which
//! the planner takes as a failure: it protects instead, and says so.

use std::sync::Arc;

use anyhow::Context;

use crate::config::Healing;
use crate::healing::situation::{ActiveFacts, Cause, FleetFacts, Planned};
use crate::healing::{Action, ModelRef};
use crate::runtime::audit::Audit;
use crate::runtime::clock::Clock;
use crate::runtime::executor::{self, Executor, Hand};
use crate::runtime::healer::{Healer, Parts, Sources};
use crate::runtime::scorer::Scorer;
use crate::tasks::Shutdown;
use crate::telemetry::healing::Paged;

/// The threads of healing, to be waited for.
pub(super) struct Running {
    pub(super) healer: Healer,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Opens the record and starts executor and loop; the scorer feeds it from then on.
    ///
    /// # Errors
    /// A record that cannot be opened, no threads.
    pub(super) fn start(
        healing: &Healing,
        scorer: &Scorer,
        (clock, shutdown): (&Clock, &Shutdown),
    ) -> anyhow::Result<Self> {
        let audit = Audit::open(healing.audit.clone(), clock.clone()).context("tried to open the record")?;
        let times = (clock.clone(), executor::Options::default());
        let (executor, acting) = Executor::start(hand(scorer), audit.clone(), times, shutdown.clone())
            .context("tried to start the executor")?;
        let parts = Parts { sources: sources(scorer, clock), executor, audit, clock: clock.clone() };
        let started = Healer::start(healing.healer.clone(), parts, shutdown.clone());
        let (healer, turning) = started.context("tried to start the healer")?;
        scorer.feed_to(healer.feed().clone());
        Ok(Self { healer, threads: vec![turning, acting] })
    }

    /// Waits for the threads, which end when the service stops, and closes the record behind them. Blocks.
    pub(super) fn close(self) {
        for thread in self.threads {
            // Its panic was logged by the hook.
            let _ = thread.join();
        }
        self.healer.audit().close();
    }
}

/// What can be said without a fleet: who answers since the start.
fn sources(scorer: &Scorer, clock: &Clock) -> Sources {
    let (scorer, since) = (scorer.clone(), clock.now());
    let fleet = move || {
        let release = scorer.release();
        let active = release.model.as_ref().map(|model| {
            let (name, version, sha256) = (model.name.clone(), model.version.clone(), model.sha256.clone());
            ActiveFacts { model: ModelRef { name, version, sha256 }, since, cause: Cause::Start, quality: None }
        });
        FleetFacts { active, ..FleetFacts::default() }
    };
    Sources { fleet: Box::new(fleet), ..Sources::default() }
}

/// Acts: protections by the shield, people by the log, everything else is refused with its reason.
fn hand(scorer: &Scorer) -> Hand {
    let shield = Arc::clone(scorer.shield());
    Arc::new(move |planned: &Planned| {
        match &planned.action {
            Action::RulesOnly => shield.change(|protections| protections.is_safe_mode = true),
            Action::ModelAgain => shield.change(|protections| protections.is_safe_mode = false),
            Action::Mask { feature } => shield.change(|protections| {
                protections.masked.retain(|masked| masked != feature);
                protections.masked.push(feature.clone());
            }),
            Action::Unmask { feature } => {
                shield.change(|protections| protections.masked.retain(|masked| masked != feature));
            }
            Action::Tighten => shield.change(|protections| protections.is_tight = true),
            Action::WidenReview => shield.change(|protections| protections.is_wide = true),
            Action::Relax => shield.change(|protections| {
                protections.is_tight = false;
                protections.is_wide = false;
            }),
            Action::Page => Paged { row: &planned.row, reason: &planned.reason }.emit(),
            // The planner holds it: there is nothing else to be done.
            Action::Lock => {}
            Action::Swap { .. }
            | Action::Quarantine { .. }
            | Action::Promote { .. }
            | Action::Recalibrate { .. }
            | Action::Union
            | Action::RestartInference
            | Action::PauseIntake
            | Action::ResumeIntake
            | Action::RequestRetraining => return Err("nobody here can do that".to_owned()),
        }
        Ok(())
    })
}

//! The hand of healing: each planned action, done.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Site;
use super::asking::Asks;
use crate::domain::Timestamp;
use crate::edge::outbound::webhook::{Event, Webhook};
use crate::healing::quality::Fitted;
use crate::healing::retraining::Ask;
use crate::healing::situation::Planned;
use crate::healing::{Action, ModelRef, Stage};
use crate::runtime::boot::BootGuard;
use crate::runtime::clock::Clock;
use crate::runtime::executor::Hand;
use crate::runtime::fleet::Fleet;
use crate::runtime::protection::Shield;
use crate::runtime::watchers::Watchers;
use crate::telemetry::fleet::Calibrated;
use crate::telemetry::healing::Paged;

/// The type of the event that tells people.
const PAGED: &str = "fraudd.healing.page.v1";

/// What the hand works with.
struct Tools {
    fleet: Arc<Fleet>,
    shield: Arc<Shield>,
    boot: Arc<BootGuard>,
    asks: Asks,
    webhook: Option<Webhook>,
    has_stream: bool,
    watchers: Arc<Mutex<Watchers>>,
    clock: Clock,
}

/// Makes the hand.
pub(super) fn hand(site: &Site<'_>, watchers: &Arc<Mutex<Watchers>>) -> Hand {
    let service = site.service;
    let tools = Tools {
        fleet: Arc::clone(&service.fleet),
        shield: Arc::clone(service.scorer.shield()),
        boot: Arc::clone(site.boot),
        asks: Asks::new(site, watchers),
        webhook: site.outbound.webhook.clone(),
        has_stream: service.outbox.is_some(),
        watchers: Arc::clone(watchers),
        clock: service.clock.clone(),
    };
    Arc::new(move |planned| tools.perform(planned))
}

impl Tools {
    fn perform(&self, planned: &Planned) -> Result<(), String> {
        let said = |error: crate::runtime::fleet::Error| error.to_string();
        match &planned.action {
            Action::RulesOnly => self.shield.change(|protections| protections.is_safe_mode = true),
            Action::ModelAgain => self.shield.change(|protections| protections.is_safe_mode = false),
            Action::Mask { feature } => self.shield.change(|protections| {
                protections.masked.retain(|masked| masked != feature);
                protections.masked.push(feature.clone());
            }),
            Action::Unmask { feature } => {
                self.shield.change(|protections| protections.masked.retain(|masked| masked != feature));
            }
            Action::Tighten => self.shield.change(|protections| protections.is_tight = true),
            Action::WidenReview => self.shield.change(|protections| protections.is_wide = true),
            Action::Relax => {
                self.shield.change(|protections| {
                    protections.is_tight = false;
                    protections.is_wide = false;
                });
                self.fleet.unite(false).map_err(said)?;
            }
            Action::Swap { to, .. } => {
                self.fleet.swap(to).map_err(said)?;
                self.activated(to);
            }
            Action::Quarantine { model } => self.fleet.quarantine(model, &planned.reason).map_err(said)?,
            Action::Promote { model, percent: 0 } => self.fleet.shadow(model).map_err(said)?,
            Action::Promote { model, percent: 100.. } => {
                self.fleet.promote(model).map_err(said)?;
                self.activated(model);
            }
            Action::Promote { model, percent } => self.fleet.canary(model, *percent).map_err(said)?,
            Action::RestartInference => self.restart_inference()?,
            Action::RequestRetraining => self.ask_for_a_model()?,
            Action::Page => self.page(planned),
            // The planner holds it: there is nothing else to be done.
            Action::Lock => {}
            Action::Recalibrate { model } => {
                let fitted = self.watchers.lock().fit(model).map_err(|unfit| unfit.to_string())?;
                self.fleet.calibrate(model, Some(fitted.map)).map_err(said)?;
                let Fitted { map, log_e, held_out } = fitted;
                Calibrated { model, map: &map, log_e, held_out }.emit();
            }
            Action::Uncalibrate { model } => self.fleet.calibrate(model, None).map_err(said)?,
            Action::Union => self.fleet.unite(true).map_err(said)?,
            Action::PauseIntake if !self.has_stream => return Err("there is no stream: [kafka] is not set".to_owned()),
            Action::PauseIntake => self.shield.change(|protections| protections.is_paused = true),
            Action::ResumeIntake => self.shield.change(|protections| protections.is_paused = false),
        }
        Ok(())
    }

    /// The process has to live on with this model to have proven it.
    fn activated(&self, model: &ModelRef) {
        self.boot.begin(model, self.clock.now());
    }

    fn restart_inference(&self) -> Result<(), String> {
        let active = self.fleet.placed().into_iter().find(|(place, _)| *place == Stage::Active.name());
        let (_, model) = active.ok_or("no model answers")?;
        model.inference.restart().map(|_threads| ())
    }

    fn ask_for_a_model(&self) -> Result<(), String> {
        match self.asks.ask(self.clock.now()) {
            Ask::Request(_) => Ok(()),
            Ask::Hold(hold) => Err(hold.to_string()),
        }
    }

    fn page(&self, planned: &Planned) {
        Paged { row: &planned.row, reason: &planned.reason }.emit();
        if let Some(webhook) = &self.webhook {
            let event = page(planned, self.clock.now());
            // One that is refused is counted there; the log and the metric have told it.
            let _ = webhook.send(&event);
        }
    }
}

fn page(planned: &Planned, time: Timestamp) -> Event {
    Event {
        id: format!("page-{}-{}", planned.order, time.micros()),
        kind: PAGED,
        subject: planned.row.clone(),
        time,
        data: serde_json::to_value(planned).unwrap_or_default(),
    }
}

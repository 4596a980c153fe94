//! Asking for a new model: what is known when the question is put, for the plan that would ask and the hand that does.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Site;
use crate::domain::{Span, Timestamp};
use crate::healing::retraining::{Ask, Incidents, LabelFeed, Situation};
use crate::healing::situation::Asking;
use crate::healing::{Finding, ModelRef, Verdict};
use crate::runtime::fleet::Fleet;
use crate::runtime::retraining::Retraining;
use crate::runtime::watchers::Watchers;

/// Puts the question whether a model is asked for.
pub(super) struct Asks {
    fleet: Arc<Fleet>,
    retraining: Arc<Retraining>,
    watchers: Arc<Mutex<Watchers>>,
    maturity: Span,
}

impl Asks {
    pub(super) fn new(site: &Site<'_>, watchers: &Arc<Mutex<Watchers>>) -> Self {
        Self {
            fleet: Arc::clone(&site.service.fleet),
            retraining: Arc::clone(&site.outbound.retraining),
            watchers: Arc::clone(watchers),
            maturity: site.settings.retraining.ask.maturity,
        }
    }

    /// Asks for a model if everything speaks for it.
    pub(super) fn ask(&self, now: Timestamp) -> Ask {
        self.with(now, |situation| self.retraining.ask(situation))
    }

    /// Tells whether one would be asked for now; while nothing may be acted on nobody wants to know.
    pub(super) fn consider(&self, now: Timestamp, findings: &[Finding]) -> Option<Asking> {
        findings.iter().any(|finding| finding.verdict == Verdict::Acting).then(|| {
            let hold = match self.with(now, |situation| self.retraining.consider(situation)) {
                Ask::Request(_) => None,
                Ask::Hold(hold) => Some(hold.to_string()),
            };
            Asking { hold }
        })
    }

    fn with(&self, now: Timestamp, ask: impl FnOnce(&Situation<'_>) -> Ask) -> Ask {
        let facts = self.fleet.facts();
        let active = facts.active.map(|active| active.model);
        let models: Vec<ModelRef> = active.iter().cloned().collect();
        let (findings, frauds) = {
            let watchers = self.watchers.lock();
            (watchers.open(), watchers.mature_frauds(now, self.maturity))
        };
        ask(&Situation {
            now,
            findings: &findings,
            active: active.as_ref(),
            models: &models,
            labels: LabelFeed::of(&findings, Some(frauds)),
            // Those that retraining has noted count.
            incidents: &Incidents::default(),
            is_trial_on: facts.trial.is_some(),
        })
    }
}

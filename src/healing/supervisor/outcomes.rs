//! What became of actions: noted in incidents, protections and changes of model.
//!
//! An action without a word within `times.outcome_max` counts as failed, unless the facts show that it took place.

use super::{Planner, RELIEF};
use crate::domain::Timestamp;
use crate::healing::action::Action;
use crate::healing::memory::{Ordered, TriedState, Verifying, key_of};

impl Planner<'_> {
    pub(super) fn settle(&mut self) {
        let (situation, now) = (self.situation, self.now);
        let late = now.minus(self.table.times.outcome_max);
        let mut settled: Vec<(Ordered, Timestamp, bool)> = Vec::new();
        self.memory.ordered.retain(|ordered| {
            let told = situation.outcomes.iter().find(|outcome| outcome.order == ordered.planned.order);
            let is_so = match &ordered.planned.action {
                Action::Swap { to, .. } => situation.active() == Some(to),
                _ => false,
            };
            match told {
                Some(outcome) => settled.push((ordered.clone(), outcome.at, outcome.failure.is_none() || is_so)),
                None if ordered.at <= late => settled.push((ordered.clone(), now, is_so)),
                None => return true,
            }
            false
        });
        for (ordered, at, is_done) in settled {
            let state = if is_done { TriedState::Done } else { TriedState::Failed };
            let key = key_of(&ordered.planned.action);
            if let Some(incident) = self.memory.incident(ordered.planned.incident) {
                incident.note(&key, state, at);
            }
            if is_done { self.done(&ordered, &key, at) } else { self.failed(&ordered, &key) }
        }
    }

    fn done(&mut self, ordered: &Ordered, key: &str, at: Timestamp) {
        if let Some(protection) = self.memory.protections.get_mut(key) {
            protection.is_in_force = true;
        }
        let planned = &ordered.planned;
        match &planned.action {
            Action::Swap { .. } => self.swapped(ordered, at),
            Action::ModelAgain => self.ended("rules_only"),
            Action::Unmask { .. } => self.ended(key),
            Action::Relax => RELAXED.iter().for_each(|name| self.ended(name)),
            Action::ResumeIntake => {
                // Whoever asked for it had it: an incident pauses once.
                self.memory.protections.remove(PAUSE);
                self.memory.incidents.iter_mut().for_each(|incident| incident.claims.retain(|claim| claim != PAUSE));
            }
            Action::Promote { .. } | Action::Quarantine { .. } => {
                let cool_down = self.table.find(&planned.row).map(|row| row.cool_down).unwrap_or_default();
                self.rest(&planned.row, key, at.plus(cool_down));
            }
            Action::RulesOnly
            | Action::Recalibrate { .. }
            | Action::Uncalibrate { .. }
            | Action::Mask { .. }
            | Action::Tighten
            | Action::WidenReview
            | Action::Union
            | Action::RestartInference
            | Action::PauseIntake
            | Action::RequestRetraining
            | Action::Page
            | Action::Lock => {}
        }
    }

    fn failed(&mut self, ordered: &Ordered, key: &str) {
        let planned = &ordered.planned;
        if self.memory.protections.get(key).is_some_and(|protection| !protection.is_in_force) {
            self.memory.protections.remove(key);
        }
        if let Action::Swap { .. } = &planned.action {
            self.memory.swaps.retain(|swap| swap.order != planned.order);
        }
        let until = self.now.plus(self.table.times.retry);
        self.rest(&planned.row, key, until);
        if planned.incident.is_none() {
            self.rest(RELIEF, key, until);
        }
    }

    fn swapped(&mut self, ordered: &Ordered, at: Timestamp) {
        let (planned, number) = (&ordered.planned, ordered.planned.order);
        if let Some(taken_back) = ordered.takes_back {
            self.memory.swaps.iter_mut().filter(|swap| swap.order == taken_back).for_each(|s| s.is_taken_back = true);
        }
        let Some(row) = self.table.find(&planned.row) else { return };
        self.memory.cooling.insert(format!("{}/swap", row.id), at.plus(row.cool_down));
        if ordered.takes_back.is_none() && row.verify.is_some() {
            let (row, incident) = (row.id.clone(), planned.incident);
            self.memory.verifying.push(Verifying { order: number, row, incident, since: at, is_paged: false });
        }
    }

    /// A protection came to its end; whoever still claims it has to ask again.
    fn ended(&mut self, key: &str) {
        self.memory.protections.remove(key);
        for incident in &mut self.memory.incidents {
            if incident.claims.remove(key) {
                incident.tried.retain(|tried| tried.name != key);
            }
        }
    }
}

/// What [`Action::ResumeIntake`] ends.
const PAUSE: &str = "pause_intake";
/// What [`Action::Relax`] ends.
pub(super) const RELAXED: [&str; 3] = ["tighten", "widen_review", "union"];

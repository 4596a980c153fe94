//! New models on trial: the one that waits begins, the one that won moves on by one step, the one that lost is out.

use super::{Because, Planner};
use crate::healing::action::Action;
use crate::healing::memory::key_of;
use crate::healing::model::ModelRef;
use crate::healing::situation::TrialVerdict;
use crate::healing::table::{Act, TrialEvent};

impl Planner<'_> {
    pub(super) fn act_on_trials(&mut self) {
        let Some((event, model, percent)) = self.event() else { return };
        let table = self.table;
        let Some(row) = table.row.iter().find(|row| row.trial == Some(event)) else { return };
        let mut is_moved = false;
        for step in &row.then {
            let action = match step.act {
                Act::Promote => Action::Promote { model: model.clone(), percent },
                Act::Quarantine => Action::Quarantine { model: model.clone() },
                // Told once, together with what was done.
                Act::Page if is_moved => Action::Page,
                _ => continue,
            };
            let key = key_of(&action);
            let is_under_way = self.memory.ordered.iter().any(|ordered| ordered.planned.action == action);
            if action != Action::Page && (is_under_way || self.is_resting(&row.id, &key)) {
                continue;
            }
            if let Some(refusal) = self.refusal(&action, &row.id, false) {
                self.hold(&row.id, None, (action.name(), refusal));
                continue;
            }
            let figures = self.figures();
            self.order(action, Because::new(&row.id, format!("{model}{figures}. {}", row.explain)));
            is_moved = true;
        }
    }

    fn event(&self) -> Option<(TrialEvent, ModelRef, u8)> {
        let fleet = &self.situation.fleet;
        let Some(trial) = &fleet.trial else {
            return fleet.waiting.first().map(|model| (TrialEvent::Waiting, model.clone(), 0));
        };
        match trial.verdict {
            TrialVerdict::Going | TrialVerdict::Inconclusive => None,
            TrialVerdict::Lost => Some((TrialEvent::Lost, trial.model.clone(), 0)),
            TrialVerdict::Won => {
                let next = self.table.promotion_percents.iter().find(|percent| **percent > trial.percent)?;
                Some((TrialEvent::Won, trial.model.clone(), *next))
            }
        }
    }

    fn figures(&self) -> String {
        let Some(trial) = &self.situation.fleet.trial else { return String::new() };
        let figures: Vec<String> = trial.figures.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        if figures.is_empty() { String::new() } else { format!(" ({})", figures.join(", ")) }
    }
}

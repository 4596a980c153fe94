//! Was a new map from score to probability right? Labels that mature under it say so; it is taken away when they speak
//! against it as strongly as they must to forbid a change of model.

use super::{Because, MAP_WRONG, Planner};
use crate::healing::action::Action;

impl Planner<'_> {
    pub(super) fn judge_map(&mut self) {
        let Some(facts) = &self.situation.calibration else { return };
        let is_wrong = facts.log_e_better <= -self.table.evidence.log_e_worse;
        if !is_wrong || Some(&facts.model) != self.situation.active() {
            return;
        }
        let action = Action::Uncalibrate { model: facts.model.clone() };
        let is_under_way = self.memory.ordered.iter().any(|ordered| ordered.planned.action == action);
        if is_under_way || self.is_resting(MAP_WRONG, action.name()) {
            return;
        }
        if let Some(refusal) = self.refusal(&action, MAP_WRONG, false) {
            return self.hold(MAP_WRONG, None, (action.name(), refusal));
        }
        let (evidence, labels) = (-facts.log_e_better, facts.labels);
        let reason = format!("{labels} labels speak against the map from score to probability (log e {evidence:.1})");
        self.order(action, Because::new(MAP_WRONG, reason.clone()));
        self.order(Action::Page, Because::new(MAP_WRONG, reason));
    }
}

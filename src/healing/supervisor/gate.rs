//! What stands between a wish of the table and an action.
//!
//! Only what changes something passes here with conditions; what only protects always may. In order: the lock, the
//! record, the other instances of a group, one change of model at a time, cool-downs, no way back, doubtful data, and
//! last the budget, whose end locks when it is the one of changes of model.

use super::Planner;
use crate::domain::Span;
use crate::healing::action::Action;
use crate::healing::finding::Alarm;
use crate::healing::model::ModelRef;
use crate::healing::situation::{RecordState, Refusal, StandbyFacts};
use crate::healing::table::Budgeted;

/// Alarms under which nothing new is learned or promoted.
const DOUBTFUL: &[Alarm] = &[Alarm::BrokenFeature, Alarm::Volume, Alarm::LabelFeed];
/// Alarms under which a trial says little of its model.
const DISTURBING: &[Alarm] =
    &[Alarm::BrokenFeature, Alarm::Volume, Alarm::Overload, Alarm::HostSlow, Alarm::AlertSurge];

impl Planner<'_> {
    /// Tells why an action may not be taken now.
    pub(super) fn refusal(&self, action: &Action, row: &str, takes_back: bool) -> Option<Refusal> {
        if action.is_protective() {
            return None;
        }
        if self.memory.lock.is_some() {
            return Some(Refusal::Locked);
        }
        if self.situation.record == RecordState::Down {
            return Some(Refusal::RecordDown);
        }
        let leadership = self.situation.leadership;
        let own = match action {
            // A shadow answers nobody: what it shows is for people, or for the day when nobody else is there.
            Action::Promote { percent: 1.., .. } if !leadership.may_promote() => Some(Refusal::NotLeader),
            Action::RequestRetraining | Action::Recalibrate { .. } if !leadership.may_ask() => Some(Refusal::NotLeader),
            Action::Swap { to, .. } => self.refusal_of_swap(to, row, takes_back),
            Action::Promote { model, percent } => self.refusal_of_promotion(model, *percent),
            Action::RequestRetraining => self.refusal_of_request(),
            Action::Recalibrate { .. } => self.memory.has_open(DOUBTFUL).then_some(Refusal::DataInDoubt),
            Action::Quarantine { .. }
            | Action::Uncalibrate { .. }
            | Action::ModelAgain
            | Action::Unmask { .. }
            | Action::Relax
            | Action::ResumeIntake
            | Action::RulesOnly
            | Action::Mask { .. }
            | Action::Tighten
            | Action::WidenReview
            | Action::Union
            | Action::RestartInference
            | Action::PauseIntake
            | Action::Page
            | Action::Lock => None,
        };
        own.or_else(|| self.is_spent(action).then_some(Refusal::Budget))
    }

    fn refusal_of_swap(&self, to: &ModelRef, row: &str, takes_back: bool) -> Option<Refusal> {
        let times = &self.table.times;
        let is_ready = self.ready_standby().is_some_and(|standby| standby.model == *to);
        let since = |span: Span| self.now.minus(span);
        if !is_ready {
            Some(Refusal::NoTarget)
        } else if self.is_changing() || (!takes_back && !self.memory.verifying.is_empty()) {
            Some(Refusal::Busy)
        } else if takes_back {
            None
        } else if self.has_left(to) {
            Some(Refusal::Returning)
        } else if self.is_resting(row, "swap") || self.memory.swaps.iter().any(|s| s.at > since(times.between_swaps)) {
            Some(Refusal::CoolDown)
        } else {
            None
        }
    }

    fn refusal_of_request(&self) -> Option<Refusal> {
        let is_held = self.situation.asking.as_ref().is_some_and(|asking| asking.hold.is_some());
        if self.memory.has_open(DOUBTFUL) { Some(Refusal::DataInDoubt) } else { is_held.then_some(Refusal::NotYet) }
    }

    fn refusal_of_promotion(&self, model: &ModelRef, percent: u8) -> Option<Refusal> {
        if self.is_changing() || !self.memory.verifying.is_empty() {
            Some(Refusal::Busy)
        } else if self.has_left(model) {
            Some(Refusal::Returning)
        } else if percent > 0 && self.memory.has_open(DISTURBING) {
            Some(Refusal::DataInDoubt)
        } else {
            None
        }
    }

    /// Tells whether the supervisor left a model too short a while ago to go back to it.
    fn has_left(&self, model: &ModelRef) -> bool {
        let oldest = self.now.minus(self.table.times.no_return);
        self.memory.swaps.iter().any(|swap| swap.from == *model && swap.at > oldest)
    }

    /// Tells whether a change of the release is under way.
    fn is_changing(&self) -> bool {
        let changes = |action: &Action| matches!(action, Action::Swap { .. } | Action::Promote { .. });
        self.memory.ordered.iter().any(|ordered| changes(&ordered.planned.action))
    }

    fn is_spent(&self, action: &Action) -> bool {
        let Some(what) = budget_of(action) else { return false };
        let budget = self.table.budget.of(what);
        let spent = |hours: i64| self.memory.spent_since(what, self.now.minus(Span::from_seconds(hours * 3_600)));
        spent(1) >= budget.hour || spent(24) >= budget.day
    }

    /// Returns the standby when it could answer at once.
    pub(super) fn ready_standby(&self) -> Option<&StandbyFacts> {
        let oldest = self.now.minus(self.table.times.golden_age_max);
        let fleet = &self.situation.fleet;
        fleet.standby.as_ref().filter(|standby| {
            standby.is_warm
                && standby.golden_checked_at.is_some_and(|at| at >= oldest)
                && !fleet.quarantined.contains(&standby.model)
                && Some(&standby.model) != self.situation.active()
        })
    }
}

/// Returns the budget an action draws on; what only protects draws on none.
pub(super) const fn budget_of(action: &Action) -> Option<Budgeted> {
    match action {
        Action::Swap { .. } => Some(Budgeted::Swap),
        Action::Promote { .. } => Some(Budgeted::Promotion),
        Action::Quarantine { .. } => Some(Budgeted::Quarantine),
        Action::Recalibrate { .. } => Some(Budgeted::Recalibration),
        Action::ModelAgain
        | Action::Unmask { .. }
        | Action::Uncalibrate { .. }
        | Action::Relax
        | Action::ResumeIntake => Some(Budgeted::Relief),
        Action::RequestRetraining => Some(Budgeted::Retraining),
        Action::RulesOnly
        | Action::Mask { .. }
        | Action::Tighten
        | Action::WidenReview
        | Action::Union
        | Action::RestartInference
        | Action::PauseIntake
        | Action::Page
        | Action::Lock => None,
    }
}

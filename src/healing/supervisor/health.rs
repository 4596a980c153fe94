//! The state of the service in one word.

use super::Planner;
use crate::healing::action::Action;
use crate::healing::finding::Alarm;
use crate::healing::memory::Health;
use crate::healing::situation::{BreakerState, RecordState};

/// Alarms under which the active model's word is worth less than none.
pub(super) const SILENCING: &[Alarm] = &[Alarm::ModelFault, Alarm::GoldenMismatch, Alarm::AlertCollapse];

impl Planner<'_> {
    pub(super) fn tell_health(&mut self) {
        let health = self.health();
        if health != self.memory.health || self.memory.health_since.micros() == 0 {
            self.memory.health = health;
            self.memory.health_since = self.now;
        }
    }

    fn health(&self) -> Health {
        let memory = &self.memory;
        let is_changing = |action: &Action| matches!(action, Action::Swap { .. });
        if memory.lock.is_some() {
            Health::Locked
        } else if memory.protections.contains_key("rules_only") {
            Health::SafeMode
        } else if !memory.verifying.is_empty()
            || memory.ordered.iter().any(|ordered| is_changing(&ordered.planned.action))
            || self.situation.breaker.state == BreakerState::HalfOpen
        {
            Health::Recovering
        } else if memory.incidents.iter().any(|incident| incident.ended.is_none())
            || self.situation.breaker.state == BreakerState::Open
            || self.situation.record == RecordState::Down
            || self.situation.active().is_none()
        {
            Health::Degraded
        } else if !memory.incidents.is_empty() || !memory.protections.is_empty() {
            Health::Recovering
        } else {
            Health::Healthy
        }
    }
}

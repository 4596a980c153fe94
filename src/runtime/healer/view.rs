//! How healing stands, for `GET /v1/health`: what an operator asks first.

use std::collections::VecDeque;

use serde::Serialize;

use crate::domain::Timestamp;
use crate::healing::finding::{Finding, Verdict};
use crate::healing::memory::{Health, Incident, Lock};
use crate::healing::situation::{BreakerFacts, FleetFacts, Held, Leadership, Outcome, Planned, Situation};
use crate::healing::{Memory, Plan};
use crate::runtime::audit::AuditView;

/// The most actions that are shown.
const ACTIONS_MAX: usize = 20;

/// How healing stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealingView {
    /// The state in one word.
    pub state: Health,
    /// Since when.
    pub since: Timestamp,
    /// Why nothing but protection is done, when that is so.
    pub lock: Option<Lock>,
    /// Who ordered safe mode, when somebody did.
    pub safe_mode: Option<Lock>,
    /// The breaker of the active model.
    pub breaker: BreakerFacts,
    /// Findings, those that may be acted on first.
    pub alarms: Vec<Finding>,
    /// What they led to.
    pub incidents: Vec<IncidentView>,
    /// What protects now, by name.
    pub protections: Vec<String>,
    /// What the table asks for and is not done now.
    pub held: Vec<Held>,
    /// How this instance stands among those that share a stream.
    pub leadership: Leadership,
    /// The models.
    pub fleet: FleetFacts,
    /// The last actions, newest first.
    pub last_actions: VecDeque<LastAction>,
    /// The record.
    pub audit: AuditView,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentView {
    /// Its number.
    pub number: u64,
    /// Its alarm.
    pub alarm: &'static str,
    /// What it is about.
    pub subject: Option<String>,
    /// The row that speaks for it.
    pub row: String,
    /// Since when.
    pub opened: Timestamp,
    /// Since when its alarm is over, when it is.
    pub ended: Option<Timestamp>,
}

/// An action and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastAction {
    /// What and why.
    #[serde(flatten)]
    pub planned: Planned,
    /// When it was planned.
    pub at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed, when it did.
    pub failure: Option<String>,
}

impl HealingView {
    /// Shows what is remembered before the first tick.
    #[must_use]
    pub fn of(memory: &Memory, audit: AuditView) -> Self {
        Self {
            state: memory.health,
            since: memory.health_since,
            lock: memory.lock.clone(),
            safe_mode: memory.safe_mode.clone(),
            breaker: BreakerFacts::default(),
            alarms: Vec::new(),
            incidents: memory.incidents.iter().map(incident_view).collect(),
            protections: memory.protections.keys().cloned().collect(),
            held: memory.holds.clone(),
            leadership: Leadership::default(),
            fleet: FleetFacts::default(),
            last_actions: VecDeque::new(),
            audit,
        }
    }

    /// Shows what came of a tick.
    #[must_use]
    pub(super) fn after(&self, plan: &Plan, situation: &Situation, audit: AuditView) -> Self {
        let memory = &plan.memory;
        let mut last_actions = self.last_actions.clone();
        for Outcome { order, at, failure } in &situation.outcomes {
            if let Some(action) = last_actions.iter_mut().find(|action| action.planned.order == *order) {
                (action.ended_at, action.failure) = (Some(*at), failure.clone());
            }
        }
        for planned in &plan.actions {
            let planned = planned.clone();
            last_actions.push_front(LastAction { planned, at: situation.now, ended_at: None, failure: None });
        }
        last_actions.truncate(ACTIONS_MAX);
        let mut alarms = situation.findings.clone();
        alarms.retain(|finding| finding.verdict != Verdict::Ended);
        alarms.sort_by(|left, right| right.verdict.cmp(&left.verdict).then(left.alarm.cmp(&right.alarm)));
        Self {
            breaker: situation.breaker,
            alarms,
            leadership: situation.leadership,
            fleet: situation.fleet.clone(),
            last_actions,
            ..Self::of(memory, audit)
        }
    }
}

fn incident_view(incident: &Incident) -> IncidentView {
    IncidentView {
        number: incident.number,
        alarm: incident.alarm.name(),
        subject: incident.subject.clone(),
        row: incident.row.clone(),
        opened: incident.opened,
        ended: incident.ended,
    }
}

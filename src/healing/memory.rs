//! What the planner remembers from one situation to the next: incidents, what was ordered and what came of it,
//! budgets, cool-downs, changes of model, the lock.
//!
//! A value like any other: it is given to a plan and comes back changed, is saved when it changed, and is
//! recorded with the plan. Every list in it is bounded: incidents by [`INCIDENTS_MAX`], the others by the
//! budgets and by time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::finding::{Alarm, Finding};
use super::model::ModelRef;
use super::situation::{Held, Planned};
use super::table::Budgeted;
use crate::domain::{Span, Timestamp};

/// The most incidents at a time; the ones over longest go first, and beyond it none is opened.
pub const INCIDENTS_MAX: usize = 128;
/// How long what was spent and changed is remembered.
const DAY: Span = Span::from_days(1);

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The last number given to an incident or an action.
    pub last_number: u64,
    /// Incidents that are not closed.
    pub incidents: Vec<Incident>,
    /// Actions on their way.
    pub ordered: Vec<Ordered>,
    /// Changes of model of the last day.
    pub swaps: Vec<Swapped>,
    /// Changes whose effect is being checked.
    pub verifying: Vec<Verifying>,
    /// Budgeted actions of the last day.
    pub spent: Vec<Spent>,
    /// Until when a row may not order again what it ordered last, by row and action.
    pub cooling: BTreeMap<String, Timestamp>,
    /// What protects now, by name; masks carry their feature.
    pub protections: BTreeMap<String, Protection>,
    /// Why nothing but protection is done, when that is so.
    pub lock: Option<Lock>,
    /// Why rules answer alone by a person's order, when they do.
    pub safe_mode: Option<Lock>,
    /// What was held at the last plan.
    pub holds: Vec<Held>,
    /// The state shown to the world.
    pub health: Health,
    /// Since when.
    pub health_since: Timestamp,
}

/// The state of the service, for people and balancers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing is wrong.
    #[default]
    Healthy,
    /// Something is wrong, and answers are protected.
    Degraded,
    /// Rules answer alone.
    SafeMode,
    /// Something was done, and its effect is being checked.
    Recovering,
    /// Nothing but protection is done until a person unlocks.
    Locked,
}

impl Health {
    /// Every state, in the order of the metric.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Degraded, Self::SafeMode, Self::Recovering, Self::Locked];

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::SafeMode => "safe_mode",
            Self::Recovering => "recovering",
            Self::Locked => "locked",
        }
    }
}

/// An alarm that may be acted on, from its first finding to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub number: u64,
    /// What is wrong.
    pub alarm: Alarm,
    /// What it is about.
    pub subject: Option<String>,
    /// Whose behaviour it rests on.
    pub model: Option<ModelRef>,
    /// When it was opened.
    pub opened: Timestamp,
    /// Since when its alarm is over; it closes a while after.
    pub ended: Option<Timestamp>,
    /// The row it matched last.
    pub row: String,
    /// What it claims of the protections, by name.
    pub claims: BTreeSet<String>,
    /// What was tried for it.
    pub tried: Vec<Tried>,
}

/// An action tried for an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// What: the action's name, masks with their feature.
    pub name: String,
    /// How often it failed.
    pub failures: u32,
    /// How it stands.
    pub state: TriedState,
    /// When it came to stand so.
    pub at: Timestamp,
}

/// How an action of an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriedState {
    /// Under way.
    Ordered,
    /// Done.
    Done,
    /// Failed.
    Failed,
}

/// An action on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ordered {
    /// The action.
    pub planned: Planned,
    /// Since when.
    pub at: Timestamp,
    /// The swap that this one takes back, by its order.
    pub takes_back: Option<u64>,
}

/// A change of model by the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// The action's number.
    pub order: u64,
    /// Who answered before.
    pub from: ModelRef,
    /// Who answers since.
    pub to: ModelRef,
    /// When.
    pub at: Timestamp,
    /// The row it followed from.
    pub row: String,
    /// Whether it was taken back, or takes another back.
    pub is_taken_back: bool,
}

/// A change whose effect is being checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verifying {
    /// The change.
    pub order: u64,
    /// The row that says how.
    pub row: String,
    /// The incident it was done for.
    pub incident: Option<u64>,
    /// Since when.
    pub since: Timestamp,
    /// Whether people were told that it takes long.
    pub is_paged: bool,
}

/// A budgeted action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Which budget.
    pub budget: Budgeted,
    /// When.
    pub at: Timestamp,
}

/// Something that protects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protection {
    /// What was done.
    pub action: Action,
    /// Since when.
    pub since: Timestamp,
    /// Whether it is in force, not only ordered.
    pub is_in_force: bool,
}

/// A lock, or a person's order that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// Who: a person, or `supervisor`.
    pub by: String,
}

impl Memory {
    /// Gives the next number.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number = self.last_number.saturating_add(1);
        self.last_number
    }

    /// Finds an incident by its number.
    pub(super) fn incident(&mut self, number: Option<u64>) -> Option<&mut Incident> {
        self.incidents.iter_mut().find(|incident| Some(incident.number) == number)
    }

    /// Finds the place of the incident that a finding belongs to.
    pub(super) fn place_of(&self, finding: &Finding) -> Option<usize> {
        self.incidents.iter().position(|incident| incident.is_of(finding))
    }

    /// Forgets what no budget, rule or reader asks for any more.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let oldest = now.minus(DAY);
        self.spent.retain(|spent| spent.at > oldest);
        self.swaps.retain(|swap| swap.at > oldest);
        self.cooling.retain(|_, until| *until > now);
    }

    /// Counts what was spent of a budget since `oldest`.
    #[must_use]
    pub fn spent_since(&self, budget: Budgeted, oldest: Timestamp) -> usize {
        self.spent.iter().filter(|spent| spent.budget == budget && spent.at > oldest).count()
    }

    /// Tells whether an alarm stands in an open incident.
    #[must_use]
    pub fn has_open(&self, alarms: &[Alarm]) -> bool {
        self.incidents.iter().any(|incident| incident.ended.is_none() && alarms.contains(&incident.alarm))
    }
}

impl Incident {
    /// Opens an incident for a finding.
    pub(super) fn open(number: u64, finding: &Finding, now: Timestamp) -> Self {
        Self {
            number,
            alarm: finding.alarm,
            subject: finding.subject.clone(),
            model: finding.model.clone(),
            opened: now,
            ended: None,
            row: String::new(),
            claims: BTreeSet::new(),
            tried: Vec::new(),
        }
    }

    /// Tells whether a finding belongs to this incident.
    #[must_use]
    pub fn is_of(&self, finding: &Finding) -> bool {
        self.alarm == finding.alarm && self.subject == finding.subject && self.model == finding.model
    }

    /// Finds what was tried under a name.
    #[must_use]
    pub fn tried(&self, name: &str) -> Option<&Tried> {
        self.tried.iter().find(|tried| tried.name == name)
    }

    /// Notes how an action stands.
    pub(super) fn note(&mut self, name: &str, state: TriedState, at: Timestamp) {
        let failed = u32::from(state == TriedState::Failed);
        match self.tried.iter_mut().find(|tried| tried.name == name) {
            Some(tried) => {
                tried.failures = tried.failures.saturating_add(failed);
                (tried.state, tried.at) = (state, at);
            }
            None => self.tried.push(Tried { name: name.to_owned(), failures: failed, state, at }),
        }
    }
}

/// Names an action as memories do: masks with their feature.
#[must_use]
pub fn key_of(action: &Action) -> String {
    match action {
        Action::Mask { feature } | Action::Unmask { feature } => format!("mask:{feature}"),
        Action::RulesOnly
        | Action::ModelAgain
        | Action::Swap { .. }
        | Action::Quarantine { .. }
        | Action::Promote { .. }
        | Action::Recalibrate { .. }
        | Action::Uncalibrate { .. }
        | Action::Tighten
        | Action::WidenReview
        | Action::Union
        | Action::Relax
        | Action::RestartInference
        | Action::PauseIntake
        | Action::ResumeIntake
        | Action::RequestRetraining
        | Action::Page
        | Action::Lock => action.name().to_owned(),
    }
}

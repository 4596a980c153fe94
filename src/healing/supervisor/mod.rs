//! The planner: from a situation and what is remembered to actions, things held back, and a new memory. Pure.
//!
//! ```text
//! orders of people ─┐
//! outcomes ─────────┤                     ┌ explained by another alarm, inconclusive: held
//! findings ─> incidents ─> first row ─────┼ a step whose time has come ─> gate ─> planned, or held and why
//! facts ────────────┤                     └ a change of model refused: otherwise
//!                   ├─> changes being checked ─> good | taken back | people told
//!                   ├─> trials ─> one step on, or out
//!                   ├─> a map from score to probability that labels speak against ─> taken away
//!                   └─> protections nobody claims any more ─> ended
//! ```
//! Held by the gate: `HE-2` (budgets), no way back to a model left today, one change at a time, cool-downs, the
//! lock, and that nothing but protection is done while it cannot be written down. `HE-3`: findings about a model
//! that does not answer lead to nothing. The same three arguments give the same plan (`HE-5`).

mod act;
mod calibration;
mod gate;
mod health;
mod incidents;
mod outcomes;
#[cfg(test)]
mod tests;
mod trials;
mod verify;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::memory::{Lock, Memory, Ordered, Protection, Spent, Swapped, key_of};
use super::situation::{Held, OrderKind, Planned, Refusal, Situation};
use super::table::Table;
use crate::domain::Timestamp;

/// What names the actions that follow from no row.
pub const BY_PERSON: &str = "by-person";
/// What names the lock that a spent budget leads to.
pub const OVER_BUDGET: &str = "over-budget";
/// What names the end of a map from score to probability.
pub const MAP_WRONG: &str = "map-wrong";
/// What names the end of a protection.
pub const RELIEF: &str = "relief";

/// What follows from a situation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What to do, in this order.
    pub actions: Vec<Planned>,
    /// What the table asks for and is not done now, and why.
    pub holds: Vec<Held>,
    /// Changes whose check came to an end.
    pub verified: Vec<Verified>,
    /// What to remember.
    pub memory: Memory,
}

/// A change of model whose check came to an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The change.
    pub order: u64,
    /// The row it followed from.
    pub row: String,
    /// Whether it did what it should.
    pub is_good: bool,
    /// One line for people.
    pub text: String,
}

/// Plans.
#[must_use]
pub fn plan(table: &Table, memory: &Memory, situation: &Situation) -> Plan {
    let mut planner = Planner {
        table,
        situation,
        now: situation.now,
        memory: memory.clone(),
        actions: Vec::new(),
        holds: BTreeSet::new(),
        verified: Vec::new(),
    };
    planner.memory.forget(situation.now);
    planner.take_orders();
    planner.settle();
    planner.follow_findings();
    planner.verify();
    planner.act();
    planner.act_on_trials();
    planner.judge_map();
    planner.relieve();
    planner.tell_health();
    let Planner { actions, holds, verified, mut memory, .. } = planner;
    let holds: Vec<Held> = holds.into_iter().collect();
    memory.holds.clone_from(&holds);
    Plan { actions, holds, verified, memory }
}

struct Planner<'a> {
    table: &'a Table,
    situation: &'a Situation,
    now: Timestamp,
    memory: Memory,
    actions: Vec<Planned>,
    holds: BTreeSet<Held>,
    verified: Vec<Verified>,
}

/// Why an action is planned.
#[derive(Clone, Debug)]
struct Because {
    row: String,
    incident: Option<u64>,
    reason: String,
    /// The change of model that is taken back.
    takes_back: Option<u64>,
}

impl Because {
    fn new(row: &str, reason: String) -> Self {
        Self { row: row.to_owned(), incident: None, reason, takes_back: None }
    }
}

impl Planner<'_> {
    fn take_orders(&mut self) {
        for order in &self.situation.orders {
            let noted = Lock { since: self.now, reason: order.reason.clone(), by: order.by.clone() };
            match order.kind {
                OrderKind::Lock => {
                    self.memory.lock.get_or_insert(noted);
                }
                OrderKind::Unlock => {
                    self.memory.lock = None;
                    self.memory.spent.clear();
                    self.memory.swaps.clear();
                    self.memory.verifying.clear();
                    self.memory.cooling.clear();
                    self.memory.incidents.iter_mut().for_each(|incident| {
                        incident.tried.retain(|tried| tried.state != super::memory::TriedState::Failed);
                    });
                }
                OrderKind::SafeMode => self.memory.safe_mode = Some(noted),
                OrderKind::Resume => self.memory.safe_mode = None,
            }
        }
        if let Some(order) = &self.memory.safe_mode {
            let because = Because::new(BY_PERSON, format!("{} ordered safe mode: {}", order.by, order.reason));
            self.protect(&Action::RulesOnly, &because);
        }
    }

    /// Puts a protection in force unless it is, or is on its way.
    fn protect(&mut self, action: &Action, because: &Because) {
        let key = key_of(action);
        if !self.memory.protections.contains_key(&key) && !self.is_resting(RELIEF, &key) {
            self.order(action.clone(), because.clone());
        }
    }

    /// Plans an action that the gate let through.
    fn order(&mut self, action: Action, because: Because) -> u64 {
        let order = self.memory.number();
        let Because { row, incident, reason, takes_back } = because;
        if let Some(budget) = gate::budget_of(&action) {
            self.memory.spent.push(Spent { budget, at: self.now });
        }
        if let Action::Swap { from, to } = &action {
            // Remembered from here on: also one of unknown outcome is a change that may not be redone.
            let swapped = Swapped {
                order,
                from: from.clone(),
                to: to.clone(),
                at: self.now,
                row: row.clone(),
                is_taken_back: takes_back.is_some(),
            };
            self.memory.swaps.push(swapped);
        }
        if is_held_on(&action) {
            let protection = Protection { action: action.clone(), since: self.now, is_in_force: false };
            self.memory.protections.insert(key_of(&action), protection);
        }
        let planned = Planned { order, action, row, incident, reason };
        self.memory.ordered.push(Ordered { planned: planned.clone(), at: self.now, takes_back });
        self.actions.push(planned);
        order
    }

    fn hold(&mut self, row: &str, incident: Option<u64>, (action, reason): (&str, Refusal)) {
        self.holds.insert(Held { row: row.to_owned(), incident, action: action.to_owned(), reason });
    }

    /// Tells whether an action of a row rests after it was taken or failed.
    fn is_resting(&self, row: &str, action: &str) -> bool {
        self.memory.cooling.get(&format!("{row}/{action}")).is_some_and(|until| *until > self.now)
    }

    fn rest(&mut self, row: &str, action: &str, until: Timestamp) {
        self.memory.cooling.insert(format!("{row}/{action}"), until);
    }

    /// Holds the safest proven state until a person unlocks.
    fn lock(&mut self, because: &Because) {
        if self.memory.lock.is_some() {
            return;
        }
        let lock = Lock { since: self.now, reason: because.reason.clone(), by: "supervisor".to_owned() };
        self.memory.lock = Some(lock);
        self.order(Action::Lock, because.clone());
        self.order(Action::Page, because.clone());
        if self.memory.has_open(health::SILENCING) {
            self.protect(&Action::RulesOnly, because);
        }
    }
}

/// Tells whether an action holds on until it is ended.
fn is_held_on(action: &Action) -> bool {
    match action {
        Action::RulesOnly
        | Action::Mask { .. }
        | Action::Tighten
        | Action::WidenReview
        | Action::Union
        | Action::PauseIntake => true,
        Action::ModelAgain
        | Action::Swap { .. }
        | Action::Quarantine { .. }
        | Action::Promote { .. }
        | Action::Recalibrate { .. }
        | Action::Uncalibrate { .. }
        | Action::Unmask { .. }
        | Action::Relax
        | Action::RestartInference
        | Action::ResumeIntake
        | Action::RequestRetraining
        | Action::Page
        | Action::Lock => false,
    }
}

//! From incidents to actions: the first row that fits, its steps in time, and what is done instead when no change
//! of model may be made. And back: protections nobody claims any more end.

use std::collections::BTreeSet;

use super::incidents::finding_of;
use super::outcomes::RELAXED;
use super::{Because, OVER_BUDGET, Planner, RELIEF, is_held_on};
use crate::healing::action::Action;
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};
use crate::healing::memory::{Incident, TriedState, key_of};
use crate::healing::model::ModelRef;
use crate::healing::situation::{Judged, PairedEvidence, Refusal, StandbyControl};
use crate::healing::table::{Act, Condition, OnDrift, Row, Step};

/// The figure of an alert surge that tells which share of alerts the ten busiest entities have.
const OF_ENTITIES: &str = "top10_entity_share";
/// The same of the busiest merchant or device, and the share of all traffic that the busiest one has anyway.
const OF_PLACE: [[&str; 2]; 2] =
    [["top_merchant_share", "traffic_top_merchant_share"], ["top_device_share", "traffic_top_device_share"]];

/// What came of trying a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// It is done, on its way, or planned now.
    Taken,
    /// It may not be done now.
    Refused,
}

impl Planner<'_> {
    pub(super) fn act(&mut self) {
        let mut rows: Vec<(usize, usize)> = Vec::new();
        let mut explained: BTreeSet<Alarm> = BTreeSet::new();
        let is_of_labels = self.only_inputs_of_labels_moved();
        for place in 0..self.memory.incidents.len() {
            let Some(index) = self.row_of(&self.memory.incidents[place]) else { continue };
            let row = &self.table.row[index];
            explained.extend(&row.explains);
            if is_of_labels {
                explained.extend(&row.explains_of_labels);
            }
            self.memory.incidents[place].row.clone_from(&row.id);
            rows.push((index, place));
        }
        // Rows stand in the order of precedence, incidents in that of their opening.
        rows.sort_unstable();
        for (index, place) in rows {
            self.act_on(place, index, &explained);
        }
    }

    /// Tells whether inputs moved, and every one of them is made of labels.
    fn only_inputs_of_labels_moved(&self) -> bool {
        let moved = |finding: &&Finding| {
            finding.verdict != Verdict::Ended && matches!(finding.alarm, Alarm::InputDrift | Alarm::BrokenFeature)
        };
        let is_of_labels = |finding: &Finding| {
            let value = |name: &str| finding.evidence.values.get(name).copied().unwrap_or(0.0);
            match finding.alarm {
                Alarm::InputDrift => {
                    value("features_moved") > 0.0 && value("features_of_labels") >= value("features_moved")
                }
                _ => value("of_labels") > 0.0,
            }
        };
        let mut moved = self.situation.findings.iter().filter(moved).peekable();
        moved.peek().is_some() && moved.all(is_of_labels)
    }

    fn row_of(&self, incident: &Incident) -> Option<usize> {
        // An incident that is over, or whose model is gone, keeps the row it had.
        let is_over = incident.ended.is_some();
        let fits = |row: &&Row| {
            if is_over && !incident.row.is_empty() {
                return row.id == incident.row;
            }
            row.alarm.contains(&incident.alarm) && row.when.iter().all(|condition| self.holds(*condition, incident))
        };
        self.table.row.iter().position(|row| fits(&row))
    }

    fn act_on(&mut self, place: usize, index: usize, explained: &BTreeSet<Alarm>) {
        let table = self.table;
        let row = &table.row[index];
        let incident = &self.memory.incidents[place];
        let (number, alarm) = (Some(incident.number), incident.alarm);
        if incident.ended.is_some() {
            if !self.situation.concerns_active(incident.model.as_ref()) {
                self.finish_quarantine(place, row);
            }
            return;
        }
        let is_told = finding_of(self.situation, incident).is_some_and(|finding| finding.verdict == Verdict::Acting);
        if !is_told {
            return self.hold(&row.id, number, ("", Refusal::Inconclusive));
        }
        if explained.contains(&alarm) {
            return self.hold(&row.id, number, ("", Refusal::Explained));
        }
        let mut is_refused = false;
        for step in &row.then {
            let attempt = self.step(place, row, *step);
            is_refused |= step.act == Act::Swap && attempt == Some(Attempt::Refused);
        }
        if is_refused || (!row.swaps() && self.has_failed(place)) {
            for step in &row.otherwise {
                self.step(place, row, *step);
            }
        }
    }

    /// Takes a step whose time has come; `None`: not yet.
    fn step(&mut self, place: usize, row: &Row, step: Step) -> Option<Attempt> {
        let incident = &self.memory.incidents[place];
        (incident.opened.plus(step.after) <= self.now).then(|| self.attempt(place, row, step.act))
    }

    /// Tells whether something that the incident asked for failed.
    fn has_failed(&self, place: usize) -> bool {
        self.memory.incidents[place].tried.iter().any(|tried| tried.failures > 0)
    }

    fn attempt(&mut self, place: usize, row: &Row, act: Act) -> Attempt {
        let incident = &self.memory.incidents[place];
        let number = Some(incident.number);
        let action = match self.action_of(incident, row, act) {
            Ok(Some(action)) => action,
            Ok(None) => {
                // It is so already, whatever was heard of it.
                let is_banned = incident.model.as_ref().is_some_and(|m| self.situation.fleet.quarantined.contains(m));
                if act == Act::Quarantine && is_banned {
                    self.memory.incidents[place].note(name_of(act), TriedState::Done, self.now);
                }
                return Attempt::Taken;
            }
            Err(refusal) => {
                self.hold(&row.id, number, (name_of(act), refusal));
                return Attempt::Refused;
            }
        };
        let key = key_of(&action);
        if let Some(tried) = incident.tried(&key) {
            match tried.state {
                // A request that brought nothing, or a model that did not end it: another is asked for when its time has
                // come, which is told by whoever trains.
                TriedState::Done if act == Act::RequestRetraining && self.situation.asking.is_some() => {}
                TriedState::Done | TriedState::Ordered => return Attempt::Taken,
                TriedState::Failed => {
                    // A map may want labels that are still to come: its budget bounds how often it is tried.
                    let is_waiting = matches!(action, Action::Recalibrate { .. });
                    let is_final = !is_waiting && tried.failures >= self.table.evidence.tries_max;
                    if is_final || tried.at.plus(self.table.times.retry) > self.now {
                        self.hold(&row.id, number, (action.name(), Refusal::Failed));
                        return Attempt::Refused;
                    }
                }
            }
        }
        if is_held_on(&action) {
            self.memory.incidents[place].claims.insert(key.clone());
            if self.memory.protections.contains_key(&key) {
                self.memory.incidents[place].note(&key, TriedState::Done, self.now);
                return Attempt::Taken;
            }
        }
        self.order_for(place, row, action)
    }

    fn order_for(&mut self, place: usize, row: &Row, action: Action) -> Attempt {
        let incident = &self.memory.incidents[place];
        let (number, key) = (Some(incident.number), key_of(&action));
        let takes_back = self.taken_back_by(&action, row);
        let reason = self.reason(incident, row);
        let because = Because { row: row.id.clone(), incident: number, reason, takes_back };
        if let Some(refusal) = self.refusal(&action, &row.id, takes_back.is_some()) {
            // One that was made is taken until the next one may be.
            if refusal == Refusal::NotYet && self.memory.incidents[place].tried(&key).is_some() {
                return Attempt::Taken;
            }
            self.hold(&row.id, number, (action.name(), refusal));
            if refusal == Refusal::Budget && matches!(action, Action::Swap { .. }) {
                let reason =
                    format!("the budget of changes of model is spent, and another was due: {}", because.reason);
                self.lock(&Because { incident: number, ..Because::new(OVER_BUDGET, reason) });
            }
            return Attempt::Refused;
        }
        self.order(action, because);
        self.memory.incidents[place].note(&key, TriedState::Ordered, self.now);
        Attempt::Taken
    }

    /// Bans the model that an incident is about once another answers.
    fn finish_quarantine(&mut self, place: usize, row: &Row) {
        if row.then.iter().any(|step| step.act == Act::Quarantine) {
            self.attempt(place, row, Act::Quarantine);
        }
    }

    /// Fills in what a word of the table means for an incident; `None`: nothing to be done.
    fn action_of(&self, incident: &Incident, row: &Row, act: Act) -> Result<Option<Action>, Refusal> {
        let active = || self.situation.active().cloned().ok_or(Refusal::NoTarget);
        let action = match act {
            Act::RulesOnly => Action::RulesOnly,
            Act::Swap => {
                if incident.tried("swap").is_some_and(|tried| tried.state == TriedState::Done) {
                    return Ok(None);
                }
                let to = self.ready_standby().ok_or(Refusal::NoTarget)?.model.clone();
                Action::Swap { from: active()?, to }
            }
            Act::Quarantine => {
                // In a row that swaps, a model is banned only when it has left its place or is leaving it.
                let leaves = |state| matches!(state, TriedState::Done | TriedState::Ordered);
                if row.swaps() && !incident.tried("swap").is_some_and(|tried| leaves(tried.state)) {
                    return Ok(None);
                }
                let model = incident.model.clone().map_or_else(active, Ok)?;
                if self.situation.fleet.quarantined.contains(&model) {
                    return Ok(None);
                }
                Action::Quarantine { model }
            }
            Act::Promote => return Ok(None),
            Act::Recalibrate => Action::Recalibrate { model: active()? },
            Act::Mask => Action::Mask { feature: incident.subject.clone().ok_or(Refusal::NoTarget)? },
            Act::Tighten => Action::Tighten,
            Act::WidenReview => Action::WidenReview,
            Act::Union => Action::Union,
            Act::RestartInference => Action::RestartInference,
            Act::PauseIntake => Action::PauseIntake,
            Act::RequestRetraining => Action::RequestRetraining,
            Act::Page => Action::Page,
            Act::Lock => Action::Lock,
        };
        Ok(Some(action))
    }

    /// Finds the change that a swap would take back, where labels have the last word on it.
    fn taken_back_by(&self, action: &Action, row: &Row) -> Option<u64> {
        let Action::Swap { from, to } = action else { return None };
        let last = self.memory.swaps.last().filter(|_| row.when.contains(&Condition::StandbyBetter))?;
        (last.from == *to && last.to == *from && !last.is_taken_back).then_some(last.order)
    }

    fn reason(&self, incident: &Incident, row: &Row) -> String {
        let text = finding_of(self.situation, incident).map_or("", |finding| finding.evidence.text.as_str());
        let about = incident.subject.as_deref().map(|subject| format!(" of {subject}")).unwrap_or_default();
        let model = incident.model.as_ref().map(|model| format!(", {model}")).unwrap_or_default();
        format!("{}{about}{model}: {text}. {}", incident.alarm.name(), row.explain)
    }

    fn holds(&self, condition: Condition, incident: &Incident) -> bool {
        let strength = &self.table.evidence;
        match condition {
            Condition::RecentChange => self.is_recent(),
            Condition::StandbyReady => self.ready_standby().is_some(),
            Condition::StandbyPasses => self.control().is_some_and(|control| passes(control, incident.alarm)),
            Condition::StandbyInControl => self.control().is_some_and(is_in_control),
            Condition::StandbyInTime => self.control().is_some_and(|control| control.within_time == Some(true)),
            Condition::SwapPermitted => match self.table.on_drift {
                OnDrift::Guarded => self.is_permitted_by_guard(incident.alarm),
                OnDrift::Evidence => self.is_standby_better(),
                OnDrift::Always => true,
            },
            Condition::StandbyBetter => self.is_standby_better(),
            Condition::FewEntities => finding_of(self.situation, incident)
                .is_some_and(|finding| concentration(&finding.evidence) >= strength.few_entities_share),
            Condition::HostSlow => self.situation.host.is_slow,
        }
    }

    fn is_recent(&self) -> bool {
        let oldest = self.now.minus(self.table.times.recent_change);
        let is_new = |active: &crate::healing::situation::ActiveFacts| {
            active.cause == crate::healing::situation::Cause::Promotion && active.since > oldest
        };
        self.situation.fleet.active.as_ref().is_some_and(is_new)
    }

    /// Returns what judging the standby on the traffic of now said, when it is fresh and rests on enough.
    fn control(&self) -> Option<&StandbyControl> {
        let oldest = self.now.minus(self.table.times.control_age_max);
        let standby: &ModelRef = &self.situation.fleet.standby.as_ref()?.model;
        self.situation.standby.as_ref().filter(|control| {
            control.model == *standby
                && control.at >= oldest
                && control.events >= self.table.evidence.control_events_min
        })
    }

    fn is_permitted_by_guard(&self, alarm: Alarm) -> bool {
        let fleet = &self.situation.fleet;
        let active = fleet.active.as_ref().and_then(|active| active.quality);
        let standby = fleet.standby.as_ref().and_then(|standby| standby.quality);
        let (Some(active), Some(standby)) = (active, standby) else { return false };
        let is_worse = |paired: &PairedEvidence| paired.log_e_standby_worse >= self.table.evidence.log_e_worse;
        self.control().is_some_and(|control| is_in_control(control) && passes(control, alarm))
            && standby >= active - self.table.evidence.quality_loss_max
            && !self.paired().is_some_and(is_worse)
    }

    fn is_standby_better(&self) -> bool {
        self.paired().is_some_and(|paired| paired.log_e_standby_better >= self.table.evidence.log_e_better)
    }

    /// Returns what labels say of exactly these two (`HE-3`).
    fn paired(&self) -> Option<&PairedEvidence> {
        let (fleet, paired) = (&self.situation.fleet, self.situation.paired.as_ref()?);
        let standby = fleet.standby.as_ref().map(|standby| &standby.model);
        (Some(&paired.active) == self.situation.active() && Some(&paired.standby) == standby).then_some(paired)
    }

    /// Ends protections that nobody claims any more.
    pub(super) fn relieve(&mut self) {
        let wanted = |key: &str| {
            let is_claimed = self.memory.incidents.iter().any(|incident| incident.claims.contains(key));
            is_claimed || (key == "rules_only" && self.memory.safe_mode.is_some())
        };
        let mut relief: Vec<Action> = Vec::new();
        let mut can_relax = false;
        for (key, protection) in &self.memory.protections {
            let oldest = self.now.minus(self.table.times.pause_max);
            let is_over = protection.action == Action::PauseIntake && protection.since <= oldest;
            if !protection.is_in_force || (wanted(key) && !is_over) {
                continue;
            }
            match &protection.action {
                Action::Mask { feature } => relief.push(Action::Unmask { feature: feature.clone() }),
                Action::RulesOnly => relief.push(Action::ModelAgain),
                Action::PauseIntake => relief.push(Action::ResumeIntake),
                // The three end together.
                _ => can_relax = true,
            }
        }
        if can_relax && !RELAXED.iter().any(|key| wanted(key)) {
            relief.push(Action::Relax);
        }
        for action in relief {
            let key = key_of(&action);
            let is_under_way = self.memory.ordered.iter().any(|ordered| ordered.planned.action == action);
            if is_under_way || self.is_resting(RELIEF, &key) {
                continue;
            }
            if let Some(refusal) = self.refusal(&action, RELIEF, false) {
                self.hold(RELIEF, None, (action.name(), refusal));
                continue;
            }
            let reason = "what it protected from is over".to_owned();
            self.order(action, Because::new(RELIEF, reason));
        }
    }
}

/// Returns the name of what a row asks for, for what is held.
fn name_of(act: Act) -> &'static str {
    match act {
        Act::RulesOnly => "rules_only",
        Act::Swap => "swap",
        Act::Quarantine => "quarantine",
        Act::Promote => "promote",
        Act::Recalibrate => "recalibrate",
        Act::Mask => "mask",
        Act::Tighten => "tighten",
        Act::WidenReview => "widen_review",
        Act::Union => "union",
        Act::RestartInference => "restart_inference",
        Act::PauseIntake => "pause_intake",
        Act::RequestRetraining => "request_retraining",
        Act::Page => "page",
        Act::Lock => "lock",
    }
}

/// Returns how far alerts, or values out of range, come from few: entities, or a merchant or device beyond its share of
/// the traffic.
fn concentration(evidence: &Evidence) -> f64 {
    let share = |name: &str| evidence.values.get(name).copied().unwrap_or(0.0);
    OF_PLACE.iter().map(|[own, usual]| share(own) - share(usual)).fold(share(OF_ENTITIES), f64::max)
}

fn is_in_control(control: &StandbyControl) -> bool {
    let all = [control.inputs, control.scores, control.alerts];
    control.failures == 0 && all.iter().all(|judged| *judged == Judged::InControl)
}

/// Tells whether the standby is in control of what an alarm is about, on events on which the active model is not.
fn passes(control: &StandbyControl, alarm: Alarm) -> bool {
    let judged = |inputs, scores, alerts| match alarm {
        Alarm::InputDrift | Alarm::BrokenFeature => Some(inputs),
        Alarm::ScoreDrift => Some(scores),
        Alarm::AlertSurge | Alarm::AlertCollapse => Some(alerts),
        Alarm::ModelFault
        | Alarm::SlowModel
        | Alarm::Overload
        | Alarm::HostSlow
        | Alarm::Volume
        | Alarm::LabelFeed
        | Alarm::QualityLost
        | Alarm::CalibrationOff
        | Alarm::GoldenMismatch
        | Alarm::AuditDown => None,
    };
    let is_better = judged(control.inputs, control.scores, control.alerts).is_none_or(|standby| {
        let active = control.active.and_then(|active| judged(active.inputs, active.scores, active.alerts));
        standby == Judged::InControl && active == Some(Judged::OutOfControl)
    });
    control.failures == 0 && is_better
}

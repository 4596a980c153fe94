//! A scene to plan in: facts that tests change by hand, time that moves by hand.

use std::collections::BTreeMap;

use crate::domain::{Span, Timestamp};
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};
use crate::healing::situation::{
    ActiveControl, ActiveFacts, Cause, FleetFacts, Judged, Order, OrderKind, Outcome, PairedEvidence, Situation,
    StandbyControl, StandbyFacts, WatchFacts,
};
use crate::healing::{Action, Memory, ModelRef, Plan, Table, plan};

pub(super) fn model(version: &str) -> ModelRef {
    ModelRef { name: "card-fraud".into(), version: version.into(), sha256: format!("{version}-hash") }
}

pub(super) fn finding(alarm: Alarm, of: Option<&str>) -> Finding {
    Finding {
        alarm,
        subject: None,
        model: of.map(model),
        verdict: Verdict::Acting,
        since: Timestamp::from_seconds(1),
        at: Timestamp::from_seconds(1),
        evidence: Evidence { text: "as the test has it".into(), ..Evidence::default() },
    }
}

/// Model `new` answers, `old` stands by: ready, and out of control unless a test says otherwise.
pub(super) struct Scene {
    pub(super) table: Table,
    pub(super) memory: Memory,
    pub(super) situation: Situation,
}

impl Scene {
    /// A release that has answered for a week.
    pub(super) fn proven() -> Self {
        Self::with(Cause::Start, Span::from_days(7))
    }

    /// A release that was promoted an hour ago.
    pub(super) fn fresh() -> Self {
        Self::with(Cause::Promotion, Span::from_seconds(3_600))
    }

    fn with(cause: Cause, age: Span) -> Self {
        let now = Timestamp::from_seconds(1_800_000_000);
        let active = ActiveFacts { model: model("new"), since: now.minus(age), cause, quality: Some(0.8) };
        let standby =
            StandbyFacts { model: model("old"), golden_checked_at: Some(now), is_warm: true, quality: Some(0.8) };
        let fleet = FleetFacts { active: Some(active), standby: Some(standby), ..FleetFacts::default() };
        let watch = WatchFacts { model: Some(model("new")), votes: 100_000, is_conclusive: true };
        let situation = Situation { now, fleet, watch, ..Situation::default() };
        Self { table: Table::default(), memory: Memory::default(), situation }
    }

    /// The standby is in control of everything, in time, and fails on nothing.
    pub(super) fn standby_in_control(mut self) -> Self {
        self.situation.standby = Some(StandbyControl {
            model: model("old"),
            at: self.situation.now,
            events: 2_000,
            inputs: Judged::InControl,
            scores: Judged::InControl,
            alerts: Judged::InControl,
            within_time: Some(true),
            failures: 0,
            active: Some(ActiveControl {
                inputs: Judged::OutOfControl,
                scores: Judged::OutOfControl,
                alerts: Judged::OutOfControl,
            }),
        });
        self
    }

    pub(super) fn control(mut self, change: impl FnOnce(&mut StandbyControl)) -> Self {
        change(self.situation.standby.as_mut().expect("a control"));
        self
    }

    pub(super) fn labels_say(mut self, better: f64, worse: f64) -> Self {
        self.situation.paired = Some(PairedEvidence {
            active: model("new"),
            standby: model("old"),
            log_e_standby_better: better,
            log_e_standby_worse: worse,
            pairs: 1_000,
        });
        self
    }

    pub(super) fn finds(mut self, finding: Finding) -> Self {
        self.situation.findings.push(finding);
        self
    }

    pub(super) fn orders(&mut self, kind: OrderKind) {
        self.situation.orders.push(Order { kind, by: "ops".into(), reason: "a drill".into() });
    }

    /// Lets time pass, with golden checks and judgements as fresh as ever, and plans once.
    pub(super) fn after(&mut self, seconds: i64) -> Plan {
        let now = self.situation.now.plus(Span::from_seconds(seconds));
        self.situation.now = now;
        if let Some(standby) = &mut self.situation.fleet.standby
            && standby.golden_checked_at.is_some()
        {
            standby.golden_checked_at = Some(now);
        }
        if let Some(control) = &mut self.situation.standby {
            control.at = now;
        }
        let planned = plan(&self.table, &self.memory, &self.situation);
        self.memory = planned.memory.clone();
        self.situation.outcomes.clear();
        self.situation.orders.clear();
        planned
    }

    /// Plans every ten seconds for a while, performs it all, and returns what was planned at all.
    pub(super) fn run(&mut self, seconds: i64) -> Vec<&'static str> {
        let mut all = Vec::new();
        for _ in 0..seconds / 10 {
            let planned = self.after(10);
            all.extend(names(&planned));
            self.perform(&planned);
        }
        all
    }

    /// Performs what was planned: facts change, outcomes come with the next plan.
    pub(super) fn perform(&mut self, planned: &Plan) {
        for planned in &planned.actions {
            let mut failure = None;
            match &planned.action {
                Action::Swap { from, to } => self.swap(from, to),
                Action::Quarantine { model } if self.situation.active() == Some(model) => {
                    failure = Some("it answers".to_owned());
                }
                Action::Quarantine { model } => {
                    self.situation.fleet.quarantined.push(model.clone());
                    if self.situation.fleet.standby.as_ref().is_some_and(|standby| standby.model == *model) {
                        self.situation.fleet.standby = None;
                    }
                }
                _ => {}
            }
            self.situation.outcomes.push(Outcome { order: planned.order, at: self.situation.now, failure });
        }
    }

    /// Performs what was planned but fails one kind of action.
    pub(super) fn perform_failing(&mut self, planned: &Plan, name: &str) {
        for planned in &planned.actions {
            let failure = (planned.action.name() == name).then(|| "as the test has it".to_owned());
            self.situation.outcomes.push(Outcome { order: planned.order, at: self.situation.now, failure });
        }
    }

    fn swap(&mut self, from: &ModelRef, to: &ModelRef) {
        let now = self.situation.now;
        assert_eq!(self.situation.active(), Some(from), "HE-3: a swap from the model that answers");
        let fleet = &mut self.situation.fleet;
        fleet.active = Some(ActiveFacts { model: to.clone(), since: now, cause: Cause::Rollback, quality: Some(0.8) });
        fleet.standby =
            Some(StandbyFacts { model: from.clone(), golden_checked_at: Some(now), is_warm: true, quality: Some(0.8) });
        self.situation.standby = None;
        self.situation.watch = WatchFacts { model: Some(to.clone()), votes: 0, is_conclusive: false };
        // The detectors begin anew with the new model: findings about the old one are gone.
        self.situation.findings.retain(|finding| finding.model.is_none());
    }
}

/// The names of planned actions, in order.
pub(super) fn names(planned: &Plan) -> Vec<&'static str> {
    planned.actions.iter().map(|planned| planned.action.name()).collect()
}

/// What is held: action and reason.
pub(super) fn held(planned: &Plan) -> BTreeMap<&str, &'static str> {
    planned.holds.iter().map(|held| (held.action.as_str(), held.reason.name())).collect()
}

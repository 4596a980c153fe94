//! One turn of the loop: gather, plan, write down, remember, hand over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::view::HealingView;
use super::{Options, Parts, Seen, Shared, memory_file};
use crate::domain::{Label, Timestamp};
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};
use crate::healing::memory::key_of;
use crate::healing::situation::{
    Asking, BreakerFacts, CalibrationFacts, FleetFacts, Held, HostFacts, Leadership, PairedEvidence, Planned,
    RecordState, Situation, StandbyControl, WatchFacts,
};
use crate::healing::supervisor::Verified;
use crate::healing::{Memory, ModelRef, plan};
use crate::runtime::audit::Kind;
use crate::runtime::decisions::Record;
use crate::telemetry::healing::{ActionHeld, ActionPlanned, HealthChanged, MemoryUnsaved};
use crate::telemetry::metrics;

/// What detectors have found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Everything that is open, and what ended since the last time.
    pub findings: Vec<Finding>,
    /// How far the detectors of the active model are.
    pub watch: WatchFacts,
}

/// Judges the standby on the traffic of now, given the findings that are open.
pub type JudgeOf = Box<dyn FnMut(Timestamp, &[Finding]) -> Option<StandbyControl> + Send>;

/// Tells whether a model would be asked for now, given the findings that are open.
pub type AskingOf = Box<dyn FnMut(Timestamp, &[Finding]) -> Option<Asking> + Send>;

/// What the loop asks. Every closure must come back at once.
pub struct Sources {
    /// The models.
    pub fleet: Box<dyn Fn() -> FleetFacts + Send>,
    /// The breaker of the active model.
    pub breaker: Box<dyn Fn() -> BreakerFacts + Send>,
    /// Transitions of breakers since the last time, as the record tells them.
    pub transitions: Box<dyn FnMut() -> Vec<serde_json::Value> + Send>,
    /// Steps of bundles since the last time, as the record tells them.
    pub steps: Box<dyn FnMut() -> Vec<serde_json::Value> + Send>,
    /// The machine.
    pub host: Box<dyn FnMut(Timestamp) -> HostFacts + Send>,
    /// Sees every decision the loop is given.
    pub observe: Box<dyn FnMut(&Record) + Send>,
    /// Sees every label the loop is given.
    pub labelled: Box<dyn FnMut(&Label) + Send>,
    /// What was found.
    pub found: Box<dyn FnMut(Timestamp) -> Found + Send>,
    /// The standby on the traffic of now; asked with the findings that are open, so that it is judged when needed.
    pub standby: JudgeOf,
    /// Whether a model would be asked for now; asked with the findings that are open.
    pub asking: AskingOf,
    /// Active and standby on labels.
    pub paired: Box<dyn FnMut() -> Option<PairedEvidence> + Send>,
    /// The map from the active model's score to a probability, and how it does on labels.
    pub calibration: Box<dyn FnMut() -> Option<CalibrationFacts> + Send>,
    /// How this instance stands among those that share a stream.
    pub leadership: Box<dyn FnMut() -> Leadership + Send>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            fleet: Box::new(FleetFacts::default),
            breaker: Box::new(BreakerFacts::default),
            transitions: Box::new(Vec::new),
            steps: Box::new(Vec::new),
            host: Box::new(|_| HostFacts::default()),
            observe: Box::new(|_| {}),
            labelled: Box::new(|_| {}),
            found: Box::new(|_| Found::default()),
            standby: Box::new(|_, _| None),
            asking: Box::new(|_, _| None),
            paired: Box::new(|| None),
            calibration: Box::new(|| None),
            leadership: Box::new(Leadership::default),
        }
    }
}

/// What identifies a finding.
type FindingKey = (Alarm, Option<String>, Option<ModelRef>);

pub(super) struct Loop {
    options: Options,
    parts: Parts,
    shared: Arc<Shared>,
    memory: Memory,
    told: BTreeMap<FindingKey, Verdict>,
    record: RecordState,
}

/// A plan as the record tells it: everything needed to make it again (`HE-5`).
#[derive(Serialize)]
struct Told<'a> {
    table: &'a str,
    situation: &'a Situation,
    memory: &'a Memory,
    actions: &'a [Planned],
    holds: &'a [Held],
    verified: &'a [Verified],
}

impl Loop {
    pub(super) fn new(options: Options, parts: Parts, (memory, shared): (Memory, Arc<Shared>)) -> Self {
        Self { options, parts, shared, memory, told: BTreeMap::new(), record: RecordState::Written }
    }

    /// Writes down what is acted by, and puts in force again what protected before.
    pub(super) fn begin(&mut self) {
        self.parts.audit.note_config(&self.options.table);
        let health = self.memory.health;
        HealthChanged { from: health, to: health }.emit();
        let protecting: Vec<_> = self.memory.protections.values().map(|held| held.action.clone()).collect();
        for action in protecting {
            let reason = "it was in force before the restart".to_owned();
            let planned = Planned { order: 0, action, row: "restart".to_owned(), incident: None, reason };
            // An empty line has room; if not, the planner finds it claimed and people see it in the log.
            if !self.parts.executor.perform(planned.clone()) {
                ActionHeld { row: &planned.row, action: planned.action.name(), reason: "busy" }.emit();
            }
        }
        let now = self.parts.clock.now();
        for name in self.memory.protections.keys() {
            metrics().healing.protections.with_label_values(&[protection_label(name)]).set(1);
        }
        self.memory.health_since = if self.memory.health_since.micros() == 0 { now } else { self.memory.health_since };
    }

    /// Looks at what was offered since the last time; `seen` is the buffer that takes turns.
    pub(super) fn look(&mut self, seen: &mut Vec<Seen>) {
        self.shared.feed.drain_into(seen);
        for seen in seen.drain(..) {
            match seen {
                Seen::Decided(record) => (self.parts.sources.observe)(&record),
                Seen::Labelled(label) => (self.parts.sources.labelled)(&label),
            }
        }
    }

    /// Breaker transitions protected at once: they are recorded after. Steps of bundles follow their orders, which are on
    /// the record before, or are verdicts of the gates.
    pub(super) fn poll(&mut self) {
        for transition in (self.parts.sources.transitions)() {
            self.parts.audit.note(Kind::Breaker, &transition);
        }
        for step in (self.parts.sources.steps)() {
            self.parts.audit.note(Kind::Model, &step);
        }
    }

    pub(super) fn tick(&mut self) {
        let situation = self.situation();
        let planned = plan(&self.options.table, &self.memory, &situation);
        self.tell_findings(&situation.findings);
        let has_news = !planned.actions.is_empty()
            || !planned.verified.is_empty()
            || !situation.outcomes.is_empty()
            || !situation.orders.is_empty();
        let holds_changed = planned.holds != self.memory.holds;
        if has_news || holds_changed {
            let told = Told {
                table: &self.options.table.version,
                situation: &situation,
                memory: &self.memory,
                actions: &planned.actions,
                holds: &planned.holds,
                verified: &planned.verified,
            };
            self.parts.audit.note(if has_news { Kind::Plan } else { Kind::Held }, &told);
        }
        self.emit(&planned);
        let is_changed = planned.memory != self.memory;
        self.memory.clone_from(&planned.memory);
        if let (true, Some(path)) = (is_changed, &self.options.memory_path)
            && let Err(error) = memory_file::save(path, &self.memory)
        {
            MemoryUnsaved { tried: "save", error: &error }.emit();
        }
        for planned in &planned.actions {
            // Without room its outcome never comes: the planner counts it as failed and tries again.
            if !self.parts.executor.perform(planned.clone()) {
                ActionHeld { row: &planned.row, action: planned.action.name(), reason: "busy" }.emit();
            }
        }
        let view = {
            let before = Arc::clone(&self.shared.view.lock());
            Arc::new(HealingView::after(&before, &planned, &situation, self.parts.audit.view()))
        };
        *self.shared.view.lock() = view;
    }

    fn situation(&mut self) -> Situation {
        let now = self.parts.clock.now();
        let sources = &mut self.parts.sources;
        let mut found = (sources.found)(now);
        found.findings.extend(self.shared.external.findings(now));
        self.record = self.parts.audit.state();
        if self.record == RecordState::Down {
            found.findings.push(record_down(now));
        }
        let standby = (sources.standby)(now, &found.findings);
        let asking = (sources.asking)(now, &found.findings);
        Situation {
            now,
            fleet: (sources.fleet)(),
            breaker: (sources.breaker)(),
            host: (sources.host)(now),
            watch: found.watch,
            findings: found.findings,
            standby,
            asking,
            paired: (sources.paired)(),
            calibration: (sources.calibration)(),
            record: self.record,
            leadership: (sources.leadership)(),
            outcomes: self.parts.executor.outcomes().into_iter().filter(|outcome| outcome.order > 0).collect(),
            orders: std::mem::take(&mut *self.shared.orders.lock()),
        }
    }

    /// Records findings that are new, changed or over.
    fn tell_findings(&mut self, findings: &[Finding]) {
        let mut open: BTreeSet<FindingKey> = BTreeSet::new();
        for finding in findings {
            let key = (finding.alarm, finding.subject.clone(), finding.model.clone());
            let is_open = finding.verdict != Verdict::Ended;
            let before = if is_open { self.told.insert(key.clone(), finding.verdict) } else { self.told.remove(&key) };
            let is_news = if is_open { before != Some(finding.verdict) } else { before.is_some() };
            if is_news {
                self.parts.audit.note(Kind::Alarm, finding);
            }
            if is_open {
                open.insert(key);
            }
        }
        let gone: Vec<FindingKey> = self.told.keys().filter(|key| !open.contains(key)).cloned().collect();
        for key in gone {
            self.told.remove(&key);
            let (alarm, subject, model) = key;
            let now = self.parts.clock.now();
            let evidence = Evidence { text: "its detector no longer speaks of it".into(), ..Evidence::default() };
            let verdict = Verdict::Ended;
            self.parts
                .audit
                .note(Kind::Alarm, &Finding { alarm, subject, model, verdict, since: now, at: now, evidence });
        }
        let count = |alarm: Alarm| {
            let meant = |finding: &&Finding| finding.alarm == alarm && finding.verdict == Verdict::Acting;
            findings.iter().filter(meant).count()
        };
        for (alarm, gauge) in Alarm::ALL.into_iter().zip(&metrics().healing.alarms) {
            gauge.set(i64::try_from(count(alarm)).unwrap_or(i64::MAX));
        }
    }

    fn emit(&self, planned: &crate::healing::Plan) {
        for planned in &planned.actions {
            ActionPlanned { planned }.emit();
        }
        for held in planned.holds.iter().filter(|held| !self.memory.holds.contains(held)) {
            ActionHeld { row: &held.row, action: &held.action, reason: held.reason.name() }.emit();
        }
        let (from, to) = (self.memory.health, planned.memory.health);
        if from != to {
            HealthChanged { from, to }.emit();
        }
        let gauges = &metrics().healing.protections;
        for name in self.memory.protections.keys().filter(|name| !planned.memory.protections.contains_key(*name)) {
            gauges.with_label_values(&[protection_label(name)]).set(0);
        }
        for protection in planned.memory.protections.values() {
            gauges.with_label_values(&[protection_label(&key_of(&protection.action))]).set(1);
        }
    }
}

/// Names a protection without the feature it is about: features are no closed set.
fn protection_label(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

fn record_down(now: Timestamp) -> Finding {
    let evidence = Evidence { text: "lines of the record cannot be written".into(), ..Evidence::default() };
    let verdict = Verdict::Acting;
    Finding { alarm: Alarm::AuditDown, subject: None, model: None, verdict, since: now, at: now, evidence }
}

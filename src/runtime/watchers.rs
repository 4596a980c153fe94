//! The detectors at work: decisions and labels in, findings out.
//!
//! ```text
//! decision of the active model ─> Watch (inputs, scores, alerts, flow)      begins anew with every model
//! decision, then its label ─────> LabelWatch (quality, calibration, feed)   a track for each model
//! on suspicion ─────────────────> judge: the standby on the newest 2,000 decisions, on a thread of its own
//! ```
//! Everything here happens on the healer's thread but for that judgement. Which finding leads to what is not known here.

mod standby;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::decisions::Record;
use super::entities::{Entities, Warmth};
use super::fleet::Fleet;
use super::healer::Found;
use super::observed::{decided, key_of, observation};
use super::resident::Loaded;
use crate::domain::{Label, Span, Timestamp};
use crate::healing::drift::{self, Profile, Watch};
use crate::healing::quality::{self, Decided, LabelWatch, Labelled};
use crate::healing::situation::{PairedEvidence, StandbyControl, WatchFacts};
use crate::healing::{Finding, ModelRef, Verdict};
use crate::scoring::feature::Source;
use standby::{Judge, Judging};

/// Decisions that wait for their label; beyond it the oldest are forgotten.
const DECIDED_MAX: usize = 100_000;
/// Frauds whose age is known; beyond it the oldest are forgotten, which are mature anyway.
const FRAUDS_MAX: usize = 100_000;
/// Votes from which the detectors can tell something.
const VOTES_MIN: u64 = 100;

/// How the detectors are set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of inputs, scores, alerts and flow.
    pub drift: drift::Options,
    /// Of labels.
    pub labels: quality::Options,
    /// The longest a row may take of a standby that is in time.
    pub row_time_max: std::time::Duration,
}

/// The detectors.
pub struct Watchers {
    options: Options,
    fleet: Arc<Fleet>,
    entities: Arc<Entities>,
    active: Option<Active>,
    standby: Option<ModelRef>,
    labels: LabelWatch,
    decided: BTreeMap<u64, Decided>,
    order: VecDeque<u64>,
    frauds: VecDeque<Timestamp>,
    mature_frauds: u64,
    judging: Judging,
    row: Vec<f64>,
}

/// The watch over the model that answers.
struct Active {
    loaded: Loaded,
    watch: Watch,
}

impl Watchers {
    /// Begins without a past.
    #[must_use]
    pub fn new(options: Options, fleet: Arc<Fleet>, entities: Arc<Entities>) -> Self {
        Self {
            labels: LabelWatch::new(options.labels.clone()),
            options,
            fleet,
            entities,
            active: None,
            standby: None,
            decided: BTreeMap::new(),
            order: VecDeque::new(),
            frauds: VecDeque::new(),
            mature_frauds: 0,
            judging: Judging::default(),
            row: Vec::new(),
        }
    }

    /// Sees a decision.
    pub fn observe(&mut self, record: &Record) {
        let Some(active) = &mut self.active else { return };
        let (facts, model) = (&record.decision.release, &active.loaded.model);
        if (&facts.model_name, &facts.model_version) != (&model.name, &model.version) {
            // A canary's: its trial compares it.
            return;
        }
        active.watch.observe(&observation(record, active.loaded.schema.inputs(), &mut self.row));
        let decided = decided(record, model.reference.clone());
        self.labels.decided(&decided);
        self.order.push_back(decided.transaction);
        self.decided.insert(decided.transaction, decided);
        while self.order.len() > DECIDED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.decided.remove(&oldest);
            }
        }
    }

    /// Sees a label. One whose decision is forgotten, or was not looked at, tells nothing of a model.
    pub fn labelled(&mut self, label: &Label) {
        let is_fraud = label.kind.is_fraud();
        let Some(decided) = self.decided.remove(&key_of(&label.transaction_id)) else { return };
        if is_fraud {
            self.frauds.push_back(decided.occurred_at);
            if self.frauds.len() > FRAUDS_MAX {
                self.frauds.pop_front();
                self.mature_frauds += 1;
            }
        }
        self.labels.labelled(&Labelled { decided, is_fraud, labelled_at: label.occurred_at });
    }

    /// Lets time pass and tells what is open, and what ended just now.
    pub fn found(&mut self, now: Timestamp) -> Found {
        self.follow(now);
        for shadowed in self.fleet.shadowed() {
            let decided = self.decided.get_mut(&key_of(shadowed.record.transaction.id()));
            if let (Some(decided), true) = (decided, Some(&shadowed.model) == self.standby.as_ref()) {
                decided.standby_score = shadowed.score;
            }
        }
        let mut findings = Vec::new();
        let mut watch = WatchFacts::default();
        if let Some(active) = &mut self.active {
            let is_warming = matches!(self.entities.warmth(&active.loaded.schema), Warmth::Warming { .. });
            active.watch.warming(&vec![is_warming; active.loaded.schema.inputs().len()]);
            findings.extend(ended(active.watch.tick(now)));
            findings.extend(active.watch.open());
            let votes = active.watch.votes();
            let model = Some(active.watch.model().clone());
            watch = WatchFacts { model, votes, is_conclusive: votes >= VOTES_MIN && !is_warming };
        }
        findings.extend(ended(self.labels.tick(now)));
        findings.extend(self.labels.open());
        for (_, model) in self.fleet.placed() {
            findings.extend(ended(model.guard.findings()));
            findings.extend(model.guard.open_findings());
        }
        // One that ended and is open again is open.
        let open: Vec<_> = findings.iter().filter(|finding| finding.verdict != Verdict::Ended).map(identity).collect();
        findings.retain(|finding| finding.verdict != Verdict::Ended || !open.contains(&identity(finding)));
        Found { findings, watch }
    }

    /// Returns what is open.
    #[must_use]
    pub fn open(&self) -> Vec<Finding> {
        let watched = self.active.iter().flat_map(|active| active.watch.open());
        let guarded = self.fleet.placed().into_iter().flat_map(|(_, model)| model.guard.open_findings());
        watched.chain(self.labels.open()).chain(guarded).collect()
    }

    /// Returns what is known of the standby on the traffic of now; on suspicion it is judged anew.
    pub fn standby(&mut self, now: Timestamp, findings: &[Finding]) -> Option<StandbyControl> {
        let standby = self.standby.clone()?;
        let is_suspected = findings.iter().any(|finding| finding.verdict == Verdict::Acting);
        if is_suspected && self.judging.is_due(&standby, now) {
            let loaded = self.fleet.loaded().into_iter().find(|loaded| loaded.model.reference == standby)?;
            let judge = |loaded: Loaded| Judge { profile: profile_of(&loaded), loaded };
            let active = self.active.as_ref().map(|active| judge(active.loaded.clone()));
            self.judging.begin(now, (Arc::clone(&self.fleet), judge(loaded), active), &self.options);
        }
        self.judging.result(&standby)
    }

    /// Waits for a judgement that is being made, so that what follows does not hang on how fast a thread is. Blocks.
    pub fn settle(&mut self) {
        self.judging.settle();
    }

    /// Returns how active and standby compare on labels.
    #[must_use]
    pub fn paired(&self) -> Option<PairedEvidence> {
        let (active, standby) = (self.active.as_ref()?.watch.model().clone(), self.standby.clone()?);
        let paired = self.labels.paired();
        (paired.pairs > 0).then_some(PairedEvidence {
            active,
            standby,
            log_e_standby_better: paired.log_e_standby_better,
            log_e_standby_worse: paired.log_e_standby_worse,
            pairs: paired.pairs,
        })
    }

    /// Counts frauds that were reported and are older than `maturity`.
    pub fn mature_frauds(&mut self, now: Timestamp, maturity: Span) -> u64 {
        let oldest = now.minus(maturity);
        let fresh = self.frauds.iter().filter(|occurred| **occurred > oldest).count();
        self.mature_frauds + (self.frauds.len() - fresh) as u64
    }

    /// Follows the fleet: another active model begins its watch, another pair begins to be compared.
    fn follow(&mut self, now: Timestamp) {
        let facts = self.fleet.facts();
        let (active, standby) = (facts.active.map(|active| active.model), facts.standby.map(|standby| standby.model));
        let is_other = self.active.as_ref().map(|active| active.watch.model()) != active.as_ref();
        if is_other {
            self.active = active.as_ref().and_then(|model| {
                let loaded = self.fleet.loaded().into_iter().find(|loaded| loaded.model.reference == *model)?;
                let options = self.options.drift.of_schema(loaded.schema.hash());
                let mut watch = Watch::new(model.clone(), profile_of(&loaded), &options);
                watch.rearm(now);
                Some(Active { loaded, watch })
            });
        }
        if is_other || standby != self.standby {
            self.standby = standby;
            if let Some(model) = &active {
                self.labels.paired_with(model);
            }
        }
    }
}

fn ended(changes: Vec<Finding>) -> impl Iterator<Item = Finding> {
    changes.into_iter().filter(|finding| finding.verdict == Verdict::Ended)
}

fn identity(finding: &Finding) -> (crate::healing::Alarm, Option<String>, Option<ModelRef>) {
    (finding.alarm, finding.subject.clone(), finding.model.clone())
}

/// Returns a loaded model's baseline as the detectors read it.
fn profile_of(loaded: &Loaded) -> Arc<Profile> {
    let features = loaded.schema.features();
    let is_calendar = |place: &usize| matches!(features[*place].source, Source::Calendar(_));
    let calendar: Vec<bool> = loaded.schema.inputs().iter().map(is_calendar).collect();
    Arc::new(loaded.baseline.profile(&calendar, &loaded.model.thresholds))
}

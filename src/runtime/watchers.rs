//! The detectors at work: decisions and labels in, findings out.
//!
//! ```text
//! decision of the active model ─> Watch (inputs, scores, alerts, flow)      begins anew with every model
//! decision, then its label ─────> LabelWatch (quality, calibration, feed)   a track for each model
//! on suspicion ─────────────────> judge: the standby on the newest 2,000 decisions, on a thread of its own
//! ```
//! Everything here happens on the healer's thread but for that judgement. Which finding leads to what is not known here.

mod frauds;
mod standby;
mod waiting;

use std::cell::LazyCell;
use std::sync::Arc;

use super::decisions::{Ledger, Record};
use super::entities::{Entities, Warmth};
use super::fleet::Fleet;
use super::healer::Found;
use super::observed::{decided, key_of, observation};
use super::resident::Loaded;
use crate::domain::{Calibration, Label, Span, Timestamp};
use crate::healing::drift::{self, Profile, Watch};
use crate::healing::quality::{self, LabelWatch, Labelled};
use crate::healing::situation::{CalibrationFacts, PairedEvidence, StandbyControl, WatchFacts};
use crate::healing::{Finding, ModelRef, Verdict};
use crate::scoring::feature::Source;
use crate::scoring::window::{LabelFilter, Measure};
use crate::telemetry::healing::{DriftForgotten, DriftShown};
use frauds::Frauds;
use standby::{Judge, Judging};
use waiting::Waiting;

/// How often the distances of inputs are shown.
const SHOWN_EVERY: Span = Span::from_seconds(10);
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
    /// Where the frauds are kept that labels told of; `None`: a restart forgets them.
    pub frauds_path: Option<std::path::PathBuf>,
    /// How long decisions are kept: older frauds are no longer learned from.
    pub age_max: Span,
}

/// The detectors.
pub struct Watchers {
    options: Options,
    fleet: Arc<Fleet>,
    entities: Arc<Entities>,
    ledger: Arc<Ledger>,
    active: Option<Active>,
    standby: Option<ModelRef>,
    calibrated: Option<(ModelRef, Calibration)>,
    labels: LabelWatch,
    waiting: Waiting,
    frauds: Frauds,
    /// When the distances of inputs were last shown.
    shown_at: Option<Timestamp>,
    judging: Judging,
    row: Vec<f64>,
}

/// The watch over the model that answers.
struct Active {
    loaded: Loaded,
    reference: Arc<ModelRef>,
    watch: Watch,
}

impl Active {
    /// Tells whether this model was asked for a decision.
    fn has_decided(&self, record: &Record) -> bool {
        let (facts, model) = (&record.decision.release, &self.loaded.model);
        (&facts.model_name, &facts.model_version) == (&model.name, &model.version)
    }
}

impl Watchers {
    /// Begins without a past, but for the frauds that are known.
    #[must_use]
    pub fn new(options: Options, fleet: Arc<Fleet>, (entities, ledger): (Arc<Entities>, Arc<Ledger>)) -> Self {
        Self {
            labels: LabelWatch::new(options.labels.clone()),
            frauds: Frauds::open(options.frauds_path.clone()),
            options,
            fleet,
            entities,
            ledger,
            active: None,
            standby: None,
            calibrated: None,
            waiting: Waiting::default(),
            shown_at: None,
            judging: Judging::default(),
            row: Vec::new(),
        }
    }

    /// Sees a decision.
    pub fn observe(&mut self, record: &Record) {
        let Some(active) = &mut self.active else { return };
        if !active.has_decided(record) {
            // A canary's: its trial compares it.
            return;
        }
        active.watch.observe(&observation(record, active.loaded.schema.inputs(), &mut self.row));
        let decided = decided(record, &active.reference);
        self.labels.decided(&decided);
        self.waiting.put(decided);
    }

    /// Sees a label, as long as memory or the ledger has its decision. A fraud counts whoever decided; of a model it tells
    /// only when that is the active one.
    pub fn labelled(&mut self, label: &Label) {
        let is_fraud = label.kind.is_fraud();
        let key = key_of(&label.transaction_id);
        // Looked up at most once, and only if somebody wants it.
        let found = LazyCell::new(|| self.ledger.look_up(&label.transaction_id));
        let decided = self.waiting.take(key, || {
            let (record, active) = (found.as_ref()?, self.active.as_ref()?);
            active.has_decided(record).then(|| decided(record, &active.reference))
        });
        if is_fraud != self.frauds.has(key) {
            let recorded = || found.as_ref().map(|record| record.transaction.occurred_at());
            if let Some(occurred_at) = decided.as_ref().map(|decided| decided.occurred_at).or_else(recorded) {
                self.frauds.note(key, occurred_at, is_fraud);
            }
        }
        let Some(decided) = decided else { return };
        self.labels.labelled(&Labelled { decided, is_fraud, labelled_at: label.occurred_at });
    }

    /// Lets time pass and tells what is open, and what ended just now.
    pub fn found(&mut self, now: Timestamp) -> Found {
        self.follow(now);
        self.show(now);
        self.waiting.turn();
        for shadowed in self.fleet.shadowed() {
            let decided = self.waiting.get_mut(key_of(shadowed.record.transaction.id()));
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

    /// Fits a map from a model's score to a probability.
    ///
    /// # Errors
    /// See [`quality::Unfit`].
    pub fn fit(&self, model: &ModelRef) -> Result<quality::Fitted, quality::Unfit> {
        self.labels.fit(model)
    }

    /// Returns how the map in force does on labels.
    #[must_use]
    pub fn calibration(&self) -> Option<CalibrationFacts> {
        let model = self.active.as_ref()?.watch.model().clone();
        let trial = self.labels.calibration(&model)?;
        Some(CalibrationFacts { model, map: trial.map, log_e_better: trial.log_e_better, labels: trial.labels })
    }

    /// Counts frauds that were reported, are older than `maturity` and can be learned from.
    #[must_use]
    pub fn mature_frauds(&self, now: Timestamp, maturity: Span) -> u64 {
        self.frauds.mature(now, (maturity, self.options.age_max))
    }

    /// Shows people how far the inputs of the active model are from its baseline, now and then.
    fn show(&mut self, now: Timestamp) {
        let is_due = self.shown_at.is_none_or(|at| now < at || now.since(at) >= SHOWN_EVERY);
        if let (true, Some(active)) = (is_due, &self.active) {
            self.shown_at = Some(now);
            DriftShown { figures: &active.watch.figures() }.emit();
        }
    }

    /// Follows the fleet: another active model begins its watch, another pair begins to be compared.
    fn follow(&mut self, now: Timestamp) {
        let facts = self.fleet.facts();
        let (active, standby) = (facts.active.map(|active| active.model), facts.standby.map(|standby| standby.model));
        let is_other = self.active.as_ref().map(|active| active.watch.model()) != active.as_ref();
        if is_other {
            DriftForgotten.emit();
            self.shown_at = None;
            self.active = active.as_ref().and_then(|model| {
                let loaded = self.fleet.loaded().into_iter().find(|loaded| loaded.model.reference == *model)?;
                let options = self.options.drift.of_schema(loaded.schema.hash());
                let mut watch = Watch::new(model.clone(), profile_of(&loaded), &options);
                watch.made_of_labels(&made_of_labels(&loaded));
                watch.rearm(now);
                Some(Active { reference: Arc::new(model.clone()), loaded, watch })
            });
        }
        if is_other || standby != self.standby {
            self.standby = standby;
            if let Some(model) = &active {
                self.labels.paired_with(model);
            }
        }
        let calibrated = self.fleet.calibration();
        if calibrated != self.calibrated {
            // A model that left took its map with it.
            let before = self.calibrated.take().map(|(model, _)| model);
            let now_without = before.filter(|model| calibrated.as_ref().is_none_or(|(other, _)| other != model));
            if let Some(model) = now_without {
                self.labels.calibrated(&model, None, now);
            }
            if let Some((model, map)) = &calibrated {
                self.labels.calibrated(model, Some(*map), now);
            }
            self.calibrated = calibrated;
        }
    }
}

fn ended(changes: Vec<Finding>) -> impl Iterator<Item = Finding> {
    changes.into_iter().filter(|finding| finding.verdict == Verdict::Ended)
}

fn identity(finding: &Finding) -> (crate::healing::Alarm, Option<String>, Option<ModelRef>) {
    (finding.alarm, finding.subject.clone(), finding.model.clone())
}

/// Tells of each input of a model whether it is made of labels.
fn made_of_labels(loaded: &Loaded) -> Vec<bool> {
    let mut of_labels: Vec<bool> = Vec::new();
    for feature in loaded.schema.features() {
        let is_of_labels = match &feature.source {
            Source::Aggregate(made) => made.measure == Measure::RateOfFraud || made.labels != LabelFilter::Any,
            // It reads earlier features only.
            Source::Expression(made) => made.features_read().iter().any(|place| of_labels.get(*place) == Some(&true)),
            Source::Field { .. } | Source::Codes { .. } | Source::Calendar(_) => false,
        };
        of_labels.push(is_of_labels);
    }
    loaded.schema.inputs().iter().map(|place| of_labels[*place]).collect()
}

/// Returns a loaded model's baseline as the detectors read it.
fn profile_of(loaded: &Loaded) -> Arc<Profile> {
    let features = loaded.schema.features();
    let is_calendar = |place: &usize| matches!(features[*place].source, Source::Calendar(_));
    let calendar: Vec<bool> = loaded.schema.inputs().iter().map(is_calendar).collect();
    Arc::new(loaded.baseline.profile(&calendar, &loaded.model.thresholds))
}

//! The watch over labels: decided transactions and labels in, findings out.

use std::collections::BTreeMap;

use super::feed::Feed;
use super::label::{Decided, Labelled};
use super::options::{Expected, Options, Unlabelled};
use super::paired::{Gains, Paired};
use super::ranks::Ranks;
use super::recalibrate::{Fitted, Unfit};
use super::track::{Calibration, Track};
use crate::domain::{Calibration as Calibrated, Timestamp};
use crate::healing::drift::book::{Book, finding};
use crate::healing::drift::evidence::ceiling;
use crate::healing::drift::{Ceilings, Limits, Step};
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};
use crate::healing::model::ModelRef;
use crate::healing::rates::Learned;

/// Models whose labels are told apart; the one without a label for longest goes first.
const MODELS_MAX: usize = 4;
/// Quality is judged by three means and by calibration; they share the run length. So do three figures of the feed.
const KINDS: f64 = 4.0;
const SILENT: &str = "silent";
/// Logarithm of the evidence of recall or ranks that backs a fall of precision: 1,000 to 1. Two are looked at for as long
/// as precision stays low, so 20 to 1 comes by chance.
const BACKING: f64 = 6.9;

/// The detectors that rest on labels.
#[derive(Clone, Debug)]
pub struct LabelWatch {
    options: Options,
    limits: Limits,
    ceilings: Ceilings,
    feed: Feed,
    tracks: BTreeMap<ModelRef, Track>,
    expected: BTreeMap<ModelRef, Expected>,
    pending: BTreeMap<(Timestamp, u64), Labelled>,
    sequence: u64,
    ranks: Ranks,
    gains: Gains,
    paired_model: Option<ModelRef>,
    books: BTreeMap<ModelRef, Book>,
    feed_book: Book,
    now: Timestamp,
}

impl LabelWatch {
    /// Begins without a past.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let log = |labels: f64| (labels * KINDS).max(1.0).ln();
        let limits = Limits {
            acting: log(options.run_length_acting),
            advisory: log(options.run_length_advisory),
            ended: options.run_length_ended.max(1.0).ln(),
        };
        let ceilings = Ceilings { acting: ceiling(limits.acting + 2.0), ended: ceiling(limits.ended + 2.0) };
        Self {
            feed: Feed::new(&options),
            options,
            limits,
            ceilings,
            tracks: BTreeMap::new(),
            expected: BTreeMap::new(),
            pending: BTreeMap::new(),
            sequence: 0,
            ranks: Ranks::default(),
            gains: Gains::default(),
            paired_model: None,
            books: BTreeMap::new(),
            feed_book: Book::default(),
            now: Timestamp::MIN,
        }
    }

    /// Says what a model is known to reach; to be called before its first label. At most a few models are kept.
    pub fn expect(&mut self, model: ModelRef, expected: Expected) {
        if self.expected.len() >= 4 * MODELS_MAX {
            self.expected.pop_first();
        }
        self.expected.insert(model, expected);
    }

    /// Counts a decided transaction.
    pub fn decided(&mut self, decided: &Decided) {
        self.feed.decided(decided, &self.options);
        // Frauds alone are reported: any transaction stands for a legitimate one, a few in a thousand wrongly.
        if !self.feed.has_legitimate()
            && let Some(score) = decided.score.filter(|score| score.is_finite())
        {
            self.meet(&decided.model);
            self.ranks.legitimate(score, decided.standby_score);
            if let Some(track) = self.tracks.get_mut(&*decided.model) {
                track.stands_for_legitimate(score);
            }
        }
    }

    /// Counts a label.
    pub fn labelled(&mut self, label: &Labelled) {
        self.now = self.now.max(label.labelled_at);
        self.feed.labelled(label, self.ceilings);
        self.pair(label);
        self.sequence += 1;
        let matures_at = label.decided.occurred_at.plus(self.options.maturity);
        self.pending.insert((matures_at, self.sequence), label.clone());
        while self.pending.len() > self.options.pending_max.max(1) {
            if let Some((_, oldest)) = self.pending.pop_first() {
                self.count(&oldest);
            }
        }
    }

    fn pair(&mut self, label: &Labelled) {
        let Some(score) = label.decided.score.filter(|score| score.is_finite()) else { return };
        self.meet(&label.decided.model);
        let standby = label.decided.standby_score.filter(|score| score.is_finite());
        if !label.is_fraud {
            self.ranks.legitimate(score, standby);
        } else if let Some((active, standby)) = standby.and_then(|standby| self.ranks.places(score, standby)) {
            self.gains.fraud(active, standby);
        }
    }

    /// Pairs are about one active model: another one begins anew. Labels of models before it do not take it back.
    fn meet(&mut self, model: &ModelRef) {
        if self.paired_model.is_none() {
            self.paired_model = Some(model.clone());
        }
    }

    /// Says that another model answers, or another one stands by: pairs begin anew.
    pub fn paired_with(&mut self, active: &ModelRef) {
        self.paired_model = Some(active.clone());
        self.ranks.clear();
        self.gains = Gains::default();
    }

    fn count(&mut self, label: &Labelled) {
        if !self.tracks.contains_key(&*label.decided.model) && self.tracks.len() >= MODELS_MAX {
            let oldest = self.tracks.iter().min_by_key(|(_, track)| track.newest).map(|(model, _)| model.clone());
            if let Some(oldest) = oldest {
                self.tracks.remove(&oldest);
                self.books.remove(&oldest);
            }
        }
        let (options, expected) =
            (&self.options, self.expected.get(&*label.decided.model).copied().unwrap_or_default());
        let track =
            self.tracks.entry(ModelRef::clone(&label.decided.model)).or_insert_with(|| Track::new(expected, options));
        track.newest = track.newest.max(label.labelled_at);
        track.matured(label, options, self.ceilings);
    }

    /// Counts what is old enough now and returns what changed since the last tick.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Finding> {
        self.now = now;
        self.mature(now);
        self.assess_feed(now);
        let is_held = self.feed_book.open().iter().any(|finding| finding.verdict != Verdict::Ended);
        let models: Vec<ModelRef> = self.tracks.keys().cloned().collect();
        let mut changes = self.feed_book.changes();
        for model in models {
            self.assess_model(&model, now);
            if let Some(book) = self.books.get_mut(&model) {
                book.hold(|_, _| is_held);
                changes.extend(book.changes());
            }
        }
        changes
    }

    fn mature(&mut self, now: Timestamp) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let label = entry.remove();
            self.count(&label);
        }
        for followed in self.feed.matured(now, &self.options, self.ceilings) {
            if followed.is_fraud.is_some() || self.options.unlabelled == Unlabelled::Missing {
                continue;
            }
            self.count(&Labelled { decided: followed.decided, is_fraud: false, labelled_at: now });
        }
    }

    fn assess_feed(&mut self, now: Timestamp) {
        let (limits, book) = (self.limits, &mut self.feed_book);
        match self.feed.silent_for(now, &self.options) {
            Some(silent) => {
                let hours = silent.micros() as f64 / 3.6e9;
                let values = BTreeMap::from([("silent_hours".to_owned(), hours)]);
                let evidence = Evidence { values, text: format!("no label for {hours:.1} h"), ..Evidence::default() };
                let key = (Alarm::LabelFeed, Some(SILENT.to_owned()));
                book.raise(finding(key, None, Verdict::Acting, (now, now), evidence));
            }
            None => book.end(Alarm::LabelFeed, Some(SILENT), now, None),
        }
        let Feed { coverage, delay, frauds, .. } = &mut self.feed;
        let values = &BTreeMap::new();
        for (subject, learned, what) in [
            ("coverage", coverage, "labels cover fewer transactions"),
            ("delay", delay, "labels come later"),
            ("frauds", frauds, "frauds are rarer among labels"),
        ] {
            Case { alarm: Alarm::LabelFeed, subject, what, model: None, values }.step(book, learned, limits, now);
        }
    }

    fn assess_model(&mut self, model: &ModelRef, now: Timestamp) {
        let (limits, Some(track)) = (self.limits, self.tracks.get_mut(model)) else { return };
        let book = self.books.entry(model.clone()).or_default();
        let (values, model) = (&track.values(), Some(model));
        // Precision falls with the share of frauds, too, and those come in campaigns: alone it is no loss of quality.
        let is_backed = track.recall.log() >= BACKING || track.rank.log() >= BACKING;
        let of_precision = Limits { acting: if is_backed { limits.acting } else { f64::INFINITY }, ..limits };
        for (subject, learned, what, limits) in [
            ("precision", &mut track.precision, "precision fell", of_precision),
            ("recall", &mut track.recall, "recall fell", limits),
            ("rank", &mut track.rank, "frauds rank lower among legitimate transactions", limits),
        ] {
            Case { alarm: Alarm::QualityLost, subject, what, model, values }.step(book, learned, limits, now);
        }
        let calibration = &mut track.calibration;
        let standing = book.verdict(Alarm::CalibrationOff, None);
        let verdict = match limits.step(standing, calibration.log(), 0.0, calibration.over()) {
            Step::Raise(verdict) => {
                calibration.alarmed();
                Some(verdict)
            }
            Step::Keep => standing,
            Step::End => {
                *calibration = Calibration::default();
                book.end(Alarm::CalibrationOff, None, now, None);
                None
            }
        };
        if let Some(verdict) = verdict {
            let text = format!("{:.2} frauds for each one that scores promise", calibration.ratio());
            let (log_e, log_threshold, votes) = (calibration.log(), limits.acting, calibration.votes());
            let evidence = Evidence { log_e, log_threshold, votes, values: values.clone(), text };
            book.raise(finding((Alarm::CalibrationOff, None), model, verdict, (now, now), evidence));
        }
    }

    /// Returns every finding that stands.
    #[must_use]
    pub fn open(&self) -> Vec<Finding> {
        self.books.values().chain([&self.feed_book]).flat_map(Book::open).collect()
    }

    /// Returns what labelled frauds say about the standby against the active model.
    #[must_use]
    pub fn paired(&self) -> Paired {
        self.gains.paired()
    }

    /// Fits a map from a model's score to a probability on the labels that have matured, and checks it by the newest.
    ///
    /// # Errors
    /// [`Unfit`]: too little is known, or newer labels do not show it to be better.
    pub fn fit(&self, model: &ModelRef) -> Result<Fitted, Unfit> {
        let track = self.tracks.get(model).ok_or(Unfit::Unknown)?;
        if self.options.unlabelled == Unlabelled::Legitimate && self.feed.is_thinned() {
            return Err(Unfit::Sampled);
        }
        track.cases.fit(track.map.as_ref().map(|(map, _)| *map))
    }

    /// Says that a model's scores stand for other probabilities from now on: calibration is judged anew, and the map by
    /// what matures under it.
    pub fn calibrated(&mut self, model: &ModelRef, map: Option<Calibrated>, now: Timestamp) {
        if let Some(track) = self.tracks.get_mut(model) {
            track.calibrated(map);
        } else if map.is_some() && self.tracks.len() < MODELS_MAX {
            let mut track = Track::new(self.expected.get(model).copied().unwrap_or_default(), &self.options);
            track.calibrated(map);
            self.tracks.insert(model.clone(), track);
        }
        if let Some(book) = self.books.get_mut(model) {
            book.end(Alarm::CalibrationOff, None, now, None);
        }
    }

    /// Returns how the map of a model does, while it has one.
    #[must_use]
    pub fn calibration(&self, model: &ModelRef) -> Option<CalibrationTrial> {
        let (map, trial) = self.tracks.get(model)?.map.as_ref()?;
        Some(CalibrationTrial { map: *map, log_e_better: trial.log_e, labels: trial.votes })
    }

    /// Returns the figures of a model's labels; nothing where none has counted yet.
    #[must_use]
    pub fn values(&self, model: &ModelRef) -> BTreeMap<String, f64> {
        self.tracks.get(model).map(Track::values).unwrap_or_default()
    }

    /// Forgets the evidence about a model, keeping what is usual.
    pub fn rearm(&mut self, model: &ModelRef, now: Timestamp) {
        if let Some(track) = self.tracks.get_mut(model) {
            track.clear();
        }
        if let Some(book) = self.books.get_mut(model) {
            book.end_all(now);
        }
    }
}

/// How a map from score to probability does on labels that matured under it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationTrial {
    /// The map.
    pub map: Calibrated,
    /// Logarithm of the evidence for it against the bare score; negative where it speaks against it.
    pub log_e_better: f64,
    /// The labels it rests on.
    pub labels: u64,
}

/// One learned mean and the finding it may become.
struct Case<'a> {
    alarm: Alarm,
    subject: &'static str,
    what: &'static str,
    model: Option<&'a ModelRef>,
    values: &'a BTreeMap<String, f64>,
}

impl Case<'_> {
    fn step(&self, book: &mut Book, learned: &mut Learned, limits: Limits, now: Timestamp) {
        let standing = book.verdict(self.alarm, Some(self.subject));
        let verdict = match limits.step(standing, learned.log(), 0.0, learned.over()) {
            Step::Raise(verdict) => {
                learned.alarmed();
                Some(verdict)
            }
            Step::Keep => standing,
            Step::End => {
                learned.clear();
                book.end(self.alarm, Some(self.subject), now, None);
                None
            }
        };
        if let Some(verdict) = verdict {
            let limit = if verdict == Verdict::Acting { limits.acting } else { limits.advisory };
            let key = (self.alarm, Some(self.subject.to_owned()));
            book.raise(finding(key, self.model, verdict, (now, now), self.evidence(learned, limit)));
        }
    }

    fn evidence(&self, learned: &Learned, log_threshold: f64) -> Evidence {
        let mut values = self.values.clone();
        values.extend([("recent".to_owned(), learned.recent()), ("usual".to_owned(), learned.usual())]);
        let text = format!("{}: {:.3}, usually {:.3}", self.what, learned.recent(), learned.usual());
        Evidence { log_e: learned.log(), log_threshold, votes: learned.votes(), values, text }
    }
}

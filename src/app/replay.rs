//! Replaying a history: every transaction through the real scorer, in event time, into a store of its own.
//!
//! ```text
//! files ─> transactions and labels, sorted by event time ─> a label at its own time, before transactions
//!          of the same instant ─> Scorer::score ─> store, figures
//! ```
//! Receipt is the event's own time: lists expire and stand-in totals run as they did then. One transaction
//! at a time, so that the order is the history's. Contributions are not computed. Without a label a
//! transaction counts as legitimate in the figures.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compact_str::CompactString;

use super::{App, History, parse_history, watch_signals};
use crate::config::Settings;
use crate::domain::{EvaluationStatus, Label, Outcome, Span, TraceId, Transaction};
use crate::edge::history::{Reader, Tally, read_labels};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Record;
use crate::runtime::scorer::{Answer, Effort, Request, Scorer};
use crate::runtime::store::{self, Durability, OnFailure};
use crate::scoring::metrics::{Scored, average_precision, roc_auc};
use crate::tasks::Shutdown;

/// Nobody waits for a replayed answer: only what hangs is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Transactions between two calls of the progress callback.
const PROGRESS_EACH: u64 = 500;
const SEGMENT_LEN_MAX: u64 = 64 << 20;

/// What a replay is asked for.
pub struct ReplayOptions {
    /// The files.
    pub history: History,
    /// The directory of the store.
    pub directory: PathBuf,
    /// Whether the store may hold decisions already: those are looked up, not made again.
    pub resume: bool,
}

/// Figures of one way to say "this is fraud".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Alarms {
    /// Transactions it named.
    pub named: u64,
    /// Frauds among them.
    pub frauds: u64,
}

/// What a replay did, and how good it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayReport {
    /// Transactions decided now.
    pub decided: u64,
    /// Transactions that were decided before.
    pub known: u64,
    /// Transactions whose id stands for another payload.
    pub conflicts: u64,
    /// Rows read and refused.
    pub transactions: Tally,
    /// Labels read and refused.
    pub labels: Tally,
    /// Decisions by outcome, mildest first.
    pub outcomes: [u64; 4],
    /// Whether the figures are of model scores; of risk scores when no model was asked.
    pub has_scores: bool,
    /// Transactions that were fraud.
    pub frauds: u64,
    /// Area under the ROC curve; absent without both kinds.
    pub auc: Option<f64>,
    /// Average precision; absent without frauds.
    pub average_precision: Option<f64>,
    /// Each way to say fraud, by name.
    pub alarms: Vec<(&'static str, Alarms)>,
    /// Whether it was ended early.
    pub interrupted: bool,
    /// How long scoring took.
    pub took: Duration,
}

/// Scores a history into a store of its own. `progress` gets transactions done and all there are.
///
/// # Errors
/// Files that cannot be read, a store that is not empty or not fit, a model that does not load.
pub fn replay(
    settings: Settings,
    options: &ReplayOptions,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<ReplayReport> {
    replay_each(settings, options, progress, &mut |_| {})
}

/// What happened in a history.
pub(super) enum Happened<'a> {
    /// A transaction was decided.
    Decided(&'a Record),
    /// A label came.
    Labelled(&'a Label),
}

/// The same, and `each` sees everything in its order.
pub(super) fn replay_each(
    mut settings: Settings,
    options: &ReplayOptions,
    progress: &dyn Fn(u64, u64),
    each: &mut dyn FnMut(Happened<'_>),
) -> anyhow::Result<ReplayReport> {
    settings.state = Some(store::Options {
        directory: options.directory.clone(),
        durability: Durability::Process,
        on_failure: OnFailure::Refuse,
        bytes_max: u64::MAX,
        age_max: Span::from_days(36_500),
        events_age_min: Span::ZERO,
        segment_len_max: SEGMENT_LEN_MAX,
        sync_interval: Duration::from_millis(200),
    });
    settings.model_deadline = Span::from_seconds(10);
    settings.explain.cpu_ms_per_second = 0;
    let (mut report, past) = read(&settings, &options.history)?;
    let app = App::build(settings)?;
    let is_empty = app.store.as_ref().is_some_and(store::Store::is_empty);
    if !is_empty && !options.resume {
        bail!("{} holds a store already: name an empty directory, or --continue it", options.directory.display());
    }
    if app.settings.models.enabled && app.service.scorer.release().model.is_none() {
        bail!(
            "the model did not load: `fraudd model validate` says why, FRAUDD__MODELS__ENABLED=false replays on rules"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::default();
        let _signals = watch_signals(&shutdown)?;
        let App { service, entities, store, .. } = app;
        let running = store.map(|store| store.start(service.scorer.ledger(), &entities, &shutdown)).transpose()?;
        if let Some(running) = &running {
            running.restore(&|_| !shutdown.is_asked()).context("tried to restore the store")?;
        }
        let mut replay = Replay { scorer: service.scorer.clone(), report: &mut report, rows: Vec::new(), each };
        replay.run(past, &shutdown, progress).await?;
        replay.finish();
        if let Some(running) = running {
            tokio::task::spawn_blocking(move || running.close()).await?;
        }
        anyhow::Ok(())
    })?;
    Ok(report)
}

/// A history in the order of its event times.
pub(super) struct Past {
    pub(super) transactions: Vec<Transaction>,
    pub(super) labels: Vec<Label>,
    /// What each labelled transaction was in the end.
    pub(super) truth: HashMap<CompactString, bool>,
}

/// Reads a history and sorts it.
pub(super) fn read(settings: &Settings, history: &History) -> anyhow::Result<(ReplayReport, Past)> {
    let History { transactions: files, labels: label_files, mapping, label_delay, strict } = history;
    let (mapping, rates) = (mapping.clone(), settings.rates.clone());
    let reader = Reader { mapping, rates, parse: &parse_history, label_delay: *label_delay, strict: *strict };
    let mut report = ReplayReport::default();
    let (mut transactions, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        report.transactions.add(reader.read(path, &mut |record| {
            if let Some((kind, occurred_at)) = record.label {
                let transaction_id = record.transaction.id().into();
                labels.push(Label { transaction_id, kind, occurred_at, source: "history".into() });
            }
            transactions.push(record.transaction);
            Ok(())
        })?);
    }
    for path in label_files {
        report.labels.add(read_labels(path, *strict, &mut |label| labels.push(label))?);
    }
    // Stable: what happened at the same instant stays in the order of the files.
    transactions.sort_by_key(Transaction::occurred_at);
    labels.sort_by_key(|label| label.occurred_at);
    // In order of time, so that the last word stands.
    let truth = labels.iter().map(|label| (label.transaction_id.clone(), label.kind.is_fraud())).collect();
    Ok((report, Past { transactions, labels, truth }))
}

/// One decided transaction.
struct Row {
    fraud: bool,
    score: Option<f64>,
    risk: u16,
    outcome: Outcome,
}

struct Replay<'a> {
    scorer: Scorer,
    report: &'a mut ReplayReport,
    rows: Vec<Row>,
    each: &'a mut dyn FnMut(Happened<'_>),
}

impl Replay<'_> {
    async fn run(&mut self, past: Past, shutdown: &Shutdown, progress: &dyn Fn(u64, u64)) -> anyhow::Result<()> {
        let Past { transactions, labels, truth } = past;
        let (started, all) = (Moment::now(), transactions.len() as u64);
        let mut labels = labels.into_iter().peekable();
        for (done, transaction) in (0..).zip(transactions) {
            if shutdown.is_asked() {
                self.report.interrupted = true;
                break;
            }
            if done % PROGRESS_EACH == 0 {
                progress(done, all);
            }
            let mut due = Vec::new();
            while let Some(label) = labels.next_if(|label| label.occurred_at <= transaction.occurred_at()) {
                due.push(label);
            }
            if !due.is_empty() && self.scorer.label(&due).await.is_none() {
                bail!("labels could not be recorded: the log says why");
            }
            for label in &due {
                (self.each)(Happened::Labelled(label));
            }
            let fraud = truth.get(transaction.id()).copied().unwrap_or(false);
            self.score(transaction, fraud).await?;
        }
        let rest: Vec<Label> = labels.collect();
        if !self.report.interrupted && !rest.is_empty() && self.scorer.label(&rest).await.is_none() {
            bail!("labels could not be recorded: the log says why");
        }
        self.report.took = started.elapsed();
        Ok(())
    }

    async fn score(&mut self, transaction: Transaction, fraud: bool) -> anyhow::Result<()> {
        let started = Moment::now();
        let request = Request {
            trace_id: TraceId(transaction.payload_hash() | 1),
            received_at: transaction.occurred_at(),
            transaction,
            started,
            deadline: started.after(PATIENCE),
            explain: false,
            effort: Effort::Whole,
        };
        match self.scorer.score(request).await {
            Answer::Decided { record, status } => {
                match status {
                    EvaluationStatus::New => self.report.decided += 1,
                    EvaluationStatus::Duplicate | EvaluationStatus::DryRun => self.report.known += 1,
                }
                self.take(&record, fraud);
                Ok(())
            }
            Answer::Conflict => {
                self.report.conflicts += 1;
                Ok(())
            }
            Answer::Elsewhere => {
                self.report.known += 1;
                Ok(())
            }
            Answer::InFlight | Answer::NotRecorded | Answer::Unreadable => {
                bail!("a decision could not be recorded or read: the log says why")
            }
        }
    }

    fn take(&mut self, record: &Arc<Record>, fraud: bool) {
        (self.each)(Happened::Decided(record));
        let decision = &record.decision;
        self.report.outcomes[decision.outcome as usize] += 1;
        let score = decision.score.map(crate::domain::Score::get);
        self.rows.push(Row { fraud, score, risk: decision.risk_score, outcome: decision.outcome });
    }

    fn finish(&mut self) {
        let thresholds = self.scorer.release().facts.thresholds;
        let has_scores = self.rows.iter().any(|row| row.score.is_some());
        let value = |row: &Row| if has_scores { row.score } else { Some(f64::from(row.risk) / 1_000.0) };
        let scored = self.rows.iter().filter_map(|row| {
            let score = value(row)?;
            Some(Scored { score, fraud: row.fraud, weight: 1.0 })
        });
        let scored: Vec<Scored> = scored.collect();
        let at = |least: f64| alarms(&self.rows, |row| value(row).is_some_and(|score| score >= least));
        let report = &mut *self.report;
        report.has_scores = has_scores;
        report.frauds = self.rows.iter().filter(|row| row.fraud).count() as u64;
        report.auc = roc_auc(&scored);
        report.average_precision = average_precision(&scored);
        report.alarms = vec![
            ("at or above the review threshold", at(thresholds.review)),
            ("at or above the decline threshold", at(thresholds.decline)),
            ("not approved", alarms(&self.rows, |row| row.outcome != Outcome::Approve)),
            ("declined", alarms(&self.rows, |row| row.outcome == Outcome::Decline)),
        ];
    }
}

fn alarms(rows: &[Row], names: impl Fn(&Row) -> bool) -> Alarms {
    let named = rows.iter().filter(|row| names(row));
    named.fold(Alarms::default(), |sum, row| Alarms { named: sum.named + 1, frauds: sum.frauds + u64::from(row.fraud) })
}

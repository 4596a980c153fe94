//! The whole loop on event time: a history through the service as it is, healing included, with a clock that stands where
//! the history stands.
//!
//! ```text
//! transactions, labels ─> clock ─> Scorer::score, label ─> Watchers
//! a tick a minute of event time ─> fleet (compare, tend, look) ─> healing's turn ─> executor, waited for
//! a training command runs ─> event time passes no faster than the wall's until it ends, so training time is counted
//! ```
//! What threads would race for is turned here, in line: the loop, the fleet's comparisons, the judgement of a standby and
//! actions, which are waited for. Left to their threads and to the wall's time are calls of a model (their deadline is long,
//! and slowness of this machine is not judged), the breaker's waits, and the gates of a new bundle, which take no event time.
//! No door listens.

mod course;
mod report;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::healing::{InLine, Site};
use super::replay::{Past, read};
use super::retraining::Outbound;
use super::{App, History, Process, guards, watch_signals};
use crate::config::Settings;
use crate::domain::{EvaluationStatus, Label, Span, Timestamp, TraceId, Transaction};
use crate::edge::http::Service;
use crate::healing::ModelRef;
use crate::healing::host;
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::decisions::Record;
use crate::runtime::scorer::{Answer, Effort, Request};
use crate::runtime::store::{self, Durability, OnFailure};
use crate::tasks::Shutdown;
use course::{Course, Training};
pub use report::{Acted, Changed, HealReport, Noticed, Slice, Trained};
use report::{Decided, Gathered};

/// Nobody waits for a replayed answer: only what hangs is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the actions of one turn may take: each has a deadline of its own, and few are planned at once.
const ACTIONS_WAIT: Duration = Duration::from_mins(5);
/// Transactions between two calls of the progress callback.
const PROGRESS_EACH: u64 = 500;
/// Decisions between two comparisons at most: fewer than the tap and the feed hold.
const COMPARE_EACH: usize = 1_000;
/// How often a command that trains is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The most lines of the record that wait for the disk.
const RECORD_WAITING_MAX: usize = 1 << 20;
/// Nothing goes of a history while it is replayed: its times are far from the wall's.
const AGE_MAX: Span = Span::from_days(36_500);

/// What a replay with healing is asked for.
pub struct HealOptions {
    /// The files.
    pub history: History,
    /// Transactions before this only fill the windows; `None`: none does.
    pub from: Option<Timestamp>,
    /// Transactions from this on are left out.
    pub until: Option<Timestamp>,
    /// Event time between two turns of the loop.
    pub tick: Span,
}

/// Replays a history with healing. `state.directory` has to name a directory of its own. `progress` gets transactions done
/// and all there are.
///
/// # Errors
/// Files that cannot be read, a store that is not empty, a model that does not load, actions that hang.
pub fn heal_replay(
    settings: Settings,
    options: &HealOptions,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<HealReport> {
    let settings = prepared(settings)?;
    let (refused, mut past) = read(&settings, &options.history)?;
    let is_wanted = |at: Timestamp| options.until.is_none_or(|until| at < until);
    past.transactions.retain(|transaction| is_wanted(transaction.occurred_at()));
    past.labels.retain(|label| is_wanted(label.occurred_at));
    let Some(first) = past.transactions.first().map(Transaction::occurred_at) else {
        bail!("the history has no transaction: look at the files and at --until");
    };
    let from = options.from.unwrap_or(first).max(first);
    let clock = Clock::manual(from);
    let app = App::build_in(settings, Process { clock: clock.clone(), ..Process::here()? })?;
    if !app.store.as_ref().is_some_and(store::Store::is_empty) {
        bail!("state.directory holds a store already: name an empty directory");
    }
    if app.service.scorer.release().model.is_none() {
        bail!("the model did not load: `fraudd model validate` says why");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut report = runtime.block_on(drive(app, (clock, from, options.tick), past, progress))?;
    report.refused = refused.transactions.bad_rows + refused.labels.bad_rows;
    Ok(report)
}

/// Sets what event time asks for: nothing is let go, no machine is judged, no call is given up for being slow.
fn prepared(mut settings: Settings) -> anyhow::Result<Settings> {
    let Some(state) = &mut settings.state else { bail!("state.directory is not set: decisions have to go somewhere") };
    (state.durability, state.on_failure) = (Durability::Process, OnFailure::Refuse);
    (state.age_max, state.events_age_min, state.bytes_max) = (AGE_MAX, AGE_MAX, u64::MAX);
    let Some(healing) = &mut settings.healing else { bail!("healing.enabled = false: there is nothing to replay") };
    healing.healer.rate_max = u32::MAX;
    // Days pass in seconds: lines of the record wait for the disk, and none is lost.
    healing.audit.queue_len_max = RECORD_WAITING_MAX;
    settings.kafka = None;
    settings.model_deadline = Span::from_seconds(10);
    settings.explain.cpu_ms_per_second = 0;
    settings.inference.breaker.slow_after_us = 10_000_000;
    settings.host = host::Limits { throttled: 2.0, stolen: 2.0, pressure: 2.0 };
    Ok(settings)
}

async fn drive(
    app: App,
    (clock, from, tick): (Clock, Timestamp, Span),
    past: Past,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<HealReport> {
    let shutdown = Shutdown::default();
    let _signals = watch_signals(&shutdown)?;
    let App { settings, service, entities, store, boot, executor, .. } = app;
    let running = store.map(|store| store.start(service.scorer.ledger(), &entities, &shutdown)).transpose()?;
    if let Some(running) = &running {
        running.restore(&|_| true).context("tried to open the store")?;
    }
    let outbound = Arc::new(Outbound::start(&settings, None)?);
    service.fleet.start_in_line();
    let _guards = guards::watch(&service, Arc::clone(&boot), &settings, &shutdown);
    let site = Site { settings: &settings, service: &service, outbound: &outbound, boot: &boot, executor: &executor };
    let look_every = Span::from_micros(i64::try_from(settings.fleet.watch_every.as_micros()).unwrap_or(i64::MAX));
    let mut driver = Driver {
        healing: InLine::start(&site, &shutdown)?,
        service: Arc::clone(&service),
        outbound: Arc::clone(&outbound),
        is_local: settings.retraining.is_local(),
        course: Course::new(from, tick, look_every),
        gathered: Gathered::new(from),
        shutdown: shutdown.clone(),
        training: None,
        active: None,
        compared: 0,
        clock,
    };
    // It blocks for the fleet's answers between two awaits: a budget of polls would make it miss them.
    let ran = tokio::task::unconstrained(driver.run(past, from, progress)).await;
    let Driver { healing, gathered, .. } = driver;
    let is_interrupted = shutdown.is_asked();
    shutdown.ask();
    let closing = move || {
        healing.close();
        outbound.close();
        if let Some(running) = running {
            running.close();
        }
    };
    tokio::task::spawn_blocking(closing).await?;
    ran?;
    let audit = settings.healing.as_ref().and_then(|healing| healing.audit.directory.clone());
    gathered.finish(audit.as_deref(), is_interrupted)
}

struct Driver {
    service: Arc<Service>,
    healing: InLine,
    outbound: Arc<Outbound>,
    is_local: bool,
    clock: Clock,
    course: Course,
    training: Option<(Training, Moment)>,
    /// Who answered at the last turn.
    active: Option<ModelRef>,
    /// Decisions since the last comparison.
    compared: usize,
    gathered: Gathered,
    shutdown: Shutdown,
}

impl Driver {
    async fn run(&mut self, past: Past, from: Timestamp, progress: &dyn Fn(u64, u64)) -> anyhow::Result<()> {
        let Past { transactions, labels, truth } = past;
        let all = transactions.len() as u64;
        let begins = labels.partition_point(|label| label.occurred_at < from);
        let warming = transactions.partition_point(|transaction| transaction.occurred_at() < from) as u64;
        let mut labels = labels.into_iter();
        let mut known: Vec<Label> = labels.by_ref().take(begins).collect();
        let mut labels = labels.peekable();
        for (done, transaction) in (0..).zip(transactions) {
            if done % PROGRESS_EACH == 0 {
                progress(done, all);
            }
            if self.shutdown.is_asked() {
                return Ok(());
            }
            if done < warming {
                self.service.scorer.entities().absorb(&transaction);
                continue;
            }
            for label in std::mem::take(&mut known) {
                self.service.scorer.entities().label(&label);
            }
            while let Some(label) = labels.next_if(|label| label.occurred_at <= transaction.occurred_at()) {
                self.pass(label.occurred_at).await?;
                self.label(label).await?;
            }
            self.pass(transaction.occurred_at()).await?;
            let is_fraud = truth.get(transaction.id()).copied().unwrap_or(false);
            self.score(transaction, is_fraud).await?;
        }
        Ok(())
    }

    /// Lets event time pass until this instant, a turn at a time.
    async fn pass(&mut self, at: Timestamp) -> anyhow::Result<()> {
        while let Some(tick) = self.course.next_tick(at) {
            self.wait_for_training(tick).await;
            self.go_to(tick);
            self.turn(tick)?;
        }
        if self.training.is_some() {
            self.wait_for_training(at).await;
        }
        self.go_to(at);
        Ok(())
    }

    fn go_to(&self, at: Timestamp) {
        self.clock.advance(at.since(self.clock.now()));
    }

    /// Waits while a command trains and event time would get ahead of it.
    async fn wait_for_training(&mut self, at: Timestamp) {
        while let Some((training, began)) = &self.training {
            let elapsed = began.elapsed();
            // Told last: by then all that is remembered of it is so.
            if let Some(ended) = self.outbound.retraining.outcomes().pop() {
                self.course.hold_look_until(training.over_at(elapsed));
                self.gathered.trained(training.asked_at, elapsed, ended);
                self.training = None;
            } else if self.shutdown.is_asked() || training.allows(at, elapsed) {
                return;
            } else {
                let _ = tokio::time::timeout(LOOK, self.shutdown.asked()).await;
            }
        }
    }

    /// One turn: what the fleet's threads and the loop's would do since the last one.
    fn turn(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let fleet = Arc::clone(&self.service.fleet);
        self.compare();
        fleet.tend();
        if self.training.is_none() && self.course.is_look_due(now) {
            let _judged = fleet.look();
        }
        if !self.healing.turn(ACTIONS_WAIT) && !self.shutdown.is_asked() {
            bail!("an action did not come to its end: the log says which");
        }
        if self.is_local && self.training.is_none() {
            if self.outbound.retraining.under_way().is_some() {
                self.training = Some((Training { asked_at: now }, Moment::now()));
            } else if let Some(ended) = self.outbound.retraining.outcomes().pop() {
                // Over before it was looked at.
                self.gathered.trained(now, Duration::ZERO, ended);
            }
        }
        let active = fleet.facts().active.map(|active| active.model);
        if active != self.active {
            self.gathered.changed(now, active.as_ref());
            self.active = active;
        }
        Ok(())
    }

    /// Lets models in shadow see what was decided.
    fn compare(&mut self) {
        self.service.fleet.compare();
        self.compared = 0;
    }

    async fn label(&mut self, label: Label) -> anyhow::Result<()> {
        if self.service.scorer.label(std::slice::from_ref(&label)).await.is_none() {
            bail!("a label could not be recorded: the log says why");
        }
        self.gathered.labelled();
        self.healing.take();
        Ok(())
    }

    async fn score(&mut self, transaction: Transaction, is_fraud: bool) -> anyhow::Result<()> {
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
        match self.service.scorer.score(request).await {
            Answer::Decided { record, status: EvaluationStatus::New } => {
                self.gathered.decided(&seen(&record, is_fraud));
                self.healing.take();
                self.compared += 1;
                if self.compared >= COMPARE_EACH {
                    self.compare();
                }
                Ok(())
            }
            // The same transaction again: it is answered, and counts once.
            Answer::Decided { .. } | Answer::Conflict | Answer::Elsewhere => Ok(()),
            Answer::InFlight | Answer::NotRecorded | Answer::Unreadable => {
                bail!("a decision could not be recorded or read: the log says why")
            }
        }
    }
}

fn seen(record: &Record, is_fraud: bool) -> Decided<'_> {
    let decision = &record.decision;
    Decided {
        at: record.received_at,
        is_fraud,
        score: decision.score.map(crate::domain::Score::get),
        outcome: decision.outcome,
        is_degraded: !decision.degraded.is_empty(),
        model: &decision.release.model_version,
    }
}

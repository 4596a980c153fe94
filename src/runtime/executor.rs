//! Performs actions: the only hand that changes the release for healing's sake, and the door people's changes go
//! through, so that those are recorded, too.
//!
//! ```text
//! planned ──bounded──> thread "executor": intent written? ─> hand, on a thread of its own, until its deadline
//! people  ─────────────┘      └ no: only protective            └─> outcome written, told to the healer
//! ```
//! `HE-1`: without a written intent nothing is done but what protects. An action whose deadline passes counts as
//! failed; its thread is left behind, and when too many are, nothing but protection is tried any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::audit::{Audit, Kind};
use super::clock::Clock;
use crate::healing::situation::{Outcome, Planned};
use crate::tasks::{self, Shutdown};
use crate::telemetry::healing::ActionEnded;

/// The most actions that wait.
const QUEUE_LEN_MAX: usize = 64;
/// The most threads that may be left behind by actions whose deadline passed.
const ABANDONED_MAX: usize = 4;
/// How often the thread looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Performs an action; an error is the reason for people.
pub type Hand = Arc<dyn Fn(&Planned) -> Result<(), String> + Send + Sync>;

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// One action.
    pub deadline: Duration,
    /// Writing an intent.
    pub intent_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(20), intent_wait: Duration::from_secs(2) }
    }
}

/// What a person wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wish {
    /// What, in one word.
    pub what: String,
    /// About what: a model, a breaker.
    pub about: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What became of a person's wish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// It cannot be written down now, so it is not done.
    #[error("what is done cannot be written down now")]
    Unrecorded,
    /// Too much waits already, or it took too long; it may still be done.
    #[error("it was not done in time, and may still be")]
    Late,
}

type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;

enum Job {
    Planned(Planned),
    Wished {
        wish: Wish,
        work: Work,
        told: SyncSender<Result<(), Refused>>,
    },
    /// Nothing: tells that all before it is done.
    Settled {
        told: SyncSender<()>,
    },
}

/// The executor. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    jobs: SyncSender<Job>,
    outcomes: Arc<Mutex<VecDeque<Outcome>>>,
}

impl Executor {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn start(
        hand: Hand,
        audit: Audit,
        (clock, options): (Clock, Options),
        shutdown: Shutdown,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(QUEUE_LEN_MAX);
        let outcomes: Arc<Mutex<VecDeque<Outcome>>> = Arc::default();
        let abandoned = Arc::new(AtomicUsize::new(0));
        let worker = Worker { hand, audit, clock, options, outcomes: Arc::clone(&outcomes), abandoned };
        let thread = tasks::thread("executor", move || worker.run(&queue, &shutdown))?;
        Ok((Self { jobs, outcomes }, thread))
    }

    /// Hands an action over; `false`: too many wait, and its outcome will never come.
    #[must_use]
    pub fn perform(&self, planned: Planned) -> bool {
        self.jobs.try_send(Job::Planned(planned)).is_ok()
    }

    /// Does what a person wants, recorded before and after, and waits for it at most so long. Blocks.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn wish(&self, wish: Wish, work: Work, wait: Duration) -> Result<(), Refused> {
        let (told, heard) = sync_channel(1);
        self.jobs.try_send(Job::Wished { wish, work, told }).map_err(|_| Refused::Late)?;
        heard.recv_timeout(wait).unwrap_or(Err(Refused::Late))
    }

    /// Waits until everything handed over before is done, at most so long; `false`: it is not. Blocks.
    #[must_use]
    pub fn settle(&self, wait: Duration) -> bool {
        let (told, heard) = sync_channel(1);
        self.jobs.try_send(Job::Settled { told }).is_ok() && heard.recv_timeout(wait).is_ok()
    }

    /// Takes what became of actions since the last time.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().drain(..).collect()
    }
}

struct Worker {
    hand: Hand,
    audit: Audit,
    clock: Clock,
    options: Options,
    outcomes: Arc<Mutex<VecDeque<Outcome>>>,
    abandoned: Arc<AtomicUsize>,
}

/// The end of an action, as the record tells it.
#[derive(Serialize)]
struct Ended<'a> {
    order: u64,
    action: &'static str,
    row: &'a str,
    incident: Option<u64>,
    result: &'static str,
    failure: Option<&'a str>,
}

/// The end of a wish, as the record tells it.
#[derive(Serialize)]
struct Answered<'a> {
    #[serde(flatten)]
    wish: &'a Wish,
    result: &'static str,
    failure: Option<String>,
}

impl Worker {
    fn run(&self, queue: &Receiver<Job>, shutdown: &Shutdown) {
        loop {
            match queue.recv_timeout(LOOK_EVERY) {
                Ok(Job::Planned(planned)) => self.perform(&planned),
                Ok(Job::Wished { wish, work, told }) => {
                    let answered = self.fulfil(&wish, work);
                    // Whoever waited too long is gone.
                    let _ = told.try_send(answered);
                }
                // As above.
                Ok(Job::Settled { told }) => drop(told.try_send(())),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if shutdown.is_asked() => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn perform(&self, planned: &Planned) {
        let is_written = self.audit.note_and_wait(Kind::Intent, planned, self.options.intent_wait);
        let is_protective = planned.action.is_protective();
        let done = if is_written || is_protective {
            let (hand, planned) = (Arc::clone(&self.hand), planned.clone());
            self.within_deadline(is_protective, Box::new(move || hand(&planned)))
        } else {
            Err("the intent could not be written down, and this is more than protection".to_owned())
        };
        let (failure, order, action) = (done.err(), planned.order, planned.action.name());
        ActionEnded { order, action, failure: failure.as_deref() }.emit();
        let result = if failure.is_some() { "failed" } else { "done" };
        let (row, incident) = (planned.row.as_str(), planned.incident);
        self.audit.note(Kind::Outcome, &Ended { order, action, row, incident, result, failure: failure.as_deref() });
        self.outcomes.lock().push_back(Outcome { order, at: self.clock.now(), failure });
    }

    fn fulfil(&self, wish: &Wish, work: Work) -> Result<(), Refused> {
        if !self.audit.note_and_wait(Kind::Override, wish, self.options.intent_wait) {
            return Err(Refused::Unrecorded);
        }
        let done = self.within_deadline(false, work).map_err(Refused::Failed);
        let result = if done.is_ok() { "done" } else { "failed" };
        let failure = done.as_ref().err().map(ToString::to_string);
        self.audit.note(Kind::Outcome, &Answered { wish, result, failure });
        done
    }

    /// Runs something on a thread of its own and waits for it until the deadline.
    fn within_deadline(&self, is_protective: bool, work: Work) -> Result<(), String> {
        if !is_protective && self.abandoned.load(Ordering::Acquire) >= ABANDONED_MAX {
            return Err(format!("{ABANDONED_MAX} earlier actions have not come back: restart the service"));
        }
        let (told, heard) = sync_channel(1);
        let thread = tasks::thread("hand", move || {
            // Whoever waited too long is gone.
            let _ = told.try_send(work());
        });
        let thread = thread.map_err(|error| format!("no thread can be had: {error}"))?;
        match heard.recv_timeout(self.options.deadline) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => {
                self.abandoned.fetch_add(1, Ordering::AcqRel);
                self.watch_abandoned(thread);
                Err(format!("it did not come back within {} s", self.options.deadline.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err("it panicked".to_owned()),
        }
    }

    /// Lets a thread that comes back after all count no more.
    fn watch_abandoned(&self, thread: std::thread::JoinHandle<()>) {
        let abandoned = Arc::clone(&self.abandoned);
        let watching = tasks::thread("hand-late", move || {
            // Its panic was logged by the hook.
            let _ = thread.join();
            abandoned.fetch_sub(1, Ordering::AcqRel);
        });
        // Without a thread to watch it, it counts for ever: the safe side.
        drop(watching);
    }
}

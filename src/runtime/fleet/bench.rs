//! The bench: the thread that compares models off the path of answers, and what any model says to rows.
//!
//! One thread of the lowest priority drains the tap, scores what a trial and the standby's sample ask for, and tends the
//! fleet; another validates new bundles, since gates take seconds. Both end when the fleet's [`Running`] is
//! dropped. A panic in either is logged and its round is over; the next one begins anew.
//!
//! Golden rows of the models that answer and stand by are asked again now and then, while they serve: a score that moved
//! although nothing was changed is told by the model's guard as finding `golden_mismatch`. A row without an answer says
//! nothing of that.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Error, Fleet};
use crate::domain::Score;
use crate::healing::ModelRef;
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Record;
use crate::runtime::guard::Moved;
use crate::runtime::inference::ModelFailure;
use crate::runtime::slot::Model;
use crate::tasks;

/// How long the comparing thread rests between rounds.
const ROUND: Duration = Duration::from_millis(25);
/// How many rounds between two times the fleet is tended.
const ROUNDS_PER_TENDING: usize = 40;
/// How many rounds between two times the evidence of a trial is kept: what a crash may cost.
const ROUNDS_PER_KEEPING: usize = 200;
/// How long one run of rows may take off the path.
const RUN_WAIT_MAX: Duration = Duration::from_secs(2);
/// The lowest priority there is.
const NICENESS: i32 = 19;

/// One transaction scored by a model that did not answer it.
#[derive(Clone, Debug)]
pub struct Shadowed {
    /// The decision as it was made.
    pub record: Arc<Record>,
    /// Which model scored it here.
    pub model: ModelRef,
    /// Its score; `None` when it failed.
    pub score: Option<f64>,
}

/// What the comparing thread counts for itself.
#[derive(Debug, Default)]
pub(super) struct Bench {
    rounds: AtomicUsize,
    /// Single rows timed through candidate and active model, in microseconds.
    pub(super) times: parking_lot::Mutex<Vec<(u32, u32)>>,
}

/// The fleet's threads; they end when this is dropped, and what a trial has shown so far is kept.
pub struct Running {
    fleet: Arc<Fleet>,
    stops: Vec<mpsc::SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
        self.fleet.keep_trial();
        self.fleet.keep_forces();
    }
}

impl Fleet {
    /// Starts the comparing and the watching thread.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn start(self: &Arc<Self>) -> std::io::Result<Running> {
        self.parts.tap.open();
        let mut running = Running { fleet: Arc::clone(self), stops: Vec::new(), threads: Vec::new() };
        let fleet = Arc::clone(self);
        running.add("fleet-bench", ROUND, move || fleet.round())?;
        let every = self.options.settings.watch_every;
        if !every.is_zero() && self.options.models.enabled {
            let fleet = Arc::clone(self);
            running.add("fleet-watch", every, move || {
                let _judged = fleet.look();
            })?;
        }
        Ok(running)
    }

    /// Begins to compare without threads of its own: whoever replays events calls [`Self::compare`], [`Self::look`] and
    /// [`Self::tend`] in their time.
    pub fn start_in_line(&self) {
        self.parts.tap.open();
    }

    fn round(&self) {
        self.compare();
        let round = self.bench.rounds.fetch_add(1, Ordering::Relaxed);
        if round.is_multiple_of(ROUNDS_PER_TENDING) {
            self.tend();
        }
        if round.is_multiple_of(ROUNDS_PER_KEEPING) {
            self.keep_trial();
        }
    }

    /// Runs golden rows through a loaded model.
    ///
    /// # Errors
    /// [`Error::NotLoaded`], and [`Error::Golden`] when they do not give the scores they gave at the gate.
    pub fn check_golden(&self, model: &ModelRef) -> Result<(), Error> {
        let loaded = self.loaded_as(model).ok_or(Error::NotLoaded)?;
        let cells: Vec<f64> = loaded.golden.iter().flat_map(|row| row.row.iter().copied()).collect();
        let scores = ask(&loaded.model, &cells);
        let (mut moved, mut largest) = (0_usize, 0.0_f64);
        for (golden, score) in loaded.golden.iter().zip(&scores) {
            match score {
                Ok(score) => {
                    let distance = (score.get() - golden.probability).abs();
                    moved += usize::from(distance > loaded.tolerance.close);
                    largest = largest.max(distance);
                }
                // A crowd, or a fault that its breaker sees: whether scores moved cannot be told.
                Err(failure) => return self.golden_failed(model, failure.to_string()),
            }
        }
        // A sample may by chance have one row more than its share of those that may move.
        let allowed = (loaded.tolerance.share * scores.len() as f64).ceil() + 1.0;
        if scores.is_empty() || moved as f64 > allowed || largest > loaded.tolerance.size {
            let told = format!("{moved} of {} rows moved, largest {largest:.1e}", scores.len());
            if moved > 0 {
                loaded.model.guard.golden_moved(&Moved { rows: scores.len(), moved, largest });
            }
            return self.golden_failed(model, told);
        }
        loaded.model.guard.golden_held();
        let now = self.parts.clock.now();
        self.inner.lock().golden.insert(model.sha256.clone(), now);
        Ok(())
    }

    fn golden_failed(&self, model: &ModelRef, reason: String) -> Result<(), Error> {
        self.inner.lock().golden.remove(&model.sha256);
        Err(Error::Golden(reason))
    }

    /// Asks a loaded model for the scores of rows (its inputs, in order), off the path of answers. Blocks.
    ///
    /// # Errors
    /// [`Error::NotLoaded`]; what fails for one row is that row's.
    pub fn score(&self, model: &ModelRef, rows: &[Vec<f64>]) -> Result<Vec<Result<Score, ModelFailure>>, Error> {
        let loaded = self.loaded_as(model).ok_or(Error::NotLoaded)?;
        Ok(ask(&loaded.model, &rows.concat()))
    }
}

/// Asks a model for rows in runs of its own length, one after the other, so that others find room between.
pub(super) fn ask(model: &Model, cells: &[f64]) -> Vec<Result<Score, ModelFailure>> {
    let width = model.baseline.len().max(1);
    let mut scores = Vec::with_capacity(cells.len() / width);
    for run in cells.chunks(width * model.inference.batch_len_max()) {
        let deadline = Moment::now().after(RUN_WAIT_MAX);
        scores.extend(model.inference.ask_now(run.to_vec(), deadline).wait().scores);
    }
    scores
}

impl Running {
    fn add(&mut self, name: &'static str, every: Duration, round: impl Fn() + Send + 'static) -> std::io::Result<()> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let thread = tasks::thread(name, move || {
            // Of this thread alone. Where it is refused the work is done all the same.
            let _refused = rustix::process::setpriority_process(None, NICENESS);
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(&round)) {
                    tracing::error!(task = name, panic = tasks::panic_text(panic.as_ref()), "a round panicked");
                }
            }
        })?;
        self.stops.push(stop);
        self.threads.push(thread);
        Ok(())
    }
}

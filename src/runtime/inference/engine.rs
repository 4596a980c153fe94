//! The inference engine: what the scorer asks, and what it answers within its deadline.
//!
//! [`Inference`] owns the threads of one model; dropping it lets them finish what waits and joins them.
//! The question is queued when `score` is called; a sleeping thread is woken by the future's second poll,
//! so that one wake-up serves everyone who asked meanwhile. Dropping the future is safe: the worker finds
//! nobody listening.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::library;
use super::queue::{Answer, Answers, Job, Queue};
use super::raw::{RawAnswer, RawJob, Signature};
use super::session::{self, Session};
use super::tally::Tally;
use super::worker::Worker;
use crate::domain::Score;
use crate::runtime::block;
use crate::runtime::clock::Moment;
use crate::runtime::release::Bundle;
use crate::tasks;

/// How long dropping an engine waits for a run in progress before it lets its thread go.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How one model is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InferenceOptions {
    /// Threads, each with a session of its own.
    pub threads: NonZeroUsize,
    /// Rows that may wait; further ones are refused.
    pub queue_len_max: NonZeroUsize,
    /// Rows that one run takes at most.
    pub batch_len_max: NonZeroUsize,
    /// Rows of raw calls that may wait, in a line of their own; further ones are refused.
    pub raw_queue_len_max: NonZeroUsize,
}

impl Default for InferenceOptions {
    fn default() -> Self {
        let bound = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            threads: bound(1),
            queue_len_max: bound(1024),
            batch_len_max: bound(64),
            raw_queue_len_max: bound(16_384),
        }
    }
}

/// Why a model could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ONNX Runtime is not there or not fit.
    #[error(transparent)]
    Library(#[from] library::Error),
    /// The model cannot be served.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The operating system gives no thread.
    #[error("tried to start an inference thread: {0}")]
    Thread(#[from] io::Error),
}

/// Why there is no score. Never turned into a number (`SC-5`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelFailure {
    /// The line was full; the model was not asked.
    #[error("the inference queue is full")]
    QueueFull,
    /// No answer by the deadline.
    #[error("the model did not answer by its deadline")]
    Timeout,
    /// The run failed, with ONNX Runtime's words.
    #[error("the model failed: {0}")]
    Failed(Arc<str>),
    /// The model answered NaN or an infinity.
    #[error("the model's score is not finite")]
    NotFinite,
    /// The model answered outside 0..=1.
    #[error("the model's score is outside 0..=1")]
    OutOfRange,
}

/// What an engine has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows waiting now.
    pub queue_len: usize,
    /// Rows of raw calls waiting now.
    pub raw_queue_len: usize,
    /// Runs that succeeded.
    pub runs_total: u64,
    /// Rows scored in them.
    pub rows_total: u64,
    /// Time spent in them, in microseconds.
    pub run_micros_total: u64,
    /// Rows dropped because their deadline had passed or their caller had gone.
    pub late_total: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) runs: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) run_micros: AtomicU64,
    pub(super) late: AtomicU64,
}

/// One model, running.
pub struct Inference {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
    width: usize,
    batch_len_max: usize,
    signature: Signature,
    tally: Tally,
}

impl Inference {
    /// Opens a session per thread on the bundle's bytes and starts the threads.
    ///
    /// # Errors
    /// [`Error`] when ONNX Runtime, the model or a thread is not to be had.
    pub fn start(bundle: &Bundle, options: InferenceOptions) -> Result<Self, Error> {
        let inputs = bundle.input_names();
        let open = || Session::open(&bundle.model, &inputs, &bundle.manifest.output);
        let sessions = (0..options.threads.get()).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::with_sessions(sessions, options)?)
    }

    /// Starts one thread for each session.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn with_sessions(mut sessions: Vec<Session>, options: InferenceOptions) -> io::Result<Self> {
        for session in &mut sessions {
            if let Err(reason) = session.prepare_raw() {
                tracing::warn!(reason, "the model takes no raw calls");
            }
        }
        let (len_max, raw_len_max) = (options.queue_len_max.get(), options.raw_queue_len_max.get());
        let queue = Arc::new(Queue::new(len_max, raw_len_max, sessions.len()));
        let counters = Arc::new(Counters::default());
        let width = sessions.first().map_or(0, Session::width);
        let signature = sessions.first().map(Session::signature).cloned().unwrap_or_default();
        let (threads, tally) = (Vec::with_capacity(sessions.len()), Tally::default());
        let batch_len_max = options.batch_len_max.get();
        let mut engine = Self { queue, counters, threads, width, batch_len_max, signature, tally };
        for session in sessions {
            let worker = Worker {
                session,
                queue: Arc::clone(&engine.queue),
                counters: Arc::clone(&engine.counters),
                batch_len_max: options.batch_len_max.get(),
            };
            engine.threads.push(tasks::thread("inference", move || worker.work())?);
        }
        Ok(engine)
    }

    /// Asks for the score of one row (values in input order), now; the future waits for the answer until `deadline`.
    ///
    /// # Errors
    /// The future's: [`ModelFailure`], never a number in its place.
    pub fn score(
        &self,
        row: &[f64],
        deadline: Moment,
    ) -> impl Future<Output = Result<Score, ModelFailure>> + Send + use<> {
        let asked = self.ask(row.to_vec(), 1, deadline);
        async move { asked.await.pop().unwrap_or(Err(ModelFailure::Timeout)) }
    }

    /// Asks for the scores of many rows (row-major, in input order), now, in as few runs as the bound allows.
    pub fn score_rows(
        &self,
        cells: Vec<f64>,
        deadline: Moment,
    ) -> impl Future<Output = Vec<Result<Score, ModelFailure>>> + Send + use<> {
        let rows = cells.len() / self.width.max(1);
        let asked = self.ask(cells, rows, deadline);
        async move { asked.await.into_vec() }
    }

    /// Asks for the scores of many rows (row-major, in input order), now, from a thread that may block.
    pub fn ask_now(&self, cells: Vec<f64>, deadline: Moment) -> Asked {
        let rows = cells.len() / self.width.max(1);
        let (reply, answer) = oneshot::channel();
        let answer = self.push(cells, rows, deadline, reply).map(|()| answer);
        self.queue.rouse();
        Asked { rows, deadline, answer }
    }

    /// Returns how many rows one run takes at most: more of them are asked for in parts, so that nobody waits for all.
    #[must_use]
    pub const fn batch_len_max(&self) -> usize {
        self.batch_len_max
    }

    /// Asks for every float output of many rows (row-major, in input order), now; the future waits until `deadline`.
    ///
    /// # Errors
    /// The future's: [`ModelFailure`]; a number that is not finite is no failure here.
    pub fn call(
        &self,
        cells: Vec<f64>,
        deadline: Moment,
    ) -> impl Future<Output = Result<RawAnswer, ModelFailure>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let rows = cells.len() / self.width.max(1);
        let pushed = if rows > 0 && rows * self.width == cells.len() {
            let asked_at = Moment::now();
            let job = RawJob { cells, rows_left: rows, asked_at, deadline, answer: RawAnswer::default(), reply };
            self.queue.push_raw(Box::new(job)).map_err(|_| ModelFailure::QueueFull)
        } else {
            Err(ModelFailure::Failed(format!("tried {} values where rows have {}", cells.len(), self.width).into()))
        };
        async move {
            pushed?;
            match tokio::time::timeout_at(deadline.instant().into(), answer).await {
                Ok(Ok(answer)) => answer,
                // The worker drops a late call, and with it the sender.
                Ok(Err(_)) | Err(_) => Err(ModelFailure::Timeout),
            }
        }
    }

    /// Returns what raw calls may ask for.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Counts raw calls of this model.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Returns what this engine has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            queue_len: self.queue.rows(),
            raw_queue_len: self.queue.raw_rows(),
            runs_total: self.counters.runs.load(Relaxed),
            rows_total: self.counters.rows.load(Relaxed),
            run_micros_total: self.counters.run_micros.load(Relaxed),
            late_total: self.counters.late.load(Relaxed),
        }
    }

    fn push(
        &self,
        cells: Vec<f64>,
        rows: usize,
        deadline: Moment,
        reply: oneshot::Sender<Answers>,
    ) -> Result<(), ModelFailure> {
        if rows * self.width != cells.len() {
            let text = format!("tried {} values where rows have {}", cells.len(), self.width);
            return Err(ModelFailure::Failed(text.into()));
        }
        let job = Job { cells, rows, asked_at: Moment::now(), deadline, reply };
        self.queue.push(job).map_err(|_| ModelFailure::QueueFull)
    }

    fn ask(&self, cells: Vec<f64>, rows: usize, deadline: Moment) -> impl Future<Output = Answers> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.push(cells, rows, deadline, reply);
        let every = move |failure: ModelFailure| std::iter::repeat_n(Answer::Err(failure), rows).collect();
        let queue = Arc::clone(&self.queue);
        async move {
            if let Err(failure) = pushed {
                return every(failure);
            }
            // Waking a thread costs as much as scoring a row. Whoever is ready to run on this worker asks
            // first: one wake-up and one run then serve them all. Nothing is waited for: with nobody
            // ready this is one look at the sockets.
            tokio::task::yield_now().await;
            queue.rouse();
            match tokio::time::timeout_at(deadline.instant().into(), answer).await {
                Ok(Ok(answers)) => answers,
                // The worker drops a late job, and with it the sender.
                Ok(Err(_)) | Err(_) => every(ModelFailure::Timeout),
            }
        }
    }
}

/// Rows that a thread asked for.
pub struct Asked {
    rows: usize,
    deadline: Moment,
    answer: Result<oneshot::Receiver<Answers>, ModelFailure>,
}

impl Asked {
    /// Waits for the answers, one a row. Blocks until the deadline at most.
    #[must_use]
    pub fn wait(self) -> Vec<Result<Score, ModelFailure>> {
        let failure = match self.answer {
            // The worker drops a late job, and with it the sender.
            Ok(answer) => match block::until(answer, self.deadline) {
                Some(Ok(answers)) => return answers.into_vec(),
                Some(Err(_)) | None => ModelFailure::Timeout,
            },
            Err(failure) => failure,
        };
        vec![Err(failure); self.rows]
    }
}

impl std::fmt::Debug for Inference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inference")
            .field("threads", &self.threads.len())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        self.queue.close();
        if !self.queue.wait_until_left(JOIN_WAIT_MAX) {
            // A run cannot be interrupted safely: its thread ends by itself when the run does.
            tracing::warn!(wait_s = JOIN_WAIT_MAX.as_secs(), "an inference run does not end: its thread is left alone");
            return;
        }
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

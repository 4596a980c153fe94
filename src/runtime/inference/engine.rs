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
use std::time::Duration;

use tokio::sync::oneshot;

use super::course::{Course, Reached, Scored, ScoredRows};
use super::crew::{Crew, Opener, Terms, Watched};
use super::library;
use super::queue::{Answer, Answers, Job, Queue, Reply};
use super::raw::{RawAnswer, RawJob, Signature};
use super::session::{self, Session};
use super::tally::Tally;
use crate::domain::Score;
use crate::healing::breaker;
use crate::runtime::block;
use crate::runtime::clock::Moment;
use crate::runtime::release::Bundle;
use crate::tasks::faults::Faults;

/// How one model is run.
#[derive(Clone, Debug)]
pub struct InferenceOptions {
    /// Threads, each with a session of its own.
    pub threads: NonZeroUsize,
    /// Rows that may wait; further ones are refused.
    pub queue_len_max: NonZeroUsize,
    /// Rows that one run takes at most.
    pub batch_len_max: NonZeroUsize,
    /// Rows of raw calls that may wait, in a line of their own; further ones are refused.
    pub raw_queue_len_max: NonZeroUsize,
    /// How long after the last caller has left a run is given up with its thread.
    pub hang_after: Duration,
    /// When the breaker of the model opens, and how it closes again.
    pub breaker: breaker::Options,
    /// Faults on purpose; none unless a test or a demonstration asks for them.
    pub faults: Faults,
}

impl Default for InferenceOptions {
    fn default() -> Self {
        let bound = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            threads: bound(1),
            queue_len_max: bound(1024),
            batch_len_max: bound(64),
            raw_queue_len_max: bound(16_384),
            hang_after: Duration::from_secs(2),
            breaker: breaker::Options::default(),
            faults: Faults::default(),
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
    crew: Arc<Crew>,
    width: usize,
    signature: Signature,
    tally: Tally,
}

impl Inference {
    /// Opens a session per thread on the bundle's bytes and starts the threads.
    ///
    /// # Errors
    /// [`Error`] when ONNX Runtime, the model or a thread is not to be had.
    pub fn start(bundle: &Bundle, options: InferenceOptions) -> Result<Self, Error> {
        let (model, output) = (bundle.model.clone(), bundle.manifest.output.clone());
        let names: Vec<String> = bundle.input_names().into_iter().map(str::to_owned).collect();
        let open = move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Session::open(&model, &names, &output)
        };
        let sessions = (0..options.threads.get()).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        let name = format!("{}/{}", bundle.manifest.name, bundle.manifest.version);
        let opener: Opener = Box::new(move || {
            let mut session = open()?;
            // The model took none before either: that was told at the start.
            let _told = session.prepare_raw();
            Ok(session)
        });
        Ok(Self::assemble(sessions, options, (&name, Some(opener)))?)
    }

    /// Starts one thread for each session. A thread that hangs cannot be replaced.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn with_sessions(sessions: Vec<Session>, options: InferenceOptions) -> io::Result<Self> {
        Self::assemble(sessions, options, ("", None))
    }

    fn assemble(
        mut sessions: Vec<Session>,
        options: InferenceOptions,
        (name, opener): (&str, Option<Opener>),
    ) -> io::Result<Self> {
        for session in &mut sessions {
            if let Err(reason) = session.prepare_raw() {
                tracing::warn!(reason, "the model takes no raw calls");
            }
        }
        let InferenceOptions { queue_len_max, raw_queue_len_max, batch_len_max, hang_after, faults, .. } = options;
        let queue = Queue::new(queue_len_max.get(), raw_queue_len_max.get());
        let terms = Terms { batch_len_max: batch_len_max.get(), hang_after, seam: faults.seam(name), opener };
        let width = sessions.first().map_or(0, Session::width);
        let signature = sessions.first().map(Session::signature).cloned().unwrap_or_default();
        let engine = Self { crew: Arc::new(Crew::new(queue, terms)), width, signature, tally: Tally::default() };
        for session in sessions {
            engine.crew.begin(session)?;
        }
        Ok(engine)
    }

    /// Writes off threads that hang, and replaces them and those that died. Opens sessions: not for an async thread.
    pub fn watch(&self) -> Watched {
        self.crew.watch()
    }

    /// Puts a new thread with a new session in the place of each, and returns how many; nobody waits longer for it.
    /// Opens sessions: not for an async thread.
    ///
    /// # Errors
    /// Why a session or a thread is not to be had; threads that are missing then are tried again by [`Self::watch`].
    pub fn restart(&self) -> Result<usize, String> {
        self.crew.replace_all()
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
        let asked = self.score_timed(row, deadline);
        async move { asked.await.score }
    }

    /// Asks for the score of one row, now; the future says where the time went, too.
    pub fn score_timed(&self, row: &[f64], deadline: Moment) -> impl Future<Output = Scored> + Send + use<> {
        let asked = self.ask(row.to_vec(), 1, deadline);
        async move {
            let Reply { mut answers, course } = asked.await;
            Scored { score: answers.pop().unwrap_or(Err(ModelFailure::Timeout)), course }
        }
    }

    /// Asks for the scores of many rows (row-major, in input order), now, in as few runs as the bound allows.
    pub fn score_rows(
        &self,
        cells: Vec<f64>,
        deadline: Moment,
    ) -> impl Future<Output = Vec<Result<Score, ModelFailure>>> + Send + use<> {
        let rows = cells.len() / self.width.max(1);
        let asked = self.ask(cells, rows, deadline);
        async move { asked.await.answers.into_vec() }
    }

    /// Asks for the scores of many rows (row-major, in input order), now, from a thread that may block.
    pub fn ask_now(&self, cells: Vec<f64>, deadline: Moment) -> Asked {
        let rows = cells.len() / self.width.max(1);
        let (reply, answer) = oneshot::channel();
        let asked_at = Moment::now();
        let answer = self.push(cells, (rows, asked_at, deadline), reply).map(|number| (number, answer));
        let crew = Arc::clone(&self.crew);
        crew.queue.rouse();
        Asked { crew, rows, since: asked_at, deadline, answer }
    }

    /// Returns how many rows one run takes at most: more of them are asked for in parts, so that nobody waits for all.
    #[must_use]
    pub fn batch_len_max(&self) -> usize {
        self.crew.batch_len_max
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
            self.crew.queue.push_raw(Box::new(job)).map_err(|_| ModelFailure::QueueFull)
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
        let counters = &self.crew.counters;
        Stats {
            queue_len: self.crew.queue.rows(),
            raw_queue_len: self.crew.queue.raw_rows(),
            runs_total: counters.runs.load(Relaxed),
            rows_total: counters.rows.load(Relaxed),
            run_micros_total: counters.run_micros.load(Relaxed),
            late_total: counters.late.load(Relaxed),
        }
    }

    fn push(
        &self,
        cells: Vec<f64>,
        (rows, asked_at, deadline): (usize, Moment, Moment),
        reply: oneshot::Sender<Reply>,
    ) -> Result<u64, ModelFailure> {
        if rows * self.width != cells.len() {
            let text = format!("tried {} values where rows have {}", cells.len(), self.width);
            return Err(ModelFailure::Failed(text.into()));
        }
        let job = Job { number: 0, cells, rows, asked_at, deadline, reply };
        self.crew.queue.push(job).map_err(|_| ModelFailure::QueueFull)
    }

    fn ask(&self, cells: Vec<f64>, rows: usize, deadline: Moment) -> impl Future<Output = Reply> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let asked_at = Moment::now();
        let pushed = self.push(cells, (rows, asked_at, deadline), reply);
        let crew = Arc::clone(&self.crew);
        async move {
            let number = match pushed {
                Ok(number) => number,
                Err(failure) => return unanswered(&crew, (rows, None, asked_at), failure),
            };
            // Waking a thread costs as much as scoring a row. Whoever is ready to run on this worker asks
            // first: one wake-up and one run then serve them all. Nothing is waited for: with nobody
            // ready this is one look at the sockets.
            tokio::task::yield_now().await;
            crew.queue.rouse();
            match tokio::time::timeout_at(deadline.instant().into(), answer).await {
                Ok(Ok(reply)) => reply,
                // The worker drops a late job, and with it the sender.
                Ok(Err(_)) | Err(_) => unanswered(&crew, (rows, Some(number), asked_at), ModelFailure::Timeout),
            }
        }
    }
}

/// What callers get for rows that no run answered.
fn unanswered(crew: &Crew, (rows, number, asked_at): (usize, Option<u64>, Moment), failure: ModelFailure) -> Reply {
    let course = match &failure {
        // What is wrong is known at once, whatever the threads do.
        ModelFailure::Failed(_) => Course { reached: Reached::Answer, ..Course::default() },
        ModelFailure::QueueFull | ModelFailure::Timeout | ModelFailure::NotFinite | ModelFailure::OutOfRange => {
            // Numbers begin at one.
            crew.course_of(number.unwrap_or(0), asked_at)
        }
    };
    Reply { answers: std::iter::repeat_n(Answer::Err(failure), rows).collect::<Answers>(), course }
}

/// Rows that a thread asked for.
pub struct Asked {
    crew: Arc<Crew>,
    rows: usize,
    since: Moment,
    deadline: Moment,
    answer: Result<(u64, oneshot::Receiver<Reply>), ModelFailure>,
}

impl Asked {
    /// Waits for the answers, one a row. Blocks until the deadline at most.
    #[must_use]
    pub fn wait(self) -> ScoredRows {
        let Self { crew, rows, since, deadline, answer } = self;
        let (number, failure) = match answer {
            // The worker drops a late job, and with it the sender.
            Ok((number, answer)) => match block::until(answer, deadline) {
                Some(Ok(Reply { answers, course })) => return ScoredRows { scores: answers.into_vec(), course },
                Some(Err(_)) | None => (Some(number), ModelFailure::Timeout),
            },
            Err(failure) => (None, failure),
        };
        let Reply { answers, course } = unanswered(&crew, (rows, number, since), failure);
        ScoredRows { scores: answers.into_vec(), course }
    }
}

impl std::fmt::Debug for Inference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inference")
            .field("threads", &self.crew.len())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        self.crew.close();
    }
}

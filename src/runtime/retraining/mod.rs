//! Retraining: asks for a new model when the pure half says so, and hears what comes of it.
//!
//! ```text
//! ask(situation) ─ healing::retraining::consider ─> Hold(reason)
//!                        └─> Request ─ journal ─┬─> local command, one at a time, on a thread of its own
//!                                               ├─> webhook   (a seam: `Doors`)
//!                                               └─> stream    (a seam)
//! what came of it ─> memory (backoff, daily cap), outcomes() for whoever heals
//! ```
//! The new bundle comes back like any other, through the watched directory, and must pass every gate: nothing here
//! puts a model in force. What is remembered survives a restart. A request that no door takes counts as failed.

pub mod command;
mod journal;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde::Serialize;

use crate::healing::Finding;
use crate::healing::retraining::{self, Ask, Incidents, Outcome, Request, Situation, Window};
use crate::tasks::{self, Shutdown};
use crate::telemetry::retraining::{RetrainingAsked, RetrainingEnded, RetrainingNotKept};
use journal::{Journal, Remembered};

/// Outcomes that wait for whoever heals; the oldest go.
const OUTCOMES_MAX: usize = 64;

/// How retraining works.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// When a new model is asked for.
    pub ask: retraining::Options,
    /// The local command, when there is one.
    pub command: Option<command::Options>,
    /// Where requests and memory are kept; `None` forgets them at a restart, and has no local command.
    pub directory: Option<PathBuf>,
}

impl Options {
    /// Tells whether this instance trains by itself, from its own store.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.ask.is_enabled && self.command.is_some() && self.directory.is_some()
    }
}

/// Hands a request to somebody else; an error says why it could not be.
pub type Door = Box<dyn Fn(&Request) -> Result<(), String> + Send + Sync>;

/// The ways out, beside the local command.
#[derive(Default)]
pub struct Doors {
    /// The webhook.
    pub webhook: Option<Door>,
    /// The stream's topic.
    pub stream: Option<Door>,
}

/// What the local command is told.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The executable to call for `training-set`, `model pack` and `model sign`.
    pub binary: PathBuf,
    /// The store of recorded decisions.
    pub store: PathBuf,
    /// The directory of bundles, as NAME/VERSION.
    pub models: PathBuf,
    /// More for its environment, such as where ONNX Runtime is.
    pub environment: Vec<(String, OsString)>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The request's id.
    pub id: String,
    /// In one word.
    pub outcome: Outcome,
    /// The bundle that was made, as name and version, when the trainer told.
    pub bundle: Option<(String, String)>,
    /// In one line, for people.
    pub said: String,
}

/// Why retraining cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is remembered cannot be read, or the directory not be made.
    #[error("tried to open the memory of retraining in {}: {source}; move it away to forget what was asked for", path.display())]
    Journal {
        /// The directory.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// No thread can be had.
    #[error("tried to start the thread that retrains: {0}")]
    Thread(#[from] io::Error),
}

/// Retraining, running.
pub struct Retraining {
    options: Options,
    doors: Doors,
    state: Arc<State>,
    work: Option<SyncSender<Job>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    stop: Shutdown,
}

struct State {
    journal: Journal,
    remembered: Mutex<Remembered>,
    ended: Mutex<VecDeque<Ended>>,
}

struct Job {
    request: Request,
    directory: PathBuf,
}

impl Retraining {
    /// Reads what is remembered and starts the thread of the local command.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(options: Options, doors: Doors, paths: Paths) -> Result<Self, Error> {
        let path = options.directory.clone().unwrap_or_default();
        let (journal, remembered) =
            Journal::open(options.directory.clone()).map_err(|source| Error::Journal { path, source })?;
        let (remembered, ended) = (Mutex::new(remembered), Mutex::default());
        let state = Arc::new(State { journal, remembered, ended });
        let stop = Shutdown::default();
        let (mut work, mut worker) = (None, None);
        if let Some(command) = options.command.clone().filter(|_| options.directory.is_some()) {
            let (sender, jobs) = sync_channel(1);
            let (state, stop) = (Arc::clone(&state), stop.clone());
            worker = Some(tasks::thread("fraudd-retrain", move || work_off(&jobs, &command, &paths, (&state, &stop)))?);
            work = Some(sender);
        }
        Ok(Self { options, doors, state, work, worker: Mutex::new(worker), stop })
    }

    /// Asks for a new model if the situation speaks for it, and hands the request to every door there is. What went
    /// wrong is what [`Self::note`] heard, whatever the situation says. Short of the disk it does not block.
    #[must_use]
    pub fn ask(&self, situation: &Situation<'_>) -> Ask {
        let answer = {
            let mut remembered = self.state.remembered.lock();
            let situation = Situation { incidents: &remembered.incidents, ..*situation };
            let answer = retraining::consider(&self.options.ask, &remembered.memory, &situation);
            // Noted under the same lock: two who ask at once get one request.
            if let Ask::Request(request) = &answer {
                remembered.memory.asked(request);
            }
            answer
        };
        if let Ask::Request(request) = &answer {
            self.state.keep();
            self.hand_out(request);
        }
        answer
    }

    /// Tells what would be answered now, without doing anything.
    #[must_use]
    pub fn consider(&self, situation: &Situation<'_>) -> Ask {
        let remembered = self.state.remembered.lock();
        let situation = Situation { incidents: &remembered.incidents, ..*situation };
        retraining::consider(&self.options.ask, &remembered.memory, &situation)
    }

    /// Takes note of a finding: what went wrong is left out of what is learned.
    pub fn note(&self, finding: &Finding) {
        let is_new = {
            let mut remembered = self.state.remembered.lock();
            let before = remembered.incidents.clone();
            remembered.incidents.note(finding);
            before != remembered.incidents
        };
        if is_new {
            self.state.keep();
        }
    }

    /// Leaves a window out because a person says so.
    pub fn leave_out(&self, window: Window) {
        self.state.remembered.lock().incidents.add(window);
        self.state.keep();
    }

    /// Returns what went wrong so far.
    #[must_use]
    pub fn incidents(&self) -> Incidents {
        self.state.remembered.lock().incidents.clone()
    }

    /// Takes note that a candidate came: it answers a request that went to somebody else.
    pub fn arrived(&self, name: &str, version: &str) {
        let open = self.state.remembered.lock().memory.under_way().map(str::to_owned);
        // The local command tells by itself when it is done.
        if let (Some(id), None) = (open, &self.work) {
            let bundle = Some((name.to_owned(), version.to_owned()));
            let said = format!("{name}/{version}");
            self.state.end(Ended { id, outcome: Outcome::Delivered, bundle, said });
        }
    }

    /// Takes note that a bundle which had come was refused by a gate or lost its trial.
    pub fn refused(&self) {
        self.state.remembered.lock().memory.refused();
        self.state.keep();
    }

    /// Returns the request that is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<String> {
        self.state.remembered.lock().memory.under_way().map(str::to_owned)
    }

    /// Takes what came of requests since the last call.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Ended> {
        self.state.ended.lock().drain(..).collect()
    }

    /// Ends a run with all it started, and the thread. Blocks for the command's grace at most; twice is once.
    pub fn close(&self) {
        self.stop.ask();
        if let Some(worker) = self.worker.lock().take() {
            // A thread that panicked has told so; there is nothing more to end.
            let _ = worker.join();
        }
    }

    fn hand_out(&self, request: &Request) {
        let mut taken = Vec::new();
        let mut refused = Vec::new();
        match (&self.work, self.state.journal.put(request)) {
            (Some(work), Ok(Some(directory))) => {
                let job = Job { request: request.clone(), directory };
                match work.try_send(job) {
                    Ok(()) => taken.push("command"),
                    Err(_) => refused.push("command: another run is still ending".to_owned()),
                }
            }
            (_, Ok(_)) => {}
            (_, Err(error)) => refused.push(format!("journal: {error}")),
        }
        for (name, door) in [("webhook", &self.doors.webhook), ("stream", &self.doors.stream)] {
            match door.as_ref().map(|door| door(request)) {
                Some(Ok(())) => taken.push(name),
                Some(Err(reason)) => refused.push(format!("{name}: {reason}")),
                None => {}
            }
        }
        RetrainingAsked { id: &request.id, reason: &request.reason(), taken: &taken, refused: &refused }.emit();
        if taken.is_empty() {
            let said = if refused.is_empty() {
                "no door is open: set retraining.command or retraining.webhook_url".into()
            } else {
                refused.join("; ")
            };
            self.state.end(Ended { id: request.id.clone(), outcome: Outcome::Failed, bundle: None, said });
        }
    }
}

impl Drop for Retraining {
    fn drop(&mut self) {
        self.work = None;
        self.close();
    }
}

impl State {
    fn keep(&self) {
        let remembered = self.remembered.lock().clone();
        if let Err(error) = self.journal.keep(&remembered) {
            RetrainingNotKept { error: &error }.emit();
        }
    }

    fn end(&self, ended: Ended) {
        RetrainingEnded { id: &ended.id, outcome: ended.outcome, said: &ended.said }.emit();
        self.remembered.lock().memory.ended(&ended.id, ended.outcome);
        self.keep();
        let mut all = self.ended.lock();
        if all.len() >= OUTCOMES_MAX {
            all.pop_front();
        }
        all.push_back(ended);
    }
}

/// Runs what is asked for, one at a time, until nobody can ask any more.
fn work_off(jobs: &Receiver<Job>, command: &command::Options, paths: &Paths, (state, stop): (&State, &Shutdown)) {
    while let Some(job) = next(jobs, stop) {
        let Job { request, directory } = job;
        let command::Ended { outcome, bundle, said } =
            command::run(command, &environment(paths, &request, &directory), stop);
        state.end(Ended { id: request.id, outcome, bundle, said });
    }
}

/// Waits for a job, and looks up now and then whether to stop.
fn next(jobs: &Receiver<Job>, stop: &Shutdown) -> Option<Job> {
    use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
    while !stop.is_asked() {
        match jobs.recv_timeout(std::time::Duration::from_millis(200)) {
            Ok(job) => return Some(job),
            Err(Timeout) => {}
            Err(Disconnected) => return None,
        }
    }
    None
}

/// What the command finds in its environment.
fn environment<'a>(paths: &'a Paths, request: &Request, directory: &Path) -> Vec<(&'a str, OsString)> {
    let Paths { binary, store, models, environment } = paths;
    let schema = models.join(&request.replaces.name).join(&request.replaces.version).join("features.toml");
    let mut all: Vec<(&str, OsString)> = vec![
        ("FRAUDD_BINARY", binary.into()),
        ("FRAUDD_STORE", store.into()),
        ("FRAUDD_MODELS", models.into()),
        ("FRAUDD_MODEL_NAME", request.replaces.name.clone().into()),
        ("FRAUDD_SCHEMA", schema.into()),
        ("FRAUDD_REQUEST", directory.join("request.json").into()),
        ("FRAUDD_WORK", directory.into()),
    ];
    all.extend(environment.iter().map(|(name, value)| (name.as_str(), value.clone())));
    all
}

#[cfg(test)]
mod tests;

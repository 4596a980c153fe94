//! The record of what was found, planned, done and ordered: append-only, hash-chained, off the hot path.
//!
//! ```text
//! note(kind, body) ──bounded──> thread "audit": number, chain, append, sync ──> file, ring for the doors, followers
//! note_and_wait ───────────────────────────────────────────────────────────┘ └─> tells that it is on disk
//! ```
//! An action is performed only when its intent is written (`HE-1`). When the disk refuses, lines wait in memory,
//! bounded and counted, [`Audit::state`] says so, and only protective actions are taken until they are written. A
//! line that finds no room is lost, and the chain tells how many were. Without a directory the record is a ring in
//! memory: the doors show it, a restart forgets it.

pub mod reading;
pub mod record;
pub mod replay;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::Serialize;

pub use record::{Head, Kind, Line};

use super::clock::Clock;
use crate::domain::Timestamp;
use crate::healing::situation::RecordState;
use crate::tasks;
use crate::telemetry::healing::AuditNoted;

/// Where and how much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where; `None`: in memory.
    pub directory: Option<PathBuf>,
    /// About how long a file gets, in bytes.
    pub file_len_max: u64,
    /// The most files; the oldest go.
    pub files_max: usize,
    /// The most lines that may wait for the disk.
    pub queue_len_max: usize,
    /// The most lines the ring for the doors has.
    pub ring_len_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { directory: None, file_len_max: 16 << 20, files_max: 64, queue_len_max: 4_096, ring_len_max: 2_048 }
    }
}

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be used.
    #[error("tried to open the record in {path}: {error}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// No thread can be had.
    #[error("tried to start the thread that writes the record: {0}")]
    Thread(std::io::Error),
}

/// The record. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    options: Options,
    state: Mutex<State>,
    changed: Condvar,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct State {
    queue: VecDeque<Note>,
    /// Written lines, newest last.
    ring: VecDeque<(u64, Arc<str>)>,
    head: Head,
    /// The first line of each file: the table in force, so that each file can be replayed alone.
    config: Option<Arc<str>>,
    followers: Vec<SyncSender<Arc<str>>>,
    failure: Option<String>,
    /// Lines that found no room since the last that did.
    lost: u64,
    lost_total: u64,
    is_closing: bool,
}

/// A line to be.
struct Note {
    at: Timestamp,
    kind: Kind,
    body: Arc<str>,
    written: Option<SyncSender<()>>,
}

/// The record as `GET /v1/health` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditView {
    /// The chain's id.
    pub chain: String,
    /// The last line's number.
    pub seq: u64,
    /// The last line's hash: keep it elsewhere to prove that nothing was cut off.
    pub head: String,
    /// Whether it survives a restart.
    pub is_durable: bool,
    /// Lines that wait to be written.
    pub waiting: usize,
    /// Lines lost since the start.
    pub lost: u64,
    /// Why lines cannot be written, when they cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Audit {
    /// Opens the record and starts its thread; goes on where the last chain ended.
    ///
    /// # Errors
    /// A directory that cannot be made or read, no thread.
    pub fn open(options: Options, clock: Clock) -> Result<Self, Error> {
        let opened = writer::open(&options, clock.now())?;
        let state = State {
            queue: VecDeque::new(),
            ring: VecDeque::new(),
            head: opened.head.clone(),
            config: None,
            followers: Vec::new(),
            failure: None,
            lost: 0,
            lost_total: 0,
            is_closing: false,
        };
        let inner = Arc::new(Inner {
            clock,
            options,
            state: Mutex::new(state),
            changed: Condvar::new(),
            thread: Mutex::new(None),
        });
        let audit = Self { inner };
        if let Some(begun) = &opened.begun {
            audit.note(Kind::Chain, begun);
        }
        let body = {
            let inner = Arc::clone(&audit.inner);
            move || writer::run(&inner, opened)
        };
        let thread = tasks::thread("audit", body).map_err(Error::Thread)?;
        *audit.inner.thread.lock() = Some(thread);
        Ok(audit)
    }

    /// Notes something; never waits. Without room it is lost and counted.
    pub fn note<T: Serialize>(&self, kind: Kind, body: &T) {
        self.push(kind, body, None);
    }

    /// Notes something and waits until it is written and synced, at most so long; `false`: it is not.
    #[must_use]
    pub fn note_and_wait<T: Serialize>(&self, kind: Kind, body: &T, wait: Duration) -> bool {
        let (written, heard) = sync_channel(1);
        self.push(kind, body, Some(written)) && heard.recv_timeout(wait).is_ok()
    }

    /// Notes the table in force, now and at the head of each new file.
    pub fn note_config<T: Serialize>(&self, body: &T) {
        if let Some(body) = text_of(body) {
            self.inner.state.lock().config = Some(body);
        }
        self.note(Kind::Config, body);
    }

    fn push<T: Serialize>(&self, kind: Kind, body: &T, written: Option<SyncSender<()>>) -> bool {
        let Some(body) = text_of(body) else { return false };
        let note = Note { at: self.inner.clock.now(), kind, body, written };
        let mut state = self.inner.state.lock();
        let has_room = state.queue.len() < self.inner.options.queue_len_max;
        if has_room {
            state.queue.push_back(note);
        } else {
            state.lost += 1;
            state.lost_total += 1;
        }
        drop(state);
        AuditNoted { kind: kind.name(), is_lost: !has_room }.emit();
        self.inner.changed.notify_one();
        has_room
    }

    /// Tells whether lines reach their place.
    #[must_use]
    pub fn state(&self) -> RecordState {
        let state = self.inner.state.lock();
        if state.failure.is_some() || state.lost > 0 { RecordState::Down } else { RecordState::Written }
    }

    /// Shows the record.
    #[must_use]
    pub fn view(&self) -> AuditView {
        let state = self.inner.state.lock();
        AuditView {
            chain: state.head.chain.clone(),
            seq: state.head.seq,
            head: state.head.hash.clone(),
            is_durable: self.inner.options.directory.is_some(),
            waiting: state.queue.len(),
            lost: state.lost_total,
            failure: state.failure.clone(),
        }
    }

    /// Returns at most `limit` lines after a number, oldest first; from the files where the ring is too short.
    ///
    /// # Errors
    /// The file system's.
    pub fn after(&self, seq: u64, limit: usize) -> std::io::Result<Vec<Arc<str>>> {
        let (is_in_ring, found) = {
            let state = self.inner.state.lock();
            let first = state.ring.front().map_or(state.head.seq + 1, |(first, _)| *first);
            let lines = state.ring.iter().filter(|(number, _)| *number > seq).take(limit);
            (first <= seq + 1, lines.map(|(_, line)| Arc::clone(line)).collect())
        };
        match &self.inner.options.directory {
            Some(directory) if !is_in_ring => lines_after(directory, seq, limit),
            Some(_) | None => Ok(found),
        }
    }

    /// Lets somebody follow what is written from now on; who is too slow misses lines.
    #[must_use]
    pub fn follow(&self, queue_len_max: usize) -> Receiver<Arc<str>> {
        let (follower, lines) = sync_channel(queue_len_max);
        self.inner.state.lock().followers.push(follower);
        lines
    }

    /// Writes what waits and ends the thread.
    pub fn close(&self) {
        self.inner.state.lock().is_closing = true;
        self.inner.changed.notify_one();
        if let Some(thread) = self.inner.thread.lock().take() {
            // A panic of the thread was logged by the hook; there is nothing left to write with.
            let _ = thread.join();
        }
    }
}

fn text_of<T: Serialize>(body: &T) -> Option<Arc<str>> {
    serde_json::to_string(body).ok().map(Arc::from)
}

/// Reads lines after a number from the files.
fn lines_after(directory: &std::path::Path, seq: u64, limit: usize) -> std::io::Result<Vec<Arc<str>>> {
    let files = reading::files_of(directory)?;
    let begins = |path: &PathBuf| reading::first_seq_of(path).unwrap_or(0);
    let first = files.iter().rposition(|path| begins(path) <= seq + 1).unwrap_or(0);
    let mut lines = Vec::new();
    reading::each_line(&files[first..], |text| {
        let is_after = Line::read(text).is_ok_and(|line| line.seq > seq);
        if is_after {
            lines.push(Arc::from(text));
        }
        lines.len() < limit
    })?;
    Ok(lines)
}

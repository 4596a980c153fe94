//! The keeper: syncs behind the writer, seals full segments, lets old ones go.
//!
//! ```text
//! every interval   sync events, then ledger      a failure wakes the writer, who writes anew
//! full segments    cut, synced, index beside     until then a start would scan them
//! every second     events: newest event time < store clock - longest reach - lateness
//!                          (or events_age_min, when that is longer)
//!                  ledger: newest receipt < now - age_max, or more bytes than bytes_max
//! ```
//! Only whole segments go, only the oldest one first, and never the last: its end is where numbering goes on.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::append::{Appender, Progress, Sync, sync_behind};
use super::gate::Gate;
use super::log::{Log, Segment};
use super::queue::Queue;
use super::segment;
use crate::domain::Span;
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::decisions::Ledger;
use crate::runtime::entities::Entities;
use crate::tasks::{self, Shutdown};
use crate::telemetry::events::{StoreKeepFailed, StoreSegmentsGone};

const RETENTION_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a segment could not be sealed: a full disk must not flood the log.
const SEAL_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How much is kept.
pub(super) struct Limits {
    pub(super) age_max: Span,
    pub(super) bytes_max: u64,
    pub(super) events_age_min: Span,
    pub(super) interval: Duration,
}

/// What the keeper shares with an appender.
pub(super) struct Kept {
    log: Arc<Log>,
    progress: Arc<Mutex<Progress>>,
    full: Arc<Mutex<VecDeque<Arc<Segment>>>>,
}

impl Kept {
    pub(super) fn of(appender: &Appender) -> Self {
        let (log, progress) = (Arc::clone(&appender.log), Arc::clone(&appender.progress));
        Self { log, progress, full: Arc::clone(&appender.full) }
    }
}

/// The keeper.
pub(super) struct Keeper {
    /// Events, then decisions: in the order they are synced.
    pub(super) logs: [Kept; 2],
    pub(super) ledger: Arc<Ledger>,
    pub(super) entities: Arc<Entities>,
    pub(super) gate: Arc<Gate>,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) sync: Sync,
}

/// Asks the keeper to end after one last round.
#[derive(Default)]
pub(super) struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn ask(&self) {
        *self.asked.lock() = true;
        self.changed.notify_all();
    }

    fn wait(&self, interval: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked {
            self.changed.wait_for(&mut asked, interval);
        }
        *asked
    }
}

/// Asks for shutdown when the thread panics.
struct Leave(Shutdown);

impl Drop for Leave {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ask();
        }
    }
}

impl Keeper {
    pub(super) fn start(self, stop: Arc<Stop>, shutdown: Shutdown) -> io::Result<JoinHandle<()>> {
        tasks::thread("fraudd-keeper", move || {
            let _leave = Leave(shutdown);
            let (mut looked, mut seal_at) = (Moment::now(), Moment::now());
            loop {
                let is_last = stop.wait(self.limits.interval);
                self.sync();
                if (is_last || seal_at.has_passed()) && self.logs.each_ref().map(seal).contains(&false) {
                    seal_at = Moment::now().after(SEAL_AGAIN_AFTER);
                }
                if is_last || looked.elapsed() >= RETENTION_EVERY {
                    looked = Moment::now();
                    self.let_go();
                }
                if is_last {
                    return;
                }
            }
        })
    }

    fn sync(&self) {
        // Not `all`: a log that is well is synced although the other is not.
        let well = self.logs.each_ref().map(|kept| sync_behind(&kept.progress, self.sync));
        if well.contains(&false) {
            self.queue.nudge();
        }
    }

    /// Lets segments go that nothing needs.
    pub(super) fn let_go(&self) {
        let [events, decisions] = &self.logs;
        // While events are replayed nobody knows yet how far the store's clock is.
        if !self.gate.is_restoring()
            && let Some(horizon) = self.entities.horizon(self.limits.events_age_min)
        {
            let gone = remove_while(&events.log, |segment, _| segment.numbers().1 < horizon.micros(), &mut |_| {});
            tell("events", gone);
        }
        let oldest_kept = self.clock.now().minus(self.limits.age_max).micros();
        let too_old = |segment: &Segment, bytes| segment.numbers().1 < oldest_kept || bytes > self.limits.bytes_max;
        let gone = remove_while(&decisions.log, too_old, &mut |segment| {
            let Ok(index) = segment.entries() else { return };
            self.ledger.forget(segment.ordinal, index.ids().map(|entry| entry.hash));
        });
        tell("ledger", gone);
    }
}

fn tell(log: &'static str, (segments, bytes): (u64, u64)) {
    if segments > 0 {
        StoreSegmentsGone { log, segments, bytes }.emit();
    }
}

/// Removes the oldest sealed segments as long as `is_due` says so of the oldest and the log's bytes.
fn remove_while(log: &Log, is_due: impl Fn(&Segment, u64) -> bool, forget: &mut dyn FnMut(&Segment)) -> (u64, u64) {
    let segments = log.segments();
    let mut bytes = log.bytes();
    let (mut gone, mut freed) = (0, 0);
    for segment in segments.iter().take(segments.len().saturating_sub(1)) {
        if !segment.is_sealed() || !is_due(segment, bytes) {
            break;
        }
        forget(segment);
        log.remove(segment.ordinal);
        // The index first: a segment without one is still read, an index without its segment is litter.
        let removed = remove(&segment::index_path(&segment.path)).and_then(|()| remove(&segment.path));
        if let Err(error) = removed {
            StoreKeepFailed { operation: "remove", path: &segment.path.display(), error: &error }.emit();
        }
        let len = segment.numbers().0;
        (gone, freed, bytes) = (gone + 1, freed + len, bytes.saturating_sub(len));
    }
    (gone, freed)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Seals what is full: cut, synced, with its index beside it. `false`: something must be tried again.
fn seal(kept: &Kept) -> bool {
    loop {
        let Some(segment) = kept.full.lock().pop_front() else { return true };
        if let Err(error) = seal_one(&segment) {
            StoreKeepFailed { operation: "seal", path: &segment.path.display(), error: &error }.emit();
            kept.full.lock().push_front(segment);
            return false;
        }
        segment.seal();
    }
}

fn seal_one(segment: &Segment) -> io::Result<()> {
    let index = segment.index.read().clone();
    let file = fs::OpenOptions::new().write(true).open(&segment.path)?;
    if file.metadata()?.len() > index.end {
        file.set_len(index.end)?;
    }
    file.sync_all()?;
    segment::write_whole(&segment::index_path(&segment.path), &index.encode(&segment.header))
}

//! What happens to state on disk, as types: each event knows its log line and its metrics.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::metrics::metrics;

/// A group of frames was handed to the operating system.
pub struct StoreWrote {
    /// How long the call took.
    pub took: Duration,
    /// Frames of the group.
    pub frames: usize,
    /// Bytes of the group.
    pub bytes: usize,
}

impl StoreWrote {
    /// Counts and times it.
    pub fn emit(&self) {
        let store = &metrics().store;
        store.latency.observe_micros(0, micros(self.took));
        store.frames.inc_by(self.frames as u64);
        store.bytes.inc_by(self.bytes as u64);
    }
}

/// Written bytes were synced, well or not.
pub struct StoreSynced {
    /// How long the call took.
    pub took: Duration,
}

impl StoreSynced {
    /// Times it.
    pub fn emit(&self) {
        metrics().store.latency.observe_micros(1, micros(self.took));
    }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}

/// The disk did not take what was to be recorded.
pub struct StoreFailed<'a> {
    /// `write` or `sync`.
    pub operation: &'static str,
    /// Why.
    pub error: &'a io::Error,
    /// Whether an episode begins: only then it is an ERROR line.
    pub is_first: bool,
}

impl StoreFailed<'_> {
    /// Counts it, raises the alarm and logs it once per episode.
    pub fn emit(&self) {
        let store = &metrics().store;
        store.failures.with_label_values(&[self.operation]).inc();
        store.failing.set(1);
        let (operation, error) = (self.operation, self.error);
        if self.is_first {
            error!(operation, %error, "state cannot be recorded: free disk space or mend the disk, writing is tried again");
        } else {
            debug!(operation, %error, "state still cannot be recorded");
        }
    }
}

/// The disk takes records again.
pub struct StoreRecovered {
    /// How long it did not.
    pub after: Duration,
    /// Records given up meanwhile.
    pub lost: u64,
}

impl StoreRecovered {
    /// Ends the alarm and logs it.
    pub fn emit(&self) {
        metrics().store.failing.set(0);
        let seconds = self.after.as_secs_f64();
        if self.lost == 0 {
            info!(seconds, "state is recorded again, nothing was lost");
        } else {
            error!(seconds, lost = self.lost, "state is recorded again, but records were lost");
        }
    }
}

/// Records were given up: more waited for the disk than memory is allowed for.
pub struct StoreLost {
    /// How many.
    pub count: u64,
}

impl StoreLost {
    /// Counts them.
    pub fn emit(&self) {
        metrics().store.lost.inc_by(self.count);
        debug!(count = self.count, "records given up");
    }
}

/// A lane of the stream waited for room in the store's line.
pub struct StoreLineFull {
    /// How long.
    pub waited: Duration,
}

impl StoreLineFull {
    /// Adds the time up.
    pub fn emit(&self) {
        metrics().store.line_wait.inc_by(self.waited.as_secs_f64());
        debug!(waited_ms = self.waited.as_millis(), "a lane waited for the store");
    }
}

/// Decisions of the REST door were let go before the stream had published them.
pub struct UnpublishedLost {
    /// How many.
    pub count: u64,
}

impl UnpublishedLost {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().store.unpublished_lost.inc_by(self.count);
        error!(
            count = self.count,
            "decisions were let go before they were published: raise ledger.age_max or state.bytes_max, or mend the broker"
        );
    }
}

/// A decision was answered although it could not be recorded in time, or was refused for that.
pub struct NotRecorded;

impl NotRecorded {
    /// Counts it; the log has one line per episode.
    pub fn emit(&self) {
        metrics().store.not_recorded.inc();
    }
}

/// A kept record could not be read.
pub struct StoreReadFailed<'a> {
    /// Why.
    pub error: &'a dyn Display,
}

impl StoreReadFailed<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().store.failures.with_label_values(&["read"]).inc();
        error!(error = %self.error, "a kept record cannot be read");
    }
}

/// The keeper could not seal or remove a segment.
pub struct StoreKeepFailed<'a> {
    /// `seal` or `remove`.
    pub operation: &'static str,
    /// Which file.
    pub path: &'a dyn Display,
    /// Why.
    pub error: &'a io::Error,
}

impl StoreKeepFailed<'_> {
    /// Counts it; it is tried again, so the log line is a warning.
    pub fn emit(&self) {
        metrics().store.failures.with_label_values(&[self.operation]).inc();
        warn!(operation = self.operation, path = %self.path, error = %self.error, "a segment could not be tended");
    }
}

/// Old segments were let go.
pub struct StoreSegmentsGone {
    /// `events` or `ledger`.
    pub log: &'static str,
    /// How many.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl StoreSegmentsGone {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().store.gone.with_label_values(&[self.log]).inc_by(self.segments);
        debug!(log = self.log, segments = self.segments, bytes = self.bytes, "segments let go");
    }
}

/// The torn end of the newest segment was cut: what a crash leaves.
pub struct StoreTailCut<'a> {
    /// The segment.
    pub path: &'a dyn Display,
    /// Where it ends now.
    pub offset: u64,
    /// How many bytes went.
    pub bytes: u64,
}

impl StoreTailCut<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().store.cut.inc_by(self.bytes);
        warn!(path = %self.path, offset = self.offset, bytes = self.bytes, "torn end of the journal cut: it was never answered");
    }
}

/// A missing or damaged index was made again from its segment.
pub struct StoreIndexRebuilt<'a> {
    /// The index.
    pub path: &'a dyn Display,
}

impl StoreIndexRebuilt<'_> {
    /// Logs it.
    pub fn emit(&self) {
        warn!(path = %self.path, "index missing or damaged: made again from its segment");
    }
}

/// A change of a list could not be written; it is not in force.
pub struct ListUnsaved<'a> {
    /// Why.
    pub error: &'a dyn Display,
}

impl ListUnsaved<'_> {
    /// Counts and logs it.
    pub fn emit(&self) {
        metrics().store.failures.with_label_values(&["lists"]).inc();
        error!(error = %self.error, "a list entry could not be written and is not in force");
    }
}

/// State is kept in memory only.
pub struct StateInMemory;

impl StateInMemory {
    /// Says so.
    pub fn emit(&self) {
        info!("state is kept in memory only and gone after a restart: set state.directory to keep it");
    }
}

/// A store was opened.
pub struct StoreOpened<'a> {
    /// Where.
    pub directory: &'a dyn Display,
    /// Decisions kept.
    pub decisions: usize,
    /// Bytes of torn tails that were cut.
    pub cut_bytes: u64,
    /// Indexes made again.
    pub rebuilt: u64,
}

impl StoreOpened<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { directory, decisions, cut_bytes, rebuilt } = self;
        info!(%directory, decisions, cut_bytes, rebuilt, "store opened");
    }
}

/// Restoring goes on.
pub struct Restoring {
    /// Events so far.
    pub events: u64,
    /// Share that is done, 0 to 1.
    pub share: f64,
    /// Events a second.
    pub per_second: f64,
    /// About how long it still takes.
    pub left: Duration,
}

impl Restoring {
    /// Logs it; the caller keeps to a line every few seconds.
    pub fn emit(&self) {
        let (percent, left_s) = ((self.share * 100.0).round(), self.left.as_secs());
        info!(
            events = self.events,
            percent,
            per_second = self.per_second.round(),
            left_s,
            "restoring state, rules answer"
        );
    }
}

/// State is restored.
pub struct StateRestored {
    /// Transactions and labels read.
    pub events: u64,
    /// How long it took.
    pub took: Duration,
}

impl StateRestored {
    /// Logs it.
    pub fn emit(&self) {
        info!(events = self.events, seconds = self.took.as_secs_f64(), "state restored");
    }
}

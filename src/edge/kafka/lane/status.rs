//! What others may see of a lane: its state, its partitions, and when it last did something.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::runtime::clock::Moment;
use crate::telemetry::stream_lane::{LaneChanged, LanePartitions};

/// What a lane is doing, as readiness sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Making its clients.
    #[default]
    Starting,
    /// Taking and committing batches, or ready to.
    Running,
    /// Publishing a batch again, or waiting for the group's new generation.
    Retrying,
    /// Taking no records for now, by order: it stays in the group and goes on when let.
    Paused,
    /// Failing repeatedly: it pauses and tries again.
    Broken,
    /// Told to stop taking records by those who decide.
    Halted,
    /// Committing the batch in hand before it ends.
    Draining,
    /// Ended.
    Stopped,
}

impl State {
    /// Returns the word used in logs and as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Broken => "broken",
            Self::Halted => "halted",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }

    /// Tells whether a lane in this state does its work, will shortly, or is kept from it on purpose.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Running | Self::Retrying | Self::Paused)
    }
}

/// What a lane shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What it is doing.
    pub state: State,
    /// Why, when that is not obvious.
    pub reason: String,
    /// Partitions that are looked up or restored.
    pub restoring: Vec<i32>,
    /// Partitions that are read.
    pub live: Vec<i32>,
    /// Partitions that cannot be restored, each with why.
    pub failed: Vec<(i32, String)>,
}

/// The lane's side writes, everybody else reads.
#[derive(Debug)]
pub struct Status {
    index: usize,
    origin: Moment,
    progress_ms: AtomicU64,
    lag_records: AtomicU64,
    shown: Mutex<Shown>,
}

impl Status {
    /// Starts the status of the lane of this number.
    #[must_use]
    pub fn new(index: usize) -> Self {
        LaneChanged { index, from: None, to: State::Starting.as_str(), reason: "" }.emit();
        Self {
            index,
            origin: Moment::now(),
            progress_ms: AtomicU64::new(0),
            lag_records: AtomicU64::new(0),
            shown: Mutex::default(),
        }
    }

    /// Returns what the lane shows now.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown.lock().clone()
    }

    /// Tells whether the lane does its work: it runs, and no partition of it is given up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let shown = self.shown.lock();
        shown.state.is_ready() && shown.failed.is_empty()
    }

    /// Returns how long ago the lane last made a step: what a watchdog looks at.
    #[must_use]
    pub fn quiet_for(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_millis(self.progress_ms.load(Ordering::Relaxed)))
    }

    /// Returns how many records wait to be read, as far as the broker's last statistics say.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        self.lag_records.load(Ordering::Relaxed)
    }

    /// A new life begins: nothing of the last one is owned.
    pub(super) fn begin_again(&self) {
        self.set_partitions(Vec::new(), Vec::new(), Vec::new());
        self.turn(State::Starting, "");
    }

    pub(super) fn lags(&self, records: u64) {
        self.lag_records.store(records, Ordering::Relaxed);
    }

    /// Returns the lane's number, see [`crate::telemetry::stream_lane::REKEY_LANE`].
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    pub(super) fn touch(&self) {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(elapsed, Ordering::Relaxed);
    }

    pub(super) fn turn(&self, state: State, reason: &str) {
        let mut shown = self.shown.lock();
        if shown.state == state && shown.reason == reason {
            return;
        }
        let from = Some(shown.state.as_str());
        shown.state = state;
        reason.clone_into(&mut shown.reason);
        LaneChanged { index: self.index, from, to: state.as_str(), reason }.emit();
    }

    pub(super) fn set_partitions(&self, restoring: Vec<i32>, live: Vec<i32>, failed: Vec<(i32, String)>) {
        LanePartitions { index: self.index, restoring: restoring.len(), live: live.len(), failed: failed.len() }.emit();
        let mut shown = self.shown.lock();
        shown.restoring = restoring;
        shown.live = live;
        shown.failed = failed;
    }
}

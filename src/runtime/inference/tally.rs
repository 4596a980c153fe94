//! What raw calls of one model came to: counts and times, as the statistics of the protocol tell them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Where the time of one raw call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// From the request to the answer.
    pub total: Duration,
    /// Reading the request.
    pub decode: Duration,
    /// Waiting for an inference thread.
    pub queue: Duration,
    /// Inside the model.
    pub run: Duration,
    /// Writing the answer.
    pub encode: Duration,
}

/// Sums over the raw calls of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallSums {
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that were not.
    pub failed: u64,
    /// Rows answered.
    pub rows: u64,
    /// Runs of the model for them.
    pub runs: u64,
    /// When the last answered call came, in milliseconds since 1970.
    pub last_ms: u64,
    /// Times of answered calls; `total` in full, the stages within it.
    pub times: CallTimes,
    /// Time of calls that failed.
    pub failed_time: Duration,
}

/// Counts raw calls of one model. Sums are read one by one: a reading may fall between two additions.
#[derive(Debug, Default)]
pub struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    rows: AtomicU64,
    runs: AtomicU64,
    last_ms: AtomicU64,
    stage_nanos: [AtomicU64; 5],
    failed_nanos: AtomicU64,
}

impl Tally {
    /// Counts a call that was answered.
    pub fn answered(&self, times: CallTimes, rows: usize, runs: u32, now_ms: u64) {
        self.answered.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.runs.fetch_add(runs.into(), Relaxed);
        self.last_ms.fetch_max(now_ms, Relaxed);
        let stages = [times.total, times.decode, times.queue, times.run, times.encode];
        for (sum, time) in self.stage_nanos.iter().zip(stages) {
            sum.fetch_add(nanos(time), Relaxed);
        }
    }

    /// Counts a call that was not answered.
    pub fn failed(&self, time: Duration) {
        self.failed.fetch_add(1, Relaxed);
        self.failed_nanos.fetch_add(nanos(time), Relaxed);
    }

    /// Returns the sums.
    #[must_use]
    pub fn sums(&self) -> CallSums {
        let stage = |index: usize| Duration::from_nanos(self.stage_nanos[index].load(Relaxed));
        CallSums {
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            rows: self.rows.load(Relaxed),
            runs: self.runs.load(Relaxed),
            last_ms: self.last_ms.load(Relaxed),
            times: CallTimes { total: stage(0), decode: stage(1), queue: stage(2), run: stage(3), encode: stage(4) },
            failed_time: Duration::from_nanos(self.failed_nanos.load(Relaxed)),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

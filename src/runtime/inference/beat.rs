//! Whether one inference thread is alive: what it runs, since when, and until when somebody waits for it.
//!
//! The thread writes two words before a run and one after it; whoever wonders about a late call reads them.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU64};

const WORKS: u8 = 0;
const WRITTEN_OFF: u8 = 1;
const LEFT: u8 = 2;

/// The signs of life of one thread. Times are in microseconds since the engine began.
#[derive(Debug, Default)]
pub(super) struct Beat {
    state: AtomicU8,
    /// When the run began, plus one; 0 while nothing is run.
    began_us: AtomicU64,
    /// When the last caller of the run stops waiting.
    due_us: AtomicU64,
    /// How long the run before took, and when it ended.
    before: [AtomicU64; 2],
    /// The first and the last job of the run.
    jobs: [AtomicU64; 2],
}

/// A run in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// How long it has run.
    pub(super) age_us: u64,
    /// When the last caller of it stops waiting.
    pub(super) due_us: u64,
    jobs: (u64, u64),
}

impl Run {
    /// Tells whether a job is part of it.
    pub(super) const fn has(&self, job: u64) -> bool {
        self.jobs.0 <= job && job <= self.jobs.1
    }
}

impl Beat {
    /// A run begins, of the jobs between two numbers.
    pub(super) fn begin(&self, now_us: u64, due_us: u64, jobs: (u64, u64)) {
        self.jobs[0].store(jobs.0, Relaxed);
        self.jobs[1].store(jobs.1, Relaxed);
        self.due_us.store(due_us, Relaxed);
        self.began_us.store(now_us + 1, Release);
    }

    /// The run is over; it took `ran_us`.
    pub(super) fn end(&self, now_us: u64, ran_us: u64) {
        self.before[0].store(ran_us, Relaxed);
        self.before[1].store(now_us, Relaxed);
        self.began_us.store(0, Release);
    }

    /// Returns the run in progress. What is read while a run changes to the next may be of either.
    pub(super) fn run(&self, now_us: u64) -> Option<Run> {
        let began = self.began_us.load(Acquire).checked_sub(1)?;
        let jobs = (self.jobs[0].load(Relaxed), self.jobs[1].load(Relaxed));
        Some(Run { age_us: now_us.saturating_sub(began), due_us: self.due_us.load(Relaxed), jobs })
    }

    /// Returns how long the run took that ended last, unless that was before an instant.
    pub(super) fn ran_until(&self, since_us: u64) -> u64 {
        if self.before[1].load(Relaxed) > since_us { self.before[0].load(Relaxed) } else { 0 }
    }

    /// Gives the thread up, unless it ended by itself meanwhile; tells which.
    pub(super) fn write_off(&self) -> bool {
        self.state.compare_exchange(WORKS, WRITTEN_OFF, AcqRel, Acquire).is_ok()
    }

    /// Tells whether the thread was given up: it must not take more.
    pub(super) fn is_written_off(&self) -> bool {
        self.state.load(Acquire) == WRITTEN_OFF
    }

    /// The thread ends; tells whether it was still counted on.
    pub(super) fn leave(&self) -> bool {
        self.state.swap(LEFT, AcqRel) == WORKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_an_age_and_its_jobs() {
        let beat = Beat::default();
        assert_eq!(beat.run(5), None);
        beat.begin(10, 30, (4, 6));
        let run = beat.run(25).expect("a run");
        assert_eq!((run.age_us, run.due_us), (15, 30));
        assert!(!run.has(3) && run.has(4) && run.has(6) && !run.has(7));
        assert_eq!(beat.ran_until(0), 0);
        beat.end(26, 16);
        assert_eq!((beat.run(26), beat.ran_until(25), beat.ran_until(26)), (None, 16, 0));
    }

    #[test]
    fn a_thread_is_given_up_or_leaves_but_not_both() {
        let beat = Beat::default();
        assert!(beat.write_off() && !beat.write_off() && beat.is_written_off());
        assert!(!beat.leave(), "nobody counts on it any more");
        let beat = Beat::default();
        assert!(beat.leave() && !beat.write_off());
    }
}

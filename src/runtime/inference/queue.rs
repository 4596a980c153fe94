//! The line in front of the inference threads: bounded, first come first served, taken in batches.
//!
//! Who comes when it is full is refused at once. It knows jobs and their number of rows, not models.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::engine::ModelFailure;
use crate::domain::Score;
use crate::runtime::clock::Moment;

/// What one caller gets for one row.
pub(super) type Answer = Result<Score, ModelFailure>;

/// Rows to score, and who waits for them.
pub(super) struct Job {
    /// Row-major, in input order.
    pub(super) cells: Vec<f64>,
    /// How many rows `cells` holds.
    pub(super) rows: usize,
    /// When it joined the line.
    pub(super) asked_at: Moment,
    /// After this nobody waits any more.
    pub(super) deadline: Moment,
    /// One answer a row; nobody listens when the caller has gone.
    pub(super) reply: oneshot::Sender<Answers>,
}

/// Answers of a job; one row needs no allocation.
pub(super) type Answers = smallvec::SmallVec<[Answer; 1]>;

/// A bounded line of jobs.
pub(super) struct Queue {
    line: Mutex<Line>,
    filled: Condvar,
    emptied: Condvar,
    len_max: usize,
}

struct Line {
    jobs: VecDeque<Job>,
    rows: usize,
    closed: bool,
    workers: usize,
}

impl Queue {
    /// Makes an open line for `workers` threads and at most `len_max` waiting rows.
    pub(super) fn new(len_max: usize, workers: usize) -> Self {
        let line = Line { jobs: VecDeque::with_capacity(len_max.min(1024)), rows: 0, closed: false, workers };
        Self { line: Mutex::new(line), filled: Condvar::new(), emptied: Condvar::new(), len_max }
    }

    /// Appends a job, or hands it back when the line is full or closed. A worker that sleeps goes on
    /// sleeping until [`Self::rouse`].
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut line = self.line.lock();
        // An empty line takes any job, so one that is larger than the bound is not refused for ever.
        if line.closed || (line.rows > 0 && line.rows.saturating_add(job.rows) > self.len_max) {
            return Err(job);
        }
        line.rows += job.rows;
        line.jobs.push_back(job);
        Ok(())
    }

    /// Wakes a worker, if one sleeps.
    pub(super) fn rouse(&self) {
        self.filled.notify_one();
    }

    /// Waits for jobs and moves as many as fit into `rows_max` rows, at least one. `false`: closed and empty.
    pub(super) fn take(&self, batch: &mut Vec<Job>, rows_max: usize) -> bool {
        let mut line = self.line.lock();
        while line.jobs.is_empty() {
            if line.closed {
                return false;
            }
            self.filled.wait(&mut line);
        }
        let mut rows = 0;
        while let Some(job) = line.jobs.front() {
            if rows > 0 && rows + job.rows > rows_max {
                break;
            }
            rows += job.rows;
            batch.extend(line.jobs.pop_front());
        }
        line.rows -= rows;
        true
    }

    /// Returns how many rows wait.
    pub(super) fn rows(&self) -> usize {
        self.line.lock().rows
    }

    /// Refuses new jobs from now on and lets the workers finish what waits.
    pub(super) fn close(&self) {
        self.line.lock().closed = true;
        self.filled.notify_all();
    }

    /// A worker has ended.
    pub(super) fn leave(&self) {
        self.line.lock().workers -= 1;
        self.emptied.notify_all();
    }

    /// Waits until every worker has ended, at most `wait`; tells whether they have.
    pub(super) fn wait_until_left(&self, wait: Duration) -> bool {
        let deadline = Moment::now().after(wait).instant();
        let mut line = self.line.lock();
        while line.workers > 0 {
            if self.emptied.wait_until(&mut line, deadline).timed_out() {
                return line.workers == 0;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(rows: usize) -> Job {
        let (reply, _) = oneshot::channel();
        Job { cells: vec![0.0; rows], rows, asked_at: Moment::now(), deadline: Moment::now(), reply }
    }

    #[test]
    fn the_line_is_bounded_in_rows() {
        let queue = Queue::new(3, 1);
        assert!(queue.push(job(2)).is_ok() && queue.push(job(1)).is_ok());
        assert!(queue.push(job(1)).is_err());
        assert_eq!(queue.rows(), 3);
        let empty = Queue::new(3, 1);
        assert!(empty.push(job(9)).is_ok(), "a job above the bound passes an empty line");
        assert!(empty.push(job(1)).is_err());
    }

    #[test]
    fn batches_take_what_waits_and_no_more_than_fits() {
        let queue = Queue::new(100, 1);
        for rows in [2, 3, 4, 9] {
            assert!(queue.push(job(rows)).is_ok());
        }
        for expected in [vec![2, 3], vec![4], vec![9]] {
            let mut batch = Vec::new();
            assert!(queue.take(&mut batch, 6));
            assert_eq!(batch.iter().map(|job| job.rows).collect::<Vec<_>>(), expected);
        }
        assert_eq!(queue.rows(), 0);
    }

    #[test]
    fn a_closed_line_is_emptied_first() {
        let queue = Queue::new(100, 1);
        assert!(queue.push(job(1)).is_ok());
        queue.close();
        assert!(queue.push(job(1)).is_err());
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, 8));
        assert!(!queue.take(&mut batch, 8));
        assert!(!queue.wait_until_left(Duration::ZERO));
        queue.leave();
        assert!(queue.wait_until_left(Duration::ZERO));
    }
}

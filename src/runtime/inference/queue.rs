//! The line in front of the inference threads: bounded, first come first served, taken in batches.
//!
//! Who comes when it is full is refused at once. Raw calls have a second, bounded line that moves when no
//! decision waits, or after so many batches of them. It knows jobs and their number of rows, not models.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::course::Course;
use super::engine::ModelFailure;
use super::raw::{DECISION_TURNS, RawJob};
use crate::domain::Score;
use crate::runtime::clock::Moment;

/// What one caller gets for one row.
pub(super) type Answer = Result<Score, ModelFailure>;

/// Rows to score, and who waits for them.
pub(super) struct Job {
    /// Its place among all jobs; the line writes it.
    pub(super) number: u64,
    /// Row-major, in input order.
    pub(super) cells: Vec<f64>,
    /// How many rows `cells` holds.
    pub(super) rows: usize,
    /// When it joined the line.
    pub(super) asked_at: Moment,
    /// After this nobody waits any more.
    pub(super) deadline: Moment,
    /// One answer a row; nobody listens when the caller has gone.
    pub(super) reply: oneshot::Sender<Reply>,
}

/// What a job is answered with.
pub(super) struct Reply {
    /// One a row.
    pub(super) answers: Answers,
    /// Where the time went.
    pub(super) course: Course,
}

/// Answers of a job; one row needs no allocation.
pub(super) type Answers = smallvec::SmallVec<[Answer; 1]>;

/// A bounded line of jobs.
pub(super) struct Queue {
    line: Mutex<Line>,
    filled: Condvar,
    emptied: Condvar,
    len_max: usize,
    raw_len_max: usize,
}

/// What a worker gets to do.
pub(super) enum Taken {
    /// Jobs of decisions, in the batch that was handed in.
    Batch,
    /// One raw call: a slice of it is due.
    Raw(Box<RawJob>),
    /// The line is closed and empty.
    Closed,
}

struct Line {
    jobs: VecDeque<Job>,
    rows: usize,
    raw: VecDeque<Box<RawJob>>,
    raw_rows: usize,
    /// Batches of decisions since a raw call began to wait for its slice.
    turns: u32,
    closed: bool,
    workers: usize,
    /// Jobs that ever joined.
    numbers: u64,
}

impl Queue {
    /// Makes an open line of at most `len_max` waiting rows and `raw_len_max` raw ones.
    pub(super) fn new(len_max: usize, raw_len_max: usize) -> Self {
        let (jobs, raw) = (VecDeque::with_capacity(len_max.min(1024)), VecDeque::new());
        let line = Line { jobs, rows: 0, raw, raw_rows: 0, turns: 0, closed: false, workers: 0, numbers: 0 };
        Self { line: Mutex::new(line), filled: Condvar::new(), emptied: Condvar::new(), len_max, raw_len_max }
    }

    /// Appends a job and returns its number, or hands it back when the line is full or closed. A worker that
    /// sleeps goes on sleeping until [`Self::rouse`].
    pub(super) fn push(&self, mut job: Job) -> Result<u64, Job> {
        let mut line = self.line.lock();
        // An empty line takes any job, so one that is larger than the bound is not refused for ever.
        if line.closed || (line.rows > 0 && line.rows.saturating_add(job.rows) > self.len_max) {
            return Err(job);
        }
        line.rows += job.rows;
        line.numbers += 1;
        let number = line.numbers;
        job.number = number;
        line.jobs.push_back(job);
        Ok(number)
    }

    /// Wakes a worker, if one sleeps.
    pub(super) fn rouse(&self) {
        self.filled.notify_one();
    }

    /// Wakes every worker that sleeps: some of them were given up.
    pub(super) fn rouse_all(&self) {
        // With the line held nobody is between looking and falling asleep.
        let _line = self.line.lock();
        self.filled.notify_all();
    }

    /// Appends a raw call and wakes a worker, or hands it back when its line is full or closed.
    pub(super) fn push_raw(&self, job: Box<RawJob>) -> Result<(), Box<RawJob>> {
        let mut line = self.line.lock();
        if line.closed || (line.raw_rows > 0 && line.raw_rows.saturating_add(job.rows_left) > self.raw_len_max) {
            return Err(job);
        }
        line.raw_rows += job.rows_left;
        line.raw.push_back(job);
        drop(line);
        self.filled.notify_one();
        Ok(())
    }

    /// Puts a raw call with rows left first in its line again; a closed line takes it too, to finish it.
    pub(super) fn put_back(&self, job: Box<RawJob>) {
        let mut line = self.line.lock();
        line.raw_rows += job.rows_left;
        line.raw.push_front(job);
    }

    /// Waits for work: a raw call when it is due, else as many jobs as fit into `rows_max` rows, at least one. To
    /// a worker that was given up while it waited the line is closed.
    pub(super) fn take(&self, batch: &mut Vec<Job>, rows_max: usize, is_given_up: &dyn Fn() -> bool) -> Taken {
        let mut line = self.line.lock();
        loop {
            let raw_is_due = line.jobs.is_empty() || line.turns >= DECISION_TURNS;
            if raw_is_due && let Some(job) = line.raw.pop_front() {
                line.raw_rows -= job.rows_left;
                line.turns = 0;
                return Taken::Raw(job);
            }
            if !line.jobs.is_empty() {
                break;
            }
            if line.closed || is_given_up() {
                return Taken::Closed;
            }
            self.filled.wait(&mut line);
        }
        line.turns = if line.raw.is_empty() { 0 } else { line.turns + 1 };
        let mut rows = 0;
        while let Some(job) = line.jobs.front() {
            if rows > 0 && rows + job.rows > rows_max {
                break;
            }
            rows += job.rows;
            batch.extend(line.jobs.pop_front());
        }
        line.rows -= rows;
        Taken::Batch
    }

    /// Returns how many rows wait.
    pub(super) fn rows(&self) -> usize {
        self.line.lock().rows
    }

    /// Returns how many rows of raw calls wait.
    pub(super) fn raw_rows(&self) -> usize {
        self.line.lock().raw_rows
    }

    /// Refuses new jobs from now on and lets the workers finish what waits.
    pub(super) fn close(&self) {
        self.line.lock().closed = true;
        self.filled.notify_all();
    }

    /// Tells whether new jobs are refused.
    pub(super) fn is_closed(&self) -> bool {
        self.line.lock().closed
    }

    /// A worker begins.
    pub(super) fn join(&self) {
        self.line.lock().workers += 1;
    }

    /// A worker has ended, or was given up.
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
        Job { number: 0, cells: vec![0.0; rows], rows, asked_at: Moment::now(), deadline: Moment::now(), reply }
    }

    #[test]
    fn the_line_is_bounded_in_rows() {
        let queue = Queue::new(3, 3);
        assert!(queue.push(job(2)).is_ok() && queue.push(job(1)).is_ok());
        assert!(queue.push(job(1)).is_err());
        assert_eq!(queue.rows(), 3);
        let empty = Queue::new(3, 3);
        assert!(empty.push(job(9)).is_ok(), "a job above the bound passes an empty line");
        assert!(empty.push(job(1)).is_err());
    }

    #[test]
    fn batches_take_what_waits_and_no_more_than_fits() {
        let queue = Queue::new(100, 100);
        for rows in [2, 3, 4, 9] {
            assert!(queue.push(job(rows)).is_ok());
        }
        for expected in [vec![2, 3], vec![4], vec![9]] {
            let mut batch = Vec::new();
            assert!(matches!(queue.take(&mut batch, 6, &|| false), Taken::Batch));
            assert_eq!(batch.iter().map(|job| job.rows).collect::<Vec<_>>(), expected);
        }
        assert_eq!(queue.rows(), 0);
    }

    #[test]
    fn a_closed_line_is_emptied_first() {
        let queue = Queue::new(100, 100);
        assert!(queue.push(job(1)).is_ok());
        queue.close();
        assert!(queue.push(job(1)).is_err());
        let mut batch = Vec::new();
        assert!(matches!(queue.take(&mut batch, 8, &|| false), Taken::Batch));
        assert!(matches!(queue.take(&mut batch, 8, &|| false), Taken::Closed));
        queue.join();
        assert!(!queue.wait_until_left(Duration::ZERO));
        queue.leave();
        assert!(queue.wait_until_left(Duration::ZERO));
    }
    fn raw(rows_left: usize) -> Box<RawJob> {
        let (reply, _) = oneshot::channel();
        let now = Moment::now();
        let answer = crate::runtime::inference::raw::RawAnswer::default();
        Box::new(RawJob { cells: vec![0.0; rows_left], rows_left, asked_at: now, deadline: now, answer, reply })
    }

    #[test]
    fn raw_calls_go_between_batches_and_starve_neither_side() {
        let queue = Queue::new(1000, 100);
        assert!(queue.push_raw(raw(40)).is_ok() && queue.push_raw(raw(60)).is_ok());
        assert!(queue.push_raw(raw(1)).is_err(), "the raw line is bounded");
        let mut taken = String::new();
        let mut batch = Vec::new();
        for _ in 0..20 {
            assert!(queue.push(job(1)).is_ok());
            match queue.take(&mut batch, 1, &|| false) {
                Taken::Batch => taken.push('d'),
                Taken::Raw(job) => {
                    taken.push('R');
                    queue.put_back(job);
                }
                Taken::Closed => taken.push('c'),
            }
        }
        assert_eq!(taken, "ddddddddRddddddddRdd");
        assert_eq!(queue.raw_rows(), 100);
    }

    #[test]
    fn raw_calls_run_at_once_when_no_decision_waits_and_finish_after_closing() {
        let queue = Queue::new(10, 10);
        assert!(queue.push_raw(raw(30)).is_ok(), "an empty line takes any call");
        queue.close();
        assert!(queue.push_raw(raw(1)).is_err());
        let mut batch = Vec::new();
        let Taken::Raw(mut job) = queue.take(&mut batch, 8, &|| false) else { panic!("expected the raw call") };
        job.rows_left = 14;
        queue.put_back(job);
        assert!(matches!(queue.take(&mut batch, 8, &|| false), Taken::Raw(job) if job.rows_left == 14));
        assert!(matches!(queue.take(&mut batch, 8, &|| false), Taken::Closed));
    }
}

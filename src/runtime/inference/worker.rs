//! One inference thread: takes what waits, runs it, answers each row.
//!
//! A late job is dropped when it is taken, a failing or panicking run answers its rows and the thread
//! goes on. Raw calls are run slice by slice. The answer to one row never depends on its neighbours in the batch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::engine::{Counters, ModelFailure};
use super::queue::{Answer, Answers, Job, Queue, Taken};
use super::raw::{RawJob, SLICE_ROWS};
use super::session::Session;
use crate::domain::Score;
use crate::domain::score::ScoreError;
use crate::runtime::clock::Moment;
use crate::tasks::panic_text;
use crate::telemetry::events::BatchScored;

/// Everything one thread owns or shares.
pub(super) struct Worker {
    pub(super) session: Session,
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    pub(super) batch_len_max: usize,
}

/// Says goodbye to the queue also when the thread dies.
struct Leave<'a>(&'a Queue);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Worker {
    /// Works until the queue is closed and empty.
    pub(super) fn work(mut self) {
        let queue = Arc::clone(&self.queue);
        let _leave = Leave(&queue);
        let (mut batch, mut cells, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match queue.take(&mut batch, self.batch_len_max) {
                Taken::Batch => {}
                Taken::Raw(job) => {
                    self.run_slice(job);
                    continue;
                }
                Taken::Closed => return,
            }
            if let Some(first) = batch.first() {
                let rows = batch.iter().map(|job| job.rows).sum();
                BatchScored { rows, queued: first.asked_at.elapsed() }.emit();
            }
            self.drop_late(&mut batch);
            let ran = match batch.as_slice() {
                [] => continue,
                // The common case copies nothing.
                [only] => self.run_all(&only.cells, &mut scores),
                many => {
                    cells.clear();
                    cells.extend(many.iter().flat_map(|job| &job.cells));
                    self.run_all(&cells, &mut scores)
                }
            };
            match ran {
                Ok(()) => answer(&mut batch, &scores),
                Err(failure) => fail(&mut batch, &failure),
            }
        }
    }

    /// Runs the next rows of a raw call, then puts it back or answers it. One slice, so that decisions wait no longer.
    fn run_slice(&mut self, mut job: Box<RawJob>) {
        let started = Moment::now();
        if job.deadline <= started || job.reply.is_closed() {
            self.counters.late.fetch_add(job.rows_left as u64, Relaxed);
            return;
        }
        if job.answer.runs == 0 {
            job.answer.queued = job.asked_at.elapsed();
        }
        let width = self.session.width();
        let from = job.cells.len() - job.rows_left * width;
        let rows = job.rows_left.min(SLICE_ROWS);
        let (slice, outputs) = (&job.cells[from..from + rows * width], &mut job.answer.outputs);
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| self.session.run_raw(slice, outputs)));
        let ran = ran.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(panic.as_ref()))));
        if let Err(text) = ran {
            let _gone = job.reply.send(Err(ModelFailure::Failed(text.into())));
            return;
        }
        job.answer.ran += started.elapsed();
        job.answer.runs += 1;
        job.rows_left -= rows;
        if job.rows_left > 0 {
            self.queue.put_back(job);
        } else {
            let _gone = job.reply.send(Ok(job.answer));
        }
    }

    fn drop_late(&self, batch: &mut Vec<Job>) {
        let now = Moment::now();
        batch.retain(|job| {
            // A caller who has gone needs no answer either.
            let waits = job.deadline > now && !job.reply.is_closed();
            if !waits {
                self.counters.late.fetch_add(job.rows as u64, Relaxed);
            }
            waits
        });
    }

    fn run_all(&mut self, cells: &[f64], scores: &mut Vec<f64>) -> Result<(), ModelFailure> {
        scores.clear();
        let started = Moment::now();
        let chunk = self.batch_len_max * self.session.width();
        for rows in cells.chunks(chunk) {
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| self.session.run(rows, scores)));
            ran.map_err(|panic| ModelFailure::Failed(format!("panicked: {}", panic_text(panic.as_ref())).into()))?
                .map_err(|text| ModelFailure::Failed(text.into()))?;
        }
        self.counters.runs.fetch_add(1, Relaxed);
        self.counters.rows.fetch_add(scores.len() as u64, Relaxed);
        self.counters.run_micros.fetch_add(u64::from(Moment::now().micros_since(started)), Relaxed);
        Ok(())
    }
}

fn answer(batch: &mut Vec<Job>, scores: &[f64]) {
    let mut scores = scores.iter();
    for job in batch.drain(..) {
        let answers: Answers = scores.by_ref().take(job.rows).map(|score| judge(*score)).collect();
        // Nobody listens when the caller's deadline passed meanwhile.
        let _gone = job.reply.send(answers);
    }
}

fn fail(batch: &mut Vec<Job>, failure: &ModelFailure) {
    for job in batch.drain(..) {
        let _gone = job.reply.send(std::iter::repeat_n(Err(failure.clone()), job.rows).collect());
    }
}

fn judge(score: f64) -> Answer {
    // Float32 models overshoot 1 by an ulp; that is rounding, not a wrong answer.
    let score = if score > 1.0 && score <= 1.0 + f64::from(f32::EPSILON) { 1.0 } else { score };
    Score::new(score).map_err(|error| match error {
        ScoreError::NotFinite => ModelFailure::NotFinite,
        ScoreError::OutOfRange => ModelFailure::OutOfRange,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probabilities_pass() {
        assert!(judge(0.5).is_ok() && judge(1.0 + 1e-8).is_ok());
        assert_eq!(judge(f64::NAN), Err(ModelFailure::NotFinite));
        assert_eq!(judge(1.001), Err(ModelFailure::OutOfRange));
        assert_eq!(judge(-0.001), Err(ModelFailure::OutOfRange));
    }
}

//! One inference thread: takes what waits, runs it, answers each row.
//!
//! A late job is dropped when it is taken, a failing or panicking run answers its rows and the thread
//! goes on. Raw calls are run slice by slice. The answer to one row never depends on its neighbours in the batch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::beat::Beat;
use super::course::{Course, Reached};
use super::crew::Crew;
use super::engine::ModelFailure;
use super::queue::{Answer, Answers, Job, Reply, Taken};
use super::raw::{RawJob, SLICE_ROWS};
use super::session::Session;
use crate::domain::Score;
use crate::domain::score::ScoreError;
use crate::runtime::clock::Moment;
use crate::tasks::faults::{Seam, Suffered};
use crate::tasks::panic_text;
use crate::telemetry::events::BatchScored;

/// No job: raw calls have no number.
const NO_JOBS: (u64, u64) = (u64::MAX, 0);

/// Everything one thread owns or shares.
pub(super) struct Worker {
    pub(super) session: Session,
    pub(super) crew: Arc<Crew>,
    pub(super) beat: Arc<Beat>,
    pub(super) seam: Option<Seam>,
}

/// Says goodbye to the queue also when the thread dies, unless it was given up before.
struct Leave<'a>(&'a Crew, &'a Beat);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.1.leave() {
            self.0.queue.leave();
        }
    }
}

impl Worker {
    /// Works until the queue is closed and empty, or it was given up.
    pub(super) fn work(mut self) {
        let (crew, beat) = (Arc::clone(&self.crew), Arc::clone(&self.beat));
        let _leave = Leave(&crew, &beat);
        let (mut batch, mut cells, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        while !beat.is_written_off() {
            match crew.queue.take(&mut batch, crew.batch_len_max, &|| beat.is_written_off()) {
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
            let (Some(first), Some(last)) = (batch.first(), batch.last()) else { continue };
            let (started, jobs) = (Moment::now(), (first.number, last.number));
            let due = batch.iter().map(|job| job.deadline).max().unwrap_or(started);
            beat.begin(crew.micros(started), crew.micros(due), jobs);
            let ran = match batch.as_slice() {
                // The common case copies nothing.
                [only] => self.run_all(&only.cells, &mut scores),
                many => {
                    cells.clear();
                    cells.extend(many.iter().flat_map(|job| &job.cells));
                    self.run_all(&cells, &mut scores)
                }
            };
            let ended = Moment::now();
            let ran_us = ended.micros_since(started);
            beat.end(crew.micros(ended), ran_us.into());
            let course =
                |job: &Job| Course { reached: Reached::Answer, queued_us: started.micros_since(job.asked_at), ran_us };
            match ran {
                Ok(()) => {
                    self.count(scores.len(), ran_us);
                    answer(&mut batch, &scores, course);
                }
                Err(failure) => fail(&mut batch, &failure, course),
            }
        }
    }

    fn count(&self, rows: usize, ran_us: u32) {
        let counters = &self.crew.counters;
        counters.runs.fetch_add(1, Relaxed);
        counters.rows.fetch_add(rows as u64, Relaxed);
        counters.run_micros.fetch_add(u64::from(ran_us), Relaxed);
    }

    /// Runs the next rows of a raw call, then puts it back or answers it. One slice, so that decisions wait no longer.
    fn run_slice(&mut self, mut job: Box<RawJob>) {
        let started = Moment::now();
        if job.deadline <= started || job.reply.is_closed() {
            self.crew.count_late(job.rows_left);
            return;
        }
        if job.answer.runs == 0 {
            job.answer.queued = job.asked_at.elapsed();
        }
        let width = self.session.width();
        let from = job.cells.len() - job.rows_left * width;
        let rows = job.rows_left.min(SLICE_ROWS);
        let (slice, outputs) = (&job.cells[from..from + rows * width], &mut job.answer.outputs);
        self.beat.begin(self.crew.micros(started), self.crew.micros(job.deadline), NO_JOBS);
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| self.session.run_raw(slice, outputs)));
        self.beat.end(self.crew.micros(Moment::now()), started.elapsed().as_micros().try_into().unwrap_or(u64::MAX));
        let ran = ran.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(panic.as_ref()))));
        if let Err(text) = ran {
            let _gone = job.reply.send(Err(ModelFailure::Failed(text.into())));
            return;
        }
        job.answer.ran += started.elapsed();
        job.answer.runs += 1;
        job.rows_left -= rows;
        if job.rows_left > 0 {
            self.crew.queue.put_back(job);
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
                self.crew.count_late(job.rows);
            }
            waits
        });
    }

    fn run_all(&mut self, cells: &[f64], scores: &mut Vec<f64>) -> Result<(), ModelFailure> {
        scores.clear();
        let chunk = self.crew.batch_len_max * self.session.width();
        for rows in cells.chunks(chunk) {
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| self.run(rows, scores)));
            ran.map_err(|panic| ModelFailure::Failed(format!("panicked: {}", panic_text(panic.as_ref())).into()))?
                .map_err(|text| ModelFailure::Failed(text.into()))?;
        }
        Ok(())
    }

    fn run(&mut self, rows: &[f64], scores: &mut Vec<f64>) -> Result<(), String> {
        let suffered = self.seam.as_ref().map(|seam| seam.suffer(Moment::now().instant()));
        match suffered {
            None | Some(Suffered::Nothing) => self.session.run(rows, scores),
            Some(Suffered::Failure) => Err("a fault on purpose".to_owned()),
            Some(Suffered::NotANumber) => {
                scores.extend(rows.chunks(self.session.width().max(1)).map(|_| f64::NAN));
                Ok(())
            }
            Some(Suffered::Otherwise) => {
                let before = scores.len();
                self.session.run(rows, scores)?;
                scores[before..].iter_mut().for_each(|score| *score = 1.0 - *score);
                Ok(())
            }
        }
    }
}

fn answer(batch: &mut Vec<Job>, scores: &[f64], course: impl Fn(&Job) -> Course) {
    let mut scores = scores.iter();
    for job in batch.drain(..) {
        let answers: Answers = scores.by_ref().take(job.rows).map(|score| judge(*score)).collect();
        let course = course(&job);
        // Nobody listens when the caller's deadline passed meanwhile.
        let _gone = job.reply.send(Reply { answers, course });
    }
}

fn fail(batch: &mut Vec<Job>, failure: &ModelFailure, course: impl Fn(&Job) -> Course) {
    for job in batch.drain(..) {
        let answers = std::iter::repeat_n(Err(failure.clone()), job.rows).collect();
        let course = course(&job);
        let _gone = job.reply.send(Reply { answers, course });
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

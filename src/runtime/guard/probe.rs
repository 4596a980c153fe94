//! Work off the path of live calls: golden rows, then rows of live calls, scored with nobody waiting.
//!
//! One call at a time, each with the deadline that live calls have; the first that fails ends it. A ticket that is
//! dropped on the way goes back with what was done.

use std::time::Duration;

use super::permit::outcome_of;
use super::{Guard, KEPT_MAX};
use crate::healing::breaker::{CallOutcome, Counts, Report, Ticket, Work};
use crate::runtime::clock::Moment;
use crate::runtime::inference::Inference;

/// How often the golden rows are scored in one probe.
const ROUNDS: usize = 3;
/// Rows seen before that one look scores at most, so that it looks again soon.
const AGAIN_MAX: u64 = 256;

/// A ticket that is out. Dropping it gives it back.
struct Out<'g> {
    guard: &'g Guard,
    ticket: Ticket,
    report: Report,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.guard.return_ticket(&self.ticket, self.report);
    }
}

impl Guard {
    /// Does what the breaker wants done off the path, if it wants anything. Cancel safe: the ticket goes back.
    pub async fn work(&self, inference: &Inference, deadline: Duration) {
        let Some(ticket) = self.take_ticket() else { return };
        let work = ticket.work;
        let mut out = Out { guard: self, ticket, report: Report::default() };
        match work {
            Work::Golden => out.golden(inference, deadline).await,
            Work::Live(most) => {
                let rows = self.take_offered(most);
                out.rows(inference, &rows, deadline).await;
            }
            Work::Again(most) => {
                let rows = self.seen_before(most.min(AGAIN_MAX));
                out.rows(inference, &rows, deadline).await;
            }
        }
    }

    fn take_offered(&self, most: u64) -> Vec<Vec<f64>> {
        let mut rows = self.rows.lock();
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(rows.offered.len());
        let taken: Vec<Vec<f64>> = rows.offered.drain(..most).collect();
        for row in &taken {
            if rows.kept.len() == KEPT_MAX {
                rows.kept.pop_front();
            }
            rows.kept.push_back(row.clone());
        }
        taken
    }

    /// Returns rows of live calls that were kept, or golden ones while there are none, over and over.
    fn seen_before(&self, most: u64) -> Vec<Vec<f64>> {
        let kept: Vec<Vec<f64>> = self.rows.lock().kept.iter().cloned().collect();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let golden = || self.golden.iter().map(|golden| golden.row.clone()).collect();
        let rows: Vec<Vec<f64>> = if kept.is_empty() { golden() } else { kept };
        rows.iter().cycle().take(if rows.is_empty() { 0 } else { most }).cloned().collect()
    }
}

impl Out<'_> {
    /// Scores the golden rows and compares each score with the one it must have.
    async fn golden(&mut self, inference: &Inference, deadline: Duration) {
        let (golden, tolerance) = (&self.guard.golden, self.guard.tolerance);
        let (mut off, mut furthest, mut scored) = (0_u32, 0.0_f64, 0_u32);
        for golden in golden.iter().cycle().take(golden.len() * ROUNDS) {
            let Some(score) = self.one(inference, &golden.row, deadline).await else { return };
            let distance = (score - golden.probability).abs();
            scored += 1;
            off += u32::from(distance > tolerance.close);
            furthest = furthest.max(distance);
        }
        // Few rows: one that is off by little may be a flipped path of a tree, as the bundle declares.
        let allowed = (f64::from(scored) * tolerance.share).ceil().max(f64::from(u32::try_from(ROUNDS).unwrap_or(1)));
        self.report.is_mismatch = f64::from(off) > allowed || furthest > tolerance.size;
        self.report.is_whole = true;
    }

    async fn rows(&mut self, inference: &Inference, rows: &[Vec<f64>], deadline: Duration) {
        for row in rows {
            if self.one(inference, row, deadline).await.is_none() {
                return;
            }
        }
        self.report.is_whole = true;
    }

    /// Scores one row; `None` when that failed or took too long to be worth the next one.
    async fn one(&mut self, inference: &Inference, row: &[f64], deadline: Duration) -> Option<f64> {
        let scored = inference.score_timed(row, Moment::now().after(deadline)).await;
        let outcome = outcome_of(scored.score.as_ref().err(), scored.course, self.guard.options.slow_after_us);
        let counts: &mut Counts = &mut self.report.counts;
        counts.add(Counts::one(outcome));
        let fails = outcome == CallOutcome::Hard || counts.slow > 2;
        scored.score.ok().map(crate::domain::Score::get).filter(|_| !fails)
    }
}

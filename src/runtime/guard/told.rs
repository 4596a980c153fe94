//! What a guard tells the planner: moves of its breaker, and findings that begin and end with them.

use std::collections::VecDeque;

use super::{Core, Guard};
use crate::domain::Timestamp;
use crate::healing::breaker::{Cause, Change, Place};
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};

/// Moves and findings that wait to be fetched; the oldest go first.
const TOLD_MAX: usize = 256;

/// Golden rows that no longer give their scores, found while the model serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    /// The rows that were asked.
    pub rows: usize,
    /// Those whose score is another one.
    pub moved: usize,
    /// The largest distance.
    pub largest: f64,
}

impl Guard {
    /// Golden rows moved although nothing was changed: nothing the model says can be believed.
    pub fn golden_moved(&self, moved: &Moved) {
        let at = self.clock.now();
        let Moved { rows, moved, largest } = *moved;
        let text = format!(
            "while it serves, {moved} of {rows} golden rows no longer give their scores, by up to {largest:.1e}"
        );
        let values = [("rows", rows as f64), ("golden_mismatches", moved as f64), ("distance_max", largest)];
        let values = values.map(|(name, value)| (name.to_owned(), value)).into();
        let evidence = Evidence { votes: rows as u64, values, text, ..Evidence::default() };
        let (alarm, verdict, model) = (Alarm::GoldenMismatch, Verdict::Acting, Some(self.model.clone()));
        self.core.lock().found(Finding { alarm, subject: None, model, verdict, since: at, at, evidence });
    }

    /// Golden rows give their scores: what was found of them while serving is over. What opened the breaker is over when
    /// that closes.
    pub fn golden_held(&self) {
        let mut core = self.core.lock();
        let is_let_through = matches!(
            core.breaker.place(),
            Place::Closed | Place::ForcedClosed | Place::ObserveOnly | Place::ForcedOpen
        );
        let open = core.open_findings.iter().find(|open| open.alarm == Alarm::GoldenMismatch).cloned();
        if let (Some(open), true) = (open, is_let_through) {
            core.found(Finding { verdict: Verdict::Ended, at: self.clock.now(), ..open });
        }
    }

    /// Threads were written off: that is a fault of the model, also where slowness had opened the breaker before.
    pub(super) fn lost(&self, core: &mut Core, threads: u64) {
        let at = self.clock.now();
        let text = format!(
            "{threads} inference threads did not come back and were written off, {} since the model was loaded",
            core.written_off
        );
        let values = [("threads".to_owned(), threads as f64), ("threads_total".to_owned(), core.written_off as f64)];
        let evidence = Evidence { votes: threads, values: values.into(), text, ..Evidence::default() };
        let (alarm, verdict, model) = (Alarm::ModelFault, Verdict::Acting, Some(self.model.clone()));
        core.found(Finding { alarm, subject: None, model, verdict, since: at, at, evidence });
    }

    /// Turns a move into what the decision table knows.
    pub(super) fn find(&self, core: &mut Core, change: &Change, at: Timestamp) {
        let alarm = match change.cause {
            Cause::HardInARow | Cause::HardRate | Cause::Hung => Some(Alarm::ModelFault),
            Cause::SlowInARow | Cause::SlowRate => Some(Alarm::SlowModel),
            Cause::GoldenMismatch => Some(Alarm::GoldenMismatch),
            Cause::StepFailed
            | Cause::StepStuck
            | Cause::Cooled
            | Cause::StepPassed
            | Cause::Forced
            | Cause::Cleared
            | Cause::Expired => None,
        };
        if let (Some(alarm), Place::Open) = (alarm, change.to) {
            let text = format!(
                "the breaker opened for {}: of the calls before, {} were good, {} slow, {} failed; opened {} times before",
                change.cause.name(),
                change.counts.good,
                change.counts.slow,
                change.counts.hard,
                change.attempt
            );
            let counts = change.counts;
            let mismatches = u64::from(core.breaker.mismatches());
            let figures = [
                ("good", counts.good),
                ("slow", counts.slow),
                ("hard", counts.hard),
                ("golden_mismatches", mismatches),
            ];
            let values = figures.into_iter().map(|(name, count)| (name.to_owned(), count as f64)).collect();
            let evidence = Evidence { votes: counts.telling(), values, text, ..Evidence::default() };
            let (subject, model, verdict) = (None, Some(self.model.clone()), Verdict::Acting);
            core.found(Finding { alarm, subject, model, verdict, since: at, at, evidence });
        } else if change.to == Place::Closed {
            for ended in core.open_findings.clone() {
                if matches!(ended.alarm, Alarm::ModelFault | Alarm::GoldenMismatch | Alarm::SlowModel) {
                    core.found(Finding { verdict: Verdict::Ended, at, ..ended });
                }
            }
        }
    }
}

impl Core {
    /// Remembers a finding that began, changed or ended, and tells it once.
    pub(super) fn found(&mut self, finding: Finding) {
        let is_same = |open: &Finding| (open.alarm, &open.subject) == (finding.alarm, &finding.subject);
        let known = self.open_findings.iter().position(is_same);
        match (known, finding.verdict) {
            (Some(place), Verdict::Ended) => drop(self.open_findings.remove(place)),
            (Some(place), _) => {
                // It holds already; only what it rests on is newer.
                let since = self.open_findings[place].since;
                self.open_findings[place] = Finding { since, ..finding };
                return;
            }
            (None, Verdict::Ended) => return,
            (None, _) => self.open_findings.push(finding.clone()),
        }
        keep(&mut self.findings, finding);
    }
}

/// Keeps what is told until it is fetched.
pub(super) fn keep<T>(ring: &mut VecDeque<T>, told: T) {
    if ring.len() == TOLD_MAX {
        ring.pop_front();
    }
    ring.push_back(told);
}

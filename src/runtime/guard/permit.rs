//! The right to ask the model once, settled exactly once: by what the call came to, or as neutral when it is
//! dropped on the way (`CB-2`).

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Guard;
use crate::healing::breaker::CallOutcome;
use crate::runtime::inference::{Course, ModelFailure, Reached};

/// What becomes of a call at the guard.
#[derive(Debug)]
pub enum Admitted<'g> {
    /// It may ask the model.
    Call(Permit<&'g Guard>),
    /// It may not.
    Refused,
    /// It may not, and its row is wanted for a shadow call.
    Sampled,
}

/// The right to ask the model once; borrows its guard or shares it.
#[derive(Debug)]
#[must_use = "dropping a permit settles the call as neutral"]
pub struct Permit<G: Deref<Target = Guard>> {
    guard: G,
    epoch: u64,
    outcome: CallOutcome,
}

impl<G: Deref<Target = Guard>> Permit<G> {
    pub(super) const fn new(guard: G, epoch: u64) -> Self {
        Self { guard, epoch, outcome: CallOutcome::Neutral }
    }

    /// Settles the call by what it came to.
    pub fn settle(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }

    /// Settles the call by its answer; `slow_after_us` is what computing may take.
    pub fn settle_scored(self, failure: Option<&ModelFailure>, course: Course, slow_after_us: u64) {
        let outcome = outcome_of(failure, course, slow_after_us);
        self.guard.time(failure, course, outcome);
        self.settle(outcome);
    }
}

impl Permit<&Guard> {
    /// Hands the right to one that shares the guard; this one settles nothing.
    pub(super) fn shared(self, guard: Arc<Guard>) -> Permit<Arc<Guard>> {
        let epoch = self.epoch;
        std::mem::forget(self);
        Permit::new(guard, epoch)
    }
}

impl<G: Deref<Target = Guard>> Drop for Permit<G> {
    fn drop(&mut self) {
        self.guard.settle(self.epoch, self.outcome);
    }
}

/// Says what a call tells about the model: failures are hard, long computing is slow, and waiting says nothing,
/// unless it was for a run that is too long itself.
#[must_use]
pub fn outcome_of(failure: Option<&ModelFailure>, course: Course, slow_after_us: u64) -> CallOutcome {
    let is_slow = u64::from(course.ran_us) > slow_after_us;
    match failure {
        Some(ModelFailure::Failed(_) | ModelFailure::NotFinite | ModelFailure::OutOfRange) => CallOutcome::Hard,
        Some(ModelFailure::QueueFull | ModelFailure::Timeout) | None if is_slow => CallOutcome::Slow,
        Some(ModelFailure::QueueFull | ModelFailure::Timeout) => CallOutcome::Neutral,
        None => CallOutcome::Good,
    }
}

impl Guard {
    /// Sums where the time of a call went.
    fn time(&self, failure: Option<&ModelFailure>, course: Course, outcome: CallOutcome) {
        let calls = &self.calls;
        if outcome == CallOutcome::Slow {
            calls.slow.fetch_add(1, Relaxed);
        } else if course.reached == Reached::Line && failure.is_some() {
            calls.waited_in_vain.fetch_add(1, Relaxed);
            return;
        }
        calls.computed.fetch_add(1, Relaxed);
        calls.computed_us.fetch_add(course.ran_us.into(), Relaxed);
        calls.queued_us.fetch_add(course.queued_us.into(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: Option<&ModelFailure>, (reached, queued_us, ran_us): (Reached, u32, u32), expected: CallOutcome) {
        let course = Course { reached, queued_us, ran_us };
        assert_eq!(outcome_of(failure, course, 5_000), expected, "{failure:?} {course:?}");
    }

    #[test]
    fn failures_are_hard_computing_is_slow_waiting_is_nothing() {
        check(None, (Reached::Answer, 9_000, 80), CallOutcome::Good);
        check(None, (Reached::Answer, 0, 5_001), CallOutcome::Slow);
        check(Some(&ModelFailure::NotFinite), (Reached::Answer, 0, 80), CallOutcome::Hard);
        check(Some(&ModelFailure::OutOfRange), (Reached::Answer, 0, 80), CallOutcome::Hard);
        check(Some(&ModelFailure::Failed("x".into())), (Reached::Answer, 0, 80), CallOutcome::Hard);
        // Computed until the deadline: slow. Begun just before it, or not at all: nothing.
        check(Some(&ModelFailure::Timeout), (Reached::Run, 10, 9_990), CallOutcome::Slow);
        check(Some(&ModelFailure::Timeout), (Reached::Run, 9_900, 100), CallOutcome::Neutral);
        check(Some(&ModelFailure::Timeout), (Reached::Line, 10_000, 0), CallOutcome::Neutral);
        check(Some(&ModelFailure::QueueFull), (Reached::Line, 0, 900), CallOutcome::Neutral);
        // In line behind a run that does not end.
        check(Some(&ModelFailure::Timeout), (Reached::Line, 10_000, 60_000), CallOutcome::Slow);
    }
}

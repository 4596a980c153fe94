//! How much the stand-in policy has been used: a running total per entity and the share of reviews.
//!
//! Both run over receipt time, because both bound an outage as it happens. Entities are bounded;
//! beyond the bound a new entity counts as one that has used everything up, so that a flood of
//! invented ids cannot widen what is approved without a model.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::domain::{EntityKey, Outcome, Timestamp};
use crate::scoring::decide::policy::{Standin, StandinLoad};

/// The most entities with a running total.
const ENTITIES_MAX: usize = 200_000;
/// The most approvals remembered one by one for an entity; older ones are merged into the next.
const APPROVALS_MAX: usize = 32;
/// The most stand-in answers the review share is measured over.
const ANSWERS_MAX: usize = 10_000;
/// Below this many answers there is no share to speak of.
const ANSWERS_MIN: usize = 50;

/// The stand-in's use so far.
#[derive(Default)]
pub struct StandinUse {
    state: Mutex<State>,
}

/// One stand-in answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Whose total it counts for.
    pub entity: Option<EntityKey>,
    /// In minor units of the base currency.
    pub amount: i64,
    /// What was answered.
    pub outcome: Outcome,
}

#[derive(Default)]
struct State {
    totals: HashMap<EntityKey, VecDeque<(Timestamp, i64)>>,
    answers: VecDeque<(Timestamp, bool)>,
    reviews: usize,
}

impl StandinUse {
    /// Reads the load for one entity at `now`; without an entity there is no total to run, so none is left.
    #[must_use]
    pub fn load(&self, entity: Option<EntityKey>, policy: &Standin, now: Timestamp) -> StandinLoad {
        let mut state = self.state.lock();
        state.expire_answers(policy, now);
        let oldest = now.minus(policy.total_window);
        let entity_total = match entity {
            None => i64::MAX,
            Some(key) => match state.totals.get(&key) {
                Some(approvals) => {
                    let recent = approvals.iter().filter(|(at, _)| *at > oldest);
                    recent.fold(0, |sum: i64, (_, amount)| sum.saturating_add(*amount))
                }
                None if state.totals.len() >= ENTITIES_MAX => i64::MAX,
                None => 0,
            },
        };
        let answered = state.answers.len();
        let review_share = if answered < ANSWERS_MIN { 0.0 } else { state.reviews as f64 / answered as f64 };
        StandinLoad { entity_total, review_share }
    }

    /// Counts one stand-in answer.
    pub fn record(&self, answer: &Answered, policy: &Standin, now: Timestamp) {
        let &Answered { entity, amount, outcome } = answer;
        let mut state = self.state.lock();
        state.answers.push_back((now, outcome == Outcome::Review));
        state.reviews += usize::from(outcome == Outcome::Review);
        state.expire_answers(policy, now);
        let (Some(key), Outcome::Approve) = (entity, outcome) else { return };
        let oldest = now.minus(policy.total_window);
        if state.totals.len() >= ENTITIES_MAX && !state.totals.contains_key(&key) {
            state.totals.retain(|_, approvals| approvals.back().is_some_and(|(at, _)| *at > oldest));
            if state.totals.len() >= ENTITIES_MAX {
                return;
            }
        }
        let approvals = state.totals.entry(key).or_default();
        approvals.retain(|(at, _)| *at > oldest);
        approvals.push_back((now, amount));
        if approvals.len() > APPROVALS_MAX
            && let Some((_, merged)) = approvals.pop_front()
            && let Some((_, next)) = approvals.front_mut()
        {
            // The merged amount now leaves later than it would have: the total errs on the safe side.
            *next = next.saturating_add(merged);
        }
    }
}

impl State {
    fn expire_answers(&mut self, policy: &Standin, now: Timestamp) {
        let oldest = now.minus(policy.review_window);
        while self.answers.len() > ANSWERS_MAX || self.answers.front().is_some_and(|(at, _)| *at <= oldest) {
            let Some((_, review)) = self.answers.pop_front() else { break };
            self.reviews -= usize::from(review);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Span;
    use crate::scoring::decide::policy::Policy;

    fn policy() -> Standin {
        Policy::parse(include_str!("../../config/policy.toml")).expect("the shipped policy").standin
    }

    #[test]
    fn totals_run_over_the_window_and_merge_safely() {
        let (usage, policy) = (StandinUse::default(), policy());
        let key = Some(EntityKey::new(0, "c-1"));
        let start = Timestamp::from_seconds(1_000_000);
        let day = policy.total_window;
        assert_eq!(usage.load(key, &policy, start).entity_total, 0);
        for step in 0..100 {
            let answer = Answered { entity: key, amount: 10, outcome: Outcome::Approve };
            usage.record(&answer, &policy, start.plus(Span::from_seconds(step)));
        }
        assert_eq!(usage.load(key, &policy, start.plus(Span::from_seconds(100))).entity_total, 1_000);
        let half_gone = usage.load(key, &policy, start.plus(day).plus(Span::from_seconds(50))).entity_total;
        assert!((490..=1_000).contains(&half_gone), "merged amounts leave late, never early: {half_gone}");
        assert_eq!(usage.load(key, &policy, start.plus(day).plus(Span::from_seconds(100))).entity_total, 0);
        assert_eq!(usage.load(None, &policy, start).entity_total, i64::MAX);
    }

    #[test]
    fn the_review_share_needs_evidence_and_forgets() {
        let (usage, policy) = (StandinUse::default(), policy());
        let start = Timestamp::from_seconds(1_000_000);
        let share = |now| usage.load(None, &policy, now).review_share;
        let answered = |outcome| usage.record(&Answered { entity: None, amount: 10, outcome }, &policy, start);
        for _ in 0..49 {
            answered(Outcome::Review);
        }
        assert!(share(start) == 0.0);
        answered(Outcome::Decline);
        assert!((share(start) - 0.98).abs() < 1e-12);
        assert!(share(start.plus(policy.review_window)) == 0.0);
    }
}

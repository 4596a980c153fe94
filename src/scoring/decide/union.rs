//! Several models decide together: the most severe answer counts, up to a share of all decisions. Pure.
//!
//! ```text
//! score of the active model ─┐
//! rules, lists (once) ───────┼─> own answer ──┐
//! score of the standby ──────┘─> its answer ──┴─> the more severe one, unless too many were stopped for it
//! ```
//! Rules speak once, over the features and the score of the model that answers; the standby brings its score and its own
//! limits. It can only make an answer more severe, and a reason with its score says how its vote counted.

use super::reasons::{Vote, add_vote};
use super::{Decided, Inputs, decide};
use crate::domain::{Decision, Outcome, Score, Thresholds};

pub use super::reasons::STANDBY_SCORE_HIGH;

/// What the standby says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ballot {
    /// Its score.
    pub score: Score,
    /// Its own limits.
    pub thresholds: Thresholds,
}

impl Ballot {
    /// Finds the ballot that decided in what was recorded, so that the decision can be made again.
    #[must_use]
    pub fn that_decided(decision: &Decision) -> Option<Self> {
        let counted = decision.reasons.iter().find(|reason| &*reason.code == STANDBY_SCORE_HIGH)?;
        let score = Score::new(counted.contribution?).ok()?;
        Some(Self { score, thresholds: decision.release.second.as_ref()?.thresholds })
    }

    /// Decides with the standby's score and limits in place of the model's.
    #[must_use]
    pub fn decide(&self, inputs: &Inputs<'_>) -> Decided {
        decide(&Inputs { score: Some(self.score), thresholds: &self.thresholds, calibration: None, ..*inputs })
    }

    /// Tells whether its score alone asks for anything but approval.
    #[must_use]
    fn is_alarmed(&self) -> bool {
        self.thresholds.outcome(self.score.get()) != Outcome::Approve
    }

    /// Joins what it would decide with the own answer. `may` is asked whether one more may be made more severe, when this
    /// one would be.
    #[must_use]
    pub fn join(&self, own: Decided, its: Decided, may: bool) -> Decided {
        let score = self.score.get();
        let (mut joined, vote) = match (its.outcome > own.outcome, may) {
            (true, true) => (its, Some(Vote::Counted)),
            (true, false) => (own, Some(Vote::OverCap)),
            (false, _) => (own, self.is_alarmed().then_some(Vote::Agrees)),
        };
        if let Some(vote) = vote {
            add_vote(&mut joined.reasons, vote, score);
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::policy::{Policy, StandinLoad};
    use super::*;
    use crate::domain::transaction::samples::transaction;
    use crate::domain::{Calibration, RuleVerdict, Timestamp};
    use crate::scoring::expression::Environment;
    use crate::scoring::rule::RuleSet;

    const LIMITS: Thresholds = Thresholds { review: 0.3, challenge: None, decline: 0.8 };

    /// Decides with a rule of a weight that hits, when there is one.
    fn joined(score: Option<f64>, weight: Option<i32>, ballot: Ballot, may: bool) -> (Decided, Decided) {
        let policy = Policy::parse(include_str!("../../../config/policy.toml")).expect("a policy");
        let text = format!(
            "[[rule]]\nid = \"r\"\nversion = 1\nwhen = \"tx.amount > 0\"\nweight = {}\ncode = \"R\"\ndescription = \"r\"",
            weight.unwrap_or(1)
        );
        let rules = RuleSet::parse(&text, &Environment::default()).expect("rules");
        let verdict = if weight.is_some() { RuleVerdict::Hit } else { RuleVerdict::NoHit };
        let rules: Vec<_> = rules.rules().iter().map(|rule| (rule, verdict)).collect();
        let transaction = transaction("t-1", Timestamp::from_seconds(1_000), 1_000, |_| {});
        let inputs = Inputs {
            transaction: &transaction,
            score: score.map(|score| Score::new(score).expect("a score")),
            rules: &rules,
            lists: &[],
            thresholds: &LIMITS,
            policy: &policy,
            standin: StandinLoad::default(),
            tighten_percent: 0,
            calibration: None::<Calibration>,
        };
        let own = decide(&inputs);
        (own.clone(), ballot.join(own, ballot.decide(&inputs), may))
    }

    fn ballot(score: f64) -> Ballot {
        Ballot { score: Score::new(score).expect("a score"), thresholds: LIMITS }
    }

    #[test]
    fn the_standby_decides_where_the_model_is_silent_and_says_so() {
        let (own, joined) = joined(Some(0.01), None, ballot(0.9), true);
        assert_eq!((own.outcome, joined.outcome), (Outcome::Approve, Outcome::Decline));
        let reason = &joined.reasons[0];
        assert_eq!((&*reason.code, reason.contribution, reason.decisive), (STANDBY_SCORE_HIGH, Some(0.9), true));
    }

    #[test]
    fn a_vote_over_the_cap_and_one_that_agrees_change_nothing_but_are_told() {
        let (own, capped) = joined(Some(0.01), None, ballot(0.9), false);
        assert_eq!((capped.outcome, &capped.reasons[0]), (Outcome::Approve, &own.reasons[0]));
        assert_eq!(&*capped.reasons[1].code, "STANDBY_OVER_CAP");
        let (own, agreed) = joined(Some(0.5), None, ballot(0.4), true);
        assert_eq!((own.outcome, agreed.outcome), (Outcome::Review, Outcome::Review));
        assert_eq!(&*agreed.reasons[1].code, "STANDBY_AGREES");
        let (own, calm) = joined(Some(0.5), None, ballot(0.1), true);
        assert_eq!(own, calm);
    }

    proptest! {
        #[test]
        fn a_union_is_never_milder_than_any_of_its_voters(
            score in proptest::option::of(0.0..=1.0_f64),
            weight in proptest::option::of(-300..900_i32),
            other in 0.0..=1.0_f64,
        ) {
            let weight = weight.filter(|weight| *weight != 0);
            let (own, joined) = joined(score, weight, ballot(other), true);
            prop_assert!(joined.outcome >= own.outcome);
            if weight.is_none_or(|weight| weight > 0) {
                prop_assert!(joined.outcome >= LIMITS.outcome(other));
            }
            prop_assert_eq!(joined.reasons.iter().filter(|reason| reason.decisive).count(), 1);
        }
    }
}

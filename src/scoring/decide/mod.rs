//! From score, rules and lists to one explained outcome. Pure.
//!
//! ```text
//! deny entry > allow entry > rule with an outcome > risk (score + rule weights) > stand-in
//!                                                   └ a decline may fall to the control share
//! ```
//! The first of these that has something to say decides; its reason is the decisive one, the others
//! that spoke are kept as reasons beside it. With a score, risk always decides when nothing above
//! does. Without one, rule weights alone decide if they reach a threshold; otherwise the stand-in
//! policy does, never a default. Limits are limits of scores. A calibration changes neither the order of scores nor what a
//! score alone leads to; it is for the sum of a score and rule weights, which only probabilities have.

pub mod control;
pub mod policy;
mod reasons;
pub mod union;

use smallvec::SmallVec;

use super::list::{ListEntry, ListKind};
use super::rule::{Effect, Rule};
use crate::domain::{Calibration, DecisionSource, Outcome, Reason, RuleVerdict, Score, Thresholds, Transaction};
use policy::{Policy, StandinLoad};

pub use reasons::{REASONS_MAX, append_contributions};

/// The tag of rules that weigh more under an attack.
pub const VELOCITY: &str = "velocity";
/// Risk points of a certain fraud.
const POINTS_MAX: i32 = 1_000;

/// Everything a decision follows from (`SC-4`: same inputs, same decision).
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The transaction.
    pub transaction: &'a Transaction,
    /// The model's score, absent on any model failure.
    pub score: Option<Score>,
    /// Active rules and what each said.
    pub rules: &'a [(&'a Rule, RuleVerdict)],
    /// List entries that match the transaction now.
    pub lists: &'a [&'a ListEntry],
    /// The release's score limits.
    pub thresholds: &'a Thresholds,
    /// The policy in force.
    pub policy: &'a Policy,
    /// How much the stand-in has been used.
    pub standin: StandinLoad,
    /// How much more the weights of rules with the tag [`VELOCITY`] raise the risk, in percent.
    pub tighten_percent: i32,
    /// The map from the score to a probability, where the release has one.
    pub calibration: Option<Calibration>,
}

/// The outcome and its explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// What to do.
    pub outcome: Outcome,
    /// Score and rule weights together, 0..=1000.
    pub risk_score: u16,
    /// Who decided.
    pub source: DecisionSource,
    /// Why: the decisive reason first, at most [`REASONS_MAX`].
    pub reasons: SmallVec<[Reason; 4]>,
}

/// Decides one transaction.
#[must_use]
pub fn decide(inputs: &Inputs<'_>) -> Decided {
    let risk = Risk::of(inputs);
    let (mut outcome, source, decisive) = first_to_speak(inputs, &risk);
    let mut reasons = reasons::collect(inputs, decisive);
    let control = &inputs.policy.control;
    if outcome == Outcome::Decline && decisive.is_by_risk(inputs) && control.lets_through(inputs.transaction) {
        outcome = control.outcome;
        control.explain(&mut reasons);
    }
    Decided { outcome, risk_score: risk.score(), source, reasons }
}

/// Which of the inputs decided.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Decisive {
    /// A place in [`Inputs::lists`].
    List(usize),
    /// A place in [`Inputs::rules`].
    Rule(usize),
    /// The model's score against the thresholds.
    Score(Outcome),
    /// The stand-in policy.
    Standin(policy::StandinAnswer),
}

impl Decisive {
    /// Tells whether a score decided, alone or with rule weights.
    fn is_by_risk(self, inputs: &Inputs<'_>) -> bool {
        match self {
            Self::Score(_) => true,
            Self::Rule(place) => inputs.score.is_some() && matches!(inputs.rules[place].0.effect, Effect::Weight(_)),
            Self::List(_) | Self::Standin(_) => false,
        }
    }
}

fn first_to_speak(inputs: &Inputs<'_>, risk: &Risk) -> (Outcome, DecisionSource, Decisive) {
    if let Some((place, kind)) = strongest_entry(inputs.lists) {
        let outcome = match kind {
            ListKind::Deny => Outcome::Decline,
            ListKind::Allow => Outcome::Approve,
        };
        return (outcome, DecisionSource::List, Decisive::List(place));
    }
    if let Some((place, outcome)) = strongest_outcome_rule(inputs.rules) {
        return (outcome, DecisionSource::Rules, Decisive::Rule(place));
    }
    let by_risk = risk.outcome(inputs);
    match inputs.score {
        Some(score) if inputs.thresholds.outcome(score.get()) == by_risk => {
            (by_risk, DecisionSource::Model, Decisive::Score(by_risk))
        }
        // Rule weights moved the outcome away from what the score alone says.
        Some(_) => (by_risk, DecisionSource::Rules, heaviest_rule(inputs, by_risk)),
        None if by_risk != Outcome::Approve => (by_risk, DecisionSource::Rules, heaviest_rule(inputs, by_risk)),
        None => {
            let channel = inputs.transaction.text(crate::domain::TextField::Channel);
            let answer = inputs.policy.standin.answer(channel, inputs.transaction.base_amount(), inputs.standin);
            let outcome = match answer {
                policy::StandinAnswer::Approve => Outcome::Approve,
                policy::StandinAnswer::Review => Outcome::Review,
                policy::StandinAnswer::OverCap(outcome) => outcome,
            };
            (outcome, DecisionSource::Standin, Decisive::Standin(answer))
        }
    }
}

fn strongest_entry(entries: &[&ListEntry]) -> Option<(usize, ListKind)> {
    let deny = entries.iter().position(|entry| entry.list == ListKind::Deny);
    deny.map(|place| (place, ListKind::Deny)).or_else(|| entries.first().map(|_| (0, ListKind::Allow)))
}

/// Finds the most severe outcome a hit rule asks for; the first such rule in file order wins.
fn strongest_outcome_rule(rules: &[(&Rule, RuleVerdict)]) -> Option<(usize, Outcome)> {
    let mut strongest: Option<(usize, Outcome)> = None;
    for (place, (rule, verdict)) in rules.iter().enumerate() {
        let (Effect::Outcome(outcome), RuleVerdict::Hit) = (&rule.effect, verdict) else { continue };
        if strongest.is_none_or(|(_, current)| *outcome > current) {
            strongest = Some((place, *outcome));
        }
    }
    strongest
}

/// Finds the rule that moved the risk most in the direction of the outcome.
fn heaviest_rule(inputs: &Inputs<'_>, outcome: Outcome) -> Decisive {
    let sign = if outcome == Outcome::Approve { -1 } else { 1 };
    let rules = inputs.rules.iter().enumerate();
    let weights = rules.map(|(place, (rule, verdict))| (place, sign * points(inputs, rule, *verdict)));
    // The outcome moved, so some rule has a weight: the fallback is never taken.
    weights
        .max_by_key(|&(place, weight)| (weight, std::cmp::Reverse(place)))
        .map_or(Decisive::Score(outcome), |(place, _)| Decisive::Rule(place))
}

/// Returns the risk points a rule adds with its verdict.
fn points(inputs: &Inputs<'_>, rule: &Rule, verdict: RuleVerdict) -> i32 {
    match (verdict, &rule.effect) {
        (RuleVerdict::Hit, Effect::Weight(weight))
            if inputs.tighten_percent > 0 && *weight > 0 && is_velocity(rule) =>
        {
            (weight.saturating_mul(inputs.tighten_percent.saturating_add(100)) / 100).min(POINTS_MAX)
        }
        (RuleVerdict::Hit, Effect::Weight(weight)) => *weight,
        (RuleVerdict::Error, _) => rule.on_error_weight,
        (RuleVerdict::Hit, Effect::Outcome(_)) | (RuleVerdict::NoHit | RuleVerdict::Absent, _) => 0,
    }
}

fn is_velocity(rule: &Rule) -> bool {
    rule.tags.iter().any(|tag| tag == VELOCITY)
}

/// Score and rule weights on one scale.
struct Risk {
    score: f64,
    rule_points: i32,
}

impl Risk {
    fn of(inputs: &Inputs<'_>) -> Self {
        let rule_points =
            inputs.rules.iter().fold(0i32, |sum, (rule, verdict)| sum.saturating_add(points(inputs, rule, *verdict)));
        let probability = |score: Score| match inputs.calibration {
            Some(map) => map.probability(score.get()),
            None => score.get(),
        };
        Self { score: inputs.score.map_or(0.0, probability), rule_points }
    }

    /// Returns what the risk leads to. What the score alone leads to is the same with a calibration and without.
    fn outcome(&self, inputs: &Inputs<'_>) -> Outcome {
        match (inputs.score, inputs.calibration) {
            (Some(score), Some(_)) if self.rule_points == 0 => inputs.thresholds.outcome(score.get()),
            (Some(_), Some(map)) => map.thresholds(inputs.thresholds).outcome(self.probability()),
            (None, _) | (_, None) => inputs.thresholds.outcome(self.probability()),
        }
    }

    /// Returns the risk within 0..=1; exactly the score's probability when no rule has a weight.
    fn probability(&self) -> f64 {
        if self.rule_points == 0 {
            return self.score;
        }
        (self.score + f64::from(self.rule_points) / f64::from(POINTS_MAX)).clamp(0.0, 1.0)
    }

    fn score(&self) -> u16 {
        #[expect(clippy::cast_possible_truncation, reason = "within 0..=1000")]
        let points = (self.probability() * f64::from(POINTS_MAX)).round() as u16;
        points
    }
}

#[cfg(test)]
mod tests;

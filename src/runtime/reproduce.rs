//! Makes a recorded decision again from what was recorded, and tells every difference.
//!
//! The feature vector, the list hits, the stand-in's load and whether there was a score at all come
//! from the record; the model, the rules and the policy come from files. When those are the ones the
//! record names, the decision comes out the same (`SC-4`); when they are not, that is the first thing said.

use super::clock::Moment;
use super::decisions::{ListHit, Record};
use super::slot::Release;
use crate::domain::{Decision, DegradedReason, Score};
use crate::scoring::decide::union::Ballot;
use crate::scoring::decide::{self, Decided, Inputs};
use crate::scoring::expression::Scope;
use crate::scoring::list::ListEntry;
use crate::scoring::rule::Mode;

/// How long the model may take: nobody waits for this answer.
const MODEL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
/// How far a score may be from the recorded one and still be the same: the model may have been asked for several rows
/// at once then, and adds up a row of many in another order than one alone. Four steps of a `f32` at 1.
const SAME_WITHIN: f64 = 4.0 * f32::EPSILON as f64;

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    /// The decision made again.
    pub decided: Decided,
    /// The score made again, when the record has one.
    pub score: Option<Score>,
    /// Every difference, as `what: recorded X, again Y`; empty when the decision is the same.
    pub differences: Vec<String>,
}

/// Names every part of `release` that is not the one the record was made with.
#[must_use]
pub fn other_parts(record: &Record, release: &Release) -> Vec<String> {
    let (then, now) = (&record.decision.release, &release.facts);
    let parts = [
        ("model", &then.model_sha256, &now.model_sha256),
        ("rules", &then.rules_version, &now.rules_version),
        ("policy", &then.policy_version, &now.policy_version),
        ("schema", &then.schema_hash, &now.schema_hash),
    ];
    let other = parts.into_iter().filter(|(_, then, now)| then != now);
    other.map(|(what, then, now)| format!("{what}: recorded {then:?}, given {now:?}")).collect()
}

/// Decides again.
pub async fn reproduce(record: &Record, release: &Release) -> Reproduction {
    let mut differences = other_parts(record, release);
    let score = match record.decision.score {
        Some(recorded) => score_again(record, release, recorded, &mut differences).await,
        None => None,
    };
    let scope = Scope { transaction: &record.transaction, features: &record.features, score };
    let verdicts = release.rules.evaluate(&scope);
    let evaluated = release.rules.evaluated().zip(verdicts);
    let rules: Vec<_> = evaluated.filter(|(rule, _)| rule.mode == Mode::Active).collect();
    let entries: Vec<ListEntry> = record.list_hits.iter().map(ListHit::to_entry).collect();
    let (policy, was) = (&release.policy.protection, |reason| record.decision.degraded.contains(&reason));
    let thresholds = release.facts.thresholds;
    let inputs = Inputs {
        transaction: &record.transaction,
        score,
        rules: &rules,
        lists: &entries.iter().collect::<Vec<_>>(),
        thresholds: &if was(DegradedReason::ReviewWidened) { policy.widened(&thresholds) } else { thresholds },
        policy: &release.policy,
        standin: record.standin,
        tighten_percent: if was(DegradedReason::Tightened) { policy.tighten_percent } else { 0 },
        calibration: record.decision.release.calibration,
    };
    let mut decided = decide::decide(&inputs);
    // The standby's score is taken as recorded: its bundle need not be at hand.
    if let Some(ballot) = Ballot::that_decided(&record.decision) {
        let its = ballot.decide(&inputs);
        decided = ballot.join(decided, its, true);
    }
    let again: Vec<_> = rules.iter().map(|(_, verdict)| *verdict).collect();
    if again[..] != record.decision.rules[..] {
        differences.push(format!("rules: recorded {:?}, again {again:?}", record.decision.rules));
    }
    compare(&record.decision, &decided, &mut differences);
    Reproduction { decided, score, differences }
}

async fn score_again(
    record: &Record,
    release: &Release,
    recorded: Score,
    differences: &mut Vec<String>,
) -> Option<Score> {
    let Some(model) = &release.model else {
        differences.push("score: recorded, but no model is loaded to make it again".into());
        return None;
    };
    let row = super::scorer::model_row(release, &record.features);
    match model.inference.score(&row, Moment::now().after(MODEL_DEADLINE)).await {
        Ok(score) => {
            if is_same(recorded, score) {
                return Some(recorded);
            }
            differences.push(format!("score: recorded {}, again {}", recorded.get(), score.get()));
            Some(score)
        }
        Err(failure) => {
            differences.push(format!("score: recorded {}, again {failure}", recorded.get()));
            None
        }
    }
}

fn is_same(recorded: Score, again: Score) -> bool {
    (recorded.get() - again.get()).abs() <= SAME_WITHIN
}

fn compare(recorded: &Decision, again: &Decided, differences: &mut Vec<String>) {
    let mut check = |what: &str, then: String, now: String| {
        if then != now {
            differences.push(format!("{what}: recorded {then}, again {now}"));
        }
    };
    check("outcome", recorded.outcome.name().into(), again.outcome.name().into());
    check("decision_source", recorded.source.name().into(), again.source.name().into());
    check("risk_score", recorded.risk_score.to_string(), again.risk_score.to_string());
    let decisive = |reasons: &[crate::domain::Reason]| {
        reasons.iter().filter(|reason| reason.decisive).map(|reason| reason.code.to_string()).collect::<String>()
    };
    check("decisive reason", decisive(&recorded.reasons), decisive(&again.reasons));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_scored_alone_may_end_in_another_last_digit_and_in_no_more() {
        let score = |value| Score::new(value).expect("a score");
        assert!(is_same(score(0.032_967_567_4), score(0.032_967_507_8)));
        assert!(!is_same(score(0.032_967_5), score(0.032_968_5)));
    }
}

//! The reasons of a decision: every list entry, rule and answer that spoke, the decisive one first.

use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::policy::StandinAnswer;
use super::{Decisive, Inputs, points};
use crate::domain::{Contribution, Outcome, Reason, ReasonSource, RuleVerdict};
use crate::scoring::list::ListKind;

/// The code of the reason that says the standby decided.
pub const STANDBY_SCORE_HIGH: &str = "STANDBY_SCORE_HIGH";
/// The most reasons of one decision; the weakest are left out.
pub const REASONS_MAX: usize = 12;

/// Texts every decision may need, shared so that a reason costs no allocation.
struct Texts {
    deny: Arc<str>,
    allow: Arc<str>,
    score_high: (Arc<str>, Arc<str>),
    score_low: (Arc<str>, Arc<str>),
    standby_high: (Arc<str>, Arc<str>),
    standby_agrees: (Arc<str>, Arc<str>),
    standby_over_cap: (Arc<str>, Arc<str>),
    standin_approve: (Arc<str>, Arc<str>),
    standin_review: (Arc<str>, Arc<str>),
    standin_over_cap: (Arc<str>, Arc<str>),
}

static TEXTS: LazyLock<Texts> = LazyLock::new(|| {
    let pair = |code: &str, description: &str| (Arc::from(code), Arc::from(description));
    Texts {
        deny: "LIST_DENY".into(),
        allow: "LIST_ALLOW".into(),
        score_high: pair("MODEL_SCORE_HIGH", "the model's score reaches a threshold"),
        score_low: pair("MODEL_SCORE_LOW", "the model's score is below every threshold"),
        standby_high: pair(
            STANDBY_SCORE_HIGH,
            "the standby's score reaches a threshold, and the most severe answer counts",
        ),
        standby_agrees: pair("STANDBY_AGREES", "the standby's score reaches a threshold, too"),
        standby_over_cap: pair(
            "STANDBY_OVER_CAP",
            "the standby's score reaches a threshold; too many were stopped for it already",
        ),
        standin_approve: pair("STANDIN_APPROVED", "no model score: within the stand-in limits of its channel"),
        standin_review: pair("STANDIN_REVIEW", "no model score: beyond the stand-in limits of its channel"),
        standin_over_cap: pair("STANDIN_OVER_CAP", "no model score: beyond the stand-in limits, and review is full"),
    }
});

/// How the standby's vote counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    /// It decided.
    Counted,
    /// Another was as severe.
    Agrees,
    /// It would have been more severe, and too many were stopped for it already.
    OverCap,
}

/// Says that the standby voted, with its score: in place of a model's reason that it decided by, else beside the others.
pub(super) fn add_vote(reasons: &mut SmallVec<[Reason; 4]>, vote: Vote, score: f64) {
    let text = match vote {
        Vote::Counted => &TEXTS.standby_high,
        Vote::Agrees => &TEXTS.standby_agrees,
        Vote::OverCap => &TEXTS.standby_over_cap,
    };
    let mut told = reason(text, Some(score), ReasonSource::Model);
    let own = reasons.first_mut().filter(|first| vote == Vote::Counted && first.source == ReasonSource::Model);
    if let Some(own) = own {
        *own = told;
    } else {
        told.decisive = false;
        reasons.push(told);
    }
}

/// Collects the reasons; exactly one is decisive and it comes first.
pub(super) fn collect(inputs: &Inputs<'_>, decisive: Decisive) -> SmallVec<[Reason; 4]> {
    let mut reasons: SmallVec<[Reason; 4]> = SmallVec::new();
    match decisive {
        Decisive::Score(outcome) => reasons.push(by_score(inputs, outcome)),
        Decisive::Standin(answer) => reasons.push(by_standin(answer)),
        Decisive::List(_) | Decisive::Rule(_) => {}
    }
    for (place, entry) in inputs.lists.iter().enumerate() {
        let code = match entry.list {
            ListKind::Deny => &TEXTS.deny,
            ListKind::Allow => &TEXTS.allow,
        };
        reasons.push(Reason {
            code: Arc::clone(code),
            description: entry.reason.as_str().into(),
            contribution: None,
            source: ReasonSource::List,
            decisive: decisive == Decisive::List(place),
        });
    }
    for (place, (rule, verdict)) in inputs.rules.iter().enumerate() {
        let weight = points(inputs, rule, *verdict);
        if *verdict != RuleVerdict::Hit && weight == 0 {
            continue;
        }
        reasons.push(Reason {
            code: Arc::clone(&rule.code),
            description: Arc::clone(&rule.description),
            contribution: (weight != 0).then(|| f64::from(weight) / 1_000.0),
            source: ReasonSource::Rule,
            decisive: decisive == Decisive::Rule(place),
        });
    }
    if reasons.len() > 1 {
        reasons.sort_by(|left, right| {
            let strength = |reason: &Reason| reason.contribution.map_or(0.0, f64::abs);
            right.decisive.cmp(&left.decisive).then(strength(right).total_cmp(&strength(left)))
        });
        reasons.truncate(REASONS_MAX);
    }
    debug_assert_eq!(reasons.iter().filter(|reason| reason.decisive).count(), 1, "SC-1");
    reasons
}

fn by_score(inputs: &Inputs<'_>, outcome: Outcome) -> Reason {
    let text = if outcome == Outcome::Approve { &TEXTS.score_low } else { &TEXTS.score_high };
    let contribution = inputs.score.map(crate::domain::Score::get);
    reason(text, contribution, ReasonSource::Model)
}

fn by_standin(answer: StandinAnswer) -> Reason {
    let text = match answer {
        StandinAnswer::Approve => &TEXTS.standin_approve,
        StandinAnswer::Review => &TEXTS.standin_review,
        StandinAnswer::OverCap(_) => &TEXTS.standin_over_cap,
    };
    reason(text, None, ReasonSource::Standin)
}

fn reason(text: &(Arc<str>, Arc<str>), contribution: Option<f64>, source: ReasonSource) -> Reason {
    Reason { code: Arc::clone(&text.0), description: Arc::clone(&text.1), contribution, source, decisive: true }
}

/// Appends the features that moved the score most, by name from `describe` (code, description).
pub fn append_contributions<'a>(
    reasons: &mut SmallVec<[Reason; 4]>,
    contributions: &[Contribution],
    describe: impl Fn(usize) -> (&'a Arc<str>, &'a Arc<str>),
) {
    for contribution in contributions {
        let (code, description) = describe(contribution.feature);
        reasons.push(Reason {
            code: Arc::clone(code),
            description: Arc::clone(description),
            contribution: Some(contribution.amount),
            source: ReasonSource::Model,
            decisive: false,
        });
    }
}

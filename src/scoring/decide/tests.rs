//! Precedence, explanation and the promise that nothing approves by default.

use proptest::prelude::*;

use super::*;
use crate::domain::transaction::samples::transaction;
use crate::domain::{FeatureVector, TextField, Timestamp};
use crate::scoring::expression::{Environment, Scope};
use crate::scoring::list::Lists;
use crate::scoring::rule::{Mode, RuleSet};

const RULES: &str = r#"
[[rule]]
id = "amount-high"
version = 1
mode = "active"
when = "tx.amount > 10000"
weight = 300
code = "AMOUNT_HIGH"
description = "a high amount"
tags = ["velocity"]

[[rule]]
id = "trusted-channel"
version = 1
mode = "active"
when = "tx.channel == 'branch'"
weight = -300
code = "TRUSTED_CHANNEL"
description = "a trusted channel"

[[rule]]
id = "embargo"
version = 2
mode = "active"
when = "tx.merchant.country == 'KP'"
outcome = "decline"
code = "EMBARGO"
description = "an embargoed country"

[[rule]]
id = "big-review"
version = 1
mode = "active"
when = "tx.amount > 500000"
outcome = "review"
code = "BIG"
description = "a very high amount"

[[rule]]
id = "salary"
version = 1
mode = "active"
when = "tx.type == 'salary'"
outcome = "approve"
code = "SALARY"
description = "a salary"
"#;

const LISTS: &str = r#"
[[entry]]
list = "deny"
field = "customer_id"
value = "c-bad"
reason = "confirmed fraud"

[[entry]]
list = "allow"
field = "merchant.id"
value = "m-good"
reason = "own shop"
"#;

#[derive(Clone, Copy, Default)]
struct Case<'a> {
    amount: i64,
    texts: &'a [(TextField, &'a str)],
    score: Option<f64>,
    load: StandinLoad,
    tighten_percent: i32,
}

fn run(case: Case<'_>) -> Decided {
    run_with(case, &Policy::parse(include_str!("../../../config/policy.toml")).expect("valid policy"))
}

fn run_with(case: Case<'_>, policy: &Policy) -> Decided {
    let transaction = transaction("t", Timestamp::from_seconds(1), case.amount, |draft| {
        case.texts.iter().for_each(|(field, text)| draft.text(*field, text));
    });
    let rules = RuleSet::parse(RULES, &Environment::default()).expect("valid rules");
    let lists = Lists::parse(LISTS).expect("valid lists");
    let score = case.score.map(|probability| Score::new(probability).expect("a probability"));
    let features = FeatureVector::default();
    let verdicts = rules.evaluate(&Scope { transaction: &transaction, features: &features, score });
    let active = rules.rules().iter().filter(|rule| rule.mode == Mode::Active);
    let rules: Vec<_> = active.zip(verdicts).collect();
    decide(&Inputs {
        transaction: &transaction,
        score,
        rules: &rules,
        lists: &lists.matches(&transaction, Timestamp::from_seconds(2)),
        thresholds: &Thresholds { review: 0.2, challenge: Some(0.5), decline: 0.8 },
        policy,
        standin: case.load,
        calibration: None,
        tighten_percent: case.tighten_percent,
    })
}

fn check(case: Case<'_>, outcome: Outcome, source: DecisionSource, decisive: &str) {
    let decided = run(case);
    assert_eq!((decided.outcome, decided.source), (outcome, source), "{:?}", decided.reasons);
    assert_eq!(&*decided.reasons[0].code, decisive);
}

#[test]
fn the_first_to_speak_decides() {
    use DecisionSource::{List, Model, Rules, Standin};
    use TextField::{Channel, CustomerId, MerchantCountry, MerchantId, Type};
    let base = Case { amount: 1_000, score: Some(0.1), ..Case::default() };
    let texts = |texts| Case { texts, ..base };
    check(base, Outcome::Approve, Model, "MODEL_SCORE_LOW");
    check(Case { score: Some(0.2), ..base }, Outcome::Review, Model, "MODEL_SCORE_HIGH");
    check(Case { score: Some(0.5), ..base }, Outcome::Challenge, Model, "MODEL_SCORE_HIGH");
    check(Case { score: Some(0.8), ..base }, Outcome::Decline, Model, "MODEL_SCORE_HIGH");
    check(Case { amount: 10_001, ..base }, Outcome::Review, Rules, "AMOUNT_HIGH");
    check(Case { amount: 10_001, score: Some(0.3), ..base }, Outcome::Challenge, Rules, "AMOUNT_HIGH");
    check(Case { score: Some(0.4), ..texts(&[(Channel, "branch")]) }, Outcome::Approve, Rules, "TRUSTED_CHANNEL");
    check(texts(&[(MerchantCountry, "KP")]), Outcome::Decline, Rules, "EMBARGO");
    check(Case { amount: 500_001, ..texts(&[(MerchantCountry, "KP")]) }, Outcome::Decline, Rules, "EMBARGO");
    check(Case { score: Some(0.9), ..texts(&[(Type, "salary")]) }, Outcome::Approve, Rules, "SALARY");
    check(texts(&[(MerchantCountry, "KP"), (MerchantId, "m-good")]), Outcome::Approve, List, "LIST_ALLOW");
    check(texts(&[(CustomerId, "c-bad"), (MerchantId, "m-good")]), Outcome::Decline, List, "LIST_DENY");
    check(Case { score: None, ..base }, Outcome::Approve, Standin, "STANDIN_APPROVED");
    check(Case { score: None, amount: 2_501, ..base }, Outcome::Review, Standin, "STANDIN_REVIEW");
    check(Case { score: None, amount: 10_001, ..base }, Outcome::Review, Rules, "AMOUNT_HIGH");
    let drowned = StandinLoad { entity_total: 0, review_share: 0.9 };
    check(Case { score: None, amount: 2_501, load: drowned, ..base }, Outcome::Challenge, Standin, "STANDIN_OVER_CAP");
}

#[test]
fn velocity_rules_weigh_more_under_an_attack_and_nothing_is_loosened() {
    let base = Case { amount: 10_001, score: Some(0.1), ..Case::default() };
    let tightened = Case { tighten_percent: 50, ..base };
    assert_eq!((run(base).risk_score, run(tightened).risk_score), (400, 550));
    assert_eq!((run(base).outcome, run(tightened).outcome), (Outcome::Review, Outcome::Challenge));
    let trusted = Case { amount: 1, score: Some(0.4), texts: &[(TextField::Channel, "branch")], ..Case::default() };
    assert_eq!(run(trusted).risk_score, run(Case { tighten_percent: 50, ..trusted }).risk_score);
}

#[test]
fn risk_is_the_score_when_no_rule_has_weight() {
    let plain = run(Case { score: Some(0.123_4), ..Case::default() });
    assert_eq!(plain.risk_score, 123);
    let raised = run(Case { amount: 10_001, score: Some(0.9), ..Case::default() });
    assert_eq!(raised.risk_score, 1_000, "clamped");
    assert_eq!(raised.source, DecisionSource::Model, "the score alone says decline");
    assert_eq!(raised.reasons[1].contribution, Some(0.3));
}

#[test]
fn the_control_share_lets_declines_by_risk_through_and_nothing_else() {
    let mut policy = Policy::parse(include_str!("../../../config/policy.toml")).expect("valid policy");
    let base = Case { amount: 1_000, score: Some(0.9), ..Case::default() };
    assert_eq!(run_with(base, &policy).outcome, Outcome::Decline, "off by default");
    // A share of all: whether it is the transaction's turn is the draw's own test.
    policy.control = control::Control { share: 1.0, amount_max: 20_000, outcome: Outcome::Review };
    let check = |case: Case<'_>, expected, is_control| {
        let decided = run_with(case, &policy);
        let share = control::share_of(&decided.reasons);
        assert_eq!((decided.outcome, share), (expected, is_control), "{:?}", decided.reasons);
        assert_eq!(decided.reasons.iter().filter(|reason| reason.decisive).count(), 1);
        assert_eq!(&*decided.reasons[0].code == control::CODE, is_control.is_some());
    };
    check(base, Outcome::Review, Some(1.0));
    check(Case { amount: 10_001, score: Some(0.6), ..base }, Outcome::Review, Some(1.0));
    check(Case { score: Some(0.6), ..base }, Outcome::Challenge, None);
    check(Case { amount: 20_001, ..base }, Outcome::Decline, None);
    check(Case { texts: &[(TextField::MerchantCountry, "KP")], ..base }, Outcome::Decline, None);
    check(Case { texts: &[(TextField::CustomerId, "c-bad")], ..base }, Outcome::Decline, None);
    check(Case { score: None, ..base }, Outcome::Approve, None);
}

proptest! {
    /// `SC-5`: without a score an approval is the named stand-in policy's, a rule's or a list's.
    #[test]
    fn no_failure_approves_by_default(
        amount in 0i64..1_000_000,
        total in 0i64..20_000,
        review_share in 0.0f64..1.0,
        channel in prop::sample::select(vec!["pos", "ecommerce", "atm", "moto", "branch"]),
    ) {
        let load = StandinLoad { entity_total: total, review_share };
        let decided = run(Case { amount, texts: &[(TextField::Channel, channel)], score: None, load, ..Case::default() });
        prop_assert_eq!(decided.reasons.iter().filter(|reason| reason.decisive).count(), 1);
        if decided.outcome == Outcome::Approve {
            prop_assert_eq!(decided.source, DecisionSource::Standin);
            prop_assert!(amount <= 5_000 && total + amount <= 15_000 && channel != "atm");
        }
    }

    /// Exactly one reason is decisive and comes first, whatever speaks.
    #[test]
    fn exactly_one_reason_is_decisive(amount in 0i64..1_000_000, score in prop::option::of(0.0f64..=1.0), bits in 0u8..32) {
        let all = [
            (TextField::CustomerId, "c-bad"),
            (TextField::MerchantId, "m-good"),
            (TextField::MerchantCountry, "KP"),
            (TextField::Type, "salary"),
            (TextField::Channel, "branch"),
        ];
        let texts: Vec<_> = all.into_iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, t)| t).collect();
        let decided = run(Case { amount, texts: &texts, score, ..Case::default() });
        prop_assert!(decided.reasons[0].decisive);
        prop_assert_eq!(decided.reasons.iter().filter(|reason| reason.decisive).count(), 1);
        prop_assert!(decided.risk_score <= 1_000);
    }
}

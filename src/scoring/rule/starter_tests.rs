//! The starter set: each rule of `config/rules.toml` hits what it is for and leaves its neighbour alone.

use std::collections::BTreeMap;

use super::*;
use crate::domain::transaction::samples;
use crate::domain::{FeatureVector, Score};

const FILE: &str = include_str!("../../../config/rules.toml");

/// What the shipped card-fraud schema computes, as far as rules read it, with the values of a quiet day.
const QUIET: [(&str, f64); 21] = [
    ("amount", 40.0),
    ("amount_over_customer_mean_30d", 1.0),
    ("amount_zscore_customer_30d", 0.0),
    ("bin_count_1h", 40.0),
    ("bin_failures_1h", 2.0),
    ("card_amount_24h", 80.0),
    ("card_count_24h", 2.0),
    ("card_count_5m", 1.0),
    ("card_count_7d", 6.0),
    ("card_failures_1h", 0.0),
    ("card_geo_velocity_kmh", 4.0),
    ("country_mismatch", 0.0),
    ("customer_fraud_count_30d", 0.0),
    ("customer_new_device", 0.0),
    ("device_count_1h", 1.0),
    ("device_distinct_cards_24h", 1.0),
    ("device_failures_1h", 0.0),
    ("email_count_1h", 1.0),
    ("is_night", 0.0),
    ("is_weekend", 0.0),
    ("terminal_last5_fraud_share", 0.0),
];

/// What a case changes: features, text fields and the score of a quiet payment.
#[derive(Clone, Copy, Default)]
struct Change {
    features: &'static [(&'static str, f64)],
    fields: &'static [(TextField, &'static str)],
    score: Option<f64>,
}

const fn features(features: &'static [(&'static str, f64)]) -> Change {
    Change { features, fields: &[], score: None }
}

const fn fields(fields: &'static [(TextField, &'static str)]) -> Change {
    Change { features: &[], fields, score: None }
}

/// Rule, what makes it hit, what comes near and does not.
const CASES: [(&str, Change, Change); 20] = [
    ("card-velocity-5m", features(&[("card_count_5m", 5.0)]), features(&[("card_count_5m", 4.0)])),
    ("card-failures-1h", features(&[("card_failures_1h", 3.0)]), features(&[("card_failures_1h", 2.0)])),
    (
        "card-spend-24h",
        features(&[("card_amount_24h", 3000.0), ("card_count_24h", 10.0)]),
        features(&[("card_amount_24h", 9000.0), ("card_count_24h", 9.0)]),
    ),
    (
        "device-many-cards-24h",
        features(&[("device_distinct_cards_24h", 4.0)]),
        features(&[("device_distinct_cards_24h", 3.0)]),
    ),
    ("device-velocity-1h", features(&[("device_count_1h", 15.0)]), features(&[("device_count_1h", 14.0)])),
    ("email-velocity-1h", features(&[("email_count_1h", 8.0)]), features(&[("email_count_1h", 7.0)])),
    (
        "bin-attack-1h",
        features(&[("bin_failures_1h", 21.0), ("bin_count_1h", 40.0)]),
        features(&[("bin_failures_1h", 20.0), ("bin_count_1h", 40.0)]),
    ),
    (
        "card-testing-small-amount",
        features(&[("amount", 1.0), ("device_failures_1h", 3.0)]),
        Change {
            features: &[("amount", 1.0), ("device_failures_1h", 3.0)],
            fields: &[(TextField::Channel, "pos")],
            score: None,
        },
    ),
    ("amount-high", features(&[("amount", 1000.0)]), features(&[("amount", 999.99)])),
    (
        "amount-unusual-for-customer",
        features(&[("amount_zscore_customer_30d", 4.1), ("amount_over_customer_mean_30d", 3.1)]),
        features(&[("amount_zscore_customer_30d", 4.1), ("amount_over_customer_mean_30d", 3.0)]),
    ),
    (
        "amount-high-at-night",
        features(&[("is_night", 1.0), ("amount", 500.0)]),
        features(&[("is_night", 0.0), ("amount", 500.0)]),
    ),
    (
        "prepaid-amount-high",
        Change { features: &[("amount", 300.0)], fields: &[(TextField::CardFunding, "prepaid")], score: None },
        Change { features: &[("amount", 300.0)], fields: &[(TextField::CardFunding, "credit")], score: None },
    ),
    (
        "card-country-mismatch",
        Change { features: &[("amount", 200.0)], fields: &[(TextField::MerchantCountry, "US")], score: None },
        features(&[("amount", 200.0)]),
    ),
    (
        "shipping-abroad",
        fields(&[(TextField::BillingCountry, "FR"), (TextField::ShippingCountry, "BR")]),
        fields(&[(TextField::BillingCountry, "FR"), (TextField::ShippingCountry, "FR")]),
    ),
    ("impossible-travel", features(&[("card_geo_velocity_kmh", 901.0)]), features(&[("card_geo_velocity_kmh", 899.0)])),
    (
        "new-device-unusual-amount",
        features(&[("customer_new_device", 1.0), ("amount_over_customer_mean_30d", 2.1)]),
        features(&[("customer_new_device", 0.0), ("amount_over_customer_mean_30d", 2.1)]),
    ),
    (
        "terminal-frauds",
        features(&[("terminal_last5_fraud_share", 0.6)]),
        features(&[("terminal_last5_fraud_share", 0.4)]),
    ),
    (
        "customer-fraud-30d",
        features(&[("customer_fraud_count_30d", 1.0)]),
        features(&[("customer_fraud_count_30d", 0.0)]),
    ),
    (
        "authentication-failed",
        fields(&[(TextField::AuthenticationCvc, "no_match")]),
        fields(&[(TextField::AuthenticationCvc, "match"), (TextField::AuthenticationThreeDs, "authenticated")]),
    ),
    (
        "score-high-on-new-card",
        Change { features: &[("card_count_7d", 1.0), ("amount", 100.0)], fields: &[], score: Some(0.3) },
        Change { features: &[("card_count_7d", 1.0), ("amount", 100.0)], fields: &[], score: Some(0.29) },
    ),
];

fn environment() -> Environment {
    Environment {
        attributes: BTreeMap::new(),
        features: QUIET.iter().map(|(name, _)| CompactString::from(*name)).collect(),
        score: true,
    }
}

fn starter() -> RuleSet {
    RuleSet::parse(FILE, &environment()).map_err(|faults| faults[0].to_string()).expect("the starter rules")
}

fn payment(changes: &[(TextField, &str)]) -> Transaction {
    let usual = [
        (TextField::Channel, "ecommerce"),
        (TextField::CardCountry, "FR"),
        (TextField::MerchantCountry, "FR"),
        (TextField::CardFunding, "debit"),
    ];
    samples::transaction_at("t-1", "2026-03-02T12:00:00Z", 4_000, |draft| {
        usual.iter().chain(changes).for_each(|(field, text)| draft.text(*field, text));
    })
}

fn verdicts(rules: &RuleSet, change: Change) -> BTreeMap<String, RuleVerdict> {
    let mut vector = FeatureVector::with_capacity(QUIET.len());
    for (name, quiet) in QUIET {
        let changed = change.features.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
        vector.push(Some(changed.unwrap_or(quiet)), 0.0);
    }
    let score = change.score.map(|score| Score::new(score).expect("a score"));
    let scope = Scope { transaction: &payment(change.fields), features: &vector, score };
    let ids = rules.evaluated().map(|rule| rule.id.to_string());
    ids.zip(rules.evaluate(&scope)).collect()
}

#[test]
fn each_rule_hits_what_it_is_for_and_nothing_near_it() {
    let rules = starter();
    for (id, hit, near) in CASES {
        assert_eq!(verdicts(&rules, hit)[id], RuleVerdict::Hit, "{id}");
        assert_eq!(verdicts(&rules, near)[id], RuleVerdict::NoHit, "{id}");
    }
}

#[test]
fn every_rule_has_its_case() {
    let rules = starter();
    let ids: Vec<&str> = rules.rules().iter().map(|rule| rule.id.as_ref()).collect();
    assert_eq!(ids, CASES.map(|(id, _, _)| id));
    assert_eq!(ids.len(), 20);
}

#[test]
fn a_quiet_payment_hits_nothing_and_a_bare_one_fails_nothing() {
    let rules = starter();
    for (id, verdict) in verdicts(&rules, Change::default()) {
        assert!(matches!(verdict, RuleVerdict::NoHit | RuleVerdict::Absent), "{id}: {verdict:?}");
    }
    let scope = Scope { transaction: &payment(&[]), features: &FeatureVector::default(), score: None };
    for (rule, verdict) in rules.evaluated().zip(rules.evaluate(&scope)) {
        assert!(matches!(verdict, RuleVerdict::NoHit | RuleVerdict::Absent), "{}: {verdict:?}", rule.id);
    }
}

/// The fenced TOML blocks of the manual.
fn examples() -> Vec<&'static str> {
    const MANUAL: &str = include_str!("../../../docs/rules.md");
    MANUAL.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect()
}

#[test]
fn the_manuals_examples_are_valid() {
    let (rules, lists): (Vec<&str>, Vec<&str>) = examples().into_iter().partition(|block| block.contains("[[rule]]"));
    assert_eq!((rules.len(), lists.len()), (1, 1));
    assert!(RuleSet::parse(rules[0], &environment()).is_ok());
    assert!(crate::scoring::list::Lists::parse(lists[0]).is_ok());
}

#[test]
fn the_manuals_refusals_and_cures_are_true() {
    const MANUAL: &str = include_str!("../../../docs/rules.md");
    let rows = MANUAL.split("| refused | write |\n|---|---|\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let mut environment = environment();
    environment.features.push("card_count_1h".into());
    let compile = |when: &str| Expression::compile(when, &environment, crate::domain::ValueKind::Bool);
    let rows: Vec<&str> = rows.expect("the table").lines().collect();
    for row in &rows {
        let cells: Vec<&str> = row.split('`').collect();
        let (refused, cure) = (cells[1], cells[3]);
        assert!(compile(refused).is_err(), "{refused}");
        assert!(compile(cure).is_ok(), "{cure}");
    }
    assert_eq!(rows.len(), 5);
}

//! Rule files: what is accepted, and that everything wrong is told at once, with its line.

use proptest::prelude::*;

use super::*;
use crate::domain::FeatureVector;
use crate::domain::transaction::samples;

const RULE: &str = r#"
[[rule]]
id = "amount-high"
version = 3
mode = "shadow"
when = "tx.amount > 100"
weight = 150
code = "AMOUNT_HIGH"
description = "High."
on_error_weight = 20
channels = ["pos", "ecommerce"]
tags = ["amount"]
"#;

fn parse(text: &str) -> Result<RuleSet, Vec<String>> {
    let environment = Environment { features: vec!["mean".into()], ..Environment::default() };
    RuleSet::parse(text, &environment).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn rule(id: &str, mode: &str, when: &str, more: &str) -> String {
    format!(
        "[[rule]]\nid = '{id}'\nversion = 1\nmode = '{mode}'\nwhen = \"{when}\"\nweight = 1\ncode = 'A'\ndescription = 'A.'\n{more}\n"
    )
}

fn transaction(channel: Option<&str>) -> Transaction {
    samples::transaction_at("t-1", "2026-03-02T12:00:00Z", 4_000, |draft| {
        if let Some(channel) = channel {
            draft.text(TextField::Channel, channel);
        }
    })
}

fn verdicts(rules: &RuleSet, channel: Option<&str>) -> Vec<RuleVerdict> {
    let features = FeatureVector::default();
    let scope = Scope { transaction: &transaction(channel), features: &features, score: None };
    rules.evaluate(&scope).to_vec()
}

#[test]
fn every_key_is_kept() {
    let rules = parse(RULE).expect("valid");
    let [rule] = rules.rules() else { panic!("one rule expected") };
    assert_eq!((rule.id.as_ref(), rule.version, rule.mode), ("amount-high", 3, Mode::Shadow));
    assert_eq!((rule.effect, rule.on_error_weight), (Effect::Weight(150), 20));
    assert_eq!((rule.code.as_ref(), rule.description.as_ref()), ("AMOUNT_HIGH", "High."));
    assert_eq!((rule.when.as_ref(), rule.channels.len(), rule.tags.len()), ("tx.amount > 100", 2, 1));
    let outcome = parse(&RULE.replace("weight = 150", "outcome = \"decline\"")).expect("valid");
    assert_eq!(outcome.rules()[0].effect, Effect::Outcome(Outcome::Decline));
    let plain = parse(&RULE.replace("mode = \"shadow\"", "").replace("on_error_weight = 20", "")).expect("valid");
    assert_eq!((plain.rules()[0].mode, plain.rules()[0].on_error_weight), (Mode::Active, 0));
}

#[test]
fn the_version_is_the_files_hash() {
    assert_eq!(RuleSet::empty().version(), "e3b0c44298fc1c14");
    assert!(RuleSet::empty().rules().is_empty());
    assert_eq!(parse("").expect("an empty file").version(), RuleSet::empty().version());
    assert_ne!(parse(RULE).expect("valid").version(), parse(&format!("{RULE}\n")).expect("valid").version());
}

#[test]
fn one_verdict_per_rule_that_is_not_off_in_file_order() {
    let file = [
        rule("z-hit", "active", "tx.amount > 1", ""),
        rule("off", "off", "true", ""),
        rule("error", "active", "1 / 0 == 1", ""),
        rule("absent", "shadow", "features.mean > 1.0", ""),
        rule("a-miss", "active", "tx.amount > 4000", ""),
        rule("channel", "active", "true", "channels = ['pos']"),
    ];
    let rules = parse(&file.concat()).expect("valid");
    let evaluated: Vec<&str> = rules.evaluated().map(|rule| rule.id.as_ref()).collect();
    assert_eq!(evaluated, ["z-hit", "error", "absent", "a-miss", "channel"]);
    let with_channel = |last| vec![RuleVerdict::Hit, RuleVerdict::Error, RuleVerdict::Absent, RuleVerdict::NoHit, last];
    assert_eq!(verdicts(&rules, Some("pos")), with_channel(RuleVerdict::Hit));
    assert_eq!(verdicts(&rules, Some("ecommerce")), with_channel(RuleVerdict::NoHit));
    assert_eq!(verdicts(&rules, None), with_channel(RuleVerdict::Absent));
}

#[test]
fn all_faults_come_at_once_with_their_lines() {
    let file = r#"colour = "red"

[[rule]]
id = "Not An Id"
version = 0
when = """
tx.amount > 1 &&
  tx.ammount > 2
"""
weight = 1001
on_error_weight = -2000
code = "lower"
description = " "
chanels = ["pos"]

[[rule]]
id = "both"
when = "tx.amount > 1.0 || 10 * features.mean > 1.0"
mode = "on"
weight = 1
outcome = "approve"
code = "BOTH"
description = "Both."

[[rule]]
id = "both"
version = "1"
when = 5
outcome = "explode"
code = "A"
description = "card 4111 1111 1111 1111"
channels = "pos"
"#;
    let expected = [
        "line 1: unknown key colour; the file holds [[rule]] tables only",
        "line 4: rule 1: id is not a rule id; write 1 to 64 lower-case letters, digits and dashes, such as amount-high",
        "line 5: rule 1: version is beyond 1 to 4294967295; write version = 1",
        "line 8: rule 1: when, column 3: unknown name tx.ammount; did you mean tx.amount?",
        "line 10: rule 1: weight is beyond -1000 to 1000; write points of risk out of 1000",
        "line 11: rule 1: on_error_weight is beyond -1000 to 1000; write points of risk out of 1000",
        "line 12: rule 1: code is not a reason code; write 1 to 64 capitals, digits and _, such as AMOUNT_HIGH",
        "line 13: rule 1: description is empty or longer than 200 bytes; write one sentence for people",
        "line 14: rule 1: unknown key chanels; did you mean channels?",
        "line 16: rule both: version is missing; write version = 1",
        "line 18: rule both: when, column 11: a comparison of int and float; write double(tx.amount)",
        "line 18: rule both: when, column 23: * of int and float; write 10.0",
        "line 19: rule both: mode is unknown; write mode = \"active\", \"shadow\" or \"off\"",
        "line 21: rule both: a rule has a weight or an outcome, not both; remove one of them",
        "line 26: rule both: an earlier rule has the same id; give each rule an id of its own",
        "line 27: rule both: version is not a whole number; write version = 1",
        "line 28: rule both: when is not text; write when = \"...\"",
        "line 29: rule both: outcome is unknown; write one of approve, review, challenge, decline",
        "line 31: rule both: description holds a full card number; remove it: descriptions are published",
        "line 32: rule both: channels is not a list of texts; write channels = [\"...\"]",
    ];
    assert_eq!(parse(file).expect_err("refused"), expected);
}

#[test]
fn what_is_not_a_rules_file_is_refused() {
    let check = |text: &str, expected: &str| {
        let faults = parse(text).expect_err(text);
        assert!(faults[0].contains(expected), "{text}: {faults:?}");
    };
    check("[[rule]\n", "line 1: not TOML");
    check("\n\nid = \n", "line 3: not TOML");
    check("rule = 3", "unknown key rule");
    check("rule = [3]", "rule 1: not a table");
    check("[rule]\nid = 'x'", "unknown key rule");
    check("[[rule]]", "line 1: rule 1: id is missing");
    check(&RULE.replace("weight = 150\n", ""), "a rule needs an effect");
    check(&RULE.replace("150", "-9223372036854775808"), "weight is beyond");
    check(&RULE.replace("150", "1.5"), "weight is not a whole number");
    check(&RULE.replace("\"pos\"", "\"POS\""), "channels are not");
    check(&rule("a", "active", &"(".repeat(17), ""), "nested deeper than 16");
    check(&rule("a", "active", &" ".repeat(1_025), ""), "1025 bytes");
    check(&" ".repeat(FILE_BYTES_MAX + 1), "more than 1048576");
}

#[test]
fn the_number_of_rules_has_a_bound() {
    let file = |count: usize| (0..count).map(|n| rule(&format!("r-{n}"), "active", "true", "")).collect::<String>();
    assert_eq!(parse(&file(RULES_MAX)).expect("at the bound").rules().len(), RULES_MAX);
    assert!(parse(&file(RULES_MAX + 1)).expect_err("refused")[0].contains("501 rows, more than 500"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_file_makes_the_parser_panic(text in r#"(\[\[rule\]\]\n)?([a-z_]{1,9} ?= ?("[^"\n]{0,20}"|-?[0-9]{1,20}|\[\]|\[\[|true|'{0,3})\n){0,6}"#) {
        // Either a set or at least one fault with a line inside the file.
        if let Err(faults) = RuleSet::parse(&text, &Environment::default()) {
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(!faults.is_empty());
            prop_assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
        }
    }
}

//! The language by example: what it computes, what absence does, what it refuses and how it says so.

use super::*;
use crate::domain::TextField;
use crate::domain::draft::AMOUNT_MAX;
use crate::domain::transaction::{Attribute, samples};

const FEATURES: [&str; 4] = ["mean", "missing", "zero", "nan"];

fn environment() -> Environment {
    let attributes = [
        ("vip", ValueKind::Bool),
        ("items", ValueKind::Int),
        ("weight", ValueKind::Float),
        ("note", ValueKind::Text),
        ("unsent", ValueKind::Text),
    ];
    Environment {
        attributes: attributes.into_iter().map(|(name, kind)| (name.into(), kind)).collect(),
        features: FEATURES.map(CompactString::from).to_vec(),
        score: true,
    }
}

fn transaction() -> Transaction {
    samples::transaction_at("t-1", "2026-03-01T10:00:00Z", 25_000, |draft| {
        draft.text(TextField::CardCountry, "FR");
        draft.text(TextField::MerchantCountry, "US");
        draft.text(TextField::Channel, "ecommerce");
        draft.latitude(48.8566);
        draft.longitude(2.3522);
        draft.attribute("vip", Attribute::Bool(true));
        draft.attribute("items", Attribute::Int(3));
        draft.attribute("weight", Attribute::Int(2));
        draft.attribute("note", Attribute::Text("née à Liège".into()));
    })
}

fn features() -> FeatureVector {
    let mut features = FeatureVector::with_capacity(FEATURES.len());
    features.push(Some(80.5), 0.0);
    features.push(None, 0.0);
    features.push(Some(0.0), 0.0);
    features.push(Some(f64::NAN), 0.0);
    features
}

fn evaluate<T>(source: &str, kind: ValueKind, score: Option<f64>, value: impl Fn(&Expression, &Scope<'_>) -> T) -> T {
    let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let expression = Expression::compile(source, &environment(), kind).map_err(faults).expect(source);
    assert_eq!(expression.kind(), kind, "{source}");
    let score = score.map(|score| Score::new(score).expect("a score"));
    value(&expression, &Scope { transaction: &transaction(), features: &features(), score })
}

fn truth(source: &str) -> Result<bool, NoValue> {
    evaluate(source, ValueKind::Bool, None, Expression::evaluate_bool)
}

fn number(source: &str) -> Result<f64, NoValue> {
    evaluate(source, ValueKind::Float, Some(0.25), Expression::evaluate_number)
}

fn refused(source: &str) -> Vec<String> {
    let faults = Expression::compile(source, &environment(), ValueKind::Bool).expect_err(source);
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_true() {
    for source in [
        "tx.amount == 25000 && tx.base_amount >= 25000 && tx.currency == 'EUR'",
        "tx.card.country != tx.merchant.country",
        "tx.card.country in ['DE', 'FR']",
        "!(tx.channel in ['pos'])",
        "tx.amount in [1, 25000]",
        "features.mean in [1.0, 80.5]",
        "features.mean * 2.0 > 160.0",
        "double(tx.amount) / 100.0 == 250.0",
        "int(features.mean) == 80 && int(-1.9) == -1",
        "tx.amount / 100 % 7 == 5",
        "tx.channel.startsWith('ecom') && tx.channel.endsWith('merce') && tx.channel.contains('mm')",
        "size(tx.attributes.note) == 11 && tx.attributes.note.size() == 11",
        "tx.attributes.vip && tx.attributes.items == 3 && tx.attributes.weight == 2.0",
        "(tx.attributes.vip ? 'a' : 'b') == 'a'",
        "has(tx.card.country) && !has(tx.card.token) && has(features.mean) && !has(features.missing)",
        "present(tx.card.country) && !present(score)",
        "has(tx.attributes.vip) && !has(tx.attributes.unsent)",
        "(tx.amount > 1) == true && (tx.amount > 1) != false",
        "'a' < 'b' && -5 < 3 && 1.5 >= 1.5",
        "abs(-3) == 3 && abs(-3.5) == 3.5 && min(1, 2) == 1 && max(1.0, 2.0) == 2.0",
        "tx.occurred_at == 1772359200 && tx.transaction_id == 't-1'",
        "true // a comment (with a bracket",
        "\n  true ||\n  false",
        "'it\\'s' == \"it's\"",
    ] {
        assert_eq!(truth(source), Ok(true), "{source}");
    }
}

#[test]
fn what_is_a_number() {
    let check = |source: &str, expected: f64| {
        let found = number(source).expect(source);
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{source}: {found}");
    };
    check("3", 3.0);
    check("sqrt(16.0) + pow(2.0, 10.0) + log1p(0.0)", 1028.0);
    check("score * 4.0", 1.0);
    check("-features.mean", -80.5);
    check("tx.attributes.vip ? 1.0 : 0.0", 1.0);
    check("true ? 1.0 : features.missing", 1.0);
    check("1.0 / 0.0 > 5.0 ? 2.0 : 3.0", 2.0);
    check("haversine_km(48.8566, 2.3522, 51.5074, -0.1278)", 343.556_534_880_883_14);
    check("haversine_km(0.0, 0.0, 0.0, 180.0)", 20_015.114_442_035_92);
    check("haversine_km(tx.location.lat, tx.location.lon, tx.location.lat, tx.location.lon)", 0.0);
    assert!(number("sqrt(-1.0)").expect("a value").is_nan());
    assert_eq!(evaluate("tx.amount > 1", ValueKind::Bool, None, Expression::evaluate_number), Ok(1.0));
    assert_eq!(evaluate("tx.amount", ValueKind::Int, None, Expression::evaluate_number), Ok(25_000.0));
}

#[test]
fn absent_and_failed_are_absorbed_where_the_rest_decides() {
    let absent = "tx.card.token == 'x'";
    let failed = "1 / 0 == 1";
    let check = |source: String, expected: Result<bool, NoValue>| assert_eq!(truth(&source), expected, "{source}");
    for (none, why) in [(absent, NoValue::Absent), (failed, NoValue::Failed)] {
        check(none.into(), Err(why));
        check(format!("!({none})"), Err(why));
        check(format!("{none} && false"), Ok(false));
        check(format!("false && {none}"), Ok(false));
        check(format!("{none} || true"), Ok(true));
        check(format!("true || {none}"), Ok(true));
        check(format!("{none} && true"), Err(why));
        check(format!("false || {none}"), Err(why));
        check(format!("true ? true : {none}"), Ok(true));
        check(format!("({none}) ? true : true"), Err(why));
    }
    check(format!("{absent} && {failed}"), Err(NoValue::Failed));
    check(format!("{failed} || {absent}"), Err(NoValue::Failed));
    check("score > 0.5".into(), Err(NoValue::Absent));
    check("features.missing < 1.0".into(), Err(NoValue::Absent));
    check("has(tx.card.token) && tx.card.token == 'x'".into(), Ok(false));
    check("!present(score) || score > 0.5".into(), Ok(true));
}

#[test]
fn a_nan_that_is_not_missing_equals_and_orders_nothing() {
    for operator in ["==", "<", "<=", ">", ">="] {
        assert_eq!(truth(&format!("features.nan {operator} features.nan")), Ok(false), "{operator}");
    }
    assert_eq!(truth("features.nan != features.nan"), Ok(true));
    assert_eq!(truth("has(features.nan)"), Ok(true));
}

#[test]
fn arithmetic_of_whole_numbers_fails_instead_of_wrapping() {
    for source in [
        "9223372036854775807 + 1 > 0",
        "-9223372036854775808 - 1 < 0",
        "9223372036854775807 * 2 > 0",
        "-9223372036854775808 / -1 > 0",
        "-9223372036854775808 % -1 == 0",
        "-(-9223372036854775808) > 0",
        "abs(-9223372036854775808) > 0",
        "tx.amount % (tx.amount - 25000) == 0",
        "int(1e19) > 0",
        "int(0.0 / 0.0) > 0",
    ] {
        assert_eq!(truth(source), Err(NoValue::Failed), "{source}");
    }
    assert_eq!(truth(&format!("{AMOUNT_MAX} + 1 == 9007199254740992")), Ok(true));
}

#[test]
fn a_later_feature_is_absent_while_features_are_computed() {
    let expression = Expression::compile("features.zero > 0.0", &environment(), ValueKind::Bool).expect("compiles");
    assert_eq!(expression.features_read(), [2]);
    let mut first = FeatureVector::with_capacity(4);
    first.push(Some(1.0), 0.0);
    let scope = Scope { transaction: &transaction(), features: &first, score: None };
    assert_eq!(expression.evaluate_bool(&scope), Err(NoValue::Absent));
}

#[test]
fn refusals_say_where_what_and_the_cure() {
    let check = |source: &str, expected: &str| assert_eq!(refused(source), [expected], "{source}");
    check("10 * features.mean > 1.0", "line 1, column 4: * of int and float; write 10.0");
    check("features.mean > 5", "line 1, column 15: a comparison of float and int; write 5.0");
    check("tx.amount > features.mean", "line 1, column 11: a comparison of int and float; write double(tx.amount)");
    check(
        "tx.amount / 2 > 1.0",
        "line 1, column 15: a comparison of int and float; wrap the whole number in double(..)",
    );
    check("tx.ammount > 1", "line 1, column 1: unknown name tx.ammount; did you mean tx.amount?");
    check("tx.card == 'x'", "line 1, column 1: unknown name tx.card; names are tx.PATH, features.NAME and score");
    check("features.meen > 1.0", "line 1, column 1: unknown feature meen; did you mean features.mean?");
    check(
        "tx.attributes.wholly_new == 1",
        "line 1, column 1: unknown name tx.attributes.wholly_new; declare the attribute in the feature schema",
    );
    check("tx.amount", "line 1, column 1: the expression is int, expected bool; compare or convert it");
    check("'a' + 'b' == 'ab'", "line 1, column 5: texts cannot be joined; compare the parts one by one with &&");
    check(
        "'é' == tx.type && tx.amount > 1.0",
        "line 1, column 29: a comparison of int and float; write double(tx.amount)",
    );
    check(
        "true &&\n  tx.amount",
        "line 2, column 3: expected bool, found int; compare it with something, such as tx.amount > 0",
    );
    check(
        "has(score)",
        "line 1, column 5: has() takes a name with a dot; give has() a field or a feature, such as has(tx.card.country); for the score write present(score)",
    );
    check("tx.type in []", "line 1, column 12: an empty list holds nothing; name at least one value");
    check("tx.type in ['a', 1]", "line 1, column 18: in of text and int; both sides must be of one kind");
    check("tx.type in tx.channel", "line 1, column 12: in needs a list of literals; write it out: x in ['a', 'b']");
    check("sqroot(1.0) > 1.0", "line 1, column 7: unknown function sqroot; did you mean sqrt?");
    check("min(1.0) > 1.0", "line 1, column 4: wrong arguments for min; write min(a, b)");
    check(
        "tx.type.matches('a+')",
        "line 1, column 16: regular expressions are not part of the language; use startsWith, endsWith, contains or in",
    );
    check("sqrt(tx.amount) > 1.0", "line 1, column 6: an argument of int and float; write double(tx.amount)");
    check("true < false", "line 1, column 6: truth values have no order; join them with && and ||, or compare with ==");
    check("features.mean % 2.0 == 0.0", "line 1, column 15: % of doubles; cut both to whole numbers: int(a) % int(b)");
}

#[test]
fn all_faults_come_at_once() {
    let faults = refused("tx.ammount > 1 && 10 * features.mean > 1.0 || features.mein > 1.0 && tx.type == 3");
    assert_eq!(faults.len(), 4, "{faults:?}");
}

#[test]
fn what_is_not_in_the_language_is_refused() {
    for source in [
        "",
        " ",
        "tx.amount >",
        "tx.amount > > 1",
        "a b",
        "tx",
        "tx.amount > 1u",
        "b'x' == b'x'",
        "null == null",
        "{'a': 1}.a == 1",
        "[1, 2] == [1, 2]",
        "[1][0] == 1",
        "[1, 2].exists(x, x > 1)",
        "tx.card['bin'] == '1'",
        "timestamp('2026-03-01T10:00:00Z') > 1",
        "tx.amount ? true : false",
        "true ? 1 : 'a'",
        "-true",
        "-'a' == 'a'",
        "!1",
        "Foo{a: 1} == 1",
        "tx.amount.x == 1",
        "size(1) == 1",
        "int('1') == 1",
        "double(true) == 1.0",
        "true in [true]",
        "tx.type.unknown('a')",
        "score",
        "99999999999999999999 > 1",
        "tx.amount = 1",
        "#",
        "@",
        "`a`",
        "\u{0}",
        "if",
        "tx.?amount == 1",
        ".tx.amount == 1",
        "has(tx.amount, 1)",
        "present(1 + 1)",
        "dyn(1) == 1",
    ] {
        assert!(!refused(source).is_empty(), "{source}");
    }
    let bare = Environment::default();
    for source in ["score > 0.5", "features.mean > 1.0", "tx.attributes.vip"] {
        assert!(Expression::compile(source, &bare, ValueKind::Bool).is_err(), "{source}");
    }
}

#[test]
fn no_text_within_the_limits_can_overflow_the_stack() {
    let joined = |part: &str, count: usize| vec![part; count].join("");
    let longest = |part: &str, end: &str| joined(part, (TEXT_LEN_MAX - end.len()) / part.len()) + end;
    for source in [
        longest("1+", "1"),
        longest("a.", "a"),
        longest("a.b().", "c"),
        longest("a||", "a"),
        longest("1<", "1"),
        longest("1 in", " 1"),
        longest("()", ""),
        longest("1?", ""),
        longest("#", ""),
        longest("a ", ""),
        longest("[],", ""),
        format!("{}1{}", joined("(", NESTING_MAX), joined(")", NESTING_MAX)),
        format!("{}1{}", joined("[", NESTING_MAX), joined("]", NESTING_MAX)),
        format!("{}1{}", joined("f(", NESTING_MAX), joined(")", NESTING_MAX)),
        format!("{}1{}", joined("{1:", NESTING_MAX), joined("}", NESTING_MAX)),
    ] {
        let faults = refused(&source);
        assert!(!faults.iter().any(|fault| fault.contains("panicked")), "{source}: {faults:?}");
    }
    let flat = format!("{}true", joined("true||", 169));
    assert!(flat.len() <= TEXT_LEN_MAX);
    assert_eq!(truth(&flat), Ok(true));
    let ternaries = format!("{}true", joined("false ? false : ", NESTING_MAX));
    assert_eq!(truth(&ternaries), Ok(true));
    let deep = |count: usize| format!("{}1 > 0", joined("1 + ", count));
    assert_eq!(truth(&deep(DEPTH_MAX - 2)), Ok(true));
    assert!(refused(&deep(DEPTH_MAX - 1))[0].contains("more than 64 operations"));
}

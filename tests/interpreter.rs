//! Our evaluation against the `cel` crate's own interpreter, on random well-typed expressions over
//! random transactions in which anything may be absent.
//!
//! An absent field is a missing key to the interpreter. What is compared: the value, or that there is
//! none; and which kind of none (missing key: absent; arithmetic: failed) where no `&&` or `||` chooses
//! between two. Known deviations, kept out of the grammar and pinned by a test of their own:
//! - ordering a NaN is an error there; CEL's specification and ours say false;
//! - `has(a.b.c)` is an error there when `a.b` itself is missing; here groups have no life of their own;
//! - it accepts int beside double in comparisons; we refuse that at load, so nothing is compared.

use std::cmp::Ordering;
use std::collections::HashMap;

use cel::{Context, ExecutionError, Program, Value as Peer};
use compact_str::CompactString;
use proptest::prelude::*;

use fraudd::domain::draft::AMOUNT_MAX;
use fraudd::domain::transaction::Attribute;
use fraudd::domain::{Currency, Draft, FeatureVector, RateTable, Score, TextField, Transaction, ValueKind};
use fraudd::scoring::expression::{Environment, Expression, NoValue, Scope, TEXT_LEN_MAX};

const TEXTS: [&str; 5] = ["FR", "US", "DE", "ecommerce", "pos"];
const FIELDS: [(TextField, &str); 5] = [
    (TextField::CustomerId, "tx.customer_id"),
    (TextField::CardToken, "tx.card.token"),
    (TextField::MerchantTerminalId, "tx.merchant.terminal_id"),
    (TextField::DeviceId, "tx.device.id"),
    (TextField::CounterpartyBank, "tx.counterparty.bank"),
];
const WHOLES: [&str; 4] = ["tx.amount", "tx.base_amount", "tx.occurred_at", "tx.attributes.items"];
const NUMBERS: [&str; 6] =
    ["tx.location.lat", "tx.location.lon", "tx.attributes.weight", "features.f0", "features.f1", "features.f2"];

/// What one evaluation reads; every part may be absent.
#[derive(Clone, Debug)]
struct World {
    texts: Vec<Option<&'static str>>,
    amount: i64,
    foreign: bool,
    location: Option<(f64, f64)>,
    vip: Option<bool>,
    items: Option<i64>,
    weight: Option<f64>,
    note: Option<&'static str>,
    features: Vec<Option<f64>>,
    score: Option<f64>,
}

impl World {
    fn transaction(&self) -> Transaction {
        let mut draft = Draft::new();
        draft.id("t-1");
        draft.occurred_at_text("2026-03-01T10:00:00Z");
        draft.amount(self.amount);
        draft.currency(if self.foreign { "USD" } else { "EUR" });
        for ((field, _), text) in FIELDS.iter().zip(&self.texts) {
            if let Some(text) = text {
                draft.text(*field, text);
            }
        }
        if let Some((lat, lon)) = self.location {
            draft.latitude(lat);
            draft.longitude(lon);
        }
        let attributes = [
            ("vip", self.vip.map(Attribute::Bool)),
            ("items", self.items.map(Attribute::Int)),
            ("weight", self.weight.map(Attribute::Float)),
            ("note", self.note.map(|note| Attribute::Text(note.into()))),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                draft.attribute(name, value);
            }
        }
        draft.finish(&RateTable::identity(Currency::parse("EUR").expect("a currency"))).expect("valid")
    }

    fn features(&self) -> FeatureVector {
        let mut vector = FeatureVector::with_capacity(self.features.len());
        self.features.iter().for_each(|feature| vector.push(*feature, 0.0));
        vector
    }

    /// The same world as the interpreter's variables: maps without the absent keys.
    fn context(&self) -> Context<'static, 'static> {
        let mut paths: Vec<(&str, Peer)> = vec![
            ("tx.transaction_id", "t-1".into()),
            ("tx.occurred_at", 1_772_359_200_i64.into()),
            ("tx.amount", self.amount.into()),
            ("tx.currency", if self.foreign { "USD" } else { "EUR" }.into()),
        ];
        let mut add = |path, value: Option<Peer>| paths.extend(value.map(|value| (path, value)));
        add("tx.base_amount", (!self.foreign).then_some(self.amount.into()));
        for ((_, path), text) in FIELDS.iter().zip(&self.texts) {
            add(path, text.map(Peer::from));
        }
        add("tx.location.lat", self.location.map(|(lat, _)| lat.into()));
        add("tx.location.lon", self.location.map(|(_, lon)| lon.into()));
        add("tx.attributes.vip", self.vip.map(Peer::from));
        add("tx.attributes.items", self.items.map(Peer::from));
        add("tx.attributes.weight", self.weight.map(Peer::from));
        add("tx.attributes.note", self.note.map(Peer::from));
        for (name, value) in ["features.f0", "features.f1", "features.f2"].into_iter().zip(&self.features) {
            add(name, value.map(Peer::from));
        }
        add("model.score", self.score.map(Peer::from));
        let mut context = Context::default();
        for root in ["tx", "features", "model"] {
            context.add_variable_from_value(root, tree(root, &paths));
        }
        functions(&mut context);
        context
    }
}

/// Builds the map of everything under a dotted prefix; the contract's groups are there even when empty.
fn tree(prefix: &str, paths: &[(&str, Peer)]) -> Peer {
    let under = format!("{prefix}.");
    let mut map: HashMap<String, Peer> = HashMap::new();
    if prefix == "tx" {
        for group in ["card", "merchant", "device", "counterparty", "location", "attributes"] {
            map.insert(group.into(), tree(&format!("tx.{group}"), paths));
        }
    }
    for (path, value) in paths {
        if let Some(name) = path.strip_prefix(&under).filter(|name| !name.contains('.')) {
            map.insert(name.into(), value.clone());
        }
    }
    map.into()
}

fn functions(context: &mut Context<'_, '_>) {
    let absolute = |number: Peer| match number {
        Peer::Int(number) => {
            let overflow = || ExecutionError::Overflow("abs", Peer::Int(number), Peer::Null);
            number.checked_abs().map(Peer::Int).ok_or_else(overflow)
        }
        Peer::Float(number) => Ok(Peer::Float(number.abs())),
        other => Err(ExecutionError::UnsupportedTargetType { target: other }),
    };
    context.add_function("abs", absolute).expect("a new name");
    context.add_function("min", cel::functions::min).expect("a new name");
    context.add_function("max", cel::functions::max).expect("a new name");
    context.add_function("sqrt", |number: f64| number.sqrt()).expect("a new name");
    context.add_function("log1p", |number: f64| number.ln_1p()).expect("a new name");
    context.add_function("pow", |base: f64, exponent: f64| base.powf(exponent)).expect("a new name");
}

fn environment() -> Environment {
    let attributes =
        [("vip", ValueKind::Bool), ("items", ValueKind::Int), ("weight", ValueKind::Float), ("note", ValueKind::Text)];
    Environment {
        attributes: attributes.into_iter().map(|(name, kind)| (name.into(), kind)).collect(),
        features: ["f0", "f1", "f2"].map(CompactString::from).to_vec(),
        score: true,
    }
}

/// Random source text of each kind. `SCORE` and `PRESENT(..)` are spelled by each side in its own way.
#[derive(Clone)]
struct Grammar {
    truth: BoxedStrategy<String>,
    whole: BoxedStrategy<String>,
    number: BoxedStrategy<String>,
    text: BoxedStrategy<String>,
}

fn one_of(sources: &[&str]) -> BoxedStrategy<String> {
    prop::sample::select(sources.iter().map(ToString::to_string).collect::<Vec<_>>()).boxed()
}

fn leaves() -> Grammar {
    let quoted: Vec<String> = TEXTS.iter().map(|text| format!("'{text}'")).collect();
    let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
    let readable: Vec<&str> = FIELDS.iter().map(|(_, path)| *path).chain(["tx.attributes.note"]).collect();
    let named: Vec<&str> = readable.iter().chain(&WHOLES).chain(&NUMBERS).copied().collect();
    let has = one_of(&named).prop_map(|name| format!("has({name})"));
    Grammar {
        truth: prop_oneof![one_of(&["true", "false", "tx.attributes.vip", "PRESENT(SCORE)"]), has].boxed(),
        whole: prop_oneof![
            3 => one_of(&WHOLES),
            2 => one_of(&["0", "1", "-3", "7", "25000", "9223372036854775807", "-9223372036854775808"]),
        ]
        .boxed(),
        number: prop_oneof![
            3 => one_of(&NUMBERS),
            1 => one_of(&["SCORE"]),
            2 => one_of(&["0.0", "0.5", "1.0", "-2.5", "100.0", "1e3"]),
        ]
        .boxed(),
        text: prop_oneof![2 => one_of(&readable), 1 => one_of(&quoted)].boxed(),
    }
}

/// One level of operations over the levels below.
fn grown(below: &Grammar) -> Grammar {
    let Grammar { truth, whole, number, text } = below.clone();
    let relation = || one_of(&["==", "!=", "<", "<=", ">", ">="]);
    let compared = |side: &BoxedStrategy<String>| {
        (side.clone(), relation(), side.clone())
            .prop_map(|(left, relation, right)| format!("({left} {relation} {right})"))
    };
    let chosen = |side: &BoxedStrategy<String>| {
        (truth.clone(), side.clone(), side.clone())
            .prop_map(|(condition, yes, no)| format!("({condition} ? {yes} : {no})"))
    };
    let joined = (truth.clone(), one_of(&["&&", "||"]), truth.clone(), one_of(&["==", "!="]), any::<bool>()).prop_map(
        |(left, connective, right, equality, connect)| {
            let operator = if connect { connective } else { equality };
            format!("({left} {operator} {right})")
        },
    );
    let tested = (text.clone(), one_of(&["startsWith", "endsWith", "contains"]), one_of(&["''", "'F'", "'o'", "'US'"]))
        .prop_map(|(text, test, part)| format!("{text}.{test}({part})"));
    let listed = prop_oneof![
        text.clone().prop_map(|text| format!("({text} in ['FR', 'pos'])")),
        whole.clone().prop_map(|whole| format!("({whole} in [0, 7, 25000])")),
        number.clone().prop_map(|number| format!("({number} in [0.5, 1.0])")),
    ];
    let operated = |side: &BoxedStrategy<String>, operators: &[&str]| {
        (side.clone(), one_of(operators), side.clone())
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"))
    };
    let called = |side: &BoxedStrategy<String>| {
        prop_oneof![
            side.clone().prop_map(|inner| format!("-({inner})")),
            side.clone().prop_map(|inner| format!("abs({inner})")),
            (side.clone(), side.clone()).prop_map(|(left, right)| format!("min({left}, {right})")),
            (side.clone(), side.clone()).prop_map(|(left, right)| format!("max({left}, {right})")),
        ]
    };
    let of_number = prop_oneof![
        number.clone().prop_map(|inner| format!("sqrt(abs({inner}))")),
        number.clone().prop_map(|inner| format!("log1p(abs({inner}))")),
        number.clone().prop_map(|inner| format!("pow(abs({inner}), 0.5)")),
        (number.clone(), one_of(&["2.0", "-0.5"])).prop_map(|(left, right)| format!("({left} / {right})")),
        whole.clone().prop_map(|inner| format!("double({inner})")),
    ];
    Grammar {
        truth: prop_oneof![
            1 => truth.clone(),
            1 => truth.clone().prop_map(|inner| format!("!{inner}")),
            4 => joined,
            3 => compared(&whole),
            3 => compared(&number),
            3 => compared(&text),
            1 => chosen(&truth),
            1 => tested,
            2 => listed,
        ]
        .boxed(),
        whole: prop_oneof![
            1 => whole.clone(),
            3 => operated(&whole, &["+", "-", "*", "/", "%"]),
            2 => called(&whole),
            1 => chosen(&whole),
            1 => number.clone().prop_map(|inner| format!("int({inner})")),
            1 => text.clone().prop_map(|inner| format!("size({inner})")),
        ]
        .boxed(),
        number: prop_oneof![
            1 => number.clone(),
            3 => operated(&number, &["+", "-", "*"]),
            2 => called(&number),
            1 => chosen(&number),
            2 => of_number,
        ]
        .boxed(),
        text: prop_oneof![1 => text.clone(), 1 => chosen(&text)].boxed(),
    }
}

fn grammar() -> Grammar {
    let levels = grown(&grown(&leaves()));
    grown(&levels)
}

fn world() -> impl Strategy<Value = World> {
    let texts = prop::collection::vec(prop::option::of(prop::sample::select(&TEXTS[..])), FIELDS.len());
    let amount = prop_oneof![0i64..10, Just(25_000), 0..AMOUNT_MAX];
    let location = prop::option::of((-90.0..90.0f64, -180.0..180.0f64));
    let items = prop::option::of(prop_oneof![-5i64..9, Just(AMOUNT_MAX)]);
    let weight = prop::option::of(-10.0..10.0f64);
    let note = prop::option::of(prop::sample::select(&["", "née à Liège", "pos"][..]));
    let features = prop::collection::vec(prop::option::of(prop_oneof![Just(0.5), -1e3..1e3f64]), 3);
    let score = prop::option::of(0.0..=1.0f64);
    let sent = (texts, amount, any::<bool>(), location);
    let attributes = (prop::option::of(any::<bool>()), items, weight, note);
    (sent, attributes, features, score).prop_map(|(sent, attributes, features, score)| {
        let ((texts, amount, foreign, location), (vip, items, weight, note)) = (sent, attributes);
        World { texts, amount, foreign, location, vip, items, weight, note, features, score }
    })
}

/// The interpreter's answer, in our words.
fn peer(source: &str, context: &Context<'_, '_>) -> Result<Peer, NoValue> {
    let source = source.replace("PRESENT(", "has(").replace("SCORE", "model.score");
    Program::compile(&source).expect("it parses").execute(context).map_err(|error| match error {
        ExecutionError::NoSuchKey(_) => NoValue::Absent,
        ExecutionError::Overflow(..)
        | ExecutionError::DivisionByZero(_)
        | ExecutionError::RemainderByZero(_)
        | ExecutionError::FunctionError { .. } => NoValue::Failed,
        other => panic!("{source}: an error we do not know: {other}"),
    })
}

/// Our answer as the interpreter's kind of value.
fn ours(source: &str, kind: ValueKind, world: &World) -> Result<Peer, NoValue> {
    let source = source.replace("PRESENT(", "present(").replace("SCORE", "score");
    let expression = Expression::compile(&source, &environment(), kind).expect(&source);
    let score = world.score.map(|score| Score::new(score).expect("a score"));
    let scope = Scope { transaction: &world.transaction(), features: &world.features(), score };
    match kind {
        ValueKind::Bool => expression.evaluate_bool(&scope).map(Peer::Bool),
        ValueKind::Int => expression.evaluate_whole(&scope).map(Peer::Int),
        ValueKind::Float | ValueKind::Text => expression.evaluate_number(&scope).map(Peer::Float),
    }
}

/// Compares both on one world; on the large stack, where the interpreter's parser belongs.
fn check(source: &str, kind: ValueKind, world: &World) -> Result<(), TestCaseError> {
    let theirs = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(16 << 20);
        thread.spawn_scoped(scope, || peer(source, &world.context())).expect("a thread").join().expect("no panic")
    });
    let ours = ours(source, kind, world);
    let chooses = source.contains("&&") || source.contains("||");
    match (&ours, &theirs) {
        (Ok(Peer::Float(ours)), Ok(Peer::Float(theirs))) => {
            let same = ours.partial_cmp(theirs).is_some_and(Ordering::is_eq);
            prop_assert!(same || (ours.is_nan() && theirs.is_nan()), "{source}: {ours} not {theirs}");
        }
        (Err(_), Err(_)) if chooses => {}
        _ => prop_assert_eq!(&ours, &theirs, "{}", source),
    }
    Ok(())
}

/// Doubles of every sort, NaN and infinities included, without anything that orders them.
fn wild() -> BoxedStrategy<String> {
    let leaf = prop_oneof![one_of(&NUMBERS), one_of(&["0.0", "1e308", "-1e308", "-1.0", "0.1"])];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            3 => (inner.clone(), one_of(&["+", "-", "*", "/"]), inner.clone())
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            1 => (one_of(&["sqrt", "log1p", "abs", "-"]), inner.clone()).prop_map(|(name, inner)| format!("{name}({inner})")),
            1 => (inner.clone(), inner).prop_map(|(left, right)| format!("pow({left}, {right})")),
        ]
    })
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn truths_equal_the_interpreters(source in grammar().truth, world in world()) {
        prop_assume!(source.len() <= TEXT_LEN_MAX);
        check(&source, ValueKind::Bool, &world)?;
    }

    #[test]
    fn wholes_equal_the_interpreters(source in grammar().whole, world in world()) {
        prop_assume!(source.len() <= TEXT_LEN_MAX);
        check(&source, ValueKind::Int, &world)?;
    }

    #[test]
    fn numbers_equal_the_interpreters(source in grammar().number, world in world()) {
        prop_assume!(source.len() <= TEXT_LEN_MAX);
        check(&source, ValueKind::Float, &world)?;
    }

    #[test]
    fn doubles_follow_ieee_754_as_the_interpreters_do(source in wild(), world in world()) {
        prop_assume!(source.len() <= TEXT_LEN_MAX);
        check(&source, ValueKind::Float, &world)?;
    }

    #[test]
    fn no_text_makes_the_compiler_panic(source in r#"([a-z.]{1,9}|[0-9.eux]{1,5}|'[^']{0,4}'?|[-+*/%<>=!&|?:()\[\]{}, "\\`#\n]{1,3}){0,20}"#) {
        if let Err(faults) = Expression::compile(&source, &environment(), ValueKind::Bool) {
            prop_assert!(!faults.is_empty());
            let panicked = faults.iter().any(|fault| fault.message.contains("panicked"));
            prop_assert!(!panicked, "{source}: {faults:?}");
        }
    }
}

#[test]
fn the_interpreters_deviations_are_as_we_know_them() {
    let mut context = Context::default();
    context.add_variable_from_value("nan", f64::NAN);
    context.add_variable_from_value("tx", HashMap::from([("amount", 1)]));
    let run = |source: &str| Program::compile(source).expect("it parses").execute(&context);
    assert!(run("nan < 1.0").is_err(), "ordering a NaN is an error there");
    assert_eq!(run("nan == nan"), Ok(Peer::Bool(false)));
    assert!(run("has(tx.card.country)").is_err(), "a missing group is an error there");
    assert_eq!(run("1 < 1.5"), Ok(Peer::Bool(true)), "int meets double there");
    assert!(run("1 * 1.5").is_err(), "but only in comparisons, and only at run time");
}

//! What the rules cost on each transaction: the twenty starter rules compiled by us, beside the `cel`
//! crate's interpreter on the same conditions, and a look-up in full lists.
//!
//! `cargo bench --bench rules`. The interpreter's variables are made once, outside its loop.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hint::black_box;

use cel::{Context, Program, Value};
use compact_str::CompactString;
use criterion::{Criterion, criterion_group, criterion_main};

use fraudd::domain::{Currency, Draft, FeatureVector, RateTable, Score, TextField, Timestamp, Transaction};
use fraudd::scoring::expression::{Environment, Scope};
use fraudd::scoring::list::{ENTRIES_MAX, EntryDraft, ListEntry, Lists};
use fraudd::scoring::rule::RuleSet;

const FILE: &str = include_str!("../config/rules.toml");
const TEXTS: [(TextField, &str, &str); 11] = [
    (TextField::CustomerId, "customer_id", "c-184467"),
    (TextField::CardToken, "token", "tok_9f86d081884c7d65"),
    (TextField::CardCountry, "country", "FR"),
    (TextField::CardFunding, "funding", "debit"),
    (TextField::MerchantCountry, "country", "FR"),
    (TextField::Channel, "channel", "ecommerce"),
    (TextField::DeviceId, "id", "d-2c26b46b68ffc68f"),
    (TextField::BillingCountry, "country", "FR"),
    (TextField::ShippingCountry, "country", "FR"),
    (TextField::AuthenticationThreeDs, "three_ds", "authenticated"),
    (TextField::AuthenticationCvc, "cvc", "match"),
];

fn transaction() -> Transaction {
    let mut draft = Draft::new();
    draft.id("t-000001");
    draft.occurred_at_text("2026-03-02T12:00:00Z");
    draft.amount(25_000);
    draft.currency("EUR");
    for (field, _, text) in TEXTS {
        draft.text(field, text);
    }
    draft.finish(&RateTable::identity(Currency::parse("EUR").expect("a currency"))).expect("a valid transaction")
}

/// Every feature the rules read, found in their text.
fn feature_names() -> Vec<CompactString> {
    let word =
        |text: &str| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().map(CompactString::from);
    let names: BTreeSet<CompactString> = FILE.split("features.").skip(1).filter_map(word).collect();
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

fn evaluate(criterion: &mut Criterion) {
    let features = feature_names();
    let environment = Environment { features: features.clone(), score: true, ..Environment::default() };
    let rules = RuleSet::parse(FILE, &environment).expect("the starter rules");
    let mut vector = FeatureVector::with_capacity(features.len());
    for _ in &features {
        vector.push(Some(1.5), 0.0);
    }
    let transaction = transaction();
    let score = Score::new(0.4).ok();

    let mut group = criterion.benchmark_group("rules_20");
    group.bench_function("fraudd", |bencher| {
        bencher.iter(|| {
            let scope = Scope { transaction: black_box(&transaction), features: black_box(&vector), score };
            rules.evaluate(&scope)
        });
    });
    let programs: Vec<Program> =
        rules.rules().iter().map(|rule| Program::compile(&rule.when).expect("it parses")).collect();
    let context = interpreter(&features);
    group.bench_function("cel_interpreter", |bencher| {
        bencher.iter(|| programs.iter().filter(|program| program.execute(black_box(&context)).is_ok()).count());
    });
    group.bench_function("parse_file", |bencher| {
        bencher.iter(|| RuleSet::parse(black_box(FILE), &environment).expect("the starter rules"));
    });
    group.finish();
}

fn interpreter(features: &[CompactString]) -> Context<'static, 'static> {
    let text = |place: usize| (TEXTS[place].1, Value::from(TEXTS[place].2));
    let tx: HashMap<&str, Value> = [
        text(0),
        text(5),
        ("card", HashMap::from([text(1), text(2), text(3)]).into()),
        ("merchant", HashMap::from([text(4)]).into()),
        ("device", HashMap::from([text(6)]).into()),
        ("billing", HashMap::from([text(7)]).into()),
        ("shipping", HashMap::from([text(8)]).into()),
        ("authentication", HashMap::from([text(9), text(10)]).into()),
    ]
    .into();
    let features: HashMap<String, f64> = features.iter().map(|name| (name.to_string(), 1.5)).collect();
    let mut context = Context::default();
    context.add_variable_from_value("tx", tx);
    context.add_variable_from_value("features", features);
    context.add_variable_from_value("score", 0.4);
    context
}

fn lists(criterion: &mut Criterion) {
    let fields = ["card.token", "device.id", "customer_id", "email_hash"];
    let mut file = String::new();
    for number in 0..ENTRIES_MAX {
        let field = fields[number % fields.len()];
        let _ = writeln!(file, "[[entry]]\nlist = 'deny'\nfield = '{field}'\nvalue = 'v-{number}'\nreason = 'r'");
    }
    let lists = Lists::parse(&file).expect("valid lists");
    let transaction = transaction();
    let now = Timestamp::from_seconds(1_772_452_800);
    let entry = ListEntry::check(EntryDraft {
        list: "deny".into(),
        field: "device.id".into(),
        value: "v-1".into(),
        reason: "replaced".into(),
        ..EntryDraft::default()
    })
    .expect("a valid entry");

    let mut group = criterion.benchmark_group("lists_100k");
    group.bench_function("matches", |bencher| bencher.iter(|| lists.matches(black_box(&transaction), now).len()));
    group.bench_function("with", |bencher| bencher.iter(|| lists.with(entry.clone()).expect("room")));
    group.finish();
}

criterion_group!(benches, evaluate, lists);
criterion_main!(benches);

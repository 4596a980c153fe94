//! The entity store at its door: bounds, duplicates, labels, expiry, schemas that come later, threads.

use std::fmt::Write;
use std::sync::Arc;

use fraudd::domain::{
    Currency, Draft, FeatureVector, Label, LabelKind, RateTable, Span, TextField, Timestamp, Transaction,
};
use fraudd::runtime::entities::{Entities, Error, LabelOutcome, Options, Warmth};
use fraudd::scoring::feature::{Plan, Schema};

const HEAD: &str = r#"
name = "t"
missing = "nan"
[[entity]]
name = "card"
key = "card.token"
[[feature]]
name = "count_1h"
description = "x"
entity = "card"
aggregate = "count"
window = "1h"
"#;

fn schema(more: &str) -> Arc<Schema> {
    Arc::new(Schema::parse(&format!("{HEAD}{more}")).unwrap_or_else(|faults| panic!("{faults:?}")))
}

fn store(options: Options, schema: &Arc<Schema>) -> (Entities, Arc<Plan>) {
    let store = Entities::new(options, std::slice::from_ref(schema)).expect("a store");
    let plan = store.admit(schema).expect("a plan");
    (store, plan)
}

fn pay(id: &str, card: &str, seconds: i64) -> Transaction {
    pay_at(id, card, seconds, None)
}

fn pay_at(id: &str, card: &str, seconds: i64, location: Option<(f64, f64)>) -> Transaction {
    let mut draft = Draft::new();
    draft.id(id);
    draft.occurred_at(at(seconds));
    draft.amount(1_000);
    draft.currency("EUR");
    draft.text(TextField::CardToken, card);
    draft.text(TextField::DeviceId, "d1");
    if let Some((lat, lon)) = location {
        draft.latitude(lat);
        draft.longitude(lon);
    }
    draft.finish(&RateTable::identity(Currency::parse("EUR").expect("a currency"))).expect("valid")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds)
}

fn label(id: &str, seconds: i64, kind: LabelKind) -> Label {
    Label { transaction_id: id.into(), kind, occurred_at: at(seconds), source: "test".into() }
}

fn value(vector: &FeatureVector, plan: &Plan, name: &str) -> Option<f64> {
    let place = plan.schema().features().iter().position(|feature| feature.name == name);
    vector.get(place.expect("a feature"))
}

const RISK: &str = r#"
[[feature]]
name = "risk"
description = "x"
entity = "card"
aggregate = "rate_of_fraud"
window = "1d"
include_current = false
"#;

#[test]
fn a_transaction_id_counts_once_even_with_another_time() {
    let schema = schema("");
    let (store, plan) = store(Options::default(), &schema);
    for seconds in [0, 0, 60] {
        let vector = store.observe(&pay("a", "c", seconds), &plan);
        assert_eq!(vector.values(), [1.0], "at {seconds}");
    }
    assert_eq!(store.observe(&pay("b", "c", 61), &plan).values(), [2.0]);
    assert_eq!((store.stats().events, store.stats().transactions), (2, 2));
}

#[test]
fn without_its_entity_a_feature_is_missing() {
    let schema = schema("");
    let (store, plan) = store(Options::default(), &schema);
    let mut draft = Draft::new();
    draft.id("a");
    draft.occurred_at(at(0));
    draft.amount(1);
    draft.currency("EUR");
    let bare = draft.finish(&RateTable::identity(Currency::parse("EUR").expect("a currency"))).expect("valid");
    let vector = store.observe(&bare, &plan);
    assert!(vector.is_missing(0) && vector.values()[0].is_nan());
    assert_eq!(store.stats().events, 0);
    assert_eq!(store.label(&label("a", 1, LabelKind::Fraud)), LabelOutcome::Unchanged);
}

#[test]
fn a_label_waits_for_its_transaction_within_a_bound() {
    let schema = schema(RISK);
    let options = Options { labels_pending_max: 3, shards: 1, ..Options::default() };
    let (store, plan) = store(options, &schema);
    for id in ["a", "b", "c", "d"] {
        assert_eq!(store.label(&label(id, 10, LabelKind::Chargeback)), LabelOutcome::Pending);
    }
    let stats = store.stats();
    assert_eq!((stats.labels_pending, stats.labels_dropped_total), (3, 1));
    for (id, seconds) in [("a", 0), ("d", 1)] {
        store.observe(&pay(id, "x", seconds), &plan);
    }
    let risk = |seconds| value(&store.peek(&pay("p", "x", seconds), &plan), &plan, "risk");
    assert_eq!((risk(9), risk(10)), (Some(0.0), Some(0.5)), "a's label was dropped, d's was kept");
    assert_eq!(store.stats().labels_pending, 2);
    assert_eq!(store.label(&label("d", 10, LabelKind::Fraud)), LabelOutcome::Unchanged);
    assert_eq!(store.label(&label("d", 20, LabelKind::FalsePositive)), LabelOutcome::Applied);
    assert_eq!((risk(19), risk(20)), (Some(0.5), Some(0.0)));
}

#[test]
fn state_expires_by_event_time_and_one_event_of_the_future_does_not_wipe_it() {
    let schema = schema("");
    let options = Options { lateness_max: Span::from_seconds(600), shards: 1, ..Options::default() };
    let (store, plan) = store(options, &schema);
    let mut id = 0;
    let mut next = |card: &str, seconds| {
        id += 1;
        store.observe(&pay(&format!("t{id}"), card, seconds), &plan)
    };
    for seconds in 0..3_000 {
        next("c", seconds);
    }
    next("z", 400_000_000);
    assert_eq!(next("c", 3_000).values(), [3_001.0], "the future moved the clock by a step at most");
    for number in 0..2_000 {
        next(&format!("c{number}"), 4_000 + number * 100);
    }
    let stats = store.stats();
    assert!(stats.events < 100, "{stats:?}");
    // The index is swept two slots an insert: it gets there, without ever paying for all at once.
    assert!(stats.expired_total > 3_000 && stats.transactions < 2_500, "{stats:?}");
    assert_eq!(stats.capped_total, 0);
}

#[test]
fn a_hot_entity_is_capped_and_says_so() {
    let schema = schema("");
    let options = Options { events_per_entity_max: 16, ..Options::default() };
    let (store, plan) = store(options, &schema);
    for number in 0..30_i64 {
        let vector = store.observe(&pay(&format!("t{number}"), "c", number), &plan);
        assert_eq!(vector.capped, number > 16, "event {number}");
        assert_eq!(vector.values(), [f64::from(u8::try_from(number.min(16)).expect("small") + 1)]);
    }
    assert_eq!(store.stats().capped_total, 14);
    assert!(!store.observe(&pay("later", "c", 30 + 3_600), &plan).capped, "the window has passed the gap");
}

#[test]
fn beyond_its_bytes_the_store_drops_the_longest_idle_and_says_so() {
    let schema = schema("");
    let options = Options { bytes_max: Some(200_000), shards: 1, ..Options::default() };
    let (store, plan) = store(options, &schema);
    for number in 0..5_000 {
        store.observe(&pay(&format!("t{number}"), &format!("c{number}"), number / 10), &plan);
    }
    let stats = store.stats();
    assert!(stats.evicted_total > 3_000 && stats.bytes <= 260_000, "{stats:?}");
    assert!(store.observe(&pay("again", "c0", 501), &plan).capped, "what was dropped is not forgotten");
}

#[test]
fn a_schema_that_comes_later_is_warming_and_old_plans_stay_right() {
    let first = schema("");
    let (store, old) = store(Options::default(), &first);
    for number in 0..100 {
        store.observe(&pay(&format!("t{number}"), "c", number * 100), &old);
    }
    assert_eq!(store.warmth(&first), Warmth::Warm);
    let second = schema(&format!(
        "{RISK}[[feature]]\nname = \"devices\"\ndescription = \"x\"\nentity = \"card\"\naggregate = \"distinct\"\ncolumn = \"device.id\"\nwindow = \"1h\"\n"
    ));
    let new = store.admit(&second).expect("a plan");
    let since = at(9_900);
    assert_eq!(
        store.warmth(&second),
        Warmth::Warming { since: Some(since), until: Some(since.plus(Span::from_days(1))) }
    );
    assert_eq!(store.warmth(&first), Warmth::Warm);
    let probe = pay("probe", "c", 9_950);
    assert_eq!(store.peek(&probe, &old).values(), [37.0]);
    let vector = store.observe(&probe, &new);
    assert_eq!(value(&vector, &new, "count_1h"), Some(37.0), "events of before count");
    assert_eq!(value(&vector, &new, "devices"), Some(1.0), "only this one has the new column");
    assert_eq!(store.admit(&second).expect("the same").schema().hash(), second.hash());
    for number in 0..20 {
        store.observe(&pay(&format!("u{number}"), "c", 10_000 + number * 5_000), &new);
    }
    assert_eq!(store.warmth(&second), Warmth::Warm);
}

#[test]
fn schemas_that_do_not_go_together_are_refused() {
    let (store, _) = store(Options::default(), &schema(""));
    let other = Arc::new(Schema::parse(&HEAD.replace("card.token", "card.bin")).expect("a schema"));
    assert!(matches!(store.admit(&other), Err(Error::Conflict { .. })));
    for options in [
        Options { shards: 3, ..Options::default() },
        Options { shards: 512, ..Options::default() },
        Options { events_per_entity_max: 1, ..Options::default() },
        Options { lateness_max: Span::ZERO, ..Options::default() },
    ] {
        assert!(matches!(Entities::new(options, &[]), Err(Error::Option { .. })));
    }
}

#[test]
fn an_entity_can_be_described() {
    let schema = schema("");
    let (store, plan) = store(Options::default(), &schema);
    for number in 0..5 {
        store.observe(&pay(&format!("t{number}"), "c", number * 1_000), &plan);
    }
    let view = store.describe("card", "c", at(4_500), &plan).expect("known");
    assert_eq!(view.features, [("count_1h".into(), Some(4.0))]);
    assert_eq!((view.events, view.first, view.last), (5, Some(at(0)), Some(at(4_000))));
    assert_eq!(store.describe("card", "nobody", at(0), &plan), None);
    assert_eq!(store.describe("planet", "c", at(0), &plan), None);
}

#[test]
fn two_threads_on_one_card_see_each_other_in_one_order() {
    const THREADS: u64 = 4;
    const EACH: u64 = 200;
    let schema = schema("");
    let (store, plan) = store(Options::default(), &schema);
    let mut counts: Vec<u64> = std::thread::scope(|scope| {
        let run = |thread: u64| {
            let (store, plan) = (&store, &plan);
            move || -> Vec<u64> {
                let sent = (0..EACH).map(|number| pay(&format!("t{thread}-{number}"), "c", 0));
                sent.map(|tx| store.observe(&tx, plan).values()[0].to_bits()).collect()
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(run(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("joined")).collect()
    });
    counts.sort_by(|left, right| f64::from_bits(*left).total_cmp(&f64::from_bits(*right)));
    let expected: Vec<u64> = (1..=THREADS * EACH).map(|count| (count as f64).to_bits()).collect();
    assert_eq!(counts, expected, "each saw a different number of the others");
}

#[test]
fn the_shipped_schema_sees_a_card_travel_and_fail() {
    let schema = Arc::new(Schema::parse(include_str!("../models/schemas/card-fraud.toml")).expect("a schema"));
    let (store, plan) = store(Options::default(), &schema);
    let paris = store.observe(&pay_at("a", "c", 0, Some((48.85, 2.35))), &plan);
    assert_eq!(value(&paris, &plan, "card_geo_velocity_kmh"), None, "nowhere to come from");
    let tokyo = store.observe(&pay_at("b", "c", 3_600, Some((35.68, 139.69))), &plan);
    let speed = value(&tokyo, &plan, "card_geo_velocity_kmh").expect("a speed");
    assert!((9_600.0..9_800.0).contains(&speed), "{speed}");
    assert_eq!(value(&tokyo, &plan, "card_seconds_since_last"), Some(3_600.0));
    assert_eq!(value(&tokyo, &plan, "card_amount_1h"), Some(10.0), "the first is just outside");
    assert_eq!(value(&tokyo, &plan, "device_count_24h"), Some(2.0));
    assert_eq!(value(&tokyo, &plan, "device_distinct_cards_24h"), Some(1.0));
    assert_eq!(value(&tokyo, &plan, "country_mismatch"), None, "no countries were sent");
}

#[test]
fn every_fault_of_a_schema_comes_at_once_with_its_cure() {
    let mut text = HEAD.to_owned();
    let mut expected = Vec::new();
    let mut wrong = |body: &str, cure: &'static str| {
        let name = format!("w{}", expected.len());
        let _ = write!(text, "[[feature]]\nname = \"{name}\"\ndescription = \"x\"\n{body}\n");
        expected.push((format!("feature {name}"), cure));
    };
    wrong("field = \"card.token\"", "use a field that is");
    wrong("field = \"colour\"", "use a path such as");
    wrong("field = \"attributes.tier\"", "under [attributes]");
    wrong("field = \"channel\"\ncodes = { pos = 1.0 }", "unseen");
    wrong("calendar = \"hour\"\nexpr = \"1.0\"", "keep one of them");
    wrong("expr = \"features.w9 + 1.0\"", "only earlier features");
    wrong("entity = \"card\"\naggregate = \"count\"", "window = \"24h\"");
    wrong("entity = \"shop\"\naggregate = \"count\"\nwindow = \"1h\"", "[[entity]]");
    wrong("entity = \"card\"\naggregate = \"sum\"\nwindow = \"1h\"", "column = \"base_amount\"");
    wrong("entity = \"card\"\naggregate = \"count\"\nwindow = \"500d\"", "shorten");
    wrong(
        "entity = \"card\"\naggregate = \"count\"\nwindow = \"1h\"\nlabels = \"fraud\"\ninclude_current = true",
        "drop include",
    );
    wrong("entity = \"card\"\naggregate = \"rate_of_fraud\"\nwindow = \"1h\"\nresolution = \"1m\"", "drop resolution");
    wrong("entity = \"card\"\naggregate = \"count\"\nwindow = \"1d\"\nresolution = \"1s\"", "resolution between");
    wrong("entity = \"card\"\naggregate = \"count\"\nwindow = \"1h\"\ncolour = 1", "docs/features.md");
    let faults = Schema::parse(&text).expect_err("faults");
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (subject, cure)) in faults.iter().zip(&expected) {
        assert_eq!(fault.subject, *subject);
        let shown = fault.to_string();
        assert!(shown.contains(cure), "{shown} does not say {cure}");
        assert_eq!(text.lines().nth(fault.line - 1), Some("[[feature]]"), "{shown}");
    }
    assert_eq!(Schema::parse("name = ").expect_err("no TOML").len(), 1);
}

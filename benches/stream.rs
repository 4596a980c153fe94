//! What the stream's door costs a record beside features and the model: groups decided, kept and written.
//!
//! `FRAUDD_BENCH_RECORDS=100000 cargo bench --bench stream`. No model: what is measured is ours. Features
//! alone are measured beside it, by the same transactions.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::sync::Arc;
use std::time::Duration;

use fraudd::domain::{Currency, Draft, RateTable, Span, TextField, Timestamp, TraceId, Transaction};
use fraudd::runtime::clock::{Clock, Moment};
use fraudd::runtime::decisions::{self, Ledger, Origin};
use fraudd::runtime::entities::{self, Entities};
use fraudd::runtime::explainer::{self, Budget};
use fraudd::runtime::scorer::{self, Effort, Request, Scorer};
use fraudd::runtime::slot::{Release, Slot};
use fraudd::runtime::store::{Durability, OnFailure, Options, Store};
use fraudd::runtime::stream::{
    Advance, BlobWriter, Ownership, Partitioner, Position, Standing, StreamGroup, StreamRequest, Streamed,
};
use fraudd::scoring::decide::policy::Policy;
use fraudd::scoring::feature::Schema;
use fraudd::scoring::rule::RuleSet;
use fraudd::tasks::Shutdown;

const GROUP: usize = 256;
const CUSTOMERS: usize = 20_000;

fn transaction(number: usize) -> Transaction {
    let mut draft = Draft::new();
    draft.id(&format!("t-{number}"));
    draft.occurred_at(Timestamp::from_seconds(1_772_359_200 + i64::try_from(number / 10).expect("few")));
    draft.amount(1_000 + i64::try_from(number % 9_000).expect("few"));
    draft.currency("EUR");
    draft.text(TextField::CustomerId, &format!("c-{}", number * 7_919 % CUSTOMERS));
    draft.text(TextField::CardToken, &format!("tok_{}", number * 7_919 % CUSTOMERS));
    draft.text(TextField::MerchantId, &format!("m-{}", number % 500));
    draft.text(TextField::Channel, "ecommerce");
    draft.text(TextField::CardCountry, "DE");
    draft.finish(&RateTable::identity(Currency::EUR)).expect("valid")
}

fn entities(schema: &Arc<Schema>, ownership: &Arc<Ownership>) -> Arc<Entities> {
    let schemas = [Arc::clone(schema)];
    let made = Entities::with_partitions(entities::Options::default(), &schemas, Some(Arc::clone(ownership)));
    Arc::new(made.expect("entities"))
}

fn scorer(schema: &Arc<Schema>, parts: (&Arc<Entities>, &Arc<Ledger>, &Store), ownership: &Arc<Ownership>) -> Scorer {
    let (entities, ledger, store) = parts;
    let rules = RuleSet::parse(include_str!("../config/rules.toml"), &schema.environment(true)).expect("rules");
    let release = Release {
        facts: Arc::default(),
        schema: Arc::clone(schema),
        plan: entities.admit(schema).expect("a plan"),
        model: None,
        rules: Arc::new(rules),
        lists: Arc::default(),
        policy: Arc::new(Policy::parse(include_str!("../config/policy.toml")).expect("a policy")),
        rates: Arc::new(RateTable::identity(Currency::EUR)),
        rule_counters: Arc::default(),
        rolled_back: false,
        union: None,
        calibration: None,
    };
    let parts = scorer::Parts {
        slot: Arc::new(Slot::new(release)),
        entities: Arc::clone(entities),
        ledger: Arc::clone(ledger),
        gate: Arc::clone(store.gate()),
        clock: Clock::system(),
        explanations: Budget::new(&explainer::Options::default(), Moment::now()),
        ownership: Some(Arc::clone(ownership)),
        tap: Arc::default(),
    };
    let partition_key = vec![TextField::CustomerId];
    Scorer::new(
        parts,
        scorer::Options {
            model_deadline: Duration::from_millis(10),
            stream_model_deadline: Duration::from_millis(100),
            partition_key,
        },
    )
}

fn main() {
    let records = std::env::var("FRAUDD_BENCH_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        directory: directory.path().into(),
        durability: Durability::Process,
        on_failure: OnFailure::Answer,
        bytes_max: 8 << 30,
        age_max: Span::from_days(36_500),
        events_age_min: Span::ZERO,
        segment_len_max: 64 << 20,
        sync_interval: Duration::from_millis(50),
    };
    let (store, kept) = Store::open(options).expect("a store");
    let store = store.with_stream();
    let cache = decisions::Options { age_max: Span::from_days(36_500), bytes_max: 64 << 20 };
    let ledger = Arc::new(Ledger::with_store(cache, &store, &kept));
    ledger.track_unpublished(0).expect("readable");
    let schema = Schema::parse(include_str!("../models/schemas/card-fraud.toml")).expect("a schema");
    let schema = Arc::new(schema);
    let ownership = Arc::new(Ownership::new(12, Partitioner::Murmur2, vec![TextField::CustomerId]));
    for partition in 0..12 {
        ownership.set(partition, Standing::Live);
    }
    let state = entities(&schema, &ownership);
    let scorer = scorer(&schema, (&state, &ledger, &store), &ownership);
    let running = store.start(&ledger, &state, &Shutdown::default()).expect("threads");
    running.restore(&|_| true).expect("readable");

    let transactions: Vec<Transaction> = (0..records).map(transaction).collect();
    let alone = entities(&schema, &ownership);
    let plan = alone.admit(&schema).expect("a plan");
    let started = Moment::now();
    for transaction in &transactions {
        std::hint::black_box(alone.observe(transaction, &plan));
    }
    let features = started.elapsed();

    let (mut decide, mut publish, mut keep) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut at = Position::start(0, 0);
    let mut bytes = 0;
    for group in transactions.chunks(GROUP) {
        let requests = group.iter().map(|transaction| {
            let now = Moment::now();
            let deadline = now.after(Duration::from_millis(100));
            let (received_at, trace_id) = (transaction.occurred_at(), TraceId(1));
            let transaction = transaction.clone();
            let effort = Effort::Whole;
            let request =
                Request { transaction, trace_id, received_at, started: now, deadline, explain: false, effort };
            StreamRequest { request, late: false, decided: None, origin: Origin::Stream { partition: 0, offset: 0 } }
        });
        let requests: Vec<_> = requests.collect();
        let started = Moment::now();
        let answers = scorer.decide_group(requests);
        decide += started.elapsed();
        let started = Moment::now();
        let mut blob = BlobWriter::new(at);
        let after = Position { transactions: at.transactions + 1, ..at };
        let mut held = Vec::with_capacity(answers.len());
        for answer in answers {
            let Streamed::New(new) = answer else { panic!("not new") };
            new.put(&mut blob);
            held.push(new);
        }
        bytes += blob.finish(after, 0).len();
        publish += started.elapsed();
        let started = Moment::now();
        let advances = vec![Advance { partition: 0, before: Some(at), after }];
        scorer.keep_group(StreamGroup { advances, held, ..StreamGroup::default() });
        keep += started.elapsed();
        at = after;
    }
    let closing = Moment::now();
    running.close();
    let per = |took: Duration| took.as_secs_f64() * 1e6 / records as f64;
    let (features, decide, publish, keep) = (per(features), per(decide), per(publish), per(keep));
    let beside = decide + publish + keep - features;
    let stats = ledger.stats();
    assert_eq!(stats.kept, records);
    println!("{records} records in groups of {GROUP}, microseconds a record:");
    println!(
        "features alone {features:.2}   decide {decide:.2} (features, rules, policy)   changelog {publish:.2}   keep {keep:.2}"
    );
    println!(
        "beside features {beside:.2}; changelog {} bytes a record; closing {:?}",
        bytes / records,
        closing.elapsed()
    );
}

//! An instance as the roof builds it, without a model, and transactions for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Currency, Draft, FeatureVector, RateTable, Span, TextField, Timestamp, TraceId, Transaction};
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::decisions::{self, Held, Ledger, Origin, Record};
use crate::runtime::entities::{self, Entities};
use crate::runtime::explainer::{self, Budget};
use crate::runtime::inference::InferenceOptions;
use crate::runtime::release::gates::Limits;
use crate::runtime::resident;
use crate::runtime::scorer::{self, Answer, Request, Scorer};
use crate::runtime::slot::{Release, Slot};
use crate::runtime::store::{Durability, OnFailure, Options, Running, Store};
use crate::runtime::stream::position::{Disposition, Step};
use crate::runtime::stream::{
    Advance, BlobWriter, Ownership, Partitioner, Position, Prefix, Standing, StateSink, StreamGroup, StreamRequest,
    Streamed, TimeBounds, Topic,
};
use crate::scoring::decide::policy::Policy;
use crate::scoring::feature::Schema;
use crate::scoring::rule::RuleSet;
use crate::tasks::Shutdown;

pub(crate) const T0: i64 = 1_772_359_200;
pub(crate) const PARTITIONS: u32 = 4;

/// One instance over one directory.
pub(crate) struct Instance {
    pub(crate) scorer: Scorer,
    pub(crate) entities: Arc<Entities>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) running: Running,
    pub(crate) positions: std::collections::BTreeMap<u32, Position>,
}

pub(crate) fn options(directory: &Path) -> Options {
    Options {
        directory: directory.into(),
        durability: Durability::Process,
        on_failure: OnFailure::Answer,
        bytes_max: 1 << 30,
        age_max: Span::from_days(36_500),
        events_age_min: Span::ZERO,
        segment_len_max: 1 << 20,
        sync_interval: Duration::from_millis(1),
    }
}

/// Opens an instance that owns every partition and is restored.
pub(crate) fn open(directory: &Path) -> Instance {
    open_with(options(directory), 64 << 20)
}

pub(crate) fn open_with(options: Options, cache: usize) -> Instance {
    let instance = begin(options, cache);
    instance.running.restore(&|_| true).expect("readable");
    instance
}

/// The same before it is restored.
pub(crate) fn begin(options: Options, cache: usize) -> Instance {
    let (store, kept) = Store::open(options).expect("a store");
    let store = store.with_stream();
    let positions = store.positions();
    let start = store.stream_start().expect("a start");
    let cache = decisions::Options { age_max: Span::from_days(36_500), bytes_max: cache };
    let ledger = Arc::new(Ledger::with_store(cache, &store, &kept));
    ledger.track_unpublished(start).expect("readable");
    let schema = Schema::parse(include_str!("../../../../models/schemas/card-fraud.toml")).expect("a schema");
    let schema = Arc::new(schema);
    let ownership = Arc::new(Ownership::new(PARTITIONS, Partitioner::Murmur2, vec![TextField::CustomerId]));
    for partition in 0..PARTITIONS {
        ownership.set(partition, Standing::Live);
    }
    let entities =
        Entities::with_partitions(entities::Options::default(), &[Arc::clone(&schema)], Some(Arc::clone(&ownership)));
    let entities = Arc::new(entities.expect("entities"));
    let gate = Arc::clone(store.gate());
    let scorer = scorer(&entities, &ledger, (gate, &schema, Some(Arc::clone(&ownership))));
    let running = store.start(&ledger, &entities, &Shutdown::default()).expect("threads");
    Instance { scorer, entities, ledger, ownership, running, positions }
}

fn scorer(
    entities: &Arc<Entities>,
    ledger: &Arc<Ledger>,
    (gate, schema, ownership): (Arc<crate::runtime::store::Gate>, &Arc<Schema>, Option<Arc<Ownership>>),
) -> Scorer {
    let rules = RuleSet::parse(include_str!("../../../../config/rules.toml"), &schema.environment(true));
    let release = Release {
        facts: Arc::default(),
        plan: entities.admit(schema).expect("a plan"),
        model: None,
        rules: Arc::new(rules.expect("rules")),
        schema: Arc::clone(schema),
        lists: Arc::default(),
        policy: Arc::new(Policy::parse(include_str!("../../../../config/policy.toml")).expect("a policy")),
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
        gate,
        clock: Clock::manual(Timestamp::from_seconds(T0)),
        explanations: Budget::new(&explainer::Options { cpu_ms_per_second: 1_000 }, Moment::now()),
        ownership,
        tap: Arc::default(),
    };
    let partition_key = vec![TextField::CustomerId];
    Scorer::new(
        parts,
        scorer::Options {
            model_deadline: Duration::from_secs(20),
            stream_model_deadline: Duration::from_secs(20),
            partition_key,
        },
    )
}

/// A transaction of customer `number % 7` at merchant `number % 5`.
pub(crate) fn transaction(number: i64) -> Transaction {
    paying(number, 1_000 + number * 37)
}

pub(crate) fn paying(number: i64, amount: i64) -> Transaction {
    let mut draft = Draft::new();
    draft.id(&format!("t-{number}"));
    draft.occurred_at(Timestamp::from_seconds(T0 + number * 60));
    draft.amount(amount);
    draft.currency("EUR");
    draft.text(TextField::CustomerId, &format!("c-{}", number % 7));
    draft.text(TextField::CardToken, &format!("tok_{}", number % 7));
    draft.text(TextField::MerchantId, &format!("m-{}", number % 5));
    draft.text(TextField::Channel, "ecommerce");
    draft.text(TextField::CardCountry, if number % 3 == 0 { "FR" } else { "DE" });
    draft.finish(&RateTable::identity(Currency::EUR)).expect("valid")
}

pub(crate) fn request(transaction: Transaction) -> Request {
    Request {
        received_at: transaction.occurred_at(),
        transaction,
        trace_id: TraceId(7),
        started: Moment::now(),
        deadline: Moment::now().after(Duration::from_mins(1)),
        explain: false,
        effort: scorer::Effort::Whole,
    }
}

pub(crate) fn streamed(transaction: Transaction, offset: i64) -> StreamRequest {
    StreamRequest {
        request: request(transaction),
        late: false,
        decided: None,
        origin: Origin::Stream { partition: 0, offset },
    }
}

impl Instance {
    /// Puts the shipped model in force.
    pub(crate) fn with_model(self) -> Self {
        let options = resident::Options {
            enabled: true,
            directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("models"),
            active: "card-fraud/1.0.0".into(),
            standby: String::new(),
            runtime_library: None,
            staged: None,
        };
        // A run takes few rows, so that a group is several runs.
        let inference = InferenceOptions { batch_len_max: 16.try_into().expect("a bound"), ..Default::default() };
        let resident = resident::Resident::load(&options, &inference, &Limits::default());
        let loaded = resident.active.expect("the shipped model");
        let changed: Result<_, entities::Error> = self.scorer.slot().change(|release| {
            let plan = self.entities.admit(&loaded.schema)?;
            let (schema, model) = (Arc::clone(&loaded.schema), Some(Arc::clone(&loaded.model)));
            Ok(Release { schema, plan, model, ..release.clone() })
        });
        changed.expect("a release");
        self
    }

    pub(crate) async fn score(&self, transaction: Transaction) -> Answer {
        self.scorer.score(request(transaction)).await
    }

    pub(crate) fn sink(&self) -> StateSink {
        StateSink::new(Arc::clone(&self.entities), Arc::clone(&self.ledger))
    }

    pub(crate) fn partition_of(&self, transaction: &Transaction) -> u32 {
        self.ownership.partition_of(transaction).expect("a key")
    }

    /// Decides, "commits" and keeps transactions as one group of partition 0; returns the blob and where it ends.
    pub(crate) fn commit(&self, numbers: std::ops::Range<i64>, before: Option<Position>) -> (Vec<u8>, Position) {
        let start = before.unwrap_or(Position::start(numbers.start, 0));
        let requests = numbers.clone().map(|number| streamed(transaction(number), number)).collect();
        let answers = self.scorer.decide_group(requests);
        let mut prefix = Prefix::new(start, TimeBounds::default());
        let mut blob = BlobWriter::new(start);
        let mut held = Vec::new();
        for (number, answer) in numbers.zip(answers) {
            let kept = match answer {
                Streamed::New(held) | Streamed::Confirmed(held) => held,
                Streamed::Duplicate | Streamed::Conflict | Streamed::Busy => panic!("{number} is not new"),
            };
            assert!(prefix.advance(&step(number, &kept)));
            kept.put(&mut blob);
            held.push(kept);
        }
        let after = prefix.position();
        let advances = vec![Advance { partition: 0, before, after }];
        self.scorer.keep_group(StreamGroup { advances, held, ..StreamGroup::default() });
        (blob.finish(after, T0 * 1_000), after)
    }

    /// What every customer and merchant would see now, bit by bit.
    pub(crate) fn fingerprint(&self, until: i64) -> Vec<Vec<u64>> {
        let plan = &self.scorer.release().plan;
        let probe = |number: i64| bits(&self.entities.peek(&transaction(until + number), plan));
        (0..35).map(probe).collect()
    }
}

pub(crate) fn step(offset: i64, held: &Held) -> Step {
    Step {
        topic: Topic::Transactions,
        offset,
        disposition: Disposition::New,
        event_time: Some(held.record().transaction.occurred_at()),
        id_hash: held.id_hash(),
        payload_hash: held.record().payload_hash,
    }
}

pub(crate) fn bits(features: &FeatureVector) -> Vec<u64> {
    features.values().iter().map(|value| value.to_bits()).collect()
}

/// A record without what differs between two runs: times taken and door.
pub(crate) fn essence(record: &Record) -> (Vec<u64>, String) {
    let decision = &record.decision;
    let score = decision.score.map(|score| score.get().to_bits());
    let said = (decision.outcome, score, decision.risk_score, decision.source, &decision.reasons, &decision.rules);
    let omitted = decision.explanation_omitted;
    let text = format!("{said:?} {omitted:?} {:?} {:?} {:?}", decision.degraded, record.standin, record.list_hits);
    (bits(&record.features), format!("{} {text} {:?}", record.transaction.id(), decision.evaluated_at))
}

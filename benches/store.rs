//! What recording a decision costs: in memory, in our journal, in a log-structured merge store (fjall).
//!
//! ```text
//! cargo bench --bench store
//! ```
//! Sixteen requests at a time hand over records of the size the card-fraud schema gives; each waits for its
//! answer. Prints processor time a record and the wait's percentiles. `FRAUDD_BENCH_RECORDS` says how many.

use std::sync::Arc;
use std::time::Duration;

use fraudd::domain::{
    Currency, Decision, DecisionId, DecisionSource, Draft, FeatureVector, Latency, Outcome, RateTable, Reason,
    ReasonSource, ReleaseFacts, RuleVerdict, Score, Span, TextField, Timestamp, TraceId, Transaction,
};
use fraudd::runtime::clock::Moment;
use fraudd::runtime::decisions::{self, Cursor, Ledger, Origin, Record, Reservation, Settled};
use fraudd::runtime::entities::{self, Entities};
use fraudd::runtime::store::{Durability, OnFailure, Options, Store};
use fraudd::scoring::decide::policy::StandinLoad;
use fraudd::tasks::Shutdown;
use hdrhistogram::Histogram;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AT_ONCE: u16 = 16;
/// What the journal writes of one decision of this bench: event and record.
const RECORD_LEN: usize = 900;

fn transaction(number: u64) -> Transaction {
    let mut draft = Draft::new();
    draft.id(&format!("t-{number}"));
    draft.occurred_at(Timestamp::from_micros(1_772_359_200_000_000 + number.cast_signed()));
    draft.amount(1_250);
    draft.currency("EUR");
    for (field, text) in [
        (TextField::CustomerId, "c-1"),
        (TextField::CardToken, "tok_9f2a77"),
        (TextField::CardBin, "411111"),
        (TextField::CardCountry, "FR"),
        (TextField::MerchantId, "m-77"),
        (TextField::MerchantMcc, "5732"),
        (TextField::MerchantCountry, "FR"),
        (TextField::MerchantTerminalId, "term-7"),
        (TextField::DeviceId, "d-4"),
        (TextField::Channel, "pos"),
    ] {
        draft.text(field, text);
    }
    draft.finish(&RateTable::identity(Currency::EUR)).expect("valid")
}

fn record(number: u64, release: &Arc<ReleaseFacts>) -> Record {
    let transaction = transaction(number);
    let mut features = FeatureVector::with_capacity(100);
    for place in 0..100_u64 {
        // As windows give them: most are counts and sums, some are means, some are missing.
        let value = if place % 4 == 0 { number as f64 / 7.0 } else { ((number * place) % 9_000) as f64 };
        features.push((place % 10 != 9).then_some(value), 0.0);
    }
    let reason = Reason {
        code: "MODEL_SCORE".into(),
        description: "the model's score against the thresholds".into(),
        contribution: None,
        source: ReasonSource::Model,
        decisive: true,
    };
    let payload_hash = transaction.payload_hash();
    Record {
        decision: Decision {
            id: DecisionId(payload_hash),
            transaction_id: transaction.id().into(),
            outcome: Outcome::Approve,
            score: Score::new(0.01).ok(),
            risk_score: 10,
            reasons: [reason].into_iter().collect(),
            rules: [RuleVerdict::NoHit; 20].into_iter().collect(),
            explanation_omitted: None,
            release: Arc::clone(release),
            source: DecisionSource::Model,
            degraded: [].into_iter().collect(),
            latency: Latency::default(),
            trace_id: TraceId(payload_hash),
            evaluated_at: transaction.occurred_at(),
        },
        payload_hash,
        features,
        standin: StandinLoad::default(),
        list_hits: Vec::new(),
        received_at: transaction.occurred_at(),
        transaction,
        cursor: Cursor::default(),
        origin: Origin::Rest,
    }
}

/// User and system time of this process in microseconds.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a process");
    let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    ticks * 10_000
}

/// Runs `AT_ONCE` closed loops and prints what they cost. `one` records the record of a number.
#[expect(clippy::print_stdout, reason = "figures are what a bench is for")]
fn run<F, Fut>(name: &str, records: u64, one: F)
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (cpu, started) = (cpu_micros(), Moment::now());
    let all =
        Arc::new(parking_lot::Mutex::new(Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a histogram")));
    runtime.block_on(async {
        let start = |task| {
            let (one, all) = (one.clone(), Arc::clone(&all));
            fraudd::tasks::once("bench", async move {
                let mut waits = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a histogram");
                for number in (u64::from(task)..records).step_by(AT_ONCE.into()) {
                    let asked = Moment::now();
                    one(number).await;
                    waits.saturating_record(Moment::now().micros_since(asked).into());
                }
                all.lock().add(waits).expect("the same bounds");
            })
        };
        for task in (0..AT_ONCE).map(start).collect::<Vec<_>>() {
            task.await.expect("joined");
        }
    });
    let waits = all.lock();
    let (cpu, took) = (cpu_micros() - cpu, started.elapsed().as_secs_f64());
    println!(
        "{name:<28} {:>6.2} us processor a record  {:>7.0} records/s  wait p50 {} us  p99 {} us  p99.9 {} us  max {} us",
        cpu as f64 / records as f64,
        records as f64 / took,
        waits.value_at_quantile(0.5),
        waits.value_at_quantile(0.99),
        waits.value_at_quantile(0.999),
        waits.max(),
    );
}

fn ledger_options() -> decisions::Options {
    decisions::Options { age_max: Span::from_days(36_500), bytes_max: 64 << 20 }
}

/// Settles the record of a number; `make` says what of it counts: everything but its making.
fn settling(ledger: Arc<Ledger>) -> impl Fn(u64) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone {
    let release = Arc::new(ReleaseFacts::default());
    move |number| {
        let (ledger, release) = (Arc::clone(&ledger), Arc::clone(&release));
        Box::pin(async move {
            let record = record(number, &release);
            let Reservation::Reserved(mut ticket) = ledger.reserve(record.transaction.id(), record.payload_hash) else {
                panic!("free")
            };
            ticket.observed(&record.transaction);
            let settled = ticket.settle(record, Moment::now().after(Duration::from_mins(1))).await;
            assert!(matches!(settled, Settled::Kept(_)));
        })
    }
}

fn journal(name: &str, records: u64, durability: Durability) {
    let directory = tempfile::tempdir_in(std::env::var("FRAUDD_BENCH_DIR").unwrap_or_else(|_| ".".into()));
    let directory = directory.expect("a directory");
    let options = Options {
        directory: directory.path().into(),
        durability,
        on_failure: OnFailure::Refuse,
        bytes_max: 8 << 30,
        age_max: Span::from_days(36_500),
        events_age_min: Span::ZERO,
        segment_len_max: 32 << 20,
        sync_interval: Duration::from_millis(50),
    };
    let (store, kept) = Store::open(options).expect("a store");
    let ledger = Arc::new(Ledger::with_store(ledger_options(), &store, &kept));
    let entities = Arc::new(Entities::new(entities::Options::default(), &[]).expect("entities"));
    let running = store.start(&ledger, &entities, &Shutdown::default()).expect("threads");
    run(name, records, settling(Arc::clone(&ledger)));
    running.close();
}

/// The same bytes through one writer thread that commits what is queued as one batch.
fn merge_store(records: u64) {
    let directory = tempfile::tempdir_in(std::env::var("FRAUDD_BENCH_DIR").unwrap_or_else(|_| ".".into()));
    let directory = directory.expect("a directory");
    let database = fjall::Database::builder(directory.path()).open().expect("a database");
    let keyspace = database.keyspace("records", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
    let (sender, receiver) = std::sync::mpsc::sync_channel::<(u64, Vec<u8>, tokio::sync::oneshot::Sender<()>)>(65_536);
    let writer = fraudd::tasks::thread("bench-writer", move || {
        let mut waiting = Vec::new();
        while let Ok(first) = receiver.recv() {
            let mut batch = database.batch();
            for (number, bytes, reply) in std::iter::once(first).chain(receiver.try_iter()) {
                batch.insert(&keyspace, xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes()).to_le_bytes(), bytes);
                waiting.push(reply);
            }
            batch.commit().expect("committed");
            for reply in waiting.drain(..) {
                reply.send(()).expect("somebody waits");
            }
        }
    });
    let release = Arc::new(ReleaseFacts::default());
    run("fjall, one writer, batches", records, move |number| {
        let (sender, release) = (sender.clone(), Arc::clone(&release));
        async move {
            // Made as for the journal, so that the making costs the same.
            let made = record(number, &release);
            let mut bytes = vec![0; RECORD_LEN];
            let mut dice = made.payload_hash;
            for chunk in bytes.chunks_mut(16) {
                dice = dice.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
                let half = chunk.len() / 2;
                chunk[..half].copy_from_slice(&dice.to_le_bytes()[..half]);
            }
            let (reply, answer) = tokio::sync::oneshot::channel();
            sender.send((number, bytes, reply)).expect("a writer");
            answer.await.expect("an answer");
        }
    });
    writer.expect("a thread").join().expect("ended");
}

fn main() {
    let records = std::env::var("FRAUDD_BENCH_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400_000);
    run("in memory", records, settling(Arc::new(Ledger::new(ledger_options()))));
    journal("journal, process", records, Durability::Process);
    journal("journal, disk", records / 20, Durability::Disk);
    merge_store(records);
}

//! What one transaction costs the entity store, by depth of its logs and by number of entities.
//!
//! ```text
//! cargo bench --bench features
//! ```
//! The shipped card-fraud schema: seven entity kinds, a hundred features. Transactions are made
//! beforehand; each is observed once, in order of time. `FRAUDD_BENCH_LARGE=1` adds a million customers.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use fraudd::domain::{Currency, Draft, RateTable, TextField, Timestamp, Transaction};
use fraudd::runtime::entities::{Entities, Options};
use fraudd::scoring::feature::{Plan, Schema};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_SECONDS: i64 = 1_767_225_600;
const WARM_DAYS: i64 = 20;

struct World {
    customers: u64,
    sent: u64,
    step_micros: i64,
    rates: RateTable,
}

impl World {
    fn new(customers: u64, depth: u64) -> Self {
        let step_micros = WARM_DAYS * 86_400_000_000 / i64::try_from(customers * depth).expect("small");
        let rates = RateTable::identity(Currency::parse("EUR").expect("a currency"));
        Self { customers, sent: 0, step_micros, rates }
    }

    fn next(&mut self) -> Transaction {
        self.sent += 1;
        let dice = self.sent.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let customer = dice % self.customers;
        let mut text = String::with_capacity(32);
        let mut named = |prefix: &str, number: u64| {
            text.clear();
            let _ = write!(text, "{prefix}{number}");
            text.clone()
        };
        let mut draft = Draft::new();
        draft.id(&named("t", self.sent));
        let micros = START_SECONDS * 1_000_000 + self.step_micros * i64::try_from(self.sent).expect("small");
        draft.occurred_at(Timestamp::from_micros(micros));
        draft.amount(i64::try_from(dice >> 40).expect("24 bits"));
        draft.currency("EUR");
        draft.text(TextField::CustomerId, &named("c", customer));
        draft.text(TextField::CardToken, &named("tok", customer));
        draft.text(TextField::CardBin, &named("", 400_000 + customer % 500));
        draft.text(TextField::DeviceId, &named("d", customer + (dice >> 60)));
        draft.text(TextField::EmailHash, &named("e", customer));
        draft.text(TextField::MerchantId, &named("m", (dice >> 32) % 5_000));
        draft.text(TextField::MerchantTerminalId, &named("term", (dice >> 32) % (self.customers * 2)));
        draft.text(TextField::CardCountry, "FR");
        draft.text(TextField::MerchantCountry, if dice.is_multiple_of(8) { "US" } else { "FR" });
        draft.text(TextField::Channel, "ecommerce");
        draft.text(TextField::AuthorisationResult, if dice.is_multiple_of(16) { "declined" } else { "approved" });
        draft.latitude(48.0);
        draft.longitude(2.0);
        draft.finish(&self.rates).expect("valid")
    }
}

#[expect(clippy::print_stdout, reason = "bytes are a figure of this bench")]
fn warm(customers: u64, depth: u64, plain: bool) -> (World, Entities, Arc<Plan>) {
    let text = if plain {
        include_str!("../models/schemas/handbook.toml")
    } else {
        include_str!("../models/schemas/card-fraud.toml")
    };
    let schema = Arc::new(Schema::parse(text).expect("a schema"));
    let store = Entities::new(Options::default(), std::slice::from_ref(&schema)).expect("a store");
    let plan = store.admit(&schema).expect("a plan");
    let mut world = World::new(customers, depth);
    for _ in 0..customers * depth {
        store.absorb(&world.next());
    }
    let stats = store.stats();
    println!(
        "{} of {customers} customers, {depth} each: {} bytes an event, {} a transaction, {stats:?}",
        schema.name(),
        stats.bytes / stats.events,
        stats.bytes / stats.transactions
    );
    let sent: Vec<_> = (0..20_000).map(|_| world.next()).collect();
    let before = cpu_nanos();
    for tx in &sent {
        black_box(store.observe(tx, &plan));
    }
    println!("{} ns of CPU an observe", (cpu_nanos() - before) / 20_000);
    (world, store, plan)
}

/// CPU time of this thread: on a shared machine the only figure that means something.
fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

fn observe(criterion: &mut Criterion) {
    let mut sizes = vec![(1_000, 50, false), (1_000, 4, false), (100_000, 4, false), (1_000, 50, true)];
    if std::env::var_os("FRAUDD_BENCH_LARGE").is_some() {
        sizes.push((1_000_000, 4, false));
    }
    let mut group = criterion.benchmark_group("observe");
    for (customers, depth, plain) in sizes {
        let (mut world, store, plan) = warm(customers, depth, plain);
        let name = if plain { "handbook" } else { "card-fraud" };
        group.bench_function(BenchmarkId::new(name, format!("{customers} customers x {depth}")), |bench| {
            bench.iter_batched(|| world.next(), |tx| black_box(store.observe(&tx, &plan)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, observe);
criterion_main!(benches);

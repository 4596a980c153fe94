//! What watching costs a transaction: 55 inputs of the shipped bundle's shape, amortised over blocks and ticks.
//!
//! `cargo bench --bench detectors`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use fraudd::domain::{Outcome, Timestamp};
use fraudd::healing::ModelRef;
use fraudd::healing::drift::{Observation, Options, Profile, Watch};
use fraudd::runtime::release::bundle::Bundle;

const ROWS: usize = 4_096;

fn bench(criterion: &mut Criterion) {
    let bundle = Bundle::load("models/card-fraud/1.0.0".as_ref()).expect("the shipped bundle");
    let profile = Arc::new(bundle.profile());
    let rows = rows(&bundle, &profile);
    let model = ModelRef { name: "m".to_owned(), version: "1".to_owned(), sha256: "0".to_owned() };
    let mut watch = Watch::new(model, profile, &Options::default());
    let mut count = 0_usize;
    criterion.bench_function("observe 55 inputs", |bencher| {
        bencher.iter(|| {
            let (row, score, entity) = &rows[count % ROWS];
            let now = Timestamp::from_micros(1_780_000_000_000_000 + i64::try_from(count).unwrap_or(0) * 200);
            watch.observe(&Observation {
                received_at: now,
                occurred_at: now,
                entity: *entity,
                merchant: 0,
                device: 0,
                row: black_box(row),
                score: Some(*score),
                outcome: Outcome::Approve,
                degraded: false,
            });
            count += 1;
            if count.is_multiple_of(500) {
                black_box(watch.tick(now));
            }
        });
    });
}

/// Rows distributed as the profile says: the cost of a vote depends on it.
fn rows(bundle: &Bundle, profile: &Profile) -> Vec<(Vec<f64>, f64, u64)> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut value = |edges: &[f64], shares: &[f64], last: f64| {
        let mut at: f64 = random.random();
        let bin = shares.iter().position(|share| {
            at -= share;
            at < 0.0
        });
        edges.get(bin.unwrap_or(0)).copied().unwrap_or(last)
    };
    let mut made = Vec::with_capacity(ROWS);
    for _ in 0..ROWS {
        let features = &bundle.baseline.features;
        let row: Vec<f64> = features.iter().map(|f| value(&f.edges, &f.shares, f.max)).collect();
        let score = value(&bundle.baseline.score.edges, &bundle.baseline.score.shares, 1.0);
        made.push((row, score));
    }
    assert_eq!(made[0].0.len(), profile.inputs.len());
    made.into_iter().map(|(row, score)| (row, score, random.next_u64() | 1)).collect()
}

criterion_group!(benches, bench);
criterion_main!(benches);

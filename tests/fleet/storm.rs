//! Swaps under traffic: whatever is put in force meanwhile, a decision is of one release, whole, and each is answered (`SC-2`, `RL-3`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fraudd::healing::lifecycle::Order;
use fraudd::runtime::decisions::{Origin, Record};
use fraudd::runtime::stream::{StreamRequest, Streamed};

use super::support::{Setup, World, packed, person, runtime_is_here, world};

const DECISIONS_EACH: u64 = 1_500;
const ORDERS_MIN: usize = 60;

/// Scores the features of records with the model their releases name: a decision of two releases would differ.
fn check(world: &World, version: &str, records: &[&Arc<Record>]) {
    let model = world.model(version);
    let view = world.fleet.models().into_iter().find(|view| view.manifest_sha256 == model.sha256).expect("known");
    // Its inputs are all of its features.
    let rows: Vec<Vec<f64>> = records.iter().map(|record| record.features.values().to_vec()).collect();
    let again = world.fleet.score(&model, &rows).expect("loaded");
    for (record, again) in records.iter().zip(again) {
        let facts = &record.decision.release;
        assert_eq!(view.sha256, facts.model_sha256);
        let score = record.decision.score.unwrap_or_else(|| panic!("no score: {:?}", record.decision.degraded)).get();
        let again = again.unwrap_or_else(|failure| panic!("{failure}")).get();
        // Rows of a run may be added up in another order than one alone; another model is further away.
        assert!((score - again).abs() < 1e-6, "{}: {score} and {again} by {facts:?}", record.decision.transaction_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_swaps_drops_and_mixes_nothing() {
    if !runtime_is_here() {
        return;
    }
    let world = Arc::new(world(&Setup::default()));
    world.add(&packed("xgboost_tensor", "xgboost", "3"), "3");
    world.fleet.look();
    assert_eq!(world.stage("3"), "validated", "{:?}", world.fleet.models());
    let (done, orders) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let swapping = {
        let (world, done, orders) = (Arc::clone(&world), Arc::clone(&done), Arc::clone(&orders));
        tokio::task::spawn_blocking(move || {
            let (one, two, three) = (world.model("1"), world.model("2"), world.model("3"));
            let round = [
                Order::Swap { to: two },
                Order::Canary { model: three.clone(), percent: 50 },
                Order::Swap { to: one },
                Order::Withdraw { model: three },
            ];
            while !done.load(Ordering::Relaxed) || orders.load(Ordering::Relaxed) < ORDERS_MIN {
                for order in &round {
                    world.fleet.perform(order, &person(), "storm").unwrap_or_else(|error| panic!("{order:?}: {error}"));
                    orders.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let mut doors = tokio::task::JoinSet::new();
    for door in 0..3_u64 {
        let (world, orders) = (Arc::clone(&world), Arc::clone(&orders));
        doors.spawn(async move {
            let mut records = Vec::new();
            // On a busy machine the decisions would be over before the orders.
            let is_over = |made: u64| made >= DECISIONS_EACH && orders.load(Ordering::Relaxed) >= ORDERS_MIN;
            while !is_over(records.len() as u64) && (records.len() as u64) < 4 * DECISIONS_EACH {
                records.push(world.decide(door * 1_000_000 + records.len() as u64).await);
            }
            records
        });
    }
    let of_stream = {
        let world = Arc::clone(&world);
        tokio::task::spawn_blocking(move || {
            let mut batches = Vec::new();
            for batch in 0..DECISIONS_EACH / 100 {
                let numbers = 0..100_u64;
                let request = |offset| StreamRequest {
                    request: world.request(9_000_000 + batch * 100 + offset),
                    late: false,
                    decided: None,
                    origin: Origin::Stream {
                        partition: 0,
                        offset: i64::try_from(batch * 100 + offset).expect("small"),
                    },
                };
                let streamed = world.scorer.decide_group(numbers.map(request).collect());
                let held = streamed.into_iter().map(|streamed| match streamed {
                    Streamed::New(held) => Arc::clone(held.record()),
                    _ => panic!("a new transaction is decided"),
                });
                batches.push(held.collect::<Vec<_>>());
            }
            batches
        })
    };
    let mut records = Vec::new();
    for door in doors.join_all().await {
        records.extend(door);
    }
    let batches = of_stream.await.expect("joined");
    done.store(true, Ordering::Relaxed);
    swapping.await.expect("joined");
    for batch in &batches {
        let of_batch: BTreeSet<_> = batch.iter().map(|record| Arc::as_ptr(&record.decision.release)).collect();
        assert!(of_batch.len() <= 2, "a batch has the active release and one canary at most");
    }
    records.extend(batches.into_iter().flatten());
    assert!(records.len() as u64 >= 4 * DECISIONS_EACH, "every transaction is answered");
    assert!(orders.load(Ordering::Relaxed) >= ORDERS_MIN);
    // All three have answered; the last order leaves 1 and 2 loaded, and 3 free.
    let versions: BTreeSet<&str> =
        records.iter().map(|record| record.decision.release.model_version.as_str()).collect();
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), ["1", "2", "3"]);
    for version in ["1", "2", "3"] {
        let of_version = records.iter().filter(|record| record.decision.release.model_version == version);
        check(&world, version, &of_version.collect::<Vec<_>>());
    }
}

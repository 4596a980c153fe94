//! Scores that promise too much: a map to probabilities is fitted, checked, told, kept over a restart, and gone with its model.

use fraudd::domain::{Calibration, Span};
use fraudd::healing::Health;
use fraudd::healing::lifecycle::{Mandate, Order};
use fraudd::runtime::decisions::Record;
use fraudd::runtime::reproduce;
use xxhash_rust::xxh3::xxh3_64;

use super::record;
use super::support::{Traffic, World, open, open_at, runtime_is_here, usual};

/// What scores really stand for in the story: odds of a quarter of what they say.
fn truth() -> Calibration {
    Calibration { shift: -(4.0_f64.ln()), ..Calibration::IDENTITY }
}

fn is_drawn(record: &Record, probability: f64) -> bool {
    let drawn = xxh3_64(record.transaction.id().as_bytes()) % 100_000;
    (drawn as f64) < probability * 100_000.0
}

fn scored(record: &Record) -> f64 {
    record.decision.score.expect("a score").get()
}

async fn labelled(world: &World, truth: &Calibration, rounds: u32) {
    for _ in 0..rounds {
        let decided = world.round(Traffic::default()).await;
        world.label(&decided, |record| is_drawn(record, truth.probability(scored(record)))).await;
    }
}

fn map_of(world: &World) -> Option<Calibration> {
    world.service.scorer.release().facts.calibration
}

/// Labels count soon, and a map that wants more of them is tried again soon.
fn told_soon(settings: &mut fraudd::config::Settings) {
    settings.labels.maturity = Span::from_seconds(5);
    let table = &mut settings.healing.as_mut().expect("healing is on").healer.table;
    table.times.retry = Span::from_seconds(2);
    (table.budget.recalibration.hour, table.budget.recalibration.day) = (100, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_that_promise_too_much_are_calibrated_and_nothing_else_is_changed() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), told_soon).await;
    for _ in 0..40 {
        labelled(&world, &truth(), 20).await;
        if map_of(&world).is_some() {
            break;
        }
    }
    let map = map_of(&world).unwrap_or_else(|| panic!("no map: {}", world.told()));
    for score in [0.1, 0.3, 0.6] {
        let (found, right) = (map.probability(score), truth().probability(score));
        assert!((found - right).abs() < 0.08, "{score}: {found} against {right}");
    }
    // What the score alone leads to is as before, and decisions are made again with their map.
    let release = world.service.scorer.release();
    let during = world.round(Traffic::default()).await;
    for record in &during {
        let facts = &record.decision.release;
        assert_eq!((facts.calibration, facts.thresholds), (Some(map), release.facts.thresholds));
        assert_eq!(record.decision.outcome, facts.thresholds.outcome(scored(record)));
        let risk = f64::from(record.decision.risk_score) / 1_000.0;
        assert!((risk - map.probability(scored(record))).abs() < 0.001, "{:?}", record.decision);
        let again = reproduce::reproduce(record, &release).await;
        assert_eq!(again.differences, Vec::<String>::new());
    }
    // Labels agree with the map: the alarm ends and stays away.
    labelled(&world, &truth(), 200).await;
    world.until(Traffic::default(), "all is well", |world| world.view().state == Health::Healthy).await;
    assert_eq!((map_of(&world), world.active().as_str()), (Some(map), "1"));
    let (now, calls) = (world.clock.now(), world.calls());
    let directory = world.close();
    let lines = record::read(directory.path());
    record::done(&lines, "recalibrate", "done");
    let names = record::names(&lines);
    assert!(names.iter().all(|name| ["recalibrate", "page"].contains(&name.as_str())), "{names:?}");
    record::is_whole(directory.path());

    let world = open_at(directory, (now, calls), told_soon).await;
    assert_eq!(map_of(&world), Some(map), "a restart keeps it");
    let (service, to) = (std::sync::Arc::clone(&world.service), world.model("2"));
    let mandate = Mandate::Person { name: "ann".to_owned() };
    let swapped = tokio::task::spawn_blocking(move || (service.orders)(&Order::Swap { to }, &mandate, "for the story"));
    swapped.await.expect("no panic").expect("swapped");
    assert_eq!((world.active().as_str(), map_of(&world)), ("2", None), "it is the other model's");
    assert!(!world.directory.path().join("state/calibration.json").exists());
    world.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_that_keep_their_promise_are_left_alone() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), told_soon).await;
    labelled(&world, &Calibration::IDENTITY, 400).await;
    assert_eq!((map_of(&world), world.view().state), (None, Health::Healthy), "{}", world.told());
    let directory = world.close();
    assert_eq!(record::names(&record::read(directory.path())), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_labels_speak_against_is_taken_away() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), told_soon).await;
    world.pass(Traffic::default(), 5).await;
    // As if it had been fitted on a world that is over.
    let (fleet, model) = (std::sync::Arc::clone(&world.service.fleet), world.model("1"));
    let put = tokio::task::spawn_blocking(move || fleet.calibrate(&model, Some(truth())));
    put.await.expect("no panic").expect("put in force");
    for _ in 0..40 {
        labelled(&world, &Calibration::IDENTITY, 10).await;
        if map_of(&world).is_none() {
            break;
        }
    }
    assert_eq!(map_of(&world), None, "{}", world.told());
    let directory = world.close();
    let lines = record::read(directory.path());
    record::done(&lines, "uncalibrate", "done");
    record::is_whole(directory.path());
}

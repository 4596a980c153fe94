//! Labels that stop coming: nothing is decided from their absence.

use fraudd::domain::Span;
use fraudd::healing::{Alarm, Verdict};
use fraudd::runtime::decisions::Record;
use xxhash_rust::xxh3::xxh3_64;

use super::record;
use super::support::{Traffic, World, open, runtime_is_here, usual};

fn is_silent(world: &World) -> bool {
    let view = world.view();
    view.alarms.iter().any(|alarm| alarm.alarm == Alarm::LabelFeed && alarm.verdict == Verdict::Acting)
}

/// Draws the truth as often as the score promises it, by the id, so that the model is as good as it says.
fn is_fraud(record: &Record) -> bool {
    let drawn = xxh3_64(record.transaction.id().as_bytes()) % 10_000;
    record.decision.score.is_some_and(|score| (drawn as f64) < score.get() * 10_000.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_stop_are_told_and_change_no_model_and_ask_for_none() {
    if !runtime_is_here() {
        return;
    }
    let traffic = Traffic::default();
    let world = open(usual(), |settings| {
        settings.labels.maturity = Span::from_seconds(10);
        settings.labels.silence = Span::from_seconds(60);
    })
    .await;
    for _ in 0..200 {
        let decided = world.round(traffic).await;
        world.label(&decided, is_fraud).await;
    }
    assert!(!is_silent(&world));
    world.until(traffic, "the silence is told", is_silent).await;
    world.pass(traffic, 60).await;
    assert_eq!((world.active().as_str(), world.stage("2")), ("1", "standby"));
    assert!(world.view().protections.is_empty());
    let directory = world.close();
    let lines = record::read(directory.path());
    assert!(record::names(&lines).iter().all(|name| name == "page"), "{:?}", record::names(&lines));
    record::is_whole(directory.path());
}

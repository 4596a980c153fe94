//! Labels that stop coming: nothing is decided from their absence.

use fraudd::domain::Span;
use fraudd::healing::{Alarm, Verdict};

use super::record;
use super::support::{Traffic, World, open, runtime_is_here, usual};

fn is_silent(world: &World) -> bool {
    let view = world.view();
    view.alarms.iter().any(|alarm| alarm.alarm == Alarm::LabelFeed && alarm.verdict == Verdict::Acting)
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
        world.label(&decided, |record| record.decision.score.is_some_and(|score| score.get() > 0.2)).await;
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

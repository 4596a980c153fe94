//! A feature that loses its values, and a service that has seen too little to tell.

use fraudd::domain::DegradedReason;

use super::record;
use super::support::{Recipe, Traffic, directory, open, runtime_is_here, usual, windowed};

const LOSES: Traffic = Traffic { more: 0.0, loses_hour: true };

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_feature_is_masked_until_it_is_back() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |_| {}).await;
    let healthy = world.pass(Traffic::default(), 60).await;
    assert!(healthy.iter().all(|record| record.decision.degraded.is_empty()));
    let is_masked = |world: &super::support::World| world.service.scorer.shield().current().masked == ["hour"];
    world.until(LOSES, "it is masked", is_masked).await;
    let during = world.round(LOSES).await;
    assert!(during.iter().all(|record| record.decision.degraded.contains(&DegradedReason::FeatureMasked)));
    assert!(during.iter().all(|record| record.decision.score.is_some()));
    // It stays while the values are away, and the model stays: the data is at fault.
    world.pass(LOSES, 30).await;
    assert!(is_masked(&world) && world.active() == "1");
    world.until(Traffic::default(), "it counts again", |world| !is_masked(world)).await;
    let after = world.round(Traffic::default()).await;
    assert!(after.iter().all(|record| record.decision.degraded.is_empty()), "{}", world.told());
    let directory = world.close();
    let lines = record::read(directory.path());
    let (_, masked) = record::done(&lines, "mask", "done");
    let (unmasked, _) = record::done(&lines, "unmask", "done");
    assert!(masked < unmasked);
    let names = record::names(&lines);
    assert!(names.iter().all(|name| ["mask", "unmask", "page"].contains(&name.as_str())), "{lines:#?}");
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_empty_windows_nothing_is_told_and_nothing_done() {
    if !runtime_is_here() {
        return;
    }
    let recipe = || Recipe { schema: windowed(), ..Recipe::default() };
    let bundles = [("1", recipe().pack("1")), ("2", Recipe { schema: windowed(), ..Recipe::forest() }.pack("2"))];
    let world = open(directory(&bundles), |_| {}).await;
    world.pass(LOSES, 120).await;
    let view = world.view();
    assert!(!view.alarms.is_empty(), "that nothing can be told is told");
    let verdict = fraudd::healing::Verdict::Inconclusive;
    assert!(view.alarms.iter().all(|alarm| alarm.verdict == verdict), "{:#?}", view.alarms);
    assert!(view.incidents.is_empty() && view.protections.is_empty() && view.last_actions.is_empty());
    assert_eq!(world.active(), "1");
    let directory = world.close();
    let lines = record::read(directory.path());
    assert_eq!(record::names(&lines), Vec::<String>::new());
    record::is_whole(directory.path());
}

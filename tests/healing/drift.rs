//! A new release whose scores leave its baseline where the one before it is in control, and a world that moved for both.

use fraudd::domain::Thresholds;

use super::record;
use super::support::{Recipe, Traffic, open, runtime_is_here, usual};

/// Limits that nothing reaches: what is shown is drift alone, not the alerts that follow from it.
const FAR: Thresholds = Thresholds { review: 0.998, challenge: None, decline: 0.999 };

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_made_for_another_world_is_taken_back_and_banned() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |_| {}).await;
    world.pass(Traffic::default(), 30).await;
    // It is right on its golden rows, and was trained on a third of the amounts that come here.
    let foreign = Recipe { amounts: 0.3, thresholds: FAR, ..Recipe::default() };
    world.add(&foreign.pack("3"), "3");
    world.promote("3").await;
    world.until(Traffic::default(), "the model before answers", |world| world.active() == "1").await;
    world.until(Traffic::default(), "it is banned", |world| world.stage("3") == "quarantined").await;
    let place = world.directory.path().to_owned();
    let is_checked = |_: &_| record::checked(&record::read(&place)).is_some();
    world.until(Traffic::default(), "the change is checked", is_checked).await;
    let directory = world.close();
    let lines = record::read(directory.path());
    record::done(&lines, "swap", "done");
    record::done(&lines, "quarantine", "done");
    let rows = record::actions(&lines);
    assert!(rows.contains(&("drift-of-new-release".into(), "swap".into())), "{rows:?}");
    assert_eq!(record::checked(&lines).expect("checked")["is_good"], true);
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_that_moved_for_both_models_only_widens_review() {
    if !runtime_is_here() {
        return;
    }
    let make = |recipe: Recipe, version: &str| Recipe { thresholds: FAR, ..recipe }.pack(version);
    let bundles = [("1", make(Recipe::default(), "1")), ("2", make(Recipe::forest(), "2"))];
    let world = open(super::support::directory(&bundles), |_| {}).await;
    world.pass(Traffic::default(), 30).await;
    let moved = Traffic { more: 2.0, loses_hour: false };
    world.until(moved, "review is wide", |world| world.service.scorer.shield().current().is_wide).await;
    world.pass(moved, 120).await;
    assert_eq!((world.active().as_str(), world.stage("2")), ("1", "standby"));
    let directory = world.close();
    let lines = record::read(directory.path());
    let names = record::names(&lines);
    assert!(names.iter().all(|name| name == "widen_review"), "{names:?}");
    record::is_whole(directory.path());
}

//! A new release whose scores leave its baseline where the one before it is in control, and a world that moved for both.

use fraudd::domain::Thresholds;
use fraudd::healing::Health;

use super::record;
use super::support::{Recipe, Traffic, directory, open, runtime_is_here, usual};

/// Limits that nothing reaches: what is shown is drift alone, not the alerts that follow from it.
const FAR: Thresholds = Thresholds { review: 0.998, challenge: None, decline: 0.999 };

/// Half of what there was in every amount: within the range of training, far from its shape.
const HALVED: Traffic = Traffic { more: -0.5, loses_hour: false };

/// Promotes a release that is right on its golden rows and was trained on other amounts than come here.
async fn is_taken_back(amounts: f64, row: &str) {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |_| {}).await;
    world.pass(Traffic::default(), 30).await;
    world.add(&Recipe { amounts, thresholds: FAR, ..Recipe::default() }.pack("3"), "3");
    world.promote("3").await;
    world.until(Traffic::default(), "the model before answers", |world| world.active() == "1").await;
    world.until(Traffic::default(), "it is banned", |world| world.stage("3") == "quarantined").await;
    let place = world.directory.path().to_owned();
    let is_checked = |_: &_| record::checked(&record::read(&place)).is_some();
    world.until(Traffic::default(), "the change is checked", is_checked).await;
    world.until(Traffic::default(), "all is well", |world| world.view().state == Health::Healthy).await;
    assert!(world.view().protections.is_empty());
    let directory = world.close();
    let lines = record::read(directory.path());
    record::done(&lines, "swap", "done");
    record::done(&lines, "quarantine", "done");
    let rows = record::actions(&lines);
    assert!(rows.contains(&(row.to_owned(), "swap".to_owned())), "{rows:?}");
    assert_eq!(record::checked(&lines).expect("checked")["is_good"], true);
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_made_for_larger_amounts_is_taken_back_and_banned() {
    is_taken_back(2.0, "drift-of-new-release").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_made_for_smaller_amounts_is_taken_back_and_banned() {
    is_taken_back(0.3, "broken-for-new-release").await;
}

/// Lets the world move under models that all know the world before; only review is widened.
async fn only_widens(is_recent: bool) {
    if !runtime_is_here() {
        return;
    }
    let make = |recipe: Recipe, version: &str| Recipe { thresholds: FAR, ..recipe }.pack(version);
    let bundles = [("1", make(Recipe::default(), "1")), ("2", make(Recipe::forest(), "2"))];
    let world = open(directory(&bundles), |_| {}).await;
    if is_recent {
        world.add(&make(Recipe { model: ["logistic_double", "logistic"], ..Recipe::default() }, "3"), "3");
        world.promote("3").await;
    }
    let answers = world.active();
    world.pass(Traffic::default(), 30).await;
    world.until(HALVED, "review is wide", |world| world.service.scorer.shield().current().is_wide).await;
    world.pass(HALVED, 120).await;
    assert_eq!(world.active(), answers);
    world.until(Traffic::default(), "it ends", |world| world.view().state == Health::Healthy).await;
    assert!(!world.service.scorer.shield().current().is_wide);
    let directory = world.close();
    let lines = record::read(directory.path());
    let names = record::names(&lines);
    assert!(names.iter().all(|name| ["widen_review", "relax", "page"].contains(&name.as_str())), "{names:?}");
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_that_moved_for_both_models_only_widens_review() {
    only_widens(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_that_moves_just_after_a_promotion_only_widens_review() {
    only_widens(true).await;
}

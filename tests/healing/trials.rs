//! A bundle that is dropped into the directory: signed and good it earns its place, signed and bad it is banned, unsigned
//! it waits for a person.

use fraudd::domain::{Span, Thresholds};
use fraudd::runtime::audit::Kind;

use super::record;
use super::support::{Recipe, Traffic, open, runtime_is_here, sign, usual};

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_bundle_goes_from_the_directory_into_force_by_itself() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |settings| {
        let healing = settings.healing.as_mut().expect("healing is on");
        for row in &mut healing.healer.table.row {
            row.cool_down = Span::from_seconds(1);
        }
    })
    .await;
    let mut files = Recipe { model: ["logistic_double", "logistic"], ..Recipe::default() }.pack("3");
    sign(&mut files);
    world.add(&files, "3");
    let decided = world.until(Traffic::default(), "it answers", |world| world.active() == "3").await;
    assert!(decided.iter().all(|record| record.decision.score.is_some() && record.decision.degraded.is_empty()));
    let canaries = decided.iter().filter(|record| record.decision.release.model_role == "canary").count();
    assert!(canaries > 0, "it answered a share first");
    assert_eq!((world.stage("1"), world.stage("2")), ("standby", "retired"));
    let directory = world.close();
    let lines = record::read(directory.path());
    let is_step = |line: &&record::Told| line.kind == Kind::Intent && line.body["action"] == "promote";
    let steps: Vec<_> = lines.iter().filter(is_step).filter_map(|line| line.body["percent"].as_u64()).collect();
    assert_eq!(steps, [0, 10, 50, 100]);
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_bundle_that_stops_far_more_is_banned_and_an_unsigned_one_waits() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |_| {}).await;
    // Right in every probability, and with limits that stop nearly everything.
    let thresholds = Thresholds { review: 0.001, challenge: None, decline: 0.002 };
    let mut bad = Recipe { thresholds, model: ["logistic_double", "logistic"], ..Recipe::default() }.pack("3");
    sign(&mut bad);
    world.add(&bad, "3");
    let decided = world.until(Traffic::default(), "it is banned", |world| world.stage("3") == "quarantined").await;
    assert!(decided.iter().all(|record| record.decision.release.model_version == "1"), "it answered nobody");
    world.add(&Recipe { model: ["logistic_zipmap", "logistic"], ..Recipe::default() }.pack("4"), "4");
    world.until(Traffic::default(), "it is validated", |world| world.stage("4") == "validated").await;
    world.pass(Traffic::default(), 60).await;
    assert_eq!((world.stage("4"), world.stage("1")), ("validated", "active"));
    let directory = world.close();
    let lines = record::read(directory.path());
    record::done(&lines, "quarantine", "done");
    record::is_whole(directory.path());
}

//! A release that fails after its promotion, and a crowd before a model that does not.

use std::time::Duration;

use fraudd::domain::DegradedReason;
use fraudd::runtime::audit::Kind;
use fraudd::tasks::faults::Fault;

use super::record;
use super::support::{Recipe, Traffic, open, runtime_is_here, usual};

/// What an answer may say while the model is at fault.
const ALLOWED: [DegradedReason; 6] = [
    DegradedReason::BreakerOpen,
    DegradedReason::ModelError,
    DegradedReason::ModelTimeout,
    DegradedReason::ModelQueueFull,
    DegradedReason::ScoreNotFinite,
    DegradedReason::FeatureMasked,
];

const FAULT: &str = "fault-of-new-release";
const SLOW: &str = "slow-of-new-release";

async fn leads_back(fault: Fault, slow_after_us: u64, by: &[&str]) {
    if !runtime_is_here() {
        return;
    }
    let usual_traffic = Traffic::default();
    let world = open(usual(), |settings| {
        settings.inference.breaker.slow_after_us = slow_after_us;
        settings.model_deadline = fraudd::domain::Span::from_micros(200_000);
    })
    .await;
    world.add(&Recipe { model: ["logistic_double", "logistic"], ..Recipe::default() }.pack("3"), "3");
    world.promote("3").await;
    let healthy = world.pass(usual_traffic, 20).await;
    assert!(healthy.iter().all(|record| record.decision.score.is_some()));
    assert!(world.faults.begin("heal/3", fault));
    let during = world.until(usual_traffic, "the model before answers", |world| world.active() == "1").await;
    for record in &during {
        let decision = &record.decision;
        let is_by_rules = decision.degraded.iter().any(|reason| ALLOWED.contains(reason));
        assert!(decision.score.is_some() || is_by_rules, "{:?}", decision.degraded);
    }
    assert!(during.iter().any(|record| record.decision.score.is_none()), "rules answered");
    world.until(usual_traffic, "it is banned", |world| world.stage("3") == "quarantined").await;
    let after = world.round(usual_traffic).await;
    assert!(after.iter().all(|record| record.decision.score.is_some()), "the proven model answers");
    assert!(after.iter().all(|record| record.decision.release.model_version == "1"));
    let place = world.directory.path().to_owned();
    let is_checked = |_: &_| record::checked(&record::read(&place)).is_some();
    world.until(usual_traffic, "the change is checked", is_checked).await;
    world.faults.end("heal/3");
    let directory = world.close();
    let lines = record::read(directory.path());
    let (_, swapped) = record::done(&lines, "swap", "done");
    let (banned, _) = record::done(&lines, "quarantine", "done");
    assert!(swapped < banned, "it has left its place before it is banned");
    let rows = record::actions(&lines);
    let mut swaps = rows.iter().filter(|(_, action)| action == "swap");
    assert!(swaps.next().is_some_and(|(row, _)| by.contains(&row.as_str())) && swaps.next().is_none(), "{rows:?}");
    let verdict = record::checked(&lines).expect("checked");
    assert_eq!(verdict["is_good"], true, "{verdict}");
    assert!(lines.iter().any(|line| line.kind == Kind::Breaker), "the breaker's moves are on the record");
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_that_fails_is_taken_back_and_banned() {
    leads_back(Fault::Fail, 500_000, &[FAULT]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_that_gives_nan_is_taken_back_and_banned() {
    leads_back(Fault::NotANumber, 500_000, &[FAULT]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_that_is_slow_is_taken_back_and_banned() {
    leads_back(Fault::Slow(Duration::from_millis(150)), 100_000, &[SLOW]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_that_hangs_is_taken_back_and_banned() {
    // It is slow first, and at fault once its threads are written off.
    leads_back(Fault::Hang, 500_000, &[FAULT, SLOW]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooded_line_before_a_healthy_release_changes_no_model() {
    if !runtime_is_here() {
        return;
    }
    let traffic = Traffic::default();
    // Room for one row: what comes at once does not fit.
    let world = open(usual(), |settings| {
        settings.inference.queue_len_max = std::num::NonZeroUsize::MIN;
        settings.fleet.golden_every = Duration::ZERO;
    })
    .await;
    world.add(&Recipe { model: ["logistic_double", "logistic"], ..Recipe::default() }.pack("3"), "3");
    world.promote("3").await;
    let decided = world.pass(traffic, 60).await;
    let crowded =
        decided.iter().filter(|record| record.decision.degraded.contains(&DegradedReason::ModelQueueFull)).count();
    assert!(crowded > 100, "{crowded} of {} did not fit", decided.len());
    let opened =
        decided.iter().filter(|record| record.decision.degraded.contains(&DegradedReason::BreakerOpen)).count();
    assert_eq!((opened, world.active().as_str(), world.stage("3")), (0, "3", "active"));
    let directory = world.close();
    let lines = record::read(directory.path());
    let names = record::names(&lines);
    assert!(names.iter().all(|name| name == "page"), "{names:?}");
    assert!(!lines.iter().any(|line| line.kind == Kind::Breaker), "the breaker stays closed");
    record::is_whole(directory.path());
}

//! A model that goes silent while the one before it does not: the most severe answer counts, within its share.

use std::collections::BTreeSet;
use std::sync::Arc;

use fraudd::domain::{DegradedReason, Outcome, Thresholds};
use fraudd::healing::Health;
use fraudd::runtime::decisions::Record;
use fraudd::runtime::reproduce;
use fraudd::scoring::decide::union::STANDBY_SCORE_HIGH;
use fraudd::tasks::faults::Fault;

use super::record;
use super::support::{Recipe, Traffic, World, directory, open, runtime_is_here};

/// Small amounts only: what the models know as harmless.
const SMALL: Traffic = Traffic { more: -0.75, loses_hour: false };
/// The shipped policy lets no more than this be made more severe.
const SHARE_MAX: f64 = 0.1;

/// Limits of a standby that still stops something among small amounts.
const WARY: Thresholds = Thresholds { review: 0.05, challenge: None, decline: 0.8 };

fn is_united(world: &World) -> bool {
    world.service.scorer.release().facts.second.is_some()
}

fn is_raised(record: &Record) -> bool {
    record.decision.reasons.iter().any(|reason| &*reason.code == STANDBY_SCORE_HIGH)
}

fn has(record: &Record, reason: DegradedReason) -> bool {
    record.decision.degraded.contains(&reason)
}

async fn is_made_again(world: &World, records: &[Arc<Record>]) {
    let release = world.service.scorer.release();
    for record in records {
        let reproduction = reproduce::reproduce(record, &release).await;
        assert_eq!(reproduction.differences, Vec::<String>::new(), "{:?}", record.decision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_model_is_silent_the_standby_decides_too_until_it_speaks_again() {
    if !runtime_is_here() {
        return;
    }
    let wary = Recipe { thresholds: WARY, ..Recipe::forest() };
    let world = open(directory(&[("1", Recipe::default().pack("1")), ("2", wary.pack("2"))]), |_| {}).await;
    let healthy = world.pass(Traffic::default(), 30).await;
    assert!(healthy.iter().all(|record| !has(record, DegradedReason::United) && !is_raised(record)));
    world.until(SMALL, "the standby decides, too", is_united).await;
    let during = world.pass(SMALL, 60).await;
    assert!(during.iter().all(|record| has(record, DegradedReason::United)));
    let raised: Vec<Arc<Record>> = during.iter().filter(|record| is_raised(record)).cloned().collect();
    assert!(!raised.is_empty() && raised.iter().all(|record| record.decision.outcome != Outcome::Approve));
    let made = during.iter().filter(|r| is_raised(r) || has(r, DegradedReason::ReviewWidened)).count();
    assert!((made as f64) <= SHARE_MAX * (during.len() + healthy.len()) as f64, "{made} of {}", during.len());
    is_made_again(&world, &raised[..raised.len().min(50)]).await;
    // The standby fails, too: it is told, the others decide, and nobody waits for it.
    assert!(world.faults.begin("heal/2", Fault::Fail));
    let alone = world.pass(SMALL, 5).await;
    assert!(alone.iter().any(|record| has(record, DegradedReason::UnionIncomplete)));
    assert!(alone.iter().all(|record| record.decision.score.is_some()));
    is_made_again(&world, &alone[..20]).await;
    world.faults.end("heal/2");
    assert_eq!(world.active(), "1");
    world.until(Traffic::default(), "it ends", |world| !is_united(world)).await;
    world.until(Traffic::default(), "all is well", |world| world.view().state == Health::Healthy).await;
    let after = world.round(Traffic::default()).await;
    assert!(after.iter().all(|record| record.decision.degraded.is_empty()));
    let directory = world.close();
    let lines = record::read(directory.path());
    let (_, united) = record::done(&lines, "union", "done");
    let (relaxed, _) = record::done(&lines, "relax", "done");
    assert!(united < relaxed);
    assert!(record::actions(&lines).contains(&("collapse".to_owned(), "union".to_owned())));
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_standby_a_silent_model_leads_to_wider_review() {
    if !runtime_is_here() {
        return;
    }
    let world = open(directory(&[("1", Recipe::default().pack("1"))]), |settings| {
        settings.models.standby = String::new();
    })
    .await;
    world.pass(Traffic::default(), 30).await;
    world.until(SMALL, "review is wide", |world| world.service.scorer.shield().current().is_wide).await;
    let has_failed = |world: &World| {
        let lines = record::read(world.directory.path());
        lines.iter().any(|line| line.body["action"] == "union" && line.body["result"] == "failed")
    };
    world.until(SMALL, "the union is refused", has_failed).await;
    let during = world.pass(SMALL, 20).await;
    assert!(!is_united(&world) && during.iter().all(|record| !has(record, DegradedReason::UnionIncomplete)));
    world.until(Traffic::default(), "it ends", |world| world.view().protections.is_empty()).await;
    let directory = world.close();
    let lines = record::read(directory.path());
    let names: BTreeSet<String> = record::names(&lines).into_iter().collect();
    assert!(names.iter().all(|name| ["union", "widen_review", "relax", "page"].contains(&name.as_str())), "{names:?}");
    record::is_whole(directory.path());
}

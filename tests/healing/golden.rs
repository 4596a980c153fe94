//! A model that begins to say something else although nothing was changed: its golden rows, asked again while it serves,
//! tell. A crowd before the same rows tells nothing.

use std::num::NonZeroUsize;
use std::time::Duration;

use fraudd::domain::DegradedReason;
use fraudd::healing::Alarm;
use fraudd::runtime::audit::Kind;
use fraudd::runtime::clock::Moment;
use fraudd::tasks::faults::Fault;

use super::record;
use super::support::{Traffic, World, open, runtime_is_here, usual};

fn is_told(world: &World) -> bool {
    world.view().alarms.iter().any(|alarm| alarm.alarm == Alarm::GoldenMismatch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_changes_its_answers_is_found_by_its_golden_rows_and_left() {
    if !runtime_is_here() {
        return;
    }
    let traffic = Traffic::default();
    let world = open(usual(), |settings| settings.fleet.golden_every = Duration::from_secs(1)).await;
    world.pass(traffic, 20).await;
    assert!(!is_told(&world));
    assert!(world.faults.begin("heal/1", Fault::Otherwise));
    world.until(traffic, "it is found", is_told).await;
    let during = world.until(traffic, "the standby answers", |world| world.active() == "2").await;
    assert!(during.iter().any(|record| record.decision.degraded.contains(&DegradedReason::SafeMode)), "not believed");
    world.until(traffic, "it is over", |world| world.view().protections.is_empty()).await;
    // What protected is taken away by the executor, a moment after that was planned.
    let until = Moment::now().after(Duration::from_mins(1));
    while world.round(traffic).await.iter().any(|record| record.decision.score.is_none()) {
        assert!(!until.has_passed(), "the standby does not answer everybody: {}", world.told());
    }
    world.faults.end("heal/1");
    let directory = world.close();
    let lines = record::read(directory.path());
    let found = lines.iter().find(|line| line.kind == Kind::Alarm && line.body["alarm"] == "golden_mismatch");
    let text = found.map(|line| line.body["evidence"]["text"].to_string()).unwrap_or_default();
    assert!(text.contains("while it serves"), "the fleet's own check found it: {text}");
    let (safe, _) = record::done(&lines, "rules_only", "done");
    let (swap, _) = record::done(&lines, "swap", "done");
    assert!(safe < swap, "protected first");
    let rows = record::actions(&lines);
    assert!(rows.contains(&("golden-mismatch".to_owned(), "swap".to_owned())), "{rows:?}");
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_rows_that_find_no_room_in_a_crowd_say_nothing_of_the_model() {
    if !runtime_is_here() {
        return;
    }
    let traffic = Traffic::default();
    let world = open(usual(), |settings| {
        settings.inference.queue_len_max = NonZeroUsize::MIN;
        settings.fleet.golden_every = Duration::from_secs(1);
    })
    .await;
    let decided = world.pass(traffic, 60).await;
    let crowded = |reason: &DegradedReason| *reason == DegradedReason::ModelQueueFull;
    assert!(decided.iter().any(|record| record.decision.degraded.iter().any(crowded)), "there was a crowd");
    assert!(!is_told(&world));
    assert_eq!(world.active(), "1");
    let directory = world.close();
    let lines = record::read(directory.path());
    assert!(lines.iter().all(|line| line.body["alarm"] != "golden_mismatch"));
    assert!(record::names(&lines).iter().all(|name| name == "page"), "{:?}", record::names(&lines));
    record::is_whole(directory.path());
}

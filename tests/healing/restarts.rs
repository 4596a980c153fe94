//! What the loop must not forget when the process ends: the evidence of a trial, what a person forced, and the frauds
//! that a new model would learn from. The process of these stories is killed, not stopped: its files are taken from
//! under it.

use std::path::Path;
use std::sync::Arc;

use fraudd::domain::{Span, Timestamp};
use fraudd::healing::breaker::{Force, Place};
use fraudd::healing::lifecycle::{Mandate, Order, TrialFacts};
use fraudd::runtime::audit::Kind;
use fraudd::runtime::clock::Clock;
use fraudd::runtime::slot::Model;

use super::record;
use super::support::{Recipe, Traffic, World, open, open_at, runtime_is_here, sign, usual};

const TRAFFIC: Traffic = Traffic { more: 0.0, loses_hour: false };

/// Copies what lies on the disk at this instant, as a process leaves it that is killed now.
fn killed(world: &World) -> (Arc<tempfile::TempDir>, (Timestamp, u64)) {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("readable").flatten() {
            let target = to.join(entry.file_name());
            // What is renamed or let go in this instant was not there any more.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => copy(&entry.path(), &target),
                Ok(_) | Err(_) => drop(std::fs::copy(entry.path(), target)),
            }
        }
    }
    let place = tempfile::tempdir().expect("a directory");
    copy(world.directory.path(), place.path());
    (Arc::new(place), (world.clock.now(), world.calls()))
}

fn trial(world: &World) -> TrialFacts {
    world.service.fleet.facts().trial.expect("a trial")
}

/// How many pairs of the canary were written down.
fn kept(world: &World) -> u64 {
    let file = std::fs::read(world.directory.path().join("state/trial.json")).unwrap_or_default();
    let kept: serde_json::Value = serde_json::from_slice(&file).unwrap_or_default();
    if kept["percent"] == 10 { kept["trial"]["pairs"].as_u64().unwrap_or(0) } else { 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_of_a_trial_goes_on_where_a_killed_process_left_it() {
    if !runtime_is_here() {
        return;
    }
    let slow = |settings: &mut fraudd::config::Settings| {
        settings.fleet.trial.canary_dwell_min = Span::from_days(1);
        let healing = settings.healing.as_mut().expect("healing is on");
        for row in &mut healing.healer.table.row {
            row.cool_down = Span::from_seconds(1);
        }
    };
    let world = open(usual(), slow).await;
    let mut files = Recipe { model: ["logistic_double", "logistic"], ..Recipe::default() }.pack("3");
    sign(&mut files);
    world.add(&files, "3");
    world.until(TRAFFIC, "its evidence is kept", |world| kept(world) > 500).await;
    let before = trial(&world);
    let (directory, at) = killed(&world);
    let most = trial(&world).figures.pairs;
    drop(world);

    let other = open_at(Arc::clone(&directory), at, slow).await;
    let after = trial(&other);
    assert_eq!((&after.model, after.percent, after.since), (&before.model, 10, before.since));
    let (pairs, votes) = (after.figures.pairs, after.figures.votes);
    assert!((500..=most).contains(&pairs) && votes > 0, "{pairs} of {most}");
    other.until(TRAFFIC, "it is loaded and goes on", |world| trial(world).figures.pairs > pairs).await;
    let (directory, at) = killed(&other);
    drop(other);

    // What was gathered for other bands says nothing of these.
    let stricter = open_at(directory, at, |settings| {
        slow(settings);
        settings.fleet.trial.new_alerts_max = 0.05;
    })
    .await;
    let begun = trial(&stricter);
    assert_eq!((begun.percent, begun.figures.pairs), (10, 0));
}

fn loaded(world: &World, version: &str) -> Arc<Model> {
    world.service.fleet.find("heal", Some(version)).expect("loaded")
}

fn place(world: &World, version: &str) -> Place {
    loaded(world, version).guard.place()
}

async fn swap(world: &World, version: &str) {
    let (service, to) = (Arc::clone(&world.service), world.model(version));
    let mandate = Mandate::Person { name: "ann".to_owned() };
    let done = tokio::task::spawn_blocking(move || (service.orders)(&Order::Swap { to }, &mandate, "a drill"));
    done.await.expect("no panic").expect("swapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_belongs_to_its_bundle_until_it_expires_over_swaps_and_restarts() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |_| {}).await;
    // Guards live in the machine's time.
    let until = loaded(&world, "1").guard.now().plus(Span::from_seconds(900));
    loaded(&world, "1").guard.force(Force::Open, until, "drill", "ann");
    world.service.fleet.keep_forces();
    let (directory, at) = killed(&world);
    let kept = std::fs::read_to_string(directory.path().join("state/forces.json")).expect("kept");
    assert!(kept.contains("drill"), "{kept}");
    drop(world);

    let world = open_at(directory, at, |_| {}).await;
    let force = loaded(&world, "1").guard.forced().expect("a force");
    assert_eq!((force.force, force.until, &*force.reason, &*force.by), (Force::Open, until, "drill", "ann"));
    assert!(world.round(TRAFFIC).await.iter().all(|record| record.decision.score.is_none()), "rules answer");
    // A swap leaves it behind.
    swap(&world, "2").await;
    assert_eq!((place(&world, "1"), place(&world, "2")), (Place::ForcedOpen, Place::Closed));
    assert!(world.round(TRAFFIC).await.iter().all(|record| record.decision.score.is_some()), "the other answers");
    let (directory, at) = killed(&world);
    drop(world);

    let world = open_at(directory, at, |_| {}).await;
    assert_eq!(
        (world.active().as_str(), place(&world, "1"), place(&world, "2")),
        ("2", Place::ForcedOpen, Place::Closed)
    );
    // The bundle comes back, and what was forced on it holds again.
    swap(&world, "1").await;
    assert!(world.round(TRAFFIC).await.iter().all(|record| record.decision.score.is_none()));
    // A person ends it: that survives as well.
    assert!(loaded(&world, "1").guard.clear("over", "bob"));
    let short = loaded(&world, "2").guard.now().plus(Span::from_seconds(2));
    loaded(&world, "2").guard.force(Force::ObserveOnly, short, "drill", "ann");
    world.service.fleet.keep_forces();
    let (directory, at) = killed(&world);
    drop(world);
    while Clock::system().now() <= short {
        tokio::task::yield_now().await;
    }
    let world = open_at(directory, at, |_| {}).await;
    assert_eq!((place(&world, "1"), place(&world, "2")), (Place::Closed, Place::Closed), "cleared, and expired");
    let directory = world.close();
    let lines = record::read(directory.path());
    let is_force = |line: &&record::Told| line.kind == Kind::Breaker && line.body["to"] == "forced_open";
    let forced: Vec<_> = lines.iter().filter(is_force).collect();
    assert!(forced.len() >= 2 && forced.iter().all(|line| line.body["by"] == "ann"), "the restart says whose it is");
    record::is_whole(directory.path());
}

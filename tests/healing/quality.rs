//! Quality that labels show to be lost: a new model is asked for, when there are frauds enough to learn from, counted
//! over a restart. Without labels nobody asks.

use std::path::Path;
use std::time::Duration;

use fraudd::config::Settings;
use fraudd::domain::{Outcome, Span};
use fraudd::healing::{Alarm, Verdict};
use fraudd::runtime::audit::Kind;
use fraudd::runtime::decisions::Record;
use fraudd::runtime::retraining::command;
use xxhash_rust::xxh3::xxh3_64;

use super::record;
use super::support::{Recipe, Traffic, World, directory, open, open_at, runtime_is_here};

const TRAFFIC: Traffic = Traffic { more: 0.0, loses_hour: false };
/// Rounds in which the usual is learned.
const ROUNDS: usize = 300;

fn drawn(record: &Record) -> f64 {
    (xxh3_64(record.transaction.id().as_bytes()) % 10_000) as f64 / 10_000.0
}

/// The world that the model knows: frauds are as frequent as scores promise.
fn as_promised(record: &Record) -> bool {
    record.decision.score.is_some_and(|score| drawn(record) < score.get())
}

/// Another world: what is stopped is genuine, and frauds are among the rest.
fn otherwise(record: &Record) -> bool {
    record.decision.outcome == Outcome::Approve && drawn(record) < 0.1
}

/// A service that asks for a new model from so many mature frauds on; nobody stands by.
fn asking(settings: &mut Settings, frauds_min: u64) {
    settings.models.standby.clear();
    settings.labels.maturity = Span::from_seconds(5);
    settings.labels.silence = Span::from_seconds(60);
    let retraining = &mut settings.retraining;
    retraining.ask.is_enabled = true;
    retraining.ask.maturity = Span::from_seconds(5);
    retraining.ask.frauds_min = frauds_min;
    // It finds nothing better: what is shown is that it is asked.
    let command = ["/bin/sh", "-c", "exit 3"].map(str::to_owned).to_vec();
    retraining.command =
        Some(command::Options { command, deadline: Duration::from_mins(1), grace: Duration::from_secs(1) });
    let healing = settings.healing.as_mut().expect("healing is on");
    for row in &mut healing.healer.table.row {
        row.cool_down = Span::from_seconds(1);
    }
    healing.healer.table.times.retry = Span::from_seconds(5);
}

async fn labelled(world: &World, rounds: usize, is_fraud: impl Fn(&Record) -> bool + Copy) {
    for _ in 0..rounds {
        let decided = world.round(TRAFFIC).await;
        world.label(&decided, is_fraud).await;
    }
}

/// Counts the frauds that are kept.
fn frauds(directory: &Path) -> u64 {
    let kept = std::fs::read_to_string(directory.join("state/frauds.log")).unwrap_or_default();
    kept.lines().count() as u64
}

/// Lists the requests for a new model that lie in the state directory.
fn requests(directory: &Path) -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(directory.join("state/retraining"));
    let files = entries.into_iter().flatten().flatten().map(|entry| entry.path().join("request.json"));
    files.filter_map(|file| serde_json::from_slice(&std::fs::read(file).ok()?).ok()).collect()
}

fn is_acting(world: &World, alarm: Alarm) -> bool {
    world.view().alarms.iter().any(|found| found.alarm == alarm && found.verdict == Verdict::Acting)
}

fn alone() -> std::sync::Arc<tempfile::TempDir> {
    directory(&[("1", Recipe::default().pack("1"))])
}

#[tokio::test(flavor = "multi_thread")]
async fn quality_that_is_lost_asks_for_a_new_model_once_there_are_frauds_enough_over_a_restart() {
    if !runtime_is_here() {
        return;
    }
    let world = open(alone(), |settings| asking(settings, 1)).await;
    labelled(&world, 2 * ROUNDS, as_promised).await;
    let at = (world.clock.now(), world.calls());
    let place = world.close();
    let before = frauds(place.path());
    assert!(before > 100, "{before} frauds");
    assert!(requests(place.path()).is_empty(), "nothing was lost");

    // More frauds than the second life sees, and than the first one saw.
    let frauds_min = before + 20;
    let world = open_at(place, at, |settings| asking(settings, frauds_min)).await;
    labelled(&world, ROUNDS, as_promised).await;
    let path = world.directory.path().to_owned();
    let until = fraudd::runtime::clock::Moment::now().after(Duration::from_mins(2));
    while requests(&path).is_empty() {
        assert!(!until.has_passed(), "{}", world.told());
        labelled(&world, 1, otherwise).await;
    }
    assert!(frauds(&path) - before < frauds_min, "those of the second life alone are too few");
    assert_eq!(world.active(), "1");
    let place = world.close();
    let asked = requests(place.path());
    assert_eq!(asked[0]["replaces"]["version"], "1", "{asked:?}");
    assert!(asked[0].to_string().contains("quality_lost"), "{asked:?}");
    let lines = record::read(place.path());
    let rows = record::actions(&lines);
    assert!(rows.contains(&("quality-lost".to_owned(), "request_retraining".to_owned())), "{rows:?}");
    let is_found = |line: &record::Told| line.kind == Kind::Alarm && line.body["alarm"] == "quality_lost";
    assert!(lines.iter().any(is_found));
    record::is_whole(place.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_stop_when_the_world_changes_ask_for_nothing() {
    if !runtime_is_here() {
        return;
    }
    let world = open(alone(), |settings| asking(settings, 1)).await;
    labelled(&world, ROUNDS, as_promised).await;
    world.until(TRAFFIC, "the silence is told", |world| is_acting(world, Alarm::LabelFeed)).await;
    world.pass(TRAFFIC, 30).await;
    assert!(!is_acting(&world, Alarm::QualityLost));
    let place = world.close();
    assert!(requests(place.path()).is_empty());
    let names = record::names(&record::read(place.path()));
    assert!(names.iter().all(|name| name == "page"), "{names:?}");
    record::is_whole(place.path());
}

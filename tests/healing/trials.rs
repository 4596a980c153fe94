//! A bundle that is dropped into the directory: signed and good it earns its place, signed and bad it is banned, unsigned
//! it waits for a person.

use fraudd::domain::{Span, Thresholds};
use fraudd::runtime::audit::Kind;

use super::record;
use super::support::{Recipe, Traffic, World, badly_calibrated, open, runtime_is_here, sign, usual};

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
    let by_gates = ["seen by gates", "validated by gates"];
    let by_healing = ["shadow by healing", "canary by healing", "canary by healing", "active by healing"];
    assert_eq!(record::steps(&lines, "3"), [&by_gates[..], &by_healing[..]].concat());
    assert_eq!(record::steps(&lines, "1"), ["seen by start", "active by start", "standby by healing"]);
    assert_eq!(record::steps(&lines, "2"), ["seen by start", "standby by start", "retired by healing"]);
    let told = record::explained(directory.path());
    assert!(told.contains("model     heal/3 canary of 10 percent, was shadow, by healing: "), "{told}");
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_bundle_that_stops_far_more_is_banned_and_an_unsigned_one_waits() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |settings| settings.reload_every = Span::from_micros(100_000)).await;
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
    // A person's hand, a bundle that no gate lets in, and a file that changes are on the record, too.
    world.add(&badly_calibrated("5"), "5");
    world.until(Traffic::default(), "it is refused", |world| world.known("5").is_some()).await;
    world.promote("4").await;
    let rules = world.directory.path().join("rules.toml");
    let text = std::fs::read_to_string(&rules).expect("rules");
    let version = world.service.scorer.release().facts.rules_version.clone();
    std::fs::write(&rules, text.replace("weight = 100", "weight = 90")).expect("written");
    let is_other = |world: &World| world.service.scorer.release().facts.rules_version != version;
    world.until(Traffic::default(), "other rules are in force", is_other).await;
    std::fs::write(&rules, "[[rule]]\nid = 7\n").expect("written");
    let is_refused = |world: &World| record::explained(world.directory.path()).contains("is not put in force");
    world.until(Traffic::default(), "wrong ones are refused", is_refused).await;
    let directory = world.close();
    let lines = record::read(directory.path());
    assert_eq!(record::steps(&lines, "3").last().map(String::as_str), Some("quarantined by healing"));
    assert_eq!(record::steps(&lines, "5"), ["seen by gates", "refused by gates"]);
    assert_eq!(record::steps(&lines, "4"), ["seen by gates", "validated by gates", "active by ann"]);
    let files: Vec<_> = lines.iter().filter(|line| line.kind == Kind::Config && line.body["what"] == "files").collect();
    assert_eq!(
        files.iter().map(|line| line.body["by"].as_str()).collect::<Vec<_>>(),
        [Some("start"), Some("files"), Some("files")]
    );
    assert_ne!(files[0].body["rules"], files[1].body["rules"]);
    assert_eq!(files[1].body["rules"], files[2].body["rules"], "what was in force stays");
    assert!(files[1].body.get("refused").is_none() && files[2].body["refused"][0].is_string());
    record::done(&lines, "quarantine", "done");
    record::is_whole(directory.path());
}

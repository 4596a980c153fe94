//! What outlives the process, and what is done when nothing can be written down.

use fraudd::healing::situation::RecordState;
use fraudd::healing::{Alarm, Health};

use super::record;
use super::support::{Recipe, Traffic, World, open, open_at, runtime_is_here, usual};

const LOSES: Traffic = Traffic { more: 0.0, loses_hour: true };

fn is_masked(world: &World) -> bool {
    world.service.scorer.shield().current().masked == ["hour"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_midst_of_an_incident_goes_on_with_it() {
    if !runtime_is_here() {
        return;
    }
    let world = open(usual(), |_| {}).await;
    world.add(&Recipe { model: ["logistic_double", "logistic"], ..Recipe::default() }.pack("3"), "3");
    world.promote("3").await;
    world.pass(Traffic::default(), 30).await;
    world.until(LOSES, "it is masked", is_masked).await;
    world
        .until(LOSES, "it is known to be", |world| world.view().last_actions.iter().all(|a| a.ended_at.is_some()))
        .await;
    let (now, calls, before) = (world.clock.now(), world.calls(), world.view());
    let directory = world.close();

    let world = open_at(directory, (now, calls), |_| {}).await;
    assert_eq!((world.active().as_str(), world.stage("1"), world.stage("2")), ("3", "standby", "retired"));
    world.until(LOSES, "it is masked again", is_masked).await;
    let view = world.view();
    assert_eq!(view.audit.chain, before.audit.chain, "the chain goes on");
    assert!(view.audit.seq > before.audit.seq);
    assert_eq!(view.incidents.first().map(|i| i.number), before.incidents.first().map(|i| i.number));
    world.pass(LOSES, 30).await;
    assert!(is_masked(&world), "it stays while the values are away");
    world.until(Traffic::default(), "it counts again", |world| !is_masked(world)).await;
    world.until(Traffic::default(), "all is well", |world| world.view().state == Health::Healthy).await;
    let directory = world.close();
    let lines = record::read(directory.path());
    record::done(&lines, "unmask", "done");
    record::is_whole(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_written_down_answers_are_protected_and_no_model_is_changed() {
    if !runtime_is_here() {
        return;
    }
    // Each group of lines begins a file of its own, so that the directory is asked for each.
    let world = open(usual(), |settings| {
        let audit = &mut settings.healing.as_mut().expect("healing is on").audit;
        (audit.file_len_max, audit.files_max) = (1, 100_000);
    })
    .await;
    world.add(&Recipe { model: ["logistic_double", "logistic"], ..Recipe::default() }.pack("3"), "3");
    world.promote("3").await;
    world.pass(Traffic::default(), 30).await;
    // The record's directory is gone, and a file stands in its place.
    let place = world.directory.path().join("state/audit");
    let aside = world.directory.path().join("aside");
    std::fs::rename(&place, &aside).expect("moved");
    std::fs::write(&place, "").expect("written");
    assert!(world.faults.begin("heal/3", fraudd::tasks::faults::Fault::Fail));
    let is_told = |world: &World| {
        let view = world.view();
        view.audit.failure.is_some() && view.alarms.iter().any(|alarm| alarm.alarm == Alarm::AuditDown)
    };
    let decided = world.until(Traffic::default(), "it is told", is_told).await;
    assert!(decided.iter().any(|record| record.decision.score.is_none()), "rules answer");
    world.pass(Traffic::default(), 60).await;
    assert_eq!((world.active().as_str(), world.stage("3")), ("3", "active"), "no model is changed");
    let audit = world.service.healing.get().expect("healing").audit().clone();
    assert_eq!(audit.state(), RecordState::Down);
    // It can be written down again: what waited is written, and what was held is done.
    std::fs::remove_file(&place).expect("removed");
    std::fs::rename(&aside, &place).expect("moved");
    world.until(Traffic::default(), "the model before answers", |world| world.active() == "1").await;
    world.until(Traffic::default(), "it is banned", |world| world.stage("3") == "quarantined").await;
    assert_eq!(audit.state(), RecordState::Written);
    world.faults.end("heal/3");
    let directory = world.close();
    let lines = record::read(directory.path());
    record::done(&lines, "swap", "done");
    record::is_whole(directory.path());
}

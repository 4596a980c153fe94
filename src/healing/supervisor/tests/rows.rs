//! Each row of the table, with the look-alike that must not trigger it.

use super::scene::{Scene, finding, held, model, names};
use crate::healing::finding::{Alarm, Finding, Verdict};
use crate::healing::memory::Health;
use crate::healing::situation::{ActiveControl, Asking, Judged, RecordState, StandbyControl};
use crate::healing::table::OnDrift;
use crate::healing::{Action, Plan};

pub(super) fn about_new(alarm: Alarm) -> Finding {
    finding(alarm, Some("new"))
}

pub(super) fn check(mut scene: Scene, seconds: i64, expected: &[&str]) -> Scene {
    assert_eq!(scene.run(seconds), expected, "{:?}", scene.memory.holds);
    scene
}

pub(super) fn swaps_to(planned: &Plan, version: &str) -> bool {
    planned.actions.iter().any(|planned| matches!(&planned.action, Action::Swap { to, .. } if *to == model(version)))
}

#[test]
fn nothing_wrong_is_healthy_and_leads_to_nothing() {
    let scene = check(Scene::proven().standby_in_control(), 600, &[]);
    assert_eq!(scene.memory.health, Health::Healthy);
}

#[test]
fn a_fault_of_a_new_release_swaps_and_bans_it() {
    let mut scene = Scene::fresh().finds(about_new(Alarm::ModelFault));
    let planned = scene.after(1);
    assert_eq!(names(&planned), ["swap", "quarantine", "page"]);
    scene.perform(&planned);
    assert_eq!(names(&scene.after(1)), [] as [&str; 0]);
    assert_eq!(scene.memory.health, Health::Recovering);
    assert_eq!(scene.situation.fleet.quarantined, [model("new")]);
    scene.situation.watch.votes = 1_000;
    scene.situation.watch.is_conclusive = true;
    let planned = scene.after(40);
    assert!(planned.verified[0].is_good, "{planned:?}");
    assert_eq!(scene.memory.health, Health::Healthy);
}

#[test]
fn a_fault_of_a_proven_model_never_goes_back_blindly() {
    check(Scene::proven().finds(about_new(Alarm::ModelFault)), 600, &["restart_inference", "page"]);
    // The twin: the standby is shown to score the same traffic.
    let scene = Scene::proven().standby_in_control().finds(about_new(Alarm::ModelFault));
    check(scene, 70, &["restart_inference", "swap", "page"]);
    // And one that fails on it, too: the input is to blame.
    let scene = Scene::proven().standby_in_control().control(|control| control.failures = 3);
    check(scene.finds(about_new(Alarm::ModelFault)), 600, &["restart_inference", "page"]);
}

#[test]
fn a_fault_of_a_new_release_without_a_ready_standby_is_answered_by_rules() {
    let mut scene = Scene::fresh().finds(about_new(Alarm::ModelFault));
    scene.situation.fleet.standby.as_mut().expect("a standby").golden_checked_at = None;
    check(scene, 600, &["restart_inference", "page"]);
    let mut scene = Scene::fresh().finds(about_new(Alarm::ModelFault));
    scene.situation.fleet.quarantined.push(model("old"));
    check(scene, 600, &["restart_inference", "page"]);
}

#[test]
fn a_golden_mismatch_silences_the_model_until_another_answers() {
    let mut scene = check(
        Scene::proven().finds(about_new(Alarm::GoldenMismatch)),
        60,
        &["rules_only", "page", "restart_inference", "swap", "model_again"],
    );
    scene.situation.watch.votes = 1_000;
    scene.situation.watch.is_conclusive = true;
    assert_eq!(scene.run(120), [] as [&str; 0]);
    assert_eq!(scene.memory.health, Health::Healthy);
}

#[test]
fn a_slow_model_is_left_only_for_one_that_is_in_time() {
    let scene = Scene::proven().standby_in_control().finds(about_new(Alarm::SlowModel));
    check(scene, 60, &["swap", "page"]);
    let scene = Scene::proven().standby_in_control().control(|control| control.within_time = None);
    check(scene.finds(about_new(Alarm::SlowModel)), 600, &["restart_inference", "page"]);
}

#[test]
fn a_slow_host_and_overload_never_touch_the_model() {
    // Twins of the slow model: the same slowness, explained.
    let scene = Scene::proven().standby_in_control().finds(about_new(Alarm::SlowModel));
    let scene = check(scene.finds(finding(Alarm::HostSlow, None)), 300, &[]);
    assert_eq!(scene.memory.health, Health::Degraded);
    let scene = Scene::proven().standby_in_control().finds(about_new(Alarm::SlowModel));
    check(scene.finds(finding(Alarm::Overload, None)), 600, &["page"]);
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::SlowModel));
    scene.situation.host.is_slow = true;
    check(scene, 300, &[]);
}

#[test]
fn drift_of_a_new_release_swaps_when_the_old_one_passes_here() {
    for alarm in [Alarm::InputDrift, Alarm::ScoreDrift] {
        let scene = Scene::fresh().standby_in_control().finds(about_new(alarm));
        check(scene, 30, &["swap", "quarantine", "page"]);
    }
    // The twin: the old one does not pass the alarming channel either, so the world moved.
    let scene = Scene::fresh().standby_in_control().control(|control| control.scores = Judged::OutOfControl);
    let mut scene = check(scene.finds(about_new(Alarm::ScoreDrift)), 1_200, &["widen_review"]);
    assert_eq!(scene.run(3_000), ["request_retraining", "page"]);
    // And the old one unjudged, or judged on too little, is no evidence.
    check(Scene::fresh().finds(about_new(Alarm::ScoreDrift)), 600, &["widen_review"]);
    let scene = Scene::fresh().standby_in_control().control(|control| control.events = 100);
    check(scene.finds(about_new(Alarm::ScoreDrift)), 600, &["widen_review"]);
}

#[test]
fn a_new_release_that_alone_finds_a_feature_broken_or_is_slow_is_left() {
    let broken = Finding { subject: Some("tx_amount".into()), ..about_new(Alarm::BrokenFeature) };
    let expected = ["swap", "quarantine", "page"];
    check(Scene::fresh().standby_in_control().finds(broken.clone()), 20, &expected);
    check(Scene::fresh().standby_in_control().finds(about_new(Alarm::SlowModel)), 20, &expected);
    // The look-alikes: the standby finds it broken, too; it is as slow.
    let both = Scene::fresh().standby_in_control().control(|control| control.inputs = Judged::OutOfControl);
    check(both.finds(broken), 20, &["mask"]);
    let slow = Scene::fresh().standby_in_control().control(|control| control.within_time = Some(false));
    check(slow.finds(about_new(Alarm::SlowModel)), 20, &[]);
}

#[test]
fn an_alarm_that_outlives_its_cause_changes_no_model() {
    let stale = |control: &mut StandbyControl| {
        let calm = Judged::InControl;
        control.active = Some(ActiveControl { inputs: calm, scores: calm, alerts: calm });
    };
    for alarm in [Alarm::InputDrift, Alarm::ScoreDrift] {
        check(Scene::fresh().standby_in_control().control(stale).finds(about_new(alarm)), 20, &["widen_review"]);
        check(Scene::proven().standby_in_control().control(stale).finds(about_new(alarm)), 20, &["widen_review"]);
    }
}

#[test]
fn drift_without_a_change_is_guarded() {
    let drift = || about_new(Alarm::InputDrift);
    let scene = Scene::proven().standby_in_control().finds(drift());
    check(scene, 60, &["swap"]);
    // A standby that is not in control itself: protect.
    let scene = Scene::proven().standby_in_control().control(|control| control.inputs = Judged::OutOfControl);
    check(scene.finds(drift()), 600, &["widen_review"]);
    // A near-constant standby is quiet and in control, but of lower quality.
    let mut scene = Scene::proven().standby_in_control().finds(drift());
    scene.situation.fleet.standby.as_mut().expect("a standby").quality = Some(0.5);
    check(scene, 600, &["widen_review"]);
    // One whose quality nobody knows is no better.
    let mut scene = Scene::proven().standby_in_control().finds(drift());
    scene.situation.fleet.standby.as_mut().expect("a standby").quality = None;
    check(scene, 600, &["widen_review"]);
    // Labels show it worse.
    let scene = Scene::proven().standby_in_control().labels_say(0.0, 5.0).finds(drift());
    check(scene, 600, &["widen_review"]);
}

#[test]
fn the_policy_on_drift_is_obeyed() {
    let with = |policy, scene: Scene| {
        let mut scene = scene.finds(about_new(Alarm::InputDrift));
        scene.table.on_drift = policy;
        scene
    };
    check(with(OnDrift::Evidence, Scene::proven().standby_in_control()), 600, &["widen_review"]);
    check(with(OnDrift::Evidence, Scene::proven().labels_say(9.3, 0.0)), 60, &["swap"]);
    check(with(OnDrift::Always, Scene::proven()), 60, &["swap"]);
}

#[test]
fn a_broken_feature_is_masked_and_explains_the_drift_it_makes() {
    let broken = || Finding { subject: Some("tx_amount".into()), ..about_new(Alarm::BrokenFeature) };
    let scene = Scene::fresh().standby_in_control().control(|control| control.inputs = Judged::OutOfControl);
    let scene = scene.finds(broken()).finds(about_new(Alarm::InputDrift));
    let mut scene = scene.finds(about_new(Alarm::ScoreDrift)).finds(about_new(Alarm::AlertCollapse));
    let planned = scene.after(1);
    assert_eq!(planned.actions[0].action, Action::Mask { feature: "tx_amount".into() });
    assert_eq!((planned.actions.len(), held(&planned)[""]), (1, "explained"));
    scene.perform(&planned);
    assert_eq!(scene.run(600), [] as [&str; 0]);
    // It comes back: the mask ends a while after, and not before.
    scene.situation.findings.clear();
    assert_eq!(scene.run(60), [] as [&str; 0]);
    assert_eq!(scene.run(60), ["unmask"]);
    assert_eq!(scene.memory.health, Health::Healthy);
    // The twin, a new policy of nulls that is only advisory, masks nothing.
    let advisory = Finding { verdict: Verdict::Advisory, ..broken() };
    let scene = check(Scene::proven().finds(advisory), 600, &[]);
    assert_eq!(scene.memory.health, Health::Healthy);
}

#[test]
fn a_feature_that_cannot_be_masked_is_told() {
    let broken = Finding { subject: Some("tx_amount".into()), ..about_new(Alarm::BrokenFeature) };
    let mut scene = Scene::proven().finds(broken);
    let mut all = Vec::new();
    for _ in 0..20 {
        let planned = scene.after(10);
        all.extend(names(&planned));
        scene.perform_failing(&planned, "mask");
    }
    assert_eq!(all, ["mask", "page", "mask", "mask"]);
}

#[test]
fn an_attack_tightens_and_a_sale_does_not() {
    let surge = |share: f64| {
        let mut surge = about_new(Alarm::AlertSurge);
        surge.evidence.values.insert("top10_entity_share".into(), share);
        surge
    };
    // Even for a new release, with a standby in control, and drift that comes along.
    let scene = Scene::fresh().standby_in_control().finds(surge(0.6)).finds(about_new(Alarm::ScoreDrift));
    let mut scene = check(scene, 600, &["tighten", "page"]);
    scene.situation.findings.clear();
    assert_eq!(scene.run(120), ["relax"]);
    // One merchant under attack counts, too; a merchant that always has most of the traffic does not.
    let merchant = |traffic: f64| {
        let mut surge = surge(0.0);
        surge.evidence.values.insert("top_merchant_share".into(), 0.7);
        surge.evidence.values.insert("traffic_top_merchant_share".into(), traffic);
        surge
    };
    check(Scene::proven().finds(merchant(0.05)), 300, &["tighten", "page"]);
    check(Scene::proven().finds(merchant(0.6)), 300, &[]);
    // The twin: a sale comes from everybody.
    check(Scene::proven().standby_in_control().finds(surge(0.05)), 300, &[]);
    // And a surge from everybody since a new release is the release.
    check(Scene::fresh().standby_in_control().finds(surge(0.05)), 30, &["swap", "quarantine", "page"]);
}

#[test]
fn a_model_gone_silent_is_joined_by_rules_and_standby() {
    check(Scene::proven().finds(about_new(Alarm::AlertCollapse)), 600, &["union", "page"]);
    let scene = Scene::fresh().standby_in_control().finds(about_new(Alarm::AlertCollapse));
    check(scene, 30, &["union", "page", "swap", "quarantine", "relax"]);
}

#[test]
fn silent_labels_decide_nothing() {
    let scene = Scene::proven().labels_say(20.0, 0.0).finds(about_new(Alarm::QualityLost));
    let mut scene = check(scene.finds(finding(Alarm::LabelFeed, None)), 3_000, &[]);
    assert_eq!(held(&scene.after(1))[""], "explained");
    // The twin: the feed is well.
    let scene = Scene::proven().labels_say(20.0, 0.0).finds(about_new(Alarm::QualityLost));
    check(scene, 10, &["swap", "request_retraining", "page"]);
}

#[test]
fn retraining_waits_while_labels_are_in_doubt() {
    let scene = Scene::proven().finds(about_new(Alarm::InputDrift)).finds(finding(Alarm::LabelFeed, None));
    let mut scene = check(scene, 2_400, &["widen_review"]);
    assert_eq!(held(&scene.after(1))["request_retraining"], "data_in_doubt");
}

#[test]
fn a_model_is_asked_for_when_retraining_would_and_again_when_it_would_again() {
    let asking = |hold: Option<&str>| Some(Asking { hold: hold.map(str::to_owned) });
    let mut scene = Scene::proven().finds(about_new(Alarm::QualityLost));
    scene.situation.asking = asking(Some("480 mature frauds are fewer than 600"));
    // A hold is no failure: it may last for days, and no try is spent on it.
    assert_eq!(scene.run(3_000), ["widen_review"]);
    assert_eq!(held(&scene.after(1))["request_retraining"], "not_yet");
    scene.situation.asking = asking(None);
    assert_eq!(scene.run(10), ["request_retraining"]);
    // One is under way, or on trial; nothing is held that was done.
    scene.situation.asking = asking(Some("request 1 is under way"));
    assert_eq!(scene.run(600), ["page"]);
    assert!(!held(&scene.after(1)).contains_key("request_retraining"));
    // It brought nothing, and the pause is over.
    scene.situation.asking = asking(None);
    assert_eq!(scene.run(3_600), ["request_retraining"]);
    // Its twin, of whom nobody can tell: once is enough.
    let mut scene = Scene::proven().finds(about_new(Alarm::QualityLost));
    assert_eq!(scene.run(3_000), ["widen_review", "request_retraining"]);
}

#[test]
fn lost_quality_swaps_only_for_a_better_standby() {
    let scene = Scene::proven().standby_in_control().labels_say(5.0, 0.0).finds(about_new(Alarm::QualityLost));
    check(scene, 3_000, &["widen_review", "request_retraining"]);
    // Evidence about another pair is no evidence.
    let mut scene = Scene::proven().labels_say(20.0, 0.0).finds(about_new(Alarm::QualityLost));
    scene.situation.paired.as_mut().expect("pairs").active = model("older");
    check(scene, 3_000, &["widen_review", "request_retraining"]);
}

#[test]
fn calibration_changes_the_map_only() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::CalibrationOff));
    assert_eq!(scene.run(600), ["recalibrate"]);
    let mut scene = Scene::proven().finds(about_new(Alarm::CalibrationOff));
    let mut all = Vec::new();
    for _ in 0..20 {
        let planned = scene.after(10);
        all.extend(names(&planned));
        scene.perform_failing(&planned, "recalibrate");
    }
    assert_eq!(all, ["recalibrate", "request_retraining"]);
}

#[test]
fn standing_traffic_explains_drift() {
    let scene = Scene::fresh().standby_in_control().finds(about_new(Alarm::InputDrift));
    check(scene.finds(finding(Alarm::Volume, None)), 240, &[]);
}

#[test]
fn what_a_detector_cannot_tell_is_held() {
    let unsure = Finding { verdict: Verdict::Inconclusive, ..about_new(Alarm::InputDrift) };
    // Empty windows of a new installation look like drift, and are none.
    let scene = check(Scene::fresh().standby_in_control().finds(unsure.clone()), 600, &[]);
    assert_eq!(scene.memory.health, Health::Healthy);
    // Neither does it end what was found before.
    let mut scene = check(Scene::proven().finds(about_new(Alarm::InputDrift)), 60, &["widen_review"]);
    scene.situation.findings = vec![unsure];
    let planned = scene.after(7_200);
    assert_eq!((names(&planned), held(&planned)[""]), (vec![], "inconclusive"));
}

#[test]
fn what_is_found_of_another_model_is_ignored() {
    let scene = Scene::fresh().standby_in_control().finds(finding(Alarm::ModelFault, Some("older")));
    let scene = check(scene.finds(finding(Alarm::ScoreDrift, Some("old"))), 600, &[]);
    assert_eq!((scene.memory.health, scene.memory.incidents.len()), (Health::Healthy, 0));
}

#[test]
fn while_nothing_can_be_written_down_only_protection_is_done() {
    let mut scene = Scene::fresh().standby_in_control().finds(about_new(Alarm::ScoreDrift));
    scene.situation.record = RecordState::Down;
    scene.situation.findings.push(finding(Alarm::AuditDown, None));
    let mut scene = check(scene, 600, &["page", "page", "widen_review"]);
    assert_eq!(held(&scene.after(1))["swap"], "record_down");
    scene.situation.record = RecordState::Written;
    scene.situation.findings.pop();
    let planned = scene.after(1);
    assert_eq!(names(&planned), ["swap", "quarantine"]);
}

//! Each row of the table, with the look-alike that must not trigger it.

use super::scene::{Scene, finding, held, model, names};
use crate::domain::{Span, Timestamp};
use crate::healing::finding::{Alarm, Finding, Verdict};
use crate::healing::memory::Health;
use crate::healing::model::Stage;
use crate::healing::situation::{
    ActiveControl, Asking, BreakerState, Judged, Leadership, OrderKind, RecordState, StandbyControl, TrialFacts,
    TrialVerdict,
};
use crate::healing::table::OnDrift;
use crate::healing::{Action, Plan};

fn about_new(alarm: Alarm) -> Finding {
    finding(alarm, Some("new"))
}

/// Plans every ten seconds for a while, performs it all, and returns what was planned at all.
fn run(scene: &mut Scene, seconds: i64) -> Vec<&'static str> {
    let mut all = Vec::new();
    for _ in 0..seconds / 10 {
        let planned = scene.after(10);
        all.extend(names(&planned));
        scene.perform(&planned);
    }
    all
}

fn check(mut scene: Scene, seconds: i64, expected: &[&str]) -> Scene {
    assert_eq!(run(&mut scene, seconds), expected, "{:?}", scene.memory.holds);
    scene
}

fn swaps_to(planned: &Plan, version: &str) -> bool {
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
    assert_eq!(run(&mut scene, 120), [] as [&str; 0]);
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
    assert_eq!(run(&mut scene, 3_000), ["request_retraining", "page"]);
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
    assert_eq!(run(&mut scene, 600), [] as [&str; 0]);
    // It comes back: the mask ends a while after, and not before.
    scene.situation.findings.clear();
    assert_eq!(run(&mut scene, 60), [] as [&str; 0]);
    assert_eq!(run(&mut scene, 60), ["unmask"]);
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
    assert_eq!(run(&mut scene, 120), ["relax"]);
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
    assert_eq!(run(&mut scene, 3_000), ["widen_review"]);
    assert_eq!(held(&scene.after(1))["request_retraining"], "not_yet");
    scene.situation.asking = asking(None);
    assert_eq!(run(&mut scene, 10), ["request_retraining"]);
    // One is under way, or on trial; nothing is held that was done.
    scene.situation.asking = asking(Some("request 1 is under way"));
    assert_eq!(run(&mut scene, 600), ["page"]);
    assert!(!held(&scene.after(1)).contains_key("request_retraining"));
    // It brought nothing, and the pause is over.
    scene.situation.asking = asking(None);
    assert_eq!(run(&mut scene, 3_600), ["request_retraining"]);
    // Its twin, of whom nobody can tell: once is enough.
    let mut scene = Scene::proven().finds(about_new(Alarm::QualityLost));
    assert_eq!(run(&mut scene, 3_000), ["widen_review", "request_retraining"]);
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
    assert_eq!(run(&mut scene, 600), ["recalibrate"]);
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

#[test]
fn a_swap_that_does_not_help_is_taken_back_once() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::InputDrift));
    let mut all = run(&mut scene, 20);
    // The standby drifts as well: the world moved.
    scene.situation.findings.push(finding(Alarm::InputDrift, Some("old")));
    all.extend(run(&mut scene, 20));
    assert_eq!(scene.situation.active(), Some(&model("new")));
    scene.situation.findings.push(about_new(Alarm::InputDrift));
    scene.situation.watch.is_conclusive = true;
    let mut scene = scene.standby_in_control();
    all.extend(run(&mut scene, 3_600));
    assert_eq!(all.iter().filter(|name| **name == "swap").count(), 2, "{all:?}");
    assert!(all.contains(&"widen_review"), "it protects instead: {all:?}");
    assert_eq!(held(&scene.after(1))["swap"], "returning");
}

#[test]
fn labels_have_the_last_word_on_a_quiet_standby() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::InputDrift));
    run(&mut scene, 10);
    let planned = scene.after(10);
    scene.perform(&planned);
    assert_eq!(scene.situation.active(), Some(&model("old")));
    scene.situation.watch.is_conclusive = true;
    let mut pairs = Scene::proven().labels_say(12.0, 0.0).situation.paired.expect("pairs");
    (pairs.active, pairs.standby) = (model("old"), model("new"));
    scene.situation.paired = Some(pairs);
    let planned = scene.after(5);
    assert!(swaps_to(&planned, "new"), "{planned:?}");
    assert!(!planned.verified[0].is_good);
}

#[test]
fn without_evidence_a_swap_stays_and_people_are_told() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::InputDrift));
    run(&mut scene, 20);
    assert_eq!(run(&mut scene, 3_600), ["page"]);
    assert_eq!((scene.situation.active(), scene.memory.health), (Some(&model("old")), Health::Recovering));
}

#[test]
fn a_spent_budget_locks_until_a_person_unlocks() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::ModelFault));
    scene.table.budget.swap.hour = 0;
    let all = run(&mut scene, 120);
    assert_eq!(all, ["restart_inference", "lock", "page", "rules_only", "page"]);
    assert_eq!(scene.memory.health, Health::Locked);
    // The fault ends; what protects stays.
    scene.situation.findings.clear();
    assert_eq!(run(&mut scene, 3_600), [] as [&str; 0]);
    assert_eq!(held(&scene.after(1))["model_again"], "locked");
    scene.orders(OrderKind::Unlock);
    assert_eq!(run(&mut scene, 60), ["model_again"]);
    assert_eq!(scene.memory.health, Health::Healthy);
}

#[test]
fn people_order_safe_mode_and_its_end() {
    let mut scene = Scene::proven();
    scene.orders(OrderKind::SafeMode);
    assert_eq!(run(&mut scene, 60), ["rules_only"]);
    assert_eq!(scene.memory.health, Health::SafeMode);
    scene.orders(OrderKind::Resume);
    assert_eq!(run(&mut scene, 60), ["model_again"]);
    assert_eq!(scene.memory.health, Health::Healthy);
    scene.orders(OrderKind::Lock);
    let mut scene = check(scene.standby_in_control().finds(about_new(Alarm::InputDrift)), 600, &["widen_review"]);
    assert_eq!(scene.memory.health, Health::Locked);
    assert_eq!(held(&scene.after(1))["swap"], "locked");
}

#[test]
fn a_trial_goes_step_by_step_to_active_or_out() {
    let candidate = model("next");
    let trial = |percent, verdict, now: Timestamp| TrialFacts {
        model: model("next"),
        stage: if percent == 0 { Stage::Shadow } else { Stage::Canary },
        percent,
        since: now,
        verdict,
        figures: [("flip_rate".to_owned(), 0.001)].into(),
    };
    let mut scene = Scene::proven();
    scene.situation.fleet.waiting.push(candidate.clone());
    let planned = scene.after(1);
    assert_eq!(planned.actions[0].action, Action::Promote { model: candidate.clone(), percent: 0 });
    scene.perform(&planned);
    scene.situation.fleet.waiting.clear();
    let mut percents = Vec::new();
    let mut percent = 0;
    while percent < 100 {
        let now = scene.situation.now;
        scene.situation.fleet.trial = Some(trial(percent, TrialVerdict::Going, now));
        assert_eq!(run(&mut scene, 120), [] as [&str; 0]);
        scene.situation.fleet.trial = Some(trial(percent, TrialVerdict::Inconclusive, now));
        assert_eq!(run(&mut scene, 120), [] as [&str; 0]);
        scene.situation.fleet.trial = Some(trial(percent, TrialVerdict::Won, now));
        let planned = scene.after(1);
        let Action::Promote { percent: next, .. } = planned.actions[0].action else { panic!("{planned:?}") };
        scene.perform(&planned);
        percents.push(next);
        percent = next;
    }
    assert_eq!(percents, [1, 5, 25, 50, 100]);
    let mut scene = Scene::proven();
    scene.situation.fleet.trial = Some(trial(5, TrialVerdict::Lost, scene.situation.now));
    let planned = scene.after(1);
    assert_eq!(names(&planned), ["quarantine", "page"]);
    // The twin: what looks like a win while a feature is broken moves nothing.
    let broken = Finding { subject: Some("tx_amount".into()), ..about_new(Alarm::BrokenFeature) };
    let mut scene = Scene::proven().finds(broken);
    scene.situation.fleet.trial = Some(trial(5, TrialVerdict::Won, scene.situation.now));
    let planned = scene.after(1);
    assert_eq!((names(&planned), held(&planned)["promote"]), (vec!["mask"], "data_in_doubt"));
}

#[test]
fn an_instance_among_several_protects_and_advises() {
    let won = |scene: &mut Scene| {
        let now = scene.situation.now;
        let stage = Stage::Shadow;
        let verdict = TrialVerdict::Won;
        let trial = TrialFacts { model: model("next"), stage, percent: 0, since: now, verdict, figures: [].into() };
        scene.situation.fleet.trial = Some(trial);
    };
    for leadership in [Leadership::Leads, Leadership::Follows, Leadership::Unknown] {
        let mut scene = Scene::proven();
        scene.situation.leadership = leadership;
        // What answers nobody may begin: its figures are for people.
        scene.situation.fleet.waiting.push(model("next"));
        assert_eq!(names(&scene.after(1)), ["promote"], "{leadership:?}");
        scene.situation.fleet.waiting.clear();
        won(&mut scene);
        let planned = scene.after(60);
        assert_eq!((names(&planned), held(&planned)["promote"]), (vec![], "not_leader"), "{leadership:?}");
        // It still protects itself: the last validated one comes back.
        let mut scene = Scene::fresh().standby_in_control().finds(about_new(Alarm::ModelFault));
        scene.situation.leadership = leadership;
        assert_eq!(names(&scene.after(1)), ["swap", "quarantine", "page"], "{leadership:?}");
    }
    // The twin: nobody else is there.
    let mut scene = Scene::proven();
    won(&mut scene);
    assert_eq!(names(&scene.after(1)), ["promote"]);
}

#[test]
fn one_instance_of_several_asks_for_a_new_model() {
    for (leadership, asks) in [
        (Leadership::Alone, true),
        (Leadership::Leads, true),
        (Leadership::Follows, false),
        (Leadership::Unknown, false),
    ] {
        let mut scene = Scene::proven().finds(about_new(Alarm::InputDrift));
        scene.situation.leadership = leadership;
        let done = run(&mut scene, 3_000);
        assert_eq!(done.contains(&"request_retraining"), asks, "{leadership:?}: {done:?}");
        if !asks {
            assert_eq!(held(&scene.after(1))["request_retraining"], "not_leader");
        }
    }
}

#[test]
fn who_leads_is_who_has_the_first_partition() {
    let check = |here: &[u32], leadership| assert_eq!(Leadership::of(here, 3), leadership, "{here:?}");
    check(&[], Leadership::Unknown);
    check(&[2, 0, 1], Leadership::Alone);
    check(&[0, 2], Leadership::Leads);
    check(&[1, 2], Leadership::Follows);
}

#[test]
fn a_lost_word_counts_as_failed_unless_the_facts_say_otherwise() {
    let mut scene = Scene::fresh().finds(about_new(Alarm::ModelFault));
    assert_eq!(names(&scene.after(1)), ["swap", "quarantine", "page"]);
    // Nobody performs it, nobody says so: after a while it is tried again.
    assert_eq!(names(&scene.after(10)), [] as [&str; 0]);
    // Without a word the change counts as failed: what can be done without it is done.
    assert_eq!(names(&scene.after(25)), ["restart_inference"]);
    assert_eq!(names(&scene.after(60)), ["swap", "quarantine", "page"]);
}

#[test]
fn the_breaker_shows_in_the_state() {
    let mut scene = Scene::proven();
    for (state, health) in [
        (BreakerState::Open, Health::Degraded),
        (BreakerState::HalfOpen, Health::Recovering),
        (BreakerState::Closed, Health::Healthy),
    ] {
        scene.situation.breaker.state = state;
        scene.after(1);
        assert_eq!(scene.memory.health, health);
    }
    let entered = scene.memory.health_since;
    scene.after(10);
    assert_eq!(scene.memory.health_since, entered);
    assert!(scene.situation.now.since(entered) == Span::from_seconds(10));
}

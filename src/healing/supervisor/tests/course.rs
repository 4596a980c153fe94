//! What follows on an action: whether it helped, budgets, people's orders, trials, several instances, lost words.

use super::rows::{about_new, check, swaps_to};
use super::scene::{Scene, finding, held, model, names};
use crate::domain::{Span, Timestamp};
use crate::healing::Action;
use crate::healing::finding::{Alarm, Finding};
use crate::healing::memory::Health;
use crate::healing::model::Stage;
use crate::healing::situation::{BreakerState, Leadership, OrderKind, TrialFacts, TrialVerdict};

#[test]
fn a_swap_that_does_not_help_is_taken_back_once() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::InputDrift));
    let mut all = scene.run(20);
    // The standby drifts as well: the world moved.
    scene.situation.findings.push(finding(Alarm::InputDrift, Some("old")));
    all.extend(scene.run(20));
    assert_eq!(scene.situation.active(), Some(&model("new")));
    scene.situation.findings.push(about_new(Alarm::InputDrift));
    scene.situation.watch.is_conclusive = true;
    let mut scene = scene.standby_in_control();
    all.extend(scene.run(3_600));
    assert_eq!(all.iter().filter(|name| **name == "swap").count(), 2, "{all:?}");
    assert!(all.contains(&"widen_review"), "it protects instead: {all:?}");
    assert_eq!(held(&scene.after(1))["swap"], "returning");
}

#[test]
fn labels_have_the_last_word_on_a_quiet_standby() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::InputDrift));
    scene.run(10);
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
    scene.run(20);
    assert_eq!(scene.run(3_600), ["page"]);
    assert_eq!((scene.situation.active(), scene.memory.health), (Some(&model("old")), Health::Recovering));
}

#[test]
fn a_spent_budget_locks_until_a_person_unlocks() {
    let mut scene = Scene::proven().standby_in_control().finds(about_new(Alarm::ModelFault));
    scene.table.budget.swap.hour = 0;
    let all = scene.run(120);
    assert_eq!(all, ["restart_inference", "lock", "page", "rules_only", "page"]);
    assert_eq!(scene.memory.health, Health::Locked);
    // The fault ends; what protects stays.
    scene.situation.findings.clear();
    assert_eq!(scene.run(3_600), [] as [&str; 0]);
    assert_eq!(held(&scene.after(1))["model_again"], "locked");
    scene.orders(OrderKind::Unlock);
    assert_eq!(scene.run(60), ["model_again"]);
    assert_eq!(scene.memory.health, Health::Healthy);
}

#[test]
fn people_order_safe_mode_and_its_end() {
    let mut scene = Scene::proven();
    scene.orders(OrderKind::SafeMode);
    assert_eq!(scene.run(60), ["rules_only"]);
    assert_eq!(scene.memory.health, Health::SafeMode);
    scene.orders(OrderKind::Resume);
    assert_eq!(scene.run(60), ["model_again"]);
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
        assert_eq!(scene.run(120), [] as [&str; 0]);
        scene.situation.fleet.trial = Some(trial(percent, TrialVerdict::Inconclusive, now));
        assert_eq!(scene.run(120), [] as [&str; 0]);
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
        let done = scene.run(3_000);
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

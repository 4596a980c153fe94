//! Invariants over arbitrary histories: whatever is found, in whatever order, and whatever becomes of actions.

use proptest::prelude::*;

use super::scene::{Scene, finding, model};
use crate::domain::Span;
use crate::healing::finding::{Alarm, Finding, Verdict};
use crate::healing::memory::INCIDENTS_MAX;
use crate::healing::situation::{OrderKind, Outcome, RecordState, Situation};
use crate::healing::table::Budgeted;
use crate::healing::{Action, Memory, plan};

/// One thing that changes between two plans.
#[derive(Clone, Copy, Debug)]
enum Change {
    Find(usize, u8, u8),
    End(usize),
    Unsure(usize),
    Pass(u16),
    Fail,
    Silence,
    Control(bool),
    Record(bool),
    Order(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..Alarm::ALL.len(), 0u8..3, 0u8..4).prop_map(|(alarm, of, subject)| Change::Find(alarm, of, subject)),
        4 => (0..Alarm::ALL.len()).prop_map(Change::End),
        1 => (0..Alarm::ALL.len()).prop_map(Change::Unsure),
        6 => (1u16..1_200).prop_map(Change::Pass),
        1 => Just(Change::Fail),
        1 => Just(Change::Silence),
        2 => any::<bool>().prop_map(Change::Control),
        1 => prop::bool::weighted(0.8).prop_map(Change::Record),
        1 => (0..OrderKind::ALL.len()).prop_map(Change::Order),
    ]
}

fn apply(mut scene: Scene, change: Change, told: &mut Option<bool>) -> Scene {
    let alarm = |place: usize| Alarm::ALL[place];
    match change {
        Change::Find(place, of, subject) => {
            let mut found = finding(alarm(place), [None, Some("new"), Some("old")][usize::from(of)]);
            found.subject = (subject > 0).then(|| format!("feature-{subject}"));
            found.evidence.values.insert("top10_entity_share".into(), f64::from(subject) / 4.0);
            scene = scene.finds(found);
        }
        Change::End(place) => scene.situation.findings.retain(|finding| finding.alarm != alarm(place)),
        Change::Unsure(place) => {
            let meant = scene.situation.findings.iter_mut().filter(|finding| finding.alarm == alarm(place));
            meant.for_each(|finding: &mut Finding| finding.verdict = Verdict::Inconclusive);
        }
        Change::Pass(seconds) => scene.situation.now = scene.situation.now.plus(Span::from_seconds(seconds.into())),
        Change::Fail => *told = Some(false),
        Change::Silence => *told = None,
        Change::Control(is_judged) => {
            scene = if is_judged { scene.standby_in_control() } else { scene };
            scene.situation.watch.is_conclusive = is_judged;
        }
        Change::Record(is_written) => {
            scene.situation.record = if is_written { RecordState::Written } else { RecordState::Down };
        }
        Change::Order(place) => scene.orders(OrderKind::ALL[place]),
    }
    scene
}

fn round<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).expect("written")).expect("read")
}

/// Plans once more and looks at everything that is promised of a plan.
fn check(scene: &mut Scene, told: Option<bool>) -> Result<(), TestCaseError> {
    let (before, situation): (Memory, Situation) = (scene.memory.clone(), scene.situation.clone());
    let planned = scene.after(1);
    // HE-5: what was recorded gives the same plan.
    let situation = Situation { now: scene.situation.now, ..situation };
    let again = plan(&scene.table, &round(&before), &round(&Situation { ..refreshed(&situation, scene) }));
    prop_assert_eq!(&again, &planned);
    prop_assert!(planned.memory.incidents.len() <= INCIDENTS_MAX);
    for budgeted in [
        Budgeted::Swap,
        Budgeted::Promotion,
        Budgeted::Quarantine,
        Budgeted::Recalibration,
        Budgeted::Relief,
        Budgeted::Retraining,
    ] {
        // HE-2: never over the budget, of the hour and of the day.
        let budget = scene.table.budget.of(budgeted);
        let since = |seconds| scene.situation.now.minus(Span::from_seconds(seconds));
        prop_assert!(planned.memory.spent_since(budgeted, since(3_600)) <= budget.hour);
        prop_assert!(planned.memory.spent_since(budgeted, since(86_400)) <= budget.day);
    }
    for planned in &planned.actions {
        if !planned.action.is_protective() {
            prop_assert!(scene.memory.lock.is_none() && situation.record == RecordState::Written, "{planned:?}");
        }
        if let Action::Swap { from, to } = &planned.action {
            // HE-3: it leaves the model that answers, for what was found about that model or about none.
            prop_assert_eq!(Some(from), situation.active());
            let incident = before.incidents.iter().chain(&scene.memory.incidents);
            let mut incident = incident.filter(|incident| Some(incident.number) == planned.incident);
            prop_assert!(incident.all(|incident| incident.model.as_ref().is_none_or(|model| model == from)));
            prop_assert!(!situation.fleet.quarantined.contains(to), "RL-2");
        }
    }
    match told {
        Some(true) => scene.perform(&planned),
        Some(false) => {
            let at = scene.situation.now;
            let failed = |order| Outcome { order, at, failure: Some("made up".into()) };
            scene.situation.outcomes.extend(planned.actions.iter().map(|planned| failed(planned.order)));
        }
        None => {}
    }
    Ok(())
}

/// The situation as the scene refreshed it before planning.
fn refreshed(situation: &Situation, scene: &Scene) -> Situation {
    let mut situation = situation.clone();
    situation.fleet.clone_from(&scene.situation.fleet);
    situation.standby.clone_from(&scene.situation.standby);
    situation
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// `HE-2`, `HE-3`, `HE-5`, the lock and the record, whatever happens.
    #[test]
    fn no_history_breaks_a_promise(changes in prop::collection::vec(change(), 1..120), fresh in any::<bool>()) {
        let mut scene = if fresh { Scene::fresh() } else { Scene::proven() };
        for change in changes {
            let mut told = Some(true);
            scene = apply(scene, change, &mut told);
            check(&mut scene, told)?;
            // A model that was banned is not the standby any more; another proven one takes its place.
            if scene.situation.fleet.standby.is_none() {
                scene.situation.fleet.standby = Scene::proven().situation.fleet.standby;
                if let Some(standby) = &mut scene.situation.fleet.standby {
                    standby.model = model("older");
                }
            }
        }
    }
}

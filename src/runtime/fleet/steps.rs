//! Steps of bundles, for the record: whatever changes the register is compared with what it was before, so that no door
//! can change a bundle's stage without a word.

use std::collections::{BTreeSet, VecDeque};

use serde::Serialize;

use super::{Fleet, Inner};
use crate::domain::Timestamp;
use crate::healing::lifecycle::{Life, Lives, Mandate};
use crate::healing::{ModelRef, Stage};

/// Steps that wait to be fetched; the oldest go first.
const STEPS_MAX: usize = 512;

/// One step of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// Whose; without a hash where its files do not agree with their manifest.
    pub model: ModelRef,
    /// What became of it: `seen`, `refused` by a gate, `released` from a ban, `forgotten`, or the stage it has reached.
    pub what: &'static str,
    /// Where it was; absent for one that was not known.
    pub from: Option<&'static str>,
    /// The share of entities a canary answers for; 0 at any other stage.
    pub percent: u8,
    /// Who did it: a person by their name, `healing`, `gates`, `start`.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Fleet {
    /// Fetches the steps of bundles since the last call, oldest first.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.inner.lock().steps.drain(..).collect()
    }
}

impl Inner {
    /// Replaces what is known of bundles, and tells every step between the two.
    pub(super) fn become_lives(&mut self, lives: Lives, (by, now): (&str, Timestamp)) {
        let steps = between(&self.lives, &lives, (by, now));
        self.lives = lives;
        for step in steps {
            self.tell(step);
        }
    }

    /// Tells a step.
    pub(super) fn tell(&mut self, step: Step) {
        keep(&mut self.steps, step);
    }
}

fn keep(steps: &mut VecDeque<Step>, step: Step) {
    if steps.len() == STEPS_MAX {
        steps.pop_front();
    }
    steps.push_back(step);
}

/// Names who gave an order.
pub(super) fn by(mandate: &Mandate) -> &str {
    match mandate {
        Mandate::Healing => "healing",
        Mandate::Person { name } => name,
    }
}

/// Lists the steps that lead from one register to another; who leaves a place comes before who takes it.
pub(super) fn between(before: &Lives, after: &Lives, (by, at): (&str, Timestamp)) -> Vec<Step> {
    let hashes: BTreeSet<&str> = before.all().chain(after.all()).map(|life| life.model.sha256.as_str()).collect();
    let mut steps = Vec::new();
    for sha256 in hashes {
        steps.extend(of(before.get(sha256), after.get(sha256), (by, at)));
    }
    // Places are left before they are taken.
    steps.sort_by_key(|step| (step.what == Stage::Active.name(), step.what == Stage::Standby.name()));
    steps
}

/// Lists the steps of one bundle.
fn of(before: Option<&Life>, after: Option<&Life>, (by, at): (&str, Timestamp)) -> Vec<Step> {
    let step = |life: &Life, what, from, reason: &str| Step {
        at,
        model: life.model.clone(),
        what,
        from,
        percent: if what == Stage::Canary.name() { life.percent } else { 0 },
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    let (Some(life), from) = (after, before.map(|life| life.stage)) else {
        return before
            .map(|life| step(life, "forgotten", Some(life.stage.name()), "too many are known"))
            .into_iter()
            .collect();
    };
    let mut steps = Vec::new();
    if before.is_none() {
        steps.push(step(life, "seen", None, "it lies in the model directory"));
    }
    let stage = from.unwrap_or(Stage::Candidate);
    let is_other = (stage, before.map_or(0, |life| life.percent)) != (life.stage, life.percent);
    let refusal =
        life.refusal.as_ref().filter(|refusal| before.and_then(|life| life.refusal.as_ref()) != Some(*refusal));
    match refusal {
        Some(refusal) => steps.push(step(life, "refused", Some(stage.name()), refusal)),
        None if is_other => {
            let is_released = (stage, life.stage) == (Stage::Quarantined, Stage::Candidate);
            let what = if is_released { "released" } else { life.stage.name() };
            steps.push(step(life, what, Some(stage.name()), &life.cause));
        }
        None => {}
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healing::lifecycle::{Order, Trust};

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn model(version: &str) -> ModelRef {
        ModelRef { name: "m".into(), version: version.into(), sha256: format!("hash of {version}") }
    }

    fn told(before: &Lives, after: &Lives) -> Vec<String> {
        let steps = between(before, after, ("ann", NOW));
        assert!(steps.iter().all(|step| step.by == "ann" && step.at == NOW && !step.reason.is_empty()), "{steps:?}");
        steps.iter().map(|step| format!("{} {} {}", step.model.version, step.what, step.percent)).collect()
    }

    #[test]
    fn every_change_of_the_register_is_a_step_and_nothing_is_none() {
        let mut lives = Lives::default();
        let (one, two, three) = (model("1"), model("2"), model("3"));
        lives.install(Some((&one, Trust::Signed)), Some((&two, Trust::Signed)), NOW).expect("legal");
        assert_eq!(told(&Lives::default(), &lives), ["1 seen 0", "2 seen 0", "2 standby 0", "1 active 0"]);
        assert!(told(&lives, &lives).is_empty());
        let before = lives.clone();
        lives.find(&three, Trust::Signed, NOW);
        lives.judge(&three, Err("it is slow".into()), NOW).expect("a candidate");
        assert_eq!(told(&before, &lives), ["3 seen 0", "3 refused 0"]);
        let before = lives.clone();
        lives.judge(&three, Ok(Trust::Signed), NOW).expect("a candidate");
        assert_eq!(told(&before, &lives), ["3 validated 0"]);
        let after = |lives: &Lives, order| lives.after(&order, &Mandate::Healing, NOW, "because").expect("legal");
        let shadow = after(&lives, Order::Shadow { model: three.clone() });
        assert_eq!(told(&lives, &shadow), ["3 shadow 0"]);
        let canary = after(&shadow, Order::Canary { model: three.clone(), percent: 5 });
        assert_eq!(told(&shadow, &canary), ["3 canary 5"]);
        let more = after(&canary, Order::Canary { model: three.clone(), percent: 25 });
        assert_eq!(told(&canary, &more), ["3 canary 25"]);
        let promoted = after(&more, Order::Promote { model: three.clone() });
        assert_eq!(told(&more, &promoted), ["2 retired 0", "1 standby 0", "3 active 0"]);
        let banned = after(&promoted, Order::Quarantine { model: three.clone() });
        assert!(told(&promoted, &banned).contains(&"3 quarantined 0".to_owned()));
        let person = Mandate::Person { name: "ann".into() };
        let released = banned.after(&Order::Release { model: three }, &person, NOW, "looked at").expect("legal");
        assert_eq!(told(&banned, &released), ["3 released 0"]);
    }
}

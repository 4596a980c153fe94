//! Judging the standby on the traffic of now: seconds of work, so on a thread of its own, one at a time.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::Options;
use crate::domain::{Score, Span, Timestamp};
use crate::healing::ModelRef;
use crate::healing::drift::{Control, Profile, State, judge};
use crate::healing::situation::{ActiveControl, Judged, StandbyControl};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Record;
use crate::runtime::fleet::{Fleet, RECENT_MAX, Shadowed};
use crate::runtime::observed::observation;
use crate::runtime::resident::Loaded;
use crate::tasks;

/// How old a judgement may be before it is made anew.
const FRESH: Span = Span::from_seconds(30);

/// The kinds of evidence behind what is said of inputs, scores and alerts.
const INPUTS: &[&str] = &["inputs", "broken"];
const SCORES: &[&str] = &["scores"];
const ALERTS: &[&str] = &["surge", "collapse"];

/// A model and the baseline it is judged by.
pub(super) struct Judge {
    pub(super) loaded: Loaded,
    pub(super) profile: Arc<Profile>,
}

/// The last judgement, and whether another is being made.
#[derive(Default)]
pub(super) struct Judging {
    state: Arc<Mutex<Course>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Course {
    is_on: bool,
    last: Option<StandbyControl>,
}

impl Judging {
    /// Tells whether a judgement should be made now.
    pub(super) fn is_due(&self, standby: &ModelRef, now: Timestamp) -> bool {
        let state = self.state.lock();
        let is_fresh = state.last.as_ref().is_some_and(|last| last.model == *standby && now < last.at.plus(FRESH));
        !state.is_on && !is_fresh
    }

    /// Returns the last judgement of this standby.
    pub(super) fn result(&self, standby: &ModelRef) -> Option<StandbyControl> {
        self.state.lock().last.clone().filter(|last| last.model == *standby)
    }

    /// Begins one; without a thread there is none, and it is due again.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        (fleet, standby, active): (Arc<Fleet>, Judge, Option<Judge>),
        options: &Options,
    ) {
        let (turn, options) = (self.turn(), options.clone());
        // Without a thread the turn is dropped with it: it is over.
        let judging = tasks::thread("judge", move || {
            let began = Moment::now();
            let scored = fleet.score_recent(&standby.loaded.model.reference, RECENT_MAX).unwrap_or_default();
            let took = began.elapsed();
            turn.end((!scored.is_empty()).then(|| StandbyControl {
                active: active.map(|active| own(&scored, &active, &options)),
                ..control(now, &standby, (&scored, took), &options)
            }));
        });
        self.thread = judging.ok();
    }

    /// Waits for the one that is being made.
    pub(super) fn settle(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Its panic was logged by the hook.
            let _ = thread.join();
        }
    }

    /// Takes the turn to judge.
    fn turn(&self) -> Turn {
        self.state.lock().is_on = true;
        Turn { state: Arc::clone(&self.state), judged: None }
    }
}

/// The turn of one judgement: over when this is dropped, also by a panic. One that came to nothing leaves none.
struct Turn {
    state: Arc<Mutex<Course>>,
    judged: Option<StandbyControl>,
}

impl Turn {
    fn end(mut self, judged: Option<StandbyControl>) {
        self.judged = judged;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        (state.is_on, state.last) = (false, self.judged.take());
    }
}

fn control(
    at: Timestamp,
    standby: &Judge,
    (scored, took): (&[Shadowed], Duration),
    options: &Options,
) -> StandbyControl {
    let said = scored.iter().map(|scored| (&*scored.record, scored.score));
    let found = standby.judge(said, options);
    let rows = u32::try_from(scored.len()).unwrap_or(u32::MAX).max(1);
    StandbyControl {
        model: standby.loaded.model.reference.clone(),
        at,
        events: scored.len() as u64,
        inputs: judged(&found, INPUTS),
        scores: judged(&found, SCORES),
        alerts: judged(&found, ALERTS),
        within_time: Some(took / rows <= options.row_time_max),
        failures: scored.iter().filter(|scored| scored.score.is_none()).count() as u64,
        active: None,
    }
}

/// Judges the active model on those of the events that it answered, by what it said then.
fn own(scored: &[Shadowed], active: &Judge, options: &Options) -> ActiveControl {
    let model = &active.loaded.model;
    let is_its = |record: &&Record| {
        let facts = &record.decision.release;
        (&facts.model_name, &facts.model_version) == (&model.name, &model.version)
    };
    let answered = scored.iter().map(|scored| &*scored.record).filter(is_its);
    let found = active.judge(answered.map(|record| (record, record.decision.score.map(Score::get))), options);
    ActiveControl { inputs: judged(&found, INPUTS), scores: judged(&found, SCORES), alerts: judged(&found, ALERTS) }
}

impl Judge {
    fn judge<'r>(&self, said: impl Iterator<Item = (&'r Record, Option<f64>)>, options: &Options) -> Control {
        let said: Vec<_> = said.collect();
        let mut rows: Vec<Vec<f64>> = vec![Vec::new(); said.len()];
        let inputs = self.loaded.schema.inputs();
        let seen = said.iter().zip(&mut rows).map(|((record, score), row)| {
            let mut seen = observation(record, inputs, row);
            seen.score = *score;
            seen
        });
        judge(&self.profile, &options.drift.of_schema(self.loaded.schema.hash()), seen)
    }
}

fn judged(found: &Control, kinds: &[&str]) -> Judged {
    let is_out = kinds.iter().any(|kind| found.log_e.get(*kind).is_some_and(|log_e| *log_e >= found.log_threshold));
    match (is_out, found.state) {
        (true, _) => Judged::OutOfControl,
        (false, State::Inconclusive) => Judged::Inconclusive,
        (false, State::InControl | State::OutOfControl) => Judged::InControl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    #[test]
    fn a_judgement_that_panics_ends_its_turn_and_is_due_again() {
        let model = ModelRef { name: "m".into(), version: "2".into(), sha256: "2".into() };
        let judging = Judging::default();
        let turn = judging.turn();
        assert!(!judging.is_due(&model, NOW), "one at a time");
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = turn;
            panic!("in the midst of judging");
        }));
        assert!(ended.is_err() && judging.is_due(&model, NOW));
        assert_eq!(judging.result(&model), None);
        let judged = StandbyControl {
            model: model.clone(),
            at: NOW,
            events: 1,
            inputs: Judged::Inconclusive,
            scores: Judged::Inconclusive,
            alerts: Judged::Inconclusive,
            within_time: None,
            failures: 0,
            active: None,
        };
        judging.turn().end(Some(judged.clone()));
        assert_eq!(judging.result(&model), Some(judged));
        assert!(!judging.is_due(&model, NOW) && judging.is_due(&model, NOW.plus(FRESH)));
    }
}

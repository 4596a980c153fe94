//! Judging the standby on the traffic of now: seconds of work, so on a thread of its own, one at a time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Options;
use crate::domain::{Span, Timestamp};
use crate::healing::ModelRef;
use crate::healing::drift::{Control, Profile, State, judge};
use crate::healing::situation::{Judged, StandbyControl};
use crate::runtime::clock::Moment;
use crate::runtime::fleet::{Fleet, RECENT_MAX, Shadowed};
use crate::runtime::observed::observation;
use crate::runtime::resident::Loaded;
use crate::tasks;

/// How old a judgement may be before it is made anew.
const FRESH: Span = Span::from_seconds(30);

/// The last judgement, and whether another is being made.
#[derive(Default)]
pub(super) struct Judging {
    state: Arc<Mutex<Course>>,
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
        &self,
        now: Timestamp,
        (fleet, loaded, profile): (Arc<Fleet>, Loaded, Arc<Profile>),
        options: &Options,
    ) {
        self.state.lock().is_on = true;
        let (state, options) = (Arc::clone(&self.state), options.clone());
        let judging = tasks::thread("judge", move || {
            let began = Moment::now();
            let scored = fleet.score_recent(&loaded.model.reference, RECENT_MAX).unwrap_or_default();
            let took = began.elapsed();
            let judged = (!scored.is_empty()).then(|| control(now, &loaded, (&scored, took), (&profile, &options)));
            let mut state = state.lock();
            (state.is_on, state.last) = (false, judged);
        });
        if judging.is_err() {
            self.state.lock().is_on = false;
        }
    }
}

fn control(
    at: Timestamp,
    loaded: &Loaded,
    (scored, took): (&[Shadowed], Duration),
    (profile, options): (&Arc<Profile>, &Options),
) -> StandbyControl {
    let inputs = loaded.schema.inputs();
    let mut rows: Vec<Vec<f64>> = vec![Vec::new(); scored.len()];
    let seen = scored.iter().zip(&mut rows).map(|(scored, row)| {
        let mut seen = observation(&scored.record, inputs, row);
        seen.score = scored.score;
        seen
    });
    let found = judge(profile, &options.drift.of_schema(loaded.schema.hash()), seen);
    let rows = u32::try_from(scored.len()).unwrap_or(u32::MAX).max(1);
    StandbyControl {
        model: loaded.model.reference.clone(),
        at,
        events: scored.len() as u64,
        inputs: judged(&found, &["inputs", "broken"]),
        scores: judged(&found, &["scores"]),
        alerts: judged(&found, &["surge", "collapse"]),
        within_time: Some(took / rows <= options.row_time_max),
        failures: scored.iter().filter(|scored| scored.score.is_none()).count() as u64,
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

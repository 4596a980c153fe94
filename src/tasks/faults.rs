//! Faults on purpose: what a model that runs here is made to do wrong, for tests and demonstrations.
//!
//! A [`Faults`] is a value handed to the engine when it starts; the default one is empty and can never be
//! filled, so a service that was not started for this cannot be made to fail. One that [`Faults::possible`] made is
//! changed while the model runs: what waits in a fault goes on as soon as it is ended or replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// What a model does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Each run fails.
    Fail,
    /// Each score is NaN.
    NotANumber,
    /// Each score is another one: what is likely becomes unlikely.
    Otherwise,
    /// Each run takes so much longer.
    Slow(Duration),
    /// A run does not end while the fault lasts.
    Hang,
    /// Each run panics.
    Panic,
}

/// Faults by the name of the model, as `NAME/VERSION`. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    table: Option<Arc<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    planned: Mutex<BTreeMap<String, Fault>>,
    changed: Condvar,
}

/// Where one model meets its faults.
#[derive(Clone, Debug)]
pub struct Seam {
    table: Arc<Table>,
    model: String,
}

/// What a run has to do about its fault, waiting apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffered {
    /// Run as ever.
    Nothing,
    /// Fail.
    Failure,
    /// Give NaN.
    NotANumber,
    /// Give other scores.
    Otherwise,
}

impl Faults {
    /// Makes an empty set that can be filled.
    #[must_use]
    pub fn possible() -> Self {
        Self { table: Some(Arc::default()) }
    }

    /// Lets a model have a fault from its next run on, until [`Self::end`]; tells whether that is possible.
    pub fn begin(&self, model: &str, fault: Fault) -> bool {
        let Some(table) = &self.table else { return false };
        table.planned.lock().insert(model.to_owned(), fault);
        table.changed.notify_all();
        true
    }

    /// Ends the fault of a model; what waits in it goes on.
    pub fn end(&self, model: &str) {
        let Some(table) = &self.table else { return };
        table.planned.lock().remove(model);
        table.changed.notify_all();
    }

    /// Returns where a model meets its faults; `None` where there never are any.
    #[must_use]
    pub fn seam(&self, model: &str) -> Option<Seam> {
        self.table.as_ref().map(|table| Seam { table: Arc::clone(table), model: model.to_owned() })
    }
}

impl Seam {
    /// Waits as the fault wants, and tells what else is wrong with this run.
    ///
    /// # Panics
    /// When that is the fault.
    #[must_use]
    pub fn suffer(&self, now: Instant) -> Suffered {
        let mut planned = self.table.planned.lock();
        loop {
            match planned.get(&self.model) {
                None => return Suffered::Nothing,
                Some(Fault::Fail) => return Suffered::Failure,
                Some(Fault::NotANumber) => return Suffered::NotANumber,
                Some(Fault::Otherwise) => return Suffered::Otherwise,
                Some(Fault::Panic) => {
                    drop(planned);
                    panic!("as planned");
                }
                Some(Fault::Hang) => self.table.changed.wait(&mut planned),
                Some(Fault::Slow(by)) => {
                    let until = now.checked_add(*by).unwrap_or(now);
                    if self.table.changed.wait_until(&mut planned, until).timed_out() {
                        return Suffered::Nothing;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    const NEVER: Duration = Duration::from_hours(1);

    #[test]
    fn an_empty_set_stays_empty() {
        assert!(!Faults::default().begin("m/1", Fault::Fail));
        assert!(Faults::default().seam("m/1").is_none());
    }

    #[test]
    fn a_fault_meets_its_model_only_and_what_waits_goes_on_when_it_ends() {
        #[expect(clippy::disallowed_methods, reason = "the seam is given the time")]
        let now = Instant::now();
        let faults = Faults::possible();
        let (one, other) = (faults.seam("m/1").expect("a seam"), faults.seam("m/2").expect("a seam"));
        assert!(faults.begin("m/1", Fault::Fail));
        assert_eq!((one.suffer(now), other.suffer(now)), (Suffered::Failure, Suffered::Nothing));
        assert!(faults.begin("m/1", Fault::Slow(NEVER)));
        let waits = one.clone();
        let slow =
            tasks::thread("slow", move || assert_eq!(waits.suffer(now), Suffered::NotANumber)).expect("a thread");
        assert!(faults.begin("m/1", Fault::NotANumber));
        slow.join().expect("ended");
        assert!(faults.begin("m/1", Fault::Hang));
        let hangs = tasks::thread("hang", move || assert_eq!(one.suffer(now), Suffered::Nothing)).expect("a thread");
        faults.end("m/1");
        hangs.join().expect("ended");
    }
}

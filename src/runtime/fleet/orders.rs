//! Orders carried out: what is legal is looked up, what is missing is loaded, what must fit is checked, and only then one
//! pointer is stored.

use std::sync::Arc;

use super::{Error, Fleet, Inner, RunningTrial, steps};
use crate::domain::Timestamp;
use crate::healing::lifecycle::{Life, Lives, Mandate, Order};
use crate::healing::trial::Trial;
use crate::healing::{ModelRef, Stage};
use crate::runtime::release::Bundle;
use crate::runtime::release::gates::Passed;
use crate::runtime::resident::{self, Loaded};
use crate::runtime::slot::{InForce, Model, Next, Release, Second, Union};
use crate::scoring::feature::Plan;
use crate::scoring::rule::RuleFault;
use crate::telemetry::fleet::{OrderDone, OrderRefused, RegisterUnsaved};

/// The most bundles on their way out that are held; beyond it the oldest is let go at once.
const LEAVING_MAX: usize = 16;

impl Fleet {
    /// Puts a proven model back in force, for healing.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn swap(&self, to: &ModelRef) -> Result<(), Error> {
        self.perform(&Order::Swap { to: to.clone() }, &Mandate::Healing, "healing")
    }

    /// Bans a bundle by its hash, for healing.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn quarantine(&self, model: &ModelRef, reason: &str) -> Result<(), Error> {
        self.perform(&Order::Quarantine { model: model.clone() }, &Mandate::Healing, reason)
    }

    /// Lifts a ban, for a person; healing cannot.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn release(&self, model: &ModelRef, person: &str) -> Result<(), Error> {
        let mandate = Mandate::Person { name: person.to_owned() };
        self.perform(&Order::Release { model: model.clone() }, &mandate, "released")
    }

    /// Puts a validated model into shadow, for healing.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn shadow(&self, model: &ModelRef) -> Result<(), Error> {
        self.perform(&Order::Shadow { model: model.clone() }, &Mandate::Healing, "trial")
    }

    /// Lets a signed model answer for a share of the entities, for healing.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn canary(&self, model: &ModelRef, percent: u8) -> Result<(), Error> {
        self.perform(&Order::Canary { model: model.clone(), percent }, &Mandate::Healing, "trial")
    }

    /// Puts a signed model in force, for healing.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn promote(&self, model: &ModelRef) -> Result<(), Error> {
        self.perform(&Order::Promote { model: model.clone() }, &Mandate::Healing, "trial won")
    }

    /// Ends a trial without a verdict against the model, for healing.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn withdraw(&self, model: &ModelRef) -> Result<(), Error> {
        self.perform(&Order::Withdraw { model: model.clone() }, &Mandate::Healing, "trial without a verdict")
    }

    /// Accepts the last rollback, for a person; healing cannot.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn accept_rollback(&self, person: &str) -> Result<(), Error> {
        self.perform(&Order::AcceptRollback, &Mandate::Person { name: person.to_owned() }, "accepted")
    }

    /// Carries out an order, one at a time. Blocks: for loading a model, for the disk, never for traffic.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn perform(&self, order: &Order, mandate: &Mandate, reason: &str) -> Result<(), Error> {
        let _one_at_a_time = self.ordering.lock();
        let done = self.carry_out(order, mandate, reason);
        let model = order.model().map(ToString::to_string).unwrap_or_default();
        match &done {
            Ok(()) => OrderDone { order: order.name(), model: &model, reason }.emit(),
            Err(error) => OrderRefused { order: order.name(), model: &model, error }.emit(),
        }
        done
    }

    fn carry_out(&self, order: &Order, mandate: &Mandate, reason: &str) -> Result<(), Error> {
        let now = self.parts.clock.now();
        let before = self.inner.lock().lives.clone();
        let after = before.after(order, mandate, now, reason)?;
        self.put((after, steps::by(mandate)), now, |lives| self.save(lives, order.is_protective()))
    }

    /// Puts in place what the register says and is not there, with nothing changed in it. Callers hold the order's lock.
    pub(super) fn put_in_place(&self) -> Result<(), Error> {
        let lives = self.inner.lock().lives.clone();
        self.put((lives, "start"), self.parts.clock.now(), |_| Ok(()))
    }

    /// Lets the standby decide, too, beside whoever answers, or ends that. It lasts through changes of model.
    ///
    /// # Errors
    /// [`Error::Alone`] without a standby that could; whatever keeps it from being put in force. Nothing is changed then.
    pub fn unite(&self, is_united: bool) -> Result<(), Error> {
        let _one_at_a_time = self.ordering.lock();
        if !is_united && !self.inner.lock().is_united {
            return Ok(());
        }
        let was = std::mem::replace(&mut self.inner.lock().is_united, is_united);
        let mut done = self.put_in_place();
        let has_second = |union: &Union| union.second.is_some();
        if done.is_ok() && is_united && !self.parts.slot.load().union.as_ref().is_some_and(has_second) {
            done = Err(Error::Alone);
        }
        if done.is_err() && is_united != was {
            self.inner.lock().is_united = was;
            // What was in force a moment ago can be put in force again.
            let _as_before = self.put_in_place();
        }
        done
    }

    fn put(
        &self,
        (lives, by): (Lives, &str),
        now: Timestamp,
        save: impl FnOnce(&Lives) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let at_work = self.at_work(&lives)?;
        let union = self.inner.lock().is_united.then(|| self.union(&lives, &at_work));
        self.parts.slot.replace(|current| {
            let mut next = next_in_force(current, &lives, &at_work, |loaded| {
                let admitted = self.parts.entities.admit(&loaded.schema);
                admitted.map_err(|error| Error::Schema(error.to_string()))
            })?;
            if let Some((canary, _)) = &mut next.canary {
                canary.union.clone_from(&union);
            }
            next.active.union.clone_from(&union);
            save(&lives)?;
            Ok::<_, Error>(next)
        })?;
        let surplus = self.settle((lives, by), at_work, now);
        self.keep_calibration();
        // Joins their threads: behind the lock.
        drop(surplus);
        Ok(())
    }

    /// Finds the standby that is asked beside the active model; a score of windows that are not full would be wrong
    /// without saying so.
    fn union(&self, lives: &Lives, at_work: &[Loaded]) -> Union {
        let standby = lives.at(Stage::Standby);
        let loaded = standby.and_then(|life| at_work.iter().find(|loaded| loaded.model.reference == life.model));
        let second = loaded.filter(|loaded| self.is_warm(&loaded.schema)).and_then(|loaded| {
            let plan = self.parts.entities.admit(&loaded.schema).ok()?;
            let (model, schema) = (Arc::clone(&loaded.model), Arc::clone(&loaded.schema));
            Some(Arc::new(Second { model, schema, plan }))
        });
        Union { second }
    }

    /// Saves the register. What protects is done also when that fails: a bad model must not stay because a disk is full.
    pub(super) fn save(&self, lives: &Lives, is_protective: bool) -> Result<(), Error> {
        let Err(error) = self.register.save(&self.options.models, lives) else { return Ok(()) };
        RegisterUnsaved { error: &error }.emit();
        if is_protective { Ok(()) } else { Err(Error::Unsaved(error.to_string())) }
    }

    /// Returns every model that has a place, loading what is not loaded. A standby that does not load leaves its place empty for now.
    fn at_work(&self, lives: &Lives) -> Result<Vec<Loaded>, Error> {
        let mut at_work = Vec::new();
        for stage in [Stage::Active, Stage::Shadow, Stage::Canary, Stage::Standby] {
            let Some(life) = lives.at(stage) else { continue };
            let present = self.loaded_as(&life.model);
            match present.map_or_else(|| self.bring(&life.model), Ok) {
                Ok(loaded) => at_work.push(loaded),
                Err(_) if stage == Stage::Standby => {}
                Err(error) => return Err(error),
            }
        }
        Ok(at_work)
    }

    /// Loads a bundle that passed its gates before, by the hash it had then.
    pub(super) fn bring(&self, model: &ModelRef) -> Result<Loaded, Error> {
        let path = self.options.models.locate(&model.to_string());
        let bundle = Bundle::load(&path).map_err(|error| Error::Refused(error.to_string()))?;
        if bundle.reference() != *model {
            let text = "its files are not those that passed the gates; give the change a version of its own";
            return Err(Error::Refused(text.to_owned()));
        }
        let passed = Passed::at_start(bundle, &self.options.limits).map_err(Error::Refused)?;
        let loaded = resident::start(&passed, self.options.inference.clone()).map_err(Error::Refused)?;
        self.force_again(&loaded.model);
        Ok(loaded)
    }

    /// Takes the outcome of an order in: places, trial, and who has to go.
    fn settle(&self, (lives, by): (Lives, &str), at_work: Vec<Loaded>, now: Timestamp) -> Vec<Arc<Model>> {
        self.bench.times.lock().clear();
        let mut inner = self.inner.lock();
        for loaded in at_work {
            if inner.loaded_as(&loaded.model.reference).is_none() {
                inner.loaded.push(loaded);
            }
        }
        inner.become_lives(lives, (by, now));
        let step = inner.lives.on_trial().map(|life| (life.model.clone(), life.percent, life.stage));
        let is_same = |trial: &RunningTrial| {
            step.as_ref().is_some_and(|(model, percent, _)| (&trial.model, trial.percent) == (model, *percent))
        };
        if !inner.trial.as_ref().is_some_and(is_same) {
            let excess = inner.excess();
            let asked = self.options.settings.trial.beside(excess);
            inner.trial = step.map(|(model, percent, _)| RunningTrial {
                trial: Trial::new(&asked, percent, now),
                model,
                percent,
                excess,
            });
        }
        inner.let_go()
    }
}

impl Inner {
    /// Unloads what is banned or retired, to be dropped by whoever tends the fleet; returns those there is no room for.
    fn let_go(&mut self) -> Vec<Arc<Model>> {
        let lives = &self.lives;
        let is_out = |loaded: &Loaded| {
            let life = lives.get(&loaded.model.reference.sha256);
            life.is_none_or(|life: &Life| matches!(life.stage, Stage::Retired | Stage::Quarantined | Stage::Candidate))
        };
        let (out, stay): (Vec<_>, Vec<_>) = self.loaded.drain(..).partition(is_out);
        self.loaded = stay;
        self.leaving.extend(out.into_iter().map(|loaded| loaded.model));
        let surplus = self.leaving.len().saturating_sub(LEAVING_MAX);
        self.leaving.drain(..surplus).collect()
    }
}

/// Makes what shall be in force out of what is: today's rules, lists, policy and rates, and the models that have the places.
fn next_in_force(
    current: &InForce,
    lives: &Lives,
    at_work: &[Loaded],
    admit: impl Fn(&Loaded) -> Result<Arc<Plan>, Error>,
) -> Result<Next, Error> {
    let loaded_at = |stage| {
        let life = lives.at(stage)?;
        at_work.iter().find(|loaded| loaded.model.reference == life.model)
    };
    let release_of = |loaded: &Loaded| {
        let plan = admit(loaded)?;
        current
            .active
            .with_model(Some(Arc::clone(&loaded.model)), &loaded.schema, plan)
            .map_err(|faults| unfit(&faults))
    };
    let active = match loaded_at(Stage::Active) {
        Some(loaded) => release_of(loaded)?,
        None => Release { model: None, ..Release::clone(&current.active) },
    };
    let active = Release { rolled_back: lives.rollback().is_some(), ..active };
    // In shadow nothing of it is in force; but it must be able to come there.
    if let Some(loaded) = loaded_at(Stage::Shadow) {
        release_of(loaded)?;
    }
    let canary = match (loaded_at(Stage::Canary), lives.at(Stage::Canary)) {
        (Some(loaded), Some(life)) => {
            Some((Release { rolled_back: active.rolled_back, ..release_of(loaded)? }, life.percent))
        }
        (Some(_) | None, _) => None,
    };
    Ok(Next { active, canary })
}

fn unfit(faults: &[RuleFault]) -> Error {
    Error::Rules(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

//! What survives a restart beside the register: the evidence of the trial that runs, and what people forced on breakers.
//!
//! ```text
//! trial.json    every few seconds while pairs come, and at the end    gone on with where step and settings are the same
//! forces.json   when a person forces or clears, and when one ends     a force belongs to its bundle, by hash
//! ```
//! A swap leaves a force behind: the model that takes the place begins closed. It holds again when its bundle is loaded
//! again before it expires, after a restart, too. Files that cannot be read are told and begun anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Fleet, RunningTrial};
use crate::domain::Timestamp;
use crate::healing::ModelRef;
use crate::healing::breaker::ForceStatus;
use crate::healing::trial::Trial;
use crate::runtime::slot::Model;
use crate::runtime::store::write_whole;
use crate::telemetry::fleet::RegisterUnsaved;

const VERSION: u32 = 1;
const TRIAL: &str = "trial.json";
const FORCES: &str = "forces.json";

/// The step of a trial as it lies on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptTrial {
    version: u32,
    model: ModelRef,
    percent: u8,
    excess: f64,
    trial: Trial,
}

/// What people forced, by the hash of the bundle.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptForces {
    version: u32,
    forces: BTreeMap<String, ForceStatus>,
}

/// What was last kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    directory: Option<PathBuf>,
    /// The step and the pairs of the trial that were last written.
    trial: Mutex<(Option<(ModelRef, u8)>, u64)>,
    forces: Mutex<BTreeMap<String, ForceStatus>>,
}

impl Kept {
    /// Reads what was kept in a directory; nothing without one.
    pub(super) fn open(directory: Option<PathBuf>) -> Self {
        let forces = directory.as_deref().and_then(|directory| read::<KeptForces>(&directory.join(FORCES)));
        let forces = forces.filter(|kept| kept.version == VERSION).unwrap_or_default().forces;
        Self { directory, trial: Mutex::default(), forces: Mutex::new(forces) }
    }
}

impl Fleet {
    /// Goes on with the step of a trial that a restart has cut: with its evidence where it was kept, else from nothing.
    pub(super) fn begin_again(&self, now: Timestamp) {
        let kept = self.kept.directory.as_deref().and_then(|directory| read::<KeptTrial>(&directory.join(TRIAL)));
        let options = &self.options.settings.trial;
        let mut inner = self.inner.lock();
        let on_trial = inner.lives.on_trial().map(|life| (life.model.clone(), life.percent, life.since));
        let Some((model, percent, since)) = on_trial else { return };
        let kept = kept.filter(|kept| (kept.version, &kept.model, kept.percent) == (VERSION, &model, percent));
        let resumed = kept.and_then(|kept| {
            let trial = kept.trial.resumed(&options.beside(kept.excess), since, now)?;
            Some((kept.excess, trial))
        });
        let (excess, trial) = resumed.unwrap_or_else(|| (1.0, Trial::new(options, percent, now)));
        inner.trial = Some(RunningTrial { model, percent, excess, trial });
    }

    /// Keeps the evidence of the trial that runs, when there is more than was last kept. Blocks until it is synced.
    pub(super) fn keep_trial(&self) {
        let Some(directory) = &self.kept.directory else { return };
        let running = {
            let inner = self.inner.lock();
            let Some(running) = &inner.trial else { return };
            let step = (running.model.clone(), running.percent);
            let mut last = self.kept.trial.lock();
            if *last == (Some(step.clone()), running.trial.pairs()) {
                return;
            }
            *last = (Some(step), running.trial.pairs());
            let RunningTrial { model, percent, excess, trial } = running.clone();
            KeptTrial { version: VERSION, model, percent, excess, trial }
        };
        write(&directory.join(TRIAL), &running);
    }

    /// Keeps what people force on the breakers of loaded models, when that has changed. Blocks until it is synced.
    pub fn keep_forces(&self) {
        let now = self.parts.clock.now();
        let loaded = self.loaded();
        let mut last = self.kept.forces.lock();
        let mut forces = last.clone();
        forces.retain(|_, force| force.until > now);
        for loaded in &loaded {
            match loaded.model.guard.forced() {
                Some(force) => drop(forces.insert(loaded.model.reference.sha256.clone(), force)),
                None => drop(forces.remove(&loaded.model.reference.sha256)),
            }
        }
        if forces == *last {
            return;
        }
        last.clone_from(&forces);
        if let Some(directory) = &self.kept.directory {
            write(&directory.join(FORCES), &KeptForces { version: VERSION, forces });
        }
    }

    /// Forces again what a person forced on this bundle and has not ended since.
    pub(super) fn force_again(&self, model: &Model) {
        let force = self.kept.forces.lock().get(&model.reference.sha256).cloned();
        if let Some(force) = force.filter(|force| force.until > model.guard.now()) {
            model.guard.force(force.force, force.until, &force.reason, &force.by);
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let read = std::fs::read(path).map(|bytes| serde_json::from_slice(&bytes));
    match read {
        Ok(Ok(kept)) => Some(kept),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Ok(Err(error)) => unread(path, &error),
        Err(error) => unread(path, &error),
    }
}

fn unread<T>(path: &Path, error: &dyn std::fmt::Display) -> Option<T> {
    RegisterUnsaved { error: &format_args!("{} cannot be read and is begun anew: {error}", path.display()) }.emit();
    None
}

fn write(path: &Path, kept: &impl Serialize) {
    let written = serde_json::to_vec(kept).map_err(std::io::Error::other).and_then(|json| write_whole(path, &json));
    if let Err(error) = written {
        RegisterUnsaved { error: &format_args!("tried to write {}: {error}", path.display()) }.emit();
    }
}

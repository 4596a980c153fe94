//! The fleet as a repository of bundles: what lies there, what is loaded, loading and unloading candidates.
//!
//! ```text
//! load(name, version) ─> read the bundle ─> every gate, in a child process ─> start ─> candidate
//! unload(name, version) ─> candidate: gone    active, standby, on trial: refused
//! ```
//! Loading never activates: a candidate answers raw calls only. One bundle is validated at a time, and the
//! number of candidates is bounded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Error, Fleet, Inner};
use crate::domain::Timestamp;
use crate::healing::lifecycle::Trust;
use crate::healing::{ModelRef, Stage};
use crate::runtime::inference::{InferenceOptions, library};
use crate::runtime::release::bundle::{self, Files};
use crate::runtime::release::gates::{Passed, Report};
use crate::runtime::release::manifest::is_word;
use crate::runtime::resident::{self, Loaded};
use crate::runtime::slot::Model;
use crate::telemetry::inference::{CandidateLoaded, CandidateRefused, CandidateUnloaded};

/// The most candidates at once.
pub const CANDIDATES_MAX: usize = 4;
/// The most bundles an index lists.
const BUNDLES_MAX: usize = 1_024;

/// Whether a bundle can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Ready,
    /// It is being validated.
    Loading,
    /// It lies there.
    Unavailable,
}

/// One bundle of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it can be asked.
    pub state: State,
    /// Its role, or why it cannot be asked.
    pub reason: String,
}

/// Where a bundle lies: its name and its version.
pub(super) type Place = (String, String);

/// Frees the place of the bundle that is being validated, however that ends.
pub(super) struct Turn<'r>(&'r Mutex<Option<Place>>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Fleet {
    /// Lists every bundle that is loaded or lies in a model directory. Reads the directories.
    #[must_use]
    pub fn index(&self) -> Vec<Entry> {
        let mut entries: BTreeMap<Place, Entry> = BTreeMap::new();
        let loading = self.loading.lock().clone();
        let refusals = self.inner.lock().refusals.clone();
        for place in self.places() {
            let (name, version) = place.clone();
            let is_loading = loading.as_ref() == Some(&place);
            let state = if is_loading { State::Loading } else { State::Unavailable };
            let reason = refusals.get(&place).cloned().unwrap_or_else(|| "not loaded".to_owned());
            let reason = if is_loading { "being validated".to_owned() } else { reason };
            entries.insert(place, Entry { name, version, state, reason });
        }
        for Loaded { model, .. } in self.loaded() {
            let (name, version) = (model.name.clone(), model.version.clone());
            let reason = self.place_of(&model.reference).to_owned();
            entries.insert((name.clone(), version.clone()), Entry { name, version, state: State::Ready, reason });
        }
        entries.into_values().collect()
    }

    /// Returns every loaded model with its place, for those who watch over models.
    #[must_use]
    pub fn placed(&self) -> Vec<(&'static str, Arc<Model>)> {
        let loaded = self.loaded().into_iter().map(|loaded| loaded.model);
        loaded.map(|model| (self.place_of(&model.reference), model)).collect()
    }

    /// Runs every gate on a bundle and makes it a candidate; one that is loaded already only passes the gates
    /// again. Takes seconds: not for an async thread.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn load(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let place = self.bundle_meant(name, version)?;
        let _turn = self.take_turn(&place)?;
        let present = self.find(&place.0, Some(&place.1));
        if present.is_none() && self.candidates() >= CANDIDATES_MAX {
            return Err(Error::Full);
        }
        let done = self.validate(&place).and_then(|passed| self.admit(&passed, present));
        match &done {
            Ok(model) => {
                self.inner.lock().refusals.remove(&place);
                let role = self.place_of(&model.reference);
                CandidateLoaded { name: &place.0, version: &place.1, role }.emit();
            }
            Err(reason) => {
                self.inner.lock().refusals.insert(place.clone(), reason.clone());
                CandidateRefused { name: &place.0, version: &place.1, reason }.emit();
            }
        }
        done.map_err(Error::Refused)
    }

    /// Lets a candidate go; without a version the only one of this name. Waits for its threads.
    ///
    /// # Errors
    /// [`Error::InUse`] for a model that has a place, [`Error::NotLoaded`], [`Error::Ambiguous`].
    pub fn unload(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let gone = {
            let mut inner = self.inner.lock();
            let is_meant = |model: &Model| model.name == name && version.is_none_or(|version| model.version == version);
            let of_name = inner.loaded.iter().enumerate().filter(|(_, loaded)| is_meant(&loaded.model));
            let of_name: Vec<(usize, ModelRef)> =
                of_name.map(|(place, loaded)| (place, loaded.model.reference.clone())).collect();
            let (free, placed): (Vec<_>, Vec<_>) = of_name.into_iter().partition(|(_, model)| !inner.has_place(model));
            match (free.as_slice(), placed.first()) {
                ([(only, _)], _) => inner.loaded.remove(*only),
                ([], Some((_, model))) => {
                    return Err(Error::InUse(inner.stage(model).unwrap_or(Stage::Active).name()));
                }
                ([], None) => return Err(Error::NotLoaded),
                (several, _) => return Err(ambiguous(several.iter().map(|(_, model)| &model.version))),
            }
        };
        CandidateUnloaded { name: &gone.model.name, version: &gone.model.version }.emit();
        Ok(gone.model)
    }

    fn candidates(&self) -> usize {
        let inner = self.inner.lock();
        inner.loaded.iter().filter(|loaded| !inner.has_place(&loaded.model.reference)).count()
    }

    /// Says which bundle is meant: the one named, else the only one that is not loaded, else the loaded one.
    fn bundle_meant(&self, name: &str, version: Option<&str>) -> Result<Place, Error> {
        if !is_word(name) || !version.is_none_or(is_word) {
            return Err(Error::Unknown);
        }
        let mut places = self.places();
        places.retain(|(known, of)| known == name && version.is_none_or(|version| version == of));
        let mut absent: Vec<&Place> =
            places.iter().filter(|(name, version)| self.find(name, Some(version)).is_none()).collect();
        match (absent.pop(), absent.is_empty()) {
            (Some(only), true) => Ok(only.clone()),
            (Some(last), false) => Err(ambiguous(absent.into_iter().chain([last]).map(|(_, version)| version))),
            (None, _) if places.is_empty() => Err(Error::Unknown),
            (None, _) => {
                let model = self.find(name, version).ok_or(Error::Unknown)?;
                Ok((model.name.clone(), model.version.clone()))
            }
        }
    }

    pub(super) fn take_turn(&self, place: &Place) -> Result<Turn<'_>, Error> {
        let mut loading = self.loading.lock();
        if loading.is_some() {
            return Err(Error::Busy);
        }
        *loading = Some(place.clone());
        drop(loading);
        Ok(Turn(&self.loading))
    }

    /// Lists the bundles of the model directories by name and version.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for root in self.options.models.roots() {
            for name in words_in(root) {
                for version in words_in(&root.join(&name)) {
                    if places.len() < BUNDLES_MAX && root.join(&name).join(&version).join(bundle::MANIFEST).is_file() {
                        places.push((name.clone(), version));
                    }
                }
            }
        }
        places.sort();
        places.dedup();
        places
    }

    /// Asks every gate and takes the verdict into the register; the bundle need not be started.
    pub(super) fn validate(&self, place: &Place) -> Result<Passed, String> {
        if !self.options.models.enabled {
            return Err("models are switched off: set models.enabled = true".to_owned());
        }
        library::open(self.options.models.runtime_library.as_deref()).map_err(|error| error.to_string())?;
        let (name, version) = place;
        let read = |path: &Path| bundle::read(path).map_err(|error| error.to_string());
        let files: Files = read(&self.options.models.locate(&format!("{name}/{version}")))?;
        let active = self.files_of_active()?;
        let now = self.parts.clock.now();
        let reference = files.get(bundle::MANIFEST).map(|bytes| ModelRef {
            name: name.clone(),
            version: version.clone(),
            sha256: bundle::sha256(bytes),
        });
        let banned = reference.as_ref().is_some_and(|model| self.inner.lock().stage(model) == Some(Stage::Quarantined));
        if banned {
            return Err("it is quarantined: a person must release it first".to_owned());
        }
        let (report, passed) =
            Passed::by_child(&self.options.executable, &files, active.as_ref(), &self.options.limits);
        let passed = passed.and_then(|passed| named_as(passed, place));
        let Some(reference) = reference else { return passed };
        // Files that are not what their manifest says may be on their way still: that is no verdict on the bundle.
        let is_whole = bundle::Bundle::from_files(&files).is_ok_and(|bundle| bundle.reference() == reference);
        if is_whole {
            self.take_verdict(&reference, passed.as_ref().map(Passed::trust).map_err(Clone::clone), (report, now));
        }
        passed
    }

    /// Takes the verdict of the gates into the register, between two orders: an order writes down all lives as they were
    /// when it began, and would forget one that was judged meanwhile.
    fn take_verdict(&self, model: &ModelRef, verdict: Result<Trust, String>, (report, now): (Report, Timestamp)) {
        let _one_at_a_time = self.ordering.lock();
        let mut inner = self.inner.lock();
        let trust = verdict.clone().unwrap_or_default();
        let mut lives = inner.lives.clone();
        lives.find(model, trust, now);
        inner.reports.insert(model.sha256.clone(), report);
        // One that has gone further keeps its stage: the gates were only asked once more.
        let _has_gone_further = lives.judge(model, verdict, now);
        inner.become_lives(lives, ("gates", now));
        let known: Vec<String> = inner.lives.all().map(|life| life.model.sha256.clone()).collect();
        inner.reports.retain(|sha256, _| known.contains(sha256));
        let lives = inner.lives.clone();
        drop(inner);
        // What is not saved is found again at the next start.
        let _told = self.save(&lives, true);
    }

    /// Reads the files of the active bundle, which candidates are measured against.
    fn files_of_active(&self) -> Result<Option<Files>, String> {
        let active = self.inner.lock().lives.at(Stage::Active).map(|life| life.model.clone());
        let Some(active) = active else { return Ok(None) };
        let files = bundle::read(&self.options.models.locate(&active.to_string()));
        let files = files.map_err(|error| format!("the active bundle: {error}"))?;
        if files.get(bundle::MANIFEST).is_none_or(|bytes| bundle::sha256(bytes) != active.sha256) {
            return Err(format!(
                "the active bundle {active} was changed since it was loaded: nothing to measure against"
            ));
        }
        Ok(Some(files))
    }

    fn admit(&self, passed: &Passed, present: Option<Arc<Model>>) -> Result<Arc<Model>, String> {
        if let Some(model) = present {
            let is_same = model.reference == passed.bundle().reference();
            let changed = "its files were changed since it was loaded; give the change a version of its own";
            return if is_same { Ok(model) } else { Err(changed.to_owned()) };
        }
        let options = InferenceOptions { threads: std::num::NonZeroUsize::MIN, ..self.options.inference.clone() };
        let loaded = resident::start(passed, options)?;
        self.force_again(&loaded.model);
        let model = Arc::clone(&loaded.model);
        self.inner.lock().loaded.push(loaded);
        Ok(model)
    }
}

impl Inner {
    /// Tells whether a model answers, stands by, or is on trial.
    pub(super) fn has_place(&self, model: &ModelRef) -> bool {
        match self.stage(model) {
            Some(Stage::Active | Stage::Standby | Stage::Shadow | Stage::Canary) => true,
            Some(Stage::Candidate | Stage::Validated | Stage::Retired | Stage::Quarantined) | None => false,
        }
    }
}

fn named_as(passed: Passed, (name, version): &Place) -> Result<Passed, String> {
    let manifest = &passed.bundle().manifest;
    if (&manifest.name, &manifest.version) != (name, version) {
        let (name, version) = (&manifest.name, &manifest.version);
        return Err(format!("its manifest says it is {name}/{version}: move it to the directory of that name"));
    }
    Ok(passed)
}

fn ambiguous<'v>(versions: impl Iterator<Item = &'v String>) -> Error {
    Error::Ambiguous(versions.map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// Lists the folders that may name a model or a version, in order; none when the folder cannot be read.
fn words_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut words: Vec<String> = entries
        .take(BUNDLES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|word| is_word(word))
        .collect();
    words.sort();
    words
}

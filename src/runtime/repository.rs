//! The models at hand: the active one, its standby, and candidates that an operator had loaded.
//!
//! ```text
//! load(name, version) ─> read the bundle ─> every gate, in a child process ─> start ─> candidate
//! unload(name, version) ─> candidate: gone    active, standby: refused
//! ```
//! Loading never activates: a candidate answers raw calls only. One bundle is validated at a time, and the
//! number of candidates is bounded. Promotion is not known here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::inference::{InferenceOptions, library};
use super::release::bundle::{self, Bundle, Files};
use super::release::gates::{self, child};
use super::release::manifest::is_word;
use super::resident::{self, Loaded, Resident};
use super::slot::Model;
use crate::telemetry::inference::{CandidateLoaded, CandidateRefused, CandidateUnloaded};

/// The most candidates at once.
pub const CANDIDATES_MAX: usize = 4;
/// The most bundles an index lists.
const BUNDLES_MAX: usize = 1_024;

/// How candidates are loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where bundles are, and which are active and standby.
    pub models: resident::Options,
    /// How a model is run.
    pub inference: InferenceOptions,
    /// What the gates ask for.
    pub limits: gates::Limits,
    /// The executable that runs the gates as a child.
    pub executable: PathBuf,
}

/// Why a bundle was not loaded or unloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing of this name and version lies in the repository.
    #[error("no bundle of this name and version lies in the model directory")]
    Unknown,
    /// Several versions could be meant.
    #[error("several versions could be meant: say one of {0}")]
    Ambiguous(String),
    /// Another bundle is being validated.
    #[error("another bundle is being validated: come back later")]
    Busy,
    /// It did not pass.
    #[error("the bundle was not let in: {0}")]
    Refused(String),
    /// There are as many candidates as there may be.
    #[error("there are {CANDIDATES_MAX} candidates already: unload one first")]
    Full,
    /// It answers, or stands by.
    #[error("the model is {0} and stays: put another in its place first")]
    InUse(&'static str),
    /// It lies there and is not loaded.
    #[error("the model is not loaded")]
    NotLoaded,
}

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

type Place = (String, String);

/// The models at hand.
pub struct Repository {
    options: Options,
    resident: Arc<Resident>,
    candidates: Mutex<Vec<Loaded>>,
    loading: Mutex<Option<Place>>,
    refusals: Mutex<BTreeMap<Place, String>>,
}

/// Frees the place of the bundle that is being validated, however that ends.
struct Turn<'r>(&'r Mutex<Option<Place>>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Repository {
    /// Begins with the models a service started with.
    #[must_use]
    pub fn new(options: Options, resident: Arc<Resident>) -> Self {
        let (candidates, loading, refusals) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { options, resident, candidates, loading, refusals }
    }

    /// Returns every loaded model: active, standby, candidates in the order they came.
    #[must_use]
    pub fn loaded(&self) -> Vec<Loaded> {
        let resident = self.resident.active.iter().chain(&self.resident.standby).cloned();
        resident.chain(self.candidates.lock().iter().cloned()).collect()
    }

    /// Finds a loaded model; without a version the active one goes before the standby and that before candidates.
    #[must_use]
    pub fn find(&self, name: &str, version: Option<&str>) -> Option<Arc<Model>> {
        let is_meant = |model: &Model| model.name == name && version.is_none_or(|version| model.version == version);
        self.loaded().into_iter().map(|loaded| loaded.model).find(|model| is_meant(model))
    }

    /// Tells whether this is the configured active or standby model, loaded or not.
    #[must_use]
    pub fn is_configured(&self, name: &str, version: Option<&str>) -> bool {
        [&self.options.models.active, &self.options.models.standby].into_iter().any(|place| {
            place
                .split_once('/')
                .is_some_and(|(known, of)| known == name && version.is_none_or(|version| version == of))
        })
    }

    /// Tells whether the active model is loaded.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.resident.active.is_some()
    }

    /// Lists every bundle that is loaded or lies in the model directory. Reads the directory.
    #[must_use]
    pub fn index(&self) -> Vec<Entry> {
        let mut entries: BTreeMap<Place, Entry> = BTreeMap::new();
        let loading = self.loading.lock().clone();
        let refusals = self.refusals.lock().clone();
        for place in self.places() {
            let (name, version) = place.clone();
            let is_loading = loading.as_ref() == Some(&place);
            let state = if is_loading { State::Loading } else { State::Unavailable };
            let reason = refusals.get(&place).cloned().unwrap_or_else(|| "not loaded".to_owned());
            let reason = if is_loading { "being validated".to_owned() } else { reason };
            entries.insert(place, Entry { name, version, state, reason });
        }
        for Loaded { model, .. } in self.loaded() {
            let (name, version, reason) = (model.name.clone(), model.version.clone(), model.role.to_owned());
            entries.insert((name.clone(), version.clone()), Entry { name, version, state: State::Ready, reason });
        }
        entries.into_values().collect()
    }

    /// Runs every gate on a bundle and makes it a candidate; one that is loaded already only passes the gates
    /// again. Takes seconds: not for an async thread.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub fn load(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let place = self.meant(name, version)?;
        let _turn = self.take_turn(&place)?;
        let present = self.find(&place.0, Some(&place.1));
        if present.is_none() && self.candidates.lock().len() >= CANDIDATES_MAX {
            return Err(Error::Full);
        }
        let done = self.validate(&place).and_then(|bundle| self.start(&bundle, present));
        match &done {
            Ok(model) => {
                self.refusals.lock().remove(&place);
                CandidateLoaded { name: &place.0, version: &place.1, role: model.role }.emit();
            }
            Err(reason) => {
                self.refusals.lock().insert(place.clone(), reason.clone());
                CandidateRefused { name: &place.0, version: &place.1, reason }.emit();
            }
        }
        done.map_err(Error::Refused)
    }

    /// Lets a candidate go; without a version the only one of this name. Waits for its threads.
    ///
    /// # Errors
    /// [`Error::InUse`] for the active model and its standby, [`Error::NotLoaded`], [`Error::Ambiguous`].
    pub fn unload(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let gone = {
            let mut candidates = self.candidates.lock();
            let is_meant = |model: &Model| model.name == name && version.is_none_or(|version| model.version == version);
            let meant: Vec<usize> = (0..candidates.len()).filter(|index| is_meant(&candidates[*index].model)).collect();
            match meant.as_slice() {
                [only] => candidates.remove(*only),
                [] => {
                    drop(candidates);
                    return Err(self.find(name, version).map_or(Error::NotLoaded, |model| Error::InUse(model.role)));
                }
                several => return Err(ambiguous(several.iter().map(|index| &candidates[*index].model.version))),
            }
        };
        CandidateUnloaded { name: &gone.model.name, version: &gone.model.version }.emit();
        Ok(gone.model)
    }

    /// Says which bundle is meant: the one named, else the only one that is not loaded, else the loaded one.
    fn meant(&self, name: &str, version: Option<&str>) -> Result<Place, Error> {
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

    fn take_turn(&self, place: &Place) -> Result<Turn<'_>, Error> {
        let mut loading = self.loading.lock();
        if loading.is_some() {
            return Err(Error::Busy);
        }
        *loading = Some(place.clone());
        drop(loading);
        Ok(Turn(&self.loading))
    }

    /// Lists the bundles of the model directory by name and version.
    fn places(&self) -> Vec<Place> {
        let root = &self.options.models.directory;
        let mut places = Vec::new();
        for name in words_in(root) {
            for version in words_in(&root.join(&name)) {
                if places.len() < BUNDLES_MAX && root.join(&name).join(&version).join(bundle::MANIFEST).is_file() {
                    places.push((name.clone(), version));
                }
            }
        }
        places
    }

    fn validate(&self, (name, version): &Place) -> Result<Bundle, String> {
        if !self.options.models.enabled {
            return Err("models are switched off: set models.enabled = true".to_owned());
        }
        library::open(self.options.models.runtime_library.as_deref()).map_err(|error| error.to_string())?;
        let read = |place: &Path| bundle::read(place).map_err(|error| error.to_string());
        let files: Files = read(&self.options.models.directory.join(name).join(version))?;
        let active = match &self.resident.active {
            Some(_) => Some(read(&self.options.models.directory.join(&self.options.models.active))?),
            None => None,
        };
        let report = child::validate(&self.options.executable, &files, active.as_ref(), &self.options.limits);
        if !report.passed() {
            let failures: Vec<String> =
                report.failures().map(|check| format!("gate {:?}: {}", check.gate, check.reason)).collect();
            return Err(failures.join("; "));
        }
        // The bytes that passed are the bytes that start.
        let bundle = Bundle::from_files(&files).map_err(|error| error.to_string())?;
        if (&bundle.manifest.name, &bundle.manifest.version) != (name, version) {
            let (name, version) = (&bundle.manifest.name, &bundle.manifest.version);
            return Err(format!("its manifest says it is {name}/{version}: move it to the directory of that name"));
        }
        Ok(bundle)
    }

    fn start(&self, bundle: &Bundle, present: Option<Arc<Model>>) -> Result<Arc<Model>, String> {
        if let Some(model) = present {
            let is_same = model.sha256 == bundle.model_sha256;
            let changed = "its files were changed since it was loaded; give the change a version of its own";
            return if is_same { Ok(model) } else { Err(changed.to_owned()) };
        }
        let options = InferenceOptions { threads: std::num::NonZeroUsize::MIN, ..self.options.inference.clone() };
        let model = Arc::new(resident::start(bundle, "candidate", options)?);
        self.candidates.lock().push(Loaded { model: Arc::clone(&model), schema: Arc::clone(&bundle.schema) });
        Ok(model)
    }
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

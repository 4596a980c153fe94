//! The fleet: every model at hand, the place each has, and the only one who changes that.
//!
//! ```text
//! model directory ──watch──> gates, in a child ──> validated ──┐
//! Order ──> Lives.after (legal?) ──> load what is missing ──> rules of today fit its schema? ──> saved ──> slot, one store
//! Tap ──> compare: candidate and active on the same transactions ──> Trial ──> facts
//! ```
//! A failed step changes nothing. What should be done is planned elsewhere, from [`Fleet::facts`]; every door here blocks,
//! for a bounded time, and is not for an async thread.

pub mod bench;
mod calibrate;
mod compare;
mod facts;
mod kept;
mod options;
mod orders;
mod register;
mod repository;
mod steps;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

pub use bench::{Running, Shadowed};
pub use facts::ModelView;
pub use options::{Options, Settings};
pub use register::{Error as RegisterError, Register};
pub use repository::{CANDIDATES_MAX, Entry, State};
pub use steps::Step;

use super::clock::Clock;
use super::decisions::Record;
use super::entities::{Entities, Warmth};
use super::release::Baseline;
use super::release::gates::Report;
use super::resident::{Loaded, Resident};
use super::slot::{Model, Release, Slot};
use super::tap::Tap;
use crate::domain::Timestamp;
use crate::healing::lifecycle::{Illegal, Lives};
use crate::healing::trial::Trial;
use crate::healing::{ModelRef, Stage};
use crate::scoring::feature::Schema;
use repository::Place;

/// The most decisions that are kept to score a model on at once.
pub const RECENT_MAX: usize = 2_000;
/// The most decisions that wait at the tap to be compared.
pub const TAPPED_MAX: usize = 8_192;

/// Why an order was not carried out, or a bundle not loaded or unloaded.
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
    /// It answers, stands by, or is on trial.
    #[error("the model is {0} and stays: put another in its place first")]
    InUse(&'static str),
    /// It lies there and is not loaded.
    #[error("the model is not loaded")]
    NotLoaded,
    /// The order breaks a rule of the life of bundles.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The rules in force read what its schema does not have.
    #[error("the rules in force do not fit its schema: {0}")]
    Rules(String),
    /// Its features cannot be kept beside those of the others.
    #[error("its features cannot be kept: {0}")]
    Schema(String),
    /// The register cannot be saved, and the order is none that protects.
    #[error("the change could not be saved, so nothing was changed: {0}")]
    Unsaved(String),
    /// No other model could be asked beside the active one.
    #[error("there is no other model that could be asked: no standby is loaded with its windows full")]
    Alone,
    /// Another model answers than the one that is meant.
    #[error("the model does not answer")]
    NotActive,
    /// Golden rows no longer give their scores.
    #[error("golden rows do not give their scores: {0}")]
    Golden(String),
}

/// What a fleet works with beside its options.
pub struct Parts {
    /// The release in force.
    pub slot: Arc<Slot>,
    /// Entity state.
    pub entities: Arc<Entities>,
    /// Wall time.
    pub clock: Clock,
    /// Decisions taken aside.
    pub tap: Arc<Tap<Arc<Record>>>,
}

/// The models at hand and their places. Share it in an `Arc`.
pub struct Fleet {
    options: Options,
    parts: Parts,
    register: Register,
    /// One order at a time.
    ordering: Mutex<()>,
    /// The bundle that is being validated.
    loading: Mutex<Option<Place>>,
    inner: Mutex<Inner>,
    kept: kept::Kept,
    bench: bench::Bench,
}

/// What changes, behind one short lock.
#[derive(Default)]
struct Inner {
    lives: Lives,
    /// Loaded models in the order they came.
    loaded: Vec<Loaded>,
    /// When golden rows last gave their scores, by hash.
    golden: BTreeMap<String, Timestamp>,
    /// The step of the trial that runs.
    trial: Option<RunningTrial>,
    /// Whether the standby is asked beside the active model.
    is_united: bool,
    /// Models that are on their way out: dropped here, where nobody waits, once nobody holds them.
    leaving: Vec<Arc<Model>>,
    /// Why bundles were refused, by place.
    refusals: BTreeMap<Place, String>,
    /// What the gates said, by hash.
    reports: BTreeMap<String, Report>,
    /// How places looked when the directory was last looked at.
    seen: BTreeMap<Place, u64>,
    recent: VecDeque<Arc<Record>>,
    shadowed: VecDeque<Shadowed>,
    shadowed_dropped: u64,
    /// Steps of bundles that the record was not told yet.
    steps: VecDeque<steps::Step>,
}

#[derive(Clone)]
struct RunningTrial {
    model: ModelRef,
    percent: u8,
    /// How many times too much the active model stopped when the step began.
    excess: f64,
    trial: Trial,
}

impl Fleet {
    /// Begins with the models a service started with, and what the register knows of all others.
    #[must_use]
    pub fn new(options: Options, parts: Parts, register: Register, resident: &Resident) -> Self {
        let now = parts.clock.now();
        let mut lives = register.lives().clone();
        let named =
            |loaded: &'_ Option<Loaded>| loaded.as_ref().map(|loaded| (loaded.model.reference.clone(), loaded.trust));
        let (active, standby) = (named(&resident.active), named(&resident.standby));
        // Banned bundles are not loaded in the first place: see `Register::allows`.
        let _none_is_banned = lives.install(
            active.as_ref().map(|(model, trust)| (model, *trust)),
            standby.as_ref().map(|(model, trust)| (model, *trust)),
            now,
        );
        let loaded = resident.active.iter().chain(&resident.standby).cloned().collect();
        let kept = kept::Kept::open(register.directory().map(ToOwned::to_owned));
        let mut inner = Inner { lives: register.known_before().clone(), loaded, ..Inner::default() };
        inner.become_lives(lives, ("start", now));
        let fleet = Self {
            options,
            parts,
            register,
            ordering: Mutex::default(),
            loading: Mutex::default(),
            inner: Mutex::new(inner),
            kept,
            bench: bench::Bench::default(),
        };
        resident.active.iter().chain(&resident.standby).for_each(|loaded| fleet.force_again(&loaded.model));
        fleet.calibrate_again();
        fleet.begin_again(now);
        fleet.take_office(resident);
        fleet
    }

    /// Makes a rollback of before the restart visible again, and saves who has which place now.
    fn take_office(&self, resident: &Resident) {
        let lives = self.inner.lock().lives.clone();
        if lives.rollback().is_some() {
            let told: Result<_, std::convert::Infallible> =
                self.parts.slot.change(|release| Ok(Release { rolled_back: true, ..release.clone() }));
            drop(told);
        }
        // What failed to load keeps its place in the file: the next start may find it whole.
        let is_whole = resident.active.is_some() && (resident.standby.is_some() || lives.at(Stage::Standby).is_none());
        if is_whole {
            let _told = self.save(&lives, true);
        }
    }

    /// Returns every loaded model: active, standby, others in the order they came.
    #[must_use]
    pub fn loaded(&self) -> Vec<Loaded> {
        let inner = self.inner.lock();
        let mut loaded = inner.loaded.clone();
        let rank = |loaded: &Loaded| match inner.stage(&loaded.model.reference) {
            Some(Stage::Active) => 0,
            Some(Stage::Standby) => 1,
            Some(_) | None => 2,
        };
        loaded.sort_by_key(rank);
        loaded
    }

    /// Finds a loaded model; without a version the active one goes before the standby and that before the others.
    #[must_use]
    pub fn find(&self, name: &str, version: Option<&str>) -> Option<Arc<Model>> {
        let is_meant = |model: &Model| model.name == name && version.is_none_or(|version| model.version == version);
        self.loaded().into_iter().map(|loaded| loaded.model).find(|model| is_meant(model))
    }

    /// Says which bundle a name and a version mean, loaded or not; the one that was seen last, where several had them.
    #[must_use]
    pub fn meant_by(&self, name: &str, version: &str) -> Option<ModelRef> {
        let inner = self.inner.lock();
        let of_name = inner.lives.all().filter(|life| life.model.name == name && life.model.version == version);
        of_name.max_by_key(|life| life.since).map(|life| life.model.clone())
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
        self.parts.slot.load().model.is_some()
    }

    /// Returns the place a loaded model has: `active`, `standby`, `shadow`, `canary` or `candidate`.
    #[must_use]
    pub fn place_of(&self, model: &ModelRef) -> &'static str {
        match self.inner.lock().stage(model) {
            Some(stage @ (Stage::Active | Stage::Standby | Stage::Shadow | Stage::Canary)) => stage.name(),
            Some(Stage::Candidate | Stage::Validated | Stage::Retired | Stage::Quarantined) | None => {
                Stage::Candidate.name()
            }
        }
    }

    /// Returns the profile of a loaded model's training data.
    #[must_use]
    pub fn baseline(&self, model: &ModelRef) -> Option<Arc<Baseline>> {
        self.loaded_as(model).map(|loaded| loaded.baseline)
    }

    /// Returns the schema of a loaded model.
    #[must_use]
    pub fn schema(&self, model: &ModelRef) -> Option<Arc<Schema>> {
        self.loaded_as(model).map(|loaded| loaded.schema)
    }

    fn loaded_as(&self, model: &ModelRef) -> Option<Loaded> {
        self.inner.lock().loaded_as(model)
    }

    fn is_warm(&self, schema: &Schema) -> bool {
        self.parts.entities.warmth(schema) == Warmth::Warm
    }
}

impl Inner {
    fn stage(&self, model: &ModelRef) -> Option<Stage> {
        self.lives.get(&model.sha256).map(|life| life.stage)
    }

    fn loaded_as(&self, model: &ModelRef) -> Option<Loaded> {
        self.loaded.iter().find(|loaded| loaded.model.reference == *model).cloned()
    }
}

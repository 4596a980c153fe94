//! The models a service starts with: the active one and its standby, both through the quick gates.
//!
//! A bundle that fails is told with its reason and left out; the service then answers by rules, which
//! is visible in readiness, health and every decision. Which model takes over is not decided here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clock::Clock;
use super::guard::Guard;
use super::inference::{Inference, InferenceOptions, library};
use super::release::bundle::{Bundle, MANIFEST};
use super::release::gates::{Limits, Passed};
use super::release::manifest::Tolerance;
use super::release::{Baseline, GoldenRow};
use super::slot::Model;
use crate::healing::ModelRef;
use crate::healing::lifecycle::Trust;
use crate::scoring::feature::Schema;
use crate::telemetry::events::ModelRefused;

/// Which models to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether to load models at all; without them rules and stand-in policy answer.
    pub enabled: bool,
    /// Where bundles are, as `NAME/VERSION`.
    pub directory: PathBuf,
    /// The bundle that answers, as `NAME/VERSION`.
    pub active: String,
    /// The bundle that stands by, validated and warm, as `NAME/VERSION`; empty for none.
    pub standby: String,
    /// The ONNX Runtime library; found by itself when absent (`ORT_DYLIB_PATH`, `.deps/`).
    pub runtime_library: Option<PathBuf>,
    /// A second directory of bundles: what comes over the network is staged there.
    pub staged: Option<PathBuf>,
}

impl Options {
    /// Returns every directory that has bundles, as `NAME/VERSION`.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.directory).chain(&self.staged).map(PathBuf::as_path)
    }

    /// Finds a bundle's directory; where there is none, says where it would be.
    #[must_use]
    pub fn locate(&self, place: &str) -> PathBuf {
        let found = self.roots().map(|root| root.join(place)).find(|path| path.join(MANIFEST).is_file());
        found.unwrap_or_else(|| self.directory.join(place))
    }
}

/// The most golden rows that are kept to check a running model with.
pub const CHECK_ROWS_MAX: usize = 64;

/// A loaded model and what of its bundle is needed beside it.
#[derive(Clone)]
pub struct Loaded {
    /// The model.
    pub model: Arc<Model>,
    /// Its features.
    pub schema: Arc<Schema>,
    /// The profile of its training data.
    pub baseline: Arc<Baseline>,
    /// Golden rows to check it with, evenly drawn.
    pub golden: Arc<[GoldenRow]>,
    /// How far scores on them may be from the trainer's.
    pub tolerance: Tolerance,
    /// Whether it is signed by a trusted key.
    pub trust: Trust,
}

/// What became of the configured models.
#[derive(Default)]
pub struct Resident {
    /// The one that answers, when it passed.
    pub active: Option<Loaded>,
    /// The one that stands by, when it passed.
    pub standby: Option<Loaded>,
    /// The schema of the active bundle even when its model failed, so that rules keep their features.
    pub schema: Option<Arc<Schema>>,
}

impl Resident {
    /// Loads what is configured.
    #[must_use]
    pub fn load(options: &Options, inference: &InferenceOptions, limits: &Limits) -> Self {
        Self::load_allowed(options, inference, limits, &|_| true)
    }

    /// Loads what is configured and, by its hash, not banned.
    #[must_use]
    pub fn load_allowed(
        options: &Options,
        inference: &InferenceOptions,
        limits: &Limits,
        is_allowed: &dyn Fn(&ModelRef) -> bool,
    ) -> Self {
        let mut resident = Self::default();
        let library = if options.enabled { library::open(options.runtime_library.as_deref()).err() } else { None };
        if let Some(error) = &library {
            ModelRefused { bundle: &options.active, reason: error }.emit();
        }
        let starts = options.enabled && library.is_none();
        let load = |name: &str| {
            let bundle = refused(name, read(&options.locate(name)))?;
            let schema = Arc::clone(&bundle.schema);
            let started = || {
                let reference = bundle.reference();
                if !is_allowed(&reference) {
                    return Err("it is quarantined: a person must release it first".to_owned());
                }
                start(&Passed::at_start(bundle, limits)?, inference.clone())
            };
            let loaded = if starts { refused(name, started()) } else { None };
            Some((schema, loaded))
        };
        if let Some((schema, loaded)) = load(&options.active) {
            resident.active = loaded;
            resident.schema = Some(schema);
        }
        if starts && !options.standby.is_empty() {
            resident.standby = load(&options.standby).and_then(|(_, loaded)| loaded);
        }
        resident
    }
}

/// Tells why a bundle was refused, and goes on without it.
fn refused<T>(bundle: &str, result: Result<T, String>) -> Option<T> {
    if let Err(reason) = &result {
        ModelRefused { bundle: &bundle, reason }.emit();
    }
    result.ok()
}

fn read(path: &Path) -> Result<Bundle, String> {
    Bundle::load(path).map_err(|error| error.to_string())
}

/// Starts a bundle that has passed its gates.
pub(super) fn start(passed: &Passed, inference: InferenceOptions) -> Result<Loaded, String> {
    let bundle = passed.bundle();
    let guard = guard(bundle, inference.breaker);
    let inference = Inference::start(bundle, inference).map_err(|error| error.to_string())?;
    let model = Model {
        name: bundle.manifest.name.clone(),
        version: bundle.manifest.version.clone(),
        sha256: bundle.model_sha256.clone(),
        reference: bundle.reference(),
        thresholds: bundle.manifest.thresholds,
        baseline: bundle.baseline.baselines(),
        inference,
        guard: Arc::new(guard),
    };
    let step = bundle.golden.len().div_ceil(CHECK_ROWS_MAX).max(1);
    Ok(Loaded {
        model: Arc::new(model),
        schema: Arc::clone(&bundle.schema),
        baseline: Arc::new(bundle.baseline.clone()),
        golden: bundle.golden.iter().step_by(step).cloned().collect(),
        tolerance: bundle.manifest.tolerance,
        trust: passed.trust(),
    })
}

fn guard(bundle: &Bundle, options: crate::healing::breaker::Options) -> Guard {
    Guard::new(bundle.reference(), options, Clock::system(), (&bundle.golden, bundle.manifest.tolerance))
}

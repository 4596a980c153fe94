//! The models a service starts with: the active one and its standby, both through the quick gates.
//!
//! A bundle that fails is told with its reason and left out; the service then answers by rules, which
//! is visible in readiness, health and every decision. Which model takes over is not decided here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clock::Clock;
use super::guard::Guard;
use super::inference::{Inference, InferenceOptions, library};
use super::release::bundle::{self, Bundle};
use super::release::gates::{self, Limits};
use super::slot::Model;
use crate::healing::model::ModelRef;
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
}

/// A loaded model and its schema.
#[derive(Clone)]
pub struct Loaded {
    /// The model.
    pub model: Arc<Model>,
    /// Its features.
    pub schema: Arc<Schema>,
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
        let mut resident = Self::default();
        let library = if options.enabled { library::open(options.runtime_library.as_deref()).err() } else { None };
        if let Some(error) = &library {
            ModelRefused { bundle: &options.active, reason: error }.emit();
        }
        let starts = options.enabled && library.is_none();
        let load = |name: &str, role| {
            let bundle = refused(name, read(&options.directory.join(name)))?;
            let schema = Arc::clone(&bundle.schema);
            let checked = || check(&bundle, limits).and_then(|()| start(&bundle, role, inference.clone()));
            let model = if starts { refused(name, checked()) } else { None };
            Some((schema, model.map(Arc::new)))
        };
        if let Some((schema, model)) = load(&options.active, "active") {
            resident.active = model.map(|model| Loaded { model, schema: Arc::clone(&schema) });
            resident.schema = Some(schema);
        }
        if starts && !options.standby.is_empty() {
            let standby = load(&options.standby, "standby");
            resident.standby = standby.and_then(|(schema, model)| model.map(|model| Loaded { model, schema }));
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

fn check(bundle: &Bundle, limits: &Limits) -> Result<(), String> {
    let report = gates::quick(bundle, limits);
    let failures: Vec<String> =
        report.failures().map(|check| format!("gate {:?}: {}", check.gate, check.reason)).collect();
    if !failures.is_empty() {
        return Err(failures.join("; "));
    }
    Ok(())
}

/// Starts a bundle that has passed its gates.
pub(super) fn start(bundle: &Bundle, role: &'static str, inference: InferenceOptions) -> Result<Model, String> {
    let guard = guard(bundle, inference.breaker);
    let inference = Inference::start(bundle, inference).map_err(|error| error.to_string())?;
    Ok(Model {
        name: bundle.manifest.name.clone(),
        version: bundle.manifest.version.clone(),
        sha256: bundle.model_sha256.clone(),
        role,
        thresholds: bundle.manifest.thresholds,
        baseline: bundle.baseline.baselines(),
        inference,
        guard: Arc::new(guard),
    })
}

fn guard(bundle: &Bundle, options: crate::healing::breaker::Options) -> Guard {
    let model = ModelRef {
        name: bundle.manifest.name.clone(),
        version: bundle.manifest.version.clone(),
        sha256: bundle::sha256(&bundle.manifest_bytes),
    };
    Guard::new(model, options, Clock::system(), (&bundle.golden, bundle.manifest.tolerance))
}

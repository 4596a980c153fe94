//! The models a service starts with: the active one and its standby, both through the quick gates.
//!
//! A bundle that fails is told with its reason and left out; the service then answers by rules, which
//! is visible in readiness, health and every decision. Which model takes over is not decided here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::edge::http::ModelView;
use crate::runtime::inference::{Inference, InferenceOptions};
use crate::runtime::release::bundle::Bundle;
use crate::runtime::release::gates::{self, Limits};
use crate::runtime::slot::Model;
use crate::scoring::feature::Schema;
use crate::telemetry::events::ModelRefused;

/// Which models to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whether to load models at all; without them rules and stand-in policy answer. Default true; restart.
    pub enabled: bool,
    /// Where bundles are, as `NAME/VERSION`. Default `models`; restart.
    pub directory: PathBuf,
    /// The bundle that answers, as `NAME/VERSION`. Restart.
    pub active: String,
    /// The bundle that stands by, validated and warm, as `NAME/VERSION`; empty for none. Restart.
    pub standby: String,
    /// The ONNX Runtime library; found by itself when absent (`ORT_DYLIB_PATH`, `.deps/`). Restart.
    pub runtime_library: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: "models".into(),
            active: "card-fraud/1.0.0".into(),
            standby: "card-fraud/1.0.0-lr".into(),
            runtime_library: None,
        }
    }
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
    pub fn load(options: &Options, inference: InferenceOptions, limits: &Limits) -> Self {
        if !options.enabled {
            let schema = read(&options.directory.join(&options.active)).ok().map(|bundle| bundle.schema);
            return Self { schema, ..Self::default() };
        }
        if let Err(error) = crate::runtime::inference::library::open(options.runtime_library.as_deref()) {
            ModelRefused { bundle: &options.active, reason: &error }.emit();
            let schema = read(&options.directory.join(&options.active)).ok().map(|bundle| bundle.schema);
            return Self { schema, ..Self::default() };
        }
        let load = |name: &str, role| {
            let path = options.directory.join(name);
            let bundle = read(&path)?;
            let schema = Arc::clone(&bundle.schema);
            let model = start(&bundle, role, inference, limits);
            Ok::<_, String>((schema, model))
        };
        let mut resident = Self::default();
        match load(&options.active, "active") {
            Ok((schema, model)) => {
                resident.schema = Some(Arc::clone(&schema));
                resident.active = keep(&options.active, schema, model);
            }
            Err(reason) => ModelRefused { bundle: &options.active, reason: &reason }.emit(),
        }
        if !options.standby.is_empty() {
            match load(&options.standby, "standby") {
                Ok((schema, model)) => resident.standby = keep(&options.standby, schema, model),
                Err(reason) => ModelRefused { bundle: &options.standby, reason: &reason }.emit(),
            }
        }
        resident
    }

    /// Shows the loaded models.
    #[must_use]
    pub fn views(&self) -> Vec<ModelView> {
        self.active.iter().chain(&self.standby).map(view).collect()
    }
}

fn keep(bundle: &str, schema: Arc<Schema>, model: Result<Model, String>) -> Option<Loaded> {
    match model {
        Ok(model) => Some(Loaded { model: Arc::new(model), schema }),
        Err(reason) => {
            ModelRefused { bundle: &bundle, reason: &reason }.emit();
            None
        }
    }
}

fn read(path: &Path) -> Result<Bundle, String> {
    Bundle::load(path).map_err(|error| error.to_string())
}

fn start(bundle: &Bundle, role: &'static str, inference: InferenceOptions, limits: &Limits) -> Result<Model, String> {
    let report = gates::quick(bundle, limits);
    let failures: Vec<String> =
        report.failures().map(|check| format!("gate {}: {}", check.gate.name(), check.reason)).collect();
    if !failures.is_empty() {
        return Err(failures.join("; "));
    }
    let inference = Inference::start(bundle, inference).map_err(|error| error.to_string())?;
    Ok(Model {
        name: bundle.manifest.name.clone(),
        version: bundle.manifest.version.clone(),
        sha256: bundle.model_sha256.clone(),
        role,
        thresholds: bundle.manifest.thresholds,
        baseline: bundle.baseline.baselines(),
        inference,
    })
}

fn view(loaded: &Loaded) -> ModelView {
    ModelView {
        name: loaded.model.name.clone(),
        version: loaded.model.version.clone(),
        sha256: loaded.model.sha256.clone(),
        role: loaded.model.role.to_owned(),
        schema_hash: loaded.schema.hash().to_owned(),
        loaded: true,
    }
}

//! The Open Inference Protocol, version 2: raw calls of the models, for clients that speak it already.
//!
//! ```text
//! body ─ unpack, part ─> Request ─ against the model's signature ─> rows ─> raw line ─> answer ─> JSON, binary
//!        bounded          json, request     tensor, response choice          runtime/inference      response
//! ```
//! A raw call is no decision: nothing is recorded, no rule is asked, no state changes. Its share is smaller
//! than that of decisions: its own few permits, half of the cores for long bodies, its own line behind theirs, slices between their batches.
//! Every refusal leaves as `{"error": ..}`, whoever made it (`errors`).

mod body;
mod call;
pub mod doors;
mod errors;
mod json;
mod metadata;
mod operations;
mod request;
mod response;
mod tensor;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;

use super::service::Service;
use super::{doors as every_door, frame};
use crate::runtime::fleet::Fleet;
use crate::runtime::slot::Model;

/// Bounds of raw calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether the protocol is served at all.
    pub enabled: bool,
    /// The longest body, as it arrives and unpacked, in bytes.
    pub body_len_max: usize,
    /// The most rows of one call.
    pub rows_max: usize,
    /// The most calls at once; one more is told to come back.
    pub calls_max: usize,
    /// How long a call may take; its `timeout` may only shorten it.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { enabled: false, body_len_max: 2 << 20, rows_max: 4_096, calls_max: 64, deadline: Duration::from_secs(1) }
    }
}

/// What the doors of the protocol share.
pub struct Protocol {
    /// The models.
    pub fleet: Arc<Fleet>,
    options: Options,
    permits: Semaphore,
    /// Turns at reading long or packed bodies: half of the cores, so that requests find the others free.
    readers: Arc<Semaphore>,
}

impl Protocol {
    /// Gathers the parts.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, options: Options) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let permits = Semaphore::new(options.calls_max);
        Self { fleet, options, permits, readers: Arc::new(Semaphore::new((cores / 2).max(1))) }
    }
}

/// What each door gets.
#[derive(Clone)]
pub(super) struct Room {
    service: Arc<Service>,
    protocol: Arc<Protocol>,
}

/// The model a path names.
struct Meant {
    name: String,
    version: Option<String>,
}

/// Path parameters in their order: a name and, on some routes, a version.
type Named = super::parameters::Named<Vec<(String, String)>>;

impl Meant {
    fn read(named: Named) -> Result<Self, crate::edge::problem::Problem> {
        let mut parts = super::parameters::path(named)?.into_iter().map(|(_, value)| value);
        Ok(Self { name: parts.next().unwrap_or_default(), version: parts.next() })
    }
}

impl Room {
    fn model(&self, meant: &Meant) -> Result<Arc<Model>, crate::edge::problem::Problem> {
        let version = meant.version.as_deref();
        self.protocol.fleet.find(&meant.name, version).ok_or_else(|| {
            if self.protocol.fleet.is_configured(&meant.name, version) {
                errors::not_loaded()
            } else {
                errors::unknown_model()
            }
        })
    }
}

/// Builds the routes of the protocol; none, when it is off.
pub(super) fn router(service: &Arc<Service>) -> Router {
    let Some(protocol) = &service.protocol else { return Router::new() };
    let room = Room { service: Arc::clone(service), protocol: Arc::clone(protocol) };
    Router::new()
        .route("/v2/models/{name}/infer", post(call::infer))
        .route("/v2/models/{name}/versions/{version}/infer", post(call::infer))
        .route("/v2/health/live", get(operations::live))
        .route("/v2/health/ready", get(operations::ready))
        .route("/v2/models/{name}/ready", get(operations::model_ready))
        .route("/v2/models/{name}/versions/{version}/ready", get(operations::model_ready))
        .route("/v2", get(metadata::server))
        .route("/v2/", get(metadata::server))
        .route("/v2/models", get(metadata::models))
        .route("/v2/models/{name}", get(metadata::model))
        .route("/v2/models/{name}/versions/{version}", get(metadata::model))
        .route("/v2/models/{name}/config", get(metadata::config))
        .route("/v2/models/{name}/versions/{version}/config", get(metadata::config))
        .route("/v2/models/stats", get(metadata::stats))
        .route("/v2/models/{name}/stats", get(metadata::stats))
        .route("/v2/models/{name}/versions/{version}/stats", get(metadata::stats))
        .route("/v2/repository/index", post(operations::index))
        .route("/v2/repository/models/{name}/load", post(operations::load))
        .route("/v2/repository/models/{name}/versions/{version}/load", post(operations::load))
        .route("/v2/repository/models/{name}/unload", post(operations::unload))
        .route("/v2/repository/models/{name}/versions/{version}/unload", post(operations::unload))
        .method_not_allowed_fallback(every_door::wrong_method)
        .route("/v2/{*rest}", any(errors::not_served))
        .layer(from_fn_with_state(Arc::clone(service), frame::frame))
        .layer(axum::middleware::from_fn(errors::in_protocol_form))
        .with_state(room)
}

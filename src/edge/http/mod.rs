//! The HTTP doors.
//!
//! ```text
//! socket ── server ──> frame ──> door ──> wire ──> runtime ──> wire ──> answer
//!           accept,     trace, host, key,  one file a subject
//!           drain       limit, panics
//! ```
//! [`doors::DOORS`] lists every route with its scope; the router, the keys and the OpenAPI description
//! all read that one table. Every refusal is a [`crate::edge::problem::Problem`].

pub mod auth;
mod body;
mod breaker;
mod decisions;
pub mod doors;
mod entities;
mod frame;
mod healing;
pub mod inference;
mod labels;
mod lists;
mod models;
mod openapi;
mod operations;
mod parameters;
mod rules;
pub mod server;
pub mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use auth::{Access, KeyFault, Keys, Scope};
pub use server::{listen, serve};
pub use service::{Limits, Phase, Service};

use crate::edge::problem::{Code, Problem};

/// Builds the router over a service.
pub fn router(service: Arc<Service>) -> Router {
    let protocol = inference::router(&service);
    Router::new()
        .route("/v1/decisions", post(decisions::decide).get(decisions::feed))
        .route("/v1/decisions:batch", post(decisions::batch))
        .route("/v1/decisions:dry-run", post(decisions::dry_run))
        .route("/v1/decisions/{transaction_id}", get(decisions::look_up))
        .route("/v1/labels", post(labels::take))
        .route("/v1/lists/{name}/entries", get(lists::show).post(lists::add).delete(lists::remove))
        .route("/v1/rules", get(rules::show))
        .route("/v1/rules:validate", post(rules::validate))
        .route("/v1/entities/{kind}/{id}", get(entities::show))
        .route("/v1/breaker", get(breaker::show))
        .route("/v1/breaker/force-open", post(breaker::force_open))
        .route("/v1/breaker/force-closed", post(breaker::force_closed))
        .route("/v1/breaker/observe-only", post(breaker::observe_only))
        .route("/v1/breaker/clear", post(breaker::clear))
        .merge(models::routes())
        .route("/v1/health", get(operations::health))
        .route("/v1/audit", get(healing::audit))
        .route("/v1/healing/{order}", post(healing::order))
        .route("/v1/hooks/alertmanager", post(healing::alertmanager))
        .route("/livez", get(operations::livez))
        .route("/startupz", get(operations::startupz))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::scrape))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .fallback(|| async { Problem::new(Code::UnknownRoute, "no such route: see /docs for those there are") })
        .method_not_allowed_fallback(doors::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&service), frame::frame))
        .with_state(service)
        .merge(protocol)
}

//! What operators and machines ask: probes, metrics, health, models.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::service::{Phase, Service};
use crate::healing::Health;
use crate::telemetry::metrics;

/// The process turns: that this is answered is the answer.
pub(super) async fn livez() -> Response {
    Json(json!({"status": "live"})).into_response()
}

/// Loading was attempted, whatever came of it.
pub(super) async fn startupz(State(service): State<Arc<Service>>) -> Response {
    probe(service.life.was_started(), &service)
}

/// The service can answer.
pub(super) async fn readyz(State(service): State<Arc<Service>>) -> Response {
    probe(service.life.phase() == Phase::Ready, &service)
}

fn probe(is_well: bool, service: &Service) -> Response {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let phase = phase_name(service.life.phase());
    (status, Json(json!({"status": phase, "reason": service.life.reason()}))).into_response()
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Unready => "unready",
        Phase::Ready => "ready",
        Phase::Leaving => "leaving",
        Phase::Draining => "draining",
    }
}

pub(super) async fn scrape() -> Response {
    let mut out = Vec::with_capacity(32 << 10);
    metrics().scrape(&mut out);
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], out).into_response()
}

/// Shows the state in one word, the release in force, and the numbers an operator asks first.
pub(super) async fn health(State(service): State<Arc<Service>>) -> Response {
    let release = service.scorer.release();
    let facts = &release.facts;
    let has_model = !facts.model_name.is_empty();
    let vitals = (service.vitals)();
    let stream = service.stream.get().map(|show| show());
    let numbers = |name: &str| vitals.get(name).copied().unwrap_or_default();
    let causes = [
        ("model_unavailable", !has_model),
        ("restoring", service.scorer.is_restoring()),
        ("not_recorded", numbers("ledger_waiting") > 0 || numbers("store_failing") > 0),
        ("stream_not_read", stream.as_ref().is_some_and(|stream| stream.lanes.iter().any(|lane| !lane.is_ready))),
    ];
    let reasons: Vec<&str> = causes.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect();
    let healing = service.healing.get().map(crate::runtime::healer::Healer::view);
    let state = match &healing {
        Some(healing) if healing.state != Health::Healthy => healing.state.name(),
        Some(_) | None if reasons.is_empty() => "healthy",
        Some(_) | None => "degraded",
    };
    let mut body = json!({
        "state": state,
        "degraded_reasons": reasons,
        "phase": phase_name(service.life.phase()),
        "phase_reason": service.life.reason(),
        "release": {
            "model": {
                "name": facts.model_name,
                "version": facts.model_version,
                "sha256": facts.model_sha256,
                "role": facts.model_role,
            },
            "thresholds": facts.thresholds,
            "rules_version": facts.rules_version,
            "policy_version": facts.policy_version,
            "schema_hash": facts.schema_hash,
            "rates_version": facts.rates_version,
            "active_rules": facts.rules.len(),
        },
        "models": service.fleet.models(),
        "vitals": vitals,
        "now": service.now(),
    });
    if let Some(stream) = stream {
        body["stream"] = json!(stream);
    }
    if let Some(healing) = healing {
        body["healing"] = json!(*healing);
    }
    Json(body).into_response()
}

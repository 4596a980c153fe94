//! Models: which there are and how far each has come, and people's orders about them.
//!
//! An order may load a model and sync a file, so it leaves the async threads; it is carried out whole or not at all. Every one has a
//! reason and the name of the key that gave it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, Kind};
use super::frame::Caller;
use super::parameters::{Named, path, respond};
use super::service::Service;
use crate::edge::problem::{Code, Problem};
use crate::healing::ModelRef;
use crate::healing::lifecycle::{Illegal, Mandate, Order};
use crate::runtime::fleet::Error;

/// The longest reason, in bytes.
const REASON_LEN_MAX: usize = 500;

/// What an order says beside its path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reason: String,
    #[serde(default)]
    percent: Option<u8>,
    #[serde(default)]
    version: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/models", get(list))
        .route("/v1/models/{name}/versions/{version}/promote", post(promote))
        .route("/v1/models/{name}/versions/{version}/shadow", post(shadow))
        .route("/v1/models/{name}/versions/{version}/canary", post(canary))
        .route("/v1/models/{name}/versions/{version}/withdraw", post(withdraw))
        .route("/v1/models/{name}/versions/{version}/quarantine", post(quarantine))
        .route("/v1/models/{name}/versions/{version}/release", post(release))
        .route("/v1/models/{name}/rollback", post(rollback))
        .route("/v1/models/{name}/accept", post(accept))
}

pub(super) async fn list(State(service): State<Arc<Service>>) -> Response {
    Json(json!({"models": service.fleet.models(), "fleet": service.fleet.facts()})).into_response()
}

type Versioned = Named<(String, String)>;

async fn promote(State(service): State<Arc<Service>>, named: Versioned, request: Request) -> Response {
    versioned(&service, named, request, |model, _| Ok(Order::Promote { model })).await
}

async fn shadow(State(service): State<Arc<Service>>, named: Versioned, request: Request) -> Response {
    versioned(&service, named, request, |model, _| Ok(Order::Shadow { model })).await
}

async fn canary(State(service): State<Arc<Service>>, named: Versioned, request: Request) -> Response {
    let order = |model, asked: &Asked| {
        let refused = || Problem::new(Code::InvalidParameter, "percent: expected a whole number, 1 to 99");
        Ok(Order::Canary { model, percent: asked.percent.ok_or_else(refused)? })
    };
    versioned(&service, named, request, order).await
}

async fn withdraw(State(service): State<Arc<Service>>, named: Versioned, request: Request) -> Response {
    versioned(&service, named, request, |model, _| Ok(Order::Withdraw { model })).await
}

async fn quarantine(State(service): State<Arc<Service>>, named: Versioned, request: Request) -> Response {
    versioned(&service, named, request, |model, _| Ok(Order::Quarantine { model })).await
}

async fn release(State(service): State<Arc<Service>>, named: Versioned, request: Request) -> Response {
    versioned(&service, named, request, |model, _| Ok(Order::Release { model })).await
}

/// Puts the standby back in force, or the version that the body names.
async fn rollback(State(service): State<Arc<Service>>, named: Named<String>, request: Request) -> Response {
    let done = async {
        let name = path(named)?;
        let mandate = mandate(&request);
        let asked = asked(&service, request).await?;
        let to = if let Some(version) = &asked.version {
            known(&service, &name, version)?
        } else {
            let standby = service.fleet.facts().standby.map(|standby| standby.model);
            let none = || Problem::new(Code::OrderRefused, "no model of this name stands by: say a version");
            standby.filter(|model| model.name == name).ok_or_else(none)?
        };
        perform(&service, Order::Swap { to }, mandate, asked.reason).await
    };
    respond(done.await)
}

/// Accepts the last rollback: decisions no longer say that there was one.
async fn accept(State(service): State<Arc<Service>>, named: Named<String>, request: Request) -> Response {
    let done = async {
        let name = path(named)?;
        let mandate = mandate(&request);
        let asked = asked(&service, request).await?;
        if service.fleet.facts().active.is_some_and(|active| active.model.name != name) {
            return Err(Problem::new(Code::NotFound, "no model of this name answers: see /v1/models"));
        }
        perform(&service, Order::AcceptRollback, mandate, asked.reason).await
    };
    respond(done.await)
}

async fn versioned(
    service: &Arc<Service>,
    named: Versioned,
    request: Request,
    order: impl FnOnce(ModelRef, &Asked) -> Result<Order, Problem>,
) -> Response {
    let done = async {
        let (name, version) = path(named)?;
        let mandate = mandate(&request);
        let asked = asked(service, request).await?;
        let order = order(known(service, &name, &version)?, &asked)?;
        perform(service, order, mandate, asked.reason).await
    };
    respond(done.await)
}

fn mandate(request: &Request) -> Mandate {
    let caller = request.extensions().get::<Caller>();
    Mandate::Person { name: caller.map_or("anonymous", |caller| caller.name.as_str()).to_owned() }
}

async fn asked(service: &Service, request: Request) -> Result<Asked, Problem> {
    let limits = &service.limits;
    let bytes = body::read(request, Kind::Json, limits.body_len_max, limits).await?;
    let wrong = |_| Problem::new(Code::WrongShape, "expected {\"reason\": TEXT}, with percent for a canary");
    let mut asked: Asked = serde_json::from_slice(&bytes).map_err(wrong)?;
    asked.reason = asked.reason.trim().to_owned();
    if asked.reason.is_empty() || asked.reason.len() > REASON_LEN_MAX {
        return Err(Problem::new(Code::InvalidParameter, "reason: expected 1 to 500 bytes of text"));
    }
    Ok(asked)
}

fn known(service: &Service, name: &str, version: &str) -> Result<ModelRef, Problem> {
    let unknown = || Problem::new(Code::NotFound, "no bundle of this name and version is known: see /v1/models");
    service.fleet.meant_by(name, version).ok_or_else(unknown)
}

/// Carries an order out off the async threads. Once begun it is finished, also when the caller leaves.
async fn perform(service: &Arc<Service>, order: Order, mandate: Mandate, reason: String) -> Result<Response, Problem> {
    let service = Arc::clone(service);
    let done = tokio::task::spawn_blocking(move || -> Result<Value, Problem> {
        (service.orders)(&order, &mandate, &reason).map_err(|error| problem(&error))?;
        Ok(json!({"order": order, "fleet": service.fleet.facts()}))
    });
    let done = done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    done.map(|told| Json(told).into_response())
}

/// Tells why an order was not carried out, or a bundle not loaded or unloaded.
pub(super) fn problem(error: &Error) -> Problem {
    let code = match error {
        Error::Unknown | Error::NotLoaded | Error::Illegal(Illegal::Unknown(_)) => Code::NotFound,
        Error::Ambiguous(_) | Error::Illegal(Illegal::Percent(_)) => Code::InvalidParameter,
        Error::Refused(_) | Error::Golden(_) => Code::ModelRefused,
        Error::Full | Error::InUse(_) => Code::ModelInUse,
        Error::Illegal(
            Illegal::Quarantined(_)
            | Illegal::Stage { .. }
            | Illegal::NotValidated(..)
            | Illegal::NeedsPerson(_)
            | Illegal::Taken { .. }
            | Illegal::NoRollback,
        )
        | Error::Rules(_)
        | Error::Schema(_)
        | Error::Alone
        | Error::NotActive => Code::OrderRefused,
        Error::Busy => return Problem::new(Code::NotReady, error.to_string()).retry_after(5),
        Error::Unsaved(_) => {
            let detail = "the change could not be recorded, so nothing was changed: send it again";
            return Problem::new(Code::NotRecorded, detail).retry_after(1);
        }
    };
    Problem::new(code, error.to_string())
}

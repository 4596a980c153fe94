//! Health in the protocol's form, and the model repository: index, load, unload.
//!
//! Loading passes every gate in a child process and makes a candidate; nothing here activates a model or
//! takes away one that decisions rest on.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Meant, Named, Room};
use crate::edge::http::body::{Kind, read};
use crate::edge::http::models::problem;
use crate::edge::http::parameters::respond;
use crate::edge::http::service::Phase;
use crate::edge::problem::{Code, Problem};
use crate::runtime::fleet::{Error, Fleet, State as BundleState};
use crate::runtime::slot::Model;

pub(super) async fn live() -> Response {
    Json(json!({"live": true})).into_response()
}

/// Ready is more here than elsewhere: the active model itself can be asked.
pub(super) async fn ready(State(room): State<Room>) -> Response {
    if room.service.life.phase() == Phase::Ready && room.protocol.fleet.is_ready() {
        return Json(json!({"ready": true})).into_response();
    }
    let error = if room.protocol.fleet.is_ready() {
        room.service.life.reason()
    } else {
        "the active model is not loaded".to_owned()
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ready": false, "error": error}))).into_response()
}

pub(super) async fn model_ready(State(room): State<Room>, named: Named) -> Response {
    let shown = || {
        let model = room.model(&Meant::read(named)?)?;
        Ok(Json(json!({"name": model.name, "ready": true})).into_response())
    };
    respond(shown())
}

pub(super) async fn index(State(room): State<Room>, request: Request) -> Response {
    let shown = async {
        let asked = object(&body(&room, request).await?)?;
        let only_ready = match asked.get("ready") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(only)) => *only,
            Some(_) => return Err(Problem::new(Code::InvalidParameter, "ready: expected true or false")),
        };
        let fleet = Arc::clone(&room.protocol.fleet);
        let entries = blocking(move || fleet.index()).await;
        let shown: Vec<Value> = entries
            .iter()
            .filter(|entry| !only_ready || entry.state == BundleState::Ready)
            .map(|entry| {
                let state = state_name(entry.state);
                json!({"name": entry.name, "version": entry.version, "state": state, "reason": entry.reason})
            })
            .collect();
        Ok(Json(shown).into_response())
    };
    respond(shown.await)
}

const fn state_name(state: BundleState) -> &'static str {
    match state {
        BundleState::Ready => "READY",
        BundleState::Loading => "LOADING",
        BundleState::Unavailable => "UNAVAILABLE",
    }
}

pub(super) async fn load(State(room): State<Room>, named: Named, request: Request) -> Response {
    let change = |fleet: &Fleet, meant: &Meant| fleet.load(&meant.name, meant.version.as_deref());
    respond(changed(room, named, request, "load", change).await)
}

pub(super) async fn unload(State(room): State<Room>, named: Named, request: Request) -> Response {
    let change = |fleet: &Fleet, meant: &Meant| fleet.unload(&meant.name, meant.version.as_deref());
    respond(changed(room, named, request, "unload", change).await)
}

async fn changed(
    room: Room,
    named: Named,
    request: Request,
    what: &'static str,
    change: impl FnOnce(&Fleet, &Meant) -> Result<Arc<Model>, Error> + Send + 'static,
) -> Result<Response, Problem> {
    let asked = object(&body(&room, request).await?)?;
    let mut meant = Meant::read(named)?;
    meant.version = version(&asked, meant.version)?;
    let fleet = Arc::clone(&room.protocol.fleet);
    // Gates take seconds and a candidate's threads are joined when it goes: off the async threads.
    let done = blocking(move || {
        let model = change(&fleet, &meant).map_err(|error| problem(&error))?;
        let role = fleet.place_of(&model.reference);
        Ok(json!({"name": model.name, "version": model.version, what: true, "role": role}))
    });
    done.await.map(|done: Value| Json(done).into_response())
}

/// Finds the version that path or parameters name, and refuses parameters that would change a bundle.
fn version(asked: &Map<String, Value>, in_path: Option<String>) -> Result<Option<String>, Problem> {
    let refused = |detail| Problem::new(Code::InvalidParameter, detail);
    let parameters = match asked.get("parameters") {
        None | Some(Value::Null) => return Ok(in_path),
        Some(Value::Object(parameters)) => parameters,
        Some(_) => return Err(refused("parameters: expected an object")),
    };
    if parameters.keys().any(|key| key == "config" || key.starts_with("file:")) {
        let detail = "a bundle is loaded as it was packed: config and files cannot be sent with the call";
        return Err(Problem::new(Code::NotServed, detail));
    }
    match (parameters.get("version"), in_path) {
        (None, in_path) => Ok(in_path),
        (Some(Value::String(version)), None) => Ok(Some(version.clone())),
        (Some(Value::String(version)), Some(in_path)) if *version == in_path => Ok(Some(in_path)),
        (Some(_), _) => Err(refused("version: expected text, and the same as in the path")),
    }
}

async fn body(room: &Room, request: Request) -> Result<Bytes, Problem> {
    let limits = &room.service.limits;
    read(request, Kind::Any, limits.body_len_max, limits).await
}

/// Reads a body that may be empty.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let refused = |_| Problem::new(Code::WrongShape, "expected a JSON object or no body");
    serde_json::from_slice(bytes).map_err(refused)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

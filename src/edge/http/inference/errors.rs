//! Refusals in the protocol's form: `{"error": .., "code": ..}` with exactly `application/json`, which is what its
//! clients compare with.
//!
//! Doors and frame refuse with a [`Problem`] as everywhere; one layer turns each into this form on its way
//! out, so nobody can forget to.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Room;
use crate::edge::http::body::{Kind, read};
use crate::edge::problem::{Code, PROBLEM_JSON, Problem};
use crate::runtime::inference::ModelFailure;

/// More than any problem has.
const PROBLEM_LEN_MAX: usize = 64 << 10;

#[derive(Deserialize)]
struct Told {
    code: String,
    detail: String,
}

/// Turns problems into the protocol's form, and leaves everything else as it is.
pub(super) async fn in_protocol_form(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.headers().get(header::CONTENT_TYPE) != Some(&PROBLEM_JSON) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, PROBLEM_LEN_MAX).await.unwrap_or_default();
    // Written by ourselves a moment ago; if it cannot be read, the status still says most of it.
    let told = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Told { code: "internal".to_owned(), detail: "the request was refused".to_owned() });
    let out = json!({"error": told.detail, "code": told.code}).to_string();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(out))
}

/// Answers routes of the protocol's extensions that are not served, and routes that do not exist.
pub(super) async fn not_served(State(room): State<Room>, request: Request) -> Response {
    let uri = request.uri().clone();
    let path = uri.path();
    // Read away, so that the connection can be used again.
    let _too_large = read(request, Kind::Any, 0, &room.service.limits).await;
    let has = |part: &str| path.split('/').any(|segment| segment == part);
    let what = if has("systemsharedmemory") || has("cudasharedmemory") || has("xpusharedmemory") {
        "shared memory"
    } else if has("trace") {
        "trace settings"
    } else if has("logging") {
        "log settings"
    } else if has("generate") || has("generate_stream") {
        "generation"
    } else {
        return Problem::new(Code::UnknownRoute, "no such route: see /docs for those there are").into_response();
    };
    Problem::new(Code::NotServed, format!("{what} of the protocol is not served")).into_response()
}

/// No loaded model has the name.
pub(super) fn unknown_model() -> Problem {
    Problem::new(Code::NotFound, "no loaded model has this name and version: see /v2/repository/index")
}

/// The configured model did not load.
pub(super) fn not_loaded() -> Problem {
    Problem::new(Code::NotReady, "the model is configured and did not load: see the log").retry_after(5)
}

/// Tells why the model gave no answer. Its own words are for the log.
pub(super) fn from_failure(failure: &ModelFailure) -> Problem {
    match failure {
        ModelFailure::QueueFull => {
            Problem::new(Code::QueueFull, "the model's queue of raw rows is full: come back later").retry_after(1)
        }
        ModelFailure::Timeout => {
            Problem::new(Code::DeadlineExceeded, "the model did not answer by the call's deadline")
        }
        ModelFailure::Failed(_) => Problem::new(Code::ModelFailed, "the model failed on these rows; it is logged"),
        ModelFailure::NotFinite | ModelFailure::OutOfRange => {
            Problem::new(Code::Internal, "the service failed on this request; it is logged")
        }
    }
}

//! Query parameters and headers of a request, each refused by name when it is wrong.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use crate::edge::problem::{Code, Problem};
use crate::edge::wire::{Mapping, Mappings};

/// A path's parameters, or why they cannot be read.
pub(super) type Named<T> = Result<Path<T>, PathRejection>;

/// The longest deadline a caller may ask for.
const DEADLINE_MS_MAX: u64 = 60_000;

/// Reads the query; unknown parameters are refused.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri, expected: &'static str) -> Result<T, Problem> {
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|_| Problem::new(Code::InvalidParameter, expected))
}

/// Reads the parameters of the path.
pub(super) fn path<T>(named: Named<T>) -> Result<T, Problem> {
    let refused = |_| Problem::new(Code::InvalidParameter, "a part of the path is not percent-encoded UTF-8");
    named.map(|Path(parameters)| parameters).map_err(refused)
}

/// Reads `X-Deadline-Ms`, which replaces the default deadline.
pub(super) fn deadline(headers: &HeaderMap, default: Duration) -> Result<Duration, Problem> {
    let Some(value) = headers.get("x-deadline-ms") else { return Ok(default) };
    let millis = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    let millis = millis.filter(|millis| (1..=DEADLINE_MS_MAX).contains(millis));
    let refused = || Problem::new(Code::InvalidParameter, "X-Deadline-Ms: expected a whole number, 1 to 60000");
    millis.map(Duration::from_millis).ok_or_else(refused)
}

/// Finds the mapping that the query or `X-Fraudd-Mapping` names.
pub(super) fn mapping<'m>(
    headers: &HeaderMap,
    named: Option<&str>,
    mappings: &'m Mappings,
) -> Result<Option<&'m Mapping>, Problem> {
    let header = headers.get("x-fraudd-mapping").map(|value| value.to_str().unwrap_or_default());
    let Some(name) = named.or(header) else { return Ok(None) };
    let unknown = || {
        let known: Vec<_> = mappings.names().collect();
        Problem::new(Code::UnknownMapping, format!("configured are: {}", known.join(", ")))
    };
    mappings.get(name).map(Some).ok_or_else(unknown)
}

/// Turns either side into a response.
pub(super) fn respond(result: Result<Response, Problem>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

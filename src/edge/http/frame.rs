//! What every request passes, whatever its door: trace, access, limit, and the count of what came out.
//!
//! ```text
//! most doors     router ── frame ── door          axum finds the door and boxes what lies between
//! POST decisions ───────── decide ── door         the busiest one: the same passage without the boxes
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{self, HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use compact_str::CompactString;
use futures_util::FutureExt;
use tokio::sync::SemaphorePermit;

use super::decisions;
use super::doors::{self, DECIDE, Door};
use super::service::{Phase, Service};
use crate::edge::problem::{Code, Problem};
use crate::telemetry::events::{RequestRefused, RequestServed};
use crate::telemetry::{TraceContext, metrics};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_LEN_MAX: usize = 128;

/// What the frame knows of a request, for its door.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The trace it belongs to.
    pub(super) trace: TraceContext,
    /// The name of its key.
    pub(super) name: CompactString,
}

/// Counts a request that is being served, also when it is given up.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        metrics().http.in_flight.inc();
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics().http.in_flight.dec();
    }
}

/// A request between its entry and its answer.
struct Passage {
    _in_flight: InFlight,
    trace: TraceContext,
    request_id: Option<HeaderValue>,
}

impl Passage {
    fn begin(headers: &HeaderMap) -> Self {
        let trace = TraceContext::from_header(headers.get(TRACEPARENT).map(HeaderValue::as_bytes));
        let request_id = headers.get(REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_LEN_MAX).cloned();
        Self { _in_flight: InFlight::begin(), trace, request_id }
    }

    fn end(self, service: &Service, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_bytes(&self.trace.to_header()) {
            headers.insert(TRACEPARENT, value);
        }
        if let Some(id) = self.request_id {
            headers.insert(REQUEST_ID, id);
        }
        if service.life.phase() == Phase::Leaving {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        RequestServed { status: response.status().as_u16() }.emit();
        if let Some(code) = response.extensions().get::<Code>() {
            RequestRefused { code: code.name(), trace_id: self.trace.trace_id }.emit();
        }
        response
    }
}

pub(super) async fn frame(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let passage = Passage::begin(request.headers());
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let door = path.and_then(|path| doors::find(request.method(), path));
    let response = match admit(&service, request.headers(), door) {
        Err(problem) => problem.into_response(),
        Ok((name, _permit)) => {
            request.extensions_mut().insert(Caller { trace: passage.trace, name });
            unpanicked(next.run(request)).await
        }
    };
    passage.end(&service, response)
}

/// Tells whether a request is for the door that has its own way in.
pub(super) fn is_for_decide<B>(request: &http::Request<B>) -> bool {
    request.uri().path() == DECIDE.path && request.method() == Method::POST
}

/// Takes a request straight to `POST /v1/decisions`.
pub(super) async fn decide<B>(service: &Service, request: http::Request<B>) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let passage = Passage::begin(request.headers());
    let response = match admit(service, request.headers(), Some(&DECIDE)) {
        Err(problem) => problem.into_response(),
        Ok((_, _permit)) => unpanicked(decisions::decide_one(service, request, passage.trace)).await,
    };
    passage.end(service, response)
}

/// Waits for an answer; a panic on the way there is one, too, and the connection lives on. The panic's
/// words are logged by the hook, not told.
pub(super) async fn unpanicked(answering: impl Future<Output = Response>) -> Response {
    let answered = AssertUnwindSafe(answering).catch_unwind().await;
    answered.unwrap_or_else(|_panic| {
        Problem::new(Code::Internal, "the service failed on this request; it is logged").into_response()
    })
}

/// Checks who asks and whether there is room. Doors without a scope have room always: an operator must
/// see a service that is at its limit.
fn admit<'s>(
    service: &'s Service,
    headers: &HeaderMap,
    door: Option<&Door>,
) -> Result<(CompactString, Option<SemaphorePermit<'s>>), Problem> {
    let scope = door.and_then(|door| door.scope);
    let is_probe = door.is_some_and(|door| door.path.ends_with('z'));
    let name = if is_probe { CompactString::const_new("probe") } else { service.access.admit(headers, scope)? };
    if scope.is_none() {
        return Ok((name, None));
    }
    match service.life.phase() {
        Phase::Starting | Phase::Unready | Phase::Ready | Phase::Leaving => {}
        Phase::Draining => {
            let problem = Problem::new(Code::Draining, "the service is shutting down: ask another instance");
            return Err(problem.retry_after(1).closing());
        }
    }
    let Ok(permit) = service.permits.try_acquire() else {
        let detail = "the service answers as many requests as it may at once: come back later";
        return Err(Problem::new(Code::TooManyRequests, detail).retry_after(1));
    };
    Ok((name, Some(permit)))
}

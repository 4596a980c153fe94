//! What every request passes, whatever its door: trace, access, limit, and the count of what came out.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::SemaphorePermit;

use super::doors::{self, Door};
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
    pub(super) name: Arc<str>,
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

pub(super) async fn frame(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let _in_flight = InFlight::begin();
    let headers = request.headers();
    let trace = TraceContext::from_header(headers.get(TRACEPARENT).map(HeaderValue::as_bytes));
    let request_id = headers.get(REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_LEN_MAX).cloned();
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let door = path.and_then(|path| doors::find(request.method(), path));
    let mut response = match admit(&service, &request, door) {
        Err(problem) => problem.into_response(),
        Ok((name, _permit)) => {
            request.extensions_mut().insert(Caller { trace, name });
            next.run(request).await
        }
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&trace.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
    if let Some(id) = request_id {
        headers.insert(REQUEST_ID, id);
    }
    if service.life.phase() == Phase::Leaving {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    RequestServed { status: response.status().as_u16() }.emit();
    if let Some(code) = response.extensions().get::<Code>() {
        RequestRefused { code: code.name(), trace_id: trace.trace_id }.emit();
    }
    response
}

/// Checks who asks and whether there is room. Doors without a scope have room always: an operator must
/// see a service that is at its limit.
fn admit<'s>(
    service: &'s Service,
    request: &Request,
    door: Option<&Door>,
) -> Result<(Arc<str>, Option<SemaphorePermit<'s>>), Problem> {
    let scope = door.and_then(|door| door.scope);
    let is_probe = door.is_some_and(|door| door.path.ends_with('z'));
    let name = if is_probe { "probe".into() } else { service.access.admit(request.headers(), scope)? };
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

//! The breaker of the active model: look at it, force it for a while, end that.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use compact_str::CompactString;
use serde_json::json;

use super::body::{self, Kind};
use super::frame::Caller;
use super::parameters::respond;
use super::service::Service;
use crate::domain::Span;
use crate::edge::problem::{Code, Problem};
use crate::edge::wire::force::{self, Wish};
use crate::healing::breaker::Force;
use crate::runtime::slot::Model;

pub(super) async fn show(State(service): State<Arc<Service>>) -> Response {
    respond(model(&service).map(|model| shown(&model)))
}

pub(super) async fn force_open(State(service): State<Arc<Service>>, request: Request) -> Response {
    forced(&service, Force::Open, request).await
}

pub(super) async fn force_closed(State(service): State<Arc<Service>>, request: Request) -> Response {
    forced(&service, Force::Closed, request).await
}

pub(super) async fn observe_only(State(service): State<Arc<Service>>, request: Request) -> Response {
    forced(&service, Force::ObserveOnly, request).await
}

pub(super) async fn clear(State(service): State<Arc<Service>>, request: Request) -> Response {
    let cleared = async {
        let (wish, by) = wish(&service, request, false).await?;
        let model = model(&service)?;
        if !model.guard.clear(&wish.reason, &by) {
            return Err(Problem::new(Code::NotForced, "nobody forces the breaker: there is nothing to clear"));
        }
        keep(&service).await;
        Ok(shown(&model))
    };
    respond(cleared.await)
}

async fn forced(service: &Service, force: Force, request: Request) -> Response {
    let forced = async {
        let (wish, by) = wish(service, request, true).await?;
        let model = model(service)?;
        let until = model.guard.now().plus(wish.expires_in.unwrap_or(Span::ZERO));
        model.guard.force(force, until, &wish.reason, &by);
        keep(service).await;
        Ok(shown(&model))
    };
    respond(forced.await)
}

async fn wish(service: &Service, request: Request, lasts: bool) -> Result<(Wish, CompactString), Problem> {
    let by = request.extensions().get::<Caller>();
    let by = by.map_or(CompactString::const_new("anonymous"), |caller| caller.name.clone());
    let bytes = body::read(request, Kind::Json, service.limits.body_len_max, &service.limits).await?;
    Ok((force::read(&bytes, lasts)?, by))
}

/// Keeps what is forced now over a restart, before it is answered. A failure is told in the log: it holds all the same.
async fn keep(service: &Service) {
    let fleet = Arc::clone(&service.fleet);
    let kept = tokio::task::spawn_blocking(move || fleet.keep_forces()).await;
    kept.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
}

/// Finds the model in force: a breaker belongs to its model.
fn model(service: &Service) -> Result<Arc<Model>, Problem> {
    let none = || Problem::new(Code::NotFound, "no model is in force, so there is no breaker: rules answer");
    service.scorer.release().model.clone().ok_or_else(none)
}

fn shown(model: &Model) -> Response {
    Json(json!({"breaker": model.guard.status(), "findings": model.guard.open_findings()})).into_response()
}

//! Healing's doors: its record, orders of people, alarms of others.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::body::{self, Kind};
use super::decisions::json;
use super::frame::Caller;
use super::parameters::{Named, path, query, respond};
use super::service::{Phase, Service};
use crate::domain::Timestamp;
use crate::edge::problem::{Code, Problem};
use crate::healing::situation::OrderKind;
use crate::runtime::healer::{Alert, Healer};

/// The most records of one page.
const PAGE_LEN_MAX: usize = 1_000;
/// The most alerts of one call.
const ALERTS_MAX: usize = 1_000;
/// The longest reason, in characters.
const REASON_LEN_MAX: usize = 200;
/// The longest text of an alert that is kept, in characters.
const TEXT_LEN_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// Lists records after a number, as they were written.
pub(super) async fn audit(State(service): State<Arc<Service>>, uri: Uri) -> Response {
    let shown = async {
        let page: Page = query(&uri, "expected after=NUMBER and limit=1..1000")?;
        let limit = page.limit.unwrap_or(100);
        if !(1..=PAGE_LEN_MAX).contains(&limit) {
            return Err(Problem::new(Code::InvalidParameter, "limit: expected 1 to 1000"));
        }
        let audit = healer(&service)?.audit().clone();
        // Reading files may take its time.
        let lines = tokio::task::spawn_blocking(move || audit.after(page.after, limit)).await;
        let lines = lines.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let lines = lines.map_err(|_| Problem::new(Code::Unreadable, "the record cannot be read now"))?;
        Ok(json(format!("{{\"records\":[{}]}}", lines.join(",")).into_bytes()))
    };
    respond(shown.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    reason: String,
}

/// Takes a person's order; it is recorded before it holds.
pub(super) async fn order(State(service): State<Arc<Service>>, named: Named<String>, request: Request) -> Response {
    let taken = async {
        let unknown = || Problem::new(Code::NotFound, "no such order: there are lock, unlock, safe-mode and resume");
        let kind = OrderKind::parse(&path(named)?).ok_or_else(unknown)?;
        let by = request.extensions().get::<Caller>().map_or("anonymous".to_owned(), |caller| caller.name.to_string());
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Json, limits.body_len_max, limits).await?;
        let because: Because = read(&bytes, "expected {\"reason\": \"...\"}")?;
        let len = because.reason.chars().count();
        if !(1..=REASON_LEN_MAX).contains(&len) {
            return Err(Problem::new(Code::WrongShape, "reason: expected 1 to 200 characters"));
        }
        let healer = healer(&service)?.clone();
        let taken = tokio::task::spawn_blocking(move || healer.order(kind, &by, &because.reason)).await;
        if !taken.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            let detail = "the order could not be written down, so it was not taken: send it again";
            return Err(Problem::new(Code::NotRecorded, detail).retry_after(1));
        }
        Ok(Json(json!({"order": kind.name(), "result": "taken"})).into_response())
    };
    respond(taken.await)
}

/// What Alertmanager sends (version 4); what we do not need is passed over.
#[derive(Deserialize)]
struct Webhook {
    version: String,
    alerts: Vec<Sent>,
}

#[derive(Deserialize)]
struct Sent {
    status: Status,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    #[serde(rename = "startsAt", default)]
    starts_at: String,
    fingerprint: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

/// Takes alarms of others; each fingerprint is one alarm, however often it is sent.
pub(super) async fn alertmanager(State(service): State<Arc<Service>>, request: Request) -> Response {
    let taken = async {
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Json, limits.batch_body_len_max, limits).await?;
        let webhook: Webhook = read(&bytes, "expected Alertmanager's webhook, version 4")?;
        if webhook.version != "4" || webhook.alerts.len() > ALERTS_MAX {
            return Err(Problem::new(Code::WrongShape, "expected version \"4\" and at most 1000 alerts"));
        }
        let (healer, now) = (healer(&service)?, service.now());
        let results: Vec<_> = webhook
            .alerts
            .into_iter()
            .map(|sent| {
                let fingerprint = sent.fingerprint.clone();
                let result = healer.external().take(alert(sent), now).name();
                json!({"fingerprint": fingerprint, "result": result})
            })
            .collect();
        Ok(Json(json!({"results": results})).into_response())
    };
    respond(taken.await)
}

fn alert(sent: Sent) -> Alert {
    let text = sent.annotations.get("summary").or_else(|| sent.annotations.get("description"));
    let text = text.map(|text| text.chars().take(TEXT_LEN_MAX).collect()).unwrap_or_default();
    Alert {
        fingerprint: sent.fingerprint,
        name: sent.labels.get("alertname").cloned().unwrap_or_default(),
        is_resolved: sent.status == Status::Resolved,
        since: Timestamp::parse(&sent.starts_at),
        text,
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8], expected: &'static str) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_data() { Code::WrongShape } else { Code::MalformedJson };
        Problem::new(code, expected)
    })
}

fn healer(service: &Service) -> Result<&Healer, Problem> {
    service.healing.get().ok_or_else(|| match service.life.phase() {
        Phase::Starting => Problem::new(Code::NotReady, "the service is starting, and healing with it").retry_after(1),
        _ => Problem::new(Code::NotFound, "healing is off (healing.enabled)"),
    })
}

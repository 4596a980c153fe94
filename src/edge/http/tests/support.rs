//! A service over a real scorer on a manual clock, and the few words the tests speak to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::domain::{Currency, RateTable, Timestamp};
use crate::edge::http::{Access, Limits, Phase, Service, router};
use crate::edge::wire::{Contract, DecisionWriter, Mappings};
use crate::runtime::clock::Clock;
use crate::runtime::scorer::Scorer;

/// A transaction that is right.
pub(super) const GOOD: &str = r#"{"transaction_id":"t-1","occurred_at":"2026-03-01T10:00:00Z","amount":1250,"currency":"EUR","customer_id":"c-1"}"#;

/// Changes to a service before it is put behind its router.
pub(super) struct Setup {
    pub(super) access: Access,
    pub(super) limits: Limits,
}

impl Default for Setup {
    fn default() -> Self {
        Self { access: Access::Loopback, limits: Limits::default() }
    }
}

pub(super) fn service(setup: Setup) -> Arc<Service> {
    let service = Service {
        scorer: scorer(),
        clock: Clock::manual(Timestamp::parse("2026-03-01T10:00:01Z").expect("an instant")),
        contract: Contract::new(Arc::new(RateTable::identity(Currency::parse("EUR").expect("a currency")))),
        mappings: Mappings::parse(include_str!("../../../../config/mapping.toml")).expect("mappings"),
        access: setup.access,
        permits: Semaphore::new(setup.limits.concurrency_max),
        limits: setup.limits,
        models: Box::new(Vec::new),
        vitals: Box::new(|| BTreeMap::from([("entities", 7)])),
        writer: DecisionWriter::default(),
        life: super::super::service::Life::default(),
    };
    service.life.enter(Phase::Ready, "test");
    Arc::new(service)
}

/// Builds the scorer under the doors.
fn scorer() -> Scorer {
    use crate::domain::decision::samples::release;
    use crate::runtime::slot::{Release, Slot};
    use crate::scoring::rule::RuleSet;
    use crate::telemetry::RuleCounters;
    let slot = Slot::new(Release {
        facts: release(),
        schema: Arc::default(),
        plan: Arc::default(),
        rules: Arc::new(RuleSet::parse("", &crate::scoring::expression::Environment::default()).expect("rules")),
        lists: Arc::default(),
        rule_counters: Arc::new(RuleCounters::new(["velocity"])),
    });
    Scorer { slot: Arc::new(slot), ledger: Arc::default(), entities: Arc::default() }
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Answered {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 64 << 20).await.expect("a body");
    Answered { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("UTF-8") }
}

pub(super) async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Answered {
    let request = Request::post(path).header("content-type", "application/json; charset=utf-8");
    send(router, request.body(body.into()).expect("a request")).await
}

pub(super) async fn get(router: &Router, path: &str) -> Answered {
    send(router, Request::get(path).body(Body::empty()).expect("a request")).await
}

pub(super) fn ready() -> (Arc<Service>, Router) {
    let service = service(Setup::default());
    let router = router(Arc::clone(&service));
    (service, router)
}

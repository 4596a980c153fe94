//! A service over a real scorer on a manual clock, and the few words the tests speak to it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::domain::decision::samples::release;
use crate::domain::{Currency, RateTable, TextField, Timestamp};
use crate::edge::http::inference::Protocol;
use crate::edge::http::{Access, Limits, Phase, Service, router};
use crate::edge::wire::{Contract, DecisionWriter, Mappings};
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::decisions::{self, Ledger};
use crate::runtime::entities::{self, Entities};
use crate::runtime::explainer::{self, Budget};
use crate::runtime::fleet::{self, Fleet, Register};
use crate::runtime::inference::InferenceOptions;
use crate::runtime::release::gates;
use crate::runtime::resident::{self, Resident};
use crate::runtime::scorer::{self, Scorer};
use crate::runtime::slot::{Release, Slot};
use crate::runtime::store::Gate;
use crate::scoring::decide::policy::Policy;
use crate::scoring::feature::Schema;
use crate::scoring::rule::RuleSet;

/// A transaction that is right.
pub(in crate::edge::http) const GOOD: &str = r#"{"transaction_id":"t-1","occurred_at":"2026-03-01T10:00:00Z","amount":1250,"currency":"EUR","customer_id":"c-1"}"#;

/// Changes to a service before it is put behind its router.
pub(in crate::edge::http) struct Setup {
    pub(in crate::edge::http) access: Access,
    pub(in crate::edge::http) limits: Limits,
    pub(in crate::edge::http) gate: Arc<Gate>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { access: Access::Loopback, limits: Limits::default(), gate: Arc::new(Gate::live()) }
    }
}

pub(in crate::edge::http) fn service(setup: Setup) -> Arc<Service> {
    service_with(setup, None)
}

pub(in crate::edge::http) fn service_with(setup: Setup, protocol: Option<Arc<Protocol>>) -> Arc<Service> {
    let clock = Clock::manual(Timestamp::parse("2026-03-01T10:00:01Z").expect("an instant"));
    let scorer = scorer(clock.clone(), setup.gate);
    let fleet = fleet(&scorer, clock.clone());
    let orders = Arc::clone(&fleet);
    let service = Service {
        scorer,
        fleet,
        host: Arc::new(crate::runtime::host::Host::here(crate::healing::host::Limits::default())),
        orders: Box::new(move |order, mandate, reason| orders.perform(order, mandate, reason)),
        clock,
        contract: Contract::new(Arc::new(RateTable::identity(Currency::parse("EUR").expect("a currency")))),
        mappings: Mappings::parse(include_str!("../../../../config/mapping.toml")).expect("mappings"),
        access: setup.access,
        permits: Semaphore::new(setup.limits.concurrency_max),
        limits: setup.limits,
        protocol,
        vitals: Box::new(|| BTreeMap::from([("entities", 7)])),
        writer: DecisionWriter::default(),
        life: super::super::service::Life::default(),
        lists_file: None,
        outbox: None,
        stream: OnceLock::new(),
        healing: OnceLock::new(),
    };
    service.life.enter(Phase::Ready, "test");
    Arc::new(service)
}

/// Builds the scorer under the doors: shipped schema, rules and policy, no model.
pub(in crate::edge::http) fn scorer(clock: Clock, gate: Arc<Gate>) -> Scorer {
    let schema = Arc::new(Schema::parse(include_str!("../../../../models/schemas/card-fraud.toml")).expect("a schema"));
    let entities = Entities::new(entities::Options::default(), &[Arc::clone(&schema)]).expect("entities");
    let rates = RateTable::identity(Currency::parse("EUR").expect("a currency"));
    let release = Release {
        facts: release(),
        plan: entities.admit(&schema).expect("a plan"),
        model: None,
        rules: Arc::new(
            RuleSet::parse(include_str!("../../../../config/rules.toml"), &schema.environment(true)).expect("rules"),
        ),
        schema,
        lists: Arc::default(),
        policy: Arc::new(Policy::parse(include_str!("../../../../config/policy.toml")).expect("a policy")),
        rates: Arc::new(rates),
        rule_counters: Arc::default(),
        rolled_back: false,
        union: None,
        calibration: None,
    };
    let parts = scorer::Parts {
        slot: Arc::new(Slot::new(release)),
        entities: Arc::new(entities),
        ledger: Arc::new(Ledger::new(decisions::Options::default())),
        gate,
        clock,
        explanations: Budget::new(&explainer::Options::default(), Moment::now()),
        ownership: None,
        tap: Arc::default(),
    };
    let partition_key = vec![TextField::CustomerId];
    Scorer::new(
        parts,
        scorer::Options {
            model_deadline: std::time::Duration::from_millis(10),
            stream_model_deadline: std::time::Duration::from_millis(100),
            partition_key,
        },
    )
}

/// Builds a fleet without a model, over a model directory that does not exist.
pub(in crate::edge::http) fn fleet(scorer: &Scorer, clock: Clock) -> Arc<Fleet> {
    let models = resident::Options {
        enabled: false,
        directory: "nowhere".into(),
        active: "card-fraud/1.0.0".into(),
        standby: String::new(),
        runtime_library: None,
        staged: None,
    };
    let options = fleet::Options {
        settings: fleet::Settings::default(),
        models,
        inference: InferenceOptions::default(),
        limits: gates::Limits::default(),
        executable: "/bin/true".into(),
    };
    let parts = fleet::Parts {
        slot: Arc::clone(scorer.slot()),
        entities: scorer.entities_shared(),
        clock,
        tap: Arc::default(),
    };
    Arc::new(Fleet::new(options, parts, Register::default(), &Resident::default()))
}

/// One answer.
#[derive(Debug)]
pub(in crate::edge::http) struct Answered {
    pub(in crate::edge::http) status: StatusCode,
    pub(in crate::edge::http) headers: HeaderMap,
    pub(in crate::edge::http) text: String,
}

impl Answered {
    pub(in crate::edge::http) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(in crate::edge::http) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }
}

pub(in crate::edge::http) async fn send(router: &Router, request: Request<Body>) -> Answered {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 64 << 20).await.expect("a body");
    Answered { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("UTF-8") }
}

pub(in crate::edge::http) async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Answered {
    let request = Request::post(path).header("content-type", "application/json; charset=utf-8");
    send(router, request.body(body.into()).expect("a request")).await
}

pub(in crate::edge::http) async fn get(router: &Router, path: &str) -> Answered {
    send(router, Request::get(path).body(Body::empty()).expect("a request")).await
}

pub(in crate::edge::http) fn ready() -> (Arc<Service>, Router) {
    let service = service(Setup::default());
    let router = router(Arc::clone(&service));
    (service, router)
}

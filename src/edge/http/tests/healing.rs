//! Healing's doors over a real loop: orders, the record, alarms of others, who may.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use serde_json::json;

use super::support::{Setup, get, post, ready, service};
use crate::domain::Span;
use crate::edge::http::service::Phase;
use crate::edge::http::{Service, router};
use crate::healing::finding::Alarm;
use crate::runtime::audit::{Audit, Options};
use crate::runtime::executor::{self, Executor};
use crate::runtime::healer::{self, ExternalOptions, Healer, Parts, Sources};
use crate::tasks::Shutdown;

struct Rig {
    service: Arc<Service>,
    router: Router,
    healer: Healer,
    shutdown: Shutdown,
}

fn rig() -> Rig {
    let service = service(Setup::default());
    let (clock, shutdown) = (service.clock.clone(), Shutdown::default());
    let audit = Audit::open(Options::default(), clock.clone()).expect("a record");
    let hand = Arc::new(|_: &crate::healing::situation::Planned| Ok(()));
    let times = (clock.clone(), executor::Options::default());
    let (executor, _) = Executor::start(hand, audit.clone(), times, shutdown.clone()).expect("a thread");
    let external = ExternalOptions {
        alarms: BTreeMap::from([("KafkaLag".to_owned(), Alarm::Volume)]),
        is_acting: true,
        age_max: Span::from_days(1),
    };
    let options = healer::Options { external, ..healer::Options::default() };
    let parts = Parts { sources: Sources::default(), executor, audit, clock };
    let (healer, _) = Healer::start(options, parts, shutdown.clone()).expect("a thread");
    assert!(service.healing.set(healer.clone()).is_ok());
    let router = router(Arc::clone(&service));
    Rig { service, router, healer, shutdown }
}

impl Rig {
    /// Asks for health until something holds; the loop turns meanwhile.
    async fn until(&self, what: &str, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        for _ in 0..100_000 {
            let health = get(&self.router, "/v1/health").await.json();
            if holds(&health) {
                return health;
            }
            tokio::task::yield_now().await;
        }
        panic!("{what}: {:#?}", self.healer.view());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.ask();
        self.healer.audit().close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_taken_with_a_reason_and_show_in_health_and_record() {
    let rig = rig();
    let order = post(&rig.router, "/v1/healing/safe-mode", r#"{"reason":"a drill"}"#).await;
    assert_eq!((order.status.as_u16(), order.json()), (200, json!({"order": "safe-mode", "result": "taken"})));
    let health = rig.until("safe mode", |health| health["state"] == "safe_mode").await;
    assert_eq!(health["healing"]["safe_mode"]["reason"], "a drill");
    post(&rig.router, "/v1/healing/resume", r#"{"reason":"over"}"#).await;
    rig.until("resumed", |health| health["healing"]["protections"] == json!([])).await;
    post(&rig.router, "/v1/healing/lock", r#"{"reason":"look first"}"#).await;
    rig.until("locked", |health| health["state"] == "locked").await;
    let records = get(&rig.router, "/v1/audit?limit=1000").await.json();
    let records = records["records"].as_array().expect("records").clone();
    let has = |kind: &str, what: &str| {
        records.iter().any(|record| record["kind"] == kind && record["body"].to_string().contains(what))
    };
    assert!(has("override", "a drill") && has("plan", "rules_only") && has("intent", "rules_only"));
    let after = records[2]["seq"].as_u64().expect("a number");
    let rest = get(&rig.router, &format!("/v1/audit?after={after}&limit=1")).await.json();
    assert_eq!(rest["records"][0]["seq"], after + 1);
    assert!(rig.service.healing.get().is_some());
}

#[tokio::test]
async fn an_order_to_a_service_that_starts_may_come_again_and_one_without_healing_is_told_so() {
    let (service, router) = ready();
    let order = async || post(&router, "/v1/healing/lock", r#"{"reason":"look first"}"#).await;
    let off = order().await;
    assert_eq!((off.status.as_u16(), off.json()["code"].as_str()), (404, Some("not_found")), "{}", off.text);
    service.life.enter(Phase::Starting, "restoring");
    let early = order().await;
    assert_eq!((early.status.as_u16(), early.json()["code"].as_str()), (503, Some("not_ready")), "{}", early.text);
    assert_eq!(early.header("retry-after"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_orders_are_refused() {
    let rig = rig();
    let check = async |path: &str, body: &'static str, status: u16| {
        let answer = post(&rig.router, path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {}", answer.text);
    };
    check("/v1/healing/explode", r#"{"reason":"x"}"#, 404).await;
    check("/v1/healing/lock", r#"{"reason":""}"#, 400).await;
    check("/v1/healing/lock", "{}", 400).await;
    check("/v1/healing/lock", "x", 400).await;
    check("/v1/hooks/alertmanager", r#"{"version":"3","alerts":[]}"#, 400).await;
    check("/v1/hooks/alertmanager", r#"{"version":"4","alerts":[{"status":"firing"}]}"#, 400).await;
    assert_eq!(get(&rig.router, "/v1/audit?limit=0").await.status, 400);
    let (_, without) = ready();
    assert_eq!(get(&without, "/v1/audit").await.status, 404);
    assert_eq!(post(&without, "/v1/healing/lock", r#"{"reason":"x"}"#).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_of_others_are_taken_once_a_fingerprint() {
    let rig = rig();
    let webhook = |status: &str, name: &str| {
        json!({"version": "4", "groupKey": "g", "alerts": [{
            "status": status, "fingerprint": "f1", "startsAt": "2026-03-01T10:00:00Z",
            "labels": {"alertname": name}, "annotations": {"summary": "the lag grows"},
        }]})
        .to_string()
    };
    let send = async |status: &str, name: &str| {
        post(&rig.router, "/v1/hooks/alertmanager", webhook(status, name)).await.json()["results"][0]["result"].clone()
    };
    assert_eq!(send("firing", "Unknown").await, "unmapped");
    assert_eq!(send("firing", "KafkaLag").await, "raised");
    assert_eq!(send("firing", "KafkaLag").await, "known");
    let health = rig.until("shown", |health| health["healing"]["alarms"][0]["alarm"] == "volume").await;
    assert_eq!(health["healing"]["alarms"][0]["evidence"]["text"], "the lag grows");
    assert_eq!(send("resolved", "KafkaLag").await, "ended");
    rig.until("over", |health| health["healing"]["alarms"] == json!([])).await;
}

#[tokio::test]
async fn what_protects_shows_in_decisions_and_ends() {
    let (service, router) = ready();
    let decide = async |id: &str| {
        let path = "/v1/decisions";
        let answer = post(&router, path, super::support::GOOD.replace("t-1", id)).await.json();
        let found = get(&router, &format!("{path}/{id}?features=true")).await.json();
        (answer["degraded_reasons"].clone(), found["features"]["tx_amount"].clone())
    };
    service.scorer.shield().change(|protections| {
        protections.is_safe_mode = true;
        protections.is_tight = true;
        protections.masked = vec!["tx_amount".into()];
    });
    let (reasons, amount) = decide("t-1").await;
    assert_eq!(reasons, json!(["safe_mode", "feature_masked", "tightened"]));
    assert_eq!(amount["missing"], true);
    service.scorer.shield().change(|protections| *protections = crate::runtime::protection::Protections::default());
    let (reasons, amount) = decide("t-2").await;
    assert_eq!((reasons, &amount["missing"]), (json!(["model_unavailable"]), &json!(false)));
}

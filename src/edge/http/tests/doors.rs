//! Each door does what the contract says.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde_json::json;
use tower::ServiceExt;

use super::support::{GOOD, Setup, get, post, ready, send, service};
use crate::domain::Timestamp;
use crate::edge::http::service::{FailedPartition, LaneView, OutboxView, StreamView};
use crate::edge::http::{Access, Keys, Limits, Phase, frame, router};
use crate::runtime::store::id_key;

#[tokio::test]
async fn a_decision_is_made_once_and_found_again() {
    let (_, router) = ready();
    let first = post(&router, "/v1/decisions", GOOD).await;
    assert_eq!((first.status.as_u16(), first.header("content-type")), (200, "application/json"));
    assert_eq!(first.json()["evaluation_status"], "new");
    let second = post(&router, "/v1/decisions", GOOD).await.json();
    assert_eq!(second["evaluation_status"], "duplicate");
    assert_eq!(second["decision_id"], first.json()["decision_id"]);
    let found = get(&router, "/v1/decisions/t-1?features=true").await.json();
    assert_eq!(found["decision_id"], first.json()["decision_id"]);
    assert_eq!(found["features"]["tx_amount"], json!({"value": 12.5, "missing": false}));
    assert!(get(&router, "/v1/decisions/t-1").await.json().get("features").is_none());
}

#[tokio::test]
async fn what_another_instance_decided_is_told() {
    let (service, router) = ready();
    let transaction = service.contract.read(GOOD.as_bytes(), None, Timestamp::MAX).expect("valid").transaction;
    service.scorer.ledger().learn(id_key(transaction.id()), transaction.payload_hash());
    let answer = post(&router, "/v1/decisions", GOOD).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (409, Some("decided_elsewhere")));
    let other = GOOD.replacen("1250", "11250", 1);
    assert_ne!(other, GOOD);
    let answer = post(&router, "/v1/decisions", other).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (422, Some("id_conflict")));
}

#[tokio::test]
async fn a_dry_run_leaves_nothing() {
    let (_, router) = ready();
    let dry = post(&router, "/v1/decisions:dry-run", GOOD).await;
    assert_eq!(dry.json()["evaluation_status"], "dry_run");
    assert_eq!(get(&router, "/v1/decisions/t-1").await.status, 404);
}

#[tokio::test]
async fn a_batch_answers_each_in_its_place() {
    let (_, router) = ready();
    let items: Vec<String> = (0..40).map(|index| GOOD.replace("t-1", &format!("t-{index}"))).collect();
    let mut all = items.join(",");
    all.push_str(r#",{"transaction_id":"bad"},"x""#);
    let answered = post(&router, "/v1/decisions:batch", format!("{{\"transactions\":[{all}]}}")).await.json();
    let results = answered["results"].as_array().expect("results");
    assert_eq!(results.len(), 42);
    for (index, result) in results.iter().take(40).enumerate() {
        assert_eq!(result["decision"]["transaction_id"], format!("t-{index}"));
    }
    assert_eq!(results[40]["problem"]["status"], 422);
    assert_eq!(results[40]["problem"]["errors"][0]["pointer"], "/transactions/40");
    assert_eq!(results[41]["problem"]["code"], "wrong_shape");
}

#[tokio::test]
async fn the_feed_goes_on_after_its_cursor() {
    let (_, router) = ready();
    for index in 0..5 {
        let amount = if index == 3 { "200000" } else { "1" };
        let body = GOOD.replace("t-1", &format!("t-{index}")).replace("1250", amount);
        assert_eq!(post(&router, "/v1/decisions", body).await.status, 200);
    }
    let page = get(&router, "/v1/decisions?limit=2").await.json();
    assert_eq!((page["decisions"].as_array().map(Vec::len), &page["next"]), (Some(2), &json!(2)));
    let rest = get(&router, "/v1/decisions?after=2").await.json();
    assert_eq!(rest["decisions"].as_array().map(Vec::len), Some(3));
    let review = get(&router, "/v1/decisions?outcome=review").await.json();
    assert_eq!(review["decisions"][0]["transaction_id"], "t-3");
}

#[tokio::test]
async fn labels_are_taken_one_or_many() {
    let (_, router) = ready();
    post(&router, "/v1/decisions", GOOD).await;
    let label = r#"{"transaction_id":"t-1","label":"fraud","occurred_at":"2026-03-02T00:00:00Z","source":"analyst"}"#;
    let one = post(&router, "/v1/labels", label).await;
    assert_eq!(one.json(), json!({"transaction_id": "t-1", "result": "applied"}));
    let many = format!("{{\"labels\":[{label},{}]}}", label.replace("t-1", "t-9"));
    let many = post(&router, "/v1/labels", many).await.json();
    assert_eq!(many["results"][1], json!({"transaction_id": "t-9", "result": "pending"}));
    let wrong = post(&router, "/v1/labels", label.replace("fraud", "maybe")).await.json();
    assert_eq!(
        (wrong["code"].as_str(), wrong["errors"][0]["pointer"].as_str()),
        (Some("invalid_label"), Some("/label"))
    );
}

#[tokio::test]
async fn list_entries_come_and_go() {
    let (_, router) = ready();
    let entry = r#"{"field":"card.token","value":"tok/1","reason":"stolen"}"#;
    let added = post(&router, "/v1/lists/deny/entries", entry).await;
    assert_eq!((added.status.as_u16(), &added.json()["added_by"]), (201, &json!("local")));
    let shown = get(&router, "/v1/lists/deny/entries").await.json();
    assert_eq!(shown["entries"][0]["value"], "tok/1");
    assert_eq!(get(&router, "/v1/lists/allow/entries").await.json(), json!({"entries": []}));
    let remove = |path: &str| Request::delete(path).body(Body::empty()).expect("a request");
    let path = "/v1/lists/deny/entries?value=tok%2F1";
    assert_eq!(send(&router, remove(path)).await.status, 204);
    assert_eq!(send(&router, remove(path)).await.status, 404);
    assert_eq!(send(&router, remove("/v1/lists/deny/entries")).await.status, 400);
}

#[tokio::test]
async fn rules_are_shown_and_checked() {
    let (_, router) = ready();
    let shown = get(&router, "/v1/rules").await.json();
    assert_eq!(shown["rules"][0]["id"], "card-velocity-5m");
    assert!(shown["rules"][0]["hits"].is_u64());
    let validate = async |text: &'static str| {
        let request = Request::post("/v1/rules:validate").header("content-type", "application/toml");
        send(&router, request.body(text.into()).expect("a request")).await
    };
    let wrong = validate("[[rule]]\nid = \"x\"\nwhen = \"tx.ammount > 1\"").await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["valid"]), (200, &json!(false)));
    assert!(wrong.json()["faults"][0]["cure"].is_string());
    assert_eq!(validate("").await.json()["valid"], true);
}

#[tokio::test]
async fn operators_are_answered() {
    let (service, router) = ready();
    for path in ["/livez", "/startupz", "/readyz", "/v1/models", "/openapi.json", "/docs", "/metrics"] {
        assert_eq!(get(&router, path).await.status, 200, "{path}");
    }
    let health = get(&router, "/v1/health").await.json();
    assert_eq!((&health["state"], &health["vitals"]["entities"]), (&json!("degraded"), &json!(7)));
    let with_card = GOOD.replace('}', r#","card":{"token":"tok/1"}}"#);
    assert_eq!(post(&router, "/v1/decisions", with_card).await.status, 200);
    let card = get(&router, "/v1/entities/card/tok%2F1").await.json();
    assert_eq!((&card["kind"], &card["id"], &card["events"]), (&json!("card"), &json!("tok/1"), &json!(1)));
    assert!(card["features"].is_object());
    service.life.enter(Phase::Unready, "the model did not load");
    let unready = get(&router, "/readyz").await;
    assert_eq!((unready.status.as_u16(), &unready.json()["reason"]), (503, &json!("the model did not load")));
    assert_eq!(get(&router, "/startupz").await.status, 200);
    assert_eq!(post(&router, "/v1/decisions", GOOD.replace("t-1", "t-2")).await.status, 200);
}

#[tokio::test]
async fn health_shows_the_stream_when_there_is_one() {
    let (service, router) = ready();
    let health = get(&router, "/v1/health").await.json();
    assert!(health.get("stream").is_none(), "{health}");
    let lane = |name: &str, is_ready| LaneView {
        lane: name.into(),
        state: if is_ready { "running" } else { "halted" },
        reason: if is_ready { String::new() } else { "30 of the last 40 records could not be taken".into() },
        is_ready,
        live: vec![0, 2],
        restoring: vec![1],
        failed: vec![FailedPartition { partition: 3, reason: "gone".into() }],
        lag_records: 12,
        quiet_seconds: 0.5,
    };
    let show = move || StreamView {
        group: "fraudd".into(),
        instance: "fraudd-0".into(),
        lanes: vec![lane("0", true), lane("rekey", false)],
        watermark_lag_seconds: None,
        outbox: OutboxView { waiting: 3, age_seconds: 1.5 },
    };
    assert!(service.stream.set(Box::new(show)).is_ok());
    let health = get(&router, "/v1/health").await.json();
    let reasons = health["degraded_reasons"].as_array().expect("a list");
    assert!(reasons.contains(&"stream_not_read".into()), "{health}");
    let halted = json!({
        "lane": "rekey", "state": "halted", "reason": "30 of the last 40 records could not be taken",
        "is_ready": false, "live": [0, 2], "restoring": [1], "failed": [{"partition": 3, "reason": "gone"}],
        "lag_records": 12, "quiet_seconds": 0.5,
    });
    assert_eq!(health["stream"]["lanes"][1], halted);
    assert_eq!(health["stream"]["outbox"], json!({"waiting": 3, "age_seconds": 1.5}));
    let document = get(&router, "/openapi.json").await.json();
    let described = document["components"]["schemas"]["Stream"]["properties"].as_object().expect("described");
    let shown = health["stream"].as_object().expect("an object");
    assert!(shown.keys().all(|key| described.contains_key(key)), "every field is described");
    let described = described["lanes"]["items"]["properties"].as_object().expect("described");
    assert!(described.keys().eq(halted.as_object().expect("an object").keys()), "each field of a lane, and no other");
}

#[tokio::test]
async fn methods_are_told() {
    let (_, router) = ready();
    let ask = |method: &str, path: &str| Request::builder().method(method).uri(path).body(Body::empty());
    let wrong = send(&router, ask("PUT", "/v1/decisions").expect("a request")).await;
    assert_eq!((wrong.status.as_u16(), wrong.json()["code"].as_str()), (405, Some("method_not_allowed")));
    assert_eq!(wrong.header("allow"), "POST, GET, HEAD, OPTIONS");
    let options = send(&router, ask("OPTIONS", "/v1/labels").expect("a request")).await;
    assert_eq!((options.status.as_u16(), options.header("allow")), (204, "POST, OPTIONS"));
    let head = send(&router, ask("HEAD", "/livez").expect("a request")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn traces_and_request_ids_come_back() {
    let (_, router) = ready();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = Request::post("/v1/decisions")
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-00"))
        .header("x-request-id", "r-1")
        .body(GOOD.into());
    let answered = send(&router, request.expect("a request")).await;
    assert!(answered.header("traceparent").starts_with(&format!("00-{trace}-")));
    assert_eq!((answered.header("x-request-id"), &answered.json()["trace_id"]), ("r-1", &json!(trace)));
    assert_eq!(get(&router, "/nowhere").await.header("traceparent").len(), 55);
}

#[tokio::test]
async fn a_mapping_reads_a_foreign_record() {
    let (_, router) = ready();
    let record = r#"{"id":"f-1","created":1772359200,"amount":"12.50","currency":"eur","customer":"c-1"}"#;
    let answered = post(&router, "/v1/decisions?mapping=example", record).await;
    assert_eq!((answered.status.as_u16(), &answered.json()["transaction_id"]), (200, &json!("f-1")));
    let wrong = post(&router, "/v1/decisions?mapping=example", record.replace("12.50", "x")).await.json();
    assert_eq!(wrong["errors"][0]["pointer"], "/amount");
}

#[tokio::test]
async fn keys_guard_their_doors() {
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let keys = Keys::parse(&format!("shop:score:{hash}")).expect("keys");
    let service = service(Setup { access: Access::Keys(keys), ..Setup::default() });
    let router = router(service);
    let refused = post(&router, "/v1/decisions", GOOD).await;
    assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (401, "Bearer realm=\"fraudd\""));
    let with_key = |path: &str| Request::get(path).header("authorization", "Bearer secret").body(Body::empty());
    let refused = send(&router, with_key("/v1/health").expect("a request")).await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (403, Some("forbidden")));
    for open in ["/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(get(&router, open).await.status, 200, "{open}");
    }
    let request = Request::post("/v1/decisions")
        .header("content-type", "application/json")
        .header("x-api-key", "secret")
        .body(GOOD.into());
    assert_eq!(send(&router, request.expect("a request")).await.status, 200);
}

#[tokio::test]
async fn a_web_page_cannot_reach_a_local_service() {
    let (_, router) = ready();
    for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
        let request = Request::get("/v1/health").header(name, value).body(Body::empty()).expect("a request");
        assert_eq!(send(&router, request).await.status, 403, "{name}");
    }
}

#[tokio::test]
async fn limits_and_drains_say_so() {
    let limits = Limits { concurrency_max: 1, ..Limits::default() };
    let service = service(Setup { limits, ..Setup::default() });
    let router = router(Arc::clone(&service));
    let permit = service.permits.try_acquire().expect("a permit");
    let refused = post(&router, "/v1/decisions", GOOD).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
    assert_eq!(get(&router, "/readyz").await.status, 200);
    drop(permit);
    assert_eq!(post(&router, "/v1/decisions", GOOD).await.status, 200);
    service.life.enter(Phase::Draining, "test");
    let refused = post(&router, "/v1/decisions", GOOD).await;
    assert_eq!((refused.status.as_u16(), refused.header("connection")), (503, "close"));
    assert_eq!(get(&router, "/readyz").await.status, 503);
    assert_eq!(get(&router, "/livez").await.status, 200);
}

/// What must not depend on the way in: the status, the headers' names, what a problem says.
async fn told(response: Response) -> (StatusCode, Vec<String>, String) {
    let (parts, body) = response.into_parts();
    // The length is written by the router or, where there is none, by the connection.
    let headers = parts.headers.keys().filter(|name| **name != CONTENT_LENGTH);
    let mut headers: Vec<_> = headers.map(ToString::to_string).collect();
    headers.sort_unstable();
    let bytes = to_bytes(body, 1 << 20).await.expect("a body");
    let said = if parts.status == StatusCode::OK { &bytes[..12] } else { &bytes[..] };
    (parts.status, headers, String::from_utf8_lossy(said).into_owned())
}

#[tokio::test]
async fn both_ways_in_answer_alike() {
    let keys = Keys::parse(&format!("reader:read:{}", "0".repeat(64))).expect("keys");
    let guarded = Setup { access: Access::Keys(keys), ..Setup::default() };
    let full = Setup { limits: Limits { concurrency_max: 0, ..Limits::default() }, ..Setup::default() };
    let requests = || {
        let good = || Request::post("/v1/decisions").header("host", "localhost").header("x-request-id", "r-1");
        let json = || good().header("content-type", "application/json");
        [
            json().body(Body::from(GOOD)),
            json().body(Body::from("{")),
            json().body(Body::from(vec![b' '; 100_000])),
            good().body(Body::from(GOOD)),
            json().header("x-deadline-ms", "soon").body(Body::from(GOOD)),
            json().header("origin", "https://elsewhere.example").body(Body::from(GOOD)),
        ]
    };
    for setup in [Setup::default(), guarded, full] {
        let service = service(setup);
        let router = router(Arc::clone(&service));
        for (routed, direct) in requests().into_iter().zip(requests()) {
            let routed = router.clone().oneshot(routed.expect("a request")).await.expect("infallible");
            let direct = direct.expect("a request");
            assert!(frame::is_for_decide(&direct));
            assert_eq!(told(frame::decide(&service, direct).await).await, told(routed).await);
        }
    }
}

#[tokio::test]
async fn a_panic_is_an_answer_too() {
    let response = frame::unpanicked(async { panic!("on purpose") }).await;
    let (status, _, said) = told(response).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(said.contains("\"code\":\"internal\"") && !said.contains("on purpose"), "{said}");
}

#[tokio::test]
async fn while_state_is_restored_rules_answer_and_say_so() {
    let gate = Arc::new(crate::runtime::store::Gate::replaying());
    let service = service(Setup { gate, ..Setup::default() });
    let router = router(Arc::clone(&service));
    let decision = post(&router, "/v1/decisions", GOOD).await.json();
    assert_eq!(decision["degraded_reasons"], serde_json::json!(["restoring"]), "{decision}");
    assert_ne!(decision["decision_source"], "model");
    assert!(!service.scorer.entities().knows("t-1"), "the replay brings it, in order");
    let label = r#"{"transaction_id":"t-1","label":"fraud","occurred_at":"2026-03-01T10:00:01Z","source":"x"}"#;
    assert_eq!(post(&router, "/v1/labels", label).await.json()["result"], "pending");
    let health = get(&router, "/v1/health").await.json();
    let reasons = health["degraded_reasons"].as_array().expect("a list");
    assert!(reasons.contains(&"restoring".into()), "{health}");
    service.life.tell("restoring 42 %, about 12 s left");
    assert!(get(&router, "/readyz").await.text.contains("restoring 42 %"));
}

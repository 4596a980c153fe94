//! The breaker's doors and the guard of starts, on a real service with the shipped models.

use serde_json::{Value, json};

use onnx::runtime_is_here;
use service::{Service, transaction};

#[path = "shared/onnx.rs"]
mod onnx;

#[expect(dead_code, reason = "other suites use the rest")]
mod service;

const MODELS: (&str, &str) = ("FRAUDD__MODELS__ENABLED", "true");

fn decide(service: &Service, number: u64) -> Value {
    service.post("/v1/decisions", &transaction(number)).expect("an answer").1
}

fn place(service: &Service) -> Value {
    service.get("/v1/breaker").1["breaker"]["place"].clone()
}

#[test]
fn a_person_forces_the_breaker_and_it_earns_its_way_back() {
    if !runtime_is_here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [
        MODELS,
        ("FRAUDD__LIMITS__MODEL_DEADLINE", "5s"),
        ("FRAUDD__LIMITS__DEADLINE", "20s"),
        // However busy the machine is that this runs on.
        ("FRAUDD__BREAKER__SLOW_AFTER", "4s"),
        ("FRAUDD__BREAKER__SHADOW_PERCENT", "100"),
        ("FRAUDD__BREAKER__STEP_CALLS", "3"),
        ("FRAUDD__BREAKER__STEP", "1ms"),
        ("FRAUDD__BREAKER__FULL", "1ms"),
    ];
    let service = Service::start(directory.path(), &settings);
    service.wait_until_ready();
    let (status, shown) = service.get("/v1/breaker");
    assert_eq!((status, &shown["breaker"]["place"], &shown["findings"]), (200, &json!("closed"), &json!([])));
    assert_eq!(shown["breaker"]["model"]["version"], "1.0.0");
    assert!(decide(&service, 1)["score"].is_number());

    let drill = r#"{"reason":"drill","expires_in":"15m"}"#;
    let (status, forced) = service.post("/v1/breaker/force-open", drill).expect("an answer");
    assert_eq!((status, &forced["breaker"]["place"]), (200, &json!("forced_open")), "{forced}");
    assert_eq!(forced["breaker"]["force"]["reason"], "drill");
    let open = decide(&service, 2);
    assert_eq!((&open["degraded_reasons"], &open["score"]), (&json!(["breaker_open"]), &Value::Null), "{open}");
    let told = "fraudd_breaker_state{role=\"active\",state=\"forced_open\"} 1";
    while !service.text("/metrics").contains(told) {
        std::thread::yield_now();
    }
    for (door, body, code) in [
        ("force-open", r#"{"reason":"drill"}"#, (422, "invalid_override")),
        ("force-closed", r#"{"reason":"","expires_in":"15m"}"#, (422, "invalid_override")),
        ("observe-only", r#"{"reason":"drill","expires_in":"365d"}"#, (422, "invalid_override")),
        ("clear", "[]", (400, "wrong_shape")),
    ] {
        let (status, problem) = service.post(&format!("/v1/breaker/{door}"), body).expect("an answer");
        assert_eq!((status, problem["code"].as_str()), (code.0, Some(code.1)), "{door} {body}: {problem}");
    }
    let (status, _) = service.post("/v1/breaker/clear", r#"{"reason":"done"}"#).expect("an answer");
    assert_eq!(status, 200);
    let (mut number, mut seen) = (3, Vec::new());
    while place(&service) != "closed" {
        seen.push(decide(&service, number)["degraded_reasons"].clone());
        number += 1;
        assert!(number < 20_000, "{}", service.get("/v1/breaker").1);
    }
    assert!(seen.iter().all(|reasons| *reasons == json!([]) || *reasons == json!(["breaker_open"])), "{seen:?}");
    let healed = decide(&service, number);
    assert!(healed["score"].is_number() && healed["degraded_reasons"] == json!([]), "{healed}");
    let (status, problem) = service.post("/v1/breaker/clear", r#"{"reason":"done"}"#).expect("an answer");
    assert_eq!((status, problem["code"].as_str()), (409, Some("not_forced")));

    let (status, watching) = service.post("/v1/breaker/observe-only", drill).expect("an answer");
    assert_eq!((status, &watching["breaker"]["place"]), (200, &json!("observe_only")));
    let soon = r#"{"reason":"drill","expires_in":"1ms"}"#;
    assert_eq!(service.post("/v1/breaker/force-closed", soon).expect("an answer").0, 200);
    while place(&service) != "closed" {
        std::thread::yield_now();
    }
    assert_eq!(service.get("/v1/breaker").1["breaker"]["cause"], "expired");
    assert!(service.stop());
}

#[test]
fn what_a_person_forced_survives_a_kill_until_they_end_it() {
    if !runtime_is_here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut service = Service::start(directory.path(), &[MODELS]);
    service.wait_until_ready();
    let drill = r#"{"reason":"drill","expires_in":"15m"}"#;
    let (status, before) = service.post("/v1/breaker/force-open", drill).expect("an answer");
    assert_eq!(status, 200, "{before}");
    service.kill();
    let service = Service::start(directory.path(), &[MODELS]);
    service.wait_until_ready();
    let after = service.get("/v1/breaker").1;
    assert_eq!(
        (&after["breaker"]["place"], &after["breaker"]["force"]),
        (&json!("forced_open"), &before["breaker"]["force"])
    );
    assert!(decide(&service, 1)["score"].is_null());
    assert_eq!(service.post("/v1/breaker/clear", r#"{"reason":"over"}"#).expect("an answer").0, 200);
    assert!(service.stop());
    let service = Service::start(directory.path(), &[MODELS]);
    service.wait_until_ready();
    assert_eq!(
        (place(&service), service.get("/v1/breaker").1["breaker"]["force"].clone()),
        (json!("closed"), Value::Null)
    );
    assert!(service.stop());
}

#[test]
fn without_a_model_there_is_no_breaker() {
    let directory = tempfile::tempdir().expect("a directory");
    let service = Service::start(directory.path(), &[]);
    service.wait_until_ready();
    for (status, problem) in [
        service.get("/v1/breaker"),
        service.post("/v1/breaker/force-open", r#"{"reason":"drill","expires_in":"15m"}"#).expect("an answer"),
    ] {
        assert_eq!((status, problem["code"].as_str()), (404, Some("not_found")), "{problem}");
    }
    assert!(service.stop());
}

#[test]
fn a_model_with_which_the_process_ended_twice_is_not_started_again() {
    if !runtime_is_here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let active = |service: &Service| {
        let models = service.get("/v1/models").1;
        let models = models["models"].as_array().expect("a list").clone();
        let version =
            |role: &str| models.iter().find(|model| model["role"] == role).map(|model| model["version"].clone());
        (version("active"), version("standby"))
    };
    let (first, second) = (Some(json!("1.0.0")), Some(json!("1.0.0-lr")));
    for _ in 0..2 {
        let mut service = Service::start(directory.path(), &[MODELS]);
        service.wait_until_ready();
        assert_eq!(active(&service), (first.clone(), second.clone()));
        service.kill();
    }
    // The standby takes its place, also after an end as it should be.
    for _ in 0..2 {
        let service = Service::start(directory.path(), &[MODELS]);
        service.wait_until_ready();
        assert_eq!(active(&service), (second.clone(), None));
        assert!(service.stop());
    }
    // One crash, then a drained end: nothing is held against it.
    let other = tempfile::tempdir().expect("a directory");
    let mut service = Service::start(other.path(), &[MODELS]);
    service.wait_until_ready();
    service.kill();
    for _ in 0..2 {
        let service = Service::start(other.path(), &[MODELS]);
        service.wait_until_ready();
        assert_eq!(active(&service), (first.clone(), second.clone()));
        assert!(service.stop());
    }
}

//! A full house: rules answer first, and only then is anyone sent away. Over real connections.

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use service::{Service, transaction};

#[expect(dead_code, reason = "other suites use the rest")]
mod service;

/// Takes a place: a request whose body never comes.
fn hold(service: &Service) -> TcpStream {
    let mut stream = TcpStream::connect(&service.address).expect("a connection");
    let head =
        "POST /v1/decisions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// Waits until this many requests are inside, the one that asks not counted.
fn wait_until_inside(service: &Service, places: usize) {
    let told = format!("fraudd_http_requests_in_flight {}", places + 1);
    while !service.text("/metrics").lines().any(|line| line == told) {
        std::thread::yield_now();
    }
}

fn decide(service: &Service, number: u64) -> (u16, Value) {
    service.post("/v1/decisions", &transaction(number)).expect("an answer")
}

#[test]
fn rules_answer_a_crowd_then_429_and_the_model_is_back_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [
        ("FRAUDD__MODELS__ENABLED", "true"),
        ("FRAUDD__LIMITS__CONCURRENCY_MAX", "8"),
        ("FRAUDD__LIMITS__RULES_ONLY_ABOVE_PERCENT", "50"),
        ("FRAUDD__LIMITS__MODEL_DEADLINE", "10s"),
        ("FRAUDD__LIMITS__DEADLINE", "20s"),
    ];
    let service = Service::start(directory.path(), &settings);
    service.wait_until_ready();

    let mut held: Vec<TcpStream> = (0..3).map(|_| hold(&service)).collect();
    wait_until_inside(&service, 3);
    let (_, fourth) = decide(&service, 1);
    assert_eq!((&fourth["decision_source"], &fourth["degraded_reasons"]), (&"model".into(), &Value::Array(vec![])));

    held.push(hold(&service));
    wait_until_inside(&service, 4);
    let (status, fifth) = decide(&service, 2);
    assert_eq!((status, &fifth["degraded_reasons"]), (200, &serde_json::json!(["overload"])), "{fifth}");
    assert!(fifth["score"].is_null() && fifth["decision_source"] != "model", "{fifth}");
    let metrics = service.text("/metrics");
    assert!(metrics.contains("fraudd_decisions_degraded_total{reason=\"overload\"} 1"), "{metrics}");

    held.extend((0..4).map(|_| hold(&service)));
    wait_until_inside(&service, 8);
    let (status, ninth) = decide(&service, 3);
    assert_eq!((status, ninth["code"].as_str()), (429, Some("too_many_requests")), "{ninth}");

    drop(held);
    wait_until_inside(&service, 0);
    assert_eq!(decide(&service, 4).1["decision_source"], "model");
    // The answer that rules gave in the crowd stands.
    let (_, again) = decide(&service, 2);
    assert_eq!(
        (again["evaluation_status"].as_str(), &again["degraded_reasons"]),
        (Some("duplicate"), &fifth["degraded_reasons"])
    );
    assert!(service.stop());
}

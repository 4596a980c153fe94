//! Bad input: each a problem with a code and a pointer, nothing stored, no card number echoed.

use super::support::{GOOD, get, post, ready, send};
use axum::body::Body;
use axum::http::Request;

const CARD: &str = "4111111111111111";

/// Posts a body and compares status, code and the pointer of the first fault.
async fn check(body: impl Into<Body>, status: u16, code: &str, pointer: &str) {
    let (service, router) = ready();
    let answered = post(&router, "/v1/decisions", body).await;
    let problem = answered.json();
    assert_eq!(answered.header("content-type"), "application/problem+json");
    let seen = (answered.status.as_u16(), problem["code"].as_str(), problem["errors"][0]["pointer"].as_str());
    assert_eq!(seen, (status, Some(code), Some(pointer)), "{problem}");
    assert_eq!(problem["status"], status);
    assert!(!answered.text.contains(CARD), "the card number came back");
    let page = service.scorer.ledger().after(0, None, 10).await.expect("memory");
    assert!(page.records.is_empty(), "something was stored");
}

fn with(extra: &str) -> String {
    GOOD.replace('}', &format!(",{extra}}}"))
}

#[tokio::test]
async fn what_is_not_json() {
    check("", 400, "malformed_json", "").await;
    check("{\"amount\":", 400, "malformed_json", "/amount").await;
    check(GOOD.replace("1250", "NaN"), 400, "malformed_json", "/amount").await;
    check(GOOD.replace("1250", "-Infinity"), 400, "malformed_json", "/amount").await;
    check(format!("{GOOD}{GOOD}"), 400, "malformed_json", "/customer_id").await;
    check("[1]", 400, "wrong_shape", "").await;
    check(format!("\"{CARD}\""), 400, "wrong_shape", "").await;
    check(b"{\"type\":\"\xff\xfe\"}".to_vec(), 400, "invalid_utf8", "").await;
    check(with(&format!("\"x\":{}1{}", "[".repeat(60), "]".repeat(60))), 400, "nesting_too_deep", "").await;
    check(with(&format!("\"card\":{}", "[".repeat(30_000))), 400, "nesting_too_deep", "/card").await;
}

#[tokio::test]
async fn what_is_not_a_transaction() {
    let check = |body: String, code: &'static str, pointer: &'static str| check(body, 422, code, pointer);
    check(with(r#""amount":1"#), "invalid_transaction", "/amount").await;
    check(GOOD.replace("1250", "\"1250\""), "invalid_transaction", "/amount").await;
    check(GOOD.replace("1250", "-1"), "invalid_transaction", "/amount").await;
    check(GOOD.replace("1250", "12.0"), "invalid_transaction", "/amount").await;
    check(GOOD.replace("1250", "1e3"), "invalid_transaction", "/amount").await;
    check(GOOD.replace("1250", "99999999999999999999"), "invalid_transaction", "/amount").await;
    check(GOOD.replace("\"amount\":1250,", ""), "invalid_transaction", "/amount").await;
    check(with(r#""pan":"x""#), "invalid_transaction", "/pan").await;
    check(GOOD.replace("2026-03-01", "2026-02-30"), "invalid_transaction", "/occurred_at").await;
    check(GOOD.replace("2026", "2031"), "future_transaction", "/occurred_at").await;
    check(GOOD.replace("EUR", "ZZZ"), "invalid_transaction", "/currency").await;
    check(GOOD.replace(",\"customer_id\":\"c-1\"", ""), "invalid_transaction", "").await;
    check(with(&format!(r#""card":{{"token":"{CARD}"}}"#)), "card_number", "/card/token").await;
    check(with(&format!(r#""card":{{"bin":"{CARD}"}}"#)), "card_number", "/card/bin").await;
    check(with(r#""attributes":{"note":"pay 4111-1111-1111-1111"}"#), "card_number", "/attributes/note").await;
    check(with(&format!(r#""{CARD}":1"#)), "invalid_transaction", "/************1111").await;
}

#[tokio::test]
async fn the_same_id_with_another_payload() {
    let (_, router) = ready();
    assert_eq!(post(&router, "/v1/decisions", GOOD).await.status, 200);
    let other = post(&router, "/v1/decisions", GOOD.replace("1250", "1251")).await;
    assert_eq!((other.status.as_u16(), other.json()["code"].as_str()), (422, Some("id_conflict")));
    let again = get(&router, "/v1/decisions/t-1").await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn what_is_too_large_or_of_another_type() {
    let (_, router) = ready();
    let large = with(&format!("\"x\":\"{}\"", "y".repeat(70 << 10)));
    let refused = post(&router, "/v1/decisions", large).await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (413, Some("body_too_large")));
    let items = vec!["1"; 1_001].join(",");
    let refused = post(&router, "/v1/decisions:batch", format!("{{\"transactions\":[{items}]}}")).await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (413, Some("batch_too_large")));
    for (name, value) in [("content-type", "text/plain"), ("x-none", "x")] {
        let request = Request::post("/v1/decisions").header(name, value).body(GOOD.into()).expect("a request");
        let refused = send(&router, request).await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (415, Some("unsupported_media_type")));
    }
    let request = Request::post("/v1/decisions")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(GOOD.into());
    assert_eq!(send(&router, request.expect("a request")).await.status, 415);
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let (_, router) = ready();
    let check = async |path: &str, status: u16, code: &str| {
        let refused = get(&router, path).await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (status, Some(code)), "{path}");
    };
    check("/v1/decisions?after=x", 400, "invalid_parameter").await;
    check("/v1/decisions?outcome=maybe", 400, "invalid_parameter").await;
    check("/v1/decisions?limit=0", 400, "invalid_parameter").await;
    check("/v1/decisions?limit=1001", 400, "invalid_parameter").await;
    check("/v1/decisions?colour=red", 400, "invalid_parameter").await;
    check("/v1/decisions/%FF", 400, "invalid_parameter").await;
    check("/v1/decisions/none", 404, "not_found").await;
    check("/v1/lists/grey/entries", 404, "not_found").await;
    check("/v1/entities/card/none", 404, "not_found").await;
    check("/v2/decisions", 404, "unknown_route").await;
    check("/", 404, "unknown_route").await;
    for (name, value) in [("x-deadline-ms", "0"), ("x-deadline-ms", "60001"), ("x-deadline-ms", "soon")] {
        let request = Request::post("/v1/decisions").header("content-type", "application/json").header(name, value);
        let refused = send(&router, request.body(GOOD.into()).expect("a request")).await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (400, Some("invalid_parameter")));
    }
    let refused = post(&router, "/v1/decisions?mapping=none", GOOD).await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (400, Some("unknown_mapping")));
}

//! Raw calls give what the trainer's own library gave, whatever their form; bad ones are told why.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use super::support::{Answered, MODEL, Service, WIDTH, golden, read_answer, runtime_is_here, write_request};

const HEADER: &str = "inference-header-content-length";
/// More calls than are needed to find a line of one row full.
const CALLS_MAX: usize = 500;

fn listed(rows: &[Vec<f64>]) -> Value {
    // What serde_json writes for NaN is null, which the protocol reads as missing.
    json!({"inputs": [{"name": "X", "shape": [rows.len(), WIDTH], "datatype": "FP64", "data": rows}]})
}

fn infer(service: &Service, body: &Value) -> Answered {
    service.post(&format!("{MODEL}/infer"), body)
}

/// A body of JSON and one binary tensor behind it, and the length of the JSON.
fn binary(rows: &[Vec<f64>], binary_output: bool) -> (Vec<u8>, String) {
    let bytes = bytes_of(rows);
    let json = json!({
        "id": "b-1",
        "parameters": {"binary_data_output": binary_output},
        "inputs": [{
            "name": "X", "shape": [rows.len(), WIDTH], "datatype": "FP32",
            "parameters": {"binary_data_size": bytes.len()},
        }],
    });
    let json = json.to_string();
    ([json.as_bytes(), &bytes].concat(), json.len().to_string())
}

#[expect(clippy::cast_possible_truncation, reason = "the golden rows are float32")]
fn bytes_of(rows: &[Vec<f64>]) -> Vec<u8> {
    rows.iter().flatten().flat_map(|cell| (*cell as f32).to_le_bytes()).collect()
}

/// Holds scores against the trainer's: float32 thresholds flip a few tree paths, as the bundle allows.
#[track_caller]
fn agree(found: &[f64], truth: &[f64]) {
    assert_eq!(found.len(), truth.len());
    let close = found.iter().zip(truth).filter(|(found, truth)| (*found - *truth).abs() <= 1e-5).count();
    assert!(close * 100 >= truth.len() * 97, "{close} of {} rows agree", truth.len());
}

/// The second column of the first output in JSON.
fn scores(answered: &Answered) -> Vec<f64> {
    let json = answered.json();
    assert_eq!(answered.status, 200, "{json}");
    let data = json["outputs"][0]["data"].as_array().expect("data").clone();
    data.iter().skip(1).step_by(2).map(|number| number.as_f64().expect("a number")).collect()
}

/// The second column of the first output in binary.
fn binary_scores(answered: &Answered) -> Vec<f64> {
    assert_eq!(answered.status, 200, "{}", answered.body.escape_ascii());
    assert_eq!(answered.header("content-type"), Some("application/octet-stream"));
    let len: usize = answered.header(HEADER).and_then(|len| len.parse().ok()).expect("the header's length");
    let (json, bytes) = answered.body.split_at(len);
    let json: Value = serde_json::from_slice(json).expect("JSON");
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], bytes.len());
    let numbers = bytes.as_chunks::<4>().0.iter().map(|chunk| f64::from(f32::from_le_bytes(*chunk)));
    numbers.skip(1).step_by(2).collect()
}

#[test]
fn every_form_of_a_call_gives_the_trainers_probabilities() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start(&[]);
    let (rows, truth) = golden("1.0.0", 300);
    let json = infer(&service, &listed(&rows));
    agree(&scores(&json), &truth);
    assert_eq!(
        (json.json()["model_name"].as_str(), json.json()["model_version"].as_str()),
        (Some("card-fraud"), Some("1.0.0"))
    );
    let flat: Vec<f64> = rows.iter().flatten().copied().collect();
    let flat = json!({"inputs": [{"name": "X", "shape": [300, WIDTH], "datatype": "FP32", "data": flat}]});
    agree(&scores(&infer(&service, &flat)), &truth);
    let path = format!("{MODEL}/infer");
    let (body, len) = binary(&rows, true);
    agree(&binary_scores(&service.send("POST", &path, &[(HEADER, &len)], &body)), &truth);
    let (body, len) = binary(&rows, false);
    let mixed = service.send("POST", &path, &[(HEADER, &len)], &body);
    agree(&scores(&mixed), &truth);
    assert_eq!(mixed.json()["id"], "b-1");
    agree(&binary_scores(&service.send("POST", &path, &[(HEADER, "0")], &bytes_of(&rows))), &truth);
    for (name, packed) in [("gzip", gzip(&body)), ("deflate", zlib(&body))] {
        let answered = service.send("POST", &path, &[(HEADER, &len), ("content-encoding", name)], &packed);
        agree(&scores(&answered), &truth);
    }
    let (rows, truth) = golden("1.0.0-lr", 300);
    let standby = service.post("/v2/models/card-fraud/versions/1.0.0-lr/infer", &listed(&rows));
    agree(&scores(&standby), &truth);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}

/// Path, headers, body, and the status and code of the refusal.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c [u8], u16, &'c str);

#[test]
fn bad_calls_are_told_why_and_leave_the_connection_usable() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start(&[]);
    let (rows, truth) = golden("1.0.0", 2);
    let good = listed(&rows).to_string();
    let path = format!("{MODEL}/infer");
    let good_path = path.clone();
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let cases: [Case<'_>; 8] = [
        (&path, &[], b"{", 400, "malformed_json"),
        (&path, &[(HEADER, "99999")], good.as_bytes(), 400, "invalid_parameter"),
        (&path, &[("content-encoding", "br")], good.as_bytes(), 415, "unsupported_media_type"),
        (&path, &[("content-encoding", "gzip")], good.as_bytes(), 400, "malformed_json"),
        (&path, &[("content-encoding", "gzip")], &bomb, 413, "body_too_large"),
        (&path, &[], &vec![b' '; 3 << 20], 413, "body_too_large"),
        ("/v2/models/card-fraud/versions/9/infer", &[], good.as_bytes(), 404, "not_found"),
        ("/v2/models/card-fraud/generate", &[], good.as_bytes(), 501, "not_served"),
    ];
    let mut stream = service.connect();
    for (path, headers, body, status, code) in cases {
        write_request(&mut stream, ("POST", path), headers, body);
        let refused = read_answer(&mut stream);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (status, Some(code)), "{}", refused.json());
        assert_eq!(refused.header("content-type"), Some("application/json"));
        write_request(&mut stream, ("POST", &good_path), &[], good.as_bytes());
        agree(&scores(&read_answer(&mut stream)), &truth);
    }
    assert!(service.metric(r#"fraudd_inference_calls_total{result="refused"}"#) >= 7.0);
    assert!(service.metric(r#"fraudd_inference_calls_total{result="answered"}"#) >= 8.0);
    assert!(service.metric("fraudd_inference_rows_total") >= 16.0);
}

#[test]
fn a_passed_deadline_is_told_and_counted() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start(&[]);
    let (rows, _) = golden("1.0.0", 300);
    let mut body = listed(&rows);
    body["parameters"] = json!({"timeout": 1});
    let late = infer(&service, &body);
    assert_eq!((late.status, late.json()["code"].as_str()), (504, Some("deadline_exceeded")));
    assert!((service.metric(r#"fraudd_inference_calls_total{result="deadline"}"#) - 1.0).abs() < 1e-9);
    body["parameters"] = json!({"timeout": 0});
    assert_eq!(infer(&service, &body).status, 200);
    let stats = service.get("/v2/models/card-fraud/stats").json();
    let of = &stats["model_stats"][0]["inference_stats"];
    assert_eq!((&of["success"]["count"], &of["fail"]["count"]), (&json!(1), &json!(1)));
    assert_eq!(stats["model_stats"][0]["inference_count"], 300);
    assert_eq!(stats["model_stats"][0]["execution_count"], 300_u32.div_ceil(16));

    let many = service.post("/v2/models/card-fraud/infer", &json!({"inputs": [{
        "name": "X", "shape": [5_000, WIDTH], "datatype": "FP32", "parameters": {"binary_data_size": 4 * 5_000 * WIDTH},
    }]}));
    assert_eq!((many.status, many.json()["code"].as_str()), (413, Some("batch_too_large")));
}

#[test]
fn missing_numbers_and_their_spellings_are_one() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start(&[]);
    let (rows, _) = golden("1.0.0", 1);
    let first = rows[0].iter().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(",");
    let ask = |word: &str| {
        let body =
            format!(r#"{{"inputs":[{{"name":"X","shape":[1,{WIDTH}],"datatype":"FP32","data":[{word},{first}]}}]}}"#);
        scores(&service.send("POST", &format!("{MODEL}/infer"), &[], body.as_bytes()))
    };
    assert_eq!(ask("NaN"), ask("null"));
    assert_eq!(ask("Infinity"), ask("1e30"));
}

#[test]
fn decisions_are_scored_while_raw_calls_fill_their_line() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start(&[
        ("FRAUDD__LIMITS__MODEL_DEADLINE", "5s"),
        ("FRAUDD__LIMITS__DEADLINE", "10s"),
        ("FRAUDD__INFERENCE__PROTOCOL_DEADLINE", "60s"),
        ("FRAUDD__INFERENCE__PROTOCOL_QUEUE_LEN_MAX", "1"),
    ]);
    let (rows, _) = golden("1.0.0", 1);
    let bytes = bytes_of(&rows).repeat(4_000);
    let path = format!("{MODEL}/infer");
    let was_full = AtomicBool::new(false);
    // Each calls until one of them found the line full; the bound ends the test when that cannot happen.
    let call = || {
        for _ in 0..CALLS_MAX {
            if was_full.load(Ordering::Relaxed) {
                return;
            }
            let answered = service.send("POST", &path, &[(HEADER, "0")], &bytes);
            if answered.status == 503 {
                assert_eq!(
                    (answered.json()["code"].as_str(), answered.header("retry-after")),
                    (Some("queue_full"), Some("1"))
                );
                was_full.store(true, Ordering::Relaxed);
            } else {
                assert_eq!(answered.status, 200);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(call);
        }
        for index in 0..50 {
            let body = json!({
                "transaction_id": format!("t-{index}"), "occurred_at": "2026-03-01T10:00:00Z", "amount": 1250,
                "currency": "EUR", "customer_id": "c-1",
            });
            let headers = [("content-type", "application/json")];
            let decided = service.send("POST", "/v1/decisions", &headers, body.to_string().as_bytes());
            assert!(decided.status == 200 && decided.json()["score"].is_number(), "{}", decided.json());
        }
    });
    assert!(was_full.load(Ordering::Relaxed), "the line was never full");
    assert!(service.metric(r#"fraudd_inference_calls_total{result="busy"}"#) >= 1.0);
}

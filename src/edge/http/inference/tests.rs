//! Bad calls of every kind: each a refusal in JSON, none a panic.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::call::testing::rows;
use super::tensor::Rows;
use crate::edge::problem::{Code, Problem};
use crate::runtime::inference::raw::{Element, Signature, TensorFacts};

fn matrix(element: Element) -> Signature {
    let input = TensorFacts { name: "input".into(), element, inner: vec![3], places: vec![0, 1, 2] };
    let output = TensorFacts { name: "p".into(), element: Element::Float, inner: vec![2], places: vec![] };
    Signature { width: 3, inputs: vec![input], outputs: vec![output], batch_is_one: false }
}

/// Two inputs, declared in another order than the row's.
fn columns() -> Signature {
    let column =
        |name: &str, element, place| TensorFacts { name: name.into(), element, inner: vec![1], places: vec![place] };
    let inputs = vec![column("count", Element::Integer, 1), column("amount", Element::Float, 0)];
    Signature { width: 2, inputs, ..matrix(Element::Float) }
}

fn read(signature: &Signature, body: &Value) -> Result<Rows, Problem> {
    rows(signature, &HeaderMap::new(), body.to_string().as_bytes())
}

fn text(signature: &Signature, body: &str) -> Result<Rows, Problem> {
    rows(signature, &HeaderMap::new(), body.as_bytes())
}

fn with_binary(signature: &Signature, json: &Value, binary: &[u8]) -> Result<Rows, Problem> {
    let json = json.to_string();
    let len = HeaderValue::from(json.len());
    let headers = HeaderMap::from_iter([(super::response::HEADER_LEN, len)]);
    rows(signature, &headers, &[json.as_bytes(), binary].concat())
}

#[track_caller]
fn refused(found: Result<Rows, Problem>, code: Code) {
    assert_eq!(found.map(|rows| rows.cells).map_err(|problem| problem.code()), Err(code));
}

fn input(shape: &Value, datatype: &str, data: &Value) -> Value {
    json!({"inputs": [{"name": "input", "shape": shape, "datatype": datatype, "data": data}]})
}

#[test]
fn rows_are_read_flat_and_nested() {
    let float = matrix(Element::Float);
    for data in [json!([1, 2.5, 3, 4, 5, -6]), json!([[1, 2.5, 3], [4, 5, -6]])] {
        let found = read(&float, &input(&json!([2, 3]), "FP32", &data)).expect("rows");
        assert_eq!((found.count, found.cells), (2, vec![1.0, 2.5, 3.0, 4.0, 5.0, -6.0]));
    }
    let missing =
        text(&float, r#"{"inputs":[{"data":[NaN,null,-Infinity],"datatype":"FP64","name":"input","shape":[1,3]}]}"#);
    let cells = missing.expect("rows").cells;
    assert!(cells[0].is_nan() && cells[1].is_nan() && cells[2] == f64::NEG_INFINITY);
    let flags = read(&float, &input(&json!([1, 3]), "BOOL", &json!([true, false, true]))).expect("rows");
    assert_eq!(flags.cells, [1.0, 0.0, 1.0]);
}

#[test]
fn columns_find_their_places() {
    let body = json!({"inputs": [
        {"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [[1.5], [2.5]]},
        {"name": "count", "shape": [2], "datatype": "INT64", "data": [7, 8]},
    ]});
    assert_eq!(read(&columns(), &body).expect("rows").cells, [1.5, 7.0, 2.5, 8.0]);
    let uneven = json!({"inputs": [
        {"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]},
        {"name": "count", "shape": [1, 1], "datatype": "INT64", "data": [7]},
    ]});
    refused(read(&columns(), &uneven), Code::InvalidTensor);
    let floats = json!({"inputs": [
        {"name": "amount", "shape": [1, 1], "datatype": "FP32", "data": [1]},
        {"name": "count", "shape": [1, 1], "datatype": "FP32", "data": [7]},
    ]});
    refused(read(&columns(), &floats), Code::InvalidTensor);
    refused(
        read(&columns(), &json!({"inputs": [{"name": "amount", "shape": [1], "datatype": "FP32", "data": [1]}]})),
        Code::InvalidTensor,
    );
}

#[test]
fn binary_tensors_of_every_number() {
    let float = matrix(Element::Float);
    let check = |datatype: &str, bytes: &[u8], expected: [f64; 3]| {
        let part = json!({"name": "input", "shape": [1, 3], "datatype": datatype, "parameters": {"binary_data_size": bytes.len()}});
        let found = with_binary(&float, &json!({"inputs": [part]}), bytes).expect(datatype);
        assert_eq!(found.cells, expected, "{datatype}");
    };
    check("BOOL", &[1, 0, 1], [1.0, 0.0, 1.0]);
    check("UINT8", &[1, 0, 255], [1.0, 0.0, 255.0]);
    check("INT8", &[1, 0, 255], [1.0, 0.0, -1.0]);
    check("UINT16", &[1, 0, 0, 0, 255, 255], [1.0, 0.0, 65_535.0]);
    check("INT16", &[1, 0, 0, 0, 255, 255], [1.0, 0.0, -1.0]);
    check("FP16", &[0x00, 0x3c, 0x00, 0xc0, 0x66, 0x2e], [1.0, -2.0, f64::from(half::f16::from_f32(0.1))]);
    check("BF16", &[0x80, 0x3f, 0x00, 0xc0, 0x00, 0x00], [1.0, -2.0, 0.0]);
    let each = |bytes: [Vec<u8>; 3]| bytes.concat();
    check("FP32", &each([1.5_f32, -2.0, 0.1].map(|n| n.to_le_bytes().to_vec())), [1.5, -2.0, f64::from(0.1_f32)]);
    check("FP64", &each([1.5_f64, -2.0, 0.1].map(|n| n.to_le_bytes().to_vec())), [1.5, -2.0, 0.1]);
    check("INT32", &each([1_i32, -2, i32::MIN].map(|n| n.to_le_bytes().to_vec())), [1.0, -2.0, f64::from(i32::MIN)]);
    check("UINT32", &each([1_u32, 2, u32::MAX].map(|n| n.to_le_bytes().to_vec())), [1.0, 2.0, f64::from(u32::MAX)]);
    check(
        "INT64",
        &each([1_i64, -2, (1 << 53) - 1].map(|n| n.to_le_bytes().to_vec())),
        [1.0, -2.0, 9_007_199_254_740_991.0],
    );
    check("UINT64", &each([1_u64, 2, 3].map(|n| n.to_le_bytes().to_vec())), [1.0, 2.0, 3.0]);
    let inexact = each([1_i64, 2, 1 << 53].map(|n| n.to_le_bytes().to_vec()));
    let part = json!({"name": "input", "shape": [1, 3], "datatype": "INT64", "parameters": {"binary_data_size": 24}});
    refused(with_binary(&float, &json!({"inputs": [part]}), &inexact), Code::InvalidTensor);
    let part = json!({"name": "input", "shape": [1, 3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}});
    refused(with_binary(&float, &json!({"inputs": [part]}), &[0, 1, 2]), Code::InvalidTensor);
}

#[test]
fn binary_sizes_must_agree() {
    let float = matrix(Element::Float);
    let part = |len: &Value| json!({"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": len}}]});
    refused(with_binary(&float, &part(&json!(12)), &[0; 11]), Code::InvalidTensor);
    refused(with_binary(&float, &part(&json!(12)), &[0; 13]), Code::InvalidTensor);
    refused(with_binary(&float, &part(&json!(11)), &[0; 11]), Code::InvalidTensor);
    for wrong in [json!(-12), json!(1.5), json!("12"), json!(null), json!(18_446_744_073_709_551_615_u64)] {
        refused(with_binary(&float, &part(&wrong), &[0; 12]), Code::InvalidParameter);
    }
    refused(read(&float, &part(&json!(12))), Code::InvalidTensor);
}

#[test]
fn a_body_that_is_one_tensor() {
    let headers = HeaderMap::from_iter([(super::response::HEADER_LEN, HeaderValue::from_static("0"))]);
    let bytes: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let found = rows(&matrix(Element::Float), &headers, &bytes).expect("rows");
    assert_eq!((found.count, found.cells.len()), (2, 6));
    refused(rows(&matrix(Element::Float), &headers, &bytes[..23]), Code::InvalidTensor);
    refused(rows(&matrix(Element::Float), &headers, &[]), Code::InvalidTensor);
    refused(rows(&columns(), &headers, &bytes), Code::InvalidTensor);
    refused(rows(&matrix(Element::Float), &headers, &vec![0; 12 * 4_097]), Code::BatchTooLarge);
}

#[test]
fn buffer_size_overflow() {
    let float = matrix(Element::Float);
    let max = i64::MAX;
    for shape in [json!([max, max, 4]), json!([max, 3]), json!([4_611_686_018_427_387_905_i64, 4])] {
        let found = read(&float, &input(&shape, "FP32", &json!([1, 2, 3])));
        assert!(found.is_err(), "{shape}");
    }
    refused(
        text(&float, r#"{"inputs":[{"name":"input","shape":[18446744073709551616,3],"datatype":"FP32","data":[]}]}"#),
        Code::MalformedJson,
    );
}

#[test]
fn negative_dimensions() {
    refused(read(&matrix(Element::Float), &input(&json!([-1, 3]), "FP32", &json!([1, 2, 3]))), Code::InvalidTensor);
    refused(read(&matrix(Element::Float), &input(&json!([-1, -3]), "FP32", &json!([1, 2, 3]))), Code::InvalidTensor);
}

#[test]
fn json_depth() {
    let float = matrix(Element::Float);
    let deep = "[".repeat(100_000);
    refused(text(&float, &deep), Code::WrongShape);
    refused(text(&float, &format!("{{\"x\":{deep}")), Code::NestingTooDeep);
    refused(text(&float, &format!("{{\"inputs\":[{{\"data\":{deep}")), Code::NestingTooDeep);
    let unknown = format!("{{\"x\":{}1{},\"inputs\":[]}}", "[".repeat(10), "]".repeat(10));
    refused(text(&float, &unknown), Code::InvalidTensor);
}

#[test]
fn duplicate_and_unknown_names() {
    let float = matrix(Element::Float);
    let good = input(&json!([1, 3]), "FP32", &json!([1, 2, 3]));
    let with = |outputs: Value| {
        let mut body = good.clone();
        body["outputs"] = outputs;
        read(&float, &body)
    };
    assert!(with(json!([{"name": "p"}])).is_ok());
    refused(with(json!([{"name": "p"}, {"name": "p"}])), Code::InvalidTensor);
    refused(with(json!([{"name": "q"}])), Code::InvalidTensor);
    refused(with(json!([{"name": "p", "parameters": {"classification": 0}}])), Code::InvalidTensor);
    refused(with(json!([{"name": "p", "parameters": {"shared_memory_region": "x"}}])), Code::InvalidTensor);
    refused(with(json!("p")), Code::WrongShape);
    refused(with(json!([{}])), Code::InvalidTensor);
    let twice = json!({"inputs": [good["inputs"][0], good["inputs"][0]]});
    refused(read(&float, &twice), Code::InvalidTensor);
    refused(text(&float, r#"{"inputs":[],"inputs":[]}"#), Code::WrongShape);
    refused(read(&float, &json!({"inputs": []})), Code::InvalidTensor);
    refused(read(&float, &json!({})), Code::InvalidTensor);
    refused(read(&float, &json!([1])), Code::WrongShape);
}

#[test]
fn numbers_that_do_not_fit() {
    let float = matrix(Element::Float);
    let check = |datatype: &str, data: Value| {
        refused(read(&float, &input(&json!([1, 3]), datatype, &data)), Code::InvalidTensor);
    };
    check("FP32", json!([1, 2]));
    check("FP32", json!([1, 2, 3, 4]));
    check("FP32", json!([[1, 2], [3]]));
    check("FP32", json!([[1, 2, 3], 4]));
    check("FP32", json!([1, [2], 3]));
    check("FP32", json!([[[1, 2, 3]]]));
    check("FP32", json!(["1", "2", "3"]));
    check("FP32", json!([true, 2, 3]));
    check("FP16", json!([1, 2, 3]));
    check("BYTES", json!([1, 2, 3]));
    check("FP128", json!([1, 2, 3]));
    check("UINT8", json!([1, 2, 256]));
    check("UINT8", json!([1, 2, -1]));
    check("INT32", json!([1, 2, 0.5]));
    check("INT32", json!([1, 2, null]));
    check("INT64", json!([1, 2, 9_007_199_254_740_993_i64]));
    check("BOOL", json!([0, 1, 2]));
    check("FP32", json!({"a": 1}));
    let shapes =
        [json!([3]), json!([1, 1, 3]), json!([3, 1]), json!([]), json!([0, 3]), json!([1, 1, 1, 1, 1, 1, 1, 1, 3])];
    for shape in shapes {
        refused(read(&float, &input(&shape, "FP32", &json!([1, 2, 3]))), Code::InvalidTensor);
    }
    let many = vec![0; 3 * 4_096 + 1];
    refused(read(&float, &input(&json!([4_097, 3]), "FP32", &json!(many))), Code::BatchTooLarge);
}

#[test]
fn parameters_are_plain() {
    let float = matrix(Element::Float);
    let with = |parameters: Value| {
        let mut body = input(&json!([1, 3]), "FP32", &json!([1, 2, 3]));
        body["parameters"] = parameters;
        read(&float, &body).map(|_| ()).map_err(|problem| problem.code())
    };
    assert_eq!(with(json!({"sequence_id": 7, "priority": 1, "mine": "x", "timeout": 5_000})), Ok(()));
    assert_eq!(with(json!({"timeout": "soon"})), Err(Code::InvalidParameter));
    assert_eq!(with(json!({"timeout": -1})), Err(Code::InvalidParameter));
    assert_eq!(with(json!({"binary_data_output": 1})), Err(Code::InvalidParameter));
    assert_eq!(with(json!({"mine": {"x": 1}})), Err(Code::WrongShape));
    let many: serde_json::Map<String, Value> = (0..65).map(|index| (format!("p{index}"), json!(1))).collect();
    assert_eq!(with(Value::Object(many)), Err(Code::WrongShape));
}

mod doors {
    use axum::body::Body;
    use axum::http::Request;

    use super::*;
    use crate::edge::http::inference::doors::DOORS;
    use crate::edge::http::inference::{Options, Protocol};
    use crate::edge::http::tests::support::{Answered, Setup, fleet, get, scorer, send, service_with};
    use crate::edge::http::{Access, Keys, Phase, Service, router};
    use crate::runtime::clock::Clock;
    use crate::runtime::store::Gate;

    /// A protocol without a model, over a model directory that does not exist.
    fn protocol(calls_max: usize) -> Arc<Protocol> {
        let clock = Clock::manual(crate::domain::Timestamp::from_seconds(1_772_359_201));
        let scorer = scorer(clock.clone(), Arc::new(Gate::live()));
        let options = Options { enabled: true, calls_max, ..Options::default() };
        Arc::new(Protocol::new(fleet(&scorer, clock), options))
    }

    fn open(access: Access) -> (Arc<Service>, axum::Router) {
        let service = service_with(Setup { access, ..Setup::default() }, Some(protocol(1)));
        (Arc::clone(&service), router(service))
    }

    async fn post(router: &axum::Router, path: &str, body: &str) -> Answered {
        send(router, Request::post(path).body(Body::from(body.to_owned())).expect("a request")).await
    }

    #[track_caller]
    fn refused(answered: &Answered, status: u16, code: &str) {
        assert_eq!(
            (answered.status.as_u16(), answered.header("content-type")),
            (status, "application/json"),
            "{}",
            answered.text
        );
        let told = answered.json();
        assert_eq!(told["code"], code, "{told}");
        assert!(told["error"].as_str().is_some_and(|error| !error.is_empty()), "{told}");
    }

    #[tokio::test]
    async fn every_refusal_has_the_form_of_the_protocol() {
        let (service, router) = open(Access::Loopback);
        refused(&get(&router, "/v2/models/other").await, 404, "not_found");
        refused(&get(&router, "/v2/models/card-fraud/versions/1.0.0").await, 503, "not_ready");
        refused(&get(&router, "/v2/nothing").await, 404, "unknown_route");
        refused(&get(&router, "/v2/models/a/b/c/d").await, 404, "unknown_route");
        refused(&get(&router, "/v2/models/other/infer").await, 405, "method_not_allowed");
        refused(&get(&router, "/v2/models/%FF").await, 400, "invalid_parameter");
        refused(&post(&router, "/v2/models/other/infer", "{").await, 404, "not_found");
        refused(&post(&router, "/v2/models/other/infer", &" ".repeat((2 << 20) + 1)).await, 413, "body_too_large");
        refused(&post(&router, "/v2/repository/models/card-fraud/load", "").await, 404, "not_found");
        refused(&post(&router, "/v2/repository/models/..%2Fetc/load", "").await, 404, "not_found");
        refused(&post(&router, "/v2/repository/models/card-fraud/unload", "").await, 404, "not_found");
        refused(&post(&router, "/v2/repository/models/card-fraud/load", "[1]").await, 400, "wrong_shape");
        let config = r#"{"parameters":{"config":"{}"}}"#;
        refused(&post(&router, "/v2/repository/models/card-fraud/load", config).await, 501, "not_served");
        refused(&post(&router, "/v2/repository/index", r#"{"ready":1}"#).await, 400, "invalid_parameter");
        let packed = Request::post("/v2/models/card-fraud/infer").header("content-encoding", "br").body(Body::empty());
        // The model is looked up first: without one there is nothing to unpack for.
        refused(&send(&router, packed.expect("a request")).await, 503, "not_ready");
        for path in ["/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/models/m/trace/setting", "/v2/logging"]
        {
            refused(&get(&router, path).await, 501, "not_served");
        }
        refused(&post(&router, "/v2/systemsharedmemory/region/x/register", "{}").await, 501, "not_served");
        service.life.enter(Phase::Draining, "test");
        refused(&post(&router, "/v2/models/other/infer", "{}").await, 503, "draining");
    }

    #[tokio::test]
    async fn health_is_told_in_json() {
        let (_, router) = open(Access::Loopback);
        let live = get(&router, "/v2/health/live").await;
        assert_eq!((live.status.as_u16(), live.json()), (200, json!({"live": true})));
        let ready = get(&router, "/v2/health/ready").await;
        assert_eq!((ready.status.as_u16(), &ready.json()["ready"]), (503, &json!(false)));
        for path in ["/v2", "/v2/"] {
            assert_eq!(get(&router, path).await.json()["name"], "fraudd");
        }
        assert_eq!(get(&router, "/v2/models").await.json(), json!({"models": []}));
        assert_eq!(get(&router, "/v2/models/stats").await.json(), json!({"model_stats": []}));
        assert_eq!(post(&router, "/v2/repository/index", "").await.json(), json!([]));
    }

    #[tokio::test]
    async fn keys_guard_the_doors_of_the_protocol() {
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let keys = Keys::parse(&format!("shop:score,read:{hash}")).expect("keys");
        let (_, router) = open(Access::Keys(keys));
        assert_eq!(get(&router, "/v2/health/live").await.status, 200);
        for door in DOORS.iter().filter(|door| door.scope.is_some()) {
            let path = door.path.replace("{name}", "m").replace("{version}", "1");
            let without = Request::builder().method(door.method).uri(&path).body(Body::empty());
            refused(&send(&router, without.expect("a request")).await, 401, "unauthenticated");
            let with =
                Request::builder().method(door.method).uri(&path).header("x-api-key", "secret").body(Body::empty());
            let answered = send(&router, with.expect("a request")).await;
            let is_forbidden = answered.status == 403;
            assert_eq!(is_forbidden, door.path.ends_with("load"), "{path}: {}", answered.text);
        }
    }

    #[tokio::test]
    async fn raw_calls_have_few_permits_of_their_own() {
        let service = service_with(Setup::default(), Some(protocol(0)));
        let router = router(service);
        let busy = post(&router, "/v2/models/card-fraud/infer", "{}").await;
        refused(&busy, 429, "too_many_requests");
        assert_eq!(busy.header("retry-after"), "1");
        let decided =
            crate::edge::http::tests::support::post(&router, "/v1/decisions", crate::edge::http::tests::support::GOOD)
                .await;
        assert_eq!(decided.status, 200);
    }

    #[tokio::test]
    async fn the_protocol_is_off_unless_switched_on() {
        let router = router(service_with(Setup::default(), None));
        assert_eq!(get(&router, "/v2/health/live").await.status, 404);
        assert!(get(&router, "/openapi.json").await.json()["paths"].get("/v2").is_none());
        let (_, router) = open(Access::Loopback);
        assert!(get(&router, "/openapi.json").await.json()["paths"].get("/v2").is_some());
    }
}

proptest::proptest! {
    #[test]
    fn no_body_makes_the_parser_panic(json: Vec<u8>, binary: Vec<u8>, len in proptest::option::of("[0-9-]{1,6}")) {
        let headers = len.map(|len| HeaderMap::from_iter([(super::response::HEADER_LEN, len.parse().expect("a header"))]));
        let body = [json, binary].concat();
        for signature in [matrix(Element::Float), matrix(Element::Integer), columns()] {
            proptest::prop_assert!(rows(&signature, &headers.clone().unwrap_or_default(), &body).is_err() || headers.is_some());
        }
    }

    #[test]
    fn nothing_near_a_request_makes_the_parser_panic(
        name in "input|other",
        shape in proptest::collection::vec(-2_i64..5, 0..10),
        datatype in "FP32|FP16|INT64|UINT8|BOOL|BYTES|X",
        data in "[\\[\\]0-9,.eE\"NaInfituly \\-]{0,40}",
        size in proptest::option::of(-1_i64..40),
        binary in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
    ) {
        let parameters = size.map(|size| format!(r#","parameters":{{"binary_data_size":{size}}}"#)).unwrap_or_default();
        let json = format!(
            r#"{{"inputs":[{{"name":"{name}","shape":{shape:?},"datatype":"{datatype}","data":{data}{parameters}}}]}}"#
        );
        let headers = HeaderMap::from_iter([(super::response::HEADER_LEN, HeaderValue::from(json.len()))]);
        for signature in [matrix(Element::Float), matrix(Element::Integer), columns()] {
            if let Ok(rows) = rows(&signature, &headers, &[json.as_bytes(), &binary].concat()) {
                proptest::prop_assert_eq!(rows.cells.len(), rows.count * signature.width);
            }
        }
    }

    #[test]
    fn good_rows_come_out_as_they_went_in(cells in proptest::collection::vec(proptest::num::f64::NORMAL, 3..30)) {
        let count = cells.len() / 3;
        let cells = &cells[..count * 3];
        let float = matrix(Element::Float);
        let listed = read(&float, &input(&json!([count, 3]), "FP64", &json!(cells))).expect("rows");
        proptest::prop_assert_eq!(&listed.cells, cells);
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
        let part = json!({"name": "input", "shape": [count, 3], "datatype": "FP64", "parameters": {"binary_data_size": bytes.len()}});
        let binary = with_binary(&float, &json!({"inputs": [part]}), &bytes).expect("rows");
        proptest::prop_assert_eq!(&binary.cells, cells);
    }
}

//! What clients ask before they call: the server, the models, their tensors, their counts.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::tensor::Datatype;
use super::{Meant, Named, Room};
use crate::edge::http::parameters::respond;
use crate::runtime::inference::raw::{Element, TensorFacts};
use crate::runtime::slot::Model;

/// What is really implemented; `make oip-test` calls each.
pub(super) const EXTENSIONS: [&str; 5] =
    ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"];
/// The protocol's name for ONNX models.
const PLATFORM: &str = "onnx_onnxv1";

pub(super) async fn server() -> Response {
    let server = json!({"name": "fraudd", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS});
    Json(server).into_response()
}

pub(super) async fn models(State(room): State<Room>) -> Response {
    let loaded = room.protocol.fleet.loaded();
    let mut names: Vec<&str> = loaded.iter().map(|loaded| loaded.model.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    Json(json!({"models": names})).into_response()
}

pub(super) async fn model(State(room): State<Room>, named: Named) -> Response {
    let shown = || {
        let meant = Meant::read(named)?;
        let model = room.model(&meant)?;
        let loaded = room.protocol.fleet.loaded();
        let is_meant = |other: &&Model| {
            other.name == meant.name && meant.version.as_ref().is_none_or(|version| *version == other.version)
        };
        let versions: Vec<&str> =
            loaded.iter().map(|loaded| &*loaded.model).filter(is_meant).map(|model| model.version.as_str()).collect();
        let signature = model.inference.signature();
        Ok(Json(json!({
            "name": model.name,
            "versions": versions,
            "platform": PLATFORM,
            "inputs": signature.inputs.iter().map(tensor).collect::<Vec<_>>(),
            "outputs": signature.outputs.iter().map(tensor).collect::<Vec<_>>(),
        }))
        .into_response())
    };
    respond(shown())
}

/// Shows a tensor with its rows as -1: any number of them.
fn tensor(facts: &TensorFacts) -> Value {
    let mut shape = vec![-1];
    shape.extend(facts.inner.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)));
    json!({"name": facts.name, "datatype": Datatype::of(facts.element), "shape": shape})
}

pub(super) async fn config(State(room): State<Room>, named: Named) -> Response {
    let shown = || {
        let model = room.model(&Meant::read(named)?)?;
        let signature = model.inference.signature();
        let rows_max = room.protocol.options.rows_max;
        Ok(Json(json!({
            "name": model.name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "version_policy": {"specific": {"versions": [model.version]}},
            "max_batch_size": rows_max,
            "input": signature.inputs.iter().map(port).collect::<Vec<_>>(),
            "output": signature.outputs.iter().map(port).collect::<Vec<_>>(),
            "model_transaction_policy": {"decoupled": false},
        }))
        .into_response())
    };
    respond(shown())
}

/// Shows a tensor without its rows, as the configuration of a batching model has it.
fn port(facts: &TensorFacts) -> Value {
    let data_type = match facts.element {
        Element::Float => "TYPE_FP32",
        Element::Double => "TYPE_FP64",
        Element::Integer => "TYPE_INT64",
    };
    if facts.inner.is_empty() {
        return json!({"name": facts.name, "data_type": data_type, "dims": [1], "reshape": {"shape": []}});
    }
    json!({"name": facts.name, "data_type": data_type, "dims": facts.inner})
}

pub(super) async fn stats(State(room): State<Room>, named: Named) -> Response {
    let shown = || {
        let meant = Meant::read(named)?;
        if meant.name.is_empty() {
            let loaded = room.protocol.fleet.loaded();
            let every: Vec<Value> = loaded.iter().map(|loaded| statistics(&loaded.model)).collect();
            return Ok(Json(json!({"model_stats": every})).into_response());
        }
        let model = room.model(&meant)?;
        Ok(Json(json!({"model_stats": [statistics(&model)]})).into_response())
    };
    respond(shown())
}

fn statistics(model: &Model) -> Value {
    let sums = model.inference.tally().sums();
    let of = |count: u64, time: std::time::Duration| json!({"count": count, "ns": nanos(time)});
    let times = sums.times;
    json!({
        "name": model.name,
        "version": model.version,
        "last_inference": sums.last_ms,
        "inference_count": sums.rows,
        "execution_count": sums.runs,
        "inference_stats": {
            "success": of(sums.answered, times.total),
            "fail": of(sums.failed, sums.failed_time),
            "queue": of(sums.answered, times.queue),
            "compute_input": of(sums.answered, times.decode),
            "compute_infer": of(sums.answered, times.run),
            "compute_output": of(sums.answered, times.encode),
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    })
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

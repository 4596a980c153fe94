//! The shapes of the inference protocol.

use serde_json::{Value, json};

use crate::edge::http::doors::Door;

/// Tells whether a door speaks the protocol, whose refusals have a form of their own.
pub(super) fn is_of_protocol(door: &Door) -> bool {
    door.path.starts_with("/v2")
}

/// Returns the named schemas of the protocol.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let parameters = json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}});
    let shape = json!({"type": "array", "maxItems": 8, "items": {"type": "integer", "minimum": 0}});
    let number = json!({"type": ["number", "boolean", "null", "array"]});
    let tensor = |data: Value| {
        json!({
            "type": "object",
            "required": ["name", "shape", "datatype"],
            "properties": {
                "name": {"type": "string"},
                "shape": shape,
                "datatype": {"type": "string", "examples": ["FP32"]},
                "parameters": parameters,
                "data": data,
            },
        })
    };
    let input = tensor(json!({"type": "array", "items": number, "description": "Flat, or nested as the shape."}));
    let output = tensor(json!({"type": "array", "items": {"type": ["number", "string", "null"]}}));
    let request = json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": 256},
            "parameters": parameters,
            "inputs": {"type": "array", "items": input},
            "outputs": {"type": "array", "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": parameters},
            }},
        },
    });
    let response = json!({
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": output},
        },
    });
    let error = json!({
        "type": "object",
        "required": ["error", "code"],
        "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
    });
    vec![("InferenceRequest", request), ("InferenceResponse", response), ("InferenceError", error)]
}

/// Returns what a door of the protocol takes.
pub(super) fn body(door: &Door) -> Option<Value> {
    if door.path.ends_with("/infer") {
        return Some(json!({
            "application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        }));
    }
    (door.method == "POST").then(|| json!({"application/json": {"schema": {"type": "object"}}}))
}

/// Returns what a door of the protocol answers.
pub(super) fn responses(door: &Door) -> Value {
    let mut content = json!({"application/json": {"schema": {"type": "object"}}});
    if door.path.ends_with("/infer") {
        content = json!({
            "application/json": {"schema": {"$ref": "#/components/schemas/InferenceResponse"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        });
    } else if door.path == "/v2/repository/index" {
        content = json!({"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}});
    }
    json!({
        "200": {"description": door.summary, "content": content},
        "default": {
            "description": "A refusal in the protocol's form",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceError"}}},
        },
    })
}

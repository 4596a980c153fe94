//! The description of this API in OpenAPI 3.1, made from the doors and the fields themselves, and a page
//! that shows it without asking any other host.

mod breaker;
mod inference;
mod schemas;

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::doors::{self, DOORS, Door};
use super::service::Service;

static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| describe(DOORS.iter()).to_string().into_bytes());
static WITH_PROTOCOL: LazyLock<Vec<u8>> = LazyLock::new(|| describe(doors::all()).to_string().into_bytes());

pub(super) async fn document(State(service): State<Arc<Service>>) -> Response {
    let document = if service.protocol.is_some() { &WITH_PROTOCOL } else { &DOCUMENT };
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], document.as_slice()).into_response()
}

pub(super) async fn page() -> Response {
    let policy = HeaderValue::from_static(
        "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("page.html"))).into_response()
}

/// Builds the whole description.
fn describe(doors: impl Iterator<Item = &'static Door>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for door in doors {
        let item = paths.entry(door.path).or_insert_with(|| json!({}));
        item[door.method.to_lowercase()] = operation(door);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "fraudd",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Scores payment transactions and explains every decision. Errors are RFC 9457 \
                problems with a stable code; every wrong field of a body is named by its JSON pointer.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    })
}

fn operation(door: &Door) -> Value {
    let mut operation = json!({
        "operationId": operation_id(door),
        "summary": door.summary,
        "parameters": parameters(door),
        "responses": responses(door),
    });
    if let Some(content) = body(door) {
        let may_be_empty = door.path.starts_with("/v2/repository");
        operation["requestBody"] = json!({"required": !may_be_empty, "content": content});
    }
    if let Some(scope) = door.scope {
        operation["security"] = json!([{"bearer": [scope.name()]}, {"key": [scope.name()]}]);
        operation["description"] = format!("Needs the scope `{}` where keys are configured.", scope.name()).into();
    }
    operation
}

/// Names an operation in lower-case words: method and path.
fn operation_id(door: &Door) -> String {
    let words = door.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty() && *word != "v1");
    let id = words.fold(door.method.to_lowercase(), |id, word| format!("{id}_{word}"));
    if door.path.ends_with('/') { format!("{id}_slash") } else { id }
}

fn parameters(door: &Door) -> Value {
    let query = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "query", "required": false, "schema": schema, "description": description});
    let header = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "header", "required": false, "schema": schema, "description": description});
    let mut all: Vec<Value> = door
        .path
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    match (door.method, door.path) {
        ("POST", "/v1/decisions" | "/v1/decisions:batch" | "/v1/decisions:dry-run") => all.extend([
            query("explain", json!({"type": "boolean"}), "Contributions whatever the outcome."),
            query("mapping", json!({"type": "string"}), "The foreign format of the body."),
            header("X-Fraudd-Mapping", json!({"type": "string"}), "The same, as a header."),
            header(
                "X-Deadline-Ms",
                json!({"type": "integer", "minimum": 1, "maximum": 60_000, "default": 100}),
                "When the answer must be ready; past it the rules answer.",
            ),
            header("traceparent", json!({"type": "string"}), "W3C trace context, continued and returned."),
        ]),
        ("GET", "/v1/decisions") => all.extend([
            query("after", json!({"type": "integer", "minimum": 0}), "The cursor of the page before: its `next`."),
            query("outcome", json!({"$ref": "#/components/schemas/Outcome"}), "Only decisions of this outcome."),
            query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}), "Page length."),
        ]),
        ("GET", "/v1/audit") => all.extend([
            query("after", json!({"type": "integer", "minimum": 0}), "Records after this number."),
            query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}), "Page length."),
        ]),
        ("GET", "/v1/decisions/{transaction_id}") => {
            all.push(query("features", json!({"type": "boolean"}), "With the feature vector by name."));
        }
        ("DELETE", _) => all.push(json!({
            "name": "value", "in": "query", "required": true, "schema": {"type": "string"},
            "description": "The value whose entries are removed.",
        })),
        _ => {}
    }
    Value::Array(all)
}

fn body(door: &Door) -> Option<Value> {
    let reference =
        |name: &str| json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}});
    if inference::is_of_protocol(door) {
        return inference::body(door);
    }
    Some(match (door.method, door.path) {
        ("POST", "/v1/decisions" | "/v1/decisions:dry-run") => reference("Transaction"),
        ("POST", "/v1/decisions:batch") => reference("Batch"),
        ("POST", "/v1/labels") => reference("Labels"),
        ("POST", "/v1/healing/{order}") => reference("Because"),
        ("POST", "/v1/hooks/alertmanager") => reference("Alertmanager"),
        ("POST", "/v1/lists/{name}/entries") => reference("ListEntry"),
        ("POST", "/v1/breaker/clear") => reference("OverrideEnd"),
        ("POST", path) if path.starts_with("/v1/breaker/") => reference("Override"),
        ("POST", path) if path.starts_with("/v1/models/") => reference("ModelOrder"),
        ("POST", "/v1/rules:validate") => json!({"application/toml": {"schema": {"type": "string"}}}),
        _ => return None,
    })
}

fn responses(door: &Door) -> Value {
    if inference::is_of_protocol(door) {
        return inference::responses(door);
    }
    let (status, schema) = match (door.method, door.path) {
        ("POST", "/v1/decisions" | "/v1/decisions:dry-run") | ("GET", "/v1/decisions/{transaction_id}") => {
            ("200", json!({"$ref": "#/components/schemas/Decision"}))
        }
        ("POST", "/v1/decisions:batch") => ("200", json!({"$ref": "#/components/schemas/BatchResult"})),
        ("GET", "/v1/decisions") => ("200", json!({"$ref": "#/components/schemas/Page"})),
        (_, path) if path.starts_with("/v1/breaker") => ("200", json!({"$ref": "#/components/schemas/Breaker"})),
        ("GET", "/v1/models") => ("200", json!({"$ref": "#/components/schemas/Models"})),
        ("GET", "/v1/health") => ("200", json!({"$ref": "#/components/schemas/Health"})),
        ("GET", "/v1/audit") => ("200", json!({"$ref": "#/components/schemas/AuditPage"})),
        ("POST", "/v1/lists/{name}/entries") => ("201", json!({"$ref": "#/components/schemas/ListEntry"})),
        ("DELETE", _) => {
            return json!({"204": {"description": "Removed"}, "default": problem()});
        }
        ("GET", "/metrics") => {
            return json!({"200": {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}});
        }
        ("GET", "/docs") => {
            return json!({"200": {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}}});
        }
        _ => ("200", json!({"type": "object"})),
    };
    json!({
        status: {"description": door.summary, "content": {"application/json": {"schema": schema}}},
        "default": problem(),
    })
}

fn problem() -> Value {
    json!({
        "description": "A problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_open_api_and_its_references_lead_somewhere() {
        let document = describe(doors::all());
        let read: utoipa::openapi::OpenApi = serde_json::from_value(document.clone()).expect("OpenAPI 3.1");
        assert_eq!(read.paths.paths.len(), 33 + crate::edge::http::inference::doors::DOORS.len());
        assert!(describe(DOORS.iter())["paths"].get("/v2").is_none());
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        let mut ids: Vec<_> = doors::all().map(operation_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), doors::all().count());
    }

    #[test]
    fn the_page_asks_no_other_host() {
        let page = include_str!("page.html");
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("//cdn"));
    }
}

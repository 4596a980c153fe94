//! The shapes of what comes in and goes out. A transaction's come from the list of fields itself.

use serde_json::{Map, Value, json};

use crate::domain::field::TextRule;
use crate::domain::{DecisionSource, DegradedReason, LabelKind, Outcome, TextField};
use crate::edge::problem::Code;
use crate::healing::Health;
use crate::healing::Stage;
use crate::runtime::audit::Kind;
use crate::telemetry::stream_lane::LANE_STATES;

/// Returns every named schema.
pub(super) fn all() -> Value {
    let mut all = json!({
        "Transaction": transaction(),
        "Batch": {
            "type": "object",
            "required": ["transactions"],
            "additionalProperties": false,
            "properties": {"transactions": {"type": "array", "maxItems": 1_000, "items": reference("Transaction")}},
        },
        "BatchResult": {
            "type": "object",
            "properties": {"results": {"type": "array", "items": {"type": "object", "properties": {
                "decision": reference("Decision"),
                "problem": reference("Problem"),
            }}}},
        },
        "Outcome": {"type": "string", "enum": Outcome::ALL.map(Outcome::name)},
        "Decision": decision(),
        "Page": {
            "type": "object",
            "properties": {
                "decisions": {"type": "array", "items": reference("Decision")},
                "next": {"type": "integer"},
            },
        },
        "Label": {
            "type": "object",
            "additionalProperties": false,
            "required": ["transaction_id", "label", "occurred_at", "source"],
            "properties": {
                "transaction_id": {"type": "string", "minLength": 1, "maxLength": 128},
                "label": {"type": "string", "enum": LabelKind::ALL.map(LabelKind::name)},
                "occurred_at": {"type": "string", "format": "date-time"},
                "source": {"type": "string", "minLength": 1, "maxLength": 64},
            },
        },
        "Labels": {"oneOf": [
            reference("Label"),
            {
                "type": "object",
                "required": ["labels"],
                "properties": {"labels": {"type": "array", "maxItems": 1_000, "items": reference("Label")}},
            },
        ]},
        "ListEntry": {
            "type": "object",
            "required": ["field", "value", "reason"],
            "properties": {
                "field": {"type": "string", "examples": ["card.token"]},
                "value": {"type": "string", "minLength": 1, "maxLength": 128},
                "reason": {"type": "string", "minLength": 1, "maxLength": 200},
                "expires_at": {"type": "string", "format": "date-time"},
                "added_by": {"type": "string", "readOnly": true},
            },
        },
        "ModelOrder": model_order(),
        "Models": models(),
        "Health": health(),
        "Stream": stream(),
        "Problem": problem(),
    });
    for (name, schema) in super::inference::schemas().into_iter().chain(super::breaker::schemas()) {
        all[name] = schema;
    }
    if let (Value::Object(all), Value::Object(healing)) = (&mut all, healing()) {
        all.extend(healing);
    }
    all
}

/// The words of healing's doors.
fn healing() -> Value {
    json!({
        "Because": {
            "type": "object",
            "additionalProperties": false,
            "required": ["reason"],
            "properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 200}},
        },
        "Alertmanager": {
            "type": "object",
            "description": "The webhook of Alertmanager, version 4.",
            "required": ["version", "alerts"],
            "properties": {
                "version": {"type": "string", "enum": ["4"]},
                "alerts": {"type": "array", "maxItems": 1_000, "items": {
                    "type": "object",
                    "required": ["status", "fingerprint"],
                    "properties": {
                        "status": {"type": "string", "enum": ["firing", "resolved"]},
                        "fingerprint": {"type": "string"},
                        "labels": {"type": "object"},
                        "annotations": {"type": "object"},
                        "startsAt": {"type": "string", "format": "date-time"},
                    },
                }},
            },
        },
        "AuditPage": {
            "type": "object",
            "properties": {"records": {"type": "array", "items": {"type": "object", "properties": {
                "seq": {"type": "integer", "minimum": 1},
                "chain": {"type": "string"},
                "at": {"type": "string", "format": "date-time"},
                "kind": {"type": "string", "enum": Kind::ALL.map(Kind::name)},
                "previous": {"type": "string"},
                "body": {"type": "object"},
                "hash": {"type": "string", "description": "sha256 of the record's text before this key."},
            }}}},
        },
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn transaction() -> Value {
    let mut properties = json!({
        "transaction_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "occurred_at": {"type": "string", "format": "date-time"},
        "amount": {"type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_i64,
            "description": "Minor units of the currency."},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "location": {
            "type": "object",
            "additionalProperties": false,
            "required": ["lat", "lon"],
            "properties": {
                "lat": {"type": "number", "minimum": -90, "maximum": 90},
                "lon": {"type": "number", "minimum": -180, "maximum": 180},
            },
        },
        "attributes": {
            "type": "object",
            "maxProperties": 32,
            "propertyNames": {"type": "string", "pattern": "^[a-z0-9_]{1,64}$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
    });
    for (_, path, rule) in TextField::ALL {
        match path.split_once('.') {
            None => properties[path] = text(rule),
            Some((group, name)) => {
                if properties.get(group).is_none() {
                    properties[group] = json!({"type": "object", "additionalProperties": false, "properties": {}});
                }
                properties[group]["properties"][name] = text(rule);
            }
        }
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["transaction_id", "occurred_at", "amount", "currency"],
        "properties": properties,
    })
}

fn text(rule: TextRule) -> Value {
    match rule {
        TextRule::Id => json!({"type": "string", "minLength": 1, "maxLength": 128}),
        TextRule::Card => json!({"type": "string", "minLength": 1, "maxLength": 128,
            "description": "Never a full card number: it is refused."}),
        TextRule::Bin => json!({"type": "string", "pattern": "^[0-9]{6,8}$"}),
        TextRule::Digits4 => json!({"type": "string", "pattern": "^[0-9]{4}$"}),
        TextRule::Country => json!({"type": "string", "pattern": "^[A-Z]{2}$"}),
        TextRule::Ip => json!({"type": "string", "description": "An IPv4 or IPv6 address."}),
        TextRule::Word => json!({"type": "string", "pattern": "^[a-z0-9_.-]{1,32}$"}),
    }
}

fn decision() -> Value {
    let text = || json!({"type": "string"});
    let whole = || json!({"type": "integer"});
    let probability = || json!({"type": "number", "minimum": 0, "maximum": 1});
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let list = |items: Value| json!({"type": "array", "items": items});
    let mut properties = Map::new();
    let mut add = |name: &str, schema: Value| properties.insert(name.to_owned(), schema);
    add("decision_id", text());
    add("transaction_id", text());
    add("outcome", reference("Outcome"));
    add("score", json!({"type": "number", "minimum": 0, "maximum": 1, "description": "Absent on a model error."}));
    add(
        "probability",
        json!({"type": "number", "minimum": 0, "maximum": 1, "description": "Of fraud, by the score; only while a calibration is in force."}),
    );
    add("risk_score", json!({"type": "integer", "minimum": 0, "maximum": 1_000}));
    add("thresholds", object(json!({"review": probability(), "challenge": probability(), "decline": probability()})));
    add(
        "reasons",
        list(object(json!({
            "code": text(), "description": text(), "contribution": {"type": "number"},
            "source": {"type": "string", "enum": ["model", "rule", "list", "standin", "policy"]},
            "decisive": {"type": "boolean"},
        }))),
    );
    add("explanation_omitted", json!({"type": "string", "enum": ["deadline", "budget", "model_error"]}));
    add(
        "rules",
        list(object(json!({
            "id": text(), "version": whole(), "outcome": {"type": "string", "enum": ["hit", "no_hit", "error"]},
            "absent": {"type": "boolean", "description": "The rule read something that is absent."},
            "weight": whole(), "asks_for": reference("Outcome"),
        }))),
    );
    add(
        "model",
        json!({"type": ["object", "null"], "properties": {
            "name": text(), "version": text(), "sha256": text(), "role": text(),
        }}),
    );
    for name in ["rules_version", "policy_version", "schema_hash", "rates_version"] {
        add(name, text());
    }
    add(
        "second_model",
        json!({"type": "object", "description": "Asked, too, while the most severe of both counts.",
        "properties": {"name": text(), "version": text(), "sha256": text(), "thresholds": {"type": "object"}}}),
    );
    add(
        "calibration",
        json!({"type": "object", "description": "The map from score to probability, while there is one."}),
    );
    add("decision_source", json!({"type": "string", "enum": DecisionSource::ALL.map(DecisionSource::name)}));
    add("degraded", json!({"type": "boolean"}));
    add("degraded_reasons", list(json!({"type": "string", "enum": DegradedReason::ALL.map(DegradedReason::name)})));
    add("evaluation_status", json!({"type": "string", "enum": ["new", "duplicate", "dry_run"]}));
    add("latency_us", object(json!({"total": whole(), "features": whole(), "rules": whole(), "model": whole()})));
    add("trace_id", json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}));
    add("evaluated_at", json!({"type": "string", "format": "date-time"}));
    add("features", json!({"type": "object", "description": "By name, when asked for."}));
    json!({"type": "object", "properties": properties})
}

fn model_order() -> Value {
    let percent = "For a canary: its share of entities.";
    let version = "For a rollback: the proven version; the standby's otherwise.";
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["reason"],
        "properties": {
            "reason": {"type": "string", "minLength": 1, "maxLength": 500},
            "percent": {"type": "integer", "minimum": 1, "maximum": 99, "description": percent},
            "version": {"type": "string", "description": version},
        },
    })
}

fn models() -> Value {
    let instant = || json!({"type": "string", "format": "date-time"});
    let text = || json!({"type": "string"});
    let model = json!({"type": "object", "properties": {
        "name": text(), "version": text(), "sha256": text(), "manifest_sha256": text(), "schema_hash": text(),
        "role": {"type": "string", "enum": ["active", "standby", "shadow", "canary", "candidate"]},
        "stage": {"type": "string", "enum": Stage::ALL.map(Stage::name)},
        "percent": {"type": "integer", "minimum": 0, "maximum": 99},
        "since": instant(), "cause": text(),
        "trust": {"type": "string", "enum": ["signed", "unsigned"]},
        "validated_at": {"type": ["string", "null"], "format": "date-time"},
        "refusal": {"type": ["string", "null"], "description": "Why the gates refused it."},
        "gates": {"type": "array", "items": {"type": "object"}, "description": "What the gates said when this process asked them."},
        "loaded": {"type": "boolean"},
        "warm": {"type": ["boolean", "null"], "description": "Whether every window of its features is full."},
    }});
    json!({"type": "object", "properties": {
        "models": {"type": "array", "items": model},
        "fleet": {"type": "object", "description": "Who answers, who stands by, the running trial with its figures, the last change."},
    }})
}

fn health() -> Value {
    let reasons = ["model_unavailable", "restoring", "not_recorded", "stream_not_read"];
    let phases = ["starting", "unready", "ready", "leaving", "draining"];
    json!({"type": "object", "properties": {
        "state": {"type": "string", "enum": Health::ALL.map(Health::name)},
        "healing": {"type": "object", "description": "State, lock, breaker, alarms with evidence, incidents, what \
            protects, what is held, models, last actions, the record. Absent where healing is off."},
        "degraded_reasons": {"type": "array", "items": {"type": "string", "enum": reasons}},
        "phase": {"type": "string", "enum": phases},
        "phase_reason": {"type": "string"},
        "release": {"type": "object", "description": "The model, thresholds, rules, policy and schema in force."},
        "models": {"type": "array", "items": {"type": "object"}},
        "vitals": {"type": "object", "additionalProperties": {"type": "integer"}},
        "stream": reference("Stream"),
        "now": {"type": "string", "format": "date-time"},
    }})
}

fn stream() -> Value {
    let partitions = json!({"type": "array", "items": {"type": "integer"}});
    let seconds = json!({"type": "number", "minimum": 0});
    let count = json!({"type": "integer", "minimum": 0});
    let failed = json!({"type": "object", "properties": {"partition": count, "reason": {"type": "string"}}});
    let lane = json!({"type": "object", "properties": {
        "lane": {"type": "string", "description": "A number, or `rekey`."},
        "state": {"type": "string", "enum": LANE_STATES},
        "reason": {"type": "string"},
        "is_ready": {"type": "boolean", "description": "It does its work, and no partition of it is given up."},
        "live": partitions,
        "restoring": partitions,
        "failed": {"type": "array", "items": failed},
        "lag_records": count,
        "quiet_seconds": seconds,
    }});
    json!({"type": "object", "description": "Absent without Kafka, and before it is read.", "properties": {
        "group": {"type": "string"},
        "instance": {"type": "string"},
        "lanes": {"type": "array", "items": lane},
        "watermark_lag_seconds": {"type": "number", "minimum": 0, "description": "Of the partition most behind."},
        "outbox": {"type": "object", "description": "Decisions that the broker does not have.", "properties": {
            "waiting": count,
            "age_seconds": seconds,
        }},
    }})
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": Code::ALL.iter().map(|row| row.name).collect::<Vec<_>>()},
            "detail": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "object", "properties": {
                "pointer": {"type": "string", "description": "RFC 6901, into the body."},
                "code": {"type": "string"},
                "detail": {"type": "string"},
            }}},
            "errors_omitted": {"type": "integer"},
        },
    })
}

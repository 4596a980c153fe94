//! The shapes of the breaker's doors.

use serde_json::{Value, json};

use crate::edge::wire::force::REASON_LEN_MAX;
use crate::healing::breaker::{Cause, Place};

/// Returns the named schemas of the breaker.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let reason = json!({"type": "string", "minLength": 1, "maxLength": REASON_LEN_MAX});
    let instant = json!({"type": "string", "format": "date-time"});
    let count = json!({"type": "integer", "minimum": 0});
    let counts = json!({
        "type": "object",
        "properties": {"good": count, "slow": count, "hard": count, "neutral": count},
    });
    let status = json!({
        "type": "object",
        "properties": {
            "model": {"type": "object", "properties": {
                "name": {"type": "string"}, "version": {"type": "string"}, "sha256": {"type": "string"},
            }},
            "place": {"type": "string", "enum": Place::ALL.map(Place::name)},
            "percent": {"type": "integer", "minimum": 0, "maximum": 100},
            "since": instant,
            "cause": {"type": ["string", "null"], "enum": causes()},
            "tried_at": {"type": ["string", "null"], "format": "date-time"},
            "attempt": count,
            "force": {"type": ["object", "null"], "properties": {
                "force": {"type": "string", "enum": ["open", "closed", "observe_only"]},
                "until": instant,
                "reason": reason,
                "by": {"type": "string"},
            }},
            "last_second": counts,
            "step": counts,
            "admitted": count,
            "settled": count,
            "refused": count,
            "written_off": count,
        },
    });
    vec![
        (
            "Override",
            json!({
                "type": "object",
                "required": ["reason", "expires_in"],
                "additionalProperties": false,
                "properties": {"reason": reason, "expires_in": {"type": "string", "examples": ["15m"]}},
            }),
        ),
        (
            "OverrideEnd",
            json!({
                "type": "object",
                "required": ["reason"],
                "additionalProperties": false,
                "properties": {"reason": reason},
            }),
        ),
        (
            "Breaker",
            json!({
                "type": "object",
                "properties": {"breaker": status, "findings": {"type": "array", "items": {"type": "object"}}},
            }),
        ),
    ]
}

fn causes() -> Vec<Option<&'static str>> {
    Cause::ALL.into_iter().map(|cause| Some(cause.name())).chain([None]).collect()
}

//! An allow or deny entry in: `{"field", "value", "reason", "expires_at"?}`.
//!
//! Which list it joins stands in the path; who added it is the caller's key. Both come from the door.

use serde_json::Value;

use super::reject::{Fault, Reject, Subject, pointer_to_name};
use super::strict;
use crate::domain::field::TextRule;
use crate::domain::{Field, FieldErrorCode, FieldRef, Timestamp, card_number};

/// The longest value in bytes.
pub const VALUE_LEN_MAX: usize = 128;
/// The longest reason in bytes.
pub const REASON_LEN_MAX: usize = 256;

/// An entry as the sender describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The field it is about.
    pub field: FieldRef,
    /// The dotted path of the field, as sent.
    pub path: String,
    /// The value it lists.
    pub value: String,
    /// Why.
    pub reason: String,
    /// Until when; for ever when absent.
    pub expires_at: Option<Timestamp>,
}

impl NewEntry {
    /// Reads one entry.
    ///
    /// # Errors
    /// [`Reject`] with every fault.
    pub fn read(body: &[u8]) -> Result<Self, Reject> {
        let Value::Object(members) = strict::document(body)? else {
            return Err(Reject::Shape { expected: "a JSON object: one entry" });
        };
        let mut faults = Vec::new();
        for name in members.keys().filter(|name| !["field", "value", "reason", "expires_at"].contains(&name.as_str())) {
            let code = FieldErrorCode::UnknownField.name();
            faults.push(Fault::new(&pointer_to_name("", name), code, "no field of an entry"));
        }
        let mut text = |name: &'static str, detail: &str| match members.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) | None if name == "expires_at" => None,
            Some(Value::Null) | None => {
                faults.push(Fault::new(&format!("/{name}"), FieldErrorCode::Missing.name(), detail));
                None
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                faults.push(Fault::new(&format!("/{name}"), FieldErrorCode::WrongType.name(), detail));
                None
            }
        };
        let path = text("field", "expected a text field such as card.token");
        let value = text("value", "expected the value it lists");
        let reason = text("reason", "expected why it is listed");
        let expires = text("expires_at", "expected an RFC 3339 date-time with an offset");
        let mut invalid = |name: &str, code: FieldErrorCode, detail: &str| {
            faults.push(Fault::new(&format!("/{name}"), code.name(), detail));
        };
        let field = path.as_deref().and_then(FieldRef::parse).filter(is_listable);
        if path.is_some() && field.is_none() {
            invalid("field", FieldErrorCode::InvalidValue, "expected a text field such as card.token");
        }
        let is_exempt = field.as_ref().is_some_and(is_opaque_id);
        for (name, text, len_max) in [("value", &value, VALUE_LEN_MAX), ("reason", &reason, REASON_LEN_MAX)] {
            let Some(text) = text else { continue };
            if !(1..=len_max).contains(&text.len()) {
                invalid(name, FieldErrorCode::OutOfBounds, &format!("expected 1 to {len_max} bytes"));
            } else if card_number::found_in(text) && !(name == "value" && is_exempt) {
                invalid(name, FieldErrorCode::CardNumber, "holds a full card number: list its token");
            }
        }
        let expires_at = expires.as_deref().map(Timestamp::parse);
        if expires_at == Some(None) {
            let detail = "expected an RFC 3339 date-time with an offset";
            invalid("expires_at", FieldErrorCode::InvalidValue, detail);
        }
        match (field, path, value, reason) {
            (Some(field), Some(path), Some(value), Some(reason)) if faults.is_empty() => {
                Ok(Self { field, path, value, reason, expires_at: expires_at.flatten() })
            }
            _ => Err(Reject::Fields { subject: Subject::ListEntry, faults }),
        }
    }
}

/// Tells whether a field is an opaque id, which may look like a card number.
fn is_opaque_id(field: &FieldRef) -> bool {
    matches!(field, FieldRef::Known(Field::Text(text)) if text.rule() == TextRule::Id)
}

fn is_listable(field: &FieldRef) -> bool {
    match field {
        FieldRef::Attribute(_) | FieldRef::Known(Field::Text(_)) => true,
        FieldRef::Known(
            Field::TransactionId
            | Field::OccurredAt
            | Field::Amount
            | Field::Currency
            | Field::BaseAmount
            | Field::Latitude
            | Field::Longitude,
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_or_refused_with_every_fault() {
        let body = r#"{"field":"card.token","value":"tok_1","reason":"stolen","expires_at":"2026-04-01T00:00:00Z"}"#;
        let entry = NewEntry::read(body.as_bytes()).expect("an entry");
        assert_eq!((entry.value.as_str(), entry.expires_at.is_some()), ("tok_1", true));
        let wrong = r#"{"field":"amount","value":"4111111111111111","expires_at":"soon","x":1}"#;
        let Err(Reject::Fields { faults, .. }) = NewEntry::read(wrong.as_bytes()) else { panic!("expected faults") };
        let seen: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        let expected = [
            ("/x", "unknown_field"),
            ("/reason", "missing"),
            ("/field", "invalid_value"),
            ("/value", "card_number"),
            ("/expires_at", "invalid_value"),
        ];
        assert_eq!(seen, expected);
    }
}

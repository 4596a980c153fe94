//! An allow or deny entry in: `{"field", "value", "reason", "expires_at"?}`.
//!
//! Which list it joins and who added it come from the door. What an entry must be is checked where
//! entries are at home, so that a file and this door refuse alike; here only the JSON is read.

use serde_json::{Map, Value};

use super::reject::{Fault, Reject, Subject, pointer_to_name};
use super::strict;
use crate::domain::{FieldErrorCode, card_number};
use crate::scoring::list::{EntryDraft, EntryFault, ListEntry, ListKind};

const KNOWN: [&str; 4] = ["field", "value", "reason", "expires_at"];

/// Reads one entry for `list`, added by whom the door says.
///
/// # Errors
/// [`Reject`] with every fault.
pub fn read(body: &[u8], list: ListKind, added_by: &str) -> Result<ListEntry, Reject> {
    let Value::Object(members) = strict::document(body)? else {
        return Err(Reject::Shape { expected: "a JSON object: one entry" });
    };
    let mut faults = Vec::new();
    for name in members.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
        let code = FieldErrorCode::UnknownField.name();
        faults.push(Fault::new(&pointer_to_name("", name), code, "no field of an entry"));
    }
    let mut text = |name: &str| text(&members, name, &mut faults);
    let draft = EntryDraft {
        list: list.name().into(),
        field: text("field").unwrap_or_default(),
        value: text("value").unwrap_or_default(),
        reason: text("reason").unwrap_or_default(),
        expires_at: text("expires_at"),
        added_by: Some(added_by.into()),
    };
    let checked = ListEntry::check(draft);
    let entry_faults = checked.as_ref().err().into_iter().flatten();
    for fault in entry_faults.filter_map(|fault| told(fault, &members, &faults)).collect::<Vec<_>>() {
        faults.push(fault);
    }
    match checked {
        Ok(entry) if faults.is_empty() => Ok(entry),
        Ok(_) | Err(_) => Err(Reject::Fields { subject: Subject::ListEntry, faults }),
    }
}

fn text(members: &Map<String, Value>, name: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let code = match members.get(name) {
        Some(Value::String(text)) => return Some(text.clone()),
        Some(Value::Null) | None if name == "expires_at" => return None,
        Some(Value::Null) | None => FieldErrorCode::Missing,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => FieldErrorCode::WrongType,
    };
    faults.push(Fault::new(&format!("/{name}"), code.name(), "expected a string"));
    None
}

/// Tells a fault of the entry, unless its field was not even a string.
fn told(fault: &EntryFault, members: &Map<String, Value>, known: &[Fault]) -> Option<Fault> {
    let pointer = format!("/{}", fault.key);
    if known.iter().any(|known| known.pointer == pointer) {
        return None;
    }
    let holds_card = members.get(fault.key).and_then(Value::as_str).is_some_and(card_number::found_in);
    let code = if holds_card { FieldErrorCode::CardNumber } else { FieldErrorCode::InvalidValue };
    Some(Fault::new(&pointer, code.name(), &format!("{}; {}", fault.message, fault.cure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<ListEntry, Reject> {
        super::read(body.as_bytes(), ListKind::Deny, "analyst")
    }

    #[test]
    fn an_entry_is_read() {
        let body = r#"{"field":"card.token","value":"tok_1","reason":"stolen","expires_at":"2026-04-01T00:00:00Z"}"#;
        let entry = read(body).expect("an entry");
        assert_eq!((entry.list, entry.value.as_str(), entry.expires_at.is_some()), (ListKind::Deny, "tok_1", true));
        assert_eq!(entry.added_by.as_deref(), Some("analyst"));
    }

    #[test]
    fn every_fault_is_told_and_no_card_number() {
        let wrong = r#"{"field":"card.token","value":"4111111111111111","expires_at":"soon","x":1}"#;
        let Err(Reject::Fields { faults, .. }) = read(wrong) else { panic!("expected faults") };
        let seen: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        let expected = [
            ("/x", "unknown_field"),
            ("/reason", "missing"),
            ("/value", "card_number"),
            ("/expires_at", "invalid_value"),
        ];
        assert_eq!(seen, expected);
        assert!(!format!("{faults:?}").contains("4111111111111111"));
        assert!(read(r#"{"field":"amount","value":"1","reason":"x"}"#).is_err());
        assert!(matches!(read("[]"), Err(Reject::Shape { .. })));
    }
}

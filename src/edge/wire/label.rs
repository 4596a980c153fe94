//! Labels in: one object, or `{"labels": [...]}` of up to 1,000, read whole or refused whole.

use serde_json::{Map, Value};

use super::reject::{Fault, Reject, Subject, pointer_to_item, pointer_to_name};
use super::strict;
use crate::domain::draft::ID_LEN_MAX;
use crate::domain::{FieldErrorCode, Label, LabelKind, Timestamp, card_number};

/// The most labels of one body.
pub const LABELS_MAX: usize = 1_000;
/// The longest source in bytes.
pub const SOURCE_LEN_MAX: usize = 64;

/// Reads one label or a list of them; the flag tells whether it was a list.
///
/// # Errors
/// [`Reject`] with every fault of every label.
pub fn read(body: &[u8]) -> Result<(Vec<Label>, bool), Reject> {
    let document = strict::document(body)?;
    let mut faults = Vec::new();
    let mut labels = Vec::new();
    let is_list = document.get("labels").is_some();
    match document {
        Value::Object(mut envelope) if is_list => {
            let Some(Value::Array(items)) = envelope.remove("labels") else {
                return Err(Reject::Shape { expected: "an object with a list named \"labels\"" });
            };
            if items.len() > LABELS_MAX {
                return Err(Reject::TooMany { max: LABELS_MAX });
            }
            for name in envelope.keys() {
                faults.push(unknown("", name));
            }
            for (index, item) in items.iter().enumerate() {
                let at = pointer_to_item("/labels", index);
                labels.extend(label(item, &at, &mut faults));
            }
        }
        document => labels.extend(label(&document, "", &mut faults)),
    }
    if faults.is_empty() { Ok((labels, is_list)) } else { Err(Reject::Fields { subject: Subject::Label, faults }) }
}

const KNOWN: [&str; 4] = ["transaction_id", "label", "occurred_at", "source"];

fn label(item: &Value, at: &str, faults: &mut Vec<Fault>) -> Option<Label> {
    let Value::Object(members) = item else {
        faults.push(Fault::new(at, FieldErrorCode::WrongType.name(), "expected an object: one label"));
        return None;
    };
    faults.extend(members.keys().filter(|name| !KNOWN.contains(&name.as_str())).map(|name| unknown(at, name)));
    let mut read = |name: &str, detail: &'static str| text(members, at, name, detail, faults);
    let transaction_id = read("transaction_id", "expected the transaction's id: 1 to 128 visible characters");
    let kind = read("label", "expected fraud, legitimate, chargeback or false_positive");
    let occurred_at = read("occurred_at", "expected an RFC 3339 date-time with an offset: when it became known");
    let source = read("source", "expected who says so, such as chargebacks: 1 to 64 bytes");
    let mut checked = |name: &str, holds: bool, detail: &str| {
        if !holds {
            let code = FieldErrorCode::InvalidValue;
            faults.push(Fault::new(&format!("{at}/{name}"), code.name(), detail));
        }
    };
    let kind = kind.map(|name| {
        let kind = LabelKind::ALL.into_iter().find(|kind| kind.name() == name);
        checked("label", kind.is_some(), "expected fraud, legitimate, chargeback or false_positive");
        kind
    });
    let occurred_at = occurred_at.map(|text| {
        let instant = Timestamp::parse(text);
        checked("occurred_at", instant.is_some(), "expected an RFC 3339 date-time with an offset");
        instant
    });
    if let Some(id) = transaction_id {
        checked("transaction_id", is_id(id), "expected 1 to 128 visible characters");
    }
    if let Some(source) = source {
        let plain = (1..=SOURCE_LEN_MAX).contains(&source.len()) && !card_number::found_in(source);
        checked("source", plain, "expected 1 to 64 bytes without a card number");
    }
    Some(Label {
        transaction_id: transaction_id?.into(),
        kind: kind??,
        occurred_at: occurred_at??,
        source: source?.into(),
    })
}

fn is_id(text: &str) -> bool {
    (1..=ID_LEN_MAX).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn text<'a>(
    members: &'a Map<String, Value>,
    at: &str,
    name: &str,
    detail: &'static str,
    faults: &mut Vec<Fault>,
) -> Option<&'a str> {
    let code = match members.get(name) {
        Some(Value::String(text)) => return Some(text),
        Some(Value::Null) | None => FieldErrorCode::Missing,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => FieldErrorCode::WrongType,
    };
    faults.push(Fault::new(&format!("{at}/{name}"), code.name(), detail));
    None
}

fn unknown(at: &str, name: &str) -> Fault {
    Fault::new(&pointer_to_name(at, name), FieldErrorCode::UnknownField.name(), "no field of a label")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        r#"{"transaction_id":"t-1","label":"chargeback","occurred_at":"2026-03-09T00:00:00Z","source":"chargebacks"}"#;

    #[test]
    fn one_or_many_are_read() {
        let (labels, is_list) = read(ONE.as_bytes()).expect("a label");
        assert_eq!((labels.len(), labels[0].kind, is_list), (1, LabelKind::Chargeback, false));
        let many = format!(r#"{{"labels":[{ONE},{ONE}]}}"#);
        let (labels, is_list) = read(many.as_bytes()).expect("labels");
        assert_eq!((labels.len(), is_list), (2, true));
    }

    #[test]
    fn every_fault_of_every_label_is_told() {
        let body = format!(r#"{{"labels":[{ONE},{{"transaction_id":"","label":"maybe","source":7,"x":1}}, 5],"y":1}}"#);
        let Err(Reject::Fields { faults, .. }) = read(body.as_bytes()) else { panic!("expected faults") };
        let seen: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        let expected = [
            ("/y", "unknown_field"),
            ("/labels/1/x", "unknown_field"),
            ("/labels/1/occurred_at", "missing"),
            ("/labels/1/source", "wrong_type"),
            ("/labels/1/label", "invalid_value"),
            ("/labels/1/transaction_id", "invalid_value"),
            ("/labels/2", "wrong_type"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn too_many_are_refused() {
        let body = format!(r#"{{"labels":[{}]}}"#, vec![ONE; LABELS_MAX + 1].join(","));
        assert_eq!(read(body.as_bytes()), Err(Reject::TooMany { max: LABELS_MAX }));
    }
}

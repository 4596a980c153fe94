//! An override of the breaker in: `{"reason", "expires_in"}`. What is forced comes from the door.

use serde_json::{Map, Value};

use super::reject::{Fault, Reject, Subject, pointer_to_name};
use super::strict;
use crate::domain::{FieldErrorCode, Span};

/// The longest reason, in characters.
pub const REASON_LEN_MAX: usize = 256;
/// The longest an override may last.
pub const LASTS_MAX: Span = Span::from_days(7);

/// Why, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Why.
    pub reason: String,
    /// For how long; ending an override needs none.
    pub expires_in: Option<Span>,
}

/// Reads a wish; one that lasts must say for how long, one that ends an override must not.
///
/// # Errors
/// [`Reject`] with every fault.
pub fn read(body: &[u8], lasts: bool) -> Result<Wish, Reject> {
    let Value::Object(members) = strict::document(body)? else {
        let expected = if lasts { "a JSON object: reason and expires_in" } else { "a JSON object: reason" };
        return Err(Reject::Shape { expected });
    };
    let mut faults = Vec::new();
    let known = |name: &str| name == "reason" || (lasts && name == "expires_in");
    for name in members.keys().filter(|name| !known(name)) {
        let code = FieldErrorCode::UnknownField.name();
        faults.push(Fault::new(&pointer_to_name("", name), code, "no field of an override"));
    }
    let reason = reason(&members).map_err(|fault| faults.push(fault)).unwrap_or_default();
    let expires_in = if lasts { expires_in(&members).map_err(|fault| faults.push(fault)).ok() } else { None };
    if faults.is_empty() {
        return Ok(Wish { reason, expires_in });
    }
    Err(Reject::Fields { subject: Subject::Override, faults })
}

fn text<'m>(members: &'m Map<String, Value>, name: &str, expected: &str) -> Result<&'m str, Fault> {
    let code = match members.get(name) {
        Some(Value::String(text)) => return Ok(text),
        Some(Value::Null) | None => FieldErrorCode::Missing,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => FieldErrorCode::WrongType,
    };
    Err(Fault::new(&format!("/{name}"), code.name(), expected))
}

fn reason(members: &Map<String, Value>) -> Result<String, Fault> {
    const EXPECTED: &str = "expected a reason of 1 to 256 characters: it stands in the record";
    let reason = text(members, "reason", EXPECTED)?.trim();
    let is_right = (1..=REASON_LEN_MAX).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    let wrong = || Fault::new("/reason", FieldErrorCode::InvalidValue.name(), EXPECTED);
    is_right.then(|| reason.to_owned()).ok_or_else(wrong)
}

fn expires_in(members: &Map<String, Value>) -> Result<Span, Fault> {
    const EXPECTED: &str = "expected a duration above 0 and up to 7d, such as \"15m\"";
    let span = Span::parse(text(members, "expires_in", EXPECTED)?);
    let is_right = |span: &Span| *span > Span::ZERO && *span <= LASTS_MAX;
    span.filter(is_right).ok_or_else(|| Fault::new("/expires_in", FieldErrorCode::InvalidValue.name(), EXPECTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, lasts: bool, expected: &[(&str, &str)]) {
        let seen: Vec<(String, &str)> = match read(body.as_bytes(), lasts) {
            Ok(_) => Vec::new(),
            Err(Reject::Fields { faults, .. }) => {
                faults.into_iter().map(|fault| (fault.pointer.to_string(), fault.code)).collect()
            }
            Err(other) => panic!("{body}: {other}"),
        };
        let seen: Vec<(&str, &str)> = seen.iter().map(|(pointer, code)| (pointer.as_str(), *code)).collect();
        assert_eq!(seen, expected, "{body}");
    }

    #[test]
    fn a_wish_has_a_reason_and_an_end() {
        check(r#"{"reason":"drill","expires_in":"15m"}"#, true, &[]);
        check(r#"{"reason":"drill"}"#, false, &[]);
        check("{}", true, &[("/reason", "missing"), ("/expires_in", "missing")]);
        check(
            r#"{"reason":" ","expires_in":"0s"}"#,
            true,
            &[("/reason", "invalid_value"), ("/expires_in", "invalid_value")],
        );
        check(
            r#"{"reason":7,"expires_in":"8d"}"#,
            true,
            &[("/reason", "wrong_type"), ("/expires_in", "invalid_value")],
        );
        check(r#"{"reason":"drill","expires_in":"15m"}"#, false, &[("/expires_in", "unknown_field")]);
        assert!(matches!(read(b"[]", true), Err(Reject::Shape { .. })));
    }
}

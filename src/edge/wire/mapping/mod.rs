//! A foreign record onto a transaction: JSON pointers, constants, epochs and decimals, as configured.
//!
//! ```text
//! [mappings.acme.fields]
//! transaction_id = "/id"
//! occurred_at    = { pointer = "/created", as = "epoch_s" }
//! amount         = { pointer = "/total", as = "major" }
//! channel        = { constant = "ecommerce" }
//! ```
//! What a mapping does not name is passed over. Its faults point into the record as it was sent.
//! A mapping is checked when it is loaded, all faults at once.

mod parse;

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde_json::Value;

use super::reject::{Reject, pointer};
use super::strict;
use crate::domain::transaction::Attribute;
use crate::domain::{Currency, Draft, Field, FieldErrorCode, FieldRef, Timestamp};

/// Every configured mapping by name.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    by_name: BTreeMap<String, Mapping>,
}

impl Mappings {
    /// Parses `mapping.toml`.
    ///
    /// # Errors
    /// Every fault of every mapping.
    pub fn parse(text: &str) -> Result<Self, Vec<MappingFault>> {
        parse::mappings(text).map(|by_name| Self { by_name })
    }

    /// Finds a mapping by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Mapping> {
        self.by_name.get(name)
    }

    /// Returns all names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

/// One thing wrong with `mapping.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct MappingFault {
    /// The mapping and field, such as `acme.amount`; empty for the file itself.
    pub place: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// One foreign format.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// Currency before amount: a decimal amount needs to know its minor unit.
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    field: FieldRef,
    path: CompactString,
    from: From,
}

#[derive(Clone, Debug, PartialEq)]
enum From {
    Constant(Value),
    Pointer { pointer: CompactString, form: Form },
}

/// How a foreign value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As the contract has it; a number where text is expected becomes its digits.
    Plain,
    /// Text, put into capitals.
    Upper,
    /// Text, put into small letters.
    Lower,
    /// An instant in whole units since 1970, as a number or text.
    Epoch { micros_per_unit: i64 },
    /// An amount in major units, as a decimal number or text.
    Major,
}

impl Mapping {
    /// Reads a foreign record into a draft.
    ///
    /// # Errors
    /// [`Reject`] when the body is no JSON object; faults of fields lie in the draft.
    pub(super) fn read(&self, body: &[u8]) -> Result<Draft, Reject> {
        let record = strict::document(body)?;
        if !record.is_object() {
            return Err(Reject::Shape { expected: "a JSON object: one record" });
        }
        let mut draft = Draft::new();
        let mut currency = None;
        for rule in &self.rules {
            let (value, form) = match &rule.from {
                From::Constant(value) => (value, Form::Plain),
                From::Pointer { pointer, form } => match record.pointer(pointer) {
                    None | Some(Value::Null) => continue,
                    Some(value) => (value, *form),
                },
            };
            match &rule.field {
                FieldRef::Known(Field::Currency) => currency = set_currency(&mut draft, value, form),
                FieldRef::Known(Field::Amount) => set_amount(&mut draft, value, form, currency),
                FieldRef::Known(field) => set_field(&mut draft, *field, value, form),
                FieldRef::Attribute(name) => set_attribute(&mut draft, name, value, form),
            }
        }
        Ok(draft)
    }

    /// Returns the same refusal with pointers into the foreign record.
    pub(super) fn in_words_of_the_sender(&self, mut reject: Reject) -> Reject {
        if let Reject::Fields { faults, .. } = &mut reject {
            for fault in faults {
                let rule = self.rules.iter().find(|rule| pointer(&rule.path) == fault.pointer);
                if let Some(From::Pointer { pointer, .. }) = rule.map(|rule| &rule.from) {
                    fault.pointer = pointer.clone();
                }
            }
        }
        reject
    }
}

fn set_currency(draft: &mut Draft, value: &Value, form: Form) -> Option<Currency> {
    let Some(code) = text(value, form) else {
        draft.fault(FieldErrorCode::WrongType, "currency", "expected a string");
        draft.currency(Currency::NONE.code());
        return None;
    };
    draft.currency(&code);
    Currency::parse(&code)
}

fn set_amount(draft: &mut Draft, value: &Value, form: Form, currency: Option<Currency>) {
    let amount = match form {
        Form::Major => {
            // Without a currency the draft has a fault already; two digits keep the reading going.
            let exponent = currency.map_or(2, Currency::exponent);
            text(value, Form::Plain).and_then(|text| minor_units(&text, exponent))
        }
        Form::Plain | Form::Upper | Form::Lower | Form::Epoch { .. } => match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        },
    };
    if amount.is_none() {
        let detail = if form == Form::Major {
            "expected a decimal amount in major units with no more digits than its currency has"
        } else {
            "expected a whole number of minor units"
        };
        draft.fault(FieldErrorCode::WrongType, "amount", detail);
    }
    draft.amount(amount.unwrap_or(0));
}

fn set_field(draft: &mut Draft, field: Field, value: &Value, form: Form) {
    match field {
        Field::OccurredAt => set_instant(draft, value, form),
        Field::Latitude | Field::Longitude => {
            let degrees = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
            let set = if field == Field::Latitude { Draft::latitude } else { Draft::longitude };
            match degrees {
                Some(degrees) => set(draft, degrees),
                None => draft.fault(FieldErrorCode::WrongType, field.path(), "expected a number of degrees"),
            }
        }
        Field::TransactionId => {
            let id = text(value, form);
            if id.is_none() {
                draft.fault(FieldErrorCode::WrongType, field.path(), "expected a string");
            }
            draft.id(id.as_deref().unwrap_or("?"));
        }
        Field::Text(known) => match text(value, form) {
            Some(text) => draft.text(known, &text),
            None => draft.fault(FieldErrorCode::WrongType, field.path(), "expected a string"),
        },
        // Refused when the mapping is loaded, or set by their own functions.
        Field::BaseAmount | Field::Amount | Field::Currency => {}
    }
}

fn set_instant(draft: &mut Draft, value: &Value, form: Form) {
    let Form::Epoch { micros_per_unit } = form else {
        return draft.occurred_at_text(value.as_str().unwrap_or_default());
    };
    let units = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    let micros = units.and_then(|units| units.checked_mul(micros_per_unit));
    let range = Timestamp::MIN.micros()..=Timestamp::MAX.micros();
    let instant = micros.filter(|micros| range.contains(micros)).map(Timestamp::from_micros);
    if instant.is_none() {
        let detail = "expected a whole number of units since 1970-01-01T00:00:00Z";
        draft.fault(FieldErrorCode::InvalidValue, "occurred_at", detail);
    }
    draft.occurred_at(instant.unwrap_or(Timestamp::MIN));
}

fn set_attribute(draft: &mut Draft, name: &str, value: &Value, form: Form) {
    let attribute = match value {
        Value::Bool(flag) => Some(Attribute::Bool(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Some(Attribute::Int(whole)),
            (None, Some(double)) => Some(Attribute::Float(double)),
            (None, None) => None,
        },
        Value::String(_) => text(value, form).map(|text| Attribute::Text(text.into())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match attribute {
        Some(attribute) => draft.attribute(name, attribute),
        None => draft.fault(
            FieldErrorCode::WrongType,
            &format!("attributes.{name}"),
            "expected a string, a number or a truth value",
        ),
    }
}

/// Reads text; a number becomes its digits, for ids and codes that others send as numbers.
fn text(value: &Value, form: Form) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            // Display never writes an exponent, and the shortest form is what was sent up to 15 digits.
            (None, Some(double)) => double.to_string(),
            (None, None) => return None,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(match form {
        Form::Upper => text.to_ascii_uppercase(),
        Form::Lower => text.to_ascii_lowercase(),
        Form::Plain | Form::Epoch { .. } | Form::Major => text,
    })
}

/// Turns a decimal in major units into whole minor units; `None` when it has more digits than the
/// currency, or is no plain decimal.
fn minor_units(text: &str, exponent: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let exponent = usize::try_from(exponent).ok()?;
    let sent = fraction.trim_end_matches('0');
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_plain = !digits.is_empty() && digits.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_plain || sent.len() > exponent || (text.ends_with('.')) {
        return None;
    }
    format!("{whole}{sent:0<exponent$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RateTable, TextField};
    use crate::edge::wire::Contract;

    const MAPPING: &str = r#"
        [mappings.acme.fields]
        transaction_id = "/id"
        occurred_at = { pointer = "/created", as = "epoch_ms" }
        amount = { pointer = "/money/total", as = "major" }
        currency = { pointer = "/money/currency", as = "upper" }
        "card.token" = "/source/token"
        "merchant.mcc" = "/shop/codes/0"
        channel = { constant = "ecommerce" }
        "location.lat" = "/geo/lat"
        "location.lon" = "/geo/lon"
        "attributes.tier" = { pointer = "/tier", as = "lower" }
    "#;

    fn read(body: &str) -> Result<crate::domain::Transaction, Reject> {
        let mappings = Mappings::parse(MAPPING).expect("a mapping");
        let rates = RateTable::identity(Currency::parse("EUR").expect("a currency"));
        let contract = Contract::new(std::sync::Arc::new(rates));
        contract.read(body.as_bytes(), mappings.get("acme"), Timestamp::MAX).map(|intake| intake.transaction)
    }

    #[test]
    fn a_foreign_record_becomes_a_transaction() {
        let transaction = read(
            r#"{"id":77,"created":"1772359200250","money":{"total":12.5,"currency":"eur"},"source":{"token":"tok"},
            "shop":{"codes":[5411]},"geo":{"lat":"48.1","lon":2},"tier":"GOLD","other":{"ignored":true}}"#,
        )
        .expect("a transaction");
        assert_eq!((transaction.id(), transaction.amount()), ("77", 1_250));
        assert_eq!(transaction.occurred_at().to_string(), "2026-03-01T10:00:00.25Z");
        assert_eq!(transaction.text(TextField::MerchantMcc), Some("5411"));
        assert_eq!(transaction.text(TextField::Channel), Some("ecommerce"));
        assert_eq!(transaction.location(), Some((48.1, 2.0)));
        assert_eq!(transaction.attribute("tier"), crate::domain::Value::Text("gold"));
    }

    #[test]
    fn faults_point_into_the_record_as_sent() {
        let body = r#"{"id":"x","created":"soon","money":{"total":"1.505","currency":"EUR"},
            "source":{"token":"4111111111111111"}}"#;
        let Err(Reject::Fields { faults, .. }) = read(body) else { panic!("expected faults") };
        let seen: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        let expected =
            [("/money/total", "wrong_type"), ("/source/token", "card_number"), ("/created", "invalid_value")];
        assert_eq!(seen, expected);
        assert!(!format!("{faults:?}").contains("4111111111111111"));
    }

    #[test]
    fn decimals_become_minor_units() {
        let check = |text: &str, exponent, minor| assert_eq!(minor_units(text, exponent), minor, "{text}");
        check("12.50", 2, Some(1_250));
        check("12.5", 2, Some(1_250));
        check("12", 2, Some(1_200));
        check("0.05", 2, Some(5));
        check("12.500", 2, Some(1_250));
        check("7", 0, Some(7));
        check("1.234", 3, Some(1_234));
        check("-3.10", 2, Some(-310));
        for wrong in ["12.505", "", ".", ".5", "1.", "1e3", "1,5", "--1", "1.2.3", " 1", "+1", "NaN"] {
            check(wrong, 2, None);
        }
        check("99999999999999999999", 2, None);
    }
}

//! `mapping.toml` read and checked: every wrong line at once, with its cure.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::{Table, Value as Toml};

use super::{Form, From, Mapping, MappingFault, Rule};
use crate::domain::{Field, FieldRef};

const FORMS: [(&str, Form); 6] = [
    ("upper", Form::Upper),
    ("lower", Form::Lower),
    ("epoch_s", Form::Epoch { micros_per_unit: 1_000_000 }),
    ("epoch_ms", Form::Epoch { micros_per_unit: 1_000 }),
    ("epoch_us", Form::Epoch { micros_per_unit: 1 }),
    ("major", Form::Major),
];

pub(super) fn mappings(text: &str) -> Result<BTreeMap<String, Mapping>, Vec<MappingFault>> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| vec![fault("", error.message().to_owned())])?;
    let mut faults = Vec::new();
    let mut by_name = BTreeMap::new();
    for (key, value) in &table {
        match value {
            Toml::Table(list) if key == "mappings" => {
                for (name, value) in list {
                    by_name.insert(name.clone(), mapping(name, value, &mut faults));
                }
            }
            _ => faults.push(fault(key, "no key of a mapping file: write [mappings.NAME.fields]".into())),
        }
    }
    if faults.is_empty() { Ok(by_name) } else { Err(faults) }
}

fn mapping(name: &str, value: &Toml, faults: &mut Vec<MappingFault>) -> Mapping {
    let mut rules = Vec::new();
    for (key, value) in value.as_table().into_iter().flatten() {
        match (key.as_str(), value) {
            ("description", Toml::String(_)) => {}
            ("fields", Toml::Table(fields)) => {
                for (path, value) in fields {
                    match rule(path, value) {
                        Ok(rule) => rules.push(rule),
                        Err(message) => faults.push(fault(&format!("{name}.{path}"), message)),
                    }
                }
            }
            _ => faults.push(fault(&format!("{name}.{key}"), "expected a description or a table of fields".into())),
        }
    }
    for required in [Field::TransactionId, Field::OccurredAt, Field::Amount, Field::Currency] {
        if !rules.iter().any(|rule| rule.field == FieldRef::Known(required)) {
            let message = "required, but not mapped: give it a pointer or a constant".into();
            faults.push(fault(&format!("{name}.{}", required.path()), message));
        }
    }
    rules.sort_by_key(|rule| rule.field != FieldRef::Known(Field::Currency));
    Mapping { rules }
}

fn rule(path: &str, value: &Toml) -> Result<Rule, String> {
    let known = FieldRef::parse(path).filter(|field| *field != FieldRef::Known(Field::BaseAmount));
    let field = known.ok_or("no field of a transaction: use a path such as card.token or attributes.NAME")?;
    let from = match value {
        Toml::String(text) => From::Pointer { pointer: pointer(text)?, form: Form::Plain },
        Toml::Table(table) => source(table, &field)?,
        _ => return Err("expected a JSON pointer such as \"/card/token\", or a table".into()),
    };
    Ok(Rule { field, path: path.into(), from })
}

fn source(table: &Table, field: &FieldRef) -> Result<From, String> {
    if let Some(key) = table.keys().find(|key| !["pointer", "constant", "as"].contains(&key.as_str())) {
        return Err(format!("unknown key {key}: expected pointer and as, or constant"));
    }
    match (table.get("pointer"), table.get("constant"), table.get("as")) {
        (Some(Toml::String(text)), None, form) => {
            let form = form.map_or(Ok(Form::Plain), |form| parse_form(form, field))?;
            Ok(From::Pointer { pointer: pointer(text)?, form })
        }
        (None, Some(constant), None) => Ok(From::Constant(scalar(constant)?)),
        _ => Err("expected either pointer (with or without as) or constant".into()),
    }
}

fn scalar(constant: &Toml) -> Result<Value, String> {
    Ok(match constant {
        Toml::String(text) => Value::from(text.as_str()),
        Toml::Integer(number) => Value::from(*number),
        Toml::Float(number) => Value::from(*number),
        Toml::Boolean(flag) => Value::from(*flag),
        Toml::Datetime(_) | Toml::Array(_) | Toml::Table(_) => {
            return Err("expected a constant string, number or truth value".into());
        }
    })
}

fn pointer(text: &str) -> Result<compact_str::CompactString, String> {
    if text.starts_with('/') {
        Ok(text.into())
    } else {
        Err("a JSON pointer begins with /, such as \"/card/token\"".into())
    }
}

fn parse_form(form: &Toml, field: &FieldRef) -> Result<Form, String> {
    let name = form.as_str().unwrap_or_default();
    let found = FORMS.iter().find(|(known, _)| *known == name).map(|(_, form)| *form);
    let form = found.ok_or("unknown form: expected upper, lower, epoch_s, epoch_ms, epoch_us or major")?;
    let fits = match form {
        Form::Epoch { .. } => *field == FieldRef::Known(Field::OccurredAt),
        Form::Major => *field == FieldRef::Known(Field::Amount),
        Form::Upper | Form::Lower | Form::Plain => {
            !matches!(field, FieldRef::Known(Field::OccurredAt | Field::Amount | Field::Latitude | Field::Longitude))
        }
    };
    if fits { Ok(form) } else { Err(format!("the form {name} does not fit this field")) }
}

fn fault(place: &str, message: String) -> MappingFault {
    MappingFault { place: place.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let text = r#"
            extra = 1
            [mappings.bad]
            colour = "red"
            [mappings.bad.fields]
            transaction_id = "id"
            occurred_at = { pointer = "/t", as = "major" }
            amount = { pointer = "/a", constant = 1 }
            nope = "/x"
            base_amount = "/y"
            channel = { pointer = "/c", as = "shouting" }
        "#;
        let faults = mappings(text).expect_err("faults");
        let places: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
        let expected = [
            "extra",
            "bad.colour",
            "bad.amount",
            "bad.base_amount",
            "bad.channel",
            "bad.nope",
            "bad.occurred_at",
            "bad.transaction_id",
            "bad.transaction_id",
            "bad.occurred_at",
            "bad.amount",
            "bad.currency",
        ];
        assert_eq!(places, expected, "{faults:#?}");
    }

    #[test]
    fn the_shipped_mappings_are_right() {
        let shipped = include_str!("../../../../config/mapping.toml");
        assert!(mappings(shipped).expect("no faults").contains_key("example"));
    }
}

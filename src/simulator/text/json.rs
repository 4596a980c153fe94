//! Transactions and labels as the exact JSON the REST API takes, without line breaks.
//!
//! Fields come in the order of the contract, absent ones are left out, nested objects follow the dotted paths
//! (`card.bin` is `"card": {"bin": ...}`). Written by hand: it is the hottest path of load tests.

use std::fmt::Write as _;

use crate::domain::transaction::Attribute;
use crate::domain::{Label, TextField, Transaction};

/// Appends a transaction.
pub fn transaction(transaction: &Transaction, out: &mut String) {
    out.push_str("{\"transaction_id\":");
    string(transaction.id(), out);
    display(",\"occurred_at\":\"", transaction.occurred_at(), out);
    display("\",\"amount\":", transaction.amount(), out);
    display(",\"currency\":\"", transaction.currency(), out);
    out.push('"');
    texts(transaction, out);
    if let Some((lat, lon)) = transaction.location() {
        display(",\"location\":{\"lat\":", lat, out);
        display(",\"lon\":", lon, out);
        out.push('}');
    }
    attributes(transaction, out);
    out.push('}');
}

/// Appends a label.
pub fn label(label: &Label, out: &mut String) {
    out.push_str("{\"transaction_id\":");
    string(&label.transaction_id, out);
    display(",\"label\":\"", label.kind.name(), out);
    display("\",\"occurred_at\":\"", label.occurred_at, out);
    out.push_str("\",\"source\":");
    string(&label.source, out);
    out.push('}');
}

/// Appends the text fields; those of one object lie together in [`TextField::ALL`].
fn texts(transaction: &Transaction, out: &mut String) {
    let mut open = "";
    for (field, path, _) in TextField::ALL {
        let Some(text) = transaction.text(field) else { continue };
        let (object, name) = path.split_once('.').unwrap_or(("", path));
        if object != open && !open.is_empty() {
            out.push('}');
        }
        out.push(',');
        if object != open && !object.is_empty() {
            key(object, out);
            out.push('{');
        }
        open = object;
        key(name, out);
        string(text, out);
    }
    if !open.is_empty() {
        out.push('}');
    }
}

fn attributes(transaction: &Transaction, out: &mut String) {
    for (place, (name, value)) in transaction.attributes().iter().enumerate() {
        out.push_str(if place == 0 { ",\"attributes\":{" } else { "," });
        key(name, out);
        match value {
            Attribute::Bool(flag) => display("", flag, out),
            Attribute::Int(number) => display("", number, out),
            // `{:?}` keeps the point of a whole double, so that it is read back as one.
            Attribute::Float(number) => display("", format_args!("{number:?}"), out),
            Attribute::Text(text) => string(text, out),
        }
    }
    if !transaction.attributes().is_empty() {
        out.push('}');
    }
}

fn display(before: &str, value: impl std::fmt::Display, out: &mut String) {
    out.push_str(before);
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

fn key(name: &str, out: &mut String) {
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push_str(text);
    } else {
        text.chars().for_each(|symbol| escaped(symbol, out));
    }
    out.push('"');
}

fn escaped(symbol: char, out: &mut String) {
    match symbol {
        '"' | '\\' => {
            out.push('\\');
            out.push(symbol);
        }
        control if u32::from(control) < 0x20 => display("", format_args!("\\u{:04x}", u32::from(control)), out),
        plain => out.push(plain),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{Currency, Draft, LabelKind, RateTable, Timestamp};

    fn written(fill: impl Fn(&mut Draft)) -> Value {
        let mut draft = Draft::new();
        draft.id("t-1");
        draft.occurred_at_text("2026-03-01T10:00:00Z");
        draft.amount(1_250);
        draft.currency("EUR");
        fill(&mut draft);
        let rates = RateTable::identity(Currency::parse("EUR").expect("a currency"));
        let mut out = String::new();
        transaction(&draft.finish(&rates).expect("valid"), &mut out);
        assert!(!out.contains('\n'));
        serde_json::from_str(&out).unwrap_or_else(|fault| panic!("{fault}: {out}"))
    }

    #[test]
    fn objects_follow_the_paths() {
        let header =
            json!({"transaction_id": "t-1", "occurred_at": "2026-03-01T10:00:00Z", "amount": 1250, "currency": "EUR"});
        assert_eq!(written(|_| ()), header);
        let seen = written(|draft| {
            draft.text(TextField::CustomerId, "c1");
            draft.text(TextField::CardToken, "tok_1");
            draft.text(TextField::CardBin, "411111");
            draft.text(TextField::MerchantId, "m1");
            draft.text(TextField::Channel, "pos");
            draft.text(TextField::AuthorisationResult, "approved");
            draft.latitude(-0.5);
            draft.longitude(7.0);
            draft.attribute("tier", Attribute::Float(2.0));
            draft.attribute("note", Attribute::Text("a \"b\" \\ \u{1} é".into()));
        });
        let mut expected = header;
        for (name, value) in [
            ("customer_id", json!("c1")),
            ("card", json!({"token": "tok_1", "bin": "411111"})),
            ("merchant", json!({"id": "m1"})),
            ("channel", json!("pos")),
            ("authorisation", json!({"result": "approved"})),
            ("location", json!({"lat": -0.5, "lon": 7})),
            ("attributes", json!({"note": "a \"b\" \\ \u{1} é", "tier": 2.0})),
        ] {
            expected[name] = value;
        }
        expected["location"]["lon"] = json!(7);
        assert_eq!(seen, expected);
    }

    #[test]
    fn labels_are_what_the_domain_reads() {
        let said = Label {
            transaction_id: "t-1".into(),
            kind: LabelKind::FalsePositive,
            occurred_at: Timestamp::from_seconds(1_800_000_000),
            source: "ana\"lyst".into(),
        };
        let mut out = String::new();
        label(&said, &mut out);
        assert_eq!(serde_json::from_str::<Label>(&out).expect("a label"), said);
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC{0,40}|[\\x00-\\x1f\"\\\\]{0,8}") {
            let mut out = String::new();
            string(&text, &mut out);
            prop_assert_eq!(serde_json::from_str::<String>(&out).expect("JSON"), text);
        }
    }
}

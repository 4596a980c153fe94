//! Transactions as flat CSV (RFC 4180): one column a field, named by its dotted path, empty when absent.
//!
//! With the truth come three columns more: `label` and `label_at` (empty when no label comes) and `scenario`
//! (0 genuine, 1 to 6 the fraud scenarios). Free attributes have no column: the simulator sends none.

use std::fmt::Write as _;

use super::super::simulation::Truth;
use crate::domain::{TextField, Transaction};

/// Whether the columns only a simulator knows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// What a sender would say.
    Sent,
    /// That, and `label`, `label_at` and `scenario`.
    SentAndTruth,
}

/// Appends the header line.
pub fn header(columns: Columns, out: &mut String) {
    out.push_str("transaction_id,occurred_at,amount,currency");
    for (_, path, _) in TextField::ALL {
        out.push(',');
        out.push_str(path);
    }
    out.push_str(",location.lat,location.lon");
    out.push_str(match columns {
        Columns::Sent => "\n",
        Columns::SentAndTruth => ",label,label_at,scenario\n",
    });
}

/// Appends one line.
pub fn line(transaction: &Transaction, truth: &Truth, columns: Columns, out: &mut String) {
    cell(transaction.id(), out);
    // Writing to a String cannot fail.
    let _ = write!(out, ",{},{},{}", transaction.occurred_at(), transaction.amount(), transaction.currency());
    for (field, _, _) in TextField::ALL {
        out.push(',');
        cell(transaction.text(field).unwrap_or_default(), out);
    }
    let _ = match transaction.location() {
        Some((lat, lon)) => write!(out, ",{lat},{lon}"),
        None => out.write_str(",,"),
    };
    if columns == Columns::SentAndTruth {
        let _ = match truth.label {
            Some((kind, at)) => write!(out, ",{},{at}", kind.name()),
            None => out.write_str(",,"),
        };
        let _ = write!(out, ",{}", truth.scenario.number());
    }
    out.push('\n');
}

fn cell(text: &str, out: &mut String) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::scenario::Scenario;
    use super::*;
    use crate::domain::{Currency, Draft, LabelKind, RateTable, Timestamp};

    #[test]
    fn a_reader_finds_every_field_again() {
        let mut draft = Draft::new();
        draft.id("t,\"1\"");
        draft.occurred_at_text("2026-03-01T10:00:00Z");
        draft.amount(5);
        draft.currency("EUR");
        draft.text(TextField::MerchantMcc, "5411");
        let rates = RateTable::identity(Currency::parse("EUR").expect("a currency"));
        let transaction = draft.finish(&rates).expect("valid");
        let at = Timestamp::parse("2026-03-08T10:00:00Z").expect("an instant");
        let truth = |label| Truth { scenario: Scenario::CardTesting, label, arrives_at: at, duplicate: false };
        let mut out = String::new();
        header(Columns::SentAndTruth, &mut out);
        line(&transaction, &truth(Some((LabelKind::Fraud, at))), Columns::SentAndTruth, &mut out);
        line(&transaction, &truth(None), Columns::SentAndTruth, &mut out);
        let mut reader = csv::Reader::from_reader(out.as_bytes());
        let names = reader.headers().expect("a header").clone();
        let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
        let cell = |row: usize, name: &str| {
            let place = names.iter().position(|known| known == name).expect("a column");
            rows[row][place].to_owned()
        };
        assert_eq!(cell(0, "transaction_id"), "t,\"1\"");
        assert_eq!(cell(0, "merchant.mcc"), "5411");
        assert_eq!(cell(0, "location.lat"), "");
        assert_eq!((cell(0, "label"), cell(0, "label_at")), ("fraud".into(), "2026-03-08T10:00:00Z".into()));
        assert_eq!((cell(1, "label"), cell(1, "scenario")), (String::new(), "4".into()));
    }

    #[test]
    fn without_the_truth_nothing_tells_of_it() {
        let mut out = String::new();
        header(Columns::Sent, &mut out);
        assert!(!out.contains("label") && !out.contains("scenario") && out.ends_with("location.lon\n"));
    }
}

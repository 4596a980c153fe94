//! What must hold of a transaction beyond its fields: somebody it belongs to, and a time that has come.
//!
//! Every door reads through one [`Contract`], so that REST, a mapping and a topic refuse alike.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::mapping::Mapping;
use super::reject::Reject;
use super::transaction;
use crate::domain::{Draft, FieldErrorCode, RateTable, Span, TextField, Timestamp, Transaction};

/// How far ahead of its receipt a transaction may say it happened, unless configured otherwise.
pub const AHEAD_MAX: Span = Span::from_seconds(300);

/// What to do with a field that the contract does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// Refuse the transaction.
    Refuse,
    /// Pass over the field and count it.
    Ignore,
}

/// What every transaction is held to. Cheap to share.
#[derive(Clone, Debug)]
pub struct Contract {
    /// What to do with unknown fields.
    pub unknown_fields: UnknownFields,
    /// A transaction must have at least one of these, unless empty; the first present is its partition key.
    pub partition_key: Vec<TextField>,
    /// How far ahead of receipt an event time may lie.
    pub ahead_max: Span,
    /// The rates that give the base amount.
    pub rates: Arc<RateTable>,
}

/// A transaction taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Intake {
    /// The transaction.
    pub transaction: Transaction,
    /// How many unknown fields were passed over.
    pub fields_ignored: u32,
}

impl Contract {
    /// Builds the default contract: unknown fields refused, five minutes ahead at most.
    #[must_use]
    pub fn new(rates: Arc<RateTable>) -> Self {
        Self {
            unknown_fields: UnknownFields::Refuse,
            partition_key: vec![TextField::CustomerId, TextField::AccountId, TextField::CardToken],
            ahead_max: AHEAD_MAX,
            rates,
        }
    }

    /// Reads a transaction in our own JSON, or in a foreign one through `mapping`.
    ///
    /// # Errors
    /// [`Reject`] with every fault at once, its pointers into the body as it was sent.
    pub fn read(&self, body: &[u8], mapping: Option<&Mapping>, received_at: Timestamp) -> Result<Intake, Reject> {
        let Some(mapping) = mapping else {
            let reading = transaction::read(body, self.unknown_fields)?;
            let transaction = self.finish(reading.draft, received_at)?;
            return Ok(Intake { transaction, fields_ignored: reading.ignored });
        };
        let draft = mapping.read(body)?;
        match self.finish(draft, received_at) {
            Ok(transaction) => Ok(Intake { transaction, fields_ignored: 0 }),
            Err(reject) => Err(mapping.in_words_of_the_sender(reject)),
        }
    }

    fn finish(&self, mut draft: Draft, received_at: Timestamp) -> Result<Transaction, Reject> {
        let latest = received_at.plus(self.ahead_max);
        if draft.instant().is_some_and(|instant| instant > latest) {
            let detail = format!("lies more than {} ahead of its receipt", self.ahead_max);
            draft.fault(FieldErrorCode::Future, "occurred_at", &detail);
        }
        let owned = self.partition_key.iter().any(|field| draft.has(*field) || is_faulty(&draft, *field));
        if !owned && !self.partition_key.is_empty() {
            let names: Vec<_> = self.partition_key.iter().map(|field| field.path()).collect();
            let detail = format!("expected at least one of {}", names.join(", "));
            draft.fault(FieldErrorCode::Missing, "", &detail);
        }
        draft.finish(&self.rates).map_err(Reject::transaction)
    }
}

/// Tells whether a field was sent and refused, so that it is not called missing too.
fn is_faulty(draft: &Draft, field: TextField) -> bool {
    draft.faults().iter().any(|fault| fault.path == field.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Currency;

    const RECEIVED: &str = "2026-03-01T10:00:00Z";

    fn contract() -> Contract {
        Contract::new(Arc::new(RateTable::identity(Currency::parse("EUR").expect("a currency"))))
    }

    fn read(body: &str) -> Result<Intake, Reject> {
        contract().read(body.as_bytes(), None, Timestamp::parse(RECEIVED).expect("an instant"))
    }

    fn with(extra: &str) -> String {
        let head = r#""transaction_id":"t-1","occurred_at":"2026-03-01T10:00:00Z","amount":1250,"currency":"EUR""#;
        format!(r#"{{{head},"customer_id":"c-1"{extra}}}"#)
    }

    fn faults(body: &str) -> Vec<(String, &'static str)> {
        match read(body) {
            Err(Reject::Fields { faults, .. }) => {
                faults.into_iter().map(|fault| (fault.pointer.into(), fault.code)).collect()
            }
            other => panic!("expected faults of {body}, got {other:?}"),
        }
    }

    fn check(extra: &str, pointer: &str, code: &str) {
        let seen = faults(&with(extra));
        assert_eq!(
            seen.iter().map(|(at, code)| (at.as_str(), *code)).collect::<Vec<_>>(),
            [(pointer, code)],
            "{extra}"
        );
    }

    #[test]
    fn reads_every_field() {
        let body = with(
            r#","account_id":"a","email_hash":"e","card":{"token":"tok","bin":"411111","last4":"1111","brand":"visa",
            "country":"FR","funding":"credit"},"merchant":{"id":"m","mcc":"5411","country":"FR","terminal_id":"t"},
            "counterparty":{"id":"p","bank":"b","country":"DE"},"channel":"ecommerce","type":"purchase",
            "device":{"id":"d","ip":"10.0.0.1","fingerprint":"f"},"location":{"lat":48,"lon":2.5},
            "billing":{"country":"FR"},"shipping":{"country":"BE"},
            "authentication":{"three_ds":"ok","cvc":"match","avs":"none"},"authorisation":{"result":"approved"},
            "attributes":{"a":1,"b":2.5,"c":"x","d":true,"e":null}"#,
        );
        let transaction = read(&body).expect("a transaction").transaction;
        for (field, path, _) in TextField::ALL {
            assert!(transaction.text(field).is_some(), "{path}");
        }
        assert_eq!(transaction.location(), Some((48.0, 2.5)));
        assert_eq!(transaction.attributes().len(), 4);
        assert_eq!((transaction.id(), transaction.amount()), ("t-1", 1250));
    }

    #[test]
    fn each_fault_has_its_code_and_pointer() {
        check(r#","nope":1"#, "/nope", "unknown_field");
        check(r#","card":{"pan":"4111111111111111"}"#, "/card/pan", "unknown_field");
        check(r#","card":{"token":"4111111111111111"}"#, "/card/token", "card_number");
        check(r#","card":{"token":7}"#, "/card/token", "wrong_type");
        check(r#","card":"x""#, "/card", "wrong_type");
        check(r#","card":[1,{"a":[]}]"#, "/card", "wrong_type");
        check(r#","customer_id":"c-2""#, "/customer_id", "duplicate_field");
        check(r#","card":{"bin":"411111"},"card":{"bin":"422222"}"#, "/card", "duplicate_field");
        check(r#","attributes":{"a":1,"a":2}"#, "/attributes", "duplicate_field");
        check(r#","attributes":{"note":"card 4111 1111 1111 1111"}"#, "/attributes/note", "card_number");
        check(r#","attributes":{"4111111111111111":1}"#, "/attributes", "card_number");
        check(r#","attributes":{"a":{}}"#, "/attributes/a", "wrong_type");
        check(r#","attributes":{"a":9007199254740993}"#, "/attributes/a", "out_of_bounds");
        check(r#","merchant":{"mcc":"54110"}"#, "/merchant/mcc", "invalid_value");
        check(r#","location":{"lat":1}"#, "/location", "missing");
        check(r#","location":{"lat":91,"lon":0}"#, "/location/lat", "out_of_bounds");
    }

    #[test]
    fn amounts_are_whole_minor_units() {
        let check = |amount: &str, code: &str| {
            let body = with("").replace("1250", amount);
            assert_eq!(faults(&body), [("/amount".to_owned(), code_of(code))], "{amount}");
        };
        check("-1", "out_of_bounds");
        check("9007199254740992", "out_of_bounds");
        check("18446744073709551615", "out_of_bounds");
        check("184467440737095516150", "out_of_bounds");
        check("12.0", "wrong_type");
        check("1e3", "wrong_type");
        check("\"12\"", "wrong_type");
        check("true", "wrong_type");
    }

    fn code_of(name: &str) -> &'static str {
        let all = [FieldErrorCode::OutOfBounds, FieldErrorCode::WrongType, FieldErrorCode::InvalidValue];
        all.into_iter().map(FieldErrorCode::name).find(|known| *known == name).expect("a code")
    }

    #[test]
    fn all_faults_come_at_once_and_none_repeats_a_value() {
        let body = r#"{"transaction_id":5,"occurred_at":"2026-02-30T00:00:00Z","currency":"ZZZ",
            "card":{"token":"4111111111111111"},"4111111111111111":1}"#;
        let seen = faults(body);
        let codes: Vec<_> = seen.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes, ["wrong_type", "invalid_value", "invalid_value", "card_number", "unknown_field", "missing"]);
        assert!(!format!("{:?}", read(body)).contains("4111111111111111"));
    }

    #[test]
    fn the_future_and_orphans_are_refused() {
        let ahead = with("").replace("10:00:00Z", "10:05:01Z");
        assert_eq!(faults(&ahead), [("/occurred_at".to_owned(), "future_transaction")]);
        assert!(read(&with("").replace("10:00:00Z", "10:05:00Z")).is_ok());
        let orphan = with("").replace(r#","customer_id":"c-1""#, "");
        assert_eq!(faults(&orphan), [(String::new(), "missing")]);
        assert!(read(&orphan.replace('}', r#","card":{"token":"t"}}"#)).is_ok());
    }

    #[test]
    fn unknown_fields_may_be_counted_instead() {
        let lenient = Contract { unknown_fields: UnknownFields::Ignore, ..contract() };
        let body = with(r#","x":{"deep":[1,2]},"card":{"y":1}"#);
        let intake = lenient.read(body.as_bytes(), None, Timestamp::MAX).expect("a transaction");
        assert_eq!(intake.fields_ignored, 2);
    }

    #[test]
    fn what_is_not_json_says_where() {
        let check = |body: &str, pointer: &str| match read(body) {
            Err(Reject::Syntax { pointer: at, .. }) => assert_eq!(at, pointer, "{body}"),
            other => panic!("expected a syntax error of {body}, got {other:?}"),
        };
        check("", "");
        check("{", "");
        check(r#"{"amount": NaN}"#, "/amount");
        check(r#"{"location":{"lat": Infinity}}"#, "/location/lat");
        check(r#"{"amount": 1,}"#, "/amount");
        check(&format!("{} x", with("")), "/customer_id");
        assert!(matches!(read("[]"), Err(Reject::Shape { .. })));
        assert!(matches!(read("\"4111111111111111\""), Err(Reject::Shape { .. })));
        let deep = with(&format!(r#","x":{}"#, "[".repeat(40)));
        assert!(matches!(read(&deep), Err(Reject::TooDeep { .. })));
        let bad = contract().read(b"{\"type\":\"\xff\"}", None, Timestamp::MAX);
        assert_eq!(bad, Err(Reject::Utf8 { offset: 9 }));
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in ".{0,200}") {
            let _ = read(&body);
        }

        #[test]
        fn a_cut_or_bent_body_is_never_half_read(cut in 0usize..400, byte in 0u8..255) {
            let whole = with(r#","card":{"token":"tok"},"attributes":{"a":1,"b":"x"}"#);
            let at = cut.min(whole.len() - 1);
            proptest::prop_assert!(read(&whole[..at]).is_err());
            let mut bent = whole.into_bytes();
            bent[at] = byte;
            let _ = contract().read(&bent, None, Timestamp::MAX);
        }
    }
}

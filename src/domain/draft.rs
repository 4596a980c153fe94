//! A transaction being put together from whatever source: the one place where fields are checked.
//!
//! JSON, CSV, Parquet, mappings and the simulator all fill a [`Draft`]; [`Draft::finish`] gives a
//! [`Transaction`] or **every** fault at once, each with its field's path. No fault repeats the
//! value it is about: a card number sent by mistake must not come back in an error or a log.

use std::net::IpAddr;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::card_number;
use super::field::{TextField, TextRule};
use super::money::{Currency, RateTable};
use super::time::Timestamp;
use super::transaction::{Attribute, Transaction};

/// The largest amount in minor units: 2^53 - 1, exact as a double.
pub const AMOUNT_MAX: i64 = 9_007_199_254_740_991;
/// The longest id in bytes.
pub const ID_LEN_MAX: usize = 128;
/// The most free attributes of one transaction.
pub const ATTRIBUTES_MAX: usize = 32;
/// The longest text attribute in bytes.
pub const ATTRIBUTE_LEN_MAX: usize = 256;

/// Why a field was refused; stable, part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldErrorCode {
    /// A required field was not sent.
    Missing,
    /// Another type than the contract's.
    WrongType,
    /// The right type, but not a value of this field.
    InvalidValue,
    /// Too long, too large, negative, or too many.
    OutOfBounds,
    /// A full card number where none may be.
    CardNumber,
    /// No field of the contract.
    UnknownField,
    /// The same field twice.
    Duplicate,
    /// An event time further ahead of receipt than the contract allows.
    Future,
}

impl FieldErrorCode {
    /// Returns the name used in problems and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
            Self::OutOfBounds => "out_of_bounds",
            Self::CardNumber => "card_number",
            Self::UnknownField => "unknown_field",
            Self::Duplicate => "duplicate_field",
            Self::Future => "future_transaction",
        }
    }
}

/// One fault of one field. The text never holds the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {detail}")]
pub struct FieldError {
    /// What kind of fault.
    pub code: FieldErrorCode,
    /// The dotted path of the field, in the contract's words.
    pub path: CompactString,
    /// What was expected, for people.
    pub detail: CompactString,
}

impl FieldError {
    /// Builds a fault.
    #[must_use]
    pub fn new(code: FieldErrorCode, path: &str, detail: &str) -> Self {
        Self { code, path: path.into(), detail: detail.into() }
    }
}

/// A transaction in the making.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    id: Option<CompactString>,
    occurred_at: Option<Timestamp>,
    amount: Option<i64>,
    currency: Option<Currency>,
    lat: Option<f64>,
    lon: Option<f64>,
    arena: String,
    spans: [(u16, u16); TextField::COUNT],
    attributes: SmallVec<[(CompactString, Attribute); 2]>,
    faults: Vec<FieldError>,
}

impl Draft {
    /// Starts an empty draft.
    #[must_use]
    pub fn new() -> Self {
        Self { arena: String::with_capacity(192), ..Self::default() }
    }

    /// Records a fault found by the source (wrong type, unknown field).
    pub fn fault(&mut self, code: FieldErrorCode, path: &str, detail: &str) {
        self.faults.push(FieldError::new(code, path, detail));
    }

    /// Returns the faults recorded so far.
    #[must_use]
    pub fn faults(&self) -> &[FieldError] {
        &self.faults
    }

    /// Returns the event time set so far.
    #[must_use]
    pub const fn instant(&self) -> Option<Timestamp> {
        self.occurred_at
    }

    /// Tells whether a text field was set to an accepted text.
    #[must_use]
    pub const fn has(&self, field: TextField) -> bool {
        let (start, end) = self.spans[field.slot()];
        start != end
    }

    /// Sets the id: 1 to 128 visible characters.
    pub fn id(&mut self, id: &str) {
        if is_id(id) {
            self.id = Some(id.into());
        } else {
            self.fault(FieldErrorCode::OutOfBounds, "transaction_id", "expected 1 to 128 visible characters");
            self.id = Some(CompactString::const_new("?"));
        }
    }

    /// Sets the event time from RFC 3339 text.
    pub fn occurred_at_text(&mut self, text: &str) {
        let instant = Timestamp::parse(text);
        if instant.is_none() {
            let detail = "expected an RFC 3339 date-time with an offset, such as 2026-03-01T10:00:00Z";
            self.fault(FieldErrorCode::InvalidValue, "occurred_at", detail);
        }
        self.occurred_at = instant.or(Some(Timestamp::MIN));
    }

    /// Sets the event time.
    pub fn occurred_at(&mut self, instant: Timestamp) {
        self.occurred_at = Some(instant);
    }

    /// Sets the amount in minor units: 0 to [`AMOUNT_MAX`].
    pub fn amount(&mut self, amount: i64) {
        if !(0..=AMOUNT_MAX).contains(&amount) {
            self.fault(FieldErrorCode::OutOfBounds, "amount", "expected 0 to 9007199254740991 minor units");
        }
        self.amount = Some(amount);
    }

    /// Sets the currency from its ISO 4217 code.
    pub fn currency(&mut self, code: &str) {
        self.currency = Currency::parse(code);
        if self.currency.is_none() {
            self.fault(FieldErrorCode::InvalidValue, "currency", "expected an ISO 4217 code in capitals, such as EUR");
            self.currency = Some(Currency::NONE);
        }
    }

    /// Sets the latitude in degrees.
    pub fn latitude(&mut self, degrees: f64) {
        self.lat = Some(degrees);
        if !(-90.0..=90.0).contains(&degrees) {
            self.fault(FieldErrorCode::OutOfBounds, "location.lat", "expected -90 to 90 degrees");
        }
    }

    /// Sets the longitude in degrees.
    pub fn longitude(&mut self, degrees: f64) {
        self.lon = Some(degrees);
        if !(-180.0..=180.0).contains(&degrees) {
            self.fault(FieldErrorCode::OutOfBounds, "location.lon", "expected -180 to 180 degrees");
        }
    }

    /// Sets a text field after its check.
    pub fn text(&mut self, field: TextField, text: &str) {
        if let Err((code, detail)) = check_text(field.rule(), text) {
            self.fault(code, field.path(), detail);
            return;
        }
        let start = self.arena.len();
        self.arena.push_str(text);
        // 27 fields of at most 128 bytes stay far below 65,536.
        let (Ok(start), Ok(end)) = (u16::try_from(start), u16::try_from(self.arena.len())) else {
            self.fault(FieldErrorCode::OutOfBounds, field.path(), "too much text in one transaction");
            return;
        };
        self.spans[field.slot()] = (start, end);
    }

    /// Adds a free attribute; its name is a word of at most 64 bytes.
    pub fn attribute(&mut self, name: &str, value: Attribute) {
        let path = CompactString::from(format!("attributes.{name}"));
        let named = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !named {
            let detail = "expected a name of lower-case letters, digits and _, at most 64 bytes";
            return self.fault(FieldErrorCode::InvalidValue, "attributes", detail);
        }
        if self.attributes.len() >= ATTRIBUTES_MAX {
            return self.fault(FieldErrorCode::OutOfBounds, "attributes", "expected at most 32 attributes");
        }
        let wrong = match &value {
            Attribute::Bool(_) => None,
            Attribute::Int(number) => (number.unsigned_abs() > AMOUNT_MAX as u64)
                .then_some((FieldErrorCode::OutOfBounds, "expected a number within ±2^53")),
            Attribute::Float(number) => {
                (!number.is_finite()).then_some((FieldErrorCode::InvalidValue, "expected a finite number"))
            }
            Attribute::Text(text) if text.len() > ATTRIBUTE_LEN_MAX => {
                Some((FieldErrorCode::OutOfBounds, "expected at most 256 bytes"))
            }
            Attribute::Text(text) => card_number::found_in(text).then_some(CARD_NUMBER),
        };
        if let Some((code, detail)) = wrong {
            return self.fault(code, &path, detail);
        }
        self.attributes.push((name.into(), value));
    }

    /// Checks what is required and gives the transaction, its base amount by `rates`.
    ///
    /// # Errors
    /// All faults, in the order they were found, missing fields last.
    pub fn finish(mut self, rates: &RateTable) -> Result<Transaction, Vec<FieldError>> {
        let required = [
            ("transaction_id", self.id.is_some()),
            ("occurred_at", self.occurred_at.is_some()),
            ("amount", self.amount.is_some()),
            ("currency", self.currency.is_some()),
        ];
        for (path, present) in required {
            if !present {
                self.fault(FieldErrorCode::Missing, path, "required");
            }
        }
        if self.lat.is_some() != self.lon.is_some() {
            self.fault(FieldErrorCode::Missing, "location", "expected both lat and lon");
        }
        self.attributes.sort_by(|left, right| left.0.cmp(&right.0));
        if self.attributes.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            self.fault(FieldErrorCode::Duplicate, "attributes", "the same attribute twice");
        }
        let (Some(id), Some(occurred_at), Some(amount), Some(currency)) =
            (self.id, self.occurred_at, self.amount, self.currency)
        else {
            return Err(self.faults);
        };
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        Ok(Transaction {
            id,
            occurred_at,
            amount,
            currency,
            base_amount: rates.to_base(amount, currency),
            location: self.lat.zip(self.lon),
            arena: self.arena,
            spans: self.spans,
            attributes: self.attributes,
        })
    }
}

/// A code and what was expected.
pub(crate) type Fault = (FieldErrorCode, &'static str);

const CARD_NUMBER: Fault =
    (FieldErrorCode::CardNumber, "holds a full card number: send a token, the first 6 to 8 digits or the last 4");

fn is_id(text: &str) -> bool {
    (1..=ID_LEN_MAX).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Checks text against a field's rule; the fault never repeats the text.
pub(crate) fn check_text(rule: TextRule, text: &str) -> Result<(), Fault> {
    let all_digits = || text.bytes().all(|b| b.is_ascii_digit());
    let expect = |holds: bool, detail: &'static str| {
        if holds { Ok(()) } else { Err((FieldErrorCode::InvalidValue, detail)) }
    };
    // A card number in a field of another shape is named for what it is, not for its shape.
    if !matches!(rule, TextRule::Id) && text.len() >= 13 && card_number::found_in(text) {
        return Err(CARD_NUMBER);
    }
    match rule {
        TextRule::Id | TextRule::Card if is_id(text) => Ok(()),
        TextRule::Id | TextRule::Card => {
            Err((FieldErrorCode::OutOfBounds, "expected 1 to 128 visible characters without spaces"))
        }
        TextRule::Bin => expect((6..=8).contains(&text.len()) && all_digits(), "expected 6 to 8 digits"),
        TextRule::Digits4 => expect(text.len() == 4 && all_digits(), "expected 4 digits"),
        TextRule::Country => expect(
            text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()),
            "expected an ISO 3166-1 alpha-2 code in capitals, such as FR",
        ),
        TextRule::Ip => expect(text.parse::<IpAddr>().is_ok(), "expected an IPv4 or IPv6 address"),
        TextRule::Word => {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
            expect(
                (1..=32).contains(&text.len()) && text.bytes().all(plain),
                "expected a lower-case word of at most 32 letters, digits, _, - or .",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> RateTable {
        RateTable::identity(Currency::parse("EUR").expect("a currency"))
    }

    fn draft() -> Draft {
        let mut draft = Draft::new();
        draft.id("t-1");
        draft.occurred_at_text("2026-03-01T10:00:00Z");
        draft.amount(1_250);
        draft.currency("EUR");
        draft
    }

    #[test]
    fn all_faults_come_at_once() {
        let mut draft = Draft::new();
        draft.amount(-1);
        draft.currency("ZZZ");
        draft.text(TextField::CardToken, "4111111111111111");
        draft.text(TextField::MerchantMcc, "54110");
        draft.latitude(91.0);
        let faults = draft.finish(&rates()).expect_err("a refusal");
        let seen: Vec<_> = faults.iter().map(|fault| (fault.code.name(), fault.path.as_str())).collect();
        let expected = [
            ("out_of_bounds", "amount"),
            ("invalid_value", "currency"),
            ("card_number", "card.token"),
            ("invalid_value", "merchant.mcc"),
            ("out_of_bounds", "location.lat"),
            ("missing", "transaction_id"),
            ("missing", "occurred_at"),
            ("missing", "location"),
        ];
        assert_eq!(seen, expected);
        assert!(!format!("{faults:?}").contains("4111"), "a fault repeats the card number");
    }

    #[test]
    fn ids_are_exempt_and_free_text_is_not() {
        let mut exempt = draft();
        exempt.text(TextField::CustomerId, "4111111111111111");
        assert!(exempt.finish(&rates()).is_ok());
        let mut free = draft();
        free.attribute("note", Attribute::Text("card 4111 1111 1111 1111".into()));
        assert_eq!(free.finish(&rates()).expect_err("a refusal")[0].code, FieldErrorCode::CardNumber);
    }

    #[test]
    fn the_payload_hash_knows_every_field() {
        let plain = draft().finish(&rates()).expect("valid");
        let mut hashes = vec![plain.payload_hash()];
        for (field, _, rule) in TextField::ALL {
            let text = match rule {
                TextRule::Id | TextRule::Card | TextRule::Word => "x",
                TextRule::Bin => "411111",
                TextRule::Digits4 => "1234",
                TextRule::Country => "FR",
                TextRule::Ip => "10.0.0.1",
            };
            let mut changed = draft();
            changed.text(field, text);
            let changed = changed.finish(&rates()).expect("valid");
            assert_eq!(changed.text(field), Some(text));
            hashes.push(changed.payload_hash());
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }
}

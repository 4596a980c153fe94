//! A transaction: valid by construction, one allocation for all its text.
//!
//! ```text
//! texts  "c-42|tok_9|411111|FR"      one arena
//! spans  [(0,4), (4,9), ...]         slot of TextField -> where its text lies; (0,0) is absent
//! ```
//! Only [`super::Draft`] builds one, so what is inside has been checked.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::field::{Field, FieldRef, TextField};
use super::money::Currency;
use super::time::Timestamp;
use super::value::Value;

/// A free attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// True or false.
    Bool(bool),
    /// A whole number within ±2^53.
    Int(i64),
    /// A finite double.
    Float(f64),
    /// Text of at most 256 bytes.
    Text(CompactString),
}

/// One payment transaction, checked. Equal when every field is, in whatever order they were set.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub(super) id: CompactString,
    pub(super) occurred_at: Timestamp,
    pub(super) amount: i64,
    pub(super) currency: Currency,
    pub(super) base_amount: Option<i64>,
    pub(super) location: Option<(f64, f64)>,
    pub(super) arena: String,
    pub(super) spans: [(u16, u16); TextField::COUNT],
    pub(super) attributes: SmallVec<[(CompactString, Attribute); 2]>,
}

impl PartialEq for Transaction {
    fn eq(&self, other: &Self) -> bool {
        let header = |one: &Self| (one.occurred_at, one.amount, one.currency, one.base_amount, one.location);
        self.id == other.id
            && header(self) == header(other)
            && self.attributes == other.attributes
            && TextField::ALL.into_iter().all(|(field, _, _)| self.text(field) == other.text(field))
    }
}

impl Transaction {
    /// Returns the id that makes this transaction count once.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the event time.
    #[must_use]
    pub const fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }

    /// Returns the amount in minor units of [`Self::currency`], 0 or more.
    #[must_use]
    pub const fn amount(&self) -> i64 {
        self.amount
    }

    /// Returns the currency of the amount.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// Returns the amount in minor units of the base currency; `None` without a rate.
    #[must_use]
    pub const fn base_amount(&self) -> Option<i64> {
        self.base_amount
    }

    /// Returns latitude and longitude in degrees.
    #[must_use]
    pub const fn location(&self) -> Option<(f64, f64)> {
        self.location
    }

    /// Returns the text of a field; `None` when it was not sent.
    #[must_use]
    pub fn text(&self, field: TextField) -> Option<&str> {
        let (start, end) = self.spans[field.slot()];
        (start != end).then(|| &self.arena[usize::from(start)..usize::from(end)])
    }

    /// Returns the free attributes in name order.
    #[must_use]
    pub fn attributes(&self) -> &[(CompactString, Attribute)] {
        &self.attributes
    }

    /// Reads any field of the contract.
    #[must_use]
    pub fn value(&self, field: Field) -> Value<'_> {
        match field {
            Field::TransactionId => Value::Text(&self.id),
            Field::OccurredAt => Value::Int(self.occurred_at.seconds()),
            Field::Amount => Value::Int(self.amount),
            Field::Currency => Value::Text(self.currency.code()),
            Field::BaseAmount => self.base_amount.map_or(Value::Absent, Value::Int),
            Field::Latitude => self.location.map_or(Value::Absent, |(lat, _)| Value::Float(lat)),
            Field::Longitude => self.location.map_or(Value::Absent, |(_, lon)| Value::Float(lon)),
            Field::Text(text) => self.text(text).map_or(Value::Absent, Value::Text),
        }
    }

    /// Reads a free attribute by name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Value<'_> {
        match self.attributes.iter().find(|(known, _)| known == name) {
            None => Value::Absent,
            Some((_, Attribute::Bool(flag))) => Value::Bool(*flag),
            Some((_, Attribute::Int(number))) => Value::Int(*number),
            Some((_, Attribute::Float(number))) => Value::Float(*number),
            Some((_, Attribute::Text(text))) => Value::Text(text),
        }
    }

    /// Reads a field or an attribute.
    #[must_use]
    pub fn read(&self, field: &FieldRef) -> Value<'_> {
        match field {
            FieldRef::Known(field) => self.value(*field),
            FieldRef::Attribute(name) => self.attribute(name),
        }
    }

    /// Returns a 128-bit hash of everything the sender said (not of the derived base amount), equal
    /// for equal payloads whatever their spelling in JSON. XXH3: fast, not a signature.
    #[must_use]
    pub fn payload_hash(&self) -> u128 {
        let mut hash = Xxh3::new();
        let mut text = |slot: u8, text: &str| {
            hash.update(&[slot]);
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        text(255, &self.id);
        text(254, self.currency.code());
        for (slot, (field, _, _)) in (0..).zip(TextField::ALL) {
            if let Some(sent) = self.text(field) {
                text(slot, sent);
            }
        }
        for (name, value) in &self.attributes {
            text(253, name);
            match value {
                Attribute::Bool(flag) => text(252, if *flag { "1" } else { "0" }),
                Attribute::Int(number) => text(251, number.to_string().as_str()),
                Attribute::Float(number) => text(250, number.to_bits().to_string().as_str()),
                Attribute::Text(value) => text(249, value),
            }
        }
        let (lat, lon) = self.location.unwrap_or((f64::NAN, f64::NAN));
        for number in [self.occurred_at.micros() as u64, self.amount as u64, lat.to_bits(), lon.to_bits()] {
            hash.update(&number.to_le_bytes());
        }
        hash.digest128()
    }
}

/// Every field of a transaction as it was checked once, for whoever keeps transactions.
///
/// The base amount is part of it: the rates of then may not be those of now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept<'a> {
    id: &'a str,
    occurred_at: i64,
    amount: i64,
    currency: &'a str,
    base_amount: Option<i64>,
    location: Option<(f64, f64)>,
    #[serde(borrow)]
    texts: SmallVec<[(u8, &'a str); 16]>,
    #[serde(borrow)]
    attributes: SmallVec<[(&'a str, KeptAttribute<'a>); 2]>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum KeptAttribute<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
}

impl Transaction {
    /// Lends every field to be kept.
    #[must_use]
    pub fn kept(&self) -> Kept<'_> {
        let texts = (0..).zip(TextField::ALL).filter_map(|(slot, (field, _, _))| Some((slot, self.text(field)?)));
        let attributes = self.attributes.iter().map(|(name, value)| {
            let value = match value {
                Attribute::Bool(flag) => KeptAttribute::Bool(*flag),
                Attribute::Int(number) => KeptAttribute::Int(*number),
                Attribute::Float(number) => KeptAttribute::Float(*number),
                Attribute::Text(text) => KeptAttribute::Text(text),
            };
            (name.as_str(), value)
        });
        Kept {
            id: &self.id,
            occurred_at: self.occurred_at.micros(),
            amount: self.amount,
            currency: self.currency.code(),
            base_amount: self.base_amount,
            location: self.location,
            texts: texts.collect(),
            attributes: attributes.collect(),
        }
    }
}

impl Kept<'_> {
    /// Builds the transaction again; `None` when these fields cannot have been one.
    #[must_use]
    pub fn to_transaction(&self) -> Option<Transaction> {
        let mut arena = String::with_capacity(self.texts.iter().map(|(_, text)| text.len()).sum());
        let mut spans = [(0, 0); TextField::COUNT];
        for (slot, text) in &self.texts {
            let start = u16::try_from(arena.len()).ok()?;
            arena.push_str(text);
            *spans.get_mut(usize::from(*slot))? = (start, u16::try_from(arena.len()).ok()?);
        }
        let attributes = self.attributes.iter().map(|(name, value)| {
            let value = match value {
                KeptAttribute::Bool(flag) => Attribute::Bool(*flag),
                KeptAttribute::Int(number) => Attribute::Int(*number),
                KeptAttribute::Float(number) => Attribute::Float(*number),
                KeptAttribute::Text(text) => Attribute::Text((*text).into()),
            };
            (CompactString::from(*name), value)
        });
        Some(Transaction {
            id: Some(self.id).filter(|id| !id.is_empty())?.into(),
            occurred_at: Timestamp::from_micros(self.occurred_at),
            amount: self.amount,
            currency: Currency::parse(self.currency)?,
            base_amount: self.base_amount,
            location: self.location,
            arena,
            spans,
            attributes: attributes.collect(),
        })
    }
}

/// The name of an entity without its text: a seeded 128-bit hash of kind and id, so that memory per
/// entity is fixed. Two ids share a key with a chance below 1e-26 at a billion entities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey(u128);

impl EntityKey {
    /// Hashes an id within its kind (`seed` tells kinds apart).
    #[must_use]
    pub fn new(seed: u64, id: &str) -> Self {
        Self(xxh3_128_with_seed(id.as_bytes(), seed))
    }

    /// Returns the 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Transactions for the tests of every floor.

    use super::*;
    use crate::domain::{Draft, RateTable};

    /// Builds a transaction in euros; `amount` is in cents, and `more` says what else there is.
    pub(crate) fn transaction(id: &str, at: Timestamp, amount: i64, more: impl FnOnce(&mut Draft)) -> Transaction {
        let mut draft = Draft::new();
        draft.id(id);
        draft.occurred_at(at);
        draft.amount(amount);
        draft.currency("EUR");
        more(&mut draft);
        draft.finish(&RateTable::identity(Currency::EUR)).expect("valid")
    }

    /// Builds the same at an instant that is written out.
    pub(crate) fn transaction_at(id: &str, at: &str, amount: i64, more: impl FnOnce(&mut Draft)) -> Transaction {
        transaction(id, Timestamp::parse(at).expect("an instant"), amount, more)
    }
}

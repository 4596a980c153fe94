//! A transaction's JSON, read in one pass into a [`Draft`].
//!
//! ```text
//! {"transaction_id": .., "card": {"token": .., ..}, "attributes": {..}, ..}
//!    key ──place()──> Place ──leaf──> draft.text(..) | draft.amount(..) | draft.fault(..)
//! ```
//! A wrong type does not stop the reading: it becomes a fault of its field, and the rest is read on, so
//! that a sender sees everything at once. Only what is not JSON, or nests too deep, stops. `null` is the
//! same as not sent. Borrows the body; allocates only what the draft keeps.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::contract::UnknownFields;
use super::place::{Group, Place, place};
use super::reject::{Reject, pointer, pointer_to_name};
use super::strict::{self, Skip};
use crate::domain::transaction::Attribute;
use crate::domain::{Currency, Draft, FieldErrorCode, Timestamp, card_number};

/// What was read: the draft, and how many unknown fields were passed over.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) draft: Draft,
    pub(super) ignored: u32,
}

/// Reads one transaction.
///
/// # Errors
/// [`Reject`] when the body is no JSON object; faults of fields lie in the draft.
pub(super) fn read(body: &[u8], unknown: UnknownFields) -> Result<Reading, Reject> {
    let text = strict::text(body)?;
    let mut reader = Reader { draft: Draft::new(), unknown, ignored: 0, seen: 0, at: "" };
    let mut parser = serde_json::Deserializer::from_str(text);
    let read = Members { reader: &mut reader, group: None }.deserialize(&mut parser).and_then(|()| parser.end());
    match read {
        Ok(()) => Ok(Reading { draft: reader.draft, ignored: reader.ignored }),
        Err(error) if Skip::was_too_deep(&error) => Err(Reject::TooDeep { pointer: pointer(reader.at) }),
        Err(error) => Err(Reject::from_parser(&error, &pointer(reader.at), "a JSON object: one transaction")),
    }
}

struct Reader {
    draft: Draft,
    unknown: UnknownFields,
    ignored: u32,
    /// One bit per place, to see a key twice.
    seen: u64,
    /// The path being read, for a syntax error's pointer.
    at: &'static str,
}

/// Reads the members of the document itself or of one of its objects.
struct Members<'r> {
    reader: &'r mut Reader,
    group: Option<Group>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let reader = self.reader;
        while let Some(key) = members.next_key_seed(Key)? {
            let Some(place) = place(self.group, &key) else {
                reader.unknown(self.group.map_or("", Group::path), &key);
                members.next_value_seed(Skip { depth: 2 })?;
                continue;
            };
            reader.at = place.path();
            if reader.seen & place.bit() != 0 {
                reader.draft.fault(FieldErrorCode::Duplicate, place.path(), "the same field twice");
                members.next_value_seed(Skip { depth: 2 })?;
                continue;
            }
            reader.seen |= place.bit();
            members.next_value_seed(Leaf { reader, place })?;
        }
        Ok(())
    }
}

impl Reader {
    fn unknown(&mut self, parent: &str, key: &str) {
        self.at = "";
        match self.unknown {
            UnknownFields::Ignore => self.ignored += 1,
            UnknownFields::Refuse => {
                let path = pointer_to_name(&pointer(parent), key);
                self.draft.fault(FieldErrorCode::UnknownField, &path, "no field of the contract");
            }
        }
    }

    /// Records a wrong type, and fills a required field so that it is not called missing too.
    fn wrong_type(&mut self, place: Place) {
        self.draft.fault(FieldErrorCode::WrongType, place.path(), place.expected());
        match place {
            Place::Id => self.draft.id("?"),
            Place::OccurredAt => self.draft.occurred_at(Timestamp::MIN),
            Place::Amount => self.draft.amount(0),
            Place::Currency => self.draft.currency(Currency::NONE.code()),
            Place::Latitude => self.draft.latitude(0.0),
            Place::Longitude => self.draft.longitude(0.0),
            Place::Text(_) | Place::Object(_) | Place::Attributes => {}
        }
    }
}

/// Reads a key, borrowed where the body has it without escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.into()))
    }
}

/// Reads the value at one place, whatever its type.
struct Leaf<'r> {
    reader: &'r mut Reader,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Leaf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Leaf<'_> {
    fn number(self, number: f64) {
        match self.place {
            Place::Latitude => self.reader.draft.latitude(number),
            Place::Longitude => self.reader.draft.longitude(number),
            Place::Id
            | Place::OccurredAt
            | Place::Amount
            | Place::Currency
            | Place::Text(_)
            | Place::Object(_)
            | Place::Attributes => self.reader.wrong_type(self.place),
        }
    }
}

impl<'de> Visitor<'de> for Leaf<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let draft = &mut self.reader.draft;
        match self.place {
            Place::Text(field) => draft.text(field, text),
            Place::Id => draft.id(text),
            Place::OccurredAt => draft.occurred_at_text(text),
            Place::Currency => draft.currency(text),
            Place::Amount | Place::Latitude | Place::Longitude | Place::Object(_) | Place::Attributes => {
                self.reader.wrong_type(self.place);
            }
        }
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        if self.place == Place::Amount {
            // What does not fit is out of bounds; the draft says so.
            self.reader.draft.amount(i64::try_from(number).unwrap_or(i64::MAX));
        } else {
            self.number(number as f64);
        }
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        if self.place == Place::Amount {
            self.reader.draft.amount(number);
        } else {
            self.number(number as f64);
        }
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        if self.place == Place::Amount && number.abs() >= 9_007_199_254_740_992.0 {
            // Digits beyond 64 bits arrive as a double: too large, not of a wrong type.
            self.reader.draft.amount(i64::MAX);
        } else {
            self.number(number);
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.reader.wrong_type(self.place);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.reader.wrong_type(self.place);
        Skip { depth: 2 }.list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        match self.place {
            Place::Object(group) => Members { reader: self.reader, group: Some(group) }.visit_map(members),
            Place::Attributes => attributes(&mut self.reader.draft, members),
            Place::Id
            | Place::OccurredAt
            | Place::Amount
            | Place::Currency
            | Place::Latitude
            | Place::Longitude
            | Place::Text(_) => {
                self.reader.wrong_type(self.place);
                Skip { depth: 2 }.object(members)
            }
        }
    }
}

/// Reads the free attributes; the draft checks names, bounds, and that none comes twice.
fn attributes<'de, A: MapAccess<'de>>(draft: &mut Draft, mut members: A) -> Result<(), A::Error> {
    while let Some(name) = members.next_key_seed(Key)? {
        if card_number::found_in(&name) {
            draft.fault(FieldErrorCode::CardNumber, "attributes", "a name holds a full card number");
            members.next_value_seed(Skip { depth: 2 })?;
            continue;
        }
        match members.next_value_seed(AnyAttribute)? {
            Found::Value(value) => draft.attribute(&name, value),
            Found::Null => {}
            Found::Nested => {
                let path = pointer_to_name("/attributes", &name);
                draft.fault(FieldErrorCode::WrongType, &path, "expected a string, a number or a truth value");
            }
        }
    }
    Ok(())
}

enum Found {
    Value(Attribute),
    Null,
    Nested,
}

struct AnyAttribute;

impl<'de> DeserializeSeed<'de> for AnyAttribute {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyAttribute {
    type Value = Found;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an attribute")
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Value(Attribute::Text(text.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Found, E> {
        Ok(Found::Value(Attribute::Int(i64::try_from(number).unwrap_or(i64::MAX))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Found, E> {
        Ok(Found::Value(Attribute::Int(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Found, E> {
        Ok(Found::Value(Attribute::Float(number)))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Found, E> {
        Ok(Found::Value(Attribute::Bool(flag)))
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Found, A::Error> {
        Skip { depth: 3 }.list(items).map(|()| Found::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Found, A::Error> {
        Skip { depth: 3 }.object(members).map(|()| Found::Nested)
    }
}

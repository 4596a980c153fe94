//! Reading JSON without trusting it: values that are passed over, and whole documents, both with a
//! bound on nesting and without the same key twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::reject::{DEPTH_MAX, Reject};

const TOO_DEEP: &str = "nested too deep";
const DUPLICATE: &str = "the same key twice";

/// Checks that a body is UTF-8.
///
/// # Errors
/// [`Reject::Utf8`] with the first wrong byte.
pub(super) fn text(body: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(body).map_err(|error| Reject::Utf8 { offset: error.valid_up_to() })
}

/// Reads a whole document: bounded nesting, no key twice, nothing after it.
///
/// # Errors
/// [`Reject`] for everything that is not such a document.
pub(super) fn document(body: &[u8]) -> Result<Value, Reject> {
    let text = text(body)?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let read = Whole { depth: 0 }.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    read.map_err(|error| {
        let said = error.to_string();
        if said.starts_with(TOO_DEEP) {
            return Reject::TooDeep { pointer: "".into() };
        }
        if said.starts_with(DUPLICATE) {
            return Reject::Syntax { pointer: "".into(), detail: said };
        }
        Reject::from_parser(&error, "", "a JSON document")
    })
}

/// Passes over one value; `Err` only when it nests too deep or is not JSON.
pub(super) struct Skip {
    /// How deep this value lies.
    pub(super) depth: u32,
}

impl Skip {
    /// Tells whether an error came from a value that nests too deep.
    pub(super) fn was_too_deep(error: &serde_json::Error) -> bool {
        error.is_data() && error.to_string().starts_with(TOO_DEEP)
    }

    /// Passes over the rest of a list.
    pub(super) fn list<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while items.next_element_seed(Self { depth: inner })?.is_some() {}
        Ok(())
    }

    /// Passes over the rest of an object.
    pub(super) fn object<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while members.next_key::<serde::de::IgnoredAny>()?.is_some() {
            members.next_value_seed(Self { depth: inner })?;
        }
        Ok(())
    }

    fn inner<E: serde::de::Error>(&self) -> Result<u32, E> {
        if self.depth >= DEPTH_MAX { Err(E::custom(TOO_DEEP)) } else { Ok(self.depth + 1) }
    }
}

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.object(members)
    }
}

/// Builds one value, refusing a key twice.
struct Whole {
    depth: u32,
}

impl Whole {
    fn inner<E: serde::de::Error>(&self) -> Result<u32, E> {
        Skip { depth: self.depth }.inner()
    }
}

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self { depth })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let depth = self.inner()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self { depth })?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_bounded_and_unambiguous() {
        assert_eq!(document(br#"{"a":[1,"x",null,1.5,true]}"#), Ok(serde_json::json!({"a":[1,"x",null,1.5,true]})));
        let deep = "[".repeat(100_000);
        assert!(matches!(document(deep.as_bytes()), Err(Reject::TooDeep { .. })));
        assert!(matches!(document(br#"{"a":1,"a":2}"#), Err(Reject::Syntax { .. })));
        assert!(matches!(document(b"{} x"), Err(Reject::Syntax { .. })));
        assert_eq!(document(b"\"\xff\""), Err(Reject::Utf8 { offset: 1 }));
    }
}

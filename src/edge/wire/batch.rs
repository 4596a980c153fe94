//! Many transactions in one body: `{"transactions": [...]}`, each read on its own.
//!
//! The body is cut into its items in one pass; a wrong item is the item's problem, a body that is not
//! JSON is everybody's.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::reject::Reject;
use super::strict;

/// The most transactions of one batch.
pub const TRANSACTIONS_MAX: usize = 1_000;

/// The items of a batch, in order, still as text.
#[derive(Debug)]
pub struct Batch<'a> {
    /// One item's JSON each.
    pub items: Vec<&'a str>,
}

impl<'a> Batch<'a> {
    /// Cuts a body into its transactions.
    ///
    /// # Errors
    /// [`Reject`] when the body as a whole is not a batch of at most `items_max`.
    pub fn read(body: &'a [u8], items_max: usize) -> Result<Self, Reject> {
        let text = strict::text(body)?;
        let envelope: Envelope<'a> = serde_json::from_str(text)
            .map_err(|error| Reject::from_parser(&error, "", "an object with one list named \"transactions\""))?;
        if envelope.transactions.len() > items_max {
            return Err(Reject::TooMany { max: items_max });
        }
        Ok(Self { items: envelope.transactions.into_iter().map(RawValue::get).collect() })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, deserialize_with = "bounded")]
    transactions: Vec<&'a RawValue>,
}

/// Collects at most one item more than allowed; the rest is read past, so that the text is still checked.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'de RawValue>, D::Error> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() <= TRANSACTIONS_MAX {
                    list.push(item);
                }
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(Items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_into_its_items() {
        let batch = Batch::read(br#"{"transactions":[{"a":1}, "x", [2]]}"#, 3).expect("a batch");
        assert_eq!(batch.items, [r#"{"a":1}"#, "\"x\"", "[2]"]);
        assert!(Batch::read(br#"{"transactions":[]}"#, 3).expect("a batch").items.is_empty());
    }

    #[test]
    fn what_is_no_batch_is_refused_whole() {
        for wrong in ["[]", "{}", r#"{"transactions":{}}"#, r#"{"transactions":[],"x":1}"#] {
            assert!(matches!(Batch::read(wrong.as_bytes(), 3), Err(Reject::Shape { .. })), "{wrong}");
        }
        assert!(matches!(Batch::read(br#"{"transactions":[1,]}"#, 3), Err(Reject::Syntax { .. })));
        assert!(matches!(Batch::read(br#"{"transactions":[1,2,3,4]}"#, 3), Err(Reject::TooMany { max: 3 })));
        let twice = br#"{"transactions":[],"transactions":[]}"#;
        assert!(matches!(Batch::read(twice, 3), Err(Reject::Shape { .. })));
    }
}

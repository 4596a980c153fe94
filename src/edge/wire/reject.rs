//! Why a body was not read: the document itself, or its fields, each with an RFC 6901 pointer.

use std::fmt::Write as _;

use compact_str::CompactString;

use crate::domain::{FieldError, FieldErrorCode, card_number};

/// The deepest nesting of a body; the contract itself needs three levels.
pub const DEPTH_MAX: u32 = 16;
/// The most faults that are told in one answer; the rest are counted.
pub const FAULTS_MAX: usize = 32;
/// The most bytes of a sender's own field name that an answer repeats.
pub const NAME_LEN_MAX: usize = 64;

/// One fault of one place in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: an RFC 6901 pointer into the body.
    pub pointer: CompactString,
    /// What kind; stable, part of the API.
    pub code: &'static str,
    /// What was expected, for people; never what was sent.
    pub detail: CompactString,
}

impl Fault {
    /// Builds a fault.
    #[must_use]
    pub fn new(pointer: &str, code: &'static str, detail: &str) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8 from byte {offset} on")]
    Utf8 {
        /// The first wrong byte.
        offset: usize,
    },
    /// The text is not JSON.
    #[error("the body is not JSON: {detail}")]
    Syntax {
        /// The field being read.
        pointer: CompactString,
        /// What the parser says: line, column, what it expected.
        detail: String,
    },
    /// Objects and arrays lie deeper than [`DEPTH_MAX`].
    #[error("the body nests deeper than {DEPTH_MAX} levels")]
    TooDeep {
        /// The field being read.
        pointer: CompactString,
    },
    /// JSON, but not of the shape this door takes.
    #[error("the body is not {expected}")]
    Shape {
        /// What it takes.
        expected: &'static str,
    },
    /// More items than one body may carry.
    #[error("the body carries more than {max} items")]
    TooMany {
        /// How many it may carry.
        max: usize,
    },
    /// Fields are wrong, each named once.
    #[error("{} fields are wrong", faults.len())]
    Fields {
        /// What they are fields of: `transaction`, `label`, `list_entry`.
        subject: Subject,
        /// All faults, in the order they were found.
        faults: Vec<Fault>,
    },
}

/// What a body is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A transaction.
    Transaction,
    /// A label.
    Label,
    /// An allow or deny entry.
    ListEntry,
    /// An override of the breaker.
    Override,
}

impl Reject {
    /// Builds a refusal of a transaction's fields.
    #[must_use]
    pub fn transaction(errors: Vec<FieldError>) -> Self {
        Self::Fields { subject: Subject::Transaction, faults: errors.into_iter().map(Fault::from).collect() }
    }

    /// Sorts a parser's error by what went wrong, without the text that was sent.
    #[must_use]
    pub fn from_parser(error: &serde_json::Error, pointer: &str, expected: &'static str) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::Shape { expected },
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => Self::Syntax { pointer: pointer.into(), detail: error.to_string() },
        }
    }

    /// Returns the same refusal with every pointer moved below `prefix`.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        match &mut self {
            Self::Syntax { pointer, .. } | Self::TooDeep { pointer } => pointer.insert_str(0, prefix),
            Self::Fields { faults, .. } => faults.iter_mut().for_each(|fault| fault.pointer.insert_str(0, prefix)),
            Self::Utf8 { .. } | Self::Shape { .. } | Self::TooMany { .. } => {}
        }
        self
    }

    /// Tells whether a fault of this kind is among the fields'.
    #[must_use]
    pub fn has(&self, code: FieldErrorCode) -> bool {
        match self {
            Self::Fields { faults, .. } => faults.iter().any(|fault| fault.code == code.name()),
            Self::Utf8 { .. }
            | Self::Syntax { .. }
            | Self::TooDeep { .. }
            | Self::Shape { .. }
            | Self::TooMany { .. } => false,
        }
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Self { pointer: pointer(&error.path), code: error.code.name(), detail: error.detail }
    }
}

/// Turns a dotted path of the contract into a pointer; what begins with `/` is one already.
#[must_use]
pub fn pointer(path: &str) -> CompactString {
    if path.is_empty() || path.starts_with('/') {
        return path.into();
    }
    let mut pointer = CompactString::with_capacity(path.len() + 1);
    for segment in path.split('.') {
        pointer.push('/');
        pointer.push_str(segment);
    }
    pointer
}

/// Returns a pointer to a name the sender made up: escaped, cut, and with card numbers masked.
#[must_use]
pub fn pointer_to_name(parent: &str, name: &str) -> CompactString {
    let mut pointer = CompactString::from(parent);
    pointer.push('/');
    let masked = card_number::masked(name);
    for character in masked.chars() {
        if pointer.len() >= parent.len() + NAME_LEN_MAX {
            pointer.push('…');
            break;
        }
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
    pointer
}

/// Returns a pointer to the item at `index` of a list at `parent`.
#[must_use]
pub fn pointer_to_item(parent: &str, index: usize) -> CompactString {
    let mut pointer = CompactString::from(parent);
    write!(pointer, "/{index}").expect("writing to a string cannot fail");
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_follow_rfc_6901() {
        assert_eq!(pointer("card.token"), "/card/token");
        assert_eq!(pointer(""), "");
        assert_eq!(pointer("/a~1b"), "/a~1b");
        assert_eq!(pointer_to_name("/card", "a/b~c.d"), "/card/a~1b~0c.d");
        assert_eq!(pointer_to_item("/transactions", 3), "/transactions/3");
    }

    #[test]
    fn names_of_the_sender_are_masked_and_cut() {
        assert!(!pointer_to_name("", "pan 4111111111111111").contains("411111111111"));
        assert!(pointer_to_name("", &"x".repeat(500)).len() < 80);
    }
}

//! Windows over the events of one entity: exact, sliding per event, in event time.
//!
//! ```text
//! Log     rows, oldest first        row = [time | id, flags | columns ...]   8 bytes a word
//! Track   where, column, delay      one backward pass serves all its nested windows
//! Panes   summaries per resolution  for hot keys: bounded memory, exact to the pane
//! ```
//! A window is `(t - delay - w, t - delay]`: left open, right closed. A row is seen by a transaction
//! when it is earlier, or of the same instant and arrived before (`FE-1`). A label is seen from its
//! own event time on. What this room does not know: which entity, which feature, which schema.

mod label;
mod log;
mod moments;
mod panes;
mod seen;
mod track;

pub use label::{LABEL_HISTORY_MAX, LabelMark};
pub use log::{Inserted, Log};
pub use moments::Moments;
pub use panes::{PANES_MAX, PaneSpec, PaneTrack, Panes};
pub use seen::Seen;
pub use track::{Above, AsOf, Filter, LabelFilter, Measure, Reading, Track};

use crate::domain::{Value, ValueKind};

/// Words before the first column: the time, then the id and flags.
pub const HEADER_WORDS: usize = 2;
/// The most predicates (`where`) one store keeps; each is a bit of a row.
pub const PREDICATES_MAX: usize = 29;
/// Stands in a numeric column for a value that was not there.
pub const ABSENT: u64 = i64::MIN.cast_unsigned();

/// How a column's word is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// An `i64`; sums are exact.
    Int,
    /// The bits of a finite `f64`.
    Float,
    /// A 64-bit hash of text: equal or not, nothing else.
    Text,
}

impl ColumnKind {
    /// Returns how values of a field's kind are kept.
    #[must_use]
    pub const fn of(kind: ValueKind) -> Self {
        match kind {
            ValueKind::Bool | ValueKind::Int => Self::Int,
            ValueKind::Float => Self::Float,
            ValueKind::Text => Self::Text,
        }
    }

    /// Turns a value into its word; [`ABSENT`] for absence and for values of another kind.
    #[must_use]
    pub fn word(self, value: Value<'_>) -> u64 {
        match (self, value) {
            (Self::Int, Value::Int(number)) => number.cast_unsigned(),
            (Self::Int, Value::Bool(flag)) => u64::from(flag),
            // Adding zero turns -0.0 into 0.0, whose bits are not those of ABSENT.
            (Self::Float, Value::Float(number)) => (number + 0.0).to_bits(),
            (Self::Float, Value::Int(number)) => (number as f64).to_bits(),
            (Self::Text, Value::Text(text)) => text_word(text),
            (Self::Int | Self::Float | Self::Text, _) => ABSENT,
        }
    }

    /// Reads a numeric word; `None` when absent or text.
    #[must_use]
    pub fn number(self, word: u64) -> Option<f64> {
        if word == ABSENT {
            return None;
        }
        match self {
            Self::Int => Some(word.cast_signed() as f64),
            Self::Float => Some(f64::from_bits(word)),
            Self::Text => None,
        }
    }
}

fn text_word(text: &str) -> u64 {
    let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
    if hash == ABSENT { 0 } else { hash }
}

/// Packs the second word of a row: 32 bits of the transaction id's hash (told apart only among rows
/// of one entity and one microsecond), and the predicates that held.
#[must_use]
pub const fn id_word(id_hash: u64, predicates: u32) -> u64 {
    (id_hash & !0xffff_ffff) | ((predicates as u64) << label::FLAG_BITS)
}

const fn predicate_mask(predicate: u8) -> u64 {
    1 << (label::FLAG_BITS + predicate as u32)
}

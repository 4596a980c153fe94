//! Dead letters: records that could not be decided, kept with the reason, looked at, sent again.
//!
//! ```text
//! record ──letter::Letter::write──> topics.dead ──reader──> Letter ──list──> people
//!                                                             └──replay──> topics.transactions, attempt + 1
//! ```
//! A letter is a value; who writes one does so in the transaction of the record's offset. Full card
//! numbers never get in.

pub mod letter;
pub mod reader;
pub mod replay;

pub use letter::{Cause, Letter, Origin, Stage};

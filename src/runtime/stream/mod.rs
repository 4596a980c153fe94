//! The stream's side of state: what is known of a partition, who owns it, and how a batch of records
//! becomes decisions, entity state, changelog and local store, without knowing what a broker is.
//!
//! ```text
//! record ─ Prefix::classify ─> Scorer::decide_group ─> Held ─┬> changelog (the same transaction)
//!                                                            └> after the commit: Ledger::keep_group
//! assigned:  local position L ─> changelog L..X ─> StateSink::apply ─> Live      revoked: StateSink::release
//! ```
//! Position, prefix, partitioner and changelog are pure: the same records give the same bytes. Topics,
//! offsets of a group and transactions with a broker are the edge's.

pub mod changelog;
pub mod group;
pub mod ownership;
pub mod partitioner;
pub mod position;
pub mod sink;

pub use changelog::{Blob, BlobWriter, Entry};
pub use group::{Advance, HeldLabel, StreamGroup, StreamRequest, Streamed};
pub use ownership::{Ownership, Standing};
pub use partitioner::Partitioner;
pub use position::{Disposition, Lateness, Position, Prefix, TimeBounds, Topic};
pub use sink::StateSink;

#[cfg(test)]
pub(crate) mod tests;

//! The Kafka door: records in, decisions out, exactly once.
//!
//! ```text
//! broker ──lane──> records of a batch ──desk──> decisions, changelog, offsets ──lane──> one transaction
//! ```
//! `lane` knows how to move a batch through a transaction and nothing of what is in it. Whatever names the
//! client library stays in this room.

pub mod lane;

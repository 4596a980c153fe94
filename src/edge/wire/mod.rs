//! JSON v1, in and out: bytes become domain types once, and domain types become bytes once.
//!
//! ```text
//! transaction.rs  one pass over a body into a Draft          place.rs     where each key leads
//! contract.rs     what else must hold
//! mapping.rs      a foreign record into the same Draft       batch.rs     many transactions in one body
//! label.rs        labels in        entry.rs  list entries in
//! decision.rs     a decision out, hand-written               writer.rs    the few JSON strokes it needs
//! ```
//! Knows no status codes and no sockets: what cannot be read is a [`Reject`], and
//! [`crate::edge::problem`] says what that means to a caller. No text here repeats a value of the
//! sender: a card number sent by mistake must not come back.

pub mod batch;
pub mod contract;
pub mod decision;
pub mod entry;
pub mod force;
pub mod label;
pub mod mapping;
mod place;
pub mod record;
pub mod reject;
mod strict;
pub mod transaction;
pub mod vector;
pub mod writer;

pub use batch::Batch;
pub use contract::{Contract, Intake, UnknownFields};
pub use decision::{DecisionWriter, FeatureNames};
pub use mapping::{Mapping, MappingFault, Mappings};
pub use reject::{Fault, Reject};

//! The Kafka door: records in, decisions out, exactly once.
//!
//! ```text
//! options ──client──> librdkafka's configurations
//! connect  first contact: is a broker there, does it let us in, is it new enough
//! topics   what a stream needs, made and checked
//! dead     records that could not be decided: written, listed, replayed
//! ```
//! Whatever names the client library stays in this room.

pub mod client;
pub mod connect;
pub mod dead;
pub mod headers;
pub mod options;
pub mod topics;

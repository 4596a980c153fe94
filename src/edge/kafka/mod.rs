//! The Kafka door: records in, decisions out, exactly once.
//!
//! ```text
//! options ──client──> librdkafka's configurations
//! topics  what a stream needs, made and checked
//! ```
//! Whatever names the client library stays in this room.

pub mod client;
pub mod connect;
pub mod options;
pub mod topics;

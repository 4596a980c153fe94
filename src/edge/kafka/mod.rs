//! The Kafka door: records in, decisions out, exactly once.
//!
//! ```text
//! broker ──lane──> records of a batch ──desk──> decisions, changelog, offsets ──lane──> one transaction
//! outbox ──> decisions of the REST door into the stream     signature: what one door says to the other
//! options ──client──> librdkafka's configurations           topics: what a stream needs, made and checked
//! connect ──> the first word with a broker, and what is wrong with it
//! ```
//! `lane` knows how to move a batch through a transaction and nothing of what is in it; `desk` knows what
//! records mean and no client library. Whatever names the client library stays in this room.

pub mod changelog;
pub mod client;
pub mod connect;
pub mod desk;
pub mod lane;
pub mod options;
pub mod outbox;
pub mod signature;
pub mod topics;

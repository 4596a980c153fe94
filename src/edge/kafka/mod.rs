//! The Kafka door: records in, decisions out, exactly once.
//!
//! ```text
//! broker ──lane──> records of a batch ──desk──> decisions, changelog, offsets ──lane──> one transaction
//! source of other keys ──lane──> records of a batch ──rekey──> transactions under their own key ──lane──> one transaction
//! outbox     decisions of the REST door into the stream     signature: what one door says to the other
//! changelog  state of a partition, read back                dead: records that could not be decided: written, listed, replayed
//! options ──client──> librdkafka's configurations           connect: is a broker there, does it let us in, is it new enough
//! topics     what a stream needs, made and checked
//! ```
//! `lane` knows how to move a batch through a transaction and nothing of what is in it; `desk` knows what
//! records mean and no client library. Whatever names the client library stays in this room.

pub mod changelog;
pub mod client;
pub mod connect;
pub mod dead;
pub mod desk;
pub mod headers;
pub mod lane;
pub mod options;
pub mod outbox;
pub mod publisher;
pub mod rekey;
pub mod signature;
pub mod topics;

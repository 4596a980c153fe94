//! A lane: one thread, one consumer, one transactional producer, one batch at a time.
//!
//! ```text
//!            ┌───────────────────────────── committed ──────────────────────────────┐
//!            v                                                                      │
//! poll ─> gather ─> decide ─> begin ─> emit ─> flush ─> offsets ─> commit ──────────┤
//!            ^        (once)    ^                    │ fault            │ outcome   │
//!            │                  │                    v                  v unknown   │
//!            │                  └─── pause <─── abort / rebuild ──> settle ─────────┘
//!            └── nothing left (partitions went)        (reads the committed offset)
//! ```
//! - A batch is decided once and kept until it is committed; nothing is undone, sought back or decided again.
//! - The consumer is polled only while no transaction is open. So partitions can go at any poll: the batch just
//!   sheds their records.
//! - Every batch has a token, committed in the offsets' metadata: after a commit whose outcome is unknown, the token
//!   tells it.
//! - Partitions are read only from the moment their state is restored, at the offsets the work names.
//!
//! `broker` and `work` are what a lane needs of others; it knows neither the client library nor what a record means.

mod breaker;
pub mod broker;
pub mod cluster;
mod core;
pub mod fault;
mod linger;
mod options;
mod ownership;
mod publish;
pub mod record;
mod run;
#[cfg(test)]
mod simulation;
mod status;
pub mod work;

pub use broker::{Broker, Event, Lag};
pub use cluster::{Cluster, Topics};
pub use core::Lane;
pub use fault::{Class, Fault};
pub use options::Options;
pub use record::{Assigned, Committed, Fetched, Headers, NextOffset, Output, Place, Sink, Source, Start};
pub use run::run;
pub use status::{Shown, State, Status};
pub use work::{Restored, Work};

//! What a lane needs of a broker.
//!
//! There are two: `rdkafka`, the real one, and the simulated one of the tests. Ownership and the group's generation
//! belong together: an implementation takes the generation down when the group tells it of partitions, and
//! uses that one, never a newer one, for the offsets. A newer one would let a lane commit offsets of partitions that
//! somebody else already reads.

use std::time::Duration;

use super::fault::Fault;
use super::record::{Assigned, Committed, Fetched, NextOffset, Output, Start};

/// What a poll brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record of a started partition.
    Record(Fetched),
    /// Partitions came, perhaps none; they are not read until started. A new generation is known.
    Assigned(Vec<i32>),
    /// Partitions went, perhaps none; nothing more of them will be read. A new generation is known.
    Revoked {
        /// Which.
        partitions: Vec<i32>,
        /// Whether somebody else may own them already.
        is_lost: bool,
    },
    /// Nothing within the wait.
    Idle,
    /// The consumer reports a fault.
    Fault(Fault),
}

/// How far the lane is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Records not read yet, over all partitions.
    pub records: u64,
    /// Records not read yet in the partition that has most.
    pub records_max: u64,
}

/// A consumer and a transactional producer. No call but `poll` serves the group's events.
pub trait Broker {
    /// Returns the time since some start; it never goes back.
    fn now(&self) -> Duration;

    /// Waits for the next event, at most `wait`.
    fn poll(&mut self, wait: Duration) -> Event;

    /// Looks up where these partitions stand; waits for transactions of others that are still open on them.
    ///
    /// # Errors
    /// Retriable while the group's coordinator is away or a transaction is open.
    fn places(&mut self, partitions: &[i32]) -> Result<Vec<Assigned>, Fault>;

    /// Reads the committed offsets of `transactions`.
    ///
    /// # Errors
    /// As [`Self::places`].
    fn committed(&mut self, partitions: &[i32]) -> Result<Vec<(i32, Option<Committed>)>, Fault>;

    /// Begins to read partitions of both topics at these offsets.
    ///
    /// # Errors
    /// When a partition is not owned any more.
    fn start(&mut self, starts: &[Start]) -> Result<(), Fault>;

    /// Stops the flow of records of all started partitions, but not of events.
    fn pause(&mut self);

    /// Lets records flow again.
    fn resume(&mut self);

    /// Begins a transaction.
    ///
    /// # Errors
    /// By class.
    fn begin(&mut self) -> Result<(), Fault>;

    /// Adds a record to the transaction without waiting for the broker.
    ///
    /// # Errors
    /// Retriable when the producer's queue is full; else by class.
    fn produce(&mut self, output: &Output) -> Result<(), Fault>;

    /// Waits until everything produced has been taken by the broker, at most `wait`.
    ///
    /// # Errors
    /// Retriable at the end of the wait; else by class.
    fn flush(&mut self, wait: Duration) -> Result<(), Fault>;

    /// Adds offsets to the transaction under the generation of the last event handed out.
    ///
    /// # Errors
    /// By class; `StaleGeneration` when the group has moved on or no generation is known.
    fn offsets(&mut self, offsets: &[NextOffset], token: &str, wait: Duration) -> Result<(), Fault>;

    /// Commits the transaction.
    ///
    /// # Errors
    /// By class. After any of them it is not known whether the transaction was committed.
    fn commit(&mut self, wait: Duration) -> Result<(), Fault>;

    /// Aborts the transaction.
    ///
    /// # Errors
    /// By class.
    fn abort(&mut self, wait: Duration) -> Result<(), Fault>;

    /// Makes the producer anew, which settles whatever transaction its predecessor left. Called again after a
    /// retriable error it goes on with what it began.
    ///
    /// # Errors
    /// By class.
    fn rebuild(&mut self, wait: Duration) -> Result<(), Fault>;

    /// Makes the consumer anew. Nothing is owned afterwards, and what was queued is gone.
    ///
    /// # Errors
    /// By class.
    fn reopen(&mut self) -> Result<(), Fault>;

    /// Returns how far the lane is behind, as far as it is known without asking.
    fn lag(&self) -> Lag;

    /// Closes both clients. The group is not told: a static member keeps its partitions for the session's time.
    fn close(&mut self, wait: Duration);
}

//! What a lane needs of those who know what the records mean.
//!
//! A batch is decided once and is a value from then on: it can be published as often as it takes, it can
//! lose the records of partitions that went, and it is told when it is committed. Nothing of it may be visible before.

use super::fault::Fault;
use super::record::{Assigned, Fetched, NextOffset, Output, Start};

/// What became of restoring a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Its state is there; read on from here.
    Ready(Start),
    /// Its state cannot be had: the partition is not read and the lane says why.
    Failed {
        /// Which partition.
        partition: i32,
        /// Why, for a person to read.
        reason: String,
    },
}

/// The decisions behind a lane. All calls come from the lane's thread.
pub trait Work {
    /// A decided batch.
    type Batch;

    /// Takes notice of partitions that came and starts to restore them in the background; of none when the group has
    /// none for this lane.
    fn assigned(&mut self, partitions: Vec<Assigned>);

    /// Returns what has been restored since the last call. Called often, so it must be cheap.
    fn restored(&mut self) -> Vec<Restored>;

    /// Forgets partitions; whatever was begun for them is dropped. `is_lost`: somebody else may own them already.
    fn revoked(&mut self, partitions: &[i32], is_lost: bool);

    /// Tells whether another batch may be decided; while not, the lane pauses its partitions.
    fn has_room(&self) -> bool;

    /// Tells whether no records shall be taken for now, by order. What was taken is decided and committed.
    fn is_paused(&self) -> bool {
        false
    }

    /// Decides a batch. It cannot fail: what cannot be decided becomes a dead letter of the batch. Records of one
    /// partition come in the order of their offsets.
    fn decide(&mut self, records: Vec<Fetched>) -> Self::Batch;

    /// Drops the records of partitions that went from a batch that is not committed.
    fn shed(&mut self, batch: &mut Self::Batch, partitions: &[i32]);

    /// Tells whether nothing is left in a batch.
    fn is_empty(&self, batch: &Self::Batch) -> bool;

    /// Hands out the outputs of a batch, each time the same in the same order, and stops at the first error.
    ///
    /// # Errors
    /// Those of `to`.
    fn emit(&self, batch: &Self::Batch, to: &mut dyn FnMut(&Output) -> Result<(), Fault>) -> Result<(), Fault>;

    /// Returns the offsets to commit with a batch. Every partition with records in it has one of `transactions`, moved or
    /// not, for its metadata and the batch's token travel there; and one of `labels` when that moved.
    fn offsets(&self, batch: &Self::Batch) -> Vec<NextOffset>;

    /// Makes a committed batch visible and durable here.
    fn committed(&mut self, batch: Self::Batch);

    /// Returns why the lane should stop taking records, if it should: a fault of the whole, not of one record. Asked after
    /// each `decide`, too: then that batch is not published. Once it should, it should for good.
    fn halt(&self) -> Option<String>;
}

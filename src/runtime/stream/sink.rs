//! Applying the changelog: entity state, known ids and the local store take what other transactions did.
//!
//! Applying a blob twice, or blobs of one partition in any order, gives the same state: events and labels
//! count once, and ids are learnt once. The order is checked all the same, by [`StateSink::follow`]: a gap is
//! an error and not state that is silently less than whole.

use std::sync::Arc;

use super::changelog::{Blob, Entry};
use super::group::Advance;
use super::position::Position;
use crate::domain::{Timestamp, Transaction};
use crate::runtime::decisions::{Learnt, Ledger};
use crate::runtime::entities::Entities;
use crate::runtime::store::{Group, id_key, put_confirmed, put_known};

/// Why the changelog does not lead from where we are to where we must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A blob begins elsewhere than where the one before it ended.
    #[error(
        "the changelog has a gap: at transaction {} and label {} comes a record that begins at {} and {}",
        at.transactions, at.labels, found.transactions, found.labels
    )]
    Gap {
        /// Where we are.
        at: Position,
        /// Where the blob begins.
        found: Position,
    },
    /// Both name the same offsets and saw other records.
    #[error("at transaction {} the changelog has another history than the state here", at.transactions)]
    Diverged {
        /// Where we are.
        at: Position,
    },
}

/// What one blob did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Transactions, known ones included.
    pub events: u64,
    /// Ids without an event.
    pub ids: u64,
    /// Labels.
    pub labels: u64,
}

/// Applies blobs to this instance's state. Cheap to clone. The store must have been restored before.
#[derive(Clone)]
pub struct StateSink {
    entities: Arc<Entities>,
    ledger: Arc<Ledger>,
}

impl StateSink {
    /// Makes a sink over the state of a scorer.
    #[must_use]
    pub fn new(entities: Arc<Entities>, ledger: Arc<Ledger>) -> Self {
        Self { entities, ledger }
    }

    /// Tells whether a blob goes on from `at`; what lies wholly before it is `Ok(false)`.
    ///
    /// # Errors
    /// [`Error::Gap`], [`Error::Diverged`].
    pub fn follow(at: &Position, blob: &Blob<'_>) -> Result<bool, Error> {
        let (before, after) = (&blob.before, &blob.after);
        if before == at {
            return Ok(true);
        }
        let is_passed = after.transactions <= at.transactions && after.labels <= at.labels;
        if is_passed {
            return Ok(false);
        }
        if (before.transactions, before.labels) == (at.transactions, at.labels) {
            return Err(Error::Diverged { at: *at });
        }
        Err(Error::Gap { at: *at, found: *before })
    }

    /// Applies a blob and hands it to the local store with its position: `continues` says that what comes
    /// before it is there, else the position begins anew with it. Blocks while the store's line is full.
    pub fn apply(&self, partition: u32, blob: &Blob<'_>, continues: bool) -> Applied {
        let mut group = Group::default();
        let mut applied = Applied::default();
        let at = Timestamp::from_micros(blob.wall_ms.saturating_mul(1_000));
        for entry in &blob.entries {
            match entry {
                Entry::Event { transaction, payload } => {
                    self.entities.absorb(transaction);
                    group.events.push(payload.to_vec());
                    self.learn(id_key(transaction.id()), || Transaction::payload_hash(transaction), at, &mut group);
                    applied.events += 1;
                }
                Entry::Id { key, payload_hash } => {
                    self.learn(*key, || *payload_hash, at, &mut group);
                    applied.ids += 1;
                }
                Entry::Label { label, payload } => {
                    self.entities.label(label);
                    group.events.push(payload.to_vec());
                    applied.labels += 1;
                }
            }
        }
        let before = continues.then_some(blob.before);
        group.advances.push(Advance { partition, before, after: blob.after });
        self.ledger.hand_over(group);
        applied
    }

    /// Begins a partition in the local store at a position that nothing local comes before.
    pub fn begin(&self, partition: u32, at: Position) {
        let advances = vec![Advance { partition, before: None, after: at }];
        self.ledger.hand_over(Group { advances, ..Group::default() });
    }

    /// Forgets the state of partitions that are ours no longer, here and in the local store.
    pub fn release(&self, partitions: &[u32]) {
        self.entities.release(partitions);
        self.ledger.hand_over(Group { released: partitions.to_vec(), ..Group::default() });
    }

    fn learn(&self, key: u128, payload_hash: impl FnOnce() -> u128, at: Timestamp, group: &mut Group) {
        let payload_hash = payload_hash();
        match self.ledger.learn(key, payload_hash) {
            Learnt::Nothing => {}
            Learnt::Known => {
                group.known.push(key);
                group.known_ids.push(|payload| put_known(payload, at, key, payload_hash));
            }
            Learnt::Published => group.confirmed.push(|payload| put_confirmed(payload, at, key)),
        }
    }
}

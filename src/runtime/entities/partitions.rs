//! Entities that live with their partition of the stream, so that a partition can go as one.
//!
//! A kind lives with the partition when its key has the first field of the partition key: then every
//! transaction of an entity is in one partition. Letting a partition go and inserting into it exclude each
//! other, under a lock that only the stream's side takes for writing.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::shard::Shard;
use crate::domain::{TextField, Transaction};
use crate::runtime::stream::ownership::Ownership;
use crate::scoring::feature::KindLayout;

/// Shards of one partition: its lane and a few requests go there at a time. A power of two.
pub(super) const SHARDS: usize = 4;

/// The shards of every partition.
#[derive(Debug)]
pub(super) struct Partitions {
    ownership: Arc<Ownership>,
    first: Option<TextField>,
    shards: Box<[Mutex<Shard>]>,
    locks: Box<[RwLock<()>]>,
}

impl Partitions {
    pub(super) fn new(ownership: Arc<Ownership>, bytes_max: Option<usize>) -> Self {
        let count = ownership.partitions() as usize;
        let bytes_max = bytes_max.map(|bytes| bytes / (count * SHARDS));
        let shards = (0..count * SHARDS).map(|_| Mutex::new(Shard::new(bytes_max))).collect();
        let locks = (0..count).map(|_| RwLock::new(())).collect();
        Self { first: ownership.first_field(), ownership, shards, locks }
    }

    /// Tells whether the entities of a kind live with their partition.
    pub(super) fn has(&self, kind: &KindLayout) -> bool {
        self.first.is_some_and(|first| kind.place_in_key(first).is_some())
    }

    /// Returns the partition that a transaction's entities live with: only by the first field of the key.
    pub(super) fn of(&self, transaction: &Transaction) -> Option<u32> {
        transaction.text(self.first?).map(|id| self.ownership.partition_of_key(id))
    }

    /// Returns the partition that an entity lives with, by its kind and id.
    pub(super) fn home(&self, kind: &KindLayout, id: &str) -> Option<(&Self, u32)> {
        let place = kind.place_in_key(self.first?)?;
        let part = if kind.is_of_one_field() { Some(id) } else { id.split('\u{1f}').nth(place) };
        part.map(|part| (self, self.ownership.partition_of_key(part)))
    }

    /// Keeps a partition from being let go.
    pub(super) fn hold(&self, partition: Option<u32>) -> Option<RwLockReadGuard<'_, ()>> {
        partition.and_then(|partition| self.locks.get(partition as usize)).map(RwLock::read)
    }

    /// Lets the entities of partitions go, `then` with nothing being inserted there.
    pub(super) fn release(&self, gone: &[u32], then: impl FnOnce()) {
        // In order, so that two who let go never wait for each other.
        let gone: BTreeSet<u32> = gone.iter().copied().filter(|gone| (*gone as usize) < self.locks.len()).collect();
        let held: Vec<_> = gone.iter().map(|partition| self.locks[*partition as usize].write()).collect();
        for partition in gone {
            for number in 0..SHARDS {
                self.at(partition, number).lock().clear();
            }
        }
        then();
        drop(held);
    }

    pub(super) fn at(&self, partition: u32, number: usize) -> &Mutex<Shard> {
        let last = self.shards.len() - 1;
        &self.shards[(partition as usize * SHARDS + number).min(last)]
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        self.shards.iter()
    }
}

//! Which partitions this instance owns, and how far each is: what the REST door asks before it scores.
//!
//! ```text
//! Foreign ─ assigned ─> Restoring ─ state is whole ─> Live ─ revoked ─> Foreign
//! ```
//! Written by the lanes, read by every request: one atomic a partition.

use std::sync::atomic::{AtomicU8, Ordering};

use super::partitioner::Partitioner;
use crate::domain::{TextField, Transaction};

/// How far this instance is with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Another instance has it: entity state of it is not here.
    Foreign = 0,
    /// It is ours, and its state is being read.
    Restoring = 1,
    /// It is ours, and its state is whole.
    Live = 2,
}

/// The partitions of the input and their standing.
#[derive(Debug)]
pub struct Ownership {
    standings: Box<[AtomicU8]>,
    count: u32,
    partitioner: Partitioner,
    key: Vec<TextField>,
}

impl Ownership {
    /// Makes `partitions` of them, all foreign. `key` are the fields of which the first present one is
    /// the record's key.
    #[must_use]
    pub fn new(partitions: u32, partitioner: Partitioner, key: Vec<TextField>) -> Self {
        let count = partitions.max(1);
        let standings = (0..count).map(|_| AtomicU8::new(Standing::Foreign as u8)).collect();
        Self { standings, count, partitioner, key }
    }

    /// Returns how many partitions there are.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.count
    }

    /// Returns the first field of the key: entities whose key has it live with their partition.
    #[must_use]
    pub fn first_field(&self) -> Option<TextField> {
        self.key.first().copied()
    }

    /// Returns the text that a transaction's record is keyed by.
    #[must_use]
    pub fn key_of<'a>(&self, transaction: &'a Transaction) -> Option<&'a str> {
        self.key.iter().find_map(|field| transaction.text(*field))
    }

    /// Returns the partition of a transaction; `None` when no field of the key was sent.
    #[must_use]
    pub fn partition_of(&self, transaction: &Transaction) -> Option<u32> {
        self.key_of(transaction).map(|key| self.partition_of_key(key))
    }

    /// Returns the partition of a key.
    #[must_use]
    pub fn partition_of_key(&self, key: &str) -> u32 {
        self.partitioner.partition(key.as_bytes(), self.count)
    }

    /// Returns how far this instance is with a partition; one that there is none of is foreign.
    #[must_use]
    pub fn standing(&self, partition: u32) -> Standing {
        let standing = self.standings.get(partition as usize).map_or(0, |standing| standing.load(Ordering::Acquire));
        match standing {
            1 => Standing::Restoring,
            2 => Standing::Live,
            _ => Standing::Foreign,
        }
    }

    /// Returns the standing of a transaction's partition; without a key it is foreign to nobody: live.
    #[must_use]
    pub fn standing_of(&self, transaction: &Transaction) -> Standing {
        self.partition_of(transaction).map_or(Standing::Live, |partition| self.standing(partition))
    }

    /// Says how far this instance is with a partition.
    pub fn set(&self, partition: u32, standing: Standing) {
        if let Some(place) = self.standings.get(partition as usize) {
            place.store(standing as u8, Ordering::Release);
        }
    }

    /// Lists the partitions of a standing.
    #[must_use]
    pub fn with(&self, standing: Standing) -> Vec<u32> {
        (0..self.count).filter(|partition| self.standing(*partition) == standing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::runtime::store::samples::transaction;

    #[test]
    fn a_transaction_stands_as_its_partition_does() {
        let ownership = Ownership::new(12, Partitioner::Murmur2, vec![TextField::AccountId, TextField::CustomerId]);
        let transaction = transaction("t-1", Timestamp::from_seconds(1));
        assert_eq!(ownership.key_of(&transaction), Some("c-1"), "the first field that was sent");
        let partition = ownership.partition_of(&transaction).expect("a key");
        assert_eq!(partition, Partitioner::Murmur2.partition(b"c-1", 12));
        for standing in [Standing::Foreign, Standing::Restoring, Standing::Live] {
            ownership.set(partition, standing);
            assert_eq!(ownership.standing_of(&transaction), standing);
        }
        assert_eq!(ownership.with(Standing::Live), [partition]);
        ownership.set(99, Standing::Live);
        assert_eq!(ownership.standing(99), Standing::Foreign);
        let keyless = Ownership::new(12, Partitioner::Murmur2, vec![TextField::AccountId]);
        assert_eq!((keyless.partition_of(&transaction), keyless.standing_of(&transaction)), (None, Standing::Live));
    }
}

//! Where the decisions of a shard lie on disk: 16 bytes each, 19 to 39 with the table's room to grow.
//!
//! An id is half of its 128-bit hash. Among ten million kept ids two share one with a chance below
//! 3e-6; then the newer takes the place, and looking up the older says that it is not kept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::runtime::store::Place;

/// Hashes that are uniform already, spread so that a shard's common low bits do no harm.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.rotate_left(29);
    }
}

/// Places by hash of the id.
#[derive(Default)]
pub(super) struct Places(HashMap<u64, Place, BuildHasherDefault<Spread>>);

impl Places {
    pub(super) fn get(&self, hash: u64) -> Option<Place> {
        self.0.get(&hash).copied()
    }

    pub(super) fn insert(&mut self, hash: u64, place: Place) {
        self.0.insert(hash, place);
    }

    /// Removes a place if it is still in that segment; tells whether it was.
    pub(super) fn remove(&mut self, hash: u64, segment: u32) -> bool {
        let is_there = self.0.get(&hash).is_some_and(|place| place.segment == segment);
        if is_there {
            self.0.remove(&hash);
            // Memory follows what is kept: a table that is three quarters empty is made smaller.
            if self.0.len() < self.0.capacity() / 4 {
                self.0.shrink_to(self.0.len() * 2);
            }
        }
        is_there
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns about how many bytes the table takes: an entry and its control byte for each slot.
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * 8 / 7 * (size_of::<(u64, Place)>() + 1)
    }
}

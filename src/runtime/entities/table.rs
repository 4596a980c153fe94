//! A table of slots that are found by key, stay where they are, and are swept a few at a time.
//!
//! A slot's number may be kept elsewhere: it is stable until its value is removed, and whoever comes
//! back later checks what is found there. Sweeping follows the inserts, so no call ever pays for all.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Slots looked at after an insert: two, so that the table is swept once while it doubles.
pub(super) const SWEEP_SLOTS: usize = 2;
/// Slots compared when one must go.
const SAMPLE_SLOTS: usize = 8;

/// Values by key and by slot.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    slots: HashMap<K, u32, BuildHasherDefault<Hashed>>,
    values: Vec<Option<(K, V)>>,
    free: Vec<u32>,
    cursor: usize,
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    pub(super) fn new() -> Self {
        Self { slots: HashMap::default(), values: Vec::new(), free: Vec::new(), cursor: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn find(&self, key: K) -> Option<u32> {
        self.slots.get(&key).copied()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&V> {
        self.values.get(slot as usize)?.as_ref().map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut V> {
        self.values.get_mut(slot as usize)?.as_mut().map(|(_, value)| value)
    }

    /// Inserts a value under a key that is not here; `None` when there are 2^32 already.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<u32> {
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else {
            self.values.push(None);
            u32::try_from(self.values.len() - 1).ok()?
        };
        self.values[slot as usize] = Some((key, value));
        self.slots.insert(key, slot);
        Some(slot)
    }

    /// Looks at the next few slots and removes what `is_dead`; gives each removed value to `removed`.
    pub(super) fn sweep(&mut self, is_dead: impl Fn(&V) -> bool, mut removed: impl FnMut(&V)) {
        for _ in 0..SWEEP_SLOTS.min(self.values.len()) {
            let slot = self.step();
            if self.values[slot].as_ref().is_some_and(|(_, value)| is_dead(value))
                && let Some(value) = self.remove(slot)
            {
                removed(&value);
            }
        }
    }

    /// Removes the one of the next few slots with the least `age_key`; never `keep`.
    pub(super) fn evict(&mut self, keep: Option<u32>, age_key: impl Fn(&V) -> i64) -> Option<V> {
        let mut oldest: Option<(i64, usize)> = None;
        for _ in 0..SAMPLE_SLOTS.min(self.values.len()) {
            let slot = self.step();
            let Some((_, value)) = &self.values[slot] else { continue };
            let candidate = (age_key(value), slot);
            if Some(slot) != keep.map(|keep| keep as usize) && oldest.is_none_or(|oldest| candidate < oldest) {
                oldest = Some(candidate);
            }
        }
        oldest.and_then(|(_, slot)| self.remove(slot))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut().flatten().map(|(_, value)| value)
    }

    /// Returns the bytes of the table itself, without what its values point to.
    pub(super) fn bytes(&self) -> usize {
        let slot = size_of::<(K, u32)>() + 1;
        self.values.capacity() * size_of::<Option<(K, V)>>()
            + self.slots.capacity() * 8 / 7 * slot
            + self.free.capacity() * 4
    }

    fn step(&mut self) -> usize {
        self.cursor = if self.cursor + 1 >= self.values.len() { 0 } else { self.cursor + 1 };
        self.cursor
    }

    fn remove(&mut self, slot: usize) -> Option<V> {
        let (key, value) = self.values[slot].take()?;
        self.slots.remove(&key);
        self.free.extend(u32::try_from(slot).ok());
        Some(value)
    }
}

/// Keys are hashes already: their low 64 bits serve as they are.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    #[expect(clippy::cast_possible_truncation, reason = "the other half chooses the shard")]
    fn write_u128(&mut self, word: u128) {
        self.0 = word as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_swept_and_used_again() {
        let mut table = Table::new();
        let slots: Vec<_> = (0..10_u64).map(|key| table.insert(key, key).expect("room")).collect();
        assert_eq!(table.find(7), Some(slots[7]));
        let mut removed = Vec::new();
        for _ in 0..5 {
            table.sweep(|value| value % 2 == 0, |value| removed.push(*value));
        }
        removed.sort_unstable();
        assert_eq!((removed, table.len(), table.find(4)), (vec![0, 2, 4, 6, 8], 5, None));
        let slot = table.insert(99, 99).expect("room");
        assert!((slot as usize) < 10, "a free slot is used again");
        assert_eq!(table.get(slot), Some(&99));
    }

    #[test]
    fn the_oldest_of_a_sample_goes() {
        let mut table = Table::new();
        for key in 0..8_i64 {
            table.insert(key.cast_unsigned(), key);
        }
        assert_eq!(table.evict(table.find(0), |value| *value), Some(1));
        assert_eq!(table.evict(None, |value| *value), Some(0));
    }
}

//! Which decisions of the REST door the stream has not published yet, by id and in feed order.
//!
//! Bounded by what the ledger keeps: a decision that retention lets go is forgotten here, and told.

use std::collections::{BTreeMap, HashMap, HashSet};

/// The decisions that are owed to the stream.
#[derive(Debug, Default)]
pub(super) struct Unpublished {
    by_cursor: BTreeMap<u64, u64>,
    by_hash: HashMap<u64, u64>,
    /// Published before they had a place in the feed.
    early: HashSet<u64>,
}

impl Unpublished {
    /// Takes note of a decision that has its place.
    pub(super) fn insert(&mut self, cursor: u64, hash: u64) {
        if self.early.remove(&hash) {
            return;
        }
        if let Some(before) = self.by_hash.insert(hash, cursor) {
            self.by_cursor.remove(&before);
        }
        self.by_cursor.insert(cursor, hash);
    }

    /// Takes note that a decision was published; `has_place`: it has its place in the feed. Tells whether
    /// that is news.
    pub(super) fn confirm(&mut self, hash: u64, has_place: bool) -> bool {
        match self.by_hash.remove(&hash) {
            Some(cursor) => self.by_cursor.remove(&cursor).is_some(),
            None => !has_place && self.early.insert(hash),
        }
    }

    /// Ends reading what was kept: what was published and has no decision is no longer kept.
    pub(super) fn settle(&mut self) {
        self.early.clear();
    }

    /// Tells whether a decision is still to be published; `cursor` is 0 while it has no place.
    pub(super) fn contains(&self, hash: u64, cursor: u64) -> bool {
        self.by_hash.contains_key(&hash) || (cursor == 0 && !self.early.contains(&hash))
    }

    /// Forgets a decision that is no longer kept; tells whether it was still to be published.
    pub(super) fn forget(&mut self, hash: u64) -> bool {
        self.early.remove(&hash);
        let cursor = self.by_hash.remove(&hash);
        cursor.is_some_and(|cursor| self.by_cursor.remove(&cursor).is_some())
    }

    /// Lists cursors and hashes after a cursor, in feed order.
    pub(super) fn after(&self, cursor: u64, limit: usize) -> Vec<(u64, u64)> {
        let from = cursor.saturating_add(1);
        self.by_cursor.range(from..).take(limit).map(|(cursor, hash)| (*cursor, *hash)).collect()
    }

    /// Counts those after a cursor.
    pub(super) fn count_after(&self, cursor: u64) -> u64 {
        self.by_cursor.range(cursor.saturating_add(1)..).count() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.by_cursor.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_no_longer_owed_in_either_order() {
        let mut owed = Unpublished::default();
        for cursor in 1..=4 {
            owed.insert(cursor, cursor * 10);
        }
        assert!(owed.confirm(20, true) && !owed.confirm(20, true));
        assert_eq!(owed.after(0, 10), [(1, 10), (3, 30), (4, 40)]);
        assert_eq!(owed.after(1, 1), [(3, 30)]);
        assert!(owed.contains(10, 1) && !owed.contains(20, 2));
        assert!(owed.contains(50, 0), "without a place it is owed until it was published");
        assert!(owed.confirm(50, false));
        assert!(!owed.contains(50, 0));
        owed.insert(5, 50);
        assert_eq!(owed.len(), 3);
        assert!(owed.forget(10) && !owed.forget(10) && !owed.forget(99));
        owed.insert(9, 30);
        assert_eq!(owed.after(0, 10), [(4, 40), (9, 30)], "written anew, it has one place");
    }
}

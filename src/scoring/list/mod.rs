//! Allow and deny lists: exact values of text fields that decide before anything is scored.
//!
//! ```text
//! Lists ─ per listed field ─ places sorted by the value's hash ─> entries
//! ```
//! A look-up hashes the transaction's value of each listed field and searches the sorted hashes: no scan
//! of entries, whatever their number. Lists are values: a change gives new ones, entries are shared. Deny
//! comes before allow. The service's clock is the caller's: expiry is told by the `now` that is passed in.

mod entry;
mod parse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{FieldRef, Timestamp, Transaction, Value};

pub use entry::{EntryDraft, EntryFault, ListEntry, ListKind};
pub use parse::FILE_BYTES_MAX;

/// The most entries of both lists together, expired ones included.
pub const ENTRIES_MAX: usize = 100_000;

/// One thing wrong with a lists file: line, entry, message and cure.
pub type ListFault = super::document::Fault;

/// Why lists were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no room: remove entries first.
    #[error("the lists hold {ENTRIES_MAX} entries already, remove expired or unneeded ones first")]
    Full,
    /// No such entry.
    #[error("the {} list has no entry with this value", .0.name())]
    NotFound(ListKind),
}

/// Both lists of a release.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// In field order; each is copied only when it changes.
    fields: Vec<Arc<Index>>,
    /// Sum of the entries' hashes: the same whatever order they came in.
    version: u128,
}

/// The entries on one field, sorted by the hash of their value; of one value deny comes first.
#[derive(Clone, Debug)]
struct Index {
    field: FieldRef,
    hashes: Vec<u64>,
    entries: Vec<Arc<ListEntry>>,
}

impl Lists {
    /// Parses and checks a lists file.
    ///
    /// # Errors
    /// Every fault of the file, in file order, at least one. No fault repeats a value.
    pub fn parse(text: &str) -> Result<Self, Vec<ListFault>> {
        parse::entries(text).map(Self::from_entries)
    }

    /// Writes the lists as a file that [`Self::parse`] reads, in the order of [`Self::entries`].
    #[must_use]
    pub fn to_toml(&self) -> String {
        parse::written(&self.entries())
    }

    /// Finds the entries in effect for a transaction, deny before allow.
    #[must_use]
    pub fn matches(&self, transaction: &Transaction, now: Timestamp) -> SmallVec<[&ListEntry; 2]> {
        let mut found: SmallVec<[&ListEntry; 2]> = SmallVec::new();
        for index in &self.fields {
            if let Value::Text(text) = transaction.read(&index.field) {
                found.extend(index.of_value(text).iter().map(Arc::as_ref).filter(|entry| entry.is_in_effect(now)));
            }
        }
        if found.len() > 1 {
            found.sort_by_key(|entry| entry.list);
        }
        found
    }

    /// Returns lists with an entry added; one of the same list, field and value is replaced.
    ///
    /// # Errors
    /// [`Error::Full`] at [`ENTRIES_MAX`].
    pub fn with(&self, entry: ListEntry) -> Result<Self, Error> {
        let mut lists = self.clone();
        lists.insert(Arc::new(entry));
        if lists.len() > ENTRIES_MAX { Err(Error::Full) } else { Ok(lists) }
    }

    /// Returns lists without the entries of one list that have a value, on whatever field.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub fn without(&self, list: ListKind, value: &str) -> Result<Self, Error> {
        let lists = self.retained(|entry| entry.list != list || entry.value != value);
        if lists.len() == self.len() { Err(Error::NotFound(list)) } else { Ok(lists) }
    }

    /// Returns lists without the entries that are no longer in effect.
    #[must_use]
    pub fn without_expired(&self, now: Timestamp) -> Self {
        self.retained(|entry| entry.is_in_effect(now))
    }

    /// Returns all entries for people to read: deny first, then by field and value.
    #[must_use]
    pub fn entries(&self) -> Vec<&ListEntry> {
        let mut entries: Vec<&ListEntry> =
            self.fields.iter().flat_map(|index| &index.entries).map(Arc::as_ref).collect();
        entries.sort_by(|left, right| left.key().cmp(&right.key()));
        entries
    }

    /// Returns how many entries there are, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.iter().map(|index| index.entries.len()).sum()
    }

    /// Tells whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns 16 hex digits that name this content, whatever order it was entered in.
    #[must_use]
    pub fn version(&self) -> String {
        format!("{:016x}", (self.version >> 64) as u64)
    }

    /// Builds lists at once: sorts instead of inserting one by one.
    fn from_entries(mut entries: Vec<ListEntry>) -> Self {
        entries.sort_by(|left, right| (&left.field, order(left)).cmp(&(&right.field, order(right))));
        let version = entries.iter().fold(0u128, |sum, entry| sum.wrapping_add(entry.hash()));
        let mut fields: Vec<Index> = Vec::new();
        for entry in entries {
            if fields.last().is_none_or(|index| index.field != entry.field) {
                fields.push(Index::new(entry.field.clone()));
            }
            if let Some(index) = fields.last_mut() {
                index.hashes.push(hash_of(&entry.value));
                index.entries.push(Arc::new(entry));
            }
        }
        Self { fields: fields.into_iter().map(Arc::new).collect(), version }
    }

    fn insert(&mut self, entry: Arc<ListEntry>) {
        self.version = self.version.wrapping_add(entry.hash());
        let place = match self.fields.binary_search_by(|index| index.field.cmp(&entry.field)) {
            Ok(place) => place,
            Err(place) => {
                self.fields.insert(place, Arc::new(Index::new(entry.field.clone())));
                place
            }
        };
        if let Some(replaced) = Arc::make_mut(&mut self.fields[place]).insert(entry) {
            self.version = self.version.wrapping_sub(replaced.hash());
        }
    }

    fn retained(&self, keep: impl Fn(&ListEntry) -> bool) -> Self {
        let mut lists = self.clone();
        for index in &mut lists.fields {
            let dropped: Vec<&Arc<ListEntry>> = index.entries.iter().filter(|entry| !keep(entry)).collect();
            if dropped.is_empty() {
                continue;
            }
            let gone = dropped.iter().fold(0u128, |sum, entry| sum.wrapping_add(entry.hash()));
            lists.version = lists.version.wrapping_sub(gone);
            *index = Arc::new(index.retained(&keep));
        }
        lists.fields.retain(|index| !index.entries.is_empty());
        lists
    }
}

impl Index {
    fn new(field: FieldRef) -> Self {
        Self { field, hashes: Vec::new(), entries: Vec::new() }
    }

    /// Returns the entries of one value: at most one of each list, deny first.
    fn of_value(&self, value: &str) -> &[Arc<ListEntry>] {
        let hash = hash_of(value);
        let same_hash = self.hashes.partition_point(|known| *known < hash);
        // Values of one hash are in order too; two of them are as good as never.
        let others = (same_hash..self.entries.len())
            .take_while(|&place| self.hashes[place] == hash && self.entries[place].value.as_str() < value);
        let start = same_hash + others.count();
        let same = self.entries[start..].iter().take_while(|entry| entry.value == value).count();
        &self.entries[start..start + same]
    }

    fn retained(&self, keep: impl Fn(&ListEntry) -> bool) -> Self {
        let kept = self.hashes.iter().zip(&self.entries).filter(|(_, entry)| keep(entry));
        let (hashes, entries) = kept.map(|(hash, entry)| (*hash, Arc::clone(entry))).unzip();
        Self { field: self.field.clone(), hashes, entries }
    }

    /// Puts an entry in its place and returns the one it replaces.
    fn insert(&mut self, entry: Arc<ListEntry>) -> Option<Arc<ListEntry>> {
        match self.entries.binary_search_by(|known| order(known).cmp(&order(&entry))) {
            Ok(place) => Some(std::mem::replace(&mut self.entries[place], entry)),
            Err(place) => {
                self.hashes.insert(place, hash_of(&entry.value));
                self.entries.insert(place, entry);
                None
            }
        }
    }
}

/// The order of the entries on one field.
fn order(entry: &ListEntry) -> (u64, &str, ListKind) {
    (hash_of(&entry.value), &entry.value, entry.list)
}

fn hash_of(value: &str) -> u64 {
    xxh3_64(value.as_bytes())
}

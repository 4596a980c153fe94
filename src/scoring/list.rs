//! Lists: the shape the edge needs; the rule engine replaces this file.
#![allow(missing_docs, clippy::missing_errors_doc)]
use compact_str::CompactString;

use crate::domain::{FieldRef, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    Deny,
    Allow,
}

impl ListKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Deny, Self::Allow].into_iter().find(|list| list.name() == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    pub list: ListKind,
    pub field: FieldRef,
    pub value: CompactString,
    pub reason: CompactString,
    pub expires_at: Option<Timestamp>,
    pub added_by: Option<CompactString>,
}

impl ListEntry {
    pub fn field_path(&self) -> CompactString {
        "card.token".into()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the lists hold 100000 entries already, remove expired or unneeded ones first")]
    Full,
    #[error("the {} list has no entry with this value", .0.name())]
    NotFound(ListKind),
}

#[derive(Clone, Debug, Default)]
pub struct Lists {
    entries: Vec<ListEntry>,
}

impl Lists {
    pub fn with(&self, entry: ListEntry) -> Result<Self, Error> {
        let mut entries = self.entries.clone();
        entries.push(entry);
        Ok(Self { entries })
    }

    pub fn without(&self, list: ListKind, value: &str) -> Result<Self, Error> {
        let mut entries = self.entries.clone();
        entries.retain(|entry| !(entry.list == list && entry.value == value));
        if entries.len() == self.entries.len() {
            return Err(Error::NotFound(list));
        }
        Ok(Self { entries })
    }

    pub fn entries(&self) -> Vec<&ListEntry> {
        self.entries.iter().collect()
    }
}

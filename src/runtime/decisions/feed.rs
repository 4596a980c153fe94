//! The feed: the newest records in order, in memory; older ones from disk.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Options, Record};
use crate::domain::Outcome;
use crate::runtime::store::{Error, Shelf};

/// Records looked at for one page: a filter must not hold a request for long.
const LOOKED_AT_MAX: usize = 100_000;
const READ_MAX: usize = 10_000;

/// A page of the feed.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Records in feed order.
    pub records: Vec<Arc<Record>>,
    /// The cursor to ask with next.
    pub next: u64,
}

/// Records that a bound let go.
pub(super) type Gone = SmallVec<[Arc<Record>; 2]>;

/// The newest records by cursor.
#[derive(Default)]
pub(super) struct Feed {
    records: VecDeque<Arc<Record>>,
    /// The cursor of the newest record.
    newest: u64,
    bytes: usize,
    /// Decided and not on disk yet.
    unrecorded: usize,
}

impl Feed {
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.records.front().map(|record| record.cursor.get())
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn unrecorded(&self) -> usize {
        self.unrecorded
    }

    /// Counts a record that stays outside until it is written.
    pub(super) fn hold(&mut self) -> Gone {
        self.unrecorded += 1;
        Gone::new()
    }

    pub(super) fn unhold(&mut self) {
        self.unrecorded = self.unrecorded.saturating_sub(1);
    }

    /// Appends a record that has its cursor and returns those that must go for it.
    pub(super) fn push(&mut self, record: Arc<Record>, options: &Options) -> Gone {
        self.newest = self.newest.max(record.cursor.get());
        self.bytes += record.bytes();
        let oldest_kept = record.received_at.minus(options.age_max);
        self.records.push_back(record);
        let mut gone = Gone::new();
        while self.records.len() > 1
            && (self.bytes > options.bytes_max
                || self.records.front().is_some_and(|first| first.received_at < oldest_kept))
        {
            let Some(first) = self.records.pop_front() else { break };
            self.bytes -= first.bytes();
            gone.push(first);
        }
        gone
    }

    /// Finds the record of a cursor, when memory has it.
    pub(super) fn at(&self, cursor: u64) -> Option<Arc<Record>> {
        let place = self.records.binary_search_by_key(&cursor, |record| record.cursor.get()).ok()?;
        self.records.get(place).cloned()
    }

    pub(super) fn after(&self, cursor: u64, outcome: Option<Outcome>, limit: usize) -> Page {
        let before_oldest = self.oldest().map_or(self.newest, |oldest| oldest - 1);
        let skip = self.records.partition_point(|record| record.cursor.get() <= cursor);
        let mut page = Page { records: Vec::new(), next: cursor.max(before_oldest).min(self.newest.max(cursor)) };
        for record in self.records.iter().skip(skip).take(LOOKED_AT_MAX) {
            if page.records.len() == limit {
                break;
            }
            page.next = record.cursor.get();
            if outcome.is_none_or(|wanted| record.decision.outcome == wanted) {
                page.records.push(Arc::clone(record));
            }
        }
        page
    }
}

/// Reads a page from disk. Blocks.
pub(super) fn from_disk(shelf: &Shelf, cursor: u64, outcome: Option<Outcome>, limit: usize) -> Result<Page, Error> {
    let mut page = Page { records: Vec::new(), next: cursor };
    let mut looked_at = 0;
    shelf.after(cursor, &mut |record| {
        if page.records.len() == limit || looked_at == READ_MAX {
            return false;
        }
        looked_at += 1;
        page.next = record.cursor.get();
        if outcome.is_none_or(|wanted| record.decision.outcome == wanted) {
            page.records.push(Arc::new(record));
        }
        true
    })?;
    Ok(page)
}

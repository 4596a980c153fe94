//! The decision ledger: the first answer of every transaction id, kept and handed out again.
//!
//! ```text
//! reserve(id) ─> Reserved(ticket) ─> settle(record) ─> kept, waiters answered, feed grows
//!             ├> Decided(record)      dropped ticket ─> reservation undone
//!             ├> InFlight(waiter)
//!             └> Conflict             the same id with another payload
//! ```
//! In memory, in shards by id; bounded by bytes and by receipt time, oldest out first. It does not
//! know how a decision comes about, nor how one is shown.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;
use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::{Decision, FeatureVector, FieldRef, Outcome, Span, Timestamp, Transaction};
use crate::scoring::decide::policy::StandinLoad;
use crate::scoring::list::{ListEntry, ListKind};

const SHARDS: usize = 64;
/// What a record weighs beside its own texts and vectors: structs, map entry, queue entry.
const RECORD_BYTES: usize = 1_200;

/// How much the ledger keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How long a decision is kept, by receipt time.
    pub age_max: Span,
    /// About how many bytes of memory decisions may take; the newest one is always kept.
    pub bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { age_max: Span::from_days(1), bytes_max: 256 << 20 }
    }
}

/// One decision with all it followed from: enough to make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The answer.
    pub decision: Decision,
    /// What was asked.
    pub transaction: Transaction,
    /// [`Transaction::payload_hash`].
    pub payload_hash: u128,
    /// The features as they were then.
    pub features: FeatureVector,
    /// How much the stand-in had been used then.
    pub standin: StandinLoad,
    /// The list entries that matched then.
    pub list_hits: Vec<ListHit>,
    /// When the transaction came in.
    pub received_at: Timestamp,
    /// Place in the feed, from 1; 0 before it has one (a dry run never has).
    pub cursor: u64,
}

/// A list entry that matched, as recorded: without its value, which the transaction holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListHit {
    /// Which list.
    pub list: ListKind,
    /// The field it matched on.
    pub field: FieldRef,
    /// Why it is there.
    pub reason: CompactString,
}

impl ListHit {
    /// Records an entry that matched.
    #[must_use]
    pub fn of(entry: &ListEntry) -> Self {
        Self { list: entry.list, field: entry.field.clone(), reason: entry.reason.clone() }
    }

    /// Gives the entry back as far as a decision needs it.
    #[must_use]
    pub fn to_entry(&self) -> ListEntry {
        let (field, reason) = (self.field.clone(), self.reason.clone());
        ListEntry { list: self.list, field, value: CompactString::default(), reason, expires_at: None, added_by: None }
    }
}

impl Record {
    fn bytes(&self) -> usize {
        RECORD_BYTES + self.features.len() * 8 + self.list_hits.len() * 64
    }
}

/// A page of the feed.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Records in feed order.
    pub records: Vec<Arc<Record>>,
    /// The cursor to ask with next.
    pub next: u64,
}

/// What a reservation found.
pub enum Reservation<'a> {
    /// The id is ours to decide.
    Reserved(Ticket<'a>),
    /// Decided before, with the same payload.
    Decided(Arc<Record>),
    /// Somebody else is deciding it now.
    InFlight(Waiter),
    /// The id stands for another payload.
    Conflict,
}

enum Entry {
    Reserved { payload_hash: u128, waiters: Option<watch::Sender<Option<Arc<Record>>>> },
    Decided(Arc<Record>),
}

type Shard = Mutex<HashMap<u128, Entry>>;

/// The ledger. Shared by reference; every method takes `&self`.
pub struct Ledger {
    shards: Box<[Shard]>,
    feed: Mutex<Feed>,
    options: Options,
    evicted: AtomicU64,
}

#[derive(Default)]
struct Feed {
    records: VecDeque<Arc<Record>>,
    /// The cursor of the newest record.
    newest: u64,
    bytes: usize,
}

/// How full the ledger is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Decisions kept.
    pub records: usize,
    /// About how many bytes they take.
    pub bytes: usize,
    /// Decisions let go by age or bytes since the start.
    pub evicted: u64,
}

impl Ledger {
    /// Starts an empty ledger.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, feed: Mutex::default(), options, evicted: AtomicU64::new(0) }
    }

    /// Reserves an id, or says what became of it.
    pub fn reserve(&self, transaction_id: &str, payload_hash: u128) -> Reservation<'_> {
        let key = xxh3_128(transaction_id.as_bytes());
        let mut shard = self.shard(key).lock();
        match shard.get_mut(&key) {
            None => {
                shard.insert(key, Entry::Reserved { payload_hash, waiters: None });
                Reservation::Reserved(Ticket { ledger: self, key, settled: false })
            }
            Some(Entry::Decided(record)) if record.payload_hash == payload_hash => {
                Reservation::Decided(Arc::clone(record))
            }
            Some(Entry::Reserved { payload_hash: reserved, waiters }) if *reserved == payload_hash => {
                let sender = waiters.get_or_insert_with(|| watch::channel(None).0);
                Reservation::InFlight(Waiter { receiver: sender.subscribe() })
            }
            Some(Entry::Decided(_) | Entry::Reserved { .. }) => Reservation::Conflict,
        }
    }

    /// Finds a decision.
    #[must_use]
    pub fn get(&self, transaction_id: &str) -> Option<Arc<Record>> {
        let key = xxh3_128(transaction_id.as_bytes());
        match self.shard(key).lock().get(&key) {
            Some(Entry::Decided(record)) => Some(Arc::clone(record)),
            Some(Entry::Reserved { .. }) | None => None,
        }
    }

    /// Lists decisions after a cursor in feed order, at most `limit`, looking at no more than 100,000.
    #[must_use]
    pub fn after(&self, cursor: u64, outcome: Option<Outcome>, limit: usize) -> Page {
        const LOOKED_AT_MAX: usize = 100_000;
        let feed = self.feed.lock();
        let oldest = feed.newest - feed.records.len() as u64;
        let skip = usize::try_from(cursor.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let mut page = Page { records: Vec::new(), next: cursor.max(oldest).min(feed.newest.max(cursor)) };
        for record in feed.records.iter().skip(skip).take(LOOKED_AT_MAX) {
            if page.records.len() == limit {
                break;
            }
            page.next = record.cursor;
            if outcome.is_none_or(|wanted| record.decision.outcome == wanted) {
                page.records.push(Arc::clone(record));
            }
        }
        page
    }

    /// Tells how full the ledger is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let feed = self.feed.lock();
        Stats { records: feed.records.len(), bytes: feed.bytes, evicted: self.evicted.load(Ordering::Relaxed) }
    }

    fn shard(&self, key: u128) -> &Shard {
        // The low bits of XXH3 are uniform; SHARDS is a power of two.
        &self.shards[(key as usize) & (SHARDS - 1)]
    }

    /// Gives the record its place in the feed and lets the oldest go where a bound is reached.
    fn append(&self, mut record: Record) -> Arc<Record> {
        let mut feed = self.feed.lock();
        feed.newest += 1;
        record.cursor = feed.newest;
        let record = Arc::new(record);
        feed.bytes += record.bytes();
        feed.records.push_back(Arc::clone(&record));
        let oldest_kept = record.received_at.minus(self.options.age_max);
        let mut gone: smallvec::SmallVec<[Arc<Record>; 2]> = smallvec::SmallVec::new();
        while feed.records.len() > 1
            && (feed.bytes > self.options.bytes_max
                || feed.records.front().is_some_and(|first| first.received_at < oldest_kept))
        {
            let Some(first) = feed.records.pop_front() else { break };
            feed.bytes -= first.bytes();
            gone.push(first);
        }
        drop(feed);
        self.evicted.fetch_add(gone.len() as u64, Ordering::Relaxed);
        for record in gone {
            let key = xxh3_128(record.transaction.id().as_bytes());
            self.shard(key).lock().remove(&key);
        }
        record
    }
}

/// The right and duty to decide one id. Dropped unsettled, it gives the id back.
pub struct Ticket<'a> {
    ledger: &'a Ledger,
    key: u128,
    settled: bool,
}

impl Ticket<'_> {
    /// Records the decision, answers everyone who waits for it and returns it with its cursor.
    pub fn settle(mut self, record: Record) -> Arc<Record> {
        self.settled = true;
        let record = self.ledger.append(record);
        let before = self.ledger.shard(self.key).lock().insert(self.key, Entry::Decided(Arc::clone(&record)));
        if let Some(Entry::Reserved { waiters: Some(waiters), .. }) = before {
            waiters.send_replace(Some(Arc::clone(&record)));
        }
        record
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.settled {
            // The waiters' channel closes with the entry: they hear that nobody decided.
            self.ledger.shard(self.key).lock().remove(&self.key);
        }
    }
}

/// Waits for somebody else's decision of the same id.
pub struct Waiter {
    receiver: watch::Receiver<Option<Arc<Record>>>,
}

impl Waiter {
    /// Returns the decision; `None` when its request was given up. Cancel safe.
    pub async fn decided(mut self) -> Option<Arc<Record>> {
        let found = self.receiver.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}

#[cfg(test)]
mod tests;

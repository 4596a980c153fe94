//! The decision ledger: the first answer of every transaction id, kept and handed out again.
//!
//! ```text
//! reserve(id) ─> Reserved(ticket) ─> settle(record) ─> recorded, waiters answered, feed grows
//!             ├> Decided(record)      dropped ticket ─> reservation undone
//!             ├> OnDisk(place)        decided and no longer in memory: recall(place)
//!             ├> InFlight(waiter)
//!             ├> Elsewhere            another instance decided it: learnt from the changelog
//!             └> Conflict             the same id with another payload
//! ```
//! Without a store it is in memory only, bounded by bytes and receipt time, oldest out first. With one,
//! memory is a cache of the newest records; of every kept decision 16 bytes say where it lies, and a
//! record counts when the store's writer says so. The stream holds ids in its own way: `held.rs`. It does not know how a decision comes about.

mod feed;
mod held;
mod places;
mod record;
mod ticket;
mod unpublished;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::store::{Error, Message, OnFailure, Place, Shelf, id_hash, id_key};
use crate::domain::{Outcome, Span};
use crate::telemetry::events::{StoreReadFailed, UnpublishedLost};
use feed::Feed;
pub use feed::Page;
use held::Claim;
pub use held::Held;
pub(crate) use held::{Claimed, Learnt, StreamClaim};
use places::Places;
pub use record::{Cursor, ListHit, Origin, Record};
pub use ticket::{Ticket, Waiter};

const SHARDS: usize = 64;

/// How much the ledger keeps in memory.
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

/// What a reservation found.
pub enum Reservation<'a> {
    /// The id is ours to decide.
    Reserved(Ticket<'a>),
    /// Decided before, with the same payload.
    Decided(Arc<Record>),
    /// Decided before, most likely: only the record on disk tells. See [`Ledger::recall`].
    OnDisk(OnDisk),
    /// Somebody else is deciding it now.
    InFlight(Waiter),
    /// Decided by another instance, with the same payload: its decision is not here.
    Elsewhere,
    /// The id stands for another payload.
    Conflict,
}

/// What the disk knows of an id.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// Its decision.
    Decided(Arc<Record>),
    /// Only that another instance decided it.
    Known {
        /// The 128 bits of the id.
        key: u128,
        /// The hash of its payload.
        payload_hash: u128,
    },
}

impl Recalled {
    /// Tells whether it is about an id: the index knows half of the hash only.
    pub(crate) fn is_of(&self, key: u128) -> bool {
        match self {
            Self::Decided(record) => id_key(record.transaction.id()) == key,
            Self::Known { key: known, .. } => *known == key,
        }
    }

    /// Returns the hash of the payload that was decided.
    #[must_use]
    pub fn payload_hash(&self) -> u128 {
        match self {
            Self::Decided(record) => record.payload_hash,
            Self::Known { payload_hash, .. } => *payload_hash,
        }
    }

    /// Returns the decision, when it is here.
    #[must_use]
    pub fn decided(self) -> Option<Arc<Record>> {
        match self {
            Self::Decided(record) => Some(record),
            Self::Known { .. } => None,
        }
    }
}

/// Who holds an id while it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Rest,
    Stream,
}

/// Where a decision lies that is no longer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDisk(Place);

/// What became of a decision that was to be recorded.
#[derive(Debug)]
pub enum Settled {
    /// It stands; `degraded` tells when it is not recorded.
    Kept(Arc<Record>),
    /// It could not be recorded and must not be answered.
    NotRecorded,
}

enum Entry {
    Reserved {
        payload_hash: u128,
        door: Door,
        waiters: Option<watch::Sender<Option<Arc<Record>>>>,
    },
    Decided(Arc<Record>),
    /// Decided by another instance; not on disk yet.
    Known {
        payload_hash: u128,
    },
}

#[derive(Default)]
struct Part {
    entries: HashMap<u128, Entry>,
    places: Places,
}

/// The ledger. Shared by reference; every method takes `&self`.
pub struct Ledger {
    shards: Box<[Mutex<Part>]>,
    feed: Mutex<Feed>,
    options: Options,
    shelf: Option<Shelf>,
    evicted: AtomicU64,
    /// What the stream still has to publish; not kept without a stream.
    unpublished: OnceLock<Mutex<unpublished::Unpublished>>,
}

/// How full the ledger is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Decisions in memory.
    pub records: usize,
    /// About how many bytes they take.
    pub bytes: usize,
    /// Decisions let go by age or bytes since the start.
    pub evicted: u64,
    /// Decisions kept on disk, and the bytes of the index that finds them.
    pub kept: usize,
    /// Bytes of memory that the index takes.
    pub index_bytes: usize,
    /// Bytes of the ledger on disk.
    pub disk_bytes: u64,
    /// Bytes of the event log on disk.
    pub event_disk_bytes: u64,
    /// Share of the event log that entity state was restored from, in thousandths.
    pub restored_permille: u64,
    /// Decisions that wait for a disk that does not take them.
    pub waiting: usize,
}

impl Ledger {
    /// Starts an empty ledger in memory.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            feed: Mutex::default(),
            options,
            shelf: None,
            evicted: AtomicU64::new(0),
            unpublished: OnceLock::new(),
        }
    }

    /// Starts a ledger before a store, with what the store keeps.
    #[must_use]
    pub fn with_store(options: Options, store: &super::store::Store, kept: &[super::store::KeptId]) -> Self {
        let ledger = Self { shelf: Some(store.shelf()), ..Self::new(options) };
        for id in kept {
            ledger.shard_of(id.hash).lock().places.insert(id.hash, id.place);
        }
        ledger
    }

    /// Reserves an id, or says what became of it.
    pub fn reserve(&self, transaction_id: &str, payload_hash: u128) -> Reservation<'_> {
        self.reserve_unless(transaction_id, payload_hash, None)
    }

    /// Reserves an id although the index points to `at`: what lies there is gone or was another id's. A
    /// record that was written anew meanwhile is found where it is now.
    pub fn reserve_anew(&self, transaction_id: &str, payload_hash: u128, at: OnDisk) -> Reservation<'_> {
        self.reserve_unless(transaction_id, payload_hash, Some(at))
    }

    fn reserve_unless(&self, transaction_id: &str, payload_hash: u128, not_at: Option<OnDisk>) -> Reservation<'_> {
        let key = id_key(transaction_id);
        match self.claim(key, payload_hash, Door::Rest, not_at) {
            Claim::Ours => {
                Reservation::Reserved(Ticket { ledger: self, key, event: Vec::new(), deferred: false, settled: false })
            }
            Claim::Decided(record) => Reservation::Decided(record),
            Claim::OnDisk(at) => Reservation::OnDisk(at),
            Claim::InFlight(waiter) => Reservation::InFlight(waiter),
            Claim::Elsewhere => Reservation::Elsewhere,
            Claim::Conflict => Reservation::Conflict,
        }
    }

    fn claim(&self, key: u128, payload_hash: u128, door: Door, not_at: Option<OnDisk>) -> Claim {
        let mut part = self.shard_of(id_hash(key)).lock();
        let Part { entries, places } = &mut *part;
        match entries.get_mut(&key) {
            None => {
                if let Some(place) = places.get(id_hash(key)).map(OnDisk).filter(|place| not_at != Some(*place)) {
                    return Claim::OnDisk(place);
                }
                entries.insert(key, Entry::Reserved { payload_hash, door, waiters: None });
                Claim::Ours
            }
            Some(Entry::Decided(record)) if record.payload_hash == payload_hash => Claim::Decided(Arc::clone(record)),
            // A request may be given up: the stream puts nothing aside before it was decided.
            Some(Entry::Reserved { payload_hash: reserved, door: held_by, waiters })
                if *reserved == payload_hash || (door, *held_by) == (Door::Stream, Door::Rest) =>
            {
                let sender = waiters.get_or_insert_with(|| watch::channel(None).0);
                Claim::InFlight(Waiter { receiver: sender.subscribe() })
            }
            Some(Entry::Known { payload_hash: known }) if *known == payload_hash => Claim::Elsewhere,
            Some(Entry::Decided(_) | Entry::Reserved { .. } | Entry::Known { .. }) => Claim::Conflict,
        }
    }

    /// Reads back what the disk knows of an id, off the async threads; `None` when retention let it go meanwhile.
    ///
    /// # Errors
    /// The record is kept and cannot be read.
    pub async fn recall(&self, at: OnDisk) -> Result<Option<Recalled>, Error> {
        let Some(shelf) = self.shelf.clone() else { return Ok(None) };
        let readers = Arc::clone(&shelf.readers);
        let recalled = readers.read(move || shelf.recall(at.0)).await;
        recalled.inspect_err(|error| StoreReadFailed { error }.emit())
    }

    /// Finds a decision, in memory or on disk.
    ///
    /// # Errors
    /// The record is kept and cannot be read.
    pub async fn find(&self, transaction_id: &str) -> Result<Option<Arc<Record>>, Error> {
        let key = id_key(transaction_id);
        let place = {
            let part = self.shard_of(id_hash(key)).lock();
            match part.entries.get(&key) {
                Some(Entry::Decided(record)) => return Ok(Some(Arc::clone(record))),
                Some(Entry::Reserved { .. } | Entry::Known { .. }) => return Ok(None),
                None => part.places.get(id_hash(key)),
            }
        };
        let Some(place) = place else { return Ok(None) };
        let record = self.recall(OnDisk(place)).await?.and_then(Recalled::decided);
        // The index knows half of the hash: only the record itself tells whose it is.
        Ok(record.filter(|record| record.transaction.id() == transaction_id))
    }

    /// Finds a decision, in memory or on disk, on the caller's thread; `None` also when it cannot be read. For work off
    /// the path of answers: it may block on the disk.
    #[must_use]
    pub fn look_up(&self, transaction_id: &str) -> Option<Arc<Record>> {
        let key = id_key(transaction_id);
        let place = {
            let part = self.shard_of(id_hash(key)).lock();
            match part.entries.get(&key) {
                Some(Entry::Decided(record)) => return Some(Arc::clone(record)),
                Some(Entry::Reserved { .. } | Entry::Known { .. }) => return None,
                None => part.places.get(id_hash(key))?,
            }
        };
        let recalled = self.shelf.as_ref()?.recall(place).inspect_err(|error| StoreReadFailed { error }.emit());
        let record = recalled.ok().flatten().and_then(Recalled::decided);
        record.filter(|record| record.transaction.id() == transaction_id)
    }

    /// Lists decisions after a cursor in feed order, at most `limit`, looking at no more than 100,000 in
    /// memory or 10,000 on disk.
    ///
    /// # Errors
    /// A record on disk cannot be read.
    pub async fn after(&self, cursor: u64, outcome: Option<Outcome>, limit: usize) -> Result<Page, Error> {
        let cold = {
            let feed = self.feed.lock();
            let oldest_kept = self.shelf.as_ref().map_or(u64::MAX, Shelf::oldest);
            if feed.oldest().is_some_and(|oldest| cursor + 1 >= oldest || oldest_kept >= oldest) {
                return Ok(feed.after(cursor, outcome, limit));
            }
            self.shelf.clone()
        };
        let Some(shelf) = cold else { return Ok(self.feed.lock().after(cursor, outcome, limit)) };
        let readers = Arc::clone(&shelf.readers);
        let page = readers.read(move || feed::from_disk(&shelf, cursor, outcome, limit)).await;
        page.inspect_err(|error| StoreReadFailed { error }.emit())
    }

    /// Returns what the settings say of decisions that cannot be recorded.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        self.shelf.as_ref().map_or(OnFailure::Answer, |shelf| shelf.on_failure)
    }

    /// Tells how full the ledger is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (mut kept, mut index_bytes) = (0, 0);
        for shard in &self.shards {
            let part = shard.lock();
            kept += part.places.len();
            index_bytes += part.places.bytes();
        }
        let (disk_bytes, event_disk_bytes) = self.shelf.as_ref().map_or((0, 0), Shelf::bytes);
        let restored = self.shelf.as_ref().map_or(1_000, |shelf| shelf.gate.permille());
        let feed = self.feed.lock();
        Stats {
            records: feed.len(),
            bytes: feed.bytes(),
            evicted: self.evicted.load(Ordering::Relaxed),
            kept,
            index_bytes,
            disk_bytes,
            event_disk_bytes,
            restored_permille: restored,
            waiting: feed.unrecorded(),
        }
    }

    /// Records labels or other events that no decision goes with; `false`: they could not be.
    pub(crate) async fn record_labels(&self, message: impl FnOnce(oneshot::Sender<bool>) -> Message) -> bool {
        let Some(shelf) = &self.shelf else { return true };
        let (reply, answer) = oneshot::channel();
        if shelf.queue.push(message(reply)).is_err() {
            return shelf.on_failure == OnFailure::Answer;
        }
        answer.await.unwrap_or(shelf.on_failure == OnFailure::Answer)
    }

    /// Makes a decision visible and answers those who wait for it; with a place it is recorded.
    pub(crate) fn publish(&self, key: u128, record: &Arc<Record>, place: Option<Place>) {
        let gone = match place {
            // Nothing of it is on disk: it stays in memory until it is, or is lost.
            None => self.feed.lock().hold(),
            Some(_) => self.feed.lock().push(Arc::clone(record), &self.options),
        };
        // Before anybody sees it: who does must also see that it is still to be published.
        self.owe(record);
        let before = {
            let mut part = self.shard_of(id_hash(key)).lock();
            if let Some(place) = place {
                part.places.insert(id_hash(key), place);
            }
            part.entries.insert(key, Entry::Decided(Arc::clone(record)))
        };
        match before {
            Some(Entry::Reserved { waiters: Some(waiters), .. }) => {
                waiters.send_replace(Some(Arc::clone(record)));
            }
            Some(Entry::Decided(_)) => self.feed.lock().unhold(),
            Some(Entry::Reserved { waiters: None, .. } | Entry::Known { .. }) | None => {}
        }
        for record in gone {
            let key = id_key(record.transaction.id());
            self.shard_of(id_hash(key)).lock().entries.remove(&key);
        }
    }

    /// Points a kept decision to where it was written again.
    pub(crate) fn relocate(&self, hash: u64, place: Place) {
        self.shard_of(hash).lock().places.insert(hash, place);
    }

    /// Points to where it is written that another instance decided an id.
    pub(crate) fn publish_known(&self, key: u128, place: Place) {
        let mut part = self.shard_of(id_hash(key)).lock();
        part.places.insert(id_hash(key), place);
        if matches!(part.entries.get(&key), Some(Entry::Known { .. })) {
            part.entries.remove(&key);
        }
    }

    /// Takes note of what the stream has to publish.
    fn owe(&self, record: &Record) {
        let cursor = record.cursor.get();
        if let Some(unpublished) = self.unpublished.get().filter(|_| cursor > 0 && record.origin == Origin::Rest) {
            unpublished.lock().insert(cursor, id_hash(id_key(record.transaction.id())));
        }
    }

    /// Forgets the decisions of a segment that retention lets go.
    pub(crate) fn forget(&self, segment: u32, hashes: impl Iterator<Item = u64>) {
        let (mut gone, mut owed) = (0, 0);
        for hash in hashes {
            let is_gone = self.shard_of(hash).lock().places.remove(hash, segment);
            gone += u64::from(is_gone);
            if let Some(unpublished) = self.unpublished.get().filter(|_| is_gone) {
                owed += u64::from(unpublished.lock().forget(hash));
            }
        }
        self.evicted.fetch_add(gone, Ordering::Relaxed);
        if owed > 0 {
            UnpublishedLost { count: owed }.emit();
        }
    }

    /// Gives an id back whose decision could not be recorded and was not answered.
    pub(crate) fn give_up(&self, key: u128) {
        // The waiters' channel closes with the entry: they hear that nobody decided.
        self.shard_of(id_hash(key)).lock().entries.remove(&key);
    }

    /// Lets a decision go that never reached the disk.
    pub(crate) fn lose(&self, key: u128) {
        self.feed.lock().unhold();
        self.give_up(key);
    }

    #[expect(clippy::cast_possible_truncation, reason = "only low bits are used")]
    fn shard_of(&self, hash: u64) -> &Mutex<Part> {
        // The low bits of XXH3 are uniform; SHARDS is a power of two.
        &self.shards[(hash as usize) & (SHARDS - 1)]
    }
}

impl Ledger {
    /// Keeps a record in memory only and lets the oldest go where a bound is reached.
    fn keep(&self, key: u128, record: &Arc<Record>) {
        let gone = {
            let mut feed = self.feed.lock();
            record.cursor.set(feed.newest() + 1);
            feed.push(Arc::clone(record), &self.options)
        };
        self.owe(record);
        let entry = Entry::Decided(Arc::clone(record));
        let before = self.shard_of(id_hash(key)).lock().entries.insert(key, entry);
        if let Some(Entry::Reserved { waiters: Some(waiters), .. }) = before {
            waiters.send_replace(Some(Arc::clone(record)));
        }
        self.evicted.fetch_add(gone.len() as u64, Ordering::Relaxed);
        for record in gone {
            let key = id_key(record.transaction.id());
            self.shard_of(id_hash(key)).lock().entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;

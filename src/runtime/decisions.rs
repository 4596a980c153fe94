//! The decision ledger: the first answer of every transaction id, kept and handed out again.
//!
//! ```text
//! reserve(id) ─> Reserved(ticket) ─> settle(record) ─> recorded, waiters answered, feed grows
//!             ├> Decided(record)      dropped ticket ─> reservation undone
//!             ├> OnDisk(place)        decided and no longer in memory: recall(place)
//!             ├> InFlight(waiter)
//!             └> Conflict             the same id with another payload
//! ```
//! Without a store it is in memory only, bounded by bytes and receipt time, oldest out first. With one,
//! memory is a cache of the newest records; of every kept decision 16 bytes say where it lies, and a
//! record counts when the store's writer says so. It does not know how a decision comes about.

mod feed;
mod places;
mod record;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::clock::Moment;
use super::store::{Decided, Error, Message, OnFailure, Place, Shelf, id_hash, id_key, put_record, put_transaction};
use crate::domain::{DegradedReason, Outcome, Span, Transaction};
use crate::telemetry::events::{NotRecorded, StoreReadFailed};
use feed::Feed;
pub use feed::Page;
use places::Places;
pub use record::{Cursor, ListHit, Record};

/// How long a decision waits for the writer at least, whatever is left of its deadline.
const WRITE_WAIT_MIN: Duration = Duration::from_millis(25);
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
    /// The id stands for another payload.
    Conflict,
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
    Reserved { payload_hash: u128, waiters: Option<watch::Sender<Option<Arc<Record>>>> },
    Decided(Arc<Record>),
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
        Self { shards, feed: Mutex::default(), options, shelf: None, evicted: AtomicU64::new(0) }
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
        let mut part = self.shard_of(id_hash(key)).lock();
        let Part { entries, places } = &mut *part;
        match entries.get_mut(&key) {
            None => {
                if let Some(place) = places.get(id_hash(key)).map(OnDisk).filter(|place| not_at != Some(*place)) {
                    return Reservation::OnDisk(place);
                }
                entries.insert(key, Entry::Reserved { payload_hash, waiters: None });
                Reservation::Reserved(Ticket { ledger: self, key, event: Vec::new(), deferred: false, settled: false })
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

    /// Reads a decision back from disk, off the async threads; `None` when retention let it go meanwhile.
    ///
    /// # Errors
    /// The record is kept and cannot be read.
    pub async fn recall(&self, at: OnDisk) -> Result<Option<Arc<Record>>, Error> {
        let Some(shelf) = self.shelf.clone() else { return Ok(None) };
        let readers = Arc::clone(&shelf.readers);
        let record = readers.read(move || shelf.record(at.0)).await;
        record.map(|record| record.map(Arc::new)).inspect_err(|error| StoreReadFailed { error }.emit())
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
                Some(Entry::Reserved { .. }) => return Ok(None),
                None => part.places.get(id_hash(key)),
            }
        };
        let Some(place) = place else { return Ok(None) };
        let record = self.recall(OnDisk(place)).await?;
        // The index knows half of the hash: only the record itself tells whose it is.
        Ok(record.filter(|record| record.transaction.id() == transaction_id))
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
            Some(Entry::Reserved { waiters: None, .. }) | None => {}
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

    /// Forgets the decisions of a segment that retention lets go.
    pub(crate) fn forget(&self, segment: u32, hashes: impl Iterator<Item = u64>) {
        let mut gone = 0;
        for hash in hashes {
            gone += u64::from(self.shard_of(hash).lock().places.remove(hash, segment));
        }
        self.evicted.fetch_add(gone, Ordering::Relaxed);
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

/// The right and duty to decide one id. Dropped unsettled, it gives the id back.
pub struct Ticket<'a> {
    ledger: &'a Ledger,
    key: u128,
    /// The transaction as the event log has it, once entity state has seen it.
    event: Vec<u8>,
    deferred: bool,
    settled: bool,
}

impl Ticket<'_> {
    /// Takes note that entity state has the transaction: from now on the event log must get it, whatever
    /// becomes of the request.
    pub fn observed(&mut self, transaction: &Transaction) {
        if self.ledger.shelf.is_some() {
            self.event.reserve(384);
            put_transaction(&mut self.event, transaction);
        }
    }

    /// Takes note that entity state has not seen the transaction: restoring will bring it there.
    pub fn deferred(&mut self, transaction: &Transaction) {
        self.observed(transaction);
        self.deferred = true;
    }

    /// Records the decision, answers everyone who waits for it and returns it with its cursor. Past
    /// `deadline`, or 25 ms where less is left, nobody waits for the disk: what the settings say of failures holds, and the record may
    /// still be written.
    pub async fn settle(mut self, record: Record, deadline: Moment) -> Settled {
        let (ledger, key) = (self.ledger, self.key);
        let record = Arc::new(record);
        let Some(shelf) = &ledger.shelf else {
            self.settled = true;
            ledger.keep(key, &record);
            return Settled::Kept(record);
        };
        let mut payload = Vec::with_capacity(1_536);
        put_record(&mut payload, &record);
        let (reply, answer) = oneshot::channel();
        let (event, deferred) = (std::mem::take(&mut self.event), self.deferred);
        let kept = Arc::clone(&record);
        let decided = Decided { key, record: kept, event, payload, deferred, reply: Some(reply) };
        let Ok(rouse) = shelf.queue.push(Message::Decided(Box::new(decided))) else {
            // The ticket gives the id back: nothing of this is on its way to the disk.
            return late(shelf, &record);
        };
        // From here on the writer settles it, also when this request is given up.
        self.settled = true;
        // Whoever is ready on this thread joins the group before the writer is woken for it.
        tokio::task::yield_now().await;
        drop(rouse);
        // A decision that took all of its time is still given that of a write: it will be there, and
        // saying that it is not would be wrong.
        let patience = deadline.instant().max(Moment::now().after(WRITE_WAIT_MIN).instant());
        let deadline = tokio::time::Instant::from_std(patience);
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(settled)) => {
                let is_unrecorded = match &settled {
                    Settled::Kept(record) => record.decision.degraded.contains(&DegradedReason::NotRecorded),
                    Settled::NotRecorded => true,
                };
                if is_unrecorded {
                    NotRecorded.emit();
                }
                settled
            }
            Ok(Err(_)) | Err(_) => late(shelf, &record),
        }
    }
}

/// What is answered when the disk did not say in time that it has the record.
fn late(shelf: &Shelf, record: &Record) -> Settled {
    NotRecorded.emit();
    match shelf.on_failure {
        OnFailure::Answer => Settled::Kept(Arc::new(record.with(DegradedReason::NotRecorded))),
        OnFailure::Refuse => Settled::NotRecorded,
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

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.ledger.give_up(self.key);
        if let Some(shelf) = self.ledger.shelf.as_ref().filter(|_| !self.event.is_empty() && !self.deferred) {
            // Entity state has the event, so the log must have it too. A full line has its own alarm.
            let _ = shelf.queue.push(Message::Event(std::mem::take(&mut self.event)));
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

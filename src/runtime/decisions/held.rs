//! The stream's hold on ids: decided, not yet committed, and what becomes visible once it is.
//!
//! ```text
//! claim ─> Claimed ─> Held ─ committed ─> keep_group: visible at once, one message for the store
//!             └ dropped ─────┴ dropped: the id is free again
//! ```
//! Here, too, is what the changelog teaches: ids that were decided elsewhere, and that a decision of the
//! REST door was published.

use std::sync::Arc;

use super::ticket::Waiter;
use super::{Door, Entry, Error, Ledger, OnDisk, Origin, Page, Recalled, Record};
use crate::domain::Transaction;
use crate::runtime::store::{Group, Message, id_hash, id_key, put_confirmed, put_record, put_transaction};
use crate::runtime::stream::changelog::BlobWriter;
use crate::runtime::stream::group::{HeldLabel, StreamGroup};
use crate::telemetry::events::{StoreLost, StoreReadFailed, UnpublishedLost};

/// What claiming an id found.
pub(super) enum Claim {
    /// It is ours to decide.
    Ours,
    /// Decided before, with the same payload.
    Decided(Arc<Record>),
    /// Known before, most likely: only the disk tells.
    OnDisk(OnDisk),
    /// Somebody is deciding it now.
    InFlight(Waiter),
    /// Decided by another instance, with the same payload.
    Elsewhere,
    /// The id stands for another payload.
    Conflict,
}

/// What the stream finds of an id.
pub(crate) enum StreamClaim {
    /// It is ours to decide.
    Ours(Claimed),
    /// Decided by the REST door here, and to be published.
    Unpublished(Arc<Record>),
    /// Published before.
    Published,
    /// Somebody is deciding it, maybe this very batch.
    InFlight(Waiter),
    /// The id stands for another payload.
    Conflict,
    /// What is known of it cannot be read.
    Unreadable,
}

/// The stream's right and duty to decide one id. Dropped, it gives the id back.
pub(crate) struct Claimed {
    ledger: Arc<Ledger>,
    key: u128,
    settled: bool,
}

impl Claimed {
    /// Tells whether this is the claim on an id.
    pub(crate) const fn is_on(&self, key: u128) -> bool {
        self.key == key
    }

    /// Takes the decision. `event` is the transaction as the event log has it, empty when state was not
    /// changed; `deferred`: entity state has not seen it yet.
    pub(crate) fn decided(self, record: Record, event: Vec<u8>, deferred: bool) -> Held {
        let key = self.key;
        Held { key, record: Arc::new(record), event, deferred, is_logged: false, claimed: Some(self) }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.give_up(self.key);
        }
    }
}

/// A decision that waits for its transaction with the broker. Dropped before it is kept, it gives its id
/// back, and whoever waits for it hears that nobody decided.
pub struct Held {
    key: u128,
    record: Arc<Record>,
    event: Vec<u8>,
    deferred: bool,
    /// Whether the event log has its event already.
    is_logged: bool,
    /// `None` for a decision of the REST door that stands already.
    claimed: Option<Claimed>,
}

impl Held {
    /// Holds a decision of the REST door that is to be published; `is_logged`: the event log has its event.
    pub(crate) fn confirmed(record: Arc<Record>, is_logged: bool) -> Self {
        let mut event = Vec::with_capacity(384);
        put_transaction(&mut event, &record.transaction);
        let key = id_key(record.transaction.id());
        Self { key, record, event, deferred: false, is_logged, claimed: None }
    }

    /// Returns the decision with all it followed from.
    #[must_use]
    pub const fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Tells whether this holds an id.
    pub(crate) const fn is_on(&self, key: u128) -> bool {
        self.key == key
    }

    /// Tells whether state was not changed: beyond the allowed lateness.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.event.is_empty()
    }

    /// Returns the ledger's hash of the id, for the partition's chain.
    #[must_use]
    pub const fn id_hash(&self) -> u64 {
        id_hash(self.key)
    }

    /// Appends it to the changelog's blob.
    pub fn put(&self, blob: &mut BlobWriter) {
        if self.is_late() {
            blob.id(self.key, self.record.payload_hash);
        } else {
            blob.event(&self.event);
        }
    }

    /// Tells whether it is new: not a decision of the REST door that stands already.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.claimed.is_some()
    }
}

impl Ledger {
    /// Claims an id for the stream. Reads the disk where memory does not know; blocks for that.
    pub(crate) fn claim_for_stream(self: &Arc<Self>, transaction_id: &str, payload_hash: u128) -> StreamClaim {
        let key = id_key(transaction_id);
        let mut not_at = None;
        loop {
            return match self.claim(key, payload_hash, Door::Stream, not_at) {
                Claim::Ours => StreamClaim::Ours(Claimed { ledger: Arc::clone(self), key, settled: false }),
                Claim::Decided(record) => self.published_or_not(record),
                Claim::Elsewhere => StreamClaim::Published,
                Claim::InFlight(waiter) => StreamClaim::InFlight(waiter),
                Claim::Conflict => StreamClaim::Conflict,
                Claim::OnDisk(at) => match self.recall_now(at) {
                    Ok(Some(Recalled::Decided(record))) if record.payload_hash == payload_hash => {
                        self.published_or_not(record)
                    }
                    Ok(Some(recalled)) if recalled.is_of(key) => {
                        let is_same = recalled.payload_hash() == payload_hash;
                        if is_same { StreamClaim::Published } else { StreamClaim::Conflict }
                    }
                    // Retention let it go meanwhile, or it was another id with the same hash.
                    Ok(_) => {
                        not_at = Some(at);
                        continue;
                    }
                    Err(_) => StreamClaim::Unreadable,
                },
            };
        }
    }

    fn published_or_not(&self, record: Arc<Record>) -> StreamClaim {
        if self.is_owed(&record) { StreamClaim::Unpublished(record) } else { StreamClaim::Published }
    }

    fn is_owed(&self, record: &Record) -> bool {
        let hash = id_hash(id_key(record.transaction.id()));
        let owed = self.unpublished.get().map(|unpublished| unpublished.lock().contains(hash, record.cursor.get()));
        record.origin == Origin::Rest && owed == Some(true)
    }

    /// Reads what the disk knows of an id, on this thread.
    fn recall_now(&self, at: OnDisk) -> Result<Option<Recalled>, Error> {
        let Some(shelf) = &self.shelf else { return Ok(None) };
        shelf.recall(at.0).inspect_err(|error| StoreReadFailed { error }.emit())
    }

    /// Makes a group visible whose transaction with the broker is committed, and hands it to the store.
    /// Waits for nobody, but for room in the store's line: that is the lane's backpressure.
    pub fn keep_group(&self, group: StreamGroup) {
        let StreamGroup { advances, held, labels, released } = group;
        let mut message = Group { advances, released, ..Group::default() };
        message.events.reserve(held.len());
        for held in held {
            self.keep_held(held, &mut message);
        }
        message.events.extend(labels.into_iter().map(HeldLabel::into_payload));
        self.hand_over(message);
    }

    fn keep_held(&self, mut held: Held, message: &mut Group) {
        let event = std::mem::take(&mut held.event);
        if held.deferred {
            message.deferred.push(Arc::clone(&held.record));
        }
        if !held.is_logged && !event.is_empty() && self.shelf.is_some() {
            message.events.push(event);
        }
        let Some(claimed) = &mut held.claimed else {
            self.confirm(id_hash(held.key), held.record.cursor.get() > 0);
            let (received_at, key) = (held.record.received_at, held.key);
            return message.confirmed.push(|payload| put_confirmed(payload, received_at, key));
        };
        claimed.settled = true;
        if self.shelf.is_none() {
            return self.keep(held.key, &held.record);
        }
        // Nobody waits for the disk: it is seen from now on, and in the feed once it is written.
        self.publish(held.key, &held.record, None);
        message.records.push(|payload| put_record(payload, &held.record));
        message.decided.push((held.key, Arc::clone(&held.record)));
    }

    /// Hands what the stream leaves to the store. A line that is closed is being left: it is counted.
    pub(crate) fn hand_over(&self, group: Group) {
        let Some(shelf) = &self.shelf else { return };
        if group.is_empty() {
            return;
        }
        if let Err(message) = shelf.queue.push_waiting(Message::Group(Box::new(group))) {
            StoreLost { count: 1 }.emit();
            drop(message);
        }
    }

    /// Learns from the changelog that an id was decided and published. `None`: it is known here; else
    /// the store must hear of it.
    pub(crate) fn learn(&self, key: u128, payload_hash: u128) -> Learnt {
        let hash = id_hash(key);
        let mut part = self.shard_of(hash).lock();
        let has_place = match part.entries.get(&key) {
            Some(Entry::Known { .. }) => return Learnt::Nothing,
            // What the REST door decides just now need not be published again.
            Some(Entry::Reserved { .. }) => false,
            Some(Entry::Decided(record)) if record.origin != Origin::Rest => return Learnt::Nothing,
            Some(Entry::Decided(record)) => record.cursor.get() > 0,
            None if part.places.get(hash).is_some() => true,
            None => {
                part.entries.insert(key, Entry::Known { payload_hash });
                return Learnt::Known;
            }
        };
        drop(part);
        if self.confirm(hash, has_place) { Learnt::Published } else { Learnt::Nothing }
    }

    /// Takes note that a decision of the REST door was published.
    fn confirm(&self, hash: u64, has_place: bool) -> bool {
        self.unpublished.get().is_some_and(|unpublished| unpublished.lock().confirm(hash, has_place))
    }

    /// Begins to keep account of what the REST door decided and the stream has not published, from the
    /// decisions after `first_cursor` on. Before the store is started; a second call changes nothing.
    ///
    /// # Errors
    /// An index of the ledger cannot be read.
    pub fn track_unpublished(&self, first_cursor: u64) -> Result<(), Error> {
        let mut owed = super::unpublished::Unpublished::default();
        if let Some(shelf) = &self.shelf {
            shelf.doors(first_cursor, &mut |cursor, hash, published| {
                if published {
                    owed.confirm(hash, false);
                } else {
                    owed.insert(cursor, hash);
                }
            })?;
        }
        owed.settle();
        let _ = self.unpublished.set(parking_lot::Mutex::new(owed));
        Ok(())
    }

    /// Lists decisions of the REST door that the stream has not published, after a cursor in feed order.
    ///
    /// # Errors
    /// A record on disk cannot be read.
    pub async fn unpublished_after(&self, cursor: u64, limit: usize) -> Result<Page, Error> {
        let found = self.unpublished.get().map(|unpublished| unpublished.lock().after(cursor, limit));
        let mut page = Page { records: Vec::new(), next: cursor };
        for (cursor, hash) in found.unwrap_or_default() {
            let cached = self.feed.lock().at(cursor);
            let record = if cached.is_some() { cached } else { self.recall_decision(hash).await? };
            page.next = cursor;
            if record.is_none() && self.forget_owed(hash) {
                UnpublishedLost { count: 1 }.emit();
            }
            page.records.extend(record);
        }
        Ok(page)
    }

    fn forget_owed(&self, hash: u64) -> bool {
        self.unpublished.get().is_some_and(|unpublished| unpublished.lock().forget(hash))
    }

    async fn recall_decision(&self, hash: u64) -> Result<Option<Arc<Record>>, Error> {
        let place = self.shard_of(hash).lock().places.get(hash);
        let Some(place) = place else { return Ok(None) };
        Ok(self.recall(OnDisk(place)).await?.and_then(Recalled::decided))
    }

    /// Returns how many decisions of the REST door the stream has not published.
    #[must_use]
    pub fn unpublished(&self) -> usize {
        self.unpublished.get().map_or(0, |unpublished| unpublished.lock().len())
    }

    /// Returns how many of them lie after a cursor of the feed.
    #[must_use]
    pub fn unpublished_since(&self, cursor: u64) -> u64 {
        self.unpublished.get().map_or(0, |unpublished| unpublished.lock().count_after(cursor))
    }

    /// Tells whether a transaction's decision of the REST door is still to be published.
    #[must_use]
    pub fn is_unpublished(&self, transaction: &Transaction) -> bool {
        let hash = id_hash(id_key(transaction.id()));
        self.unpublished.get().is_some_and(|unpublished| unpublished.lock().contains(hash, u64::MAX))
    }
}

/// What an id of the changelog taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// Nothing new.
    Nothing,
    /// An id that was decided elsewhere.
    Known,
    /// A decision of the REST door here is published.
    Published,
}

//! The index: which transactions are here, and in which slots their events are.
//!
//! It makes a transaction id count once and finds the events a label is about. Labels that come
//! before their transaction wait here, bounded; the oldest goes first and is counted. Entries go when
//! no window can reach their event any more. An id is its 64-bit hash: among ten million resident
//! transactions two share one with a chance below 3e-6.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Stats;
use super::table::Table;
use crate::scoring::feature::ENTITY_KINDS_MAX;
use crate::scoring::window::{LabelMark, id_word};

/// The part of `bytes_max` that the index may take.
const SHARE: usize = 4;
const NOWHERE: u32 = u32::MAX;
const NO_PARTITION: u16 = u16::MAX;

/// Whether a transaction id is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Not yet.
    Never,
    /// With this event time, in microseconds.
    At(i64),
    /// With this event time; its partition's entities were let go since, so it is in the shared ones only.
    Released(i64),
}

impl Sent {
    /// Returns what holds for a kind: a transaction whose partition was let go is new to its own kinds.
    pub(super) const fn to(self, is_partitioned: bool) -> Self {
        match self {
            Self::Released(_) if is_partitioned => Self::Never,
            Self::Released(time) => Self::At(time),
            Self::Never | Self::At(_) => self,
        }
    }
}

/// A label without its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) known_at: i64,
    pub(super) fraud: bool,
}

impl Mark {
    pub(super) fn of(self, time: i64, hash: u64) -> LabelMark {
        LabelMark { time, id_word: id_word(hash, 0), known_at: self.known_at, fraud: self.fraud }
    }
}

/// Where the events of a transaction are: a shard (8 bits) and a slot (24 bits) per entity kind. Shards of
/// kinds that live with their partition are counted within it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) time: i64,
    slots: [u32; ENTITY_KINDS_MAX],
    partition: u16,
    ready: bool,
    released: bool,
}

impl Place {
    pub(super) fn new(time: i64, partition: Option<u32>) -> Self {
        let partition = partition.and_then(|partition| u16::try_from(partition).ok()).unwrap_or(NO_PARTITION);
        Self { time, slots: [NOWHERE; ENTITY_KINDS_MAX], partition, ready: false, released: false }
    }

    /// Returns the partition whose entities have it.
    pub(super) fn partition(&self) -> Option<u32> {
        (self.partition != NO_PARTITION).then_some(u32::from(self.partition))
    }

    pub(super) fn set(&mut self, kind: usize, shard: usize, slot: Option<u32>) {
        // Beyond 16 million entities in one shard an event cannot be found by its label.
        let slot = slot.filter(|slot| *slot < 1 << 24);
        self.slots[kind] = slot.map_or(NOWHERE, |slot| slot << 8 | u32::try_from(shard).unwrap_or(0));
    }

    pub(super) fn get(&self, kind: usize) -> Option<(usize, u32)> {
        let place = self.slots[kind];
        (place != NOWHERE).then_some(((place & 0xff) as usize, place >> 8))
    }
}

#[derive(Debug)]
struct Part {
    places: Table<u64, Place>,
    waiting: HashMap<u64, SmallVec<[Mark; 1]>>,
    order: VecDeque<u64>,
    pending: usize,
    dropped: u64,
}

/// All parts, each under its own lock.
#[derive(Debug)]
pub(super) struct Index {
    parts: Box<[Mutex<Part>]>,
    pending_max: usize,
    places_max: usize,
}

impl Index {
    pub(super) fn new(parts: usize, labels_pending_max: usize, bytes_max: Option<usize>) -> Self {
        let entry = size_of::<Place>() + 40;
        let part = |_| {
            Mutex::new(Part {
                places: Table::new(),
                waiting: HashMap::new(),
                order: VecDeque::new(),
                pending: 0,
                dropped: 0,
            })
        };
        Self {
            parts: (0..parts).map(part).collect(),
            pending_max: labels_pending_max.div_ceil(parts),
            places_max: bytes_max.map_or(usize::MAX, |bytes| (bytes / SHARE / entry).max(16)),
        }
    }

    /// Tells whether a transaction was sent, without taking note of it.
    pub(super) fn sent(&self, hash: u64) -> Sent {
        let part = self.part(hash).lock();
        let known = part.places.find(hash).and_then(|slot| part.places.get(slot));
        known
            .map_or(Sent::Never, |place| if place.released { Sent::Released(place.time) } else { Sent::At(place.time) })
    }

    /// Takes note of a transaction; the first one to do so gets [`Sent::Never`], and the first one after its
    /// partition was let go gets [`Sent::Released`].
    pub(super) fn reserve(&self, hash: u64, place: Place, horizon: i64) -> Sent {
        let mut part = self.part(hash).lock();
        let slot = part.places.find(hash);
        if let Some(known) = slot.and_then(|slot| part.places.get_mut(slot)) {
            if std::mem::take(&mut known.released) {
                known.partition = place.partition;
                return Sent::Released(known.time);
            }
            return Sent::At(known.time);
        }
        let slot = part.places.insert(hash, place);
        part.places.sweep(|place| place.time <= horizon, |_| {});
        if part.places.len() > self.places_max {
            part.places.evict(slot, |place| place.time);
        }
        Sent::Never
    }

    /// Says where a reserved transaction's events are and hands out the labels that waited for it.
    pub(super) fn place(&self, hash: u64, place: &Place) -> SmallVec<[Mark; 1]> {
        let mut part = self.part(hash).lock();
        let slot = part.places.find(hash);
        if let Some(known) = slot.and_then(|slot| part.places.get_mut(slot)) {
            // What was not inserted now stays where it was.
            for (kept, slot) in known.slots.iter_mut().zip(place.slots) {
                *kept = if slot == NOWHERE { *kept } else { slot };
            }
            known.ready = true;
        }
        let marks = if part.waiting.is_empty() { None } else { part.waiting.remove(&hash) }.unwrap_or_default();
        part.pending -= marks.len();
        marks
    }

    /// Returns where a label's transaction is, or keeps the label until it comes.
    pub(super) fn label(&self, hash: u64, mark: Mark) -> Option<Place> {
        let mut part = self.part(hash).lock();
        let known = part.places.find(hash).and_then(|slot| part.places.get(slot));
        if let Some(place) = known.filter(|place| place.ready).copied() {
            if place.released {
                // Its partition may come back: the label waits for that, too.
                part.wait(hash, mark, self.pending_max);
            }
            return Some(place);
        }
        part.wait(hash, mark, self.pending_max);
        None
    }

    /// Takes note that the entities of partitions are gone: `kinds` are those that lived there. Looks at every
    /// transaction.
    pub(super) fn release(&self, gone: &[u32], kinds: &[usize]) {
        for part in &self.parts {
            let mut part = part.lock();
            for place in part.places.values_mut() {
                if place.partition().is_none_or(|partition| !gone.contains(&partition)) {
                    continue;
                }
                for kind in kinds {
                    place.slots[*kind] = NOWHERE;
                }
                place.released = true;
            }
        }
    }

    pub(super) fn count(&self, stats: &mut Stats) {
        for part in &self.parts {
            let part = part.lock();
            stats.transactions += part.places.len() as u64;
            stats.bytes += (part.places.bytes() + part.waiting.capacity() * 48 + part.order.capacity() * 8) as u64;
            stats.labels_pending += part.pending as u64;
            stats.labels_dropped_total += part.dropped;
        }
    }

    fn part(&self, hash: u64) -> &Mutex<Part> {
        &self.parts[(hash >> 40) as usize & (self.parts.len() - 1)]
    }
}

impl Part {
    fn wait(&mut self, hash: u64, mark: Mark, pending_max: usize) {
        let marks = self.waiting.entry(hash).or_default();
        if marks.contains(&mark) {
            return;
        }
        marks.push(mark);
        self.order.push_back(hash);
        self.pending += 1;
        while self.pending > pending_max
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.waiting.remove(&oldest).map_or(0, |marks| marks.len());
            self.pending -= gone;
            self.dropped += gone as u64;
        }
        if self.order.len() > 2 * self.pending.max(64) {
            let waiting = &self.waiting;
            self.order.retain(|hash| waiting.contains_key(hash));
        }
    }
}

//! The entity store: the events of every customer, card, device ..., in memory, in shards.
//!
//! ```text
//! observe(tx)   index: seen before?  ─>  each entity: lock, read features, insert, unlock  ─>  index: where
//! label         index: where?        ─>  each entity: lock, mark the row, unlock
//! ```
//! Features are read and the event is inserted in **one** visit under the entity's lock, so of two
//! transactions of an entity one always sees the other: whichever came first. No two entities are ever
//! locked at once. Beside a stream some entities live with their partition and go with it: `partitions.rs`. An event counts once by its transaction id (`FE-2`), and nothing later than it is
//! seen (`FE-1`). State is a function of the events in it; it serves every resident schema.
//!
//! Memory: 8 bytes x (2 + columns) an event and entity, some 100 bytes an entity and a transaction;
//! [`Entities::stats`] counts them. Time is event time: see `watermark.rs`.

mod index;
mod partitions;
mod shard;
mod table;
mod warmth;
mod watermark;

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{FeatureVector, Label, Span, Timestamp, Transaction};
use crate::runtime::stream::ownership::Ownership;
use crate::scoring::feature::{Conflict, Layout, Plan, Schema};
use index::{Index, Mark, Place, Sent};
use partitions::Partitions;
pub use shard::EntityView;
use shard::{Shard, Visit};
pub use warmth::Warmth;
use warmth::Watch;
use watermark::Watermark;

/// How much the store keeps.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Locks over the entities: a power of two, 1 to 256. Default 64. Restart.
    pub shards: usize,
    /// Events kept per entity, the newest ones; features say `capped` when a window would need more.
    /// 16 to 1,000,000, default 4096. Restart.
    pub events_per_entity_max: usize,
    /// How late an event may come and still find its windows whole; `1m` or more, default `1d`. Restart.
    pub lateness_max: Span,
    /// Labels kept for transactions that have not come yet; beyond it the oldest goes. Default 100000. Restart.
    pub labels_pending_max: usize,
    /// Bound on the bytes held; beyond it the longest idle entities go, and windows that would have
    /// needed them say `capped`. Default none. Restart.
    pub bytes_max: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 64,
            events_per_entity_max: 4_096,
            lateness_max: Span::from_days(1),
            labels_pending_max: 100_000,
            bytes_max: None,
        }
    }
}

/// Why a store cannot be had, or cannot take a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option out of its range.
    #[error("{key} = {value} is out of range: use {cure}")]
    Option {
        /// The option.
        key: &'static str,
        /// What it was.
        value: usize,
        /// What it may be.
        cure: &'static str,
    },
    /// The schema does not go together with those already here.
    #[error("schema {schema} cannot share the store: {conflict}")]
    Conflict {
        /// The schema's name.
        schema: String,
        /// Why.
        conflict: Conflict,
    },
}

/// What became of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOutcome {
    /// It changed what some later transaction will see.
    Applied,
    /// Its transaction has not come yet: it waits.
    Pending,
    /// It was known already, or its transaction's events are gone.
    Unchanged,
}

/// What the store holds and what it has dropped since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Entities with events or panes.
    pub entities: u64,
    /// Events in all logs; one transaction is an event of each of its entities.
    pub events: u64,
    /// Transactions known by id.
    pub transactions: u64,
    /// Bytes of logs, panes and tables.
    pub bytes: u64,
    /// Events dropped because every window had passed them.
    pub expired_total: u64,
    /// Events dropped because an entity had too many.
    pub capped_total: u64,
    /// Entities dropped for `bytes_max`.
    pub evicted_total: u64,
    /// Labels waiting for their transaction.
    pub labels_pending: u64,
    /// Waiting labels dropped for `labels_pending_max`.
    pub labels_dropped_total: u64,
}

/// The store. Share it in an `Arc`.
#[derive(Debug)]
pub struct Entities {
    options: Options,
    layout: ArcSwap<Layout>,
    admitted: Mutex<Vec<(Arc<Plan>, Watch)>>,
    shards: Box<[Mutex<Shard>]>,
    /// Entities that live with their partition of the stream; without a stream there are none.
    partitions: Option<Partitions>,
    index: Index,
    watermark: Watermark,
}

impl Entities {
    /// Builds an empty store that serves `schemas`.
    ///
    /// # Errors
    /// [`Error::Option`] for an option out of range, [`Error::Conflict`] for schemas that do not go together.
    pub fn new(options: Options, schemas: &[Arc<Schema>]) -> Result<Self, Error> {
        Self::with_partitions(options, schemas, None)
    }

    /// Builds an empty store beside a stream: entities whose key has the first field of the partition key live
    /// in shards of their partition, which [`Self::release`] lets go; they have half of `bytes_max`, shared
    /// by all partitions alike.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_partitions(
        options: Options,
        schemas: &[Arc<Schema>],
        ownership: Option<Arc<Ownership>>,
    ) -> Result<Self, Error> {
        check(&options)?;
        let halves = 1 + usize::from(ownership.is_some());
        let bytes_max = options.bytes_max.map(|bytes| bytes / options.shards / halves);
        let partitions = ownership.map(|ownership| Partitions::new(ownership, options.bytes_max.map(|all| all / 2)));
        let shards = (0..options.shards).map(|_| Mutex::new(Shard::new(bytes_max))).collect();
        let index = Index::new(options.shards, options.labels_pending_max, bytes_max);
        let store = Self {
            layout: ArcSwap::default(),
            admitted: Mutex::default(),
            shards,
            partitions,
            index,
            watermark: Watermark::new(options.lateness_max),
            options,
        };
        for schema in schemas {
            store.admit(schema)?;
        }
        Ok(store)
    }

    /// Takes a schema in and compiles it; one that is here already gives the same plan. What it needs
    /// and no other did is kept from now on: until then [`Self::warmth`] says warming.
    ///
    /// # Errors
    /// [`Error::Conflict`]; the store is as before.
    pub fn admit(&self, schema: &Arc<Schema>) -> Result<Arc<Plan>, Error> {
        let mut admitted = self.admitted.lock();
        if let Some((plan, _)) = admitted.iter().find(|(plan, _)| plan.schema().hash() == schema.hash()) {
            return Ok(Arc::clone(plan));
        }
        let mut layout = Layout::clone(&self.layout.load());
        let before = layout.size();
        let compiled = Plan::compile(Arc::clone(schema), &mut layout);
        let plan = compiled.map_err(|conflict| Error::Conflict { schema: schema.name().into(), conflict })?;
        let plan = Arc::new(plan);
        let brings_new = layout.size() != before;
        let layout = Arc::new(layout);
        // Logs first: a transaction that still has the old layout inserts rows that are filled up.
        for shard in self.all_shards() {
            shard.lock().widen(&layout, self.options.lateness_max);
        }
        self.layout.store(layout);
        admitted.push((Arc::clone(&plan), Watch::new(brings_new, self.watermark.clock())));
        Ok(plan)
    }

    /// Computes the features of a transaction as of itself and inserts it into each of its entities'
    /// logs. A transaction id that is known gives its features again and changes nothing.
    pub fn observe(&self, transaction: &Transaction, plan: &Plan) -> FeatureVector {
        self.go(transaction, Some(plan), true).unwrap_or_default()
    }

    /// Computes the features that [`Self::observe`] would, and changes nothing.
    #[must_use]
    pub fn peek(&self, transaction: &Transaction, plan: &Plan) -> FeatureVector {
        self.go(transaction, Some(plan), false).unwrap_or_default()
    }

    /// Inserts a transaction of the past without computing its features.
    pub fn absorb(&self, transaction: &Transaction) {
        self.go(transaction, None, true);
    }

    /// Tells whether a transaction of this id is here.
    #[must_use]
    pub fn knows(&self, transaction_id: &str) -> bool {
        self.index.sent(xxh3_64(transaction_id.as_bytes())) != Sent::Never
    }

    /// Lets the entities of partitions go, and their bytes. Their transactions stay known: giving them again
    /// brings the entities back and counts nothing twice. Visits every transaction.
    pub fn release(&self, gone: &[u32]) {
        let Some(partitions) = self.partitions.as_ref().filter(|_| !gone.is_empty()) else { return };
        let layout = self.layout.load();
        let kinds: Vec<usize> =
            (0..layout.kinds().len()).filter(|kind| partitions.has(&layout.kinds()[*kind])).collect();
        partitions.release(gone, || self.index.release(gone, &kinds));
    }

    fn go(&self, transaction: &Transaction, plan: Option<&Plan>, insert: bool) -> Option<FeatureVector> {
        let hash = xxh3_64(transaction.id().as_bytes());
        let time = transaction.occurred_at().micros();
        let layout = self.layout.load();
        let horizon = self.watermark.clock().saturating_sub(layout.reach_max() + self.options.lateness_max.micros());
        let partition = self.partitions.as_ref().and_then(|partitions| partitions.of(transaction));
        // While a partition is let go nothing is inserted there: what the index says stays true.
        let _stays = self.partitions.as_ref().filter(|_| insert).and_then(|partitions| partitions.hold(partition));
        let mut place = Place::new(time, partition);
        let sent = if insert { self.index.reserve(hash, place, horizon) } else { self.index.sent(hash) };
        let insert = insert && !matches!(sent, Sent::At(_));
        if insert {
            self.watermark.follow(time, layout.reach_max() + self.options.lateness_max.micros());
        }
        let clock = self.watermark.clock();
        let predicates = layout.predicates(transaction);
        let mut values = plan.map(|plan| plan.begin(transaction)).unwrap_or_default();
        let mut capped = time < clock.saturating_sub(self.options.lateness_max.micros());
        for (number, kind) in layout.kinds().iter().enumerate() {
            let Some(key) = kind.key(transaction) else { continue };
            let row = kind.row(transaction, hash, predicates);
            let home = self.partitions.as_ref().filter(|partitions| partitions.has(kind)).zip(partition);
            let sent = sent.to(home.is_some());
            let visit = Visit {
                kind: number,
                key,
                row: &row,
                sent,
                plan: plan.and_then(|plan| plan.kinds().get(number)),
                insert: insert && sent == Sent::Never,
                clock,
                events_max: self.options.events_per_entity_max,
            };
            let (shard, place_of_shard) = self.shard(home, key.bits());
            let (slot, incomplete) = shard.lock().visit(&visit, &mut values);
            capped |= incomplete;
            if visit.insert {
                place.set(number, place_of_shard, slot);
            }
        }
        if insert {
            for mark in self.index.place(hash, &place) {
                self.mark(hash, &place, mark, &layout);
            }
        }
        plan.map(|plan| plan.finish(transaction, &values, capped))
    }

    /// Applies a label to its transaction's events; it is visible from its own event time on.
    pub fn label(&self, label: &Label) -> LabelOutcome {
        let hash = xxh3_64(label.transaction_id.as_bytes());
        let mark = Mark { known_at: label.occurred_at.micros(), fraud: label.kind.is_fraud() };
        let Some(place) = self.index.label(hash, mark) else { return LabelOutcome::Pending };
        if self.mark(hash, &place, mark, &self.layout.load()) { LabelOutcome::Applied } else { LabelOutcome::Unchanged }
    }

    fn mark(&self, hash: u64, place: &Place, mark: Mark, layout: &Layout) -> bool {
        let mut changed = false;
        for (number, kind) in layout.kinds().iter().enumerate() {
            let (Some(word), Some((shard, slot))) = (kind.label_word(), place.get(number)) else { continue };
            let home = self.partitions.as_ref().filter(|partitions| partitions.has(kind)).zip(place.partition());
            let shard = home.map_or(&self.shards[shard], |(partitions, partition)| partitions.at(partition, shard));
            changed |= shard.lock().label(slot, word, &mark.of(place.time, hash));
        }
        changed
    }

    /// Shows what is known of one entity: its features as of `now`, without any transaction. `None`
    /// when the kind is not in the schema or nothing of the entity is kept.
    #[must_use]
    pub fn describe(&self, kind: &str, id: &str, now: Timestamp, plan: &Plan) -> Option<EntityView> {
        let layout = self.layout.load();
        let number = layout.kinds().iter().position(|known| known.name() == kind)?;
        let key = layout.kinds()[number].key_of(id);
        let home = self.partitions.as_ref().and_then(|partitions| partitions.home(&layout.kinds()[number], id));
        let read = plan.kinds().get(number)?;
        self.shard(home, key.bits()).0.lock().describe(key, read, now, plan.schema())
    }

    /// Counts what is held and what was dropped. Visits every shard.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for shard in self.all_shards() {
            shard.lock().count(&mut stats);
        }
        self.index.count(&mut stats);
        stats
    }

    /// Tells whether the longest window of a schema is full: whether the store has watched that much
    /// event time since it took the schema in, or since its first event.
    #[must_use]
    pub fn warmth(&self, schema: &Schema) -> Warmth {
        let admitted = self.admitted.lock();
        let watch = admitted.iter().find(|(plan, _)| plan.schema().hash() == schema.hash());
        let since = watch.and_then(|(_, watch)| watch.since(self.watermark.first()));
        warmth::warmth(since, self.watermark.clock(), schema.longest_window())
    }

    /// Returns the newest event time that enough events vouch for; `None` before the first event.
    #[must_use]
    pub fn clock(&self) -> Option<Timestamp> {
        self.watermark.first().map(|_| Timestamp::from_micros(self.watermark.clock()))
    }

    /// Returns the event time before which no event can matter any more, at least so long ago; `None` before the
    /// first event.
    #[must_use]
    pub fn horizon(&self, least: Span) -> Option<Timestamp> {
        let reach = self.layout.load().reach_max() + self.options.lateness_max.micros();
        let kept = reach.max(least.micros());
        self.clock().map(|clock| clock.minus(Span::from_micros(kept)))
    }

    /// Returns the shard of a key and its number: in the partition that it lives with, else of the shared ones.
    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    fn shard<'a>(&'a self, home: Option<(&'a Partitions, u32)>, bits: u128) -> (&'a Mutex<Shard>, usize) {
        let bits = (bits >> 64) as usize;
        if let Some((partitions, partition)) = home {
            let number = bits & (partitions::SHARDS - 1);
            // A partition that there is none of has no entity: any shard will do.
            return (partitions.at(partition, number), number);
        }
        let number = bits & (self.shards.len() - 1);
        (&self.shards[number], number)
    }

    fn all_shards(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        self.shards.iter().chain(self.partitions.iter().flat_map(Partitions::shards))
    }
}

fn check(options: &Options) -> Result<(), Error> {
    let shards = options.shards;
    if !shards.is_power_of_two() || shards > 256 {
        return Err(Error::Option { key: "shards", value: shards, cure: "a power of two from 1 to 256" });
    }
    let lateness = options.lateness_max;
    if lateness < Span::from_seconds(60) {
        let seconds = usize::try_from(lateness.micros() / 1_000_000).unwrap_or(0);
        return Err(Error::Option { key: "lateness_max (seconds)", value: seconds, cure: "1m or more" });
    }
    let events = options.events_per_entity_max;
    if !(16..=1_000_000).contains(&events) {
        return Err(Error::Option { key: "events_per_entity_max", value: events, cure: "16 to 1000000" });
    }
    Ok(())
}

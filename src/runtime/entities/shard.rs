//! A shard: some of the entities, under one lock.

use std::sync::Arc;

use compact_str::CompactString;

use super::Stats;
use super::index::Sent;
use super::table::Table;
use crate::domain::{EntityKey, Span, Timestamp};
use crate::scoring::feature::{KindLayout, KindPlan, Layout, Schema, Values};
use crate::scoring::window::{AsOf, Inserted, LabelMark, Log, Panes, Seen};

/// The part of `bytes_max` that entities may take, in quarters; the index has the rest.
const SHARE_QUARTERS: usize = 3;

/// Inserts between two looks at the next few slots, where no entity is new.
const SWEEP_EACH: u64 = 32;

/// What is known of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityView {
    /// Its features as of the moment asked for, in vector order; `None` is missing.
    pub features: Vec<(CompactString, Option<f64>)>,
    /// Events kept.
    pub events: u64,
    /// Event time of the oldest event kept.
    pub first: Option<Timestamp>,
    /// Event time of the newest event kept.
    pub last: Option<Timestamp>,
    /// Whether a window reaches back to where events were dropped.
    pub capped: bool,
}

#[derive(Debug)]
struct Cell {
    kind: u8,
    /// The newest event time ever inserted: here, so that sweeping touches no log.
    newest: i64,
    log: Log,
    panes: Vec<Panes>,
}

impl Cell {
    fn new(kind: usize, layout: &KindLayout, floor: i64) -> Self {
        let panes = vec![Panes::default(); layout.panes().len()];
        let kind = u8::try_from(kind).unwrap_or(u8::MAX);
        Self { kind, newest: i64::MIN, log: Log::new(layout.columns(), floor), panes }
    }

    fn bytes(&self) -> usize {
        let panes: usize = self.panes.iter().map(|panes| panes.bytes() + size_of::<Panes>()).sum();
        self.log.bytes() + panes
    }
}

/// One transaction's call on one entity.
pub(super) struct Visit<'a> {
    pub(super) kind: usize,
    pub(super) key: EntityKey,
    pub(super) row: &'a [u64],
    pub(super) sent: Sent,
    pub(super) plan: Option<&'a KindPlan>,
    pub(super) insert: bool,
    pub(super) clock: i64,
    pub(super) events_max: usize,
}

/// Entities by key, and what they need to be read and swept.
#[derive(Debug)]
pub(super) struct Shard {
    layout: Arc<Layout>,
    lateness: i64,
    cells: Table<EntityKey, Cell>,
    seen: Seen,
    inserts: u64,
    bytes: usize,
    bytes_max: Option<usize>,
    events: u64,
    expired: u64,
    capped: u64,
    evicted: u64,
    evicted_until: i64,
}

impl Shard {
    pub(super) fn new(bytes_max: Option<usize>) -> Self {
        Self {
            layout: Arc::default(),
            lateness: 0,
            cells: Table::new(),
            seen: Seen::default(),
            inserts: 0,
            bytes: 0,
            bytes_max: bytes_max.map(|bytes| bytes / 4 * SHARE_QUARTERS),
            events: 0,
            expired: 0,
            capped: 0,
            evicted: 0,
            evicted_until: i64::MIN,
        }
    }

    /// Takes on a layout: rows get its columns, entities its panes.
    pub(super) fn widen(&mut self, layout: &Arc<Layout>, lateness_max: Span) {
        self.layout = Arc::clone(layout);
        self.lateness = lateness_max.micros();
        for cell in self.cells.values_mut() {
            let kind = &self.layout.kinds()[usize::from(cell.kind)];
            self.bytes -= cell.bytes();
            cell.log.widen(kind.columns());
            cell.panes.resize_with(kind.panes().len(), Panes::default);
            self.bytes += cell.bytes();
        }
    }

    /// Reads the entity's features and inserts the event. Returns its slot and whether a window was
    /// incomplete.
    pub(super) fn visit(&mut self, visit: &Visit<'_>, values: &mut Values) -> (Option<u32>, bool) {
        let layout = Arc::clone(&self.layout);
        let kind = &layout.kinds()[visit.kind];
        let slot = match self.cells.find(visit.key) {
            None if visit.insert => {
                self.sweep(visit.clock);
                let cell = Cell::new(visit.kind, kind, self.evicted_until);
                let bytes = cell.bytes();
                let slot = self.cells.insert(visit.key, cell);
                // A cell with panes weighs something before its first event.
                self.bytes += if slot.is_some() { bytes } else { 0 };
                slot
            }
            found => found,
        };
        let known = slot.and_then(|slot| self.cells.get(slot));
        let stranger = known.is_none().then(|| Cell::new(visit.kind, kind, self.evicted_until));
        let cell = known.or(stranger.as_ref());
        let capped =
            visit.plan.zip(cell).is_some_and(|(plan, cell)| read(cell, plan, kind, visit, (&mut self.seen, values)));
        if visit.insert
            && let Some(slot) = slot
        {
            self.insert(slot, kind, visit);
        }
        (slot, capped)
    }

    fn insert(&mut self, slot: u32, kind: &KindLayout, visit: &Visit<'_>) {
        let Some(cell) = self.cells.get_mut(slot) else { return };
        let (bytes, events) = (cell.bytes(), cell.log.len() as u64);
        cell.newest = cell.newest.max(visit.row[0].cast_signed());
        if kind.keeps_events() {
            let horizon = visit.clock.saturating_sub(kind.reach().saturating_add(self.lateness));
            self.expired += cell.log.expire(horizon) as u64;
            let inserted = cell.log.insert(visit.row, visit.events_max);
            self.capped += u64::from(matches!(inserted, Inserted::Capped | Inserted::TooOld));
        }
        for (panes, spec) in cell.panes.iter_mut().zip(kind.panes()) {
            panes.insert(spec, visit.row, visit.clock.saturating_sub(self.lateness));
        }
        self.bytes = self.bytes - bytes + cell.bytes();
        self.events = self.events - events + cell.log.len() as u64;
        self.inserts = self.inserts.wrapping_add(1);
        if self.inserts.is_multiple_of(SWEEP_EACH) {
            self.sweep(visit.clock);
        }
        self.keep_bound(slot);
    }

    /// Drops entities whose every window has passed: a few slots for each new entity, so that the dead
    /// never outnumber the living for long, and now and then without one.
    fn sweep(&mut self, clock: i64) {
        let (layout, lateness) = (&self.layout, self.lateness);
        let is_dead = |cell: &Cell| {
            let kept = layout.kinds()[usize::from(cell.kind)].kept();
            cell.newest <= clock.saturating_sub(kept).saturating_sub(lateness)
        };
        let (bytes, events, expired) = (&mut self.bytes, &mut self.events, &mut self.expired);
        self.cells.sweep(is_dead, |cell| {
            *bytes -= cell.bytes();
            *events -= cell.log.len() as u64;
            *expired += cell.log.len() as u64;
        });
    }

    /// Drops the longest idle of a few entities, until the bound is kept or a few have gone.
    fn keep_bound(&mut self, keep: u32) {
        let Some(bytes_max) = self.bytes_max else { return };
        for _ in 0..4 {
            if self.bytes + self.cells.bytes() <= bytes_max {
                return;
            }
            let Some(cell) = self.cells.evict(Some(keep), |cell| cell.newest) else { return };
            self.bytes -= cell.bytes();
            self.events -= cell.log.len() as u64;
            self.evicted += 1;
            self.evicted_until = self.evicted_until.max(cell.newest);
        }
    }

    /// Marks a row with a label; tells whether anything changed.
    pub(super) fn label(&mut self, slot: u32, label_word: usize, mark: &LabelMark) -> bool {
        let Some(cell) = self.cells.get_mut(slot) else { return false };
        let bytes = cell.bytes();
        let changed = cell.log.label(*mark, label_word);
        self.bytes = self.bytes - bytes + cell.bytes();
        changed
    }

    pub(super) fn describe(
        &mut self,
        key: EntityKey,
        plan: &KindPlan,
        now: Timestamp,
        schema: &Schema,
    ) -> Option<EntityView> {
        let cell = self.cells.get(self.cells.find(key)?)?;
        let kind = &self.layout.kinds()[usize::from(cell.kind)];
        let as_of = AsOf { time: now.micros(), end: cell.log.rows_until(now.micros()), skip: None, current: None };
        let mut values = Values::from_elem(None, schema.features().len());
        let capped = plan.read(&cell.log, &as_of, &mut self.seen, &mut values);
        for track in plan.panes() {
            cell.panes[track.panes].read((&kind.panes()[track.panes], track), now.micros(), None, &mut values);
        }
        let mut places: Vec<_> = plan.features().collect();
        places.sort_unstable();
        let named = |place: usize| (schema.features()[place].name.clone(), values[place]);
        Some(EntityView {
            features: places.into_iter().map(named).collect(),
            events: cell.log.len() as u64,
            first: (!cell.log.is_empty()).then(|| Timestamp::from_micros(cell.log.time(0))),
            last: Some(cell.newest).filter(|newest| *newest != i64::MIN).map(Timestamp::from_micros),
            capped,
        })
    }

    /// Lets every entity go, as if none had ever been here.
    pub(super) fn clear(&mut self) {
        self.cells = Table::new();
        (self.bytes, self.events, self.evicted_until) = (0, 0, i64::MIN);
    }

    pub(super) fn count(&self, stats: &mut Stats) {
        stats.entities += self.cells.len() as u64;
        stats.events += self.events;
        stats.bytes += (self.bytes + self.cells.bytes()) as u64;
        stats.expired_total += self.expired;
        stats.capped_total += self.capped;
        stats.evicted_total += self.evicted;
    }
}

fn read(
    cell: &Cell,
    plan: &KindPlan,
    kind: &KindLayout,
    visit: &Visit<'_>,
    (seen, values): (&mut Seen, &mut Values),
) -> bool {
    let sent_before = match visit.sent {
        Sent::Never => None,
        Sent::At(time) | Sent::Released(time) => Some(time),
    };
    let as_of = AsOf::new(&cell.log, visit.row, sent_before);
    let capped = plan.read(&cell.log, &as_of, seen, values);
    // Panes cannot tell an event from the others: one that was sent before is in them already.
    let current = if sent_before.is_none() { Some(visit.row) } else { None };
    for track in plan.panes() {
        cell.panes[track.panes].read((&kind.panes()[track.panes], track), as_of.time, current, values);
    }
    capped
}

//! A work simple enough to be its own oracle: it counts the records of each key, and keeps a chain over all of them.
//!
//! Its changelog has one blob per partition and batch. A restore folds the blobs and holds the result against the
//! committed metadata and against what this host's disk kept.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::world::World;
use crate::edge::kafka::lane::fault::Fault;
use crate::edge::kafka::lane::record::{Assigned, Fetched, NextOffset, Output, Sink, Source, Start};
use crate::edge::kafka::lane::work::{Restored, Work};

/// The state of a partition: a pure function of the records it has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) next: [i64; 2],
    pub(super) chain: u64,
    pub(super) watermark: i64,
    counts: BTreeMap<u8, u64>,
}

/// A record as the changelog has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) offset: i64,
    pub(super) key: u8,
    pub(super) id: u64,
}

/// Records whose id this divides leave nothing but their offset.
pub(super) const SILENT: u64 = 7;

impl Kept {
    /// Applies a record; returns the count of its key when there is something to say.
    pub(super) fn apply(&mut self, entry: &Entry) -> Option<u64> {
        self.next[entry.source as usize] = entry.offset + 1;
        let mixed = (self.chain ^ entry.id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.chain = mixed.rotate_left(23) ^ entry.offset.unsigned_abs() ^ ((entry.source as u64) << 40);
        if entry.source == Source::Labels {
            return None;
        }
        self.watermark = self.watermark.max(i64::try_from(entry.id).unwrap_or(i64::MAX));
        let count = self.counts.entry(entry.key).or_default();
        *count += 1;
        (!entry.id.is_multiple_of(SILENT)).then_some(*count)
    }

    fn metadata(&self) -> String {
        format!("c={:x};l={}", self.chain, self.next[1])
    }
}

/// What a batch holds of one partition.
#[derive(Clone, Debug)]
pub(super) struct Part {
    before: Kept,
    after: Kept,
    sources: [bool; 2],
    entries: Vec<Entry>,
    scores: Vec<(Entry, u64)>,
}

/// A decided batch.
pub(super) type Batch = BTreeMap<i32, Part>;

/// The work of one process.
pub(super) struct Desk {
    world: Rc<RefCell<World>>,
    host: usize,
    states: BTreeMap<i32, Kept>,
    restoring: BTreeMap<i32, (Assigned, u32)>,
}

impl Desk {
    pub(super) fn new(world: &Rc<RefCell<World>>, host: usize) -> Self {
        Self { world: Rc::clone(world), host, states: BTreeMap::new(), restoring: BTreeMap::new() }
    }

    /// Folds the blobs up to the committed offset; none while some are still hidden behind an open transaction.
    fn restore(&self, at: &Assigned) -> Option<Kept> {
        let mut world = self.world.borrow_mut();
        let mut state = Kept::default();
        let next = |place: &crate::edge::kafka::lane::record::Place| place.committed.as_ref().map_or(0, |at| at.offset);
        let goal = [next(&at.transactions), next(&at.labels)];
        let disk = world.disks.get(&self.host).and_then(|disk| disk.get(&at.partition)).cloned();
        let mut disk_seen = disk.is_none() || disk.as_ref() == Some(&state);
        let mut faults = Vec::new();
        for written in world.visible(Sink::State, at.partition) {
            if state.next[0] >= goal[0] && state.next[1] >= goal[1] {
                break;
            }
            let blob = Blob::decode(written.output.payload.as_deref().unwrap_or_default());
            if blob.before != (state.next, state.chain) {
                faults.push(format!("KA-3: blob of {} does not follow {state:?}", at.partition));
            }
            for entry in &blob.entries {
                state.apply(entry);
            }
            disk_seen |= disk.as_ref() == Some(&state);
        }
        let has_all = state.next == goal;
        if has_all {
            let metadata = at.transactions.committed.as_ref().map(|committed| committed.metadata.clone());
            if metadata.is_some_and(|metadata| metadata != state.metadata()) {
                faults.push(format!("KA-3: metadata of {} is not that of {state:?}", at.partition));
            }
            if !disk_seen {
                faults.push(format!("KA-3: disk of {} has {disk:?}, committed is {state:?}", at.partition));
            }
        }
        world.violations.extend(faults);
        has_all.then_some(state)
    }
}

impl Work for Desk {
    type Batch = Batch;

    fn assigned(&mut self, partitions: Vec<Assigned>) {
        for assigned in partitions {
            self.restoring.insert(assigned.partition, (assigned, 0));
        }
    }

    fn restored(&mut self) -> Vec<Restored> {
        let mut ready = Vec::new();
        let waiting: Vec<i32> = self.restoring.keys().copied().collect();
        for partition in waiting {
            if !self.world.borrow_mut().draws(300) {
                continue;
            }
            if self.world.borrow().lost == Some(partition) {
                self.restoring.remove(&partition);
                ready.push(Restored::Failed { partition, reason: "its changelog is gone".into() });
                continue;
            }
            let Some(state) = self.restore(&self.restoring[&partition].0) else { continue };
            let [transactions, labels] = state.next;
            self.restoring.remove(&partition);
            self.states.insert(partition, state);
            ready.push(Restored::Ready(Start { partition, transactions, labels }));
        }
        ready
    }

    fn revoked(&mut self, partitions: &[i32], _: bool) {
        for partition in partitions {
            self.states.remove(partition);
            self.restoring.remove(partition);
        }
    }

    fn has_room(&self) -> bool {
        !self.world.borrow_mut().draws(20)
    }

    fn is_paused(&self) -> bool {
        self.world.borrow().paused
    }

    fn decide(&mut self, records: Vec<Fetched>) -> Batch {
        let mut batch = Batch::new();
        for record in records {
            let state = self.states.get_mut(&record.partition).expect("records only of live partitions");
            let payload = record.payload.as_deref().unwrap_or_default();
            let id = u64::from_le_bytes(payload[1..9].try_into().expect("eight bytes"));
            let entry = Entry { source: record.source, offset: record.offset, key: payload[0], id };
            let part = batch.entry(record.partition).or_insert_with(|| Part {
                before: state.clone(),
                after: Kept::default(),
                sources: [false; 2],
                entries: Vec::new(),
                scores: Vec::new(),
            });
            let count = state.apply(&entry);
            part.scores.extend(count.map(|count| (entry, count)));
            part.entries.push(entry);
            part.sources[record.source as usize] = true;
        }
        for (partition, part) in &mut batch {
            part.after = self.states[partition].clone();
        }
        batch
    }

    fn shed(&mut self, batch: &mut Batch, partitions: &[i32]) {
        batch.retain(|partition, _| !partitions.contains(partition));
    }

    fn is_empty(&self, batch: &Batch) -> bool {
        batch.is_empty()
    }

    fn emit(&self, batch: &Batch, to: &mut dyn FnMut(&Output) -> Result<(), Fault>) -> Result<(), Fault> {
        for (partition, part) in batch {
            for (entry, count) in &part.scores {
                let payload = [&[entry.key][..], &entry.offset.to_le_bytes(), &count.to_le_bytes()].concat();
                to(&output(Sink::Scores, *partition, payload))?;
            }
            let before = (part.before.next, part.before.chain);
            to(&output(Sink::State, *partition, Blob { before, entries: part.entries.clone() }.encode()))?;
        }
        Ok(())
    }

    fn offsets(&self, batch: &Batch) -> Vec<NextOffset> {
        let mut offsets = Vec::new();
        for (partition, part) in batch {
            let next = |source: Source, watermark, metadata| NextOffset {
                source,
                partition: *partition,
                offset: part.after.next[source as usize],
                watermark,
                metadata,
            };
            offsets.push(next(Source::Transactions, Some(part.after.watermark), part.after.metadata()));
            if part.sources[1] {
                offsets.push(next(Source::Labels, None, String::new()));
            }
        }
        offsets
    }

    fn committed(&mut self, batch: Batch) {
        let mut world = self.world.borrow_mut();
        let disk = world.disks.entry(self.host).or_default();
        for (partition, part) in batch {
            disk.insert(partition, part.after);
        }
    }

    fn halt(&self) -> Option<String> {
        self.world.borrow().halted.clone()
    }
}

fn output(sink: Sink, partition: i32, payload: Vec<u8>) -> Output {
    Output { sink, partition, key: None, payload: Some(payload.into()), headers: Vec::new(), timestamp_ms: None }
}

/// A changelog record.
pub(super) struct Blob {
    pub(super) before: ([i64; 2], u64),
    pub(super) entries: Vec<Entry>,
}

impl Blob {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.before.0.iter().flat_map(|next| next.to_le_bytes()));
        bytes.extend(self.before.1.to_le_bytes());
        for entry in &self.entries {
            bytes.extend([entry.source as u8, entry.key]);
            bytes.extend(entry.offset.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let signed = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let entry = |at: usize| Entry {
            source: if bytes[at] == 0 { Source::Transactions } else { Source::Labels },
            key: bytes[at + 1],
            offset: signed(at + 2),
            id: number(at + 10),
        };
        let entries = (24..bytes.len()).step_by(18).map(entry).collect();
        Self { before: ([signed(0), signed(8)], number(16)), entries }
    }
}

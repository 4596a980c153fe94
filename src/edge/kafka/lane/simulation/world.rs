//! The simulated cluster's logs and transactions: what is written, by whom, and who may see it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::group::Group;
use crate::edge::kafka::lane::fault::{Class, Fault};
use crate::edge::kafka::lane::record::{Committed, NextOffset, Output, Sink, Source};

/// A record of an input topic; offsets have gaps, as transaction markers make them.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) offset: i64,
    pub(super) key: u8,
    pub(super) id: u64,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Committed,
    Aborted,
}

/// A written output and the transaction it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) transaction: usize,
    pub(super) output: Output,
}

/// A transaction of some producer.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) end: End,
    pub(super) began: Duration,
    offsets: Vec<(NextOffset, String)>,
}

/// What the coordinator knows of a transactional id.
#[derive(Clone, Debug, Default)]
struct Producer {
    epoch: u32,
    open: Option<usize>,
}

/// What a lane's disk keeps of a partition: the next offset and the state there.
pub(super) type Disk = BTreeMap<i32, super::desk::Kept>;

/// How often things go wrong, in thousandths of the calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chances {
    pub(super) retriable: u32,
    pub(super) abortable: u32,
    pub(super) fatal: u32,
}

/// Everything outside the lanes.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) chance: ChaCha8Rng,
    pub(super) chances: Chances,
    pub(super) inputs: BTreeMap<(Source, i32), Vec<Input>>,
    pub(super) logs: BTreeMap<(Sink, i32), Vec<Written>>,
    pub(super) transactions: Vec<Transaction>,
    producers: BTreeMap<usize, Producer>,
    pub(super) offsets: BTreeMap<(Source, i32), Committed>,
    pub(super) group: Group,
    pub(super) disks: BTreeMap<usize, Disk>,
    pub(super) away_until: Duration,
    pub(super) violations: Vec<String>,
    /// Why the work stops the lane, if it does.
    pub(super) halted: Option<String>,
    /// Whether no records shall be taken.
    pub(super) paused: bool,
    /// A partition whose state cannot be had.
    pub(super) lost: Option<i32>,
    /// How often each kind of thing happened.
    pub(super) counts: BTreeMap<String, u64>,
    /// The last things that happened, shown when a seed fails.
    story: VecDeque<String>,
}

const STORY_MAX: usize = 400;
/// When the coordinator ends a transaction nobody ends.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn new(seed: u64, partitions: i32, session: Duration) -> Self {
        let waits_for_lanes = seed.is_multiple_of(2);
        let places = |source| (0..partitions).map(move |partition| ((source, partition), Vec::new()));
        Self {
            now: Duration::ZERO,
            chance: ChaCha8Rng::seed_from_u64(seed),
            chances: Chances { retriable: 0, abortable: 0, fatal: 0 },
            inputs: places(Source::Transactions).chain(places(Source::Labels)).collect(),
            logs: BTreeMap::new(),
            transactions: Vec::new(),
            producers: BTreeMap::new(),
            offsets: BTreeMap::new(),
            group: Group::new(partitions, session, waits_for_lanes),
            disks: BTreeMap::new(),
            away_until: Duration::ZERO,
            violations: Vec::new(),
            halted: None,
            paused: false,
            lost: None,
            counts: BTreeMap::new(),
            story: VecDeque::new(),
        }
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.story.len() == STORY_MAX {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>9.3} {}", self.now.as_secs_f64(), what()));
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    pub(super) fn story(&self) -> String {
        self.story.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn is_away(&self) -> bool {
        self.now < self.away_until
    }

    pub(super) fn draws(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.chance.random_range(0..1_000) < per_mille
    }

    /// Lets time pass, in small steps, so that the background of clients and the coordinators do their part.
    pub(super) fn pass(&mut self, wait: Duration) {
        let end = self.now + wait;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(500));
            self.background();
        }
    }

    /// What coordinators and clients do by themselves.
    pub(super) fn background(&mut self) {
        if !self.is_away() {
            let now = self.now;
            self.group.background(now);
            self.end_overdue();
        }
    }

    /// Appends an input record, sometimes after a gap.
    pub(super) fn append(&mut self, source: Source, partition: i32, key: u8, id: u64) {
        let gap = i64::from(self.draws(150));
        let log = self.inputs.get_mut(&(source, partition)).expect("a partition");
        let offset = log.last().map_or(0, |last| last.offset + 1) + gap;
        log.push(Input { offset, key, id });
    }

    pub(super) fn latest(&self, source: Source, partition: i32) -> i64 {
        self.inputs[&(source, partition)].last().map_or(0, |last| last.offset + 1)
    }

    /// Fences all earlier producers of this id and settles their transaction. Returns the epoch.
    pub(super) fn init_producer(&mut self, id: usize) -> u32 {
        let producer = self.producers.entry(id).or_default();
        producer.epoch += 1;
        let (epoch, open) = (producer.epoch, producer.open.take());
        if let Some(transaction) = open {
            self.end(transaction, End::Aborted);
        }
        self.tell(|| format!("producer {id} epoch {epoch}"));
        epoch
    }

    fn producer(&mut self, id: usize, epoch: u32, call: &'static str) -> Result<&mut Producer, Fault> {
        let producer = self.producers.get_mut(&id).expect("an initialised producer");
        if producer.epoch == epoch { Ok(producer) } else { Err(Fault::new(Class::Fenced, call, "fenced")) }
    }

    fn open(&mut self, id: usize, epoch: u32, call: &'static str) -> Result<usize, Fault> {
        let now = self.now;
        let next = self.transactions.len();
        let producer = self.producer(id, epoch, call)?;
        let transaction = *producer.open.get_or_insert(next);
        if transaction == next {
            self.transactions.push(Transaction { end: End::Open, began: now, offsets: Vec::new() });
        }
        Ok(transaction)
    }

    pub(super) fn write(&mut self, id: usize, epoch: u32, output: Output) -> Result<(), Fault> {
        let transaction = self.open(id, epoch, "produce")?;
        self.logs.entry((output.sink, output.partition)).or_default().push(Written { transaction, output });
        Ok(())
    }

    pub(super) fn add_offsets(
        &mut self,
        id: usize,
        epoch: u32,
        offsets: &[NextOffset],
        token: &str,
    ) -> Result<(), Fault> {
        let transaction = self.open(id, epoch, "offsets")?;
        let texts = offsets.iter().map(|next| (next.clone(), Committed::text(&next.metadata, token)));
        self.transactions[transaction].offsets = texts.collect();
        Ok(())
    }

    pub(super) fn end_transaction(&mut self, id: usize, epoch: u32, end: End) -> Result<(), Fault> {
        if let Some(transaction) = self.producer(id, epoch, "commit")?.open.take() {
            self.end(transaction, end);
        }
        Ok(())
    }

    fn end(&mut self, transaction: usize, end: End) {
        self.tell(|| format!("transaction {transaction} {end:?}"));
        self.transactions[transaction].end = end;
        if end != End::Committed {
            return;
        }
        for (next, text) in self.transactions[transaction].offsets.clone() {
            let place = (next.source, next.partition);
            let before = self.offsets.insert(place, Committed::parse(next.offset, &text));
            self.count("offset committed");
            if let Some(before) = before.filter(|before| before.offset > next.offset) {
                self.violations.push(format!("KA-2: {place:?} moved back: {} -> {}", before.offset, next.offset));
            }
            self.tell(|| format!("committed {place:?} {} {text}", next.offset));
        }
    }

    /// Ends transactions their producers left open too long, and fences those.
    fn end_overdue(&mut self) {
        let now = self.now;
        let mut overdue = Vec::new();
        for producer in self.producers.values_mut() {
            let Some(transaction) = producer.open else { continue };
            if now.saturating_sub(self.transactions[transaction].began) > TRANSACTION_TIMEOUT {
                producer.epoch += 1;
                producer.open = None;
                overdue.push(transaction);
            }
        }
        for transaction in overdue {
            self.count("transaction timed out");
            self.end(transaction, End::Aborted);
        }
    }

    /// Tells whether an open transaction has offsets for one of these partitions: a reader has to wait for it.
    pub(super) fn is_unstable(&self, partitions: &[i32]) -> bool {
        let open = self.producers.values().filter_map(|producer| producer.open);
        open.flat_map(|transaction| &self.transactions[transaction].offsets)
            .any(|(next, _)| partitions.contains(&next.partition))
    }

    /// What a `read_committed` reader sees of a partition of a sink.
    pub(super) fn visible(&self, sink: Sink, partition: i32) -> impl Iterator<Item = &Written> {
        let log = self.logs.get(&(sink, partition)).map_or(&[][..], Vec::as_slice);
        let is_open = |written: &&Written| self.transactions[written.transaction].end != End::Open;
        let stable = log.iter().take_while(is_open);
        stable.filter(|written| self.transactions[written.transaction].end == End::Committed)
    }

    /// The lanes whose inputs are not all committed yet.
    pub(super) fn unfinished(&self) -> BTreeSet<(Source, i32)> {
        let is_done = |(place, log): &(&(Source, i32), &Vec<Input>)| {
            let next = self.offsets.get(place).map_or(0, |committed| committed.offset);
            log.last().is_none_or(|last| next > last.offset)
        };
        self.inputs.iter().filter(|entry| !is_done(entry)).map(|(place, _)| *place).collect()
    }
}

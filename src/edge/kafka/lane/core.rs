//! The lane's loop as a machine of steps. A step that publishes makes one call to the broker, so that everything
//! that can happen between two calls can be tried between two steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::Breaker;
use super::broker::{Broker, Event};
use super::fault::{Class, Fault};
use super::linger::Linger;
use super::options::Options;
use super::ownership::Partition;
use super::record::{Fetched, NextOffset};
use super::status::{State, Status};
use super::work::Work;
use crate::telemetry::stream_lane::{BatchStep, LaneFault, LaneLinger};

/// Why a lane that is paused is.
const PAUSED: &str = "intake is paused by healing: records wait in their topic";

/// Where the lane is. `Wait` polls for events with the flow of records stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Make the producer anew; its predecessor's transaction is settled by that.
    Rebuild,
    /// Make the consumer anew.
    Reopen,
    /// Poll records into a batch.
    Gather,
    /// Publish the batch, call by call.
    Begin,
    Emit,
    Flush,
    Offsets,
    Commit,
    /// Abort the transaction after a fault of this class.
    Abort(Class),
    /// Read the committed offset: was the batch committed?
    Settle,
    /// Go on at this time, or with the next event of the group if that is what is waited for.
    Wait {
        until: Duration,
        is_for_generation: bool,
    },
    /// The end.
    Closed,
}

/// A decided batch that is not known to be committed.
pub(super) struct Held<T> {
    pub(super) batch: T,
    pub(super) rows: usize,
    /// Committed beside its offsets: tells it from anybody else's.
    pub(super) token: String,
    pub(super) offsets: Vec<NextOffset>,
    /// When this attempt gives up.
    pub(super) publish_until: Duration,
    pub(super) attempts: u32,
    /// A commit was tried and its outcome is not known.
    pub(super) is_unsettled: bool,
}

/// Which rule a lane breaks.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgets {
    Nothing,
    /// To ask after a commit whose outcome is unknown.
    ToSettle,
}

/// One consumer, one transactional producer, one batch at a time.
pub struct Lane<B: Broker, W: Work> {
    pub(super) options: Options,
    pub(super) broker: B,
    pub(super) work: W,
    pub(super) stage: Stage,
    pub(super) held: Option<Held<W::Batch>>,
    pub(super) partitions: BTreeMap<i32, Partition>,
    pub(super) has_producer: bool,
    pub(super) has_consumer: bool,
    pub(super) breaker: Breaker,
    pub(super) status: Arc<Status>,
    pub(super) drain_until: Option<Duration>,
    records: Vec<Fetched>,
    bytes: usize,
    linger: Linger,
    /// When nothing lay ready, or a batch was taken: what lies ready later came after it.
    emptied_at: Duration,
    pub(super) is_paused: bool,
    batches: u64,
    /// The tests have a lane that breaks a rule.
    #[cfg(test)]
    pub(super) forgets: Forgets,
}

impl<B: Broker, W: Work> Lane<B, W> {
    /// Starts a lane that has neither client yet: its first steps make them.
    pub fn new(options: Options, broker: B, work: W, status: Arc<Status>) -> Self {
        Self {
            linger: Linger::new(options.linger_min, options.linger_max),
            breaker: Breaker::new(options.rebuilds_max, options.rebuilds_within, options.seed),
            options,
            broker,
            work,
            stage: Stage::Rebuild,
            held: None,
            partitions: BTreeMap::new(),
            has_producer: false,
            has_consumer: false,
            status,
            drain_until: None,
            records: Vec::new(),
            bytes: 0,
            emptied_at: Duration::ZERO,
            is_paused: false,
            batches: 0,
            #[cfg(test)]
            forgets: Forgets::Nothing,
        }
    }

    /// Makes one step; returns false when the lane has ended. A step blocks for one wait of its options at most.
    pub fn step(&mut self) -> bool {
        self.status.touch();
        self.status.lags(self.broker.lag().records);
        if self.drain_until.is_some_and(|until| self.broker.now() >= until) {
            self.close();
        }
        match self.stage {
            Stage::Rebuild => self.rebuild(),
            Stage::Reopen => self.reopen(),
            Stage::Gather => self.gather(),
            Stage::Begin => self.begin(),
            Stage::Emit => self.emit(),
            Stage::Flush => self.flush(),
            Stage::Offsets => self.offsets(),
            Stage::Commit => self.commit(),
            Stage::Abort(class) => self.abort(class),
            Stage::Settle => self.settle(),
            Stage::Wait { until, is_for_generation } => self.wait(until, is_for_generation),
            Stage::Closed => return false,
        }
        true
    }

    /// Asks the lane to commit the batch in hand and end, within the drain's time.
    pub fn drain(&mut self) {
        if self.drain_until.is_none() {
            self.drain_until = Some(self.broker.now() + self.options.drain_wait);
            self.status.turn(State::Draining, "");
        }
    }

    /// Returns the lane's work, to be looked at.
    pub fn work(&self) -> &W {
        &self.work
    }

    /// Where to go on when nothing is waited for.
    pub(super) fn resume(&mut self) {
        self.stage = match &self.held {
            _ if !self.has_producer => Stage::Rebuild,
            _ if !self.has_consumer => Stage::Reopen,
            Some(held) if held.is_unsettled => Stage::Settle,
            Some(_) => Stage::Begin,
            None => Stage::Gather,
        };
    }

    pub(super) fn close(&mut self) {
        if self.stage != Stage::Closed {
            self.broker.close(self.options.drain_wait);
            self.stage = Stage::Closed;
            self.status.turn(State::Stopped, "");
        }
    }

    /// Shows what the lane is doing, unless it is on its way out.
    pub(super) fn show(&self, state: State, reason: &str) {
        if self.drain_until.is_none() {
            self.status.turn(state, reason);
        }
    }

    pub(super) fn report(&self, fault: &Fault) {
        let (index, class) = (self.options.index, fault.class.as_str());
        LaneFault { index, class, call: fault.call, text: &fault.text }.emit();
    }

    pub(super) fn timed(&self, step: usize, since: Duration) {
        BatchStep { step, took: self.broker.now().saturating_sub(since) }.emit();
    }

    /// Stops or starts the flow of records; events flow always.
    pub(super) fn flow(&mut self, is_open: bool) {
        if is_open == self.is_paused && self.has_consumer {
            if is_open {
                self.broker.resume();
            } else {
                self.broker.pause();
            }
            self.is_paused = !is_open;
        }
    }

    /// The consumer is a new one: nothing of the old one's holds.
    pub(super) fn forget_flow(&mut self) {
        self.records.clear();
        self.bytes = 0;
        self.is_paused = false;
    }

    fn gather(&mut self) {
        self.start_restored();
        if self.stage != Stage::Gather || self.look_up() {
            return;
        }
        if self.drain_until.is_some() {
            return if self.records.is_empty() { self.close() } else { self.decide() };
        }
        let halted = self.work.halt();
        let is_paused = self.work.is_paused();
        let is_open = halted.is_none() && !is_paused && self.work.has_room();
        if is_paused && halted.is_none() && !self.records.is_empty() {
            return self.decide();
        }
        match halted {
            Some(reason) => self.show(State::Halted, &reason),
            None if is_paused => self.show(State::Paused, PAUSED),
            None => self.show(State::Running, ""),
        }
        self.flow(is_open);
        if is_open {
            self.collect();
        } else {
            let event = self.broker.poll(self.options.idle_wait);
            self.notice(event);
        }
    }

    /// Polls until the batch is full, has waited its time, or something else happened. Records that came while the batch
    /// before was published have waited meanwhile, so they are not made to wait again.
    fn collect(&mut self) {
        let mut until = (!self.records.is_empty()).then(|| self.broker.now() + self.linger.wait());
        let mut wait = Duration::ZERO;
        loop {
            match self.broker.poll(wait) {
                Event::Record(record) => {
                    self.take(record);
                    if self.records.len() >= self.options.rows_max || self.bytes >= self.options.bytes_max {
                        return self.decide();
                    }
                    if until.is_none() && !self.records.is_empty() {
                        let since = if wait.is_zero() { self.emptied_at } else { self.broker.now() };
                        until = Some(since + self.linger.wait());
                    }
                    // What lies ready is taken without a look at the clock.
                    wait = if until.is_some() { Duration::ZERO } else { wait };
                }
                Event::Idle => {
                    self.emptied_at = self.broker.now();
                    match until {
                        Some(until) if self.emptied_at >= until => return self.decide(),
                        Some(until) => wait = until.saturating_sub(self.emptied_at),
                        None if wait.is_zero() => wait = self.options.idle_wait,
                        None => return,
                    }
                }
                event @ (Event::Assigned(_) | Event::Revoked { .. } | Event::Fault(_)) => {
                    self.notice(event);
                    if self.stage != Stage::Gather || self.records.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// Takes a record of a live partition that was not taken before; others are left-overs of the client's queue.
    pub(super) fn take(&mut self, record: Fetched) {
        let Some(partition) = self.partitions.get_mut(&record.partition) else { return };
        if partition.takes(record.source, record.offset) {
            self.bytes += record.size();
            self.records.push(record);
        }
    }

    /// Drops what is gathered of partitions that went.
    pub(super) fn drop_gathered(&mut self, gone: &[i32]) {
        self.records.retain(|record| !gone.contains(&record.partition));
        self.bytes = self.records.iter().map(Fetched::size).sum();
    }

    fn decide(&mut self) {
        let records = std::mem::take(&mut self.records);
        let (rows, started) = (records.len(), self.broker.now());
        self.bytes = 0;
        self.emptied_at = started;
        self.records.reserve(rows);
        let before = self.linger.wait();
        self.linger.learn(rows, self.options.rows_max, self.broker.lag().records);
        if self.linger.wait() != before {
            LaneLinger { index: self.options.index, wait: self.linger.wait() }.emit();
        }
        let batch = self.work.decide(records);
        self.timed(0, started);
        if let Some(reason) = self.work.halt() {
            // Nothing of it is published. It is read again by the next life, and until then nothing behind it.
            return self.show(State::Halted, &reason);
        }
        self.batches += 1;
        self.held = Some(Held {
            batch,
            rows,
            token: format!("{}-{:x}-{:x}", self.options.name, self.options.seed, self.batches),
            offsets: Vec::new(),
            publish_until: Duration::ZERO,
            attempts: 0,
            is_unsettled: false,
        });
        self.stage = Stage::Begin;
    }
}

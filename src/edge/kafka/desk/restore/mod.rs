//! Restoring partitions that came: local state where it is trusted, the changelog from there to the committed offset.
//!
//! ```text
//! assigned ─> plan: committed offset X against local position L
//!               no X, no L    begin where the settings say      L == X   ready
//!               L before X    changelog L..X                    no L     changelog ..X, from its beginning
//!               L after X, other chain, gap, records gone       lost: stop, or continue and say so
//! ```
//! Runs on threads of its own, several partitions at a time; the lane asks now and then what is finished. A partition
//! that goes meanwhile is given up between two records of the changelog.

mod plan;
mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::locals::Locals;
use crate::domain::Span;
use crate::edge::kafka::lane::{Assigned, Restored, Start};
use crate::edge::kafka::options::{OnLostState, Start as StartAt};
use crate::runtime::clock::Clock;
use crate::runtime::stream::{Position, StateSink};
use crate::tasks;
use crate::telemetry::events::{PartitionRefused, PartitionRestored, PartitionWaits, StateLost};
use plan::{Plan, plan};
pub(super) use replay::Failure;

/// Partitions that are restored at the same time.
const THREADS: usize = 4;
/// How long a changelog that cannot be reached is left alone.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Partitions that may wait: more than any lane has.
const QUEUE_LEN_MAX: usize = 4_096;

/// How state is restored.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where a group without offsets begins.
    pub start: StartAt,
    /// What to do when state is lost.
    pub on_lost_state: OnLostState,
    /// How far back the changelog must reach: the longest window and the allowed lateness.
    pub reach: Span,
}

/// Reads one partition of the changelog, as committed.
pub trait Reader {
    /// Returns the first offset and the one after the last that a reader may see.
    ///
    /// # Errors
    /// The broker's words.
    fn bounds(&mut self) -> Result<(i64, i64), String>;

    /// Goes on from an offset.
    ///
    /// # Errors
    /// The broker's words.
    fn seek(&mut self, offset: i64) -> Result<(), String>;

    /// Returns the next record; `Ok(None)` at the end, or when nothing came for `wait`.
    ///
    /// # Errors
    /// The broker's words.
    fn next(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, String>;
}

/// Opens a reader of a partition of the changelog.
pub type Changelog = Box<dyn Fn(i32) -> Result<Box<dyn Reader>, String> + Send + Sync>;

type Outcome = Result<Position, String>;

/// Tells a thread that its partition went.
#[derive(Debug, Default)]
pub(super) struct Cancel {
    asked: Mutex<bool>,
    bell: Condvar,
}

impl Cancel {
    fn ask(&self) {
        *self.asked.lock() = true;
        self.bell.notify_all();
    }

    fn is_asked(&self) -> bool {
        *self.asked.lock()
    }

    /// Waits, unless it is asked; tells whether it was.
    fn wait(&self, time: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked {
            self.bell.wait_for(&mut asked, time);
        }
        *asked
    }
}

struct Job {
    assigned: Assigned,
    is_cancelled: Arc<Cancel>,
}

/// Restores partitions in the background.
pub(super) struct Restorer {
    jobs: Option<SyncSender<Job>>,
    finished: Receiver<(i32, Arc<Cancel>, Outcome)>,
    running: BTreeMap<i32, Arc<Cancel>>,
}

/// What every thread works with.
struct Shop {
    options: Options,
    sink: StateSink,
    locals: Locals,
    changelog: Changelog,
    clock: Clock,
}

impl Restorer {
    pub(super) fn new(
        options: Options,
        (sink, locals): (StateSink, Locals),
        (changelog, clock): (Changelog, Clock),
    ) -> Self {
        let shop = Arc::new(Shop { options, sink, locals, changelog, clock });
        let (jobs, queue) = sync_channel::<Job>(QUEUE_LEN_MAX);
        let (tell, finished) = sync_channel(QUEUE_LEN_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let (shop, queue, tell) = (Arc::clone(&shop), Arc::clone(&queue), tell.clone());
            // Without a thread nothing is ever restored, and the lane says that it waits.
            let _ = tasks::thread("fraudd-restore", move || work(&shop, &queue, &tell));
        }
        Self { jobs: Some(jobs), finished, running: BTreeMap::new() }
    }

    /// Begins to restore a partition; one that is being restored is begun anew.
    pub(super) fn begin(&mut self, assigned: Assigned) {
        self.cancel(assigned.partition);
        let is_cancelled = Arc::new(Cancel::default());
        self.running.insert(assigned.partition, Arc::clone(&is_cancelled));
        if let Some(jobs) = &self.jobs {
            let _full = jobs.try_send(Job { assigned, is_cancelled });
        }
    }

    /// Gives a partition up.
    pub(super) fn cancel(&mut self, partition: i32) {
        if let Some(running) = self.running.remove(&partition) {
            running.ask();
        }
    }

    /// Returns what has been finished since the last call.
    pub(super) fn finished(&mut self) -> Vec<(i32, Outcome)> {
        let mut told = Vec::new();
        while let Ok((partition, job, outcome)) = self.finished.try_recv() {
            // What was given up meanwhile is of no interest, whatever came of it.
            if self.running.get(&partition).is_some_and(|running| Arc::ptr_eq(running, &job)) {
                self.running.remove(&partition);
                told.push((partition, outcome));
            }
        }
        told
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        self.running.values().for_each(|running| running.ask());
        drop(self.jobs.take());
    }
}

/// Says where a restored partition is read from.
pub(super) const fn ready(partition: i32, position: Position) -> Restored {
    Restored::Ready(Start { partition, transactions: position.transactions, labels: position.labels })
}

fn work(shop: &Shop, queue: &Mutex<Receiver<Job>>, tell: &SyncSender<(i32, Arc<Cancel>, Outcome)>) {
    loop {
        let taken = queue.lock().recv();
        let Ok(Job { assigned, is_cancelled }) = taken else { return };
        if is_cancelled.is_asked() {
            continue;
        }
        let outcome = shop.restore(&assigned, &is_cancelled);
        if tell.send((assigned.partition, is_cancelled, outcome)).is_err() {
            return;
        }
    }
}

impl Shop {
    fn restore(&self, assigned: &Assigned, is_cancelled: &Cancel) -> Outcome {
        let started = self.clock.now();
        let partition = super::number(assigned.partition);
        let mut local = self.locals.take(partition);
        let restored = loop {
            let restored = match plan(assigned, local, self.options.start) {
                Plan::Go(position) => Ok((position, 0)),
                Plan::Replay { to, .. } => self.replay(assigned.partition, (&mut local, to), is_cancelled),
                Plan::Lost(failure) => Err(failure),
            };
            match restored {
                // The broker is away: what is here by now stays, and it is tried again from there.
                Err(failure) if failure.is_passing => {
                    PartitionWaits { partition, reason: &failure.reason }.emit();
                    if is_cancelled.wait(RETRY_EVERY) {
                        break Err(failure);
                    }
                }
                restored => break restored,
            }
        };
        match restored {
            Ok((position, entries)) => {
                if local.is_none() {
                    self.sink.begin(partition, position);
                }
                let took = Span::from_micros(self.clock.now().micros() - started.micros()).to_std();
                self.locals.put(partition, position);
                PartitionRestored { partition, entries, took }.emit();
                Ok(position)
            }
            Err(failure) => self.lost(partition, assigned, &failure),
        }
    }

    fn lost(&self, partition: u32, assigned: &Assigned, failure: &Failure) -> Outcome {
        let reason = format!("partition {partition}: {}", failure.reason);
        if !failure.may_continue || self.options.on_lost_state == OnLostState::Stop {
            // One that went meanwhile is of no interest.
            if !failure.is_passing {
                PartitionRefused { partition, reason: &reason }.emit();
            }
            return Err(reason);
        }
        let position = plan::anew(assigned, self.options.start);
        StateLost { partition, reason: &reason }.emit();
        self.sink.release(&[partition]);
        self.sink.begin(partition, position);
        Ok(position)
    }

    fn replay(
        &self,
        partition: i32,
        (local, to): (&mut Option<Position>, Position),
        is_cancelled: &Cancel,
    ) -> Result<(Position, u64), Failure> {
        let mut reader = (self.changelog)(partition).map_err(Failure::unreachable)?;
        let mut replay = replay::Replay {
            sink: &self.sink,
            partition: super::number(partition),
            position: *local,
            to,
            reach: self.options.reach,
            started: self.clock.now(),
            clock: &self.clock,
            first: None,
            entries: 0,
        };
        let replayed = replay.run(&mut *reader, is_cancelled);
        *local = replay.position;
        replayed.map(|()| (to, replay.entries))
    }
}

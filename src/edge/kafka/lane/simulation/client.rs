//! The simulated broker as one lane sees it: every call may fail, before or after it had its effect.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt;

use super::group::Generation;
use super::world::{End, World};
use crate::edge::kafka::lane::broker::{Broker, Event, Lag};
use crate::edge::kafka::lane::fault::{Class, Fault};
use crate::edge::kafka::lane::record::{Assigned, Committed, Fetched, NextOffset, Output, Place, Source, Start};

/// When the generation is taken down that offsets are committed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    /// With the event that told of ownership: right.
    Assignment,
    /// At the time of the commit: a silent double count.
    Commit,
}

/// One lane's clients.
pub(super) struct Client {
    world: Rc<RefCell<World>>,
    process: usize,
    instance: usize,
    capture: Capture,
    epoch: Option<u32>,
    captured: Option<Generation>,
    positions: BTreeMap<(Source, i32), i64>,
    is_paused: bool,
    /// The transaction can only be aborted, or not even that.
    trouble: Option<Class>,
}

impl Client {
    pub(super) fn new(world: &Rc<RefCell<World>>, process: usize, instance: usize, capture: Capture) -> Self {
        Self {
            world: Rc::clone(world),
            process,
            instance,
            capture,
            epoch: None,
            captured: None,
            positions: BTreeMap::new(),
            is_paused: false,
            trouble: None,
        }
    }

    fn epoch(&self) -> u32 {
        self.epoch.expect("an initialised producer")
    }

    /// A fault of this call, if there is to be one; a wait passes meanwhile.
    fn trouble(&mut self, call: &'static str, wait: Duration) -> Result<(), Fault> {
        if let Some(class) = self.trouble.filter(|_| call != "abort") {
            return Err(Fault::new(class, call, "as before"));
        }
        let mut world = self.world.borrow_mut();
        let chances = world.chances;
        let is_away = world.is_away();
        let class = if is_away || world.draws(chances.retriable) {
            let millis = world.chance.random_range(1..=wait.as_millis().max(1));
            let wait = if is_away { wait } else { Duration::from_millis(u64::try_from(millis).unwrap_or(1)) };
            world.pass(wait);
            Class::Retriable
        } else if world.draws(chances.abortable) {
            Class::Abortable
        } else if world.draws(chances.fatal) {
            Class::Fatal
        } else {
            return Ok(());
        };
        let (process, text) = (self.process, class.as_str());
        world.tell(|| format!("{process}: {call} {text}"));
        world.count(format!("{call} {text}"));
        if class != Class::Retriable && !matches!(call, "committed" | "places") {
            self.trouble = Some(class);
        }
        Err(Fault::new(class, call, "simulated"))
    }

    /// The same, where the effect may have happened although the call failed.
    fn perhaps(
        &mut self,
        call: &'static str,
        wait: Duration,
        effect: impl FnOnce(&mut World) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let result = self.trouble(call, wait);
        let mut world = self.world.borrow_mut();
        let happens = match &result {
            Ok(()) => true,
            Err(fault) => fault.text == "simulated" && !world.is_away() && world.draws(500),
        };
        let effect = if happens { effect(&mut world) } else { Ok(()) };
        if happens && result.is_err() {
            world.count(format!("{call} happened unseen"));
        }
        if let Err(fault) = &effect {
            let (process, text) = (self.process, fault.to_string());
            world.tell(|| format!("{process}: {text}"));
            world.count(text);
        }
        // A refusal counts, a fault hides the outcome.
        result.and(effect)
    }

    fn fetch(&mut self) -> Option<Fetched> {
        let mut world = self.world.borrow_mut();
        let ready = |((source, partition), position): (&(Source, i32), &i64)| {
            world.latest(*source, *partition).gt(position).then_some((*source, *partition))
        };
        let places: Vec<(Source, i32)> = self.positions.iter().filter_map(ready).collect();
        if places.is_empty() || self.is_paused || world.is_away() {
            return None;
        }
        let pick = world.chance.random_range(0..places.len());
        let (source, partition) = places[pick];
        let position = self.positions.get_mut(&(source, partition)).expect("a started partition");
        let log = &world.inputs[&(source, partition)];
        let next = log.partition_point(|input| input.offset < *position);
        let input = &log[next];
        *position = input.offset + 1;
        let payload = [&[input.key][..], &input.id.to_le_bytes()].concat();
        Some(Fetched {
            source,
            partition,
            offset: input.offset,
            timestamp_ms: None,
            key: None,
            payload: Some(payload.into()),
            headers: Vec::new(),
        })
    }
}

impl Broker for Client {
    fn now(&self) -> Duration {
        self.world.borrow().now
    }

    fn poll(&mut self, wait: Duration) -> Event {
        {
            let mut world = self.world.borrow_mut();
            world.now += Duration::from_micros(20);
            if world.draws(60) {
                world.background();
            }
            let now = world.now;
            if let Some((event, generation)) = world.group.serve(self.process, now) {
                let process = self.process;
                world.tell(|| format!("{process}: {event:?} under {generation:?}"));
                self.captured = generation;
                if let Event::Revoked { partitions, is_lost } = &event {
                    world.count(if *is_lost { "partitions lost" } else { "partitions revoked" });
                    self.positions.retain(|(_, partition), _| !partitions.contains(partition));
                }
                return event;
            }
        }
        if let Some(record) = self.fetch() {
            return Event::Record(record);
        }
        self.world.borrow_mut().pass(wait);
        Event::Idle
    }

    fn places(&mut self, partitions: &[i32]) -> Result<Vec<Assigned>, Fault> {
        let committed = self.committed(partitions)?;
        let world = self.world.borrow();
        let place = |source, partition| Place {
            committed: world.offsets.get(&(source, partition)).cloned(),
            earliest: 0,
            latest: world.latest(source, partition),
        };
        let assigned = |(partition, _)| Assigned {
            partition,
            transactions: place(Source::Transactions, partition),
            labels: place(Source::Labels, partition),
        };
        Ok(committed.into_iter().map(assigned).collect())
    }

    fn committed(&mut self, partitions: &[i32]) -> Result<Vec<(i32, Option<Committed>)>, Fault> {
        let mut world = self.world.borrow_mut();
        let chances = world.chances;
        if world.is_away() || world.is_unstable(partitions) || world.draws(chances.retriable) {
            let is_unstable = world.is_unstable(partitions);
            world.count(if is_unstable { "committed unstable" } else { "committed retriable" });
            world.pass(Duration::from_millis(100));
            return Err(Fault::new(Class::Retriable, "committed", "unstable or away"));
        }
        let of = |partition: &i32| (*partition, world.offsets.get(&(Source::Transactions, *partition)).cloned());
        Ok(partitions.iter().map(of).collect())
    }

    fn start(&mut self, starts: &[Start]) -> Result<(), Fault> {
        for start in starts {
            self.positions.insert((Source::Transactions, start.partition), start.transactions);
            self.positions.insert((Source::Labels, start.partition), start.labels);
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.is_paused = true;
    }

    fn resume(&mut self) {
        self.is_paused = false;
    }

    fn begin(&mut self) -> Result<(), Fault> {
        if self.trouble.is_some() { Err(Fault::new(Class::Fatal, "begin", "wrong state")) } else { Ok(()) }
    }

    fn produce(&mut self, output: &Output) -> Result<(), Fault> {
        let (instance, epoch) = (self.instance, self.epoch());
        if self.trouble.is_none() && !self.world.borrow_mut().draws(20) {
            return self.world.borrow_mut().write(instance, epoch, output.clone());
        }
        self.trouble("produce", Duration::from_millis(1))?;
        self.world.borrow_mut().write(instance, epoch, output.clone())
    }

    fn flush(&mut self, wait: Duration) -> Result<(), Fault> {
        self.trouble("flush", wait)
    }

    fn offsets(&mut self, offsets: &[NextOffset], token: &str, wait: Duration) -> Result<(), Fault> {
        let (process, instance, epoch) = (self.process, self.instance, self.epoch());
        let generation = match self.capture {
            Capture::Assignment => self.captured,
            Capture::Commit => self.world.borrow().group.newest(process),
        };
        let result = self.perhaps("offsets", wait, |world| {
            world.group.check(instance, generation)?;
            world.add_offsets(instance, epoch, offsets, token)
        });
        if let Err(fault) = &result
            && fault.class != Class::Retriable
        {
            self.trouble.get_or_insert(fault.class);
        }
        result
    }

    fn commit(&mut self, wait: Duration) -> Result<(), Fault> {
        let (instance, epoch) = (self.instance, self.epoch());
        self.perhaps("commit", wait, |world| world.end_transaction(instance, epoch, End::Committed))
    }

    fn abort(&mut self, wait: Duration) -> Result<(), Fault> {
        if self.trouble.is_some_and(|class| matches!(class, Class::Fatal | Class::Fenced)) {
            return Err(Fault::new(Class::Fatal, "abort", "as before"));
        }
        let (instance, epoch) = (self.instance, self.epoch());
        self.perhaps("abort", wait, |world| world.end_transaction(instance, epoch, End::Aborted))?;
        self.trouble = None;
        Ok(())
    }

    fn rebuild(&mut self, wait: Duration) -> Result<(), Fault> {
        self.trouble = None;
        let (instance, mut epoch) = (self.instance, None);
        let result = self.perhaps("rebuild", wait, |world| {
            epoch = Some(world.init_producer(instance));
            Ok(())
        });
        self.trouble = None;
        result?;
        self.epoch = epoch;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        world.group.drop_client(self.process);
        world.group.open(self.process, self.instance, now);
        self.positions.clear();
        self.captured = None;
        self.is_paused = false;
        Ok(())
    }

    fn lag(&self) -> Lag {
        let world = self.world.borrow();
        let lag = |((source, partition), position): (&(Source, i32), &i64)| {
            u64::try_from(world.latest(*source, *partition) - position).unwrap_or(0)
        };
        let lags = self.positions.iter().map(lag);
        Lag { records: lags.clone().sum(), records_max: lags.max().unwrap_or(0) }
    }

    fn close(&mut self, _: Duration) {
        self.world.borrow_mut().group.drop_client(self.process);
    }
}

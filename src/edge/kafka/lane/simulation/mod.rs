//! Lanes, a broker and everything that can go wrong, in one thread under one seed.
//!
//! ```text
//! seed ─> scheduler ─┬─> step of a lane ──calls──> world: logs, transactions, coordinator, clients' backgrounds
//!                    ├─> crash and restart · stop-the-world · broker away · a lane more, a lane less
//!                    └─> inputs
//! at the end: all is well again ─> everything is consumed ─> KA-1..4 read as read_committed reads them
//! ```
//! The same seed gives the same history. Two lanes that break a rule on purpose show that the checks can fail: one
//! takes the group's generation at commit time, one forgets to ask after a commit with unknown outcome.

mod check;
mod client;
mod desk;
mod group;
mod tests;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use self::client::{Capture, Client};
use self::desk::Desk;
use self::world::{Chances, World};
use super::core::{Forgets, Lane};
use super::options::Options;
use super::record::Source;
use super::status::{State, Status};

const PARTITIONS: i32 = 4;
const LANES_MAX: usize = 3;
const SESSION: Duration = Duration::from_secs(10);
/// Turns of the scheduler in which things go wrong.
const TURNS: usize = 800;
/// Turns within which all must be consumed once nothing goes wrong any more.
const TURNS_MAX: usize = 40_000;

/// How a lane is built: right, or with one rule broken.
#[derive(Clone, Copy)]
struct Build {
    capture: Capture,
    forgets: Forgets,
}

const RIGHT: Build = Build { capture: Capture::Assignment, forgets: Forgets::Nothing };

/// A process: it may be stopped for a while; its lane is gone after a crash.
struct Process {
    number: usize,
    instance: usize,
    /// Whose disk it has: a process started while its predecessor lives is on another host.
    host: usize,
    lane: Option<Lane<Client, Desk>>,
    frozen_until: Duration,
}

struct Simulation {
    world: Rc<RefCell<World>>,
    build: Build,
    processes: Vec<Process>,
    started: usize,
    ids: u64,
}

impl Simulation {
    fn new(seed: u64, build: Build) -> Self {
        let world = Rc::new(RefCell::new(World::new(seed, PARTITIONS, SESSION)));
        Self { world, build, processes: Vec::new(), started: 0, ids: 0 }
    }

    fn chance(&self, per_mille: u32) -> bool {
        self.world.borrow_mut().draws(per_mille)
    }

    fn pick(&self, below: usize) -> usize {
        self.world.borrow_mut().chance.random_range(0..below)
    }

    fn start(&mut self, instance: usize, host: Option<usize>) {
        let number = self.started;
        let host = host.unwrap_or(number);
        self.started += 1;
        let options = Options {
            index: instance,
            name: format!("l{instance}"),
            seed: number as u64,
            rows_max: 12,
            linger_max: Duration::from_millis(4),
            generation_wait: Duration::from_secs(30),
            ..Options::default()
        };
        let client = Client::new(&self.world, number, instance, self.build.capture);
        let desk = Desk::new(&self.world, host);
        let mut lane = Lane::new(options, client, desk, Arc::new(Status::new(instance)));
        lane.forgets = self.build.forgets;
        self.world.borrow_mut().tell(|| format!("start {number} as {instance}"));
        self.processes.push(Process { number, instance, host, lane: Some(lane), frozen_until: Duration::ZERO });
    }

    fn running(&self, instance: usize) -> bool {
        self.processes.iter().any(|process| process.instance == instance && process.lane.is_some())
    }

    /// What happens around the lanes in one turn.
    fn disturb(&mut self) {
        if self.chance(400) {
            let (partition, key) = (self.pick(PARTITIONS as usize), self.pick(5));
            let source = if self.chance(150) { Source::Labels } else { Source::Transactions };
            self.ids += 1;
            let (partition, key) = (i32::try_from(partition).unwrap_or(0), u8::try_from(key).unwrap_or(0));
            (0..=self.pick(6)).for_each(|more| {
                self.ids += more as u64 % 2 + 1;
                self.world.borrow_mut().append(source, partition, key, self.ids);
            });
        }
        if self.chance(4) {
            let instance = self.pick(LANES_MAX);
            if !self.running(instance) {
                self.start(instance, None);
            }
        }
        if self.chance(3) {
            self.crash();
        }
        if self.chance(3) && !self.processes.is_empty() {
            self.freeze();
        }
        if self.chance(2) && !self.processes.is_empty() {
            let index = self.pick(self.processes.len());
            if let Some(lane) = &mut self.processes[index].lane {
                lane.drain();
            }
            self.world.borrow_mut().count("drain");
        }
        if self.chance(2) {
            let mut world = self.world.borrow_mut();
            world.away_until = world.now + Duration::from_secs(3);
            world.tell(|| "broker away".into());
            world.count("broker away");
        }
        if self.chance(4) {
            let mut world = self.world.borrow_mut();
            world.paused = !world.paused;
            world.count("intake paused or resumed");
        }
        if self.chance(30) {
            self.world.borrow_mut().pass(Duration::from_millis(700));
        }
    }

    fn crash(&mut self) {
        let index = self.pick(self.processes.len().max(1));
        let Some(process) = self.processes.get_mut(index) else { return };
        process.lane = None;
        let (number, instance, host) = (process.number, process.instance, process.host);
        self.processes.remove(index);
        self.world.borrow_mut().group.drop_client(number);
        self.world.borrow_mut().tell(|| format!("crash {number}"));
        self.world.borrow_mut().count("crash");
        if self.chance(700) {
            self.start(instance, Some(host));
        }
    }

    /// Stops a process, background and all, for longer than its session or shorter; sometimes somebody starts
    /// another one in its place meanwhile.
    fn freeze(&mut self) {
        let (index, seconds) = (self.pick(self.processes.len()), self.pick(25));
        let (number, instance) = (self.processes[index].number, self.processes[index].instance);
        let now = self.world.borrow().now;
        self.processes[index].frozen_until = now + Duration::from_secs(seconds as u64);
        self.world.borrow_mut().group.freeze(number, true);
        self.world.borrow_mut().tell(|| format!("freeze {number} for {seconds} s"));
        self.world.borrow_mut().count("freeze");
        if self.chance(200) {
            self.start(instance, None);
        }
    }

    /// One step of one process that is not stopped.
    fn turn(&mut self) {
        let now = self.world.borrow().now;
        for process in &mut self.processes {
            if process.frozen_until > Duration::ZERO && process.frozen_until <= now {
                process.frozen_until = Duration::ZERO;
                self.world.borrow_mut().group.freeze(process.number, false);
                // It goes on as it was: its background may hear the news before its lane does, or after.
                if self.world.borrow_mut().draws(500) {
                    self.world.borrow_mut().background();
                }
            }
        }
        let awake: Vec<usize> =
            (0..self.processes.len()).filter(|at| self.processes[*at].frozen_until.is_zero()).collect();
        if awake.is_empty() {
            return self.world.borrow_mut().pass(Duration::from_secs(1));
        }
        let process = &mut self.processes[awake[self.world.borrow_mut().chance.random_range(0..awake.len())]];
        // Mostly a few steps at a time, sometimes one.
        let steps = self.world.borrow_mut().chance.random_range(1..=4);
        for _ in 0..steps {
            let is_over = process.lane.as_mut().is_some_and(|lane| !lane.step());
            if is_over {
                let (number, instance, host) = (process.number, process.instance, process.host);
                self.processes.retain(|process| process.number != number);
                return self.start(instance, Some(host));
            }
        }
    }

    /// Everything is well again: all must be consumed within the turns given.
    fn settle(&mut self) -> bool {
        {
            let mut world = self.world.borrow_mut();
            world.chances = Chances { retriable: 0, abortable: 0, fatal: 0 };
            world.away_until = Duration::ZERO;
            world.paused = false;
            let now = world.now;
            world.group.extend_sessions(now);
            world.group.rebalance_again(now);
            world.tell(|| "all is well".into());
        }
        // Of two processes that stand for the same member, the operator keeps the newer.
        let mut instances = Vec::new();
        for at in (0..self.processes.len()).rev() {
            let process = &self.processes[at];
            if instances.contains(&process.instance) {
                self.world.borrow_mut().group.drop_client(process.number);
                self.processes.remove(at);
            } else {
                instances.push(process.instance);
            }
        }
        (0..LANES_MAX).for_each(|instance| {
            if !self.running(instance) {
                self.start(instance, None);
            }
        });
        for turn in 0..TURNS_MAX {
            if turn == TURNS_MAX / 2 {
                // The first one may have met a member on its way out.
                let mut world = self.world.borrow_mut();
                let now = world.now;
                world.group.rebalance_again(now);
            }
            if self.world.borrow().unfinished().is_empty() {
                self.world.borrow_mut().pass(Duration::from_secs(30));
                return true;
            }
            self.turn();
        }
        false
    }

    fn run(mut self) -> Outcome {
        self.start(0, None);
        self.world.borrow_mut().chances = Chances { retriable: 12, abortable: 12, fatal: 4 };
        for _ in 0..TURNS {
            self.disturb();
            self.turn();
        }
        let mut violations = Vec::new();
        if !self.settle() {
            violations.push(format!("not consumed: {:?}", self.world.borrow().unfinished()));
        }
        let world = self.world.borrow();
        violations.extend(check::violations(&world, PARTITIONS));
        Outcome { violations, counts: world.counts.clone(), story: world.story() }
    }
}

struct Outcome {
    violations: Vec<String>,
    counts: BTreeMap<String, u64>,
    story: String,
}

fn run(seed: u64, build: Build) -> Outcome {
    Simulation::new(seed, build).run()
}

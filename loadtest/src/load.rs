//! One run: the schedule, the connections, the clock.
//!
//! ```text
//! free ──send──> under way ──answer──> free
//!                    └──failure──> down ──reopened──> free
//! ```
//! A failure is counted and its connection opened again, at once or every [`REOPEN_AFTER`]: a server that
//! ends or restarts under load shows in the report and does not end the run.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use polling::{Event, Events, PollMode, Poller};

use crate::Args;
use crate::connection::{Connection, Failure};
use crate::record::{Columns, Record};
use crate::report::{End, Report, Tally, Waited};
use crate::schedule::Schedule;

/// A server on this machine that does not accept within this at the start is not there. A full queue of
/// connections makes the kernel knock again after 1 s, then 2 s: that is let pass.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Under load the schedule must not wait for a server that accepts nobody.
const REOPEN_WITHIN: Duration = Duration::from_millis(20);
/// The most requests sent before answers are looked at, so that none is read late behind a backlog.
const SEND_LEN_MAX: usize = 64;
/// How long a connection that could not be opened stays down.
const REOPEN_AFTER: Duration = Duration::from_millis(50);
/// How long answers are waited for once the last request has left.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// The longest wait for the poller, so that ends and phases are seen.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// A place for one connection.
#[derive(Debug)]
enum Slot {
    Up(Connection),
    Down { since: Instant },
}

/// One run.
pub(crate) struct Load<'a> {
    args: &'a Args,
    bodies: &'a [&'a str],
    schedule: Schedule,
    /// Declared before the sockets, so that it is dropped before them.
    poller: Poller,
    slots: Vec<Slot>,
    free: VecDeque<usize>,
    down: VecDeque<usize>,
    /// Arrivals sent, or failed to send.
    sent: usize,
    started: Instant,
    tally: Tally,
    record: Option<Record>,
}

impl<'a> Load<'a> {
    /// Opens every connection.
    pub(crate) fn open(args: &'a Args, bodies: &'a [&'a str]) -> anyhow::Result<Self> {
        let started = Instant::now();
        let columns = if args.whole { Columns::Whole } else { Columns::Same };
        let mut load = Self {
            args,
            bodies,
            schedule: Schedule::new(args.rate),
            poller: Poller::new().context("making a poller")?,
            slots: (0..args.connections).map(|_| Slot::Down { since: started }).collect(),
            free: VecDeque::new(),
            down: VecDeque::new(),
            sent: 0,
            started,
            tally: Tally::new(args.pid)?,
            record: args.record.as_deref().map(|path| Record::create(path, columns)).transpose()?,
        };
        for key in 0..args.connections {
            if load.open_slot(key, OPEN_WITHIN).is_err() {
                bail!("{} accepts no connection number {}: start a service there first", args.address, key + 1);
            }
        }
        Ok(load)
    }

    /// Sends until the time or the bodies end, then waits for what is under way.
    pub(crate) fn run(mut self) -> anyhow::Result<Report> {
        let (warm_up, end) = (Duration::from_secs_f64(self.args.warm_up), Duration::from_secs_f64(self.args.seconds));
        let mut events = Events::new();
        let mut next_progress = Duration::from_secs(1);
        self.started = Instant::now();
        self.tally.begin(self.started);
        loop {
            let elapsed = self.started.elapsed();
            if !self.tally.is_counting() && elapsed >= warm_up {
                self.tally.start()?;
            }
            if elapsed >= end || self.sent >= self.arrivals() {
                // What came due since the last look leaves in time still.
                self.send_due();
                break;
            }
            if elapsed >= next_progress {
                self.progress(elapsed);
                self.flush()?;
                next_progress += Duration::from_secs(1);
            }
            self.reopen_due();
            let wait = self.send_due();
            self.receive(&mut events, wait.min(end.saturating_sub(elapsed)))?;
        }
        self.tally.stop()?;
        let overdue = self.schedule.overdue(self.sent, self.arrivals(), self.started.elapsed().min(end));
        self.drain(&mut events)?;
        self.flush()?;
        Ok(self.finish(overdue))
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.record.as_mut().map_or(Ok(()), Record::flush)
    }

    fn arrivals(&self) -> usize {
        if self.args.cycle { usize::MAX } else { self.bodies.len() }
    }

    /// Sends what is due and can be sent; returns how long until something else may be due.
    fn send_due(&mut self) -> Duration {
        let last = self.arrivals().min(self.sent.saturating_add(SEND_LEN_MAX));
        while self.sent < last {
            let now = Instant::now();
            let due = if self.schedule.is_open() { self.started + self.schedule.due(self.sent) } else { now };
            let ahead = due.saturating_duration_since(now);
            if !ahead.is_zero() {
                return ahead.min(WAIT_MAX);
            }
            let Some(key) = self.free.pop_front() else { return WAIT_MAX };
            let body = self.bodies[self.sent % self.bodies.len()];
            self.sent += 1;
            let Slot::Up(connection) = &mut self.slots[key] else { continue };
            if let Err(failure) = connection.send(body, due) {
                self.fail(key, failure);
            }
        }
        if self.sent < self.arrivals() { Duration::ZERO } else { WAIT_MAX }
    }

    fn receive(&mut self, events: &mut Events, wait: Duration) -> anyhow::Result<()> {
        events.clear();
        self.poller.wait(events, Some(wait)).context("waiting for answers")?;
        for event in events.iter() {
            let Slot::Up(connection) = &mut self.slots[event.key] else { continue };
            match connection.receive() {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    let waited = Waited { due: connection.due().elapsed(), sent: connection.sent().elapsed() };
                    self.tally.count(&answer, waited);
                    if let Some(record) = self.record.as_mut().filter(|_| answer.status == 200) {
                        record.write(connection.body(&answer), waited)?;
                    }
                    if answer.closes {
                        self.close(event.key);
                    } else {
                        self.free.push_back(event.key);
                    }
                }
                Err(failure) => self.fail(event.key, failure),
            }
        }
        Ok(())
    }

    /// Counts a failure, unless the server closed a connection that had nothing under way.
    fn fail(&mut self, key: usize, failure: Failure) {
        let idle = self.free.contains(&key);
        self.free.retain(|&free| free != key);
        if !idle {
            self.tally.fail(failure);
        }
        self.close(key);
    }

    /// Closes a connection and opens it again, now or later.
    fn close(&mut self, key: usize) {
        if let Slot::Up(connection) = &self.slots[key] {
            // A socket that cannot be deleted is closed with the next line, which deletes it too.
            let _ = self.poller.delete(connection.socket());
        }
        self.slots[key] = Slot::Down { since: Instant::now() };
        if self.open_slot(key, REOPEN_WITHIN).is_err() {
            self.down.push_back(key);
        }
    }

    fn reopen_due(&mut self) {
        while let Some(&key) = self.down.front() {
            if let Slot::Down { since } = self.slots[key] {
                if since.elapsed() < REOPEN_AFTER {
                    return;
                }
                if let Err(failure) = self.open_slot(key, REOPEN_WITHIN) {
                    self.slots[key] = Slot::Down { since: Instant::now() };
                    self.tally.fail(failure);
                    self.down.rotate_left(1);
                    return;
                }
            }
            self.down.pop_front();
        }
    }

    fn open_slot(&mut self, key: usize, within: Duration) -> Result<(), Failure> {
        let connection = Connection::open(self.args.address, &self.args.path, within)?;
        // SAFETY: the socket lives in `self.slots`, beside the poller, and is deleted from it in `close`; the poller ends first.
        #[expect(unsafe_code, reason = "polling asks that sources outlive their registration")]
        let added = unsafe {
            // Level: one system call less an answer than re-arming one-shot events.
            self.poller.add_with_mode(connection.socket(), Event::readable(key), PollMode::Level)
        };
        added.map_err(|_| Failure::Refused)?;
        self.slots[key] = Slot::Up(connection);
        self.free.push_back(key);
        Ok(())
    }

    fn drain(&mut self, events: &mut Events) -> anyhow::Result<()> {
        let since = Instant::now();
        while self.free.len() + self.down.len() < self.slots.len() && since.elapsed() < DRAIN_MAX {
            self.receive(events, WAIT_MAX)?;
        }
        Ok(())
    }

    /// Charges what was due and got no answer with the time it has waited so far.
    fn finish(mut self, overdue: std::ops::Range<usize>) -> Report {
        let now = Instant::now();
        for arrival in overdue.clone() {
            self.tally.wait(now.saturating_duration_since(self.started + self.schedule.due(arrival)));
        }
        let idle: BTreeSet<usize> = self.free.iter().copied().collect();
        let mut unanswered = 0;
        for (key, slot) in self.slots.iter().enumerate() {
            let Slot::Up(connection) = slot else { continue };
            if !idle.contains(&key) {
                unanswered += 1;
                self.tally.wait(now.saturating_duration_since(connection.due()));
            }
        }
        let exhausted = self.sent >= self.arrivals();
        let unreadable = self.record.as_ref().map_or(0, Record::unreadable);
        let end = End { sent: self.sent, unanswered, late: overdue.len(), exhausted, unreadable };
        self.tally.report(end)
    }

    /// Tells on standard error how far the run is.
    fn progress(&self, elapsed: Duration) {
        if self.args.quiet {
            return;
        }
        let (failures, second) = (self.tally.failures(), elapsed.as_secs());
        let seconds = self.args.seconds;
        // Nobody may be there to read it.
        let _ = writeln!(
            std::io::stderr(),
            "{second:>4} of {seconds} s: {} sent, {} under way, {failures} failures",
            self.sent,
            self.slots.len() - self.free.len() - self.down.len()
        );
    }
}

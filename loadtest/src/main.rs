//! Open-loop load over HTTP/1.1: requests leave on a schedule, whatever the answers do.
//!
//! ```text
//! arrival i is due at start + i / rate ──> a free connection ──> answer ──> latency = now - due
//! ```
//! Latency counts from when a request was *due*, so a stalled server is charged for every request it
//! kept waiting (no coordinated omission; Tene, 2013). With `--rate 0` the loop is closed: every
//! connection sends as soon as it has its answer, which finds the capacity. One thread, so that the
//! load takes little of the machine it measures. Every run is bounded in time and count.

mod connection;
mod report;

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use connection::Connection;
use polling::{Event, Events, Poller};
use report::{Report, Tally};

/// Sends transactions to a scoring service on this machine and measures what comes back.
#[derive(Debug, Parser)]
struct Args {
    /// Address of the service; loopback only.
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Path to post to.
    #[arg(long, default_value = "/v1/decisions")]
    path: String,
    /// JSON Lines, one body a line, used in order and each at most once.
    #[arg(long)]
    bodies: PathBuf,
    /// How many lines to pass over first, so that two runs share no id.
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// Requests per second; 0 sends as fast as answers come.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Seconds to send for.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds at the start that are not counted.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Connections kept open.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// The server's process, for its CPU time.
    #[arg(long)]
    pid: Option<u32>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.address.ip().is_loopback() {
        bail!("{} is not a loopback address: load goes to this machine only", args.address);
    }
    let text = fs::read_to_string(&args.bodies).with_context(|| format!("reading {}", args.bodies.display()))?;
    let bodies: Vec<&str> = text.lines().skip(args.skip).collect();
    if bodies.is_empty() {
        bail!("{} has no lines after {}", args.bodies.display(), args.skip);
    }
    let report = Load::open(&args, &bodies)?.run()?;
    report.print(args.json);
    Ok(())
}

/// One run.
struct Load<'a> {
    args: &'a Args,
    bodies: &'a [&'a str],
    poller: Poller,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    next: usize,
    started: Instant,
}

impl<'a> Load<'a> {
    fn open(args: &'a Args, bodies: &'a [&'a str]) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        let connections: Vec<_> =
            (0..args.connections).map(|_| Connection::open(args.address)).collect::<anyhow::Result<_>>()?;
        for (key, connection) in connections.iter().enumerate() {
            // SAFETY: the sockets live in `self.connections`, beside the poller, and are deleted from it in `drop`.
            #[expect(unsafe_code, reason = "polling asks that sources outlive their registration")]
            unsafe {
                poller.add(connection.socket(), Event::readable(key))?;
            }
        }
        let free = (0..connections.len()).collect();
        Ok(Self { args, bodies, poller, connections, free, next: 0, started: Instant::now() })
    }

    fn run(mut self) -> anyhow::Result<Report> {
        let mut tally = Tally::new(self.args.pid)?;
        let (warm_up, end) = (Duration::from_secs_f64(self.args.warm_up), Duration::from_secs_f64(self.args.seconds));
        self.started = Instant::now();
        let mut counting = false;
        loop {
            let elapsed = self.started.elapsed();
            if !counting && elapsed >= warm_up {
                counting = true;
                tally.start()?;
            }
            if elapsed >= end || self.next >= self.bodies.len() {
                break;
            }
            let wait = self.send_due()?;
            self.receive(wait.min(end.saturating_sub(elapsed)), counting, &mut tally)?;
        }
        tally.stop()?;
        let unanswered = self.connections.len() - self.free.len();
        Ok(tally.report(unanswered, self.late()))
    }

    /// Sends everything that is due and can be sent; returns how long until something else may be due.
    fn send_due(&mut self) -> anyhow::Result<Duration> {
        while self.next < self.bodies.len() {
            let due = self.due(self.next);
            let ahead = due.saturating_duration_since(Instant::now());
            if !ahead.is_zero() {
                return Ok(ahead);
            }
            let Some(key) = self.free.pop_front() else { return Ok(Duration::from_millis(5)) };
            let due = if self.args.rate > 0.0 { due } else { Instant::now() };
            self.connections[key].send(&self.args.path, self.bodies[self.next], due)?;
            self.next += 1;
        }
        Ok(Duration::from_millis(5))
    }

    fn due(&self, arrival: usize) -> Instant {
        if self.args.rate > 0.0 {
            self.started + Duration::from_secs_f64(arrival as f64 / self.args.rate)
        } else {
            self.started
        }
    }

    /// How many arrivals were due and could not even be sent.
    fn late(&self) -> usize {
        if self.args.rate > 0.0 {
            let due = (0..self.bodies.len()).skip(self.next).take_while(|&arrival| self.due(arrival) <= Instant::now());
            due.count()
        } else {
            0
        }
    }

    fn receive(&mut self, wait: Duration, counting: bool, tally: &mut Tally) -> anyhow::Result<()> {
        let mut events = Events::new();
        self.poller.wait(&mut events, Some(wait))?;
        for event in events.iter() {
            let connection = &mut self.connections[event.key];
            if let Some(answer) = connection.receive()? {
                if counting {
                    tally.count(answer.status, answer.degraded, answer.due.elapsed());
                }
                self.free.push_back(event.key);
            }
            self.poller.modify(self.connections[event.key].socket(), Event::readable(event.key))?;
        }
        Ok(())
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        for connection in &self.connections {
            let _ = self.poller.delete(connection.socket());
        }
    }
}

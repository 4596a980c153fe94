//! Open-loop load over HTTP/1.1: requests leave on a schedule, whatever the answers do.
//!
//! ```text
//! arrival i is due at start + i / rate ──> a free connection ──> answer ──> latency = now - due
//! ```
//! Latency counts from when a request was *due*, so a stalled server is charged for every request it
//! kept waiting (no coordinated omission; Tene, 2013). With `--rate 0` the loop is closed: every
//! connection sends as soon as it has its answer, which finds the capacity. One thread, so that the
//! load takes little of the machine it measures. Every run is bounded in time and count.

mod answer;
mod connection;
mod load;
mod record;
mod report;
mod schedule;
mod timeline;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;

use load::Load;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A body beyond this may not fit the connection's send buffer in one piece.
const BODY_LEN_MAX: usize = 64 * 1024;
/// The most connections; as many as a service takes with its own default.
const CONNECTIONS_MAX: usize = 4096;
/// Bodies read beyond the schedule's, so that a run ends with its time and not with its bodies.
const LINES_SPARE: usize = 1024;
/// Open files beside the connections: standard streams, the poller, a record, what a library keeps.
const FILES_APART: u64 = 32;

const EXAMPLES: &str = "Examples:
  fraudd simulate --days 30 --out tx.jsonl
  loadtest --bodies tx.jsonl --seconds 15                          as fast as answers come: the capacity
  loadtest --bodies tx.jsonl --rate 5000 --pid $(pgrep -x fraudd)  open loop at 5,000 a second, with CPU
  loadtest --bodies tx.jsonl --skip 100000 --rate 5000 --json      other transactions, for programs";

/// Sends transactions to a scoring service on this machine and measures what comes back.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
struct Args {
    /// Address of the service; loopback only
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Path to post to
    #[arg(long, default_value = "/v1/decisions")]
    path: String,
    /// JSON Lines, one body a line, used in order and each at most once
    #[arg(long, value_name = "FILE")]
    bodies: PathBuf,
    /// How many lines to pass over first, so that two runs share no id
    #[arg(long, default_value_t = 0, value_name = "LINES")]
    skip: usize,
    /// Begin again at the first line when the lines end (ids repeat: for an echo)
    #[arg(long)]
    cycle: bool,
    /// Requests per second; 0 sends as fast as answers come
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Seconds to send for, the warm-up among them
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds at the start that are not counted
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Connections kept open
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// The server's process, for its CPU time
    #[arg(long)]
    pid: Option<u32>,
    /// Write each 200 answer as a line: transaction id, outcome, score, instant; tabs between
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record more of each answer: the release that gave it, what was degraded, how long it took
    #[arg(long, requires = "record")]
    whole: bool,
    /// Print one line of JSON, with a time line by the second
    #[arg(long)]
    json: bool,
    /// Open the connections, say so on standard error, and begin with a line (or the end) of standard input
    #[arg(long)]
    wait: bool,
    /// No progress on standard error
    #[arg(long)]
    quiet: bool,
}

impl Args {
    fn check(&self) -> anyhow::Result<()> {
        if !self.address.ip().is_loopback() {
            bail!("{} is not a loopback address: load goes to this machine only", self.address);
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            bail!("--connections {} is not within 1..={CONNECTIONS_MAX}", self.connections);
        }
        if !(0.0..=1e7).contains(&self.rate) || !(0.0..=86_400.0).contains(&self.seconds) {
            bail!("--rate must be within 0..=10000000 and --seconds within 0..=86400");
        }
        if !(0.0..self.seconds).contains(&self.warm_up) {
            bail!("--warm-up {} leaves nothing of --seconds {} to count: shorten it", self.warm_up, self.seconds);
        }
        Ok(())
    }

    /// The most bodies a run can use; an open loop's schedule says how many.
    #[expect(clippy::cast_possible_truncation, reason = "both are bounded by `check`, which has let them pass")]
    fn lines_max(&self) -> usize {
        if self.rate > 0.0 { (self.rate * self.seconds).ceil() as usize + LINES_SPARE } else { usize::MAX }
    }
}

/// Reads lines after the first `skip`, at most so many: a run of millions must not hold them all for each part.
fn read_lines(mut from: impl BufRead, skip: usize, lines_max: usize) -> std::io::Result<String> {
    let mut text = String::new();
    for _ in 0..skip {
        if from.skip_until(b'\n')? == 0 {
            return Ok(text);
        }
    }
    for _ in 0..lines_max {
        if from.read_line(&mut text)? == 0 {
            break;
        }
    }
    Ok(text)
}

/// Raises the limit on open files as far as it goes.
fn raise_open_files(connections: usize) -> anyhow::Result<()> {
    let limit = rlimit::increase_nofile_limit(u64::MAX).context("raising the limit on open files")?;
    check_open_files(connections, limit)
}

fn check_open_files(connections: usize, limit: u64) -> anyhow::Result<()> {
    let needed = connections as u64 + FILES_APART;
    if limit < needed {
        bail!(
            "--connections {connections} needs {needed} open files and the hard limit is {limit}: \
             raise it (`ulimit -Hn` as root) or ask for fewer connections"
        );
    }
    Ok(())
}

/// Lets a program that runs several of us begin one the moment another ends, with its connections open.
fn wait_for_a_line() -> std::io::Result<()> {
    writeln!(std::io::stderr(), "open")?;
    std::io::stdin().read_line(&mut String::new()).map(drop)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.check()?;
    raise_open_files(args.connections)?;
    let file = File::open(&args.bodies).with_context(|| format!("opening {}", args.bodies.display()))?;
    let text = read_lines(BufReader::with_capacity(1 << 20, file), args.skip, args.lines_max())
        .with_context(|| format!("reading {}", args.bodies.display()))?;
    let bodies: Vec<&str> = text.lines().collect();
    if bodies.is_empty() {
        bail!("{} has no lines after {}", args.bodies.display(), args.skip);
    }
    if let Some(place) = bodies.iter().position(|body| body.len() > BODY_LEN_MAX) {
        bail!("line {} of {} is longer than {BODY_LEN_MAX} bytes", args.skip + place + 1, args.bodies.display());
    }
    let load = Load::open(&args, &bodies)?;
    if args.wait {
        wait_for_a_line().context("waiting for a line of standard input")?;
    }
    let report = load.run()?;
    report.print(args.json);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_on_open_files_that_is_too_low_is_told_with_the_cure() {
        assert!(check_open_files(4096, 4096 + FILES_APART).is_ok());
        let error = check_open_files(4096, 4096).expect_err("too low").to_string();
        assert!(error.contains("4128 open files") && error.contains("ulimit -Hn"), "{error}");
    }

    #[test]
    fn only_the_lines_of_the_run_are_read() {
        let check = |skip, lines_max, expected: &str| {
            assert_eq!(read_lines("a\nb\nc\nd".as_bytes(), skip, lines_max).expect("text"), expected);
        };
        check(0, usize::MAX, "a\nb\nc\nd");
        check(1, 2, "b\nc\n");
        check(3, 9, "d");
        check(4, 9, "");
        check(9, 9, "");
        check(0, 0, "");
    }

    #[test]
    fn arguments_out_of_bounds_are_refused() {
        let check = |words: &[&str]| {
            let args = ["loadtest", "--bodies", "x"].iter().chain(words);
            Args::try_parse_from(args).expect("well formed").check().map_err(|error| error.to_string())
        };
        assert_eq!(check(&["--connections", "4096"]), Ok(()));
        assert!(check(&["--connections", "4097"]).is_err());
        assert!(check(&["--connections", "0"]).is_err());
        assert!(check(&["--address", "192.0.2.1:80"]).is_err());
        assert!(check(&["--seconds", "1", "--warm-up", "1"]).is_err());
        assert!(check(&["--rate=-1"]).is_err());
    }
}

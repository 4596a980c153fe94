//! The Kafka side of the benchmark: topics, input, the bare copy loop, latency, progress and what came out.
//!
//! ```text
//! topics ─> fill ─> [worker | copy] ─> commits / drain      how fast, at which CPU
//!                                   ─> probe                 how late, open loop
//!                                   ─> read                  what a read_committed reader sees
//! ```
//! `loadtest/kafka/bench.py` calls these; each prints JSON and ends by itself, but for `copy` and `commits`, which run
//! until they are ended.

mod client;
mod copy;
mod fill;
mod probe;
mod profile;
mod progress;
mod read;
mod topics;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Works on Kafka topics for the benchmark of stream scorers.
#[derive(Debug, Parser)]
struct Args {
    /// The brokers, host:port, comma separated
    #[arg(long, global = true, default_value = "127.0.0.1:9092")]
    bootstrap: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes topics and removes others
    Topics(topics::Args),
    /// Appends lines to a topic, all at once or at a rate
    Fill(fill::Args),
    /// Copies input to outputs of a scorer's sizes, exactly once: the limit
    Copy(copy::Args),
    /// Prints each move of a group's committed offsets
    Commits(progress::CommitsArgs),
    /// Waits until a group has committed a topic, and measures a process meanwhile
    Drain(progress::DrainArgs),
    /// Sends at a rate and measures until the score is seen
    Probe(probe::Args),
    /// Reads a topic to its end as one who sees only what is committed
    Read(read::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Command::Topics(given) => topics::run(&args.bootstrap, &given),
        Command::Fill(given) => fill::run(&args.bootstrap, &given),
        Command::Copy(given) => copy::run(&args.bootstrap, &given),
        Command::Commits(given) => progress::commits(&args.bootstrap, &given),
        Command::Drain(given) => progress::drain(&args.bootstrap, &given),
        Command::Probe(given) => probe::run(&args.bootstrap, &given),
        Command::Read(given) => read::run(&args.bootstrap, &given),
    }
}

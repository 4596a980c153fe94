//! The command line: one file a subcommand.

pub mod audit;
pub mod calibrate;
pub mod config;
pub mod dead;
pub mod demo;
pub mod features;
mod healed;
mod history;
mod interrupt;
pub mod model;
pub mod probe;
pub mod replay;
pub mod serve;
mod sheet;
pub mod simulate;
pub mod store;
pub mod topics;
pub mod training_set;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::app::Ending;
use clap::{Parser, Subcommand};

/// Scores payment transactions for fraud, explains every decision and heals itself.
#[derive(Debug, Parser)]
#[command(name = "fraudd", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  fraudd serve                                     score over REST on 127.0.0.1:8080
  fraudd demo                                      watch it heal itself
  fraudd simulate --days 30 --out tx.jsonl --labels labels.jsonl
  fraudd features --schema models/schemas/card-fraud.toml --history tx.jsonl --labels labels.jsonl --out train.csv
  fraudd model validate models/card-fraud/1.0.0
  fraudd config check --config config/run.toml
  fraudd audit reproduce tx-1001
  fraudd audit explain state/audit
  fraudd replay tx.jsonl --store replayed --labels labels.jsonl
  fraudd calibrate tx.jsonl --labels labels.jsonl > tolerances.toml
  fraudd store check state
  fraudd training-set --store state --schema models/card-fraud/1.0.0/features.toml --out set.parquet
  fraudd topics create --config config/run.toml
  fraudd dead list --config config/run.toml

Each command has a --help of its own.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Score transactions over REST
    Serve(serve::Args),
    /// Make payments with labelled fraud, drift and disorder
    Simulate(simulate::Args),
    /// Compute training sets from history, with the service's own code
    Features(features::FeaturesArgs),
    /// Pack, validate and sign model bundles
    Model(model::Args),
    /// Check and show the configuration
    Config(config::Args),
    /// Make a recorded decision again; check, replay and tell the record of healing
    Audit(audit::Args),
    /// Ask a running service whether it is ready; the health check of the container
    Probe(probe::Args),
    /// Score a history into a store of its own and measure the answers
    Replay(replay::Args),
    /// Find the tolerances of drift detection from a history
    Calibrate(calibrate::Args),
    /// Make and check the topics of a stream
    Topics(topics::Args),
    /// List records that could not be decided, and send them again
    Dead(dead::Args),
    /// Check a store, or copy what is readable of a damaged one
    Store(store::Args),
    /// Play faults, bad releases, broken data and attacks, and watch the service heal itself
    Demo(demo::Args),
    /// Write recorded decisions with their labels as rows to learn from
    TrainingSet(training_set::Args),
}

/// Runs the command line: 0 when all went well, 1 when a check said no, 2 when it could not be carried out,
/// 75 when the service ended by itself to be started anew.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(args).map(served),
        Command::Simulate(args) => simulate::run(&args).map(|summary| ended(summary.ending)).map_err(Into::into),
        Command::Features(args) => features::run(&args, &crate::app::parse_history).map(|summary| told(&summary)),
        Command::Model(args) => model::run(&args).map_err(Into::into),
        Command::Config(args) => config::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Replay(args) => replay::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Topics(args) => topics::run(&args),
        Command::Dead(args) => dead::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::TrainingSet(args) => training_set::run(&args),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "fraudd: {error:#}");
        ExitCode::from(2)
    })
}

/// Exit code of a service that wants to be started anew: `EX_TEMPFAIL`, a failure that a supervisor restarts.
const RECYCLES: u8 = 75;

fn served(ending: Ending) -> ExitCode {
    match ending {
        Ending::Drained => ExitCode::SUCCESS,
        Ending::Recycles => ExitCode::from(RECYCLES),
    }
}

/// Says what was written and what was refused; a table without a row is a failure.
fn told(summary: &features::Summary) -> ExitCode {
    let features::Summary { rows, duplicates, capped, transactions, labels } = summary;
    let refused = transactions.bad_rows + labels.bad_rows;
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{rows} rows, {duplicates} duplicates, {capped} capped, {refused} rows refused");
    for row in transactions.told.iter().chain(&labels.told) {
        let _ = writeln!(io::stderr(), "  {}, row {}: {}", row.file.display(), row.line, row.message);
    }
    if *rows == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn ended(ending: simulate::Ending) -> ExitCode {
    match ending {
        simulate::Ending::Complete | simulate::Ending::PipeClosed => ExitCode::SUCCESS,
        // What a shell reports for a process that SIGINT ended.
        simulate::Ending::Interrupted => ExitCode::from(130),
    }
}

/// Makes a progress line on standard error that counts rows; silent when nobody watches.
#[must_use]
pub fn progress(what: &'static str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{prefix} {spinner} {human_pos} rows, {per_sec}, {elapsed}");
    let bar = indicatif::ProgressBar::new_spinner().with_prefix(what);
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}

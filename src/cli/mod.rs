//! The command line: one file a subcommand.

mod audit;
mod config;
mod features;
mod model;
mod serve;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Scores payment transactions for fraud, explains every decision and heals itself.
#[derive(Debug, Parser)]
#[command(name = "fraudd", version, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  fraudd serve                                     score over REST on 127.0.0.1:8080
  fraudd simulate --days 30 --out tx.jsonl --labels labels.jsonl
  fraudd features --schema models/schemas/card-fraud.toml --history tx.jsonl --labels labels.jsonl --out train.csv
  fraudd model validate models/card-fraud/1.0.0
  fraudd config check --config config/run.toml
  fraudd audit reproduce tx-1001

Each command has a --help of its own.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Score transactions over REST.
    Serve(serve::Args),
    /// Make payments with labelled fraud, drift and disorder.
    Simulate(simulate::Args),
    /// Compute training sets from history, with the service's own code.
    Features(features::Args),
    /// Pack, validate and sign model bundles.
    Model(model::Args),
    /// Check and show the configuration.
    Config(config::Args),
    /// Make a recorded decision again.
    Audit(audit::Args),
}

/// Runs the command line; an error is printed with its causes and gives exit code 1.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Features(args) => features::run(args),
        Command::Model(args) => model::run(args),
        Command::Config(args) => config::run(args),
        Command::Audit(args) => audit::run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the command line's own voice")]
fn report(error: &anyhow::Error) {
    eprintln!("fraudd: {error:#}");
}

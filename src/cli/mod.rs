//! The command line: one file a subcommand.

pub mod features;
pub mod model;
pub mod simulate;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::domain::{RateTable, Timestamp, Transaction};
use crate::edge::wire::Contract;

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
    /// Make payments with labelled fraud, drift and disorder
    Simulate(simulate::Args),
    /// Compute training sets from history, with the service's own code
    Features(features::FeaturesArgs),
    /// Pack, validate and sign model bundles
    Model(model::Args),
}

/// Runs the command line: 0 when all went well, 1 when a check said no, 2 when it could not be carried out.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Simulate(args) => simulate::run(&args).map(|summary| ended(summary.ending)).map_err(Into::into),
        Command::Features(args) => features::run(&args, &parse_history).map(|_| ExitCode::SUCCESS),
        Command::Model(args) => model::run(&args).map_err(Into::into),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "fraudd: {error:#}");
        ExitCode::from(2)
    })
}

fn ended(ending: simulate::Ending) -> ExitCode {
    match ending {
        simulate::Ending::Complete | simulate::Ending::PipeClosed => ExitCode::SUCCESS,
        // What a shell reports for a process that SIGINT ended.
        simulate::Ending::Interrupted => ExitCode::from(130),
    }
}

/// Reads one transaction of the past: the contract's JSON, whatever its time, whomever it belongs to.
///
/// # Errors
/// Every fault, in one line; never a value.
pub fn parse_history(json: &[u8], rates: &RateTable) -> Result<Transaction, String> {
    let contract = Contract::new(Arc::new(rates.clone()));
    contract.read(json, None, Timestamp::MAX).map(|intake| intake.transaction).map_err(|reject| reject.to_string())
}

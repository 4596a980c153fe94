//! The binary: arguments in, exit code out.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use fraudd::cli::model;
use fraudd::runtime::inference::foreign;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Scores payment transactions, explains every decision, heals itself.
#[derive(Debug, Parser)]
#[command(version)]
enum Fraudd {
    /// Packs, validates, signs and shows model bundles
    Model(model::Args),
}

fn main() -> ExitCode {
    // First of all: no thread runs yet, and the library has not been loaded.
    let silenced = foreign::silence_telemetry().map_err(|error| error.to_string());
    let done = silenced.and_then(|()| match Fraudd::parse() {
        Fraudd::Model(args) => model::run(&args).map_err(|error| error.to_string()),
    });
    done.unwrap_or_else(|error| {
        // Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "fraudd: {error}");
        ExitCode::from(2)
    })
}

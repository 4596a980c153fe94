//! `fraudd store`: look at a store, and copy what is readable of a damaged one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use crate::runtime::store::{CheckReport, LogReport, check, repair};

/// What `fraudd store` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Read every record and say what is damaged; changes nothing
    Check {
        /// The store: state.directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Copy every readable record into a fresh store; the damaged one stays as it is
    Repair {
        /// The damaged store
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// An empty directory for the copy
        #[arg(long, value_name = "NEW")]
        into: PathBuf,
    },
}

/// Runs the command: 0 when every record can be read, 1 when not.
///
/// # Errors
/// A store that is in use, of another version, or not there; a copy that cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bar = super::progress("store");
    let tell = |path: &Path| {
        bar.set_message(path.display().to_string());
        bar.inc(1);
    };
    let (report, did) = match &args.command {
        Command::Check { directory } => (check(directory, &tell)?, "readable"),
        Command::Repair { directory, into } => (repair(directory, into, &tell)?, "copied"),
    };
    bar.finish_and_clear();
    io::stdout().write_all(shown(&report, did).as_bytes())?;
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(report: &CheckReport, did: &str) -> String {
    let mut lines = Vec::new();
    for (name, log) in [("events", &report.events), ("ledger", &report.ledger)] {
        let LogReport { segments, readable, lost, damages } = log;
        lines.push(format!("{name}: {readable} records {did}, {lost} lost, in {segments} segments"));
        for damage in damages {
            lines.push(format!("  {}, byte {}: cannot be read", damage.path.display(), damage.offset));
        }
    }
    lines.join("\n") + "\n"
}

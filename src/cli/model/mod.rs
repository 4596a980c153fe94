//! `fraudd model`: packs, validates, signs and shows model bundles.
//!
//! ```text
//! fraudd model pack --model m.onnx --schema features.toml --golden golden.jsonl --training train.parquet \
//!                   --name card-fraud --version 2026.1 --review 0.3 --decline 0.9 --out models/card-fraud/2026.1
//! fraudd model validate models/card-fraud/2026.2 --against models/card-fraud/2026.1
//! fraudd model inspect models/card-fraud/2026.1
//! fraudd model keygen --out signing.key          fraudd model sign DIR --key signing.key
//! ```

mod inspect;
mod keys;
mod pack;
mod table;
mod validate;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `fraudd model` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand of `fraudd model`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Write a bundle: manifest, schema, baseline profile and golden rows beside the model
    Pack(Box<pack::Args>),
    /// Ask a bundle every gate that needs no traffic, in a process with limits; exit code 1 when one fails
    Validate(validate::Args),
    /// Show what a bundle is
    Inspect(inspect::Args),
    /// Sign a bundle's manifest
    Sign(keys::SignArgs),
    /// Make a key pair for signing
    Keygen(keys::KeygenArgs),
    /// Judge a bundle on standard input (started by validate)
    #[command(hide = true)]
    GateChild,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory.
    #[error("tried to {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// A bundle that does not load.
    #[error(transparent)]
    Bundle(#[from] crate::runtime::release::bundle::Error),
    /// A bundle that cannot be packed.
    #[error(transparent)]
    Pack(#[from] crate::runtime::release::pack::Error),
    /// A key or signature.
    #[error(transparent)]
    Key(#[from] crate::runtime::release::signature::Error),
    /// A file whose content is wrong.
    #[error("tried to read {path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the cure.
        reason: String,
    },
    /// Standard input or output.
    #[error("tried to write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command; the exit code is 0, or 1 when a gate fails.
///
/// # Errors
/// [`Error`] when it could not be carried out.
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    match &args.command {
        Command::Pack(args) => pack::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Sign(args) => keys::sign(args),
        Command::Keygen(args) => keys::keygen(args),
        Command::GateChild => {
            crate::runtime::release::gates::child::answer(io::stdin().lock(), io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { what: "read", path: path.to_owned(), source })
}

fn read_text(path: &std::path::Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { what: "read", path: path.to_owned(), source })
}

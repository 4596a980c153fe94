//! `fraudd model validate`: every gate, in a child process, as a table or as JSON.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Error;
use crate::runtime::release::bundle;
use crate::runtime::release::gates::{Gate, Limits, Outcome, Report, child};

/// What `fraudd model validate` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    pub directory: PathBuf,
    /// The active bundle to compare speed and quality with
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
    /// Public keys in hex whose signatures count
    #[arg(long = "trust", value_name = "KEY")]
    pub trusted_keys: Vec<String>,
    /// Other limits than the shipped ones, as TOML
    #[arg(long, value_name = "FILE")]
    pub limits: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let report = report(args)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&report, &mut out)?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(args: &Args) -> Result<Report, Error> {
    let candidate = match bundle::read(&args.directory) {
        Ok(files) => files,
        Err(error) => return Ok(Report::failed(Gate::Hashes, error.to_string())),
    };
    let active = args.against.as_deref().map(bundle::read).transpose()?;
    let executable = std::env::current_exe();
    let executable =
        executable.map_err(|source| Error::File { what: "find", path: "the running executable".into(), source })?;
    Ok(child::validate(&executable, &candidate, active.as_ref(), &limits(args)?))
}

fn limits(args: &Args) -> Result<Limits, Error> {
    let mut limits = match &args.limits {
        None => Limits::default(),
        Some(path) => toml::from_str(&super::read_text(path)?)
            .map_err(|error| Error::Content { path: path.clone(), reason: error.to_string() })?,
    };
    limits.trusted_keys.extend(args.trusted_keys.iter().cloned());
    Ok(limits)
}

fn print(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    for check in &report.checks {
        let outcome = match check.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::Skip => "skip",
        };
        let gate = format!("{:?}", check.gate).to_lowercase();
        writeln!(out, "{outcome}  {gate:<12} {}", check.reason)?;
    }
    writeln!(out, "{}", if report.passed() { "every gate holds" } else { "refused" })
}

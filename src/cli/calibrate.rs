//! `fraudd calibrate`: a history in dry run, and the tolerances with which it would have raised nothing.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::config::LayerArgs;
use super::history::{FileArgs, instant};
use crate::app::{self, DryRun, Raised, ReplayOptions};
use crate::domain::Timestamp;
use crate::healing::Verdict;
use crate::healing::drift::Calibrated;
use crate::telemetry::logs;

/// What `fraudd calibrate` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    layers: LayerArgs,
    /// Transactions: .jsonl, .csv or .parquet; they are sorted by event time, in memory
    #[arg(required = true, value_name = "FILE")]
    history: Vec<PathBuf>,
    /// Labels: .jsonl or .csv; each counts from its own time on; repeatable
    #[arg(long, value_name = "FILE")]
    labels: Vec<PathBuf>,
    /// Transactions before this instant only fill the windows, such as 2026-02-01T00:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Timestamp>,
    #[command(flatten)]
    files: FileArgs,
    /// Run the detectors with the settings in force instead, and tell what they would have raised; 1 if any of it
    /// might have been acted on
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = "\
Examples:
  fraudd calibrate history.jsonl --labels labels.jsonl --from 2026-02-01T00:00:00Z > tolerances.toml
  fraudd calibrate later.jsonl --labels later-labels.jsonl --from 2026-04-01T00:00:00Z --check --config tolerances.toml
  fraudd serve --config config/run.toml --config tolerances.toml";

/// Calibrates and prints settings to put beside the others; 1 when the rate of alerts cannot be watched. Or checks them.
///
/// # Errors
/// As [`app::calibrate`], and settings with faults.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.layers.load()?;
    logs::init(&settings.log)?;
    let history = args.files.history(args.history, args.labels)?;
    // Decisions of a calibration are nobody's: their store goes with it.
    let place = tempfile::tempdir().context("tried to make a directory for the decisions")?;
    let options = ReplayOptions { history, directory: place.path().to_owned(), resume: false };
    let bar = super::progress("calibrate");
    let from = args.from.unwrap_or(Timestamp::MIN);
    if args.check {
        let (found, report) = app::dry_run(settings, &options, from, &|done, _| bar.set_position(done))?;
        bar.finish_and_clear();
        io::stdout().write_all(told(&found).as_bytes())?;
        return Ok(match (report.interrupted, found.acting()) {
            (true, _) => ExitCode::from(130),
            (false, 0) => ExitCode::SUCCESS,
            (false, _) => ExitCode::FAILURE,
        });
    }
    let (calibrated, schema_hash, report) =
        app::calibrate(settings, &options, from, &|done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    io::stdout().write_all(shown(&calibrated, &schema_hash).as_bytes())?;
    if report.interrupted {
        return Ok(ExitCode::from(130));
    }
    Ok(if calibrated.alert_tolerance.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes what a history would have raised, a line each.
fn told(found: &DryRun) -> String {
    let mut text = String::new();
    for Raised { transactions, finding } in &found.raised {
        let verdict = if finding.verdict == Verdict::Acting { "acting" } else { "advisory" };
        let subject = finding.subject.as_deref().unwrap_or("-");
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} after {transactions}: {verdict} {} {subject}: {}",
            finding.at,
            finding.alarm.name(),
            finding.evidence.text
        );
    }
    let (raised, acting) = (found.raised.len(), found.acting());
    let _ = writeln!(
        text,
        "{} transactions and {} labels raised {raised} findings, {acting} of them to act on",
        found.transactions, found.labels
    );
    text
}

/// Writes settings, with what they rest on as comments.
fn shown(calibrated: &Calibrated, schema_hash: &str) -> String {
    let Calibrated { votes, tolerances, excluded, alert_tolerance, evidence_before, log_limit } = calibrated;
    let mut text = format!(
        "# Made by `fraudd calibrate` from {votes} votes: with these settings no evidence of that history exceeds a\n\
         # logarithm of {log_limit:.1}, well below an advisory alarm. Before: beside each feature.\n\n[healing.drift]\ncalibrated_for = {schema_hash:?}\n"
    );
    // Writing to a String cannot fail.
    let _ = match alert_tolerance {
        Some(tolerance) => writeln!(text, "alert_tolerance = {tolerance:?}"),
        None => {
            writeln!(text, "# No tolerance is enough for the rate of alerts: the model is not fit for this history.")
        }
    };
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(text, "# No tolerance is enough for these:\nexcluded = [{}]", names.join(", "));
    }
    text.push_str("\n[healing.drift.tolerances]\n");
    for (name, tolerance) in tolerances {
        let before = evidence_before.get(name).copied().unwrap_or(0.0);
        let _ = writeln!(text, "{name} = {tolerance:?} # evidence was {before:.1}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_is_written_is_read_as_settings() {
        let found = Calibrated {
            votes: 1_000,
            tolerances: BTreeMap::from([("bin_count_5m".to_owned(), 2.5), ("score".to_owned(), 0.4)]),
            excluded: BTreeSet::from(["bin_count_1h".to_owned()]),
            alert_tolerance: Some(1.0),
            evidence_before: BTreeMap::from([("bin_count_5m".to_owned(), 80.0)]),
            log_limit: 17.0,
        };
        let text = shown(&found, "abc");
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("tolerances.toml");
        std::fs::write(&path, &text).expect("written");
        let (settings, _) = Settings::load(&[path], Vec::new()).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
        assert_eq!(settings.drift.calibrated_for, "abc");
        assert!((settings.drift.tolerance_of("bin_count_5m") - 2.5).abs() < 1e-9);
        assert!((settings.drift.tolerance_of("tx_amount") - settings.drift.tolerance).abs() < 1e-9);
        assert!(settings.drift.excluded.contains("bin_count_1h") && settings.drift.alert_tolerance > 0.9);
    }
}

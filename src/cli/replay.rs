//! `fraudd replay`: a history through the real scorer, and how good the answers were.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::config::LayerArgs;
use super::history::{FileArgs, instant, span};
use crate::app::{self, Alarms, HealOptions, ReplayOptions, ReplayReport};
use crate::domain::{Outcome, Span, Timestamp};
use crate::telemetry::logs;

/// What `fraudd replay` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    layers: LayerArgs,
    /// Transactions: .jsonl, .csv or .parquet; they are sorted by event time, in memory
    #[arg(required = true, value_name = "FILE")]
    history: Vec<PathBuf>,
    /// Where the decisions go: a directory of its own
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Go on with a store that holds decisions already
    #[arg(long = "continue")]
    resume: bool,
    /// Labels: .jsonl or .csv; each counts from its own time on; repeatable
    #[arg(long, value_name = "FILE")]
    labels: Vec<PathBuf>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    healing: HealingArgs,
}

/// What only a replay with healing knows.
#[derive(Clone, Debug, clap::Args)]
struct HealingArgs {
    /// With healing, as the service does it, on event time: detectors, plans, actions, retraining, trials of new models
    #[arg(long, conflicts_with = "resume")]
    heal: bool,
    /// Where the whole report goes, as JSON
    #[arg(long, value_name = "FILE", requires = "heal")]
    report: Option<PathBuf>,
    /// Transactions before this instant only fill the windows, such as 2026-02-01T00:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = instant, requires = "heal")]
    from: Option<Timestamp>,
    /// Transactions and labels from this instant on are left out
    #[arg(long, value_name = "INSTANT", value_parser = instant, requires = "heal")]
    until: Option<Timestamp>,
    /// Event time between two turns of the loop
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1m", requires = "heal")]
    tick: Span,
}

const EXAMPLES: &str = "\
Examples:
  fraudd replay history.jsonl --store replayed --labels labels.jsonl
  fraudd replay history.jsonl --store replayed --labels labels.jsonl --continue    after Ctrl-C
  fraudd replay history.jsonl --store healed --labels labels.jsonl --heal --report healed.json --config run.toml
  FRAUDD__STATE__DIRECTORY=replayed fraudd serve                                   look at its decisions";

/// Replays and prints the figures: 0 when all went through, 130 when it was interrupted.
///
/// # Errors
/// As [`app::replay`], and settings with faults.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Healing keeps its record, its memory and its requests beside the decisions: as if the settings named the place.
    let place = args.healing.heal.then(|| args.store.to_str().map(str::to_owned)).flatten();
    let place = place.map(|place| ("FRAUDD__STATE__DIRECTORY".to_owned(), place));
    let (settings, _) = args.layers.load_with(place.into_iter().collect())?;
    logs::init(&settings.log)?;
    let history = args.files.history(args.history, args.labels)?;
    let bar = bar();
    let progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    if let HealingArgs { heal: true, report, from, until, tick } = args.healing {
        let options = HealOptions { history, from, until, tick };
        let healed = app::heal_replay(settings, &options, &progress)?;
        bar.finish_and_clear();
        if let Some(path) = report {
            let text = serde_json::to_string_pretty(&healed)?;
            std::fs::write(&path, text).with_context(|| format!("tried to write {}", path.display()))?;
        }
        io::stdout().write_all(super::healed::shown(&healed).as_bytes())?;
        return Ok(if healed.interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS });
    }
    let options = ReplayOptions { history, directory: args.store, resume: args.resume };
    let report = app::replay(settings, &options, &progress)?;
    bar.finish_and_clear();
    io::stdout().write_all(shown(&report).as_bytes())?;
    Ok(if report.interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("replay {bar:30} {percent} %, {human_pos} of {human_len}, {per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Writes the figures for people.
fn shown(report: &ReplayReport) -> String {
    let ReplayReport { decided, known, conflicts, transactions, labels, frauds, .. } = report;
    let all: u64 = report.outcomes.iter().sum();
    let rate = if report.took.is_zero() { 0.0 } else { *decided as f64 / report.took.as_secs_f64() };
    let refused = transactions.bad_rows + labels.bad_rows;
    let mut lines = vec![format!(
        "{decided} decided, {known} known before, {conflicts} conflicts, {refused} rows refused; {rate:.0} a second"
    )];
    for row in transactions.told.iter().chain(&labels.told) {
        lines.push(format!("  {}, row {}: {}", row.file.display(), row.line, row.message));
    }
    let outcomes =
        Outcome::ALL.iter().zip(report.outcomes).map(|(outcome, count)| format!("{} {count}", outcome.name()));
    lines.push(outcomes.collect::<Vec<_>>().join(", "));
    if *frauds == 0 {
        lines.push("no fraud among the labels: there is nothing to measure".into());
    } else {
        let of = if report.has_scores { "model scores" } else { "risk scores, no model was asked" };
        lines.push(format!("{frauds} frauds; figures of {of}; without a label a transaction counts as legitimate"));
        let figure = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.4}"));
        lines.push(format!("average precision {}", figure(report.average_precision)));
        lines.push(format!("AUC               {}", figure(report.auc)));
        for (name, Alarms { named, frauds: found }) in &report.alarms {
            let share = |part: u64, whole: u64| if whole == 0 { None } else { Some(part as f64 / whole as f64) };
            let (precision, recall) = (figure(share(*found, *named)), figure(share(*found, *frauds)));
            let alert_rate = figure(share(*named, all));
            lines.push(format!("{name:<34} precision {precision}  recall {recall}  alert rate {alert_rate}"));
        }
    }
    if report.interrupted {
        lines.push("interrupted: --continue goes on from here".into());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shares_of_what_they_say() {
        let report = ReplayReport {
            decided: 10,
            outcomes: [6, 2, 0, 2],
            frauds: 4,
            has_scores: true,
            alarms: vec![("declined", Alarms { named: 2, frauds: 1 })],
            ..ReplayReport::default()
        };
        let text = shown(&report);
        assert!(text.contains("precision 0.5000  recall 0.2500  alert rate 0.2000"), "{text}");
        assert!(text.contains("approve 6, review 2, challenge 0, decline 2"), "{text}");
        assert!(shown(&ReplayReport::default()).contains("nothing to measure"));
    }
}

//! `fraudd serve`: the main job.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;

use super::config::LayerArgs;
use super::history::FileArgs;
use crate::app::{self, Ending, Terminal};
use crate::telemetry::logs;

/// What `fraudd serve` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    layers: LayerArgs,
    /// Address and port; the same as server.listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<std::net::SocketAddr>,
    /// Fill the feature windows from history before being ready: JSON Lines, CSV or Parquet; repeatable
    #[arg(long, value_name = "FILE")]
    backfill: Vec<PathBuf>,
    /// Labels of that history: JSON Lines or CSV; repeatable
    #[arg(long, value_name = "FILE", requires = "backfill")]
    backfill_labels: Vec<PathBuf>,
    #[command(flatten)]
    files: FileArgs,
}

const EXAMPLES: &str = "\
Examples:
  fraudd serve                                              on 127.0.0.1:8080, with the defaults
  fraudd serve --config config/run.toml --listen 127.0.0.1:9000
  fraudd serve --backfill history.jsonl --backfill-labels labels.jsonl
  FRAUDD__TELEMETRY__LOG__FORMAT=json fraudd serve

SIGTERM and Ctrl-C drain: unready, stop accepting, finish what is in flight. A second one ends at once.";

/// Serves until asked to stop.
///
/// # Errors
/// Settings with faults, and whatever keeps the service from starting.
pub fn run(args: Args) -> anyhow::Result<Ending> {
    if args.backfill.is_empty() && args.files != FileArgs::default() {
        bail!("--map, --set, --label-delay and --strict say how history is read: give --backfill FILE with them");
    }
    let (mut settings, _) = args.layers.load()?;
    settings.listen = args.listen.unwrap_or(settings.listen);
    logs::init(&settings.log)?;
    let history = args.files.history(args.backfill, args.backfill_labels)?;
    // Lines of JSON stay lines of JSON.
    let is_for_people = settings.log.format == logs::Format::Human;
    let bar = super::progress("backfill");
    let terminal = Terminal {
        progress: Box::new(move |rows| bar.set_position(rows)),
        restoring: restoring(),
        listening: Box::new(move |address| {
            if is_for_people {
                // Nobody may be there to read it.
                let _ = writeln!(io::stderr(), "{}", welcome(address));
            }
        }),
    };
    app::serve(settings, history, terminal)
}

/// Shows how far restoring is on a terminal; elsewhere the log tells.
fn restoring() -> Box<dyn Fn(&crate::runtime::store::RestoreProgress) + Send> {
    let style = indicatif::ProgressStyle::with_template("restoring {bar:30} {percent} %, {msg}");
    let bar = indicatif::ProgressBar::new(1_000);
    let bar = style.map(|style| bar.clone().with_style(style)).unwrap_or(bar);
    Box::new(move |progress| {
        bar.set_position(progress.permille());
        bar.set_message(format!("{:.0} events/s, about {} s left", progress.per_second, progress.left.as_secs() + 1));
        if progress.share >= 1.0 {
            bar.finish_and_clear();
        }
    })
}

/// What a newcomer wants to read: where, and one call to try.
fn welcome(address: std::net::SocketAddr) -> String {
    format!(
        r#"
fraudd answers on http://{address}   (all calls: http://{address}/docs)   Ctrl-C stops it. Try:

  curl -s http://{address}/v1/decisions -H 'content-type: application/json' -d '{{
    "transaction_id": "tx-1001", "occurred_at": "2026-03-01T10:00:00Z", "amount": 24900, "currency": "EUR",
    "customer_id": "c-42", "card": {{"token": "tok_9f2", "bin": "411111", "country": "FR"}},
    "merchant": {{"id": "m-7", "mcc": "5732", "country": "FR", "terminal_id": "t-77"}}, "channel": "pos"}}'
"#
    )
}

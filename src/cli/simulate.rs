//! `fraudd simulate`: writes a simulated stream of transactions, and its labels, to files or to a pipe.
//!
//! ```text
//! fraudd simulate --days 60 --out transactions.jsonl --labels labels.jsonl
//! fraudd simulate --handbook --format csv --truth | head
//! fraudd simulate --drift amount.scale=100@30d --late 0.01 --duplicates 0.01 --out drifted.jsonl
//! ```
//! Each line of JSON is what `POST /v1/decisions` takes, each label line what `POST /v1/labels` takes, both in
//! order of arrival. Same options and seed, same bytes. An interrupt ends after a whole line; so does a closed
//! pipe, which is no error.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::interrupt;
use crate::domain::{Currency, Span, Timestamp};
use crate::simulator::text::{csv, json};
use crate::simulator::{Detail, Details, Drift, Event, Options, Pattern, Simulation};
use crate::tasks::Shutdown;

/// How much text is gathered before it is written.
const CHUNK_LEN: usize = 64 * 1024;

/// What `fraudd simulate` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where transactions go; `-` is standard output
    #[arg(long, default_value = "-", value_name = "FILE")]
    pub out: PathBuf,
    /// Where labels go, as JSON Lines; without it none are written
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How transactions are written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub format: Format,
    /// Add the columns label, `label_at` and scenario (CSV only: JSON Lines are exactly what the API takes)
    #[arg(long)]
    pub truth: bool,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The world to simulate
    #[command(flatten)]
    pub world: WorldArgs,
    /// What becomes known, what goes wrong
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// The world to simulate.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "World")]
pub struct WorldArgs {
    /// The fraud-detection handbook's process alone: no details, no attacks
    #[arg(long)]
    pub handbook: bool,
    /// Customers on the 100 x 100 map [default: 5000]
    #[arg(long, value_name = "COUNT")]
    pub customers: Option<u32>,
    /// Terminals on the map [default: 10000]
    #[arg(long, value_name = "COUNT")]
    pub terminals: Option<u32>,
    /// How far a customer goes to a terminal [default: 5]
    #[arg(long, value_name = "UNITS")]
    pub radius: Option<f64>,
    /// Days to simulate [default: 183]
    #[arg(long, value_name = "COUNT")]
    pub days: Option<u32>,
    /// The first day, or the instant it begins [default: 2026-01-01]
    #[arg(long, value_name = "DATE", value_parser = parse_start)]
    pub start: Option<Timestamp>,
    /// The currency of every amount [default: EUR]
    #[arg(long, value_name = "CODE", value_parser = parse_currency)]
    pub currency: Option<Currency>,
    /// Genuine amounts above this many minor units are fraud, or `off` [default: 22000]
    #[arg(long, value_name = "MINOR", value_parser = parse_high_amount)]
    pub high_amount: Option<HighAmount>,
    /// How often a fraud pattern begins a day: `compromised_terminals`, `compromised_customers`, `card_testing`,
    /// `account_takeover` or `geo_velocity` [defaults: 2, 3, 0.5, 3, 3]; repeatable
    #[arg(long, value_name = "PATTERN=PER_DAY", value_parser = parse_rate)]
    pub rate: Vec<(Pattern, f64)>,
    /// Details not to send: card, device, email, country, merchant, channel, authentication, authorisation, location
    #[arg(long, value_name = "DETAIL,..", value_delimiter = ',', value_parser = parse_detail)]
    pub without: Vec<Detail>,
}

/// What becomes known of transactions, what goes wrong on the way and what changes in time.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Stream")]
pub struct StreamArgs {
    /// Share of transactions that get a label [default: 1]
    #[arg(long, value_name = "SHARE")]
    pub label_share: Option<f64>,
    /// How long after its transaction a label comes [default: 7d]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub label_delay: Option<Span>,
    /// Up to how much later still, uniformly [default: 0s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub label_jitter: Option<Span>,
    /// Share of transactions that arrive out of order [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub out_of_order: Option<f64>,
    /// The longest displacement of those, and of duplicates [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub displacement: Option<Span>,
    /// Share of transactions that arrive later than the displacement [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub late: Option<f64>,
    /// The longest lateness [default: 6h]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub lateness: Option<Span>,
    /// Share of transactions that arrive twice: same id, same payload [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub duplicates: Option<f64>,
    /// A change and its start: `amount.scale=1.5@30d`, `amount.shift=500@30d` (minor units), `fraud_amount.scale=..`,
    /// `null.FIELD=SHARE@..`, `fraud.scale=..`, `traffic.scale=..`, `labels.share=..`, `PATTERN.per_day=..`; repeatable
    #[arg(long, value_name = "KEY=VALUE@AFTER", value_parser = Drift::parse)]
    pub drift: Vec<Drift>,
}

/// How transactions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON Lines, each line the REST API's transaction.
    Jsonl,
    /// Comma-separated values, one column a field.
    Csv,
}

/// The high-amount scenario: its threshold in minor units, or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HighAmount(pub Option<i64>);

/// Why nothing, or not everything, could be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options make no world.
    #[error("cannot simulate: {}", .0.join("; "))]
    Options(Vec<String>),
    /// The truth in JSON Lines.
    #[error("--truth adds columns to CSV only: use --format csv, or --labels FILE")]
    TruthInJson,
    /// Two outputs in one place.
    #[error("transactions and labels cannot both go to {path}: give --labels a file of its own")]
    SamePlace {
        /// The place.
        path: PathBuf,
    },
    /// A file that cannot be made.
    #[error("cannot create {path}: {source}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that cannot be written to.
    #[error("cannot write to {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No way to hear an interrupt.
    #[error("cannot listen for an interrupt: {0}")]
    Interrupt(io::Error),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is written.
    Complete,
    /// Someone asked to stop: whole lines are written, later ones are not.
    Interrupted,
    /// The reader had enough.
    PipeClosed,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Transactions, each once.
    pub transactions: u64,
    /// Those that are fraud.
    pub frauds: u64,
    /// Repetitions.
    pub duplicates: u64,
    /// Label events, written or not.
    pub labels: u64,
    /// How it ended.
    pub ending: Ending,
}

/// Runs the command until it is done, interrupted, or nobody reads any more.
///
/// # Errors
/// Options that make no world, or files that cannot be written.
pub fn run(args: &Args) -> Result<Summary, Error> {
    let (shutdown, done) = (Shutdown::default(), Shutdown::default());
    let watch = interrupt::watch(shutdown.clone(), done.clone()).map_err(Error::Interrupt)?;
    let summary = run_until(args, &shutdown);
    done.ask();
    // It was asked to end and has nothing left to say.
    let _ = watch.join();
    let summary = summary?;
    if !is_stdout(&args.out) {
        let Summary { transactions, frauds, duplicates, labels, .. } = summary;
        let ended = if summary.ending == Ending::Complete { "" } else { ", stopped early" };
        // Nobody may be there to read it.
        let _ = writeln!(
            io::stderr(),
            "{transactions} transactions ({frauds} fraud), {duplicates} duplicates, {labels} labels{ended}"
        );
    }
    Ok(summary)
}

/// Runs the command until it is done, `shutdown` is asked for, or nobody reads any more.
///
/// # Errors
/// As [`run`].
pub fn run_until(args: &Args, shutdown: &Shutdown) -> Result<Summary, Error> {
    let columns = match (args.format, args.truth) {
        (Format::Jsonl, true) => return Err(Error::TruthInJson),
        (Format::Jsonl | Format::Csv, false) => csv::Columns::Sent,
        (Format::Csv, true) => csv::Columns::SentAndTruth,
    };
    if args.labels.as_ref() == Some(&args.out) {
        return Err(Error::SamePlace { path: args.out.clone() });
    }
    let simulation = Simulation::new(args.options(), &ChaCha8Rng::seed_from_u64(args.seed)).map_err(Error::Options)?;
    let progress = progress_bar(&args.out, args.options().days);
    let mut writer = Writer {
        transactions: Output::open(&args.out)?,
        labels: args.labels.as_deref().map(Output::open).transpose()?,
        format: args.format,
        columns,
    };
    let mut summary = Summary { transactions: 0, frauds: 0, duplicates: 0, labels: 0, ending: Ending::Complete };
    let written = writer.write_all(simulation, &mut summary, |days_begun| {
        progress.set_position(u64::from(days_begun));
        shutdown.is_asked()
    });
    progress.finish_and_clear();
    match written {
        Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            summary.ending = Ending::PipeClosed;
        }
        other => other?,
    }
    Ok(summary)
}

impl Args {
    /// Returns the simulator's options these arguments ask for.
    #[must_use]
    pub fn options(&self) -> Options {
        let (world, stream) = (&self.world, &self.stream);
        let mut options = if world.handbook { Options::handbook() } else { Options::default() };
        set(&mut options.customers, world.customers);
        set(&mut options.terminals, world.terminals);
        set(&mut options.radius, world.radius);
        set(&mut options.days, world.days);
        set(&mut options.start, world.start);
        set(&mut options.currency, world.currency);
        set(&mut options.high_amount, world.high_amount.map(|HighAmount(threshold)| threshold));
        world.rate.iter().for_each(|&(pattern, rate)| options.rates.set(pattern, rate));
        options.details = world.without.iter().fold(options.details, |kept, &detail| Details::without(kept, detail));
        set(&mut options.labels.share, stream.label_share);
        set(&mut options.labels.delay, stream.label_delay);
        set(&mut options.labels.jitter_max, stream.label_jitter);
        set(&mut options.disorder.out_of_order_share, stream.out_of_order);
        set(&mut options.disorder.displacement_max, stream.displacement);
        set(&mut options.disorder.late_share, stream.late);
        set(&mut options.disorder.lateness_max, stream.lateness);
        set(&mut options.disorder.duplicate_share, stream.duplicates);
        options.drifts.clone_from(&stream.drift);
        options
    }
}

/// Writes events as lines.
struct Writer {
    transactions: Output,
    labels: Option<Output>,
    format: Format,
    columns: csv::Columns,
}

impl Writer {
    /// Writes until the simulation ends or `stops` says so, which is asked once a chunk.
    fn write_all(
        &mut self,
        mut simulation: Simulation,
        summary: &mut Summary,
        stops: impl Fn(u32) -> bool,
    ) -> Result<(), Error> {
        if self.format == Format::Csv {
            csv::header(self.columns, &mut self.transactions.text);
        }
        while let Some(event) = simulation.next() {
            self.add(&event, summary);
            let chunk_written = self.transactions.flush_if_full()? || self.flush_labels_if_full()?;
            if chunk_written && stops(simulation.days_begun()) {
                summary.ending = Ending::Interrupted;
                break;
            }
        }
        self.transactions.flush()?;
        self.labels.as_mut().map_or(Ok(()), Output::flush)
    }

    fn add(&mut self, event: &Event, summary: &mut Summary) {
        match event {
            Event::Transaction(transaction, truth) => {
                let text = &mut self.transactions.text;
                match self.format {
                    Format::Jsonl => {
                        json::transaction(transaction, text);
                        text.push('\n');
                    }
                    Format::Csv => csv::line(transaction, truth, self.columns, text),
                }
                summary.transactions += u64::from(!truth.duplicate);
                summary.frauds += u64::from(!truth.duplicate && truth.is_fraud());
                summary.duplicates += u64::from(truth.duplicate);
            }
            Event::Label(label) => {
                if let Some(labels) = &mut self.labels {
                    json::label(label, &mut labels.text);
                    labels.text.push('\n');
                }
                summary.labels += 1;
            }
        }
    }

    fn flush_labels_if_full(&mut self) -> Result<bool, Error> {
        self.labels.as_mut().map_or(Ok(false), Output::flush_if_full)
    }
}

/// A file or standard output, written in chunks of whole lines.
struct Output {
    path: PathBuf,
    file: Box<dyn Write>,
    text: String,
}

impl Output {
    fn open(path: &Path) -> Result<Self, Error> {
        let file: Box<dyn Write> = if is_stdout(path) {
            Box::new(io::stdout().lock())
        } else {
            Box::new(File::create(path).map_err(|source| Error::Create { path: path.into(), source })?)
        };
        Ok(Self { path: path.into(), file, text: String::with_capacity(CHUNK_LEN + 4_096) })
    }

    fn flush_if_full(&mut self) -> Result<bool, Error> {
        let full = self.text.len() >= CHUNK_LEN;
        if full {
            self.flush()?;
        }
        Ok(full)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let written = self.file.write_all(self.text.as_bytes()).and_then(|()| self.file.flush());
        self.text.clear();
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

fn progress_bar(out: &Path, days: u32) -> ProgressBar {
    if is_stdout(out) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::from(days));
    // The template is a constant: the default bar stands in if it were wrong.
    let style = ProgressStyle::with_template("{bar:40} day {pos}/{len}, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn set<T>(option: &mut T, asked: Option<T>) {
    if let Some(value) = asked {
        *option = value;
    }
}

fn parse_start(text: &str) -> Result<Timestamp, String> {
    let midnight = || Timestamp::parse(&format!("{text}T00:00:00Z"));
    Timestamp::parse(text).or_else(midnight).ok_or_else(|| "expected a date such as 2026-01-01, or RFC 3339".into())
}

fn parse_currency(code: &str) -> Result<Currency, String> {
    Currency::parse(code).ok_or_else(|| "expected an ISO 4217 code in capitals, such as EUR".into())
}

fn parse_span(text: &str) -> Result<Span, String> {
    Span::parse(text).ok_or_else(|| "expected a duration such as 90s, 6h or 7d".into())
}

fn parse_high_amount(text: &str) -> Result<HighAmount, String> {
    if text == "off" {
        return Ok(HighAmount(None));
    }
    let minor = text.parse().map_err(|_| "expected whole minor units such as 22000, or off".to_owned());
    minor.map(|minor| HighAmount(Some(minor)))
}

fn parse_rate(text: &str) -> Result<(Pattern, f64), String> {
    let parsed = text.split_once('=').and_then(|(name, rate)| Some((Pattern::parse(name)?, rate.parse().ok()?)));
    parsed.ok_or_else(|| "expected a pattern and its rate a day, such as card_testing=5".into())
}

fn parse_detail(name: &str) -> Result<Detail, String> {
    let known = || Detail::ALL.map(Detail::name).join(", ");
    Detail::parse(name).ok_or_else(|| format!("expected one of {}", known()))
}

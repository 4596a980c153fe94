//! `fraudd features`: training sets from history, by the code that serves.
//!
//! ```text
//! history ─> Reader ─> Entities::observe ─> one row a transaction: id, time, features, label, its time
//! ```
//! Each row is as of its transaction: labels are loaded first, but each is seen only from its own time
//! on. The label columns say what was known in the end. Transactions are streamed; the labels of label
//! files are held in memory.

mod output;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use compact_str::CompactString;
use indicatif::{ProgressBar, ProgressStyle};

use super::history::{FileArgs, instant};
use crate::domain::{Currency, Label, LabelKind, RateTable, Timestamp};
use crate::edge::history::{self, ParseTransaction, Reader, Record, Tally, read_labels};
use crate::runtime::entities::{Entities, Options};
use crate::scoring::feature::{Plan, Schema};
use output::{Output, Row};

/// Rows between two moves of the progress bar.
const PROGRESS_ROWS: u64 = 10_000;

/// Computes a training set from history.
#[derive(Args, Debug)]
pub struct FeaturesArgs {
    /// The schema, such as a bundle's features.toml
    #[arg(long, value_name = "FILE")]
    pub schema: PathBuf,
    /// Transactions: .jsonl, .csv or .parquet, in order of arrival; repeatable
    #[arg(long, value_name = "FILE", required = true)]
    pub history: Vec<PathBuf>,
    /// Labels: .jsonl or .csv; repeatable
    #[arg(long, value_name = "FILE")]
    pub labels: Vec<PathBuf>,
    /// Where the rows go: .csv, .jsonl or .parquet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How the files are read.
    #[command(flatten)]
    pub files: FileArgs,
    /// The base currency, when no rates are given
    #[arg(long, value_name = "CODE", default_value = "EUR")]
    pub base: String,
    /// Rates into the base currency: a TOML file with version, base and rates
    #[arg(long, value_name = "FILE")]
    pub rates: Option<PathBuf>,
    /// Rows only of transactions from this instant on; those before only fill the windows
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub from: Option<Timestamp>,
    /// Events kept per entity
    #[arg(long, value_name = "COUNT", default_value_t = 4_096)]
    pub events_per_entity_max: usize,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows written.
    pub rows: u64,
    /// Transactions that came a second time.
    pub duplicates: u64,
    /// Rows whose windows would have needed dropped events.
    pub capped: u64,
    /// What was read.
    pub transactions: Tally,
    /// What was read of label files.
    pub labels: Tally,
}

/// Runs the command; `parse` reads REST transactions.
///
/// # Errors
/// When a file cannot be read or written, the schema or the mapping is wrong, or with `--strict` a row is bad.
pub fn run(args: &FeaturesArgs, parse: &ParseTransaction<'_>) -> anyhow::Result<Summary> {
    let schema = Arc::new(schema(&args.schema)?);
    let reader = Reader {
        mapping: args.files.mapping()?,
        rates: rates(args)?,
        parse,
        label_delay: args.files.label_delay,
        strict: args.files.strict,
    };
    let mut summary = Summary::default();
    let labels = labels(args, &mut summary)?;
    let options = Options {
        events_per_entity_max: args.events_per_entity_max,
        labels_pending_max: labels.len().saturating_mul(2).max(1),
        ..Options::default()
    };
    let entities = Entities::new(options, std::slice::from_ref(&schema))?;
    for label in &labels {
        entities.label(label);
    }
    let plan = entities.admit(&schema)?;
    let mut output = Output::create(&args.out, &schema)?;
    let mut table = Table { args, entities, plan, known: known(labels), summary, bar: bar() };
    for path in &args.history {
        let tally = reader.read(path, &mut |record| table.row(&record, &mut output))?;
        table.summary.transactions.add(tally);
    }
    output.finish()?;
    table.bar.finish_and_clear();
    Ok(table.summary)
}

struct Table<'a> {
    args: &'a FeaturesArgs,
    entities: Entities,
    plan: Arc<Plan>,
    known: HashMap<CompactString, (Timestamp, LabelKind)>,
    summary: Summary,
    bar: ProgressBar,
}

impl Table<'_> {
    fn row(&mut self, record: &Record, output: &mut Output) -> Result<(), history::Error> {
        let transaction = &record.transaction;
        if self.entities.knows(transaction.id()) {
            self.summary.duplicates += 1;
            return Ok(());
        }
        let vector = self.entities.observe(transaction, &self.plan);
        let mut label = self.known.get(transaction.id()).copied();
        if let Some((kind, occurred_at)) = record.label {
            let transaction_id = transaction.id().into();
            self.entities.label(&Label { transaction_id, kind, occurred_at, source: "history".into() });
            label = label.max_by_time(occurred_at, kind);
        }
        if self.args.from.is_some_and(|from| transaction.occurred_at() < from) {
            return Ok(());
        }
        self.summary.rows += 1;
        self.summary.capped += u64::from(vector.capped);
        if self.summary.rows.is_multiple_of(PROGRESS_ROWS) {
            self.bar.set_position(self.summary.rows);
        }
        let row = Row { transaction, features: vector.values(), label };
        output.write(&row).map_err(|error| history::Error::Sink(error.to_string()))
    }
}

trait Later {
    fn max_by_time(self, at: Timestamp, kind: LabelKind) -> Self;
}

impl Later for Option<(Timestamp, LabelKind)> {
    /// Keeps the later of two labels; at the same instant fraud stands.
    fn max_by_time(self, at: Timestamp, kind: LabelKind) -> Self {
        match self {
            Some((known, said)) if (known, said.is_fraud()) >= (at, kind.is_fraud()) => self,
            Some(_) | None => Some((at, kind)),
        }
    }
}

fn known(labels: Vec<Label>) -> HashMap<CompactString, (Timestamp, LabelKind)> {
    let mut known: HashMap<CompactString, (Timestamp, LabelKind)> = HashMap::with_capacity(labels.len());
    for Label { transaction_id, kind, occurred_at, .. } in labels {
        let said = known.get(&transaction_id).copied().max_by_time(occurred_at, kind);
        known.extend(said.map(|said| (transaction_id, said)));
    }
    known
}

fn labels(args: &FeaturesArgs, summary: &mut Summary) -> anyhow::Result<Vec<Label>> {
    let mut labels = Vec::new();
    for path in &args.labels {
        summary.labels.add(read_labels(path, args.files.strict, &mut |label| labels.push(label))?);
    }
    Ok(labels)
}

fn schema(path: &PathBuf) -> anyhow::Result<Schema> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Schema::parse(&text).map_err(|faults| lines(&format!("{} is wrong", path.display()), &faults))
}

fn lines(what: &str, faults: &[impl ToString]) -> anyhow::Error {
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{what}:\n  {}", faults.join("\n  "))
}

fn rates(args: &FeaturesArgs) -> anyhow::Result<RateTable> {
    let Some(path) = &args.rates else {
        let Some(base) = Currency::parse(&args.base) else {
            bail!("--base {} is no ISO 4217 code: write for example EUR", args.base);
        };
        return Ok(RateTable::identity(base));
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: RateTable = toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    match table.faults() {
        faults if faults.is_empty() => Ok(table),
        faults => Err(lines(&format!("{} is wrong", path.display()), &faults)),
    }
}

/// A count on standard error; nothing when that is not a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

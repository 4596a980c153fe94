//! `fraudd training-set`: recorded decisions and their labels as rows to learn from.
//!
//! ```text
//! store/events: labels ─────────┐
//! store/ledger: decisions ─> healing::retraining::Selection ─> Parquet: features as they were, label, weight
//! ```
//! The service may run on meanwhile: the store is only read. Features are those the decision was made with, never
//! computed anew, so nothing that was learned later can leak into them.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::ProgressBar;

use super::history::{instant, span};
use super::sheet::{Cell, Kind, Sheet};
use crate::domain::{DegradedReason, LabelKind, Outcome, Span, TextField, Timestamp};
use crate::healing::retraining::{Declined, LeftOut, Request, Row, Selection, Verdict, Window};
use crate::runtime::decisions::Record;
use crate::runtime::store::{Exported, read_decisions, read_labels};
use crate::scoring::decide::control::share_of;
use crate::scoring::feature::Schema;

/// Rows between two moves of the progress bar.
const PROGRESS_ROWS: u64 = 1_000;
/// Whose transactions are whose: the first field that a transaction has.
const ENTITY: [TextField; 3] = [TextField::CustomerId, TextField::AccountId, TextField::CardToken];
const BEFORE: [(&str, Kind); 2] = [("transaction_id", Kind::Text), ("occurred_at", Kind::Time)];
const BEHIND: [(&str, Kind); 9] = [
    ("label", Kind::MaybeWhole),
    ("label_at", Kind::MaybeTime),
    ("weight", Kind::Number),
    ("outcome", Kind::Text),
    ("score", Kind::MaybeNumber),
    ("control", Kind::Flag),
    ("entity", Kind::Text),
    ("model_version", Kind::Text),
    ("received_at", Kind::Time),
];

/// What `fraudd training-set` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store to read: state.directory; a service may be using it
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// The feature schema, such as the bundle's features.toml; decisions of another one are left out
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Where the rows go: .parquet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A request of the service: its window, maturity, windows to leave out and what stands for declines
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "until", "maturity", "declined"])]
    request: Option<PathBuf>,
    /// Only transactions from this instant on
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Timestamp>,
    /// Only transactions before this instant
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    until: Option<Timestamp>,
    /// What was known at this instant; the newest transaction's without
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    as_of: Option<Timestamp>,
    /// How long after a transaction a label may still come; without one by then it counts as genuine
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "7d")]
    maturity: Span,
    /// A window to leave out, such as 2026-03-01T10:00:00Z..2026-03-01T12:00:00Z; repeatable
    #[arg(long, value_name = "FROM..UNTIL", value_parser = window)]
    leave_out: Vec<Window>,
    /// What stands for declined transactions: those with a label, or those of the control share, weighted
    #[arg(long, value_enum, default_value_t = DeclinedArg::Labelled)]
    declined: DeclinedArg,
}

/// [`Declined`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DeclinedArg {
    /// Those somebody labelled, as they are
    Labelled,
    /// Those of the control share, each weighing 1/share
    Control,
}

const EXAMPLES: &str = "\
Columns: transaction_id, occurred_at, the features as they were, label (1 fraud, 0 genuine, empty for no word by
maturity, which counts as genuine), label_at, weight, outcome, score, control, entity, model_version, received_at.

Examples:
  fraudd training-set --store state --schema models/card-fraud/1.0.0/features.toml --out set.parquet
  fraudd training-set --store state --schema features.toml --out set.parquet --maturity 14d \\
      --leave-out 2026-03-01T10:00:00Z..2026-03-02T00:00:00Z --declined control
  fraudd training-set --store state --schema features.toml --out set.parquet --request request.json";

fn window(text: &str) -> Result<Window, String> {
    Window::parse(text).ok_or_else(|| "write for example 2026-03-01T10:00:00Z..2026-03-01T12:00:00Z".into())
}

/// Writes the rows: 0 when there are some, 1 when there are none.
///
/// # Errors
/// A store or schema that cannot be read, a file that cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let schema = schema(&args.schema)?;
    let bar = super::progress("training set");
    let (bar, shown) = (bar.clone(), bar);
    let tell = |path: &Path| shown.set_message(path.display().to_string());
    let mut labels: HashMap<String, (Timestamp, LabelKind)> = HashMap::new();
    let of_labels = read_labels(&args.store, &tell, &mut |label| {
        let said = (label.occurred_at, label.kind);
        let known = labels.entry(label.transaction_id.into()).or_insert(said);
        // A later label supersedes; at the same instant fraud stands.
        if (known.0, known.1.is_fraud()) < (said.0, said.1.is_fraud()) {
            *known = said;
        }
    })?;
    let Some(newest) = args.as_of.or(of_labels.newest) else {
        bail!("{} holds no transaction: name a store that a service has written", args.store.display())
    };
    let mut table = Table { selection: selection(args, newest)?, labels, schema, bar, report: Report::default() };
    let columns: Vec<(&str, Kind)> = {
        let names = table.schema.features().iter().map(|feature| (feature.name.as_str(), Kind::Number));
        BEFORE.into_iter().chain(names).chain(BEHIND).collect()
    };
    let mut sheet = Sheet::create(&args.out, &columns)?;
    let of_decisions = read_decisions(&args.store, &tell, &mut |record| table.add(&record, &mut sheet))?;
    sheet.finish()?;
    table.bar.finish_and_clear();
    io::stdout().write_all(table.report.shown(&of_labels, &of_decisions).as_bytes())?;
    Ok(if table.report.rows > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn schema(path: &Path) -> anyhow::Result<Schema> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Schema::parse(&text).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{} is wrong:\n  {}", path.display(), lines.join("\n  "))
    })
}

fn selection(args: &Args, as_of: Timestamp) -> anyhow::Result<Selection> {
    let mut selection = match &args.request {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let request: Request =
                serde_json::from_str(&text).with_context(|| format!("{} is no request", path.display()))?;
            Selection::of(&request, as_of)
        }
        None => Selection {
            from: args.from,
            until: args.until,
            as_of,
            maturity: args.maturity,
            leave_out: Vec::new(),
            declined: match args.declined {
                DeclinedArg::Labelled => Declined::Labelled,
                DeclinedArg::Control => Declined::Control,
            },
        },
    };
    selection.leave_out.extend(&args.leave_out);
    Ok(selection)
}

struct Table {
    selection: Selection,
    labels: HashMap<String, (Timestamp, LabelKind)>,
    schema: Schema,
    bar: ProgressBar,
    report: Report,
}

impl Table {
    fn add(&mut self, record: &Record, sheet: &mut Sheet) -> anyhow::Result<()> {
        self.report.seen += 1;
        if self.report.seen.is_multiple_of(PROGRESS_ROWS) {
            self.bar.set_position(self.report.seen);
        }
        let (decision, transaction) = (&record.decision, &record.transaction);
        let control_share = share_of(&decision.reasons);
        let row = Row {
            occurred_at: transaction.occurred_at(),
            outcome: decision.outcome,
            control_share,
            label: self.labels.get(transaction.id()).copied(),
            is_whole: self.is_whole(record),
        };
        let (weight, label) = match self.selection.judge(&row) {
            Verdict::Kept { weight, label } => (weight, label),
            Verdict::Left(why) => {
                *self.report.left.entry(why).or_default() += 1;
                return Ok(());
            }
        };
        self.report.kept(label, decision.outcome, control_share.is_some());
        let before = [Cell::Text(transaction.id()), Cell::Time(Some(transaction.occurred_at()))];
        let features = record.features.values().iter().map(|value| Cell::Number(Some(*value)));
        let behind = [
            Cell::Whole(label.map(|(_, kind)| i64::from(kind.is_fraud()))),
            Cell::Time(label.map(|(at, _)| at)),
            Cell::Number(Some(weight)),
            Cell::Text(decision.outcome.name()),
            Cell::Number(decision.score.map(crate::domain::Score::get)),
            Cell::Flag(control_share.is_some()),
            Cell::Text(ENTITY.iter().find_map(|field| transaction.text(*field)).unwrap_or_default()),
            Cell::Text(&decision.release.model_version),
            Cell::Time(Some(record.received_at)),
        ];
        sheet.write(before.into_iter().chain(features).chain(behind))
    }

    /// Tells whether a record's features are this schema's and were whole when it was decided.
    fn is_whole(&self, record: &Record) -> bool {
        let is_ours = record.decision.release.schema_hash == self.schema.hash();
        let partial = |reason: &DegradedReason| {
            matches!(reason, DegradedReason::Restoring | DegradedReason::NotOwner | DegradedReason::FeatureMasked)
        };
        let is_shaped = record.features.len() == self.schema.features().len();
        is_ours && is_shaped && !record.decision.degraded.iter().any(partial)
    }
}

/// What was written and what was not.
#[derive(Debug, Default)]
struct Report {
    seen: u64,
    rows: u64,
    frauds: u64,
    unlabelled: u64,
    declined: u64,
    control: u64,
    left: BTreeMap<LeftOut, u64>,
}

impl Report {
    fn kept(&mut self, label: Option<(Timestamp, LabelKind)>, outcome: Outcome, is_control: bool) {
        self.rows += 1;
        self.frauds += u64::from(label.is_some_and(|(_, kind)| kind.is_fraud()));
        self.unlabelled += u64::from(label.is_none());
        self.declined += u64::from(outcome == Outcome::Decline);
        self.control += u64::from(is_control);
    }

    fn shown(&self, labels: &Exported, decisions: &Exported) -> String {
        let Self { rows, frauds, unlabelled, declined, control, .. } = self;
        let mut lines = vec![format!(
            "{rows} rows, {frauds} frauds, {unlabelled} without a label by maturity, {declined} declined, {control} of \
             the control share; of {} decisions and {} labels",
            decisions.read, labels.read
        )];
        for why in LeftOut::ALL {
            if let Some(count) = self.left.get(&why) {
                lines.push(format!("  {count} left out: {}", why.name()));
            }
        }
        for (name, found) in [("events", labels), ("ledger", decisions)] {
            if found.unreadable > 0 {
                lines.push(format!("  {} records of {name} say nothing that can be read", found.unreadable));
            }
            for damage in &found.damages {
                lines.push(format!("  {}, byte {}: cannot be read", damage.path.display(), damage.offset));
            }
        }
        lines.join("\n") + "\n"
    }
}

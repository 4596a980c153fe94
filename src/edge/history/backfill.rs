//! Backfill: history into the entity store, so that a service starts with full windows.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Error, Reader, Tally, read_labels};
use crate::domain::Label;
use crate::runtime::entities::{Entities, LabelOutcome, Warmth};
use crate::scoring::feature::Schema;

/// Rows between two calls of the progress callback.
const PROGRESS_ROWS: u64 = 10_000;

/// Whether a schema's windows are full after a backfill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaWarmth {
    /// The schema's name.
    pub schema: String,
    /// Whether they are.
    pub warmth: Warmth,
}

/// What a backfill did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Transactions read and rows refused.
    pub transactions: Tally,
    /// Labels read from label files and rows refused.
    pub labels: Tally,
    /// Labels that found their transaction.
    pub labels_applied: u64,
    /// Which schemas are warm now.
    pub warmth: Vec<SchemaWarmth>,
}

/// Fills the store with transactions from `history`, then with labels from `labels`; both in any order:
/// a label is visible from its own time on, whenever it is loaded. `progress` gets the rows so far.
///
/// # Errors
/// [`Error`] when a file cannot be read, or at the first bad row if the reader is strict; what was read
/// until then stays.
pub fn backfill(
    (entities, schemas): (&Entities, &[Arc<Schema>]),
    reader: &Reader<'_>,
    (history, labels): (&[PathBuf], &[PathBuf]),
    progress: &dyn Fn(u64),
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut rows = 0;
    let mut applied = 0;
    for path in history {
        let tally = reader.read(path, &mut |record| {
            entities.absorb(&record.transaction);
            if let Some((kind, occurred_at)) = record.label {
                let transaction_id = record.transaction.id().into();
                let label = Label { transaction_id, kind, occurred_at, source: "history".into() };
                applied += u64::from(entities.label(&label) == LabelOutcome::Applied);
            }
            rows += 1;
            if rows % PROGRESS_ROWS == 0 {
                progress(rows);
            }
            Ok(())
        })?;
        report.transactions.add(tally);
    }
    for path in labels {
        let tally = read_labels(path, reader.strict, &mut |label| {
            applied += u64::from(entities.label(&label) == LabelOutcome::Applied);
        })?;
        report.labels.add(tally);
    }
    progress(rows);
    report.labels_applied = applied;
    report.warmth = schemas
        .iter()
        .map(|schema| SchemaWarmth { schema: schema.name().into(), warmth: entities.warmth(schema) })
        .collect();
    Ok(report)
}

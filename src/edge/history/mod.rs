//! History: transactions and labels of the past, from files into domain types.
//!
//! ```text
//! .jsonl    REST transactions, one a line        ─┐
//! .csv      a header of dotted paths             ─┼─> Record { transaction, label? } ─> whoever asked
//! .parquet  flat columns of dotted paths         ─┘
//! ```
//! Files are streamed in the order given; what a file calls its columns is mapped by [`Mapping`]. A row
//! that cannot be read is counted and the first few are told with their line; with `strict` the first
//! one ends it. No row is skipped in silence. What becomes of the records is not known here.

mod backfill;
mod columns;
mod csv;
mod json_lines;
mod labels;
mod mapping;
mod parquet;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use backfill::{Report, SchemaWarmth, backfill};
pub use labels::read_labels;
pub use mapping::{Mapping, MappingFault};

use crate::domain::{LabelKind, RateTable, Span, Timestamp, Transaction};

/// Bad rows told with their line; the others are only counted.
pub const BAD_ROWS_TOLD_MAX: usize = 10;

/// Reads one transaction from the bytes of a JSON document; the error says what is wrong with it.
pub type ParseTransaction<'a> = dyn Fn(&[u8], &RateTable) -> Result<Transaction, String> + 'a;

/// How history is read.
pub struct Reader<'a> {
    /// What the files call their columns.
    pub mapping: Mapping,
    /// Rates into the base currency.
    pub rates: RateTable,
    /// Reads REST transactions.
    pub parse: &'a ParseTransaction<'a>,
    /// When a label without its own time became known, after its transaction.
    pub label_delay: Option<Span>,
    /// Whether the first bad row ends it.
    pub strict: bool,
}

/// One row of history.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The transaction.
    pub transaction: Transaction,
    /// What became of it and when that was known, where the row says so.
    pub label: Option<(LabelKind, Timestamp)>,
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The file.
    pub file: PathBuf,
    /// 1-based line of a text file, row of a Parquet file.
    pub line: u64,
    /// What is wrong with it; never the values.
    pub message: String,
}

/// How much was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Good rows.
    pub rows: u64,
    /// Bad rows.
    pub bad_rows: u64,
    /// The first of them.
    pub told: Vec<BadRow>,
}

/// Why reading ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file's name does not say what it is.
    #[error("{path} is neither .jsonl, .csv nor .parquet: rename it")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what its name says, or its columns are not those of a transaction.
    #[error("cannot read {path}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the cure.
        message: String,
    },
    /// A bad row, and `strict` was asked for.
    #[error("{}, row {}: {}", .0.file.display(), .0.line, .0.message)]
    Strict(BadRow),
    /// Whoever asked for the records had enough.
    #[error("{0}")]
    Sink(String),
}

/// Takes one record after another; its error ends the reading.
pub type Sink<'a> = dyn FnMut(Record) -> Result<(), Error> + 'a;

/// What a file is, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Csv,
    Parquet,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("jsonl" | "ndjson" | "json") => Ok(Self::JsonLines),
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            Some(_) | None => Err(Error::Format { path: path.into() }),
        }
    }
}

impl Reader<'_> {
    /// Reads a file from front to back and gives each record to `sink`.
    ///
    /// # Errors
    /// When the file cannot be read at all, at the first bad row if `strict`, and the sink's own.
    pub fn read(&self, path: &Path, sink: &mut Sink<'_>) -> Result<Tally, Error> {
        let mut rows = Rows { reader: self, path, tally: Tally::default(), sink };
        match Format::of(path)? {
            Format::JsonLines => json_lines::read(&mut rows)?,
            Format::Csv => csv::read(&mut rows)?,
            Format::Parquet => parquet::read(&mut rows)?,
        }
        Ok(rows.tally)
    }
}

/// A file being read: where good and bad rows go.
struct Rows<'a, 'b> {
    reader: &'a Reader<'a>,
    path: &'a Path,
    tally: Tally,
    sink: &'a mut Sink<'b>,
}

impl Rows<'_, '_> {
    fn open(&self) -> Result<File, Error> {
        File::open(self.path).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Read { path: self.path.into(), source }
    }

    fn content(&self, message: &dyn ToString) -> Error {
        Error::Content { path: self.path.into(), message: message.to_string() }
    }

    fn take(&mut self, line: u64, record: Result<Record, String>) -> Result<(), Error> {
        match record {
            Ok(record) => {
                self.tally.rows += 1;
                (self.sink)(record)
            }
            Err(message) => {
                let bad = BadRow { file: self.path.into(), line, message };
                self.tally.bad_row(bad, self.reader.strict)
            }
        }
    }
}

impl Tally {
    fn bad_row(&mut self, bad: BadRow, strict: bool) -> Result<(), Error> {
        if strict {
            return Err(Error::Strict(bad));
        }
        self.bad_rows += 1;
        if self.told.len() < BAD_ROWS_TOLD_MAX {
            self.told.push(bad);
        }
        Ok(())
    }

    /// Adds another file's.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bad_rows += other.bad_rows;
        let room = BAD_ROWS_TOLD_MAX.saturating_sub(self.told.len());
        self.told.extend(other.told.into_iter().take(room));
    }
}

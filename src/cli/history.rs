//! What every command that reads a history is told about its files.

use std::path::PathBuf;

use anyhow::anyhow;

use crate::app::History;
use crate::domain::{Span, Timestamp};
use crate::edge::history::Mapping;

/// How the files of a history are read.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct FileArgs {
    /// What a file calls a field: `FIELD=COLUMN`, with `:epoch_s`, `:epoch_ms`, `:epoch_us` or `:major`; repeatable
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub map: Vec<String>,
    /// A field that is the same in every row, such as `currency=EUR`; repeatable
    #[arg(long, value_name = "FIELD=VALUE")]
    pub set: Vec<String>,
    /// When a label without a time of its own became known, after its transaction, such as 7d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub label_delay: Option<Span>,
    /// End at the first bad row instead of counting it
    #[arg(long)]
    pub strict: bool,
}

impl FileArgs {
    /// Returns the names that files give to fields.
    ///
    /// # Errors
    /// Every fault of `--map` and `--set`, a line each.
    pub fn mapping(&self) -> anyhow::Result<Mapping> {
        Mapping::parse(&self.map, &self.set)
            .map_err(|faults| anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
    }

    /// Returns the history of these files.
    ///
    /// # Errors
    /// As [`FileArgs::mapping`].
    pub fn history(&self, transactions: Vec<PathBuf>, labels: Vec<PathBuf>) -> anyhow::Result<History> {
        let mapping = self.mapping()?;
        Ok(History { transactions, labels, mapping, label_delay: self.label_delay, strict: self.strict })
    }
}

/// Reads a duration of the command line.
pub(super) fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).ok_or_else(|| "write for example 7d".into())
}

/// Reads an instant of the command line.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write for example 2026-03-01T00:00:00Z".into())
}

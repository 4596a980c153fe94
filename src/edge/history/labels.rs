//! Labels from files: REST labels one a line, or CSV with the same names as columns.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::columns::{instant, label};
use super::csv::cell;
use super::json_lines::{Stop, each_line};
use super::mapping::Unit;
use super::{BadRow, Error, Format, Tally};
use crate::domain::Label;

/// Reads labels from a `.jsonl` or `.csv` file (columns `transaction_id`, `label`, `occurred_at` and,
/// if you like, `source`) and gives each to `take`.
///
/// # Errors
/// When the file cannot be read at all, and at the first bad row if `strict`.
pub fn read_labels(path: &Path, strict: bool, take: &mut dyn FnMut(Label)) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let mut one = |line: u64, label: Result<Label, String>| match label {
        Ok(label) => {
            tally.rows += 1;
            take(label);
            Ok(())
        }
        Err(message) => tally.bad_row(BadRow { file: path.into(), line, message }, strict),
    };
    let failed = |source| Error::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    match Format::of(path)? {
        Format::JsonLines => each_line(&mut BufReader::new(file), |number, line| {
            let parse = |line| serde_json::from_slice::<Label>(line).map_err(|error| format!("not a label: {error}"));
            one(number, line.and_then(parse))
        })
        .map_err(|stop| match stop {
            Stop::Read(source) => failed(source),
            Stop::Taken(error) => error,
        })?,
        Format::Csv => csv_labels(file, path, &mut one)?,
        Format::Parquet => {
            let message = "labels come as .jsonl or .csv, or as columns of the transactions".into();
            return Err(Error::Content { path: path.into(), message });
        }
    }
    Ok(tally)
}

fn csv_labels(
    file: File,
    path: &Path,
    one: &mut dyn FnMut(u64, Result<Label, String>) -> Result<(), Error>,
) -> Result<(), Error> {
    let content = |message: String| Error::Content { path: path.into(), message };
    let mut reader = ReaderBuilder::new().from_reader(file);
    let header = reader.headers().map_err(|error| content(error.to_string()))?.clone();
    let place = |name: &str| header.iter().position(|known| known == name);
    let needed = |name: &str| place(name).ok_or_else(|| content(format!("there is no column {name}")));
    let (id, kind, at) = (needed("transaction_id")?, needed("label")?, needed("occurred_at")?);
    let source = place("source");
    let mut row = StringRecord::new();
    loop {
        let number = reader.position().line();
        let label = match reader.read_record(&mut row) {
            Ok(false) => return Ok(()),
            Err(error) if error.is_io_error() => return Err(content(error.to_string())),
            Err(error) => Err(error.to_string()),
            Ok(true) => label(&cell(&row[kind]))
                .ok_or("label: expected fraud, legitimate, chargeback, false_positive, 0 or 1")
                .and_then(|kind| {
                    let at =
                        instant(&cell(&row[at]), Unit::AsIs).ok_or("occurred_at: expected an RFC 3339 date-time")?;
                    let source = source.map_or("history", |place| &row[place]).into();
                    Ok(Label { transaction_id: row[id].into(), kind, occurred_at: at, source })
                })
                .map_err(str::to_owned),
        };
        one(number, label)?;
    }
}

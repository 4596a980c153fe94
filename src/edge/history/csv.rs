//! CSV: a header, then a transaction a line; an empty cell was not sent.

use csv::{ReaderBuilder, StringRecord};

use super::columns::{Cell, Columns};
use super::{Error, Rows};

pub(super) fn read(rows: &mut Rows<'_, '_>) -> Result<(), Error> {
    let mut reader = ReaderBuilder::new().flexible(false).from_reader(rows.open()?);
    let header = reader.headers().map_err(|error| rows.content(&error))?.clone();
    let names: Vec<_> = header.iter().collect();
    let columns = Columns::new(rows.reader, &names).map_err(|message| rows.content(&message))?;
    let mut line = StringRecord::new();
    loop {
        let number = reader.position().line();
        let record = match reader.read_record(&mut line) {
            Ok(false) => return Ok(()),
            Ok(true) => columns.record(line.iter().map(cell)),
            Err(error) if error.is_io_error() => return Err(rows.content(&error)),
            Err(error) => Err(error.to_string()),
        };
        rows.take(number, record)?;
    }
}

pub(super) fn cell(text: &str) -> Cell<'_> {
    if text.is_empty() { Cell::Null } else { Cell::Text(text) }
}

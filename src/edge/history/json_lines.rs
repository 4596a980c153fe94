//! JSON Lines: REST transactions, or flat objects when a mapping names their keys.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use serde_json::Value as Json;

use super::columns::{Cell, Columns};
use super::{Error, Record, Rows};

/// The longest line in bytes; a longer one is a bad row.
const LINE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn read(rows: &mut Rows<'_, '_>) -> Result<(), Error> {
    let mut file = BufReader::with_capacity(1 << 16, rows.open()?);
    let mapping = &rows.reader.mapping;
    let names: Vec<_> = mapping.columns.iter().map(|(_, name, _)| name.as_str()).collect();
    let columns = Columns::new(rows.reader, &names).map_err(|message| rows.content(&message))?;
    each_line(&mut file, |number, line| {
        let record = match line {
            Err(message) => Err(message),
            Ok(line) if names.is_empty() => {
                (rows.reader.parse)(line, &rows.reader.rates).map(|transaction| Record { transaction, label: None })
            }
            Ok(line) => serde_json::from_slice::<BTreeMap<String, Json>>(line)
                .map_err(|error| format!("not a JSON object: {error}"))
                .and_then(|object| columns.record(names.iter().map(|name| cell(object.get(*name))))),
        };
        rows.take(number, record)
    })
    .map_err(|error| match error {
        Stop::Read(source) => rows.failed(source),
        Stop::Taken(error) => error,
    })
}

/// Why lines ended early.
pub(super) enum Stop {
    Read(std::io::Error),
    Taken(Error),
}

/// Gives every line that is not blank, with its number; one that is too long is an error of its own.
pub(super) fn each_line(
    file: &mut impl BufRead,
    mut take: impl FnMut(u64, Result<&[u8], String>) -> Result<(), Error>,
) -> Result<(), Stop> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = file.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(Stop::Read)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let whole = line.ends_with(b"\n") || (read as u64) < LINE_BYTES_MAX;
        if !whole {
            file.skip_until(b'\n').map_err(Stop::Read)?;
            take(number, Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"))).map_err(Stop::Taken)?;
        } else if !line.trim_ascii().is_empty() {
            take(number, Ok(line.trim_ascii())).map_err(Stop::Taken)?;
        }
    }
}

fn cell(value: Option<&Json>) -> Cell<'_> {
    match value {
        Some(Json::Bool(flag)) => Cell::Bool(*flag),
        Some(Json::String(text)) => Cell::Text(text),
        Some(Json::Number(number)) => {
            number.as_i64().map_or_else(|| number.as_f64().map_or(Cell::Null, Cell::Float), Cell::Int)
        }
        // A list or an object is text nobody accepts: the field's own check refuses it.
        Some(Json::Array(_) | Json::Object(_)) => Cell::Text("\n"),
        Some(Json::Null) | None => Cell::Null,
    }
}

//! Parquet: flat columns, read row by row without Arrow.

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::columns::{Cell, Columns};
use super::{Error, Rows};

pub(super) fn read(rows: &mut Rows<'_, '_>) -> Result<(), Error> {
    let file = SerializedFileReader::new(rows.open()?).map_err(|error| rows.content(&error))?;
    let schema = file.metadata().file_metadata().schema_descr();
    let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    if let Some(nested) = schema.root_schema().get_fields().iter().find(|field| !field.is_primitive()) {
        return Err(rows.content(&format!("column {} is nested: write flat columns with dotted names", nested.name())));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let columns = Columns::new(rows.reader, &names).map_err(|message| rows.content(&message))?;
    let records = file.get_row_iter(None).map_err(|error| rows.content(&error))?;
    for (row, number) in records.zip(1..) {
        // A page that cannot be decoded ends the file: what follows it is lost, so it is told.
        let row = row.map_err(|error| rows.content(&error))?;
        let mut instants = Vec::new();
        let cells: Vec<_> = row.get_column_iter().map(|(_, field)| cell(field, &mut instants)).collect();
        let record = columns.record(cells.iter().map(|cell| cell.as_cell(&instants)));
        rows.take(number, record)?;
    }
    Ok(())
}

/// A cell, or the place of the text that was made for it.
enum Made<'a> {
    Cell(Cell<'a>),
    Text(usize),
}

impl Made<'_> {
    fn as_cell<'b>(&'b self, texts: &'b [String]) -> Cell<'b> {
        match self {
            Self::Cell(cell) => cell.clone(),
            Self::Text(place) => Cell::Text(&texts[*place]),
        }
    }
}

fn cell<'a>(field: &'a Field, texts: &mut Vec<String>) -> Made<'a> {
    let mut instant = |micros: Option<i64>| {
        let stamp = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
        texts.push(stamp.map(|stamp| stamp.to_string()).unwrap_or_default());
        Made::Text(texts.len() - 1)
    };
    Made::Cell(match field {
        Field::Null => Cell::Null,
        Field::Bool(flag) => Cell::Bool(*flag),
        Field::Byte(number) => Cell::Int(i64::from(*number)),
        Field::Short(number) => Cell::Int(i64::from(*number)),
        Field::Int(number) => Cell::Int(i64::from(*number)),
        Field::Long(number) => Cell::Int(*number),
        Field::UByte(number) => Cell::Int(i64::from(*number)),
        Field::UShort(number) => Cell::Int(i64::from(*number)),
        Field::UInt(number) => Cell::Int(i64::from(*number)),
        Field::ULong(number) => i64::try_from(*number).map_or(Cell::Text("\n"), Cell::Int),
        Field::Float(number) => Cell::Float(f64::from(*number)),
        Field::Double(number) => Cell::Float(*number),
        Field::Str(text) => Cell::Text(text),
        Field::TimestampMillis(millis) => return instant(millis.checked_mul(1_000)),
        Field::TimestampMicros(micros) => return instant(Some(*micros)),
        // Text nobody accepts: the field's own check refuses it.
        _ => Cell::Text("\n"),
    })
}

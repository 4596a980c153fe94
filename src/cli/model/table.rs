//! Tables as trainers write them: CSV, Parquet or JSON Lines, read by column name into rows of numbers.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::Error;
use crate::runtime::release::golden::{self, GoldenRow};

/// The most rows of a training table that go into a profile; further rows are left out evenly.
const PROFILE_ROWS_MAX: usize = 200_000;

/// Numbers of the named columns, row-major.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) cells: Vec<f64>,
}

/// Reads the named columns of a CSV or Parquet file.
pub(super) fn read(path: &Path, names: &[&str]) -> Result<Table, Error> {
    let wrong = |reason| Error::Content { path: path.to_owned(), reason };
    let table = if is(path, "parquet") { parquet(path, names) } else { csv(path, names) };
    let table = table.map_err(wrong)?;
    if table.cells.is_empty() {
        return Err(wrong("it has no rows".to_owned()));
    }
    Ok(table)
}

/// Reads the training rows of a profile, thinned evenly to their bound.
pub(super) fn read_profile(path: &Path, names: &[&str]) -> Result<Vec<f64>, Error> {
    let cells = read(path, names)?.cells;
    let step = (cells.len() / names.len()).div_ceil(PROFILE_ROWS_MAX);
    Ok(cells.chunks(names.len()).step_by(step.max(1)).flatten().copied().collect())
}

/// Reads golden rows: JSON Lines as a bundle has them, or a table with columns label, probability and perhaps weight.
pub(super) fn read_golden(path: &Path, names: &[&str]) -> Result<Vec<GoldenRow>, Error> {
    if is(path, "jsonl") {
        let rows = golden::parse(&super::read_text(path)?, names.len());
        return rows.map_err(|reason| Error::Content { path: path.to_owned(), reason });
    }
    let truth = ["label", "probability", "weight"];
    let columns: Vec<&str> = names.iter().copied().chain(truth).collect();
    let cells = read(path, &columns)?.cells;
    let rows = cells.chunks(columns.len()).map(|cells| GoldenRow {
        row: cells[..names.len()].to_vec(),
        label: cells[names.len()] > 0.5,
        probability: cells[names.len() + 1],
        weight: cells[names.len() + 2],
    });
    Ok(rows.collect())
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn places<'a>(header: &[String], names: &[&'a str]) -> Result<Vec<usize>, String> {
    let find = |name: &&'a str| {
        header.iter().position(|column| column == name).ok_or_else(|| format!("it has no column {name}"))
    };
    names.iter().map(find).collect()
}

fn csv(path: &Path, names: &[&str]) -> Result<Table, String> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| error.to_string())?;
    let header: Vec<String> = reader.headers().map_err(|error| error.to_string())?.iter().map(str::to_owned).collect();
    let places = places(&header, names)?;
    let mut table = Table::default();
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        for (place, name) in places.iter().zip(names) {
            let text = record.get(*place).unwrap_or_default();
            let number = number + 2;
            table.cells.push(cell(text).ok_or_else(|| format!("line {number}: {name} is {text:?}, no number"))?);
        }
    }
    Ok(table)
}

fn cell(text: &str) -> Option<f64> {
    match text {
        "" => Some(f64::NAN),
        "true" => Some(1.0),
        "false" => Some(0.0),
        number => number.parse().ok(),
    }
}

fn parquet(path: &Path, names: &[&str]) -> Result<Table, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let columns = reader.metadata().file_metadata().schema_descr().columns();
    let header: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
    let places = places(&header, names)?;
    let mut table = Table::default();
    for row in reader.get_row_iter(None).map_err(|error| error.to_string())? {
        let row = row.map_err(|error| error.to_string())?;
        let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        for (place, name) in places.iter().zip(names) {
            let number = fields.get(*place).and_then(|field| number(field));
            table.cells.push(number.ok_or_else(|| format!("column {name} holds no numbers"))?);
        }
    }
    Ok(table)
}

fn number(field: &Field) -> Option<f64> {
    match field {
        Field::Null => Some(f64::NAN),
        Field::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Field::Byte(number) => Some(f64::from(*number)),
        Field::Short(number) => Some(f64::from(*number)),
        Field::Int(number) => Some(f64::from(*number)),
        Field::Long(number) => Some(*number as f64),
        Field::Float(number) => Some(f64::from(*number)),
        Field::Double(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join(name);
        std::fs::write(&path, text).expect("written");
        (place, path)
    }

    #[test]
    fn columns_are_found_by_name_and_gaps_are_nan() {
        let (_place, path) = file("t.csv", "b,id,a\n1,x,2\n,y,true\n");
        let cells = read(&path, &["a", "b"]).expect("read").cells;
        assert_eq!(cells[..3], [2.0, 1.0, 1.0]);
        assert!(cells[3].is_nan());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (_place, path) = file("t.csv", "a\n1\nx\n");
        assert!(read(&path, &["a"]).expect_err("text").to_string().contains("line 3: a is \"x\""));
        assert!(read(&path, &["b"]).expect_err("absent").to_string().contains("no column b"));
        let (_place, path) = file("t.csv", "a\n");
        assert!(read(&path, &["a"]).expect_err("empty").to_string().contains("no rows"));
    }
}

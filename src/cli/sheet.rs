//! A Parquet file that is written row by row: cells in the order of its columns.
//!
//! Rows are buffered by column and written as one group when there are enough. The file appears under its name only
//! when it is whole.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::domain::Timestamp;

/// Rows buffered before they are written as one group.
const GROUP_ROWS: usize = 65_536;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text in every row.
    Text,
    /// An instant in every row.
    Time,
    /// An instant or nothing.
    MaybeTime,
    /// A number in every row; NaN is one.
    Number,
    /// A number or nothing.
    MaybeNumber,
    /// A whole number or nothing.
    MaybeWhole,
    /// Yes or no in every row.
    Flag,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Text(&'a str),
    Time(Option<Timestamp>),
    Number(Option<f64>),
    Whole(Option<i64>),
    Flag(bool),
}

enum Values {
    Text(Vec<ByteArray>),
    Whole(Vec<Option<i64>>),
    Number(Vec<Option<f64>>),
    Flag(Vec<bool>),
}

/// A file being written.
pub(super) struct Sheet {
    writer: SerializedFileWriter<File>,
    columns: Vec<Values>,
    /// Which columns may be empty.
    optional: Vec<bool>,
    rows: usize,
    partial: PathBuf,
    path: PathBuf,
}

impl Sheet {
    /// Creates the file beside its name.
    pub(super) fn create(path: &Path, columns: &[(&str, Kind)]) -> anyhow::Result<Self> {
        if path.extension().is_none_or(|end| end != "parquet") {
            bail!("{} is no .parquet: rename it", path.display());
        }
        let partial = path.with_extension("parquet.partial");
        let file = File::create(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        let compression = Compression::ZSTD(ZstdLevel::try_new(1)?);
        let properties = WriterProperties::builder().set_compression(compression).build();
        let writer = SerializedFileWriter::new(file, shape(columns)?, Arc::new(properties))?;
        let values = |(_, kind): &(&str, Kind)| match kind {
            Kind::Text => Values::Text(Vec::new()),
            Kind::Time | Kind::MaybeTime | Kind::MaybeWhole => Values::Whole(Vec::new()),
            Kind::Number | Kind::MaybeNumber => Values::Number(Vec::new()),
            Kind::Flag => Values::Flag(Vec::new()),
        };
        let optional = |(_, kind): &(&str, Kind)| is_optional(*kind);
        Ok(Self {
            writer,
            columns: columns.iter().map(values).collect(),
            optional: columns.iter().map(optional).collect(),
            rows: 0,
            partial,
            path: path.to_owned(),
        })
    }

    /// Writes one row: a cell for each column, of its kind.
    pub(super) fn write<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> anyhow::Result<()> {
        let mut cells = cells.into_iter();
        for (place, column) in self.columns.iter_mut().enumerate() {
            match (column, cells.next()) {
                (Values::Text(values), Some(Cell::Text(text))) => values.push(text.into()),
                (Values::Whole(values), Some(Cell::Time(at))) => values.push(at.map(Timestamp::micros)),
                (Values::Whole(values), Some(Cell::Whole(number))) => values.push(number),
                (Values::Number(values), Some(Cell::Number(number))) => values.push(number),
                (Values::Flag(values), Some(Cell::Flag(flag))) => values.push(flag),
                (_, cell) => bail!("column {place} of {} cannot hold {cell:?}", self.path.display()),
            }
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    /// Writes what is buffered, and gives the file its name.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if self.rows > 0 {
            self.flush()?;
        }
        let file = self.writer.into_inner()?;
        file.sync_all().with_context(|| format!("cannot write {}", self.partial.display()))?;
        std::fs::rename(&self.partial, &self.path).with_context(|| format!("cannot create {}", self.path.display()))
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let mut group = self.writer.next_row_group()?;
        for (column, is_optional) in self.columns.iter_mut().zip(&self.optional) {
            match column {
                Values::Text(values) => put::<ByteArrayType>(&mut group, &std::mem::take(values), None)?,
                Values::Flag(values) => put::<BoolType>(&mut group, &std::mem::take(values), None)?,
                Values::Whole(values) => put_some::<Int64Type>(&mut group, std::mem::take(values), *is_optional)?,
                Values::Number(values) => put_some::<DoubleType>(&mut group, std::mem::take(values), *is_optional)?,
            }
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    present: Option<&[i16]>,
) -> anyhow::Result<()> {
    let mut column = group.next_column()?.context("the file has fewer columns than the rows")?;
    column.typed::<T>().write_batch(values, present, None)?;
    Ok(column.close()?)
}

fn put_some<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: Vec<Option<T::T>>,
    is_optional: bool,
) -> anyhow::Result<()> {
    let present: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let rows = values.len();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    if !is_optional && values.len() < rows {
        bail!("a column that is never empty lacks {} values", rows - values.len());
    }
    put::<T>(group, &values, is_optional.then_some(&present))
}

const fn is_optional(kind: Kind) -> bool {
    match kind {
        Kind::MaybeTime | Kind::MaybeNumber | Kind::MaybeWhole => true,
        Kind::Text | Kind::Time | Kind::Number | Kind::Flag => false,
    }
}

fn shape(columns: &[(&str, Kind)]) -> anyhow::Result<TypePtr> {
    let field = |(name, kind): &(&str, Kind)| {
        let (physical, logical) = match kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Time | Kind::MaybeTime => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Kind::MaybeWhole => (Physical::INT64, None),
            Kind::Number | Kind::MaybeNumber => (Physical::DOUBLE, None),
            Kind::Flag => (Physical::BOOLEAN, None),
        };
        let repetition = if is_optional(*kind) { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let column = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        column.with_logical_type(logical).build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("rows").with_fields(fields).build()?))
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    #[test]
    fn cells_come_back_as_they_were() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rows.parquet");
        let columns = [("id", Kind::Text), ("x", Kind::Number), ("label", Kind::MaybeWhole), ("control", Kind::Flag)];
        let mut sheet = Sheet::create(&path, &columns).expect("created");
        for number in 0..70_000_i64 {
            let label = (number % 3 == 0).then_some(number);
            let name = format!("t-{number}");
            let value = if number == 5 { f64::NAN } else { 0.1 + number as f64 };
            let cells = [Cell::Text(&name), Cell::Number(Some(value)), Cell::Whole(label), Cell::Flag(number == 7)];
            sheet.write(cells).expect("written");
        }
        assert!(!path.exists(), "it has its name only when it is whole");
        sheet.finish().expect("finished");
        let reader = SerializedFileReader::new(File::open(&path).expect("a file")).expect("Parquet");
        let rows: Vec<String> =
            reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row").to_string()).collect();
        assert_eq!(rows.len(), 70_000);
        assert_eq!(rows[0], r#"{id: "t-0", x: 0.1, label: 0, control: false}"#);
        assert_eq!(rows[5], r#"{id: "t-5", x: NaN, label: null, control: false}"#);
        assert_eq!(rows[7], r#"{id: "t-7", x: 7.1, label: null, control: true}"#);
        assert!(rows[69_999].contains("t-69999"));
    }

    #[test]
    fn a_wrong_cell_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rows.parquet");
        let mut sheet = Sheet::create(&path, &[("id", Kind::Text)]).expect("created");
        assert!(sheet.write([Cell::Flag(true)]).is_err());
        assert!(sheet.write([]).is_err());
        let mut sheet = Sheet::create(&path, &[("x", Kind::Number)]).expect("created");
        sheet.write([Cell::Number(None)]).expect("buffered");
        assert!(sheet.finish().is_err(), "a column that is never empty");
        assert!(Sheet::create(&directory.path().join("rows.csv"), &[]).is_err());
    }
}

//! Where the rows of a training set go: CSV, JSON Lines or Parquet.
//!
//! Columns: `transaction_id`, `occurred_at`, the features in vector order, `label` (1 fraud, 0 legitimate,
//! empty unknown), `label_at`. Numbers are written so that reading them gives the same bits; in CSV and
//! Parquet a NaN is a NaN, in JSON null.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::domain::{LabelKind, Timestamp, Transaction};
use crate::scoring::feature::Schema;

/// Rows buffered before they are written as one row group.
const ROW_GROUP_ROWS: usize = 65_536;

/// One row.
pub(super) struct Row<'a> {
    pub(super) transaction: &'a Transaction,
    pub(super) features: &'a [f64],
    pub(super) label: Option<(Timestamp, LabelKind)>,
}

impl Row<'_> {
    fn fraud(&self) -> Option<u8> {
        self.label.map(|(_, kind)| u8::from(kind.is_fraud()))
    }

    fn label_at(&self) -> Option<Timestamp> {
        self.label.map(|(at, _)| at)
    }
}

/// A file being written.
pub(super) enum Output {
    Csv(Box<csv::Writer<File>>),
    JsonLines(BufWriter<File>, Vec<String>),
    Parquet(Box<ParquetOutput>),
}

impl Output {
    /// Creates the file; its name says in which form.
    pub(super) fn create(path: &Path, schema: &Schema) -> anyhow::Result<Self> {
        let names: Vec<String> = schema.features().iter().map(|feature| feature.name.to_string()).collect();
        let create = || File::create(path).with_context(|| format!("cannot create {}", path.display()));
        match path.extension().and_then(|end| end.to_str()) {
            Some("csv") => {
                let mut writer = csv::Writer::from_writer(create()?);
                let head = ["transaction_id", "occurred_at"].into_iter();
                let names = names.iter().map(String::as_str);
                writer.write_record(head.chain(names).chain(["label", "label_at"]))?;
                Ok(Self::Csv(Box::new(writer)))
            }
            Some("jsonl") => Ok(Self::JsonLines(BufWriter::new(create()?), names)),
            Some("parquet") => Ok(Self::Parquet(Box::new(ParquetOutput::new(create()?, &names)?))),
            Some(_) | None => bail!("{} is neither .csv, .jsonl nor .parquet: rename it", path.display()),
        }
    }

    pub(super) fn write(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        match self {
            Self::Csv(writer) => write_csv(writer, row),
            Self::JsonLines(writer, names) => write_json(writer, names, row),
            Self::Parquet(output) => output.write(row),
        }
    }

    /// Writes what is buffered and closes the file.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Csv(mut writer) => Ok(writer.flush()?),
            Self::JsonLines(mut writer, _) => Ok(writer.flush()?),
            Self::Parquet(output) => output.finish(),
        }
    }
}

fn write_csv(writer: &mut csv::Writer<File>, row: &Row<'_>) -> anyhow::Result<()> {
    writer.write_field(row.transaction.id())?;
    writer.write_field(row.transaction.occurred_at().to_string())?;
    for feature in row.features {
        writer.write_field(feature.to_string())?;
    }
    writer.write_field(row.fraud().map(|fraud| fraud.to_string()).unwrap_or_default())?;
    writer.write_field(row.label_at().map(|at| at.to_string()).unwrap_or_default())?;
    Ok(writer.write_record(None::<&[u8]>)?)
}

fn write_json(writer: &mut BufWriter<File>, names: &[String], row: &Row<'_>) -> anyhow::Result<()> {
    let mut object = serde_json::Map::new();
    object.insert("transaction_id".into(), row.transaction.id().into());
    object.insert("occurred_at".into(), row.transaction.occurred_at().to_string().into());
    let features = names.iter().zip(row.features).map(|(name, value)| (name.clone(), (*value).into()));
    object.insert("features".into(), serde_json::Value::Object(features.collect()));
    object.insert("label".into(), row.fraud().into());
    object.insert("label_at".into(), row.label_at().map(|at| at.to_string()).into());
    serde_json::to_writer(&mut *writer, &object)?;
    Ok(writer.write_all(b"\n")?)
}

/// Columns of the rows that are not written yet.
pub(super) struct ParquetOutput {
    writer: SerializedFileWriter<File>,
    ids: Vec<ByteArray>,
    times: Vec<i64>,
    features: Vec<Vec<f64>>,
    labels: Vec<Option<i32>>,
    label_times: Vec<Option<i64>>,
}

impl ParquetOutput {
    fn new(file: File, names: &[String]) -> anyhow::Result<Self> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, columns(names)?, Arc::new(properties))?;
        let features = vec![Vec::new(); names.len()];
        let (ids, times, labels, label_times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { writer, ids, times, features, labels, label_times })
    }

    fn write(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        self.ids.push(row.transaction.id().into());
        self.times.push(row.transaction.occurred_at().micros());
        for (column, value) in self.features.iter_mut().zip(row.features) {
            column.push(*value);
        }
        self.labels.push(row.fraud().map(i32::from));
        self.label_times.push(row.label_at().map(Timestamp::micros));
        if self.ids.len() >= ROW_GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let mut group = self.writer.next_row_group()?;
        column::<ByteArrayType>(&mut group, &self.ids, None)?;
        column::<Int64Type>(&mut group, &self.times, None)?;
        for feature in &self.features {
            column::<DoubleType>(&mut group, feature, None)?;
        }
        let present: Vec<i16> = self.labels.iter().map(|label| i16::from(label.is_some())).collect();
        column::<Int32Type>(&mut group, &self.labels.iter().flatten().copied().collect::<Vec<_>>(), Some(&present))?;
        let times: Vec<i64> = self.label_times.iter().flatten().copied().collect();
        column::<Int64Type>(&mut group, &times, Some(&present))?;
        group.close()?;
        self.ids.clear();
        self.times.clear();
        self.features.iter_mut().for_each(Vec::clear);
        self.labels.clear();
        self.label_times.clear();
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if !self.ids.is_empty() {
            self.flush()?;
        }
        self.writer.close()?;
        Ok(())
    }
}

fn column<T: parquet::data_type::DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    present: Option<&[i16]>,
) -> anyhow::Result<()> {
    let mut column = group.next_column()?.context("the schema has fewer columns than the rows")?;
    column.typed::<T>().write_batch(values, present, None)?;
    Ok(column.close()?)
}

fn columns(names: &[String]) -> anyhow::Result<TypePtr> {
    let micros = || LogicalType::timestamp(true, TimeUnit::MICROS);
    let column = |name: &str, physical, logical: Option<LogicalType>, repetition| {
        let column = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        column.with_logical_type(logical).build().map(Arc::new)
    };
    let (always, maybe) = (Repetition::REQUIRED, Repetition::OPTIONAL);
    let mut fields = vec![
        column("transaction_id", Physical::BYTE_ARRAY, Some(LogicalType::String), always)?,
        column("occurred_at", Physical::INT64, Some(micros()), always)?,
    ];
    for name in names {
        fields.push(column(name, Physical::DOUBLE, None, always)?);
    }
    fields.push(column("label", Physical::INT32, None, maybe)?);
    fields.push(column("label_at", Physical::INT64, Some(micros()), maybe)?);
    Ok(Arc::new(Type::group_type_builder("features").with_fields(fields).build()?))
}

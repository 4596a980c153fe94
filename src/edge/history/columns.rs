//! From the cells of one row to a record: the part that CSV, Parquet and flat JSON share.

use compact_str::CompactString;

use super::mapping::{Mapping, Target, Unit};
use super::{Reader, Record};
use crate::domain::transaction::Attribute;
use crate::domain::{Currency, Draft, Field, FieldErrorCode, FieldRef, LabelKind, TextField, Timestamp};

/// One cell as the file holds it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
}

/// The columns of one file, bound to what they fill.
pub(super) struct Columns<'a> {
    reader: &'a Reader<'a>,
    bound: Vec<Option<(Target, Unit)>>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(reader: &'a Reader<'a>, header: &[&str]) -> Result<Self, String> {
        Ok(Self { reader, bound: reader.mapping.bind(header)? })
    }

    /// Builds a record; all faults of the row in one message, none with a value.
    pub(super) fn record<'c>(&self, cells: impl Iterator<Item = Cell<'c>>) -> Result<Record, String> {
        let mut row = RowDraft { draft: Draft::new(), ..RowDraft::default() };
        let Mapping { constants, .. } = &self.reader.mapping;
        for (target, value) in constants {
            row.set(target, Unit::AsIs, &Cell::Text(value));
        }
        for (cell, bound) in cells.zip(&self.bound) {
            if let Some((target, unit)) = bound
                && cell != Cell::Null
            {
                row.set(target, *unit, &cell);
            }
        }
        row.finish(self.reader)
    }
}

#[derive(Default)]
struct RowDraft {
    draft: Draft,
    occurred_at: Option<Timestamp>,
    currency: Option<Currency>,
    major: Option<f64>,
    label: Option<LabelKind>,
    label_at: Option<Timestamp>,
}

impl RowDraft {
    fn set(&mut self, target: &Target, unit: Unit, cell: &Cell<'_>) {
        match target {
            Target::Label => match label(cell) {
                Some(kind) => self.label = Some(kind),
                None => self.wrong("label", "expected fraud, legitimate, chargeback, false_positive, 0 or 1"),
            },
            Target::LabelAt => match instant(cell, unit) {
                Some(at) => self.label_at = Some(at),
                None => self.wrong("label_at", "expected an RFC 3339 date-time, or an epoch with its unit"),
            },
            Target::Hindsight => {}
            Target::Field(FieldRef::Attribute(name)) => self.draft.attribute(name, attribute(cell)),
            Target::Field(FieldRef::Known(field)) => self.field(*field, unit, cell),
        }
    }

    fn wrong(&mut self, path: &str, detail: &str) {
        self.draft.fault(FieldErrorCode::WrongType, path, detail);
    }

    fn field(&mut self, field: Field, unit: Unit, cell: &Cell<'_>) {
        match field {
            Field::OccurredAt => match instant(cell, unit) {
                Some(at) => {
                    self.occurred_at = Some(at);
                    self.draft.occurred_at(at);
                }
                None => self.wrong(field.path(), "expected an RFC 3339 date-time, or an epoch with its unit"),
            },
            Field::Amount if unit == Unit::Major => match number(cell) {
                Some(major) => self.major = Some(major),
                None => self.wrong(field.path(), "expected a decimal number"),
            },
            Field::Amount => match integer(cell) {
                Some(amount) => self.draft.amount(amount),
                None => self.wrong(field.path(), "expected a whole number of minor units; major units need :major"),
            },
            Field::Latitude | Field::Longitude => match (number(cell), field) {
                (Some(degrees), Field::Latitude) => self.draft.latitude(degrees),
                (Some(degrees), _) => self.draft.longitude(degrees),
                (None, _) => self.wrong(field.path(), "expected degrees"),
            },
            Field::TransactionId | Field::Currency | Field::Text(_) => match text(cell) {
                Some(text) => self.text(field, &text),
                None => self.wrong(field.path(), "expected text"),
            },
            Field::BaseAmount => self.wrong(field.path(), "derived from the rates: drop it"),
        }
    }

    fn text(&mut self, field: Field, text: &str) {
        let own: Option<TextField> = match field {
            Field::TransactionId => {
                self.draft.id(text);
                None
            }
            Field::Currency => {
                self.currency = Currency::parse(text);
                self.draft.currency(text);
                None
            }
            Field::Text(own) => Some(own),
            Field::OccurredAt | Field::Amount | Field::BaseAmount | Field::Latitude | Field::Longitude => None,
        };
        if let Some(own) = own {
            self.draft.text(own, text);
        }
    }

    fn finish(mut self, reader: &Reader<'_>) -> Result<Record, String> {
        if let (Some(major), Some(currency)) = (self.major, self.currency) {
            let minor = (major * 10_f64.powi(currency.exponent().cast_signed())).round();
            // Beyond 2^53 the draft refuses it; the cast saturates.
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and the draft checks the range")]
            self.draft.amount(minor as i64);
        }
        let label_at = self.label_at.or_else(|| Some(self.occurred_at?.plus(reader.label_delay?)));
        if self.label.is_some() && label_at.is_none() {
            self.wrong("label_at", "a label needs the time when it was known: add the column or --label-delay 7d");
        }
        let transaction = self.draft.finish(&reader.rates).map_err(|faults| {
            let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
            shown.join("; ")
        })?;
        Ok(Record { transaction, label: self.label.zip(label_at) })
    }
}

pub(super) fn label(cell: &Cell<'_>) -> Option<LabelKind> {
    let flag = |fraud| if fraud { LabelKind::Fraud } else { LabelKind::Legitimate };
    match cell {
        Cell::Bool(fraud) => Some(flag(*fraud)),
        Cell::Int(number @ (0 | 1)) => Some(flag(*number == 1)),
        Cell::Text("0" | "false") => Some(LabelKind::Legitimate),
        Cell::Text("1" | "true") => Some(LabelKind::Fraud),
        Cell::Text(word) => LabelKind::ALL.into_iter().find(|kind| kind.name() == *word),
        Cell::Null | Cell::Int(_) | Cell::Float(_) => None,
    }
}

pub(super) fn instant(cell: &Cell<'_>, unit: Unit) -> Option<Timestamp> {
    let scale = match unit {
        Unit::EpochSeconds => 1_000_000,
        Unit::EpochMillis => 1_000,
        Unit::EpochMicros => 1,
        Unit::AsIs | Unit::Major => {
            return match cell {
                Cell::Text(text) => Timestamp::parse(text),
                Cell::Null | Cell::Bool(_) | Cell::Int(_) | Cell::Float(_) => None,
            };
        }
    };
    let micros = integer(cell)?.checked_mul(scale)?;
    Some(Timestamp::from_micros(micros)).filter(|instant| instant.micros() == micros)
}

fn integer(cell: &Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Int(number) => Some(*number),
        Cell::Text(text) => text.parse().ok(),
        Cell::Null | Cell::Bool(_) | Cell::Float(_) => None,
    }
}

fn number(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Int(number) => Some(*number as f64),
        Cell::Float(number) => Some(*number),
        Cell::Text(text) => text.parse().ok(),
        Cell::Null | Cell::Bool(_) => None,
    }
    .filter(|number| number.is_finite())
}

pub(super) fn text(cell: &Cell<'_>) -> Option<CompactString> {
    match cell {
        Cell::Text(text) => Some((*text).into()),
        Cell::Int(number) => Some(CompactString::from(number.to_string())),
        Cell::Null | Cell::Bool(_) | Cell::Float(_) => None,
    }
}

/// A free attribute takes the kind its text has: a truth value, a number, or text.
fn attribute(cell: &Cell<'_>) -> Attribute {
    match cell {
        Cell::Bool(flag) => Attribute::Bool(*flag),
        Cell::Int(number) => Attribute::Int(*number),
        Cell::Float(number) => Attribute::Float(*number),
        Cell::Null => Attribute::Text(CompactString::default()),
        Cell::Text("true") => Attribute::Bool(true),
        Cell::Text("false") => Attribute::Bool(false),
        Cell::Text(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => Attribute::Int(number),
            (Err(_), Ok(number)) if number.is_finite() => Attribute::Float(number),
            (Err(_), Ok(_) | Err(_)) => Attribute::Text((*text).into()),
        },
    }
}

//! What a file calls the fields of a transaction, and in which unit it holds them.
//!
//! ```text
//! occurred_at=TX_DATETIME:epoch_ms    amount=TX_AMOUNT:major    customer_id=CUSTOMER_ID    label=TX_FRAUD
//! ```
//! Without a mapping every column bears the dotted path of its field.

use compact_str::CompactString;

use crate::domain::{Field, FieldRef};

/// What a column fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Field(FieldRef),
    Label,
    LabelAt,
    /// Told about the transaction after the fact: never read.
    Hindsight,
}

/// How a column holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    AsIs,
    EpochSeconds,
    EpochMillis,
    EpochMicros,
    Major,
}

const UNITS: [(Unit, &str); 4] = [
    (Unit::EpochSeconds, "epoch_s"),
    (Unit::EpochMillis, "epoch_ms"),
    (Unit::EpochMicros, "epoch_us"),
    (Unit::Major, "major"),
];

/// One entry that is not right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mapping {entry}: {message}; write for example occurred_at=TIME:epoch_ms or amount=PRICE:major")]
pub struct MappingFault {
    /// The entry as given.
    pub entry: String,
    /// What is wrong with it.
    pub message: String,
}

/// Columns of a file by what they fill. Empty: columns bear the fields' own paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    pub(super) columns: Vec<(Target, CompactString, Unit)>,
    pub(super) constants: Vec<(Target, CompactString)>,
}

impl Mapping {
    /// Parses entries `FIELD=COLUMN` or `FIELD=COLUMN:UNIT` and constants `FIELD=VALUE`. `FIELD` is a
    /// dotted path, `label` or `label_at`; `UNIT` is `epoch_s`, `epoch_ms`, `epoch_us` or `major`.
    ///
    /// # Errors
    /// Every entry that is not right.
    pub fn parse(columns: &[String], constants: &[String]) -> Result<Self, Vec<MappingFault>> {
        let mut mapping = Self::default();
        let mut faults = Vec::new();
        let mut note = |entry: &String, message: String| faults.push(MappingFault { entry: entry.clone(), message });
        for entry in columns {
            match column(entry) {
                Ok(column) => mapping.columns.push(column),
                Err(message) => note(entry, message),
            }
        }
        for entry in constants {
            match split(entry) {
                Ok((target, value)) => mapping.constants.push((target, value.into())),
                Err(message) => note(entry, message),
            }
        }
        if faults.is_empty() { Ok(mapping) } else { Err(faults) }
    }

    /// Says what each column of a file fills; `None` for columns that fill nothing.
    ///
    /// # Errors
    /// A mapped column that is not there, or, without a mapping, columns that are no fields.
    pub(super) fn bind(&self, header: &[&str]) -> Result<Vec<Option<(Target, Unit)>>, String> {
        if self.columns.is_empty() {
            return header.iter().map(|name| own_name(name).map(Some)).collect();
        }
        let mut bound = vec![None; header.len()];
        for (target, column, unit) in &self.columns {
            let place = header.iter().position(|name| name == column);
            let place = place.ok_or_else(|| format!("there is no column {column}; it has {}", header.join(", ")))?;
            bound[place] = Some((target.clone(), *unit));
        }
        Ok(bound)
    }
}

fn own_name(name: &str) -> Result<(Target, Unit), String> {
    let target = target(name);
    target.map(|target| (target, Unit::AsIs)).ok_or_else(|| {
        format!("column {name} is no field of a transaction: name the columns you want with --map FIELD={name}")
    })
}

fn target(path: &str) -> Option<Target> {
    match path {
        "label" => Some(Target::Label),
        "label_at" => Some(Target::LabelAt),
        "scenario" => Some(Target::Hindsight),
        path => FieldRef::parse(path).filter(|field| *field != FieldRef::Known(Field::BaseAmount)).map(Target::Field),
    }
}

fn split(entry: &str) -> Result<(Target, &str), String> {
    let (path, rest) = entry.split_once('=').ok_or("there is no =")?;
    let target = target(path).ok_or_else(|| format!("{path} is no field of a transaction"))?;
    if rest.is_empty() { Err("nothing follows the =".into()) } else { Ok((target, rest)) }
}

fn column(entry: &str) -> Result<(Target, CompactString, Unit), String> {
    let (target, rest) = split(entry)?;
    let Some((column, unit)) = rest.rsplit_once(':') else { return Ok((target, rest.into(), Unit::AsIs)) };
    let known = UNITS.iter().find(|(_, name)| *name == unit);
    let (unit, _) = known.ok_or_else(|| format!("{unit} is no unit: use epoch_s, epoch_ms, epoch_us or major"))?;
    let of_amount = target == Target::Field(FieldRef::Known(Field::Amount));
    if of_amount != (*unit == Unit::Major) {
        return Err("major goes with amount, epochs with occurred_at and label_at".into());
    }
    Ok((target, column.into(), *unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_checked_all_at_once() {
        let entries = ["amount=A:major", "when=T", "amount=A:epoch_s", "occurred_at=T:days", "label", "label=L"];
        let faults = Mapping::parse(&entries.map(str::to_owned), &["currency=".into()]).expect_err("faults");
        let entries: Vec<_> = faults.iter().map(|fault| fault.entry.as_str()).collect();
        assert_eq!(entries, ["when=T", "amount=A:epoch_s", "occurred_at=T:days", "label", "currency="]);
    }

    #[test]
    fn columns_are_bound_by_name_or_by_mapping() {
        let plain = Mapping::default();
        assert_eq!(plain.bind(&["amount"]).expect("bound").len(), 1);
        assert!(plain.bind(&["amount", "colour"]).expect_err("a fault").contains("--map FIELD=colour"));
        let mapped = Mapping::parse(&["amount=A:major".into()], &[]).expect("a mapping");
        assert_eq!(mapped.bind(&["x", "A"]).expect("bound")[0], None);
        assert!(mapped.bind(&["x"]).expect_err("a fault").contains("no column A"));
    }
}

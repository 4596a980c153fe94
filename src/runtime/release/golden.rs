//! Golden rows: raw input vectors with their labels and the probability the trainer's own library gave.
//!
//! They tell a wrong model, a wrong runtime and a wrong export from a right one; our own runtime never
//! wrote a probability in them. Rows may be sampled unevenly (all frauds, some others): each weighs as
//! many rows as it stands for.

use serde::{Deserialize, Serialize};

/// The most rows of one file.
pub const ROWS_MAX: usize = 20_000;
/// The fewest frauds a quality verdict may rest on.
pub const FRAUDS_MIN: usize = 100;

/// One row with its truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRow {
    /// Values in input order; `null` is NaN.
    #[serde(deserialize_with = "nullable")]
    pub row: Vec<f64>,
    /// Whether it was fraud.
    pub label: bool,
    /// What the trainer's `predict_proba` says.
    pub probability: f64,
    /// How many rows of the holdout it stands for.
    #[serde(default = "one")]
    pub weight: f64,
}

const fn one() -> f64 {
    1.0
}

fn nullable<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Vec<f64>, D::Error> {
    let cells = Vec::<Option<f64>>::deserialize(source)?;
    Ok(cells.into_iter().map(|cell| cell.unwrap_or(f64::NAN)).collect())
}

/// Parses `golden.jsonl`: rows of `width` values.
///
/// # Errors
/// The first wrong line with its number.
pub fn parse(text: &str, width: usize) -> Result<Vec<GoldenRow>, String> {
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: GoldenRow = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        let fault = if row.row.len() == width {
            fault_of(&row)
        } else {
            Some(format!("{} values where the schema has {width} model inputs", row.row.len()))
        };
        if let Some(fault) = fault {
            return Err(format!("line {}: {fault}", number + 1));
        }
        rows.push(row);
        if rows.len() > ROWS_MAX {
            return Err(format!("more than {ROWS_MAX} rows; pack a sample with weights"));
        }
    }
    Ok(rows)
}

fn fault_of(row: &GoldenRow) -> Option<String> {
    if !(0.0..=1.0).contains(&row.probability) {
        return Some(format!("probability {} is outside 0..=1", row.probability));
    }
    (!row.weight.is_finite() || row.weight <= 0.0).then(|| format!("weight {} is not above 0", row.weight))
}

/// Writes rows as `golden.jsonl`.
///
/// # Errors
/// JSON's, which cannot be for numbers and truth values.
pub fn write(rows: &[GoldenRow]) -> serde_json::Result<String> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_their_file_with_nan_as_null() {
        let row = GoldenRow { row: vec![0.1, f64::NAN, 1e-300], label: true, probability: 0.25, weight: 12.5 };
        let text = write(std::slice::from_ref(&row)).expect("written");
        assert!(text.contains("null"), "{text}");
        let read = parse(&text, 3).expect("read");
        assert!(read[0].row[1].is_nan());
        assert_eq!((read[0].row[0].to_bits(), read[0].row[2].to_bits()), (row.row[0].to_bits(), row.row[2].to_bits()));
    }

    #[test]
    fn wrong_rows_are_named_by_line() {
        let good = r#"{"row":[1.0],"label":false,"probability":0.5}"#;
        for (bad, reason) in [
            (r#"{"row":[1.0,2.0],"label":false,"probability":0.5}"#, "2 values"),
            (r#"{"row":[1.0],"label":false,"probability":1.5}"#, "outside 0..=1"),
            (r#"{"row":[1.0],"label":false,"probability":0.5,"weight":0}"#, "weight 0"),
            (r#"{"row":[1.0],"label":2,"probability":0.5}"#, "boolean"),
            ("{", "EOF"),
        ] {
            let error = parse(&format!("{good}\n{bad}\n"), 1).expect_err(reason);
            assert!(error.starts_with("line 2: ") && error.contains(reason), "{error}");
        }
    }
}

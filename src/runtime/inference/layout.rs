//! How a model wants its inputs and where it puts its probability, read from what it declares.
//!
//! Served: one matrix input, or one input per feature by name; float, double or int64; a free batch or
//! a batch of one; the probability as a tensor or as `ZipMap`'s sequence of maps. Declared output *shapes*
//! are not read at all, since exporters get them wrong. What cannot be served is refused with the cure.

use ort::value::{Outlet, TensorElementType, ValueType};
use serde::{Deserialize, Serialize};

use super::raw::Element;

/// Where the fraud probability is: resolved when a bundle is packed, kept in its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputChoice {
    /// The output's name.
    pub name: String,
    /// The column of the fraud class in each row; for maps, the place in the map.
    pub column: usize,
}

/// How rows become input tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inputs {
    /// One tensor of rows x features.
    Matrix(Element),
    /// One tensor of rows x 1 per declared input; `place` is its column in our row.
    Columns(Vec<Column>),
}

/// One input of a model that takes its features apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) place: usize,
    pub(super) element: Element,
}

/// How many rows one run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// As many as we like.
    Free,
    /// The graph was exported for one row.
    One,
}

/// What holds the probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A float tensor.
    Float,
    /// A double tensor.
    Double,
    /// Maps from integer classes to floats.
    IntegerMaps,
    /// Maps from text classes to floats.
    TextMaps,
}

/// Resolves how rows of the named features become this model's inputs.
pub(super) fn inputs(declared: &[Outlet], names: &[&str]) -> Result<(Inputs, Batch), String> {
    match declared {
        [] => Err("the model declares no input; export it with its feature input".to_owned()),
        [only] if names.len() != 1 || only.name() != names[0] => matrix(only, names.len()),
        [only] => matrix(only, 1),
        many => columns(many, names),
    }
}

fn matrix(outlet: &Outlet, width: usize) -> Result<(Inputs, Batch), String> {
    let (element, shape) = numbers(outlet)?;
    let [batch, declared] = *shape else {
        return Err(format!("input {} has {} dimensions; export it as rows x features", outlet.name(), shape.len()));
    };
    if declared >= 0 && usize::try_from(declared) != Ok(width) {
        return Err(format!(
            "input {} takes {declared} features and the schema has {width} model inputs; train and pack with one schema",
            outlet.name()
        ));
    }
    Ok((Inputs::Matrix(element), batch_of(outlet, batch)?))
}

fn columns(declared: &[Outlet], names: &[&str]) -> Result<(Inputs, Batch), String> {
    if declared.len() != names.len() {
        return Err(format!(
            "the model takes {} inputs and the schema has {} model inputs; train and pack with one schema",
            declared.len(),
            names.len()
        ));
    }
    let mut batch = Batch::Free;
    let mut columns = Vec::with_capacity(declared.len());
    for outlet in declared {
        let Some(place) = names.iter().position(|name| *name == outlet.name()) else {
            return Err(format!(
                "input {} is no model input of the schema; name the columns as the schema does",
                outlet.name()
            ));
        };
        let (element, shape) = numbers(outlet)?;
        let ([rows, 1 | -1] | [rows]) = *shape else {
            return Err(format!("input {} is wider than one column; export one column an input", outlet.name()));
        };
        if batch_of(outlet, rows)? == Batch::One {
            batch = Batch::One;
        }
        columns.push(Column { place, element });
    }
    Ok((Inputs::Columns(columns), batch))
}

fn numbers(outlet: &Outlet) -> Result<(Element, &[i64]), String> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!("input {} is {}; export it as a float tensor", outlet.name(), outlet.dtype()));
    };
    let element = match ty {
        TensorElementType::Float32 => Element::Float,
        TensorElementType::Float64 => Element::Double,
        TensorElementType::Int64 => Element::Integer,
        TensorElementType::String => {
            return Err(format!(
                "input {} takes text; encode it as a feature (a dictionary in the schema) and export with floats",
                outlet.name()
            ));
        }
        other => return Err(format!("input {} takes {other}; export it as a float tensor", outlet.name())),
    };
    Ok((element, shape))
}

fn batch_of(outlet: &Outlet, declared: i64) -> Result<Batch, String> {
    match declared {
        1 => Ok(Batch::One),
        ..=0 => Ok(Batch::Free),
        rows => {
            Err(format!("input {} wants {rows} rows at once; export it with a free batch dimension", outlet.name()))
        }
    }
}

/// Resolves how the named output is read.
pub(super) fn reading(declared: &[Outlet], name: &str) -> Result<Reading, String> {
    let Some(outlet) = declared.iter().find(|outlet| outlet.name() == name) else {
        let known: Vec<&str> = declared.iter().map(Outlet::name).collect();
        return Err(format!("the model has no output {name}, only {}; pack it with --output", known.join(", ")));
    };
    reading_of(outlet.dtype()).ok_or_else(|| {
        format!(
            "output {name} is {}, no probability; pack with another --output, or export with zipmap=False",
            outlet.dtype()
        )
    })
}

/// Returns the outputs that may hold a probability, likeliest first.
pub(super) fn candidates(declared: &[Outlet]) -> Vec<&str> {
    let mut names: Vec<&str> =
        declared.iter().filter(|outlet| reading_of(outlet.dtype()).is_some()).map(Outlet::name).collect();
    names.sort_by_key(|name| !name.to_ascii_lowercase().contains("prob"));
    names
}

pub(super) fn reading_of(dtype: &ValueType) -> Option<Reading> {
    match dtype {
        ValueType::Tensor { ty: TensorElementType::Float32, .. } => Some(Reading::Float),
        ValueType::Tensor { ty: TensorElementType::Float64, .. } => Some(Reading::Double),
        ValueType::Sequence(item) => match item.as_ref() {
            ValueType::Map { key: TensorElementType::Int64, value: TensorElementType::Float32 } => {
                Some(Reading::IntegerMaps)
            }
            ValueType::Map { key: TensorElementType::String, value: TensorElementType::Float32 } => {
                Some(Reading::TextMaps)
            }
            _ => None,
        },
        ValueType::Tensor { .. } | ValueType::Map { .. } | ValueType::Optional(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use ort::value::{Shape, SymbolicDimensions};

    use super::*;

    /// Even describing an input calls into the library.
    fn runtime_is_here() -> bool {
        let found = crate::runtime::inference::library::open(None);
        found.inspect_err(|error| println!("skipped: {error}")).is_ok()
    }

    fn tensor(name: &str, ty: TensorElementType, shape: &[i64]) -> Outlet {
        let dimension_symbols = SymbolicDimensions::empty(shape.len());
        Outlet::new(name, ValueType::Tensor { ty, shape: Shape::new(shape.iter().copied()), dimension_symbols })
    }

    #[test]
    fn a_matrix_or_columns_by_name() {
        if !runtime_is_here() {
            return;
        }
        let float = TensorElementType::Float32;
        let names = ["amount", "count"];
        let matrix = inputs(&[tensor("X", float, &[-1, 2])], &names).expect("served");
        assert_eq!(matrix, (Inputs::Matrix(Element::Float), Batch::Free));
        let fixed = inputs(&[tensor("X", TensorElementType::Float64, &[1, -1])], &names).expect("served");
        assert_eq!(fixed, (Inputs::Matrix(Element::Double), Batch::One));
        let swapped = [tensor("count", TensorElementType::Int64, &[-1, 1]), tensor("amount", float, &[-1, 1])];
        let (Inputs::Columns(columns), Batch::Free) = inputs(&swapped, &names).expect("served") else {
            panic!("expected columns");
        };
        assert_eq!(columns[0], Column { place: 1, element: Element::Integer });
        assert_eq!(columns[1], Column { place: 0, element: Element::Float });
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_cure() {
        if !runtime_is_here() {
            return;
        }
        let float = TensorElementType::Float32;
        let names = ["amount", "count"];
        let cases = [
            (vec![], "export it with its feature input"),
            (vec![tensor("X", float, &[-1, 3])], "train and pack with one schema"),
            (vec![tensor("X", float, &[8, 2])], "free batch dimension"),
            (vec![tensor("X", float, &[-1, 2, 2])], "rows x features"),
            (vec![tensor("X", TensorElementType::String, &[-1, 2])], "encode it as a feature"),
            (vec![tensor("X", TensorElementType::Bool, &[-1, 2])], "float tensor"),
            (vec![tensor("amount", float, &[-1, 1]), tensor("other", float, &[-1, 1])], "name the columns"),
            (vec![tensor("amount", float, &[-1, 2]), tensor("count", float, &[-1, 1])], "one column an input"),
        ];
        for (declared, cure) in cases {
            let error = inputs(&declared, &names).expect_err(cure);
            assert!(error.contains(cure), "{error}");
        }
    }

    #[test]
    fn probabilities_come_before_other_floats_and_labels_never() {
        if !runtime_is_here() {
            return;
        }
        let declared = [
            tensor("label", TensorElementType::Int64, &[1]),
            tensor("margin", TensorElementType::Float32, &[-1, 1]),
            tensor("probabilities", TensorElementType::Float32, &[-1, 2]),
        ];
        assert_eq!(candidates(&declared), ["probabilities", "margin"]);
        assert!(reading(&declared, "label").expect_err("refused").contains("--output"));
        assert!(reading(&declared, "nope").expect_err("refused").contains("label, margin, probabilities"));
    }
}

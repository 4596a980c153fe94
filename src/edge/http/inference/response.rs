//! The answer to an inference request: JSON, and binary tensors behind it where they were asked for.
//!
//! A number that is not finite is `null` in JSON, which has no other word for it, and itself in binary;
//! either way it is counted. Outputs come in the order they were asked for.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::request::{Parameters, Wanted, tensor};
use crate::edge::problem::Problem;
use crate::edge::wire::writer::JsonWriter;
use crate::runtime::inference::raw::{Numbers, RawAnswer, Signature};
use crate::runtime::slot::Model;

/// Says how long the JSON part of a body is.
pub(super) const HEADER_LEN: HeaderName = HeaderName::from_static("inference-header-content-length");

/// How one output leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chosen {
    /// Its place in the signature.
    index: usize,
    form: Form,
    /// How many classes of each row instead of the numbers.
    classes: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Binary,
}

/// Which outputs leave, and how: checked before the model is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice(Vec<Chosen>);

impl Choice {
    /// Chooses what was asked for; everything, when nothing was.
    pub(super) fn of(signature: &Signature, parameters: &Parameters, wanted: &[Wanted]) -> Result<Self, Problem> {
        let form = |binary: Option<bool>| {
            let is_binary = binary.or(parameters.binary_data_output).unwrap_or(false);
            if is_binary { Form::Binary } else { Form::Json }
        };
        if wanted.is_empty() {
            let every = 0..signature.outputs.len();
            return Ok(Self(every.map(|index| Chosen { index, form: form(None), classes: None }).collect()));
        }
        let mut chosen: Vec<Chosen> = Vec::with_capacity(wanted.len());
        for Wanted { name, parameters } in wanted {
            let Some(index) = signature.outputs.iter().position(|output| output.name == *name) else {
                let known: Vec<&str> = signature.outputs.iter().map(|output| output.name.as_str()).collect();
                return Err(tensor(format!(
                    "an output is asked for that the model does not give; it gives {}",
                    known.join(", ")
                )));
            };
            if chosen.iter().any(|other| other.index == index) {
                return Err(tensor(format!("the output {name} is asked for twice")));
            }
            if parameters.classification == Some(0) {
                return Err(tensor("classification: ask for at least one class"));
            }
            chosen.push(Chosen { index, form: form(parameters.binary_data), classes: parameters.classification });
        }
        Ok(Self(chosen))
    }

    /// Chooses everything in binary, as for a request without JSON.
    pub(super) fn binary(signature: &Signature) -> Self {
        let every = 0..signature.outputs.len();
        Self(every.map(|index| Chosen { index, form: Form::Binary, classes: None }).collect())
    }
}

/// Writes the whole answer.
pub(super) fn write(model: &Model, id: Option<&str>, choice: &Choice, rows: usize, answer: &RawAnswer) -> Response {
    let (mut out, mut binary) = (Vec::with_capacity(512), Vec::new());
    let mut json = JsonWriter::new(&mut out);
    json.open(b'{');
    json.key("model_name");
    json.text(&model.name);
    json.key("model_version");
    json.text(&model.version);
    if let Some(id) = id {
        json.key("id");
        json.text(id);
    }
    json.key("outputs");
    json.open(b'[');
    for chosen in &choice.0 {
        let facts = &model.inference.signature().outputs[chosen.index];
        let numbers = &answer.outputs[chosen.index];
        json.item();
        json.open(b'{');
        json.key("name");
        json.text(&facts.name);
        match chosen.classes {
            None => write_numbers(&mut json, &mut binary, chosen.form, rows, (&facts.inner, numbers)),
            Some(classes) => write_classes(&mut json, &mut binary, chosen.form, rows, (classes, numbers)),
        }
        json.close(b'}');
    }
    json.close(b']');
    json.close(b'}');
    if choice.0.iter().all(|chosen| chosen.form == Form::Json) {
        return ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], out).into_response();
    }
    let json_len = HeaderValue::from(out.len());
    out.append(&mut binary);
    let octets = HeaderValue::from_static("application/octet-stream");
    ([(header::CONTENT_TYPE, octets), (HEADER_LEN, json_len)], out).into_response()
}

fn write_numbers(
    json: &mut JsonWriter<'_>,
    binary: &mut Vec<u8>,
    form: Form,
    rows: usize,
    (inner, numbers): (&[usize], &Numbers),
) {
    let (datatype, size) = match numbers {
        Numbers::Float(_) => ("FP32", 4),
        Numbers::Double(_) => ("FP64", 8),
    };
    let shape: Vec<usize> = std::iter::once(rows).chain(inner.iter().copied()).collect();
    facts(json, datatype, &shape);
    match (form, numbers) {
        (Form::Json, Numbers::Float(numbers)) => data(json, numbers),
        (Form::Json, Numbers::Double(numbers)) => data(json, numbers),
        (Form::Binary, numbers) => {
            binary_len(json, numbers.len() * size);
            match numbers {
                Numbers::Float(numbers) => binary.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
                Numbers::Double(numbers) => binary.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
            }
        }
    }
}

/// Writes the most likely classes of each row as text, `VALUE:CLASS`.
fn write_classes(
    json: &mut JsonWriter<'_>,
    binary: &mut Vec<u8>,
    form: Form,
    rows: usize,
    (classes, numbers): (usize, &Numbers),
) {
    let width = numbers.len() / rows.max(1);
    let classes = classes.min(width);
    let texts: Vec<String> = match numbers {
        Numbers::Float(numbers) => numbers.chunks(width.max(1)).flat_map(|row| best(row, classes)).collect(),
        Numbers::Double(numbers) => numbers.chunks(width.max(1)).flat_map(|row| best(row, classes)).collect(),
    };
    facts(json, "BYTES", &[rows, classes]);
    match form {
        Form::Json => data(json, &texts),
        Form::Binary => {
            binary_len(json, texts.iter().map(|text| 4 + text.len()).sum());
            for text in &texts {
                let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
                binary.extend_from_slice(&len.to_le_bytes());
                binary.extend_from_slice(text.as_bytes());
            }
        }
    }
}

fn best<T: Copy + Into<f64> + std::fmt::Display>(row: &[T], classes: usize) -> Vec<String> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|left, right| row[*right].into().total_cmp(&row[*left].into()));
    order.truncate(classes);
    order.into_iter().map(|class| format!("{}:{class}", row[class])).collect()
}

fn facts(json: &mut JsonWriter<'_>, datatype: &str, shape: &[usize]) {
    json.key("datatype");
    json.text(datatype);
    json.key("shape");
    json.serde(shape);
}

fn data<T: serde::Serialize>(json: &mut JsonWriter<'_>, numbers: &[T]) {
    json.key("data");
    json.serde(numbers);
}

fn binary_len(json: &mut JsonWriter<'_>, len: usize) {
    json.key("parameters");
    json.open(b'{');
    json.key("binary_data_size");
    json.count(len as u64);
    json.close(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_classes_come_first_and_nan_last_among_equals() {
        assert_eq!(best(&[0.25_f32, 0.75], 1), ["0.75:1"]);
        assert_eq!(best(&[0.5_f64, 0.25, 0.25], 3), ["0.5:0", "0.25:1", "0.25:2"]);
        assert_eq!(best(&[0.5_f32], 9), ["0.5:0"]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_null() {
        let mut out = Vec::new();
        let numbers = Numbers::Float(vec![0.1, f32::NAN, f32::INFINITY]);
        assert_eq!(numbers.not_finite(), 2);
        let mut json = JsonWriter::new(&mut out);
        json.open(b'{');
        write_numbers(&mut json, &mut Vec::new(), Form::Json, 3, (&[1], &numbers));
        json.close(b'}');
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text, r#"{"datatype":"FP32","shape":[3,1],"data":[0.1,null,null]}"#);
    }
}

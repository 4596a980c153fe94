//! Datatypes of the protocol, and the way from a request's tensors to rows of a model.
//!
//! Every number becomes a double, as the features of a decision are, and is rounded once to what the model
//! takes. Which datatypes an input may have follows from that: floats for floats, whole numbers and truth
//! values for both, nothing that would be cut.

use half::{bf16, f16};

use super::request::{Data, Input, Listed, Oddity, Request, tensor};
use crate::edge::problem::{Code, Problem};
use crate::runtime::inference::raw::{Element, Signature, TensorFacts};

/// From here on a double no longer tells every whole number from its neighbours: 2^53.
const EXACT_MAX: u128 = 1 << 53;

/// A datatype of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Bool, "BOOL"),
        (Self::Uint8, "UINT8"),
        (Self::Uint16, "UINT16"),
        (Self::Uint32, "UINT32"),
        (Self::Uint64, "UINT64"),
        (Self::Int8, "INT8"),
        (Self::Int16, "INT16"),
        (Self::Int32, "INT32"),
        (Self::Int64, "INT64"),
        (Self::Fp16, "FP16"),
        (Self::Bf16, "BF16"),
        (Self::Fp32, "FP32"),
        (Self::Fp64, "FP64"),
        (Self::Bytes, "BYTES"),
    ];

    /// Finds a datatype by its name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(datatype, _)| datatype)
    }

    /// Returns the name of a model's numbers.
    pub(super) const fn of(element: Element) -> &'static str {
        match element {
            Element::Float => "FP32",
            Element::Double => "FP64",
            Element::Integer => "INT64",
        }
    }

    const fn is_float(self) -> bool {
        match self {
            Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64 => true,
            Self::Bool
            | Self::Uint8
            | Self::Uint16
            | Self::Uint32
            | Self::Uint64
            | Self::Int8
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Bytes => false,
        }
    }

    /// Returns the bytes of one number; `None` for text.
    const fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Returns the least and the most whole number it holds, where JSON may write them.
    const fn range(self) -> Option<(f64, f64)> {
        Some(match self {
            Self::Bool => (0.0, 1.0),
            Self::Uint8 => (0.0, 255.0),
            Self::Uint16 => (0.0, 65_535.0),
            Self::Uint32 => (0.0, 4_294_967_295.0),
            Self::Uint64 => (0.0, f64::INFINITY),
            Self::Int8 => (-128.0, 127.0),
            Self::Int16 => (-32_768.0, 32_767.0),
            Self::Int32 => (-2_147_483_648.0, 2_147_483_647.0),
            Self::Int64 => (f64::NEG_INFINITY, f64::INFINITY),
            Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64 | Self::Bytes => return None,
        })
    }

    /// Reads little-endian numbers. The length is a multiple of the size.
    fn decode(self, bytes: &[u8]) -> Option<Vec<f64>> {
        match self {
            Self::Bool => bytes.iter().map(|byte| (*byte <= 1).then_some(f64::from(*byte))).collect(),
            Self::Uint8 => Some(bytes.iter().map(|byte| f64::from(*byte)).collect()),
            Self::Int8 => Some(bytes.iter().map(|byte| f64::from(byte.cast_signed())).collect()),
            Self::Uint16 => Some(each(bytes, |bytes| u16::from_le_bytes(bytes).into())),
            Self::Int16 => Some(each(bytes, |bytes| i16::from_le_bytes(bytes).into())),
            Self::Uint32 => Some(each(bytes, |bytes| u32::from_le_bytes(bytes).into())),
            Self::Int32 => Some(each(bytes, |bytes| i32::from_le_bytes(bytes).into())),
            Self::Uint64 => each(bytes, |bytes| exact(u64::from_le_bytes(bytes).into())).into_iter().collect(),
            Self::Int64 => each(bytes, |bytes| exact(i64::from_le_bytes(bytes).into())).into_iter().collect(),
            Self::Fp16 => Some(each(bytes, |bytes| f16::from_le_bytes(bytes).into())),
            Self::Bf16 => Some(each(bytes, |bytes| bf16::from_le_bytes(bytes).into())),
            Self::Fp32 => Some(each(bytes, |bytes| f32::from_le_bytes(bytes).into())),
            Self::Fp64 => Some(each(bytes, f64::from_le_bytes)),
            Self::Bytes => None,
        }
    }
}

/// Turns a whole number into a double, unless it lies where doubles skip some.
fn exact(number: i128) -> Option<f64> {
    (number.unsigned_abs() < EXACT_MAX).then_some(number as f64)
}

fn each<const SIZE: usize, T>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks::<SIZE>().0.iter().map(|chunk| read(*chunk)).collect()
}

/// Rows of a model, row-major.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) count: usize,
    pub(super) cells: Vec<f64>,
}

/// Checks a request's tensors against a model and lays their numbers into rows. `binary` is what follows the JSON.
pub(super) fn rows(signature: &Signature, request: Request, binary: &[u8], rows_max: usize) -> Result<Rows, Problem> {
    let count = count(signature, &request.inputs, rows_max)?;
    let mut rest = binary;
    let mut rows = Rows { count, cells: Vec::new() };
    let is_one = signature.inputs.len() == 1;
    if !is_one {
        rows.cells = vec![0.0; count * signature.width];
    }
    for input in request.inputs {
        let Some(facts) = signature.inputs.iter().find(|facts| facts.name == input.name) else {
            return Err(unknown(signature));
        };
        let numbers = numbers(facts, input, &mut rest)?;
        if is_one {
            rows.cells = numbers;
            continue;
        }
        let inner = facts.places.len();
        for (row, values) in numbers.chunks(inner.max(1)).enumerate() {
            for (place, value) in facts.places.iter().zip(values) {
                rows.cells[row * signature.width + place] = *value;
            }
        }
    }
    if !rest.is_empty() {
        return Err(tensor(format!("{} bytes follow the last tensor: check binary_data_size", rest.len())));
    }
    Ok(rows)
}

/// Reads a body that is one tensor and nothing else, for models of one input.
pub(super) fn raw_rows(signature: &Signature, bytes: &[u8], rows_max: usize) -> Result<Rows, Problem> {
    let [facts] = signature.inputs.as_slice() else {
        return Err(tensor("a body without JSON is for models of one input"));
    };
    let datatype = Datatype::parse(Datatype::of(facts.element)).unwrap_or(Datatype::Fp32);
    let row_len = datatype.size().unwrap_or(1) * signature.width;
    if bytes.is_empty() || !bytes.len().is_multiple_of(row_len) {
        return Err(tensor(format!("the body is not a whole number of rows of {row_len} bytes")));
    }
    let count = bytes.len() / row_len;
    if count > rows_max {
        return Err(too_many(rows_max));
    }
    let cells = datatype.decode(bytes).ok_or_else(inexact)?;
    Ok(Rows { count, cells })
}

fn unknown(signature: &Signature) -> Problem {
    let known: Vec<&str> = signature.inputs.iter().map(|facts| facts.name.as_str()).take(64).collect();
    tensor(format!("an input has a name that the model does not have; it takes {}", known.join(", ")))
}

fn too_many(rows_max: usize) -> Problem {
    Problem::new(Code::BatchTooLarge, format!("a call may have {rows_max} rows: send it in parts"))
}

fn inexact() -> Problem {
    tensor("whole numbers beyond 2^53 cannot be kept exactly, and a BOOL is 0 or 1")
}

/// Checks names, datatypes and shapes, before any number is looked at; returns how many rows there are.
fn count(signature: &Signature, inputs: &[Input], rows_max: usize) -> Result<usize, Problem> {
    let mut count = None;
    for (index, input) in inputs.iter().enumerate() {
        if inputs[..index].iter().any(|other| other.name == input.name) {
            return Err(tensor("two inputs have one name"));
        }
        let facts = signature.inputs.iter().find(|facts| facts.name == input.name);
        let facts = facts.ok_or_else(|| unknown(signature))?;
        check_datatype(facts, input.datatype)?;
        let rows = check_shape(facts, &input.shape)?;
        if count.is_some_and(|count| count != rows) {
            return Err(tensor("the inputs do not have the same number of rows"));
        }
        count = Some(rows);
    }
    if let Some(absent) = signature.inputs.iter().find(|facts| !inputs.iter().any(|input| input.name == facts.name)) {
        return Err(tensor(format!("the input {} is missing", absent.name)));
    }
    match count {
        None | Some(0) => Err(tensor("send at least one row")),
        Some(rows) if rows > rows_max => Err(too_many(rows_max)),
        Some(rows) => Ok(rows),
    }
}

fn check_datatype(facts: &TensorFacts, datatype: Datatype) -> Result<(), Problem> {
    let is_fine = match facts.element {
        Element::Float | Element::Double => datatype != Datatype::Bytes,
        Element::Integer => datatype != Datatype::Bytes && !datatype.is_float(),
    };
    let told = || tensor(format!("the input {} takes {}", facts.name, Datatype::of(facts.element)));
    if is_fine { Ok(()) } else { Err(told()) }
}

fn check_shape(facts: &TensorFacts, shape: &[usize]) -> Result<usize, Problem> {
    let product = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    if product.is_none() {
        return Err(tensor("the dimensions of a shape multiply to more than can be counted"));
    }
    match shape.split_first() {
        Some((rows, inner)) if inner == facts.inner => Ok(*rows),
        // One column may be told as a plain list.
        Some((rows, [])) if facts.inner == [1] => Ok(*rows),
        Some(_) | None => {
            let inner: Vec<String> = facts.inner.iter().map(ToString::to_string).collect();
            Err(tensor(format!("the input {} takes the shape [rows, {}]", facts.name, inner.join(", "))))
        }
    }
}

fn numbers(facts: &TensorFacts, input: Input, rest: &mut &[u8]) -> Result<Vec<f64>, Problem> {
    // Checked before: the product is small.
    let expected: usize = input.shape.iter().product();
    match input.data {
        Data::Binary(len) => {
            let Some(size) = input.datatype.size() else { return Err(tensor("no model here takes text")) };
            if expected.checked_mul(size) != Some(len) {
                let told = format!("binary_data_size of the input {} is not its shape times {size}", facts.name);
                return Err(tensor(told));
            }
            let Some((bytes, behind)) = rest.split_at_checked(len) else {
                return Err(tensor("the body ends before the last tensor: check binary_data_size"));
            };
            *rest = behind;
            input.datatype.decode(bytes).ok_or_else(inexact)
        }
        Data::Listed(listed) => {
            check_listed(facts, input.datatype, &listed)?;
            let is_flat = listed.lens.len() == 1;
            if listed.numbers.len() != expected || !(is_flat || listed.lens == input.shape) {
                return Err(tensor(format!("data of the input {} does not have its shape", facts.name)));
            }
            Ok(listed.numbers)
        }
    }
}

fn check_listed(facts: &TensorFacts, datatype: Datatype, listed: &Listed) -> Result<(), Problem> {
    let refuse = |what: &str| Err(tensor(format!("data of the input {}: {what}", facts.name)));
    if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
        return refuse("FP16 and BF16 have no JSON form, send them as binary data");
    }
    if listed.has(Oddity::Flag) && datatype != Datatype::Bool {
        return refuse("true and false are for BOOL");
    }
    let Some((least, most)) = datatype.range() else { return Ok(()) };
    if listed.has(Oddity::Missing) {
        return refuse("null, NaN and Infinity are for floats");
    }
    if listed.has(Oddity::Fraction) {
        return refuse("a number has a fraction");
    }
    if listed.has(Oddity::Inexact) {
        return refuse("whole numbers beyond 2^53 cannot be kept exactly");
    }
    if listed.numbers.iter().any(|number| *number < least || *number > most) {
        return refuse("a number is outside its datatype");
    }
    Ok(())
}

//! The JSON of an inference request, read into names, shapes and numbers that are not yet checked
//! against a model.
//!
//! ```text
//! {id?, parameters?, inputs: [{name, shape, datatype, parameters?, data?}], outputs?: [{name, parameters?}]}
//! ```
//! Unknown members are passed over, known ones may stand once. Numbers are counted while they are read, so a
//! list that is longer than the model could take ends there.

use super::json::{Reader, Scalar};
use super::tensor::Datatype;
use crate::edge::problem::{Code, Problem};

/// Dimensions a shape may have.
pub(super) const RANK_MAX: usize = 8;
/// The longest `id` and the longest name, in bytes.
const TEXT_LEN_MAX: usize = 256;
/// The most parameters of one object.
const PARAMETERS_MAX: usize = 64;
/// From here on a double no longer tells every whole number from its neighbours.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a request may hold at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Inputs.
    pub(super) inputs: usize,
    /// Outputs that are asked for.
    pub(super) outputs: usize,
    /// Numbers over all inputs.
    pub(super) cells: usize,
}

/// A request, as it was written.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) id: Option<String>,
    pub(super) parameters: Parameters,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Wanted>,
}

/// The parameters that mean something here. Others are allowed and mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Microseconds until nobody waits any more; 0 is the same as absent.
    pub(super) timeout: Option<u64>,
    /// Of a request: whether outputs are binary unless they say otherwise.
    pub(super) binary_data_output: Option<bool>,
    /// Of an output: whether it is binary.
    pub(super) binary_data: Option<bool>,
    /// Of an input: how many bytes of the binary part are its.
    pub(super) binary_data_size: Option<usize>,
    /// Of an output: how many classes of each row, the most likely first, instead of its numbers.
    pub(super) classification: Option<usize>,
    has_shared_memory: bool,
}

/// An input, as it was written.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) datatype: Datatype,
    pub(super) data: Data,
}

/// Where an input's numbers are.
#[derive(Debug)]
pub(super) enum Data {
    /// In the JSON.
    Listed(Listed),
    /// In the binary part, so many bytes of it.
    Binary(usize),
}

/// An output that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) parameters: Parameters,
}

/// What a list of numbers may hold that some datatypes do not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// `null`, NaN or an infinity.
    Missing,
    /// A number with a fraction.
    Fraction,
    /// A number beyond those that a double tells apart from their neighbours.
    Inexact,
    /// `true` or `false`.
    Flag,
}

impl Oddity {
    const COUNT: usize = 4;
}

/// Numbers of a JSON list, flat or nested, and what was among them.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) numbers: Vec<f64>,
    /// The length of the lists at each depth.
    pub(super) lens: Vec<usize>,
    oddities: [bool; Oddity::COUNT],
}

impl Request {
    /// Reads the JSON part of a body.
    pub(super) fn read(json: &[u8], bounds: Bounds) -> Result<Self, Problem> {
        let mut reader = Reader::new(json)?;
        let mut request = Self::default();
        let mut cells_left = bounds.cells;
        let mut seen = Seen::default();
        if reader.peek() != Some(b'{') {
            return Err(shape("expected an object with inputs"));
        }
        reader.object(|reader, key| match key {
            "id" => {
                seen.once("id")?;
                request.id = Some(text(reader)?);
                Ok(())
            }
            "parameters" => {
                seen.once("parameters")?;
                request.parameters = parameters(reader)?;
                Ok(())
            }
            "inputs" => {
                seen.once("inputs")?;
                list(reader, "inputs", |reader| {
                    if request.inputs.len() == bounds.inputs {
                        return Err(tensor(format!("the model takes {} inputs: send no more", bounds.inputs)));
                    }
                    request.inputs.push(input(reader, &mut cells_left)?);
                    Ok(())
                })
            }
            "outputs" => {
                seen.once("outputs")?;
                list(reader, "outputs", |reader| {
                    if request.outputs.len() == bounds.outputs {
                        return Err(tensor(format!("a call names at most {} outputs", bounds.outputs)));
                    }
                    request.outputs.push(wanted(reader)?);
                    Ok(())
                })
            }
            _ => reader.skip(),
        })?;
        reader.end()?;
        Ok(request)
    }
}

fn shape(detail: &'static str) -> Problem {
    Problem::new(Code::WrongShape, detail)
}

/// A tensor that is wrong.
pub(super) fn tensor(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::InvalidTensor, detail)
}

/// Names of members that came already.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn once(&mut self, key: &'static str) -> Result<(), Problem> {
        if self.0.contains(&key) {
            return Err(Problem::new(Code::WrongShape, format!("{key} stands twice in one object")));
        }
        self.0.push(key);
        Ok(())
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Problem> {
    let text = reader.string()?;
    if text.len() > TEXT_LEN_MAX {
        return Err(Problem::new(Code::WrongShape, format!("a name or id is longer than {TEXT_LEN_MAX} bytes")));
    }
    Ok(text.into_owned())
}

fn list(
    reader: &mut Reader<'_>,
    what: &str,
    item: impl FnMut(&mut Reader<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if reader.peek() != Some(b'[') {
        return Err(Problem::new(Code::WrongShape, format!("{what}: expected an array")));
    }
    reader.array(item)
}

fn input(reader: &mut Reader<'_>, cells_left: &mut usize) -> Result<Input, Problem> {
    let (mut name, mut sizes, mut datatype, mut listed) = (None, None, None, None);
    let mut told = Parameters::default();
    let mut seen = Seen::default();
    reader.object(|reader, key| match key {
        "name" => {
            seen.once("name")?;
            name = Some(text(reader)?);
            Ok(())
        }
        "shape" => {
            seen.once("shape")?;
            sizes = Some(dimensions(reader)?);
            Ok(())
        }
        "datatype" => {
            seen.once("datatype")?;
            let parsed = Datatype::parse(&reader.string()?);
            datatype = Some(parsed.ok_or_else(|| tensor("an input has a datatype that the protocol does not know"))?);
            Ok(())
        }
        "parameters" => {
            seen.once("parameters")?;
            told = parameters(reader)?;
            Ok(())
        }
        "data" => {
            seen.once("data")?;
            listed = Some(Listed::read(reader, cells_left)?);
            Ok(())
        }
        _ => reader.skip(),
    })?;
    let missing = |what: &str| tensor(format!("an input has no {what}"));
    if told.has_shared_memory {
        return Err(tensor("an input lies in shared memory, which is not served: send its data"));
    }
    let data = match (listed, told.binary_data_size) {
        (Some(_), Some(_)) => return Err(tensor("an input has data and binary_data_size: send one of them")),
        (Some(listed), None) => Data::Listed(listed),
        (None, Some(len)) => Data::Binary(len),
        (None, None) => return Err(missing("data")),
    };
    Ok(Input {
        name: name.ok_or_else(|| missing("name"))?,
        shape: sizes.ok_or_else(|| missing("shape"))?,
        datatype: datatype.ok_or_else(|| missing("datatype"))?,
        data,
    })
}

fn wanted(reader: &mut Reader<'_>) -> Result<Wanted, Problem> {
    let (mut name, mut told) = (None, Parameters::default());
    let mut seen = Seen::default();
    reader.object(|reader, key| match key {
        "name" => {
            seen.once("name")?;
            name = Some(text(reader)?);
            Ok(())
        }
        "parameters" => {
            seen.once("parameters")?;
            told = parameters(reader)?;
            Ok(())
        }
        _ => reader.skip(),
    })?;
    if told.has_shared_memory {
        return Err(tensor("an output is asked into shared memory, which is not served"));
    }
    let name = name.ok_or_else(|| tensor("an output that is asked for has no name"))?;
    Ok(Wanted { name, parameters: told })
}

fn dimensions(reader: &mut Reader<'_>) -> Result<Vec<usize>, Problem> {
    let mut sizes = Vec::new();
    list(reader, "shape", |reader| {
        if sizes.len() == RANK_MAX {
            return Err(tensor(format!("a shape has more than {RANK_MAX} dimensions")));
        }
        let size = reader.whole()?;
        sizes.push(usize::try_from(size).map_err(|_| tensor("a shape has a negative dimension"))?);
        Ok(())
    })?;
    Ok(sizes)
}

fn parameters(reader: &mut Reader<'_>) -> Result<Parameters, Problem> {
    let mut told = Parameters::default();
    let mut count = 0;
    reader.object(|reader, key| {
        count += 1;
        if count > PARAMETERS_MAX {
            return Err(Problem::new(Code::WrongShape, format!("more than {PARAMETERS_MAX} parameters")));
        }
        if matches!(reader.peek(), Some(b'{' | b'[')) {
            return Err(shape("a parameter is a string, a number or a boolean"));
        }
        match key {
            "timeout" => told.timeout = Some(number(reader, "timeout: expected microseconds")?),
            "binary_data_size" => {
                let expected = "binary_data_size: expected a number of bytes";
                told.binary_data_size = Some(usize::try_from(number(reader, expected)?).unwrap_or(usize::MAX));
            }
            "classification" => {
                let expected = "classification: expected a number of classes";
                told.classification = Some(usize::try_from(number(reader, expected)?).unwrap_or(usize::MAX));
            }
            "binary_data" => told.binary_data = Some(flag(reader, "binary_data: expected true or false")?),
            "binary_data_output" => {
                told.binary_data_output = Some(flag(reader, "binary_data_output: expected true or false")?);
            }
            "shared_memory_region" | "shared_memory_byte_size" | "shared_memory_offset" => {
                told.has_shared_memory = true;
                reader.skip()?;
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(told)
}

fn number(reader: &mut Reader<'_>, expected: &'static str) -> Result<u64, Problem> {
    let refused = |_| Problem::new(Code::InvalidParameter, expected);
    u64::try_from(reader.whole().map_err(refused)?).map_err(|_| Problem::new(Code::InvalidParameter, expected))
}

fn flag(reader: &mut Reader<'_>, expected: &'static str) -> Result<bool, Problem> {
    match reader.scalar()? {
        Scalar::Flag(flag) => Ok(flag),
        Scalar::Null | Scalar::Number(..) | Scalar::Text(_) => Err(Problem::new(Code::InvalidParameter, expected)),
    }
}

impl Listed {
    fn read(reader: &mut Reader<'_>, cells_left: &mut usize) -> Result<Self, Problem> {
        let mut listed = Self::default();
        if reader.peek() != Some(b'[') {
            return Err(tensor("data: expected an array, flat or nested as the shape"));
        }
        listed.level(reader, 0, cells_left)?;
        Ok(listed)
    }

    fn level(&mut self, reader: &mut Reader<'_>, depth: usize, cells_left: &mut usize) -> Result<(), Problem> {
        if depth == RANK_MAX {
            return Err(Problem::new(Code::NestingTooDeep, format!("data nests deeper than {RANK_MAX} levels")));
        }
        let (mut len, mut has_scalars) = (0, false);
        reader.array(|reader| {
            len += 1;
            let is_list = reader.peek() == Some(b'[');
            if len > 1 && is_list == has_scalars {
                return Err(tensor("data mixes numbers and arrays"));
            }
            has_scalars = !is_list;
            if is_list {
                return self.level(reader, depth + 1, cells_left);
            }
            let Some(left) = cells_left.checked_sub(1) else {
                return Err(Problem::new(Code::BatchTooLarge, "more numbers than the most rows of one call have"));
            };
            *cells_left = left;
            self.add(&reader.scalar()?)
        })?;
        if self.lens.len() <= depth {
            self.lens.resize(depth + 1, usize::MAX);
        }
        // Set by the first list of this depth that ends; the lists within it have ended before.
        if self.lens[depth] == usize::MAX {
            self.lens[depth] = len;
        }
        if self.lens[depth] != len || (has_scalars && depth + 1 != self.lens.len()) {
            return Err(tensor("data is nested unevenly"));
        }
        Ok(())
    }

    /// Tells whether such a thing was among the numbers.
    pub(super) const fn has(&self, oddity: Oddity) -> bool {
        self.oddities[oddity as usize]
    }

    fn add(&mut self, scalar: &Scalar<'_>) -> Result<(), Problem> {
        let number = match scalar {
            Scalar::Number(number, is_whole) => {
                self.note(Oddity::Fraction, !is_whole && number.fract() != 0.0);
                self.note(Oddity::Missing, !number.is_finite());
                self.note(Oddity::Inexact, number.abs() >= EXACT_MAX);
                *number
            }
            Scalar::Null => {
                self.note(Oddity::Missing, true);
                f64::NAN
            }
            Scalar::Flag(flag) => {
                self.note(Oddity::Flag, true);
                f64::from(u8::from(*flag))
            }
            Scalar::Text(_) => return Err(tensor("data holds text, and no model here takes text")),
        };
        self.numbers.push(number);
        Ok(())
    }

    const fn note(&mut self, oddity: Oddity, is_there: bool) {
        self.oddities[oddity as usize] |= is_there;
    }
}

//! One ONNX Runtime session: rows of doubles in, probabilities out, on the thread that owns it.
//!
//! One intra-op thread, no spinning, sequential; only the probability output is computed. The input
//! tensors of the last batch length are kept and filled again, so a steady stream of single rows makes no
//! tensor anew. The label output is never asked for.

use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, SessionInputValue, SessionOutputs};
use ort::value::{DynSequenceValueType, DynValue, MapValueType, Tensor};
use smallvec::SmallVec;

use super::layout::{self, Batch, Inputs, OutputChoice, Reading};
use super::library;
use super::raw::Element;
use super::raw_session::Raw;

/// Why a model cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// ONNX Runtime itself is missing or unfit.
    #[error(transparent)]
    Library(#[from] library::Error),
    /// ONNX Runtime does not take the file.
    #[error("tried to load the model: {0}")]
    NotLoaded(String),
    /// It loads, and its inputs or outputs are not what we serve; the text has the cure.
    #[error("tried to serve the model: {0}")]
    NotServed(String),
}

/// A model on one thread.
pub struct Session {
    pub(super) model: ort::session::Session,
    run_options: RunOptions<HasSelectedOutputs>,
    pub(super) inputs: Inputs,
    pub(super) batch: Batch,
    reading: Reading,
    column: usize,
    pub(super) width: usize,
    tensors: Tensors,
    pub(super) raw: Raw,
}

/// The input tensors of the last batch length.
#[derive(Default)]
pub(super) struct Tensors {
    pub(super) rows: usize,
    pub(super) slots: SmallVec<[Slot; 1]>,
}

pub(super) enum Slot {
    Float(Tensor<f32>),
    Double(Tensor<f64>),
    Integer(Tensor<i64>),
}

impl Session {
    /// Opens a model from its bytes for rows of the named features.
    ///
    /// # Errors
    /// [`Error`] with the cure when it does not load or is not of a kind we serve.
    pub fn open(model: &[u8], names: &[&str], output: &OutputChoice) -> Result<Self, Error> {
        let session = load(model)?;
        let (inputs, batch) = layout::inputs(session.inputs(), names).map_err(Error::NotServed)?;
        let reading = layout::reading(session.outputs(), &output.name).map_err(Error::NotServed)?;
        let run_options = RunOptions::new()
            .map_err(|error| Error::NotLoaded(error.to_string()))?
            .with_outputs(OutputSelector::no_default().with(&output.name));
        let (column, width) = (output.column, names.len());
        let (tensors, raw) = (Tensors::default(), Raw::default());
        Ok(Self { model: session, run_options, inputs, batch, reading, column, width, tensors, raw })
    }

    /// Returns the outputs of a model that may hold a probability, likeliest first.
    ///
    /// # Errors
    /// [`Error`] when it does not load.
    pub fn output_candidates(model: &[u8]) -> Result<Vec<String>, Error> {
        let session = load(model)?;
        Ok(layout::candidates(session.outputs()).into_iter().map(str::to_owned).collect())
    }

    /// Returns how many values a row has.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Scores rows (row-major) and appends one raw number for each; whether it is a probability is the caller's to judge.
    ///
    /// # Errors
    /// ONNX Runtime's words, or what was wrong with its answer.
    pub fn run(&mut self, cells: &[f64], scores: &mut Vec<f64>) -> Result<(), String> {
        match self.batch {
            Batch::Free => self.run_batch(cells, scores),
            Batch::One => cells.chunks(self.width).try_for_each(|row| self.run_batch(row, scores)),
        }
    }

    fn run_batch(&mut self, cells: &[f64], scores: &mut Vec<f64>) -> Result<(), String> {
        let rows = cells.len() / self.width;
        if rows == 0 {
            return Ok(());
        }
        if self.tensors.rows != rows {
            self.tensors = Tensors::new(&self.inputs, rows, self.width).map_err(|error| error.to_string())?;
        }
        self.tensors.fill(&self.inputs, cells, self.width)?;
        let values: SmallVec<[SessionInputValue<'_>; 1]> = self.tensors.slots.iter().map(Slot::value).collect();
        let outputs =
            self.model.run_with_options(values.as_slice(), &self.run_options).map_err(|error| error.to_string())?;
        let output = only(&outputs)?;
        match self.reading {
            Reading::Float => read_tensor::<f32>(output, rows, self.column, scores),
            Reading::Double => read_tensor::<f64>(output, rows, self.column, scores),
            Reading::IntegerMaps => read_maps::<i64>(output, rows, self.column, scores),
            Reading::TextMaps => read_maps::<String>(output, rows, self.column, scores),
        }
    }
}

fn load(model: &[u8]) -> Result<ort::session::Session, Error> {
    let library = library::open(None)?;
    builder(library)
        .and_then(|mut builder| builder.commit_from_memory(model))
        .map_err(|error| Error::NotLoaded(error.to_string()))
}

fn builder(library: &library::Library) -> Result<SessionBuilder, ort::Error> {
    Ok(SessionBuilder::new(&library.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?)
}

fn only<'a>(outputs: &'a SessionOutputs<'_>) -> Result<&'a DynValue, String> {
    outputs.values().next().map(|_| &outputs[0]).ok_or_else(|| "the run gave no output".to_owned())
}

fn read_tensor<T>(output: &DynValue, rows: usize, column: usize, scores: &mut Vec<f64>) -> Result<(), String>
where
    T: ort::value::PrimitiveTensorElementType + Copy + Into<f64>,
{
    let (_, numbers) = output.try_extract_tensor::<T>().map_err(|error| error.to_string())?;
    // The shape is counted, not read: [N], [N,1] and [N,2] differ only in how many numbers a row has.
    let width = numbers.len() / rows;
    if width * rows != numbers.len() || column >= width {
        return Err(format!("{rows} rows gave {} numbers, where column {column} is the score", numbers.len()));
    }
    scores.extend(numbers.chunks(width).map(|row| row[column].into()));
    Ok(())
}

fn read_maps<K>(output: &DynValue, rows: usize, column: usize, scores: &mut Vec<f64>) -> Result<(), String>
where
    K: ort::value::IntoTensorElementType + Clone + std::hash::Hash + Eq + std::fmt::Debug + 'static,
{
    let sequence = output.view().downcast::<DynSequenceValueType>().map_err(|error| error.to_string())?;
    let maps = sequence.try_extract_sequence::<MapValueType<K, f32>>().map_err(|error| error.to_string())?;
    if maps.len() != rows {
        return Err(format!("{rows} rows gave {} maps", maps.len()));
    }
    for map in maps {
        // ONNX maps are ordered by class, so the place of a class is the same in every row.
        let entries = map.try_extract_key_values::<K, f32>().map_err(|error| error.to_string())?;
        let (_, score) = entries.get(column).ok_or_else(|| format!("a map has no entry {column}"))?;
        scores.push(f64::from(*score));
    }
    Ok(())
}

impl Tensors {
    pub(super) fn new(inputs: &Inputs, rows: usize, width: usize) -> Result<Self, ort::Error> {
        let slots = match inputs {
            Inputs::Matrix(element) => SmallVec::from_iter([Slot::new(*element, rows, width)?]),
            Inputs::Columns(columns) => {
                columns.iter().map(|column| Slot::new(column.element, rows, 1)).collect::<Result<_, _>>()?
            }
        };
        Ok(Self { rows, slots })
    }

    pub(super) fn fill(&mut self, inputs: &Inputs, cells: &[f64], width: usize) -> Result<(), String> {
        match inputs {
            Inputs::Matrix(_) => self.slots.iter_mut().try_for_each(|slot| slot.fill(cells.iter().copied())),
            Inputs::Columns(columns) => self
                .slots
                .iter_mut()
                .zip(columns)
                .try_for_each(|(slot, column)| slot.fill(cells.iter().skip(column.place).step_by(width).copied())),
        }
    }
}

impl Slot {
    fn new(element: Element, rows: usize, columns: usize) -> Result<Self, ort::Error> {
        let shape = [rows, columns];
        let len = rows * columns;
        Ok(match element {
            Element::Float => Self::Float(Tensor::from_array((shape, vec![0.0_f32; len]))?),
            Element::Double => Self::Double(Tensor::from_array((shape, vec![0.0_f64; len]))?),
            Element::Integer => Self::Integer(Tensor::from_array((shape, vec![0_i64; len]))?),
        })
    }

    pub(super) fn value(&self) -> SessionInputValue<'_> {
        match self {
            Self::Float(tensor) => tensor.into(),
            Self::Double(tensor) => tensor.into(),
            Self::Integer(tensor) => tensor.into(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the model was trained on float32 and on whole numbers")]
    fn fill(&mut self, numbers: impl Iterator<Item = f64>) -> Result<(), String> {
        match self {
            Self::Float(tensor) => {
                let (_, cells) = tensor.extract_tensor_mut();
                cells.iter_mut().zip(numbers).for_each(|(cell, number)| *cell = number as f32);
            }
            Self::Double(tensor) => {
                let (_, cells) = tensor.extract_tensor_mut();
                cells.iter_mut().zip(numbers).for_each(|(cell, number)| *cell = number);
            }
            Self::Integer(tensor) => {
                let (_, cells) = tensor.extract_tensor_mut();
                for (cell, number) in cells.iter_mut().zip(numbers) {
                    if !number.is_finite() {
                        return Err("a feature without a value meets an integer input".to_owned());
                    }
                    *cell = number as i64;
                }
            }
        }
        Ok(())
    }
}

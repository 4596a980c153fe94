//! The raw side of a session: what the model takes and gives, and runs that read every float output.
//!
//! Declared output shapes lie, so the real ones are seen once, in a trial run of two rows. Raw runs have
//! tensors and run options of their own: the ones that decisions keep warm are not touched.

use ort::session::{OutputSelector, RunOptions, SessionInputValue};
use ort::value::{DynSequenceValueType, DynValue, MapValueType};
use smallvec::SmallVec;

use super::layout::{self, Batch, Inputs, Reading};
use super::raw::{Element, Numbers, Signature, TensorFacts};
use super::session::{Session, Slot, Tensors};

/// What raw runs need beside the model.
#[derive(Default)]
pub(super) struct Raw {
    run_options: Option<RunOptions<ort::session::HasSelectedOutputs>>,
    readings: Vec<Reading>,
    tensors: Tensors,
    signature: Signature,
}

impl Session {
    /// Returns what raw calls may ask for; empty until [`Self::prepare_raw`].
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.raw.signature
    }

    /// Learns the model's float outputs by running it once. A model that fails here serves decisions only.
    ///
    /// # Errors
    /// ONNX Runtime's words.
    pub fn prepare_raw(&mut self) -> Result<(), String> {
        self.learn().inspect_err(|_| {
            self.raw.run_options = None;
            self.raw.signature.outputs.clear();
        })
    }

    fn learn(&mut self) -> Result<(), String> {
        let rows = if self.batch == Batch::One { 1 } else { 2 };
        let declared = self.model.outputs().iter();
        let mut outputs: Vec<(String, Reading)> = declared
            .filter_map(|outlet| Some((outlet.name().to_owned(), layout::reading_of(outlet.dtype())?)))
            .collect();
        self.raw.signature = Signature {
            width: self.width,
            inputs: self.raw_inputs(),
            outputs: Vec::new(),
            batch_is_one: self.batch == Batch::One,
        };
        self.select(&outputs)?;
        let cells = vec![0.0; rows * self.width];
        let mut facts = Vec::new();
        self.raw_outputs(&cells, |index, output| {
            // An output that is not one entry a row cannot be cut into slices, and is not offered.
            if let Some(inner) = inner_of(output, outputs[index].1, rows)? {
                let element = if outputs[index].1 == Reading::Double { Element::Double } else { Element::Float };
                facts.push(TensorFacts { name: outputs[index].0.clone(), element, inner, places: Vec::new() });
            }
            Ok(())
        })?;
        outputs.retain(|(name, _)| facts.iter().any(|kept| kept.name == *name));
        self.select(&outputs)?;
        self.raw.signature.outputs = facts;
        Ok(())
    }

    /// Runs rows (row-major) and appends the numbers of each output to its place in `outputs`.
    pub(super) fn run_raw(&mut self, cells: &[f64], outputs: &mut Vec<Numbers>) -> Result<(), String> {
        if self.raw.signature.outputs.is_empty() {
            return Err("the model gives no float output that has one entry for each row".to_owned());
        }
        let facts = self.raw.signature.outputs.clone();
        if outputs.is_empty() {
            outputs.extend(facts.iter().map(|output| match output.element {
                Element::Double => Numbers::Double(Vec::new()),
                Element::Float | Element::Integer => Numbers::Float(Vec::new()),
            }));
        }
        let rows_each = if self.batch == Batch::One { 1 } else { cells.len() / self.width };
        for rows in cells.chunks(rows_each * self.width) {
            let readings = self.raw.readings.clone();
            self.raw_outputs(rows, |index, output| {
                let before = outputs[index].len();
                append(output, readings[index], &mut outputs[index])?;
                let found = outputs[index].len() - before;
                let expected = rows_each * facts[index].inner.iter().product::<usize>();
                let told = || format!("output {} gave {found} numbers, not {expected}", facts[index].name);
                if found == expected { Ok(()) } else { Err(told()) }
            })?;
        }
        Ok(())
    }

    fn select(&mut self, outputs: &[(String, Reading)]) -> Result<(), String> {
        let selector = outputs.iter().fold(OutputSelector::no_default(), |selector, (name, _)| selector.with(name));
        let run_options = RunOptions::new().map_err(|error| error.to_string())?.with_outputs(selector);
        self.raw.run_options = (!outputs.is_empty()).then_some(run_options);
        self.raw.readings = outputs.iter().map(|(_, reading)| *reading).collect();
        self.raw.signature.outputs = outputs
            .iter()
            .map(|(name, _)| TensorFacts {
                name: name.clone(),
                element: Element::Float,
                inner: Vec::new(),
                places: Vec::new(),
            })
            .collect();
        Ok(())
    }

    fn raw_inputs(&self) -> Vec<TensorFacts> {
        let declared = self.model.inputs();
        match &self.inputs {
            Inputs::Matrix(element) => declared
                .iter()
                .map(|outlet| TensorFacts {
                    name: outlet.name().to_owned(),
                    element: *element,
                    inner: vec![self.width],
                    places: (0..self.width).collect(),
                })
                .collect(),
            Inputs::Columns(columns) => declared
                .iter()
                .zip(columns)
                .map(|(outlet, column)| TensorFacts {
                    name: outlet.name().to_owned(),
                    element: column.element,
                    inner: vec![1],
                    places: vec![column.place],
                })
                .collect(),
        }
    }

    fn raw_outputs(
        &mut self,
        cells: &[f64],
        mut read: impl FnMut(usize, &DynValue) -> Result<(), String>,
    ) -> Result<(), String> {
        let rows = cells.len() / self.width;
        let raw = &mut self.raw;
        let Some(run_options) = &raw.run_options else { return Ok(()) };
        if raw.tensors.rows != rows {
            raw.tensors = Tensors::new(&self.inputs, rows, self.width).map_err(|error| error.to_string())?;
        }
        raw.tensors.fill(&self.inputs, cells, self.width)?;
        let values: SmallVec<[SessionInputValue<'_>; 1]> = raw.tensors.slots.iter().map(Slot::value).collect();
        let outputs = self.model.run_with_options(values.as_slice(), run_options).map_err(|error| error.to_string())?;
        for (index, fact) in raw.signature.outputs.iter().enumerate() {
            let output = outputs.get(&fact.name).ok_or_else(|| format!("the run gave no output {}", fact.name))?;
            read(index, output)?;
        }
        Ok(())
    }
}

/// Returns an output's dimensions behind the rows, when it has one entry for each row.
fn inner_of(output: &DynValue, reading: Reading, rows: usize) -> Result<Option<Vec<usize>>, String> {
    let shape: Vec<i64> = match reading {
        Reading::Float => {
            output.try_extract_tensor::<f32>().map(|(shape, _)| shape.to_vec()).map_err(|error| error.to_string())?
        }
        Reading::Double => {
            output.try_extract_tensor::<f64>().map(|(shape, _)| shape.to_vec()).map_err(|error| error.to_string())?
        }
        Reading::IntegerMaps | Reading::TextMaps => {
            let mut classes = Numbers::Float(Vec::new());
            append(output, reading, &mut classes)?;
            return Ok((classes.len().is_multiple_of(rows)).then(|| vec![classes.len() / rows]));
        }
    };
    let sizes: Option<Vec<usize>> = shape.iter().map(|size| usize::try_from(*size).ok()).collect();
    Ok(sizes.and_then(|sizes| match sizes.split_first() {
        Some((first, inner)) if *first == rows => Some(inner.to_vec()),
        Some(_) | None => None,
    }))
}

fn append(output: &DynValue, reading: Reading, into: &mut Numbers) -> Result<(), String> {
    match (reading, into) {
        (Reading::Float, Numbers::Float(numbers)) => {
            let (_, found) = output.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
            numbers.extend_from_slice(found);
        }
        (Reading::Double, Numbers::Double(numbers)) => {
            let (_, found) = output.try_extract_tensor::<f64>().map_err(|error| error.to_string())?;
            numbers.extend_from_slice(found);
        }
        (Reading::IntegerMaps, Numbers::Float(numbers)) => append_maps::<i64>(output, numbers)?,
        (Reading::TextMaps, Numbers::Float(numbers)) => append_maps::<String>(output, numbers)?,
        (Reading::Float | Reading::IntegerMaps | Reading::TextMaps, Numbers::Double(_))
        | (Reading::Double, Numbers::Float(_)) => return Err("an output changed its type".to_owned()),
    }
    Ok(())
}

fn append_maps<K>(output: &DynValue, numbers: &mut Vec<f32>) -> Result<(), String>
where
    K: ort::value::IntoTensorElementType + Clone + std::hash::Hash + Eq + std::fmt::Debug + 'static,
{
    let sequence = output.view().downcast::<DynSequenceValueType>().map_err(|error| error.to_string())?;
    let maps = sequence.try_extract_sequence::<MapValueType<K, f32>>().map_err(|error| error.to_string())?;
    for map in maps {
        // ONNX maps are ordered by class, so the place of a class is the same in every row.
        let entries = map.try_extract_key_values::<K, f32>().map_err(|error| error.to_string())?;
        numbers.extend(entries.iter().map(|(_, number)| *number));
    }
    Ok(())
}

//! Packing: from what a trainer exports to a bundle's files.
//!
//! Python fits and exports; everything a service relies on is written here: where the probability is (found
//! by comparing with the trainer's own), the reference profile, the hashes. Whether the bundle is any good is
//! for the gates.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::baseline::Baseline;
use super::bundle::{self, Files};
use super::gates;
use super::golden::{self, GoldenRow};
use super::manifest::{FORMAT, Manifest, Role, Tolerance, Training};
use crate::domain::{Thresholds, Timestamp};
use crate::runtime::inference::{OutputChoice, Session, session};
use crate::scoring::feature::Schema;

/// The mean distance to the trainer's probabilities at which an output is not the probability.
const DISTANCE_MEAN_MAX: f64 = 0.02;

/// What is packed.
#[derive(Clone, Debug)]
pub struct Packing {
    /// The ONNX file.
    pub model: Bytes,
    /// The schema file's text.
    pub schema: String,
    /// Rows with known answers.
    pub golden: Vec<GoldenRow>,
    /// Training rows, row-major in input order, for the profile.
    pub training_cells: Vec<f64>,
    /// The model card; one is written when absent.
    pub card: Option<String>,
    /// The output to use; found when absent.
    pub output: Option<OutputChoice>,
    /// What only a human or the trainer knows.
    pub facts: Facts,
}

/// What is written into the manifest as given.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// Library and version.
    pub trainer: String,
    /// What it is meant to be.
    pub role: Role,
    /// When it is packed.
    pub created_at: Timestamp,
    /// The score limits.
    pub thresholds: Thresholds,
    /// How far scores may be off.
    pub tolerance: Tolerance,
    /// The trainer's holdout metrics.
    pub metrics: BTreeMap<String, f64>,
    /// What it was trained on.
    pub training: Training,
}

/// Why nothing was packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The schema does not parse; every fault.
    #[error("tried to parse the schema: {0}")]
    Schema(String),
    /// The model is not served.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// A run failed.
    #[error("tried to score rows with the model: {0}")]
    Run(String),
    /// No output gives the golden probabilities.
    #[error(
        "tried every output ({tried}) against the golden probabilities: the nearest is off by {distance:.3} in the mean; export probabilities (zipmap=False), or golden rows of this very model"
    )]
    NoOutput {
        /// The outputs.
        tried: String,
        /// The smallest mean distance.
        distance: f64,
    },
    /// The manifest would not be read again.
    #[error("tried to write the manifest: {0}")]
    Manifest(String),
}

/// Makes the files of a bundle.
///
/// # Errors
/// [`Error`], with the cure.
pub fn pack(packing: Packing) -> Result<Files, Error> {
    let schema = Schema::parse(&packing.schema)
        .map_err(|faults| Error::Schema(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let names = bundle::input_names(&schema);
    let output = match packing.output {
        Some(output) => output,
        None => find_output(&packing.model, &names, &packing.golden)?,
    };
    let mut session = Session::open(&packing.model, &names, &output)?;
    let scores = gates::score_rows(&mut session, &packing.training_cells).map_err(Error::Run)?;
    let baseline = Baseline::of(&names, &packing.training_cells, &scores, &packing.facts.thresholds);
    let wrong = |error: &dyn std::fmt::Display| Error::Manifest(error.to_string());
    let card = packing.card.unwrap_or_else(|| card(&packing.facts));
    let mut files = Files::from([
        (bundle::MODEL.to_owned(), packing.model),
        (bundle::SCHEMA.to_owned(), packing.schema.into()),
        (bundle::BASELINE.to_owned(), serde_json::to_vec_pretty(&baseline).map_err(|error| wrong(&error))?.into()),
        (bundle::GOLDEN.to_owned(), golden::write(&packing.golden).map_err(|error| wrong(&error))?.into()),
        (bundle::CARD.to_owned(), card.into()),
    ]);
    let manifest = manifest(packing.facts, &schema, output, &files);
    let text = toml::to_string(&manifest).map_err(|error| wrong(&error))?;
    Manifest::parse(&text).map_err(Error::Manifest)?;
    files.insert(bundle::MANIFEST.to_owned(), text.into());
    Ok(files)
}

fn manifest(facts: Facts, schema: &Schema, output: OutputChoice, files: &Files) -> Manifest {
    let inputs = schema.inputs().iter().map(|place| &schema.features()[*place]);
    Manifest {
        format: FORMAT,
        name: facts.name,
        version: facts.version,
        created_at: facts.created_at.to_string(),
        trainer: facts.trainer,
        role: facts.role,
        schema_hash: schema.hash().to_owned(),
        inputs: inputs.clone().map(|feature| feature.name.to_string()).collect(),
        files: files.iter().map(|(name, bytes)| (name.clone(), bundle::sha256(bytes))).collect(),
        output,
        thresholds: facts.thresholds,
        tolerance: facts.tolerance,
        metrics: facts.metrics,
        training: facts.training,
        missing: inputs.map(|feature| (feature.name.to_string(), feature.missing)).collect(),
    }
}

/// Finds the output and column whose numbers are nearest to the trainer's probabilities.
fn find_output(model: &[u8], names: &[&str], golden: &[GoldenRow]) -> Result<OutputChoice, Error> {
    let candidates = Session::output_candidates(model)?;
    let mut nearest: Option<(f64, OutputChoice)> = None;
    for name in &candidates {
        for column in 0..2 {
            let output = OutputChoice { name: name.clone(), column };
            let mut session = Session::open(model, names, &output)?;
            let rows = golden.iter().map(|golden| golden.row.as_slice());
            // A column that is not there is no error: the other may be.
            let Ok(scores) = gates::score(&mut session, rows) else { continue };
            let off = golden.iter().zip(&scores).map(|(golden, score)| (golden.probability - score).abs());
            let distance = off.sum::<f64>() / golden.len().max(1) as f64;
            if distance.is_finite() && nearest.as_ref().is_none_or(|(best, _)| distance < *best) {
                nearest = Some((distance, output));
            }
        }
    }
    let distance = nearest.as_ref().map_or(f64::INFINITY, |(distance, _)| *distance);
    match nearest {
        Some((_, output)) if distance <= DISTANCE_MEAN_MAX => Ok(output),
        Some(_) | None => Err(Error::NoOutput { tried: candidates.join(", "), distance }),
    }
}

fn card(facts: &Facts) -> String {
    use std::fmt::Write as _;
    let mut text = format!("# {} {}\n\nTrained with {}.\n\n", facts.name, facts.version, facts.trainer);
    let training = &facts.training;
    let _infallible = writeln!(
        text,
        "Training: {} rows, {} frauds, {} to {}, labels known after {} days.\n",
        training.rows, training.frauds, training.from, training.to, training.label_delay_days
    );
    for (name, value) in &facts.metrics {
        let _infallible = writeln!(text, "- {name}: {value:.4}");
    }
    text
}

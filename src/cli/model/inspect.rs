//! `fraudd model inspect`: what a bundle is, for people.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Error;
use crate::runtime::release::Bundle;
use crate::runtime::release::onnx::Survey;

/// What `fraudd model inspect` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    pub directory: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let bundle = Bundle::load(&args.directory)?;
    let mut out = std::io::stdout().lock();
    let manifest = &bundle.manifest;
    writeln!(out, "{} {} ({}, {:?})", manifest.name, manifest.version, manifest.trainer, manifest.role)?;
    writeln!(out, "packed      {}", manifest.created_at)?;
    writeln!(out, "model       {} bytes, sha256 {}", bundle.model.len(), bundle.model_sha256)?;
    let operators = Survey::of(&bundle.model).map_or_else(|reason| reason, |survey| list(survey.operators));
    writeln!(out, "operators   {operators}")?;
    writeln!(
        out,
        "schema      {} of {} features are inputs, hash {}",
        manifest.inputs.len(),
        bundle.schema.features().len(),
        manifest.schema_hash
    )?;
    writeln!(out, "output      {}, column {}", manifest.output.name, manifest.output.column)?;
    let limits = manifest.thresholds;
    let challenge = limits.challenge.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    writeln!(out, "thresholds  review {}, challenge {challenge}, decline {}", limits.review, limits.decline)?;
    let frauds = bundle.golden.iter().filter(|row| row.label).count();
    writeln!(out, "golden      {} rows, {frauds} frauds", bundle.golden.len())?;
    writeln!(out, "profile     of {} rows", bundle.baseline.rows)?;
    let training = &manifest.training;
    writeln!(
        out,
        "training    {} rows, {} frauds, {} to {}",
        training.rows, training.frauds, training.from, training.to
    )?;
    for (name, value) in &manifest.metrics {
        writeln!(out, "  {name} {value:.4}")?;
    }
    writeln!(out, "signature   {}", if bundle.signature.is_some() { "present" } else { "none" })?;
    Ok(ExitCode::SUCCESS)
}

fn list(operators: impl IntoIterator<Item = String>) -> String {
    operators.into_iter().collect::<Vec<_>>().join(", ")
}

//! `fraudd model pack`: from a trainer's export to a bundle's directory.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Deserialize;

use super::{Error, table};
use crate::domain::Thresholds;
use crate::runtime::clock::Clock;
use crate::runtime::inference::OutputChoice;
use crate::runtime::release::bundle::{self, Files};
use crate::runtime::release::manifest::{Role, Tolerance, Training};
use crate::runtime::release::pack::{self, Facts, Packing};
use crate::scoring::feature::Schema;

/// What `fraudd model pack` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The ONNX file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// The feature schema the model was trained with
    #[arg(long, value_name = "FILE")]
    pub schema: PathBuf,
    /// Golden rows, CSV, Parquet or JSON Lines: inputs, label, `probability` (the trainer's `predict_proba`), weight
    #[arg(long, value_name = "FILE")]
    pub golden: PathBuf,
    /// The training table, CSV or Parquet, for the reference profile
    #[arg(long, value_name = "FILE")]
    pub training: PathBuf,
    /// What the trainer knows: `{"trainer": .., "metrics": {..}, "training": {..}}`
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// The model card, Markdown; a short one is written without
    #[arg(long, value_name = "FILE")]
    pub card: Option<PathBuf>,
    /// The model's name
    #[arg(long)]
    pub name: String,
    /// The model's version
    #[arg(long)]
    pub version: String,
    /// What it is meant to be
    #[arg(long, value_enum, default_value_t = RoleArg::Candidate)]
    pub role: RoleArg,
    /// Where it goes: a directory that holds no bundle yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The score limits
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
    /// Where the probability is, and how exact it must be
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// The score limits.
#[derive(Clone, Debug, clap::Args)]
pub struct ThresholdArgs {
    /// From this score on: review
    #[arg(long, value_name = "SCORE")]
    pub review: f64,
    /// From this score on: challenge
    #[arg(long, value_name = "SCORE")]
    pub challenge: Option<f64>,
    /// From this score on: decline
    #[arg(long, value_name = "SCORE")]
    pub decline: f64,
}

/// Where the probability is, and how exact it must be.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadingArgs {
    /// The output that holds the probability; found by the golden rows without
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// Its column of the fraud class
    #[arg(long, value_name = "PLACE", default_value_t = 1, requires = "output")]
    pub column: usize,
    /// The share of golden rows that may be off by more than 1e-5
    #[arg(long, value_name = "SHARE", default_value_t = Tolerance::DEFAULT.share)]
    pub tolerance_share: f64,
    /// How far the furthest may be off
    #[arg(long, value_name = "DISTANCE", default_value_t = Tolerance::DEFAULT.size)]
    pub tolerance_size: f64,
}

/// A role on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Answers
    Active,
    /// Waits, validated
    Standby,
    /// Must earn its place
    Candidate,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TrainerFacts {
    trainer: String,
    metrics: BTreeMap<String, f64>,
    training: Training,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let schema_text = super::read_text(&args.schema)?;
    let schema = Schema::parse(&schema_text).map_err(|faults| Error::Content {
        path: args.schema.clone(),
        reason: faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    })?;
    let names = bundle::input_names(&schema);
    let files = pack::pack(Packing {
        model: super::read(&args.model)?.into(),
        golden: table::read_golden(&args.golden, &names)?,
        training_cells: table::read_profile(&args.training, &names)?,
        schema: schema_text,
        card: args.card.as_deref().map(super::read_text).transpose()?,
        output: args.reading.output.clone().map(|name| OutputChoice { name, column: args.reading.column }),
        facts: facts(args)?,
    })?;
    write(&args.out, &files)?;
    writeln!(std::io::stdout(), "packed {} {} into {}", args.name, args.version, args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

fn facts(args: &Args) -> Result<Facts, Error> {
    let known: TrainerFacts = match &args.facts {
        None => TrainerFacts { trainer: "unknown".to_owned(), ..TrainerFacts::default() },
        Some(path) => serde_json::from_str(&super::read_text(path)?)
            .map_err(|error| Error::Content { path: path.clone(), reason: error.to_string() })?,
    };
    let ThresholdArgs { review, challenge, decline } = args.thresholds;
    Ok(Facts {
        name: args.name.clone(),
        version: args.version.clone(),
        trainer: known.trainer,
        role: match args.role {
            RoleArg::Active => Role::Active,
            RoleArg::Standby => Role::Standby,
            RoleArg::Candidate => Role::Candidate,
        },
        created_at: Clock::system().now(),
        thresholds: Thresholds { review, challenge, decline },
        tolerance: Tolerance {
            share: args.reading.tolerance_share,
            size: args.reading.tolerance_size,
            ..Tolerance::DEFAULT
        },
        metrics: known.metrics,
        training: known.training,
    })
}

fn write(directory: &Path, files: &Files) -> Result<(), Error> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    };
    let manifest = directory.join(bundle::MANIFEST);
    if manifest.exists() {
        let reason = "there is a bundle already; a version is packed once, choose another".to_owned();
        return Err(Error::Content { path: directory.to_owned(), reason });
    }
    std::fs::create_dir_all(directory).map_err(failed("create", directory))?;
    // The manifest last: a bundle without one is no bundle.
    for (name, bytes) in files.iter().filter(|(name, _)| *name != bundle::MANIFEST) {
        let path = directory.join(name);
        std::fs::write(&path, bytes).map_err(failed("write", &path))?;
    }
    let bytes = files.get(bundle::MANIFEST).map(AsRef::as_ref).unwrap_or_default();
    std::fs::write(&manifest, bytes).map_err(failed("write", &manifest))
}

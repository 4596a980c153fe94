//! The ground of the demonstration: a directory with bundles, history, state and record; the settings; the world whose
//! payments come.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::app::History;
use crate::config::Settings;
use crate::domain::{Span, Timestamp};
use crate::runtime::clock::Clock;
use crate::runtime::release::bundle::{MANIFEST, sha256};
use crate::scoring::feature::Schema;
use crate::simulator::text::json;
use crate::simulator::{Event, Options, Pattern, Simulation};
use crate::tasks::faults::Faults;

/// What of the defaults is other here.
pub(super) const PROFILE: &str = include_str!("../../../config/demo.toml");
/// By which table it is healed here.
pub(super) const TABLE: &str = include_str!("../../../config/healing-demo.toml");
/// The version that the bad release gets.
pub(super) const BAD_VERSION: &str = "1.1.0";
/// Days of payments that come after the history: they are made as they are needed.
const DAYS_TO_COME: u32 = 365;
/// By how much the world is smaller than the one that the models were trained in.
const PART: u32 = 5;
/// The files of the history.
const TRANSACTIONS: &str = "history.jsonl";
const LABELS: &str = "history-labels.jsonl";

/// Everything that the demonstration stands on.
pub(super) struct Ground {
    pub(super) settings: Settings,
    pub(super) faults: Faults,
    pub(super) history: History,
    /// The payments from the end of the history on.
    pub(super) life: Option<Simulation>,
    /// Payments in the history.
    pub(super) past: u64,
}

/// How the ground is laid.
pub(super) struct Plan<'a> {
    pub(super) directory: &'a Path,
    pub(super) layers: &'a [PathBuf],
    pub(super) seed: u64,
    pub(super) history_days: u32,
}

/// Lays the ground. `progress` hears how many payments of the history are written.
///
/// # Errors
/// Settings with faults, files that cannot be written.
pub(super) fn lay(plan: &Plan<'_>, progress: &dyn Fn(u64)) -> anyhow::Result<Ground> {
    let directory = plan.directory.to_owned();
    let write = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("tried to write {}", path.display()))?;
        Ok(path)
    };
    let mut layers = vec![write("demo.toml", PROFILE)?];
    layers.extend_from_slice(plan.layers);
    let table = write("healing-demo.toml", TABLE)?;
    let mut settings = settings(&layers, &directory, &table)?;
    settings.models.directory = bundles(&settings, &directory)?;
    let faults = Faults::possible();
    settings.inference.faults = faults.clone();
    settings.listen = ([127, 0, 0, 1], 0).into();
    let options = world(plan.history_days);
    let begins = options.start.plus(Span::from_days(i64::from(plan.history_days)));
    let made = Simulation::new(options, &ChaCha8Rng::seed_from_u64(plan.seed));
    let mut life = made.map_err(|faults| anyhow::anyhow!(faults.join("; ")))?;
    let past = write_past(&mut life, begins, &directory, progress)?;
    let history = History {
        transactions: vec![directory.join(TRANSACTIONS)],
        labels: vec![directory.join(LABELS)],
        strict: true,
        ..History::default()
    };
    Ok(Ground { settings, faults, history, life: Some(life), past })
}

/// A fifth of the world that the shipped models were trained in, with as many terminals in reach of everybody: a day of it
/// passes in seconds. It begins so long ago that all of its payments lie in the past.
fn world(history_days: u32) -> Options {
    let days = history_days + DAYS_TO_COME;
    let midnight = Clock::system().now().seconds() / 86_400 * 86_400;
    let start = Timestamp::from_seconds(midnight).minus(Span::from_days(i64::from(days) + 1));
    let whole = Options::default();
    let mut rates = whole.rates;
    for pattern in Pattern::ALL {
        rates.set(pattern, whole.rates.of(pattern) / f64::from(PART));
    }
    Options {
        customers: whole.customers / PART,
        terminals: whole.terminals / PART,
        radius: whole.radius * f64::from(PART).sqrt(),
        rates,
        days,
        start,
        ..whole
    }
}

fn settings(layers: &[PathBuf], directory: &Path, table: &Path) -> anyhow::Result<Settings> {
    let mut environment: Vec<(String, String)> = std::env::vars().collect();
    let ours = [("FRAUDD__STATE__DIRECTORY", directory.join("state")), ("FRAUDD__HEALING__TABLE", table.to_owned())];
    for (name, value) in ours {
        environment.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        environment.push((name.to_owned(), value.display().to_string()));
    }
    let loaded = Settings::load(layers, environment).map(|(settings, _)| settings);
    loaded.map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
        anyhow::anyhow!("the settings have {} faults:\n{}", lines.len(), lines.join("\n"))
    })
}

/// Copies the bundles that answer and stand by, so that a bad one can be put beside them.
fn bundles(settings: &Settings, directory: &Path) -> anyhow::Result<PathBuf> {
    let models = directory.join("models");
    for place in [&settings.models.active, &settings.models.standby] {
        if place.is_empty() {
            bail!("the demonstration needs models.active and models.standby");
        }
        let (from, to) = (settings.models.locate(place), models.join(place));
        fs::create_dir_all(&to).with_context(|| format!("tried to create {}", to.display()))?;
        let files = fs::read_dir(&from).with_context(|| format!("tried to read the bundle {}", from.display()))?;
        for file in files {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))
                .with_context(|| format!("tried to copy {}", file.path().display()))?;
        }
    }
    Ok(models)
}

/// Writes what happened before `begins`; the payment that is taken too many is the price of an iterator: it is lost.
fn write_past(
    life: &mut Simulation,
    begins: Timestamp,
    directory: &Path,
    progress: &dyn Fn(u64),
) -> anyhow::Result<u64> {
    let create = |name: &str| -> anyhow::Result<BufWriter<fs::File>> {
        let path = directory.join(name);
        Ok(BufWriter::new(fs::File::create(&path).with_context(|| format!("tried to create {}", path.display()))?))
    };
    let (mut transactions, mut labels) = (create(TRANSACTIONS)?, create(LABELS)?);
    let (mut line, mut written) = (String::new(), 0);
    for event in life {
        line.clear();
        match event {
            Event::Transaction(transaction, truth) => {
                if truth.arrives_at >= begins {
                    break;
                }
                json::transaction(&transaction, &mut line);
                line.push('\n');
                transactions.write_all(line.as_bytes())?;
                written += 1;
                if written % 10_000 == 0 {
                    progress(written);
                }
            }
            Event::Label(label) => {
                json::label(&label, &mut line);
                line.push('\n');
                labels.write_all(line.as_bytes())?;
            }
        }
    }
    transactions.flush()?;
    labels.flush()?;
    Ok(written)
}

/// Puts a release beside the others that passes every gate and is wrong: the model was trained with windows of 7 and 30
/// days, and its features are shipped with windows of one. Golden rows cannot tell: they begin behind the features.
///
/// # Errors
/// Files that cannot be read or written, a bundle of another shape.
pub(super) fn bad_release(settings: &Settings) -> anyhow::Result<(String, String)> {
    let from = settings.models.locate(&settings.models.active);
    let (name, _) = settings.models.active.split_once('/').context("models.active is no NAME/VERSION")?;
    let to = settings.models.directory.join(name).join(BAD_VERSION);
    fs::create_dir_all(&to)?;
    let read = |file: &str| fs::read_to_string(from.join(file)).with_context(|| format!("tried to read {file}"));
    let (features, manifest) = (read("features.toml")?, read(MANIFEST)?);
    let wrong = shortened(&features);
    let faults = |_| anyhow::anyhow!("the schema of the bad release has faults");
    let (right, bad) = (Schema::parse(&features).map_err(faults)?, Schema::parse(&wrong).map_err(faults)?);
    let (_, version) = settings.models.active.split_once('/').unwrap_or_default();
    let manifest = manifest
        .replace(right.hash(), bad.hash())
        .replace(&sha256(features.as_bytes()), &sha256(wrong.as_bytes()))
        .replace(&format!("version = \"{version}\""), &format!("version = \"{BAD_VERSION}\""));
    for file in ["MODEL_CARD.md", "baseline.json", "golden.jsonl", "model.onnx"] {
        fs::copy(from.join(file), to.join(file)).with_context(|| format!("tried to copy {file}"))?;
    }
    fs::write(to.join("features.toml"), wrong)?;
    // The manifest last: a bundle without one is no bundle.
    fs::write(to.join(MANIFEST), manifest)?;
    Ok((name.to_owned(), BAD_VERSION.to_owned()))
}

/// Makes the long windows of customers one day long.
fn shortened(features: &str) -> String {
    let block = |text: &str| {
        if text.contains("entity = \"customer\"") {
            text.replace("window = \"7d\"", "window = \"1d\"").replace("window = \"30d\"", "window = \"1d\"")
        } else {
            text.to_owned()
        }
    };
    features.split("[[feature]]").map(block).collect::<Vec<_>>().join("[[feature]]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bad_release_has_the_same_inputs_and_other_windows() {
        let features = include_str!("../../../models/card-fraud/1.0.0/features.toml");
        let wrong = shortened(features);
        let (right, bad) = (Schema::parse(features).expect("a schema"), Schema::parse(&wrong).expect("a schema"));
        assert_ne!(right.hash(), bad.hash());
        let names = |schema: &Schema| schema.features().iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&right), names(&bad));
    }
}

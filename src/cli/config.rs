//! `fraudd config`: check the settings, show what is in effect.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{Effective, Settings};
use crate::edge::wire::Mappings;
use crate::runtime::release::bundle::Bundle;
use crate::runtime::reload::Texts;
use crate::scoring::feature::Schema;

/// Which files the settings come from.
#[derive(Clone, Debug, clap::Args)]
pub struct LayerArgs {
    /// Settings over the defaults; repeatable, later ones win; the environment (`FRAUDD__SECTION__KEY`) wins over all
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
}

impl LayerArgs {
    /// Loads the settings of this process.
    ///
    /// # Errors
    /// Every fault of every layer, a line each.
    pub fn load(&self) -> anyhow::Result<(Settings, Vec<Effective>)> {
        self.load_with(Vec::new())
    }

    /// Loads the settings of this process, with variables over its environment.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(&self, more: Vec<(String, String)>) -> anyhow::Result<(Settings, Vec<Effective>)> {
        Settings::load(&self.config, std::env::vars().chain(more).collect()).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
            anyhow::anyhow!("the settings have {} faults:\n{}", lines.len(), lines.join("\n"))
        })
    }
}

/// What `fraudd config` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  fraudd config check --config config/run.toml\n  fraudd config show | grep limits")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Check settings, rules, lists, policy and mappings; every fault at once, exit code 1 when there is one
    Check(LayerArgs),
    /// Show every setting in effect and where it comes from; secrets as ***
    Show(LayerArgs),
}

/// Runs the command.
///
/// # Errors
/// Settings with faults, or a closed standard output.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Show(layers) => {
            for setting in layers.load()?.1 {
                writeln!(out, "{} = {}  # {}", setting.key, setting.value, setting.origin)?;
            }
        }
        Command::Check(layers) => {
            let faults = match layers.load() {
                Ok((settings, _)) => file_faults(&settings),
                Err(error) => vec![error.to_string()],
            };
            for fault in &faults {
                writeln!(out, "{fault}")?;
            }
            if !faults.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
            writeln!(out, "the configuration is valid")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks what the settings point to: rules, lists, policy against the active schema, and mappings.
fn file_faults(settings: &Settings) -> Vec<String> {
    let mut faults = Vec::new();
    match active_schema(settings) {
        Ok(schema) => {
            let checked = Texts::read(&settings.files).and_then(|texts| texts.check(&schema));
            faults.extend(checked.err().into_iter().flat_map(|error| error.faults));
        }
        Err(fault) => faults.push(fault),
    }
    if let Some(path) = &settings.mapping {
        let named = |fault: String| format!("{}: {fault}", path.display());
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let parsed = Mappings::parse(&text);
                faults.extend(parsed.err().into_iter().flatten().map(|fault| named(fault.to_string())));
            }
            Err(error) => faults.push(named(format!("cannot be read: {error}"))),
        }
    }
    faults
}

fn active_schema(settings: &Settings) -> Result<Arc<Schema>, String> {
    let path = settings.models.directory.join(&settings.models.active);
    let bundle = Bundle::load(&path).map_err(|error| format!("models.active: {error}"))?;
    Ok(bundle.schema)
}

//! `fraudd audit`: make a recorded decision again; check, replay and tell the record of healing.

mod record;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::config::LayerArgs;
use crate::app;
use crate::config::Settings;
use crate::edge::wire::{Contract, record as wire};
use crate::runtime::decisions::Record;
use crate::runtime::reproduce::{self, Reproduction};

/// The largest record that is read, in bytes.
const RECORD_LEN_MAX: u64 = 4 << 20;

/// What `fraudd audit` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a recorded decision again and tell every difference; exit code 1 when there is one
    Reproduce(ReproduceArgs),
    /// Check that nothing of a record was changed, moved or taken out; exit code 1 when something was
    Verify(VerifyArgs),
    /// Plan everything of a record again from its evidence; exit code 1 when anything comes out otherwise
    Replay(PathArgs),
    /// Tell the incidents of a record as stories with times
    Explain(ExplainArgs),
}

/// Where a record lies.
#[derive(Clone, Debug, clap::Args)]
struct PathArgs {
    /// The directory of the record (state.directory/audit), or one of its files
    path: PathBuf,
}

/// What to check a record against.
#[derive(Clone, Debug, clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    record: PathArgs,
    /// The hash of the last record as it was kept elsewhere (healing.audit.head of GET /v1/health)
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
}

/// Which incidents to tell.
#[derive(Clone, Debug, clap::Args)]
struct ExplainArgs {
    #[command(flatten)]
    record: PathArgs,
    /// Only this incident
    #[arg(long, value_name = "NUMBER")]
    incident: Option<u64>,
}

/// Which decision, and with which release.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct ReproduceArgs {
    /// The transaction id to ask the service for
    #[arg(required_unless_present = "record")]
    transaction_id: Option<String>,
    /// A saved answer of GET /v1/decisions/ID?features=true instead; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "transaction_id")]
    record: Option<PathBuf>,
    /// The service that decided
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// API key with the scope read; better through the environment (`FRAUDD_API_KEY`)
    #[arg(long, env = "FRAUDD_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    #[command(flatten)]
    layers: LayerArgs,
}

const EXAMPLES: &str = "\
The model, rules, lists and policy come from the settings (--config), as for serve: give those that were in
force, and the decision comes out the same.

Examples:
  fraudd audit reproduce tx-1001 --config config/run.toml
  curl -s 'http://127.0.0.1:8080/v1/decisions/tx-1001?features=true' | fraudd audit reproduce --record -";

/// Runs the command.
///
/// # Errors
/// A record that cannot be had or read, settings with faults, a model that does not load.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Reproduce(args) => reproduce(args),
        Command::Verify(args) => record::verify(&args.record.path, args.head.as_deref()),
        Command::Replay(args) => record::replay(&args.path),
        Command::Explain(args) => record::explain(&args.record.path, args.incident),
    }
}

fn reproduce(args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.layers.load()?;
    let body = match (&args.record, &args.transaction_id) {
        (Some(path), _) => saved(path)?,
        (None, Some(id)) => fetched(args, id)?,
        (None, None) => bail!("give a transaction id or --record FILE"),
    };
    let (record, reproduction) = reproduced(settings, &body)?;
    tell(&record, &reproduction)?;
    Ok(if reproduction.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn reproduced(settings: Settings, body: &[u8]) -> anyhow::Result<(Record, Reproduction)> {
    let mut contract = Contract::new(Arc::new(settings.rates.clone()));
    contract.partition_key.clear();
    let release = app::release_of(settings)?;
    let names: Vec<&str> = release.schema.features().iter().map(|feature| feature.name.as_str()).collect();
    let record = wire::read(body, &contract, &names).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let reproduction = runtime.block_on(reproduce::reproduce(&record, &release));
    Ok((record, reproduction))
}

fn saved(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(RECORD_LEN_MAX).read_to_end(&mut body)?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("tried to read {}", path.display()))?;
        file.take(RECORD_LEN_MAX).read_to_end(&mut body)?;
    }
    Ok(body)
}

fn fetched(args: &ReproduceArgs, id: &str) -> anyhow::Result<Vec<u8>> {
    let mut url = reqwest::Url::parse(&args.url).with_context(|| format!("--url {}: not a URL", args.url))?;
    // A segment of its own, so that an id with a slash or a question mark stays an id.
    url.path_segments_mut().map_err(|()| anyhow::anyhow!("--url {}: no base URL", args.url))?.extend([
        "v1",
        "decisions",
        id,
    ]);
    url.set_query(Some("features=true"));
    let mut request = reqwest::blocking::Client::new().get(url.clone());
    if let Some(key) = &args.api_key {
        request = request.header("x-api-key", key);
    }
    let answer = request.send().with_context(|| format!("tried to ask {url}; is the service up there?"))?;
    let status = answer.status();
    let body = answer.bytes()?.to_vec();
    if !status.is_success() {
        bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}

fn tell(record: &Record, reproduction: &Reproduction) -> io::Result<()> {
    let (then, again) = (&record.decision, &reproduction.decided);
    let mut out = io::stdout().lock();
    let score = reproduction.score.map_or("none".to_owned(), |score| score.get().to_string());
    writeln!(
        out,
        "{}: {} by {}, risk {}, score {score}",
        then.transaction_id,
        again.outcome.name(),
        again.source.name(),
        again.risk_score
    )?;
    if reproduction.differences.is_empty() {
        return writeln!(out, "the same decision as recorded at {}", then.evaluated_at);
    }
    for difference in &reproduction.differences {
        writeln!(out, "  {difference}")?;
    }
    writeln!(out, "not the same decision, or not made by the same release")
}

//! `fraudd topics`: make the topics of a stream, say what is wrong with them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use super::config::LayerArgs;
use crate::app;
use crate::config::Settings;
use crate::edge::kafka::connect;
use crate::edge::kafka::options::Options;
use crate::edge::kafka::topics::{
    Administrator, Finding, Found, Made, PARTITIONS_DEFAULT, Retention, Shape, Topic, judge, plan,
};

/// What `fraudd topics` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  fraudd topics create --config config/run.toml --partitions 12 --replication 3
  fraudd topics create --config config/run.toml --dry-run
  fraudd topics check --config config/run.toml --json";

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make the topics that are missing; those that are there stay as they are and are checked
    Create {
        #[command(flatten)]
        layers: LayerArgs,
        #[command(flatten)]
        patience: PatienceArgs,
        /// Partitions of the input and of all that follow it; kafka.partitions by default, else the input's, else 6
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        partitions: Option<u32>,
        /// Copies of each; 3 by default, fewer when there are fewer brokers
        #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=100))]
        replication: Option<u32>,
        /// Have the broker check what would be made, and make nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Say what is wrong; exit code 1 when anything is
    Check {
        #[command(flatten)]
        layers: LayerArgs,
        #[command(flatten)]
        patience: PatienceArgs,
        /// Findings as JSON
        #[arg(long)]
        json: bool,
    },
}

/// How long a broker may take to be there.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PatienceArgs {
    /// How long to wait for a broker that does not answer, such as 1m
    #[arg(long, value_name = "SPAN", default_value = "15s", value_parser = span)]
    wait: crate::domain::Span,
}

fn span(text: &str) -> Result<crate::domain::Span, String> {
    crate::domain::Span::parse(text).ok_or_else(|| "write for example 1m".into())
}

/// What both commands work with.
struct Work {
    options: Options,
    retention: Retention,
    plan: Vec<Topic>,
    administrator: Administrator,
}

/// Runs the command: 0 when all topics are right, 1 when not.
///
/// # Errors
/// Settings with faults, and a broker that cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Create { layers, patience, partitions, replication, dry_run } => {
            let work = Work::open(&layers.load()?.0, patience.wait.to_std())?;
            runtime.block_on(create(&work, (*partitions, *replication), *dry_run, &mut out))
        }
        Command::Check { layers, patience, json } => {
            let work = Work::open(&layers.load()?.0, patience.wait.to_std())?;
            let findings = runtime.block_on(work.check())?.1;
            if *json {
                serde_json::to_writer_pretty(&mut out, &serde_json::json!({ "findings": findings }))?;
                writeln!(out)?;
            } else {
                tell(&findings, &mut out)?;
            }
            Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

impl Work {
    /// Reaches the broker, so that what is wrong with it is told as such.
    fn open(settings: &Settings, patience: Duration) -> anyhow::Result<Self> {
        let Some(options) = settings.kafka.clone() else {
            bail!("no Kafka is set: kafka.bootstrap_servers is empty");
        };
        let retention = app::retention(settings, &app::schemas(settings)?);
        let mut waiting = |reason: &connect::Error| {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "waiting: {reason}");
        };
        connect::reach(&options, patience, &mut waiting)?;
        let (plan, administrator) = (plan(&options, &retention), Administrator::new(&options)?);
        Ok(Self { options, retention, plan, administrator })
    }

    async fn check(&self) -> anyhow::Result<(BTreeMap<String, Found>, Vec<Finding>)> {
        let found = self.administrator.find(&self.plan).await?;
        let findings = judge(&self.plan, &found, &self.retention, self.options.partitions);
        Ok((found, findings))
    }
}

async fn create(
    work: &Work,
    (partitions, replication): (Option<u32>, Option<u32>),
    is_dry: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let there = work.administrator.find(&work.plan).await?;
    let input = there.get(&work.options.topics.transactions).map(|input| input.partitions);
    let partitions = partitions.or(work.options.partitions).or(input).unwrap_or(PARTITIONS_DEFAULT);
    let brokers = u32::try_from(work.administrator.broker_count()?).unwrap_or(u32::MAX);
    let replicas = replication.unwrap_or_else(|| brokers.clamp(1, 3));
    let missing: Vec<Topic> = work.plan.iter().filter(|topic| !there.contains_key(&topic.name)).cloned().collect();
    let shape = Shape { partitions, replicas };
    let made = work.administrator.make(&missing, shape, is_dry).await?;
    // The broker tells the news to its own metadata in a moment; a dry run has made nothing to look at.
    let found = if is_dry { there } else { settled(work, &made).await? };
    let findings = judge(&work.plan, &found, &work.retention, Some(partitions));
    let of_there: Vec<Finding> =
        findings.into_iter().filter(|finding| !(is_dry && finding.code == "missing")).collect();
    for topic in &work.plan {
        let count = topic.partition_count(shape.partitions);
        let differs = of_there.iter().any(|finding| finding.topic == topic.name);
        let became = match made.get(&topic.name) {
            Some(Made::Made) if is_dry => format!("would be made: {count} partitions, {replicas} copies"),
            Some(Made::Made) => format!("made: {count} partitions, {replicas} copies"),
            Some(Made::Refused(said)) => format!("refused: {said}"),
            Some(Made::There) | None if differs => "was there, and differs:".to_owned(),
            Some(Made::There) | None => "was there".to_owned(),
        };
        writeln!(out, "{:<24} {became}", topic.name)?;
        for finding in of_there.iter().filter(|finding| finding.topic == topic.name) {
            writeln!(out, "{:<24}   {}; {}", "", finding.problem, finding.cure)?;
        }
    }
    let is_refused = made.values().any(|made| matches!(made, Made::Refused(_)));
    Ok(if is_refused || !of_there.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Looks again until what was made is seen, for a while.
async fn settled(work: &Work, made: &BTreeMap<String, Made>) -> anyhow::Result<BTreeMap<String, Found>> {
    const LOOKS_MAX: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);
    let names = || made.iter().filter(|(_, made)| **made == Made::Made).map(|(name, _)| name);
    let mut found = BTreeMap::new();
    for _ in 0..LOOKS_MAX {
        found = work.administrator.find(&work.plan).await.context("looking at what was made")?;
        let is_whole = |name: &String| found.get(name).is_some_and(|found| !found.settings.is_empty());
        if names().all(is_whole) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(found)
}

fn tell(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        writeln!(out, "{}: {}; {}", finding.topic, finding.problem, finding.cure)?;
    }
    if findings.is_empty() { writeln!(out, "the topics are right") } else { Ok(()) }
}

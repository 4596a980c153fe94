//! `fraudd dead`: look at records that could not be decided, and send them again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;

use super::config::LayerArgs;
use super::interrupt;
use crate::domain::{Span, Timestamp};
use crate::edge::kafka::dead::reader::{self, Ended, Filter, Found, Next};
use crate::edge::kafka::dead::replay::{Changed, Fate, Replay, fate};
use crate::edge::kafka::options::Options;
use crate::runtime::clock::Clock;
use crate::tasks::Shutdown;

/// What `fraudd dead` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  fraudd dead list --config config/run.toml --since 2h
  fraudd dead list --config config/run.toml --filter stage=decode --json
  fraudd dead replay --config config/run.toml --filter reason=unknown_field --dry-run
  fraudd dead replay --config config/run.toml --filter reason=unknown_field";

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List dead letters, oldest first in each partition
    List {
        #[command(flatten)]
        chosen: ChosenArgs,
        /// One JSON object a line, with the value
        #[arg(long)]
        json: bool,
    },
    /// Send dead letters to the input again, with the number of their attempt
    Replay {
        #[command(flatten)]
        chosen: ChosenArgs,
        /// Only say what would be sent
        #[arg(long)]
        dry_run: bool,
        /// Send also what was masked or cut, as it is
        #[arg(long)]
        force: bool,
    },
}

/// Which letters.
#[derive(Clone, Debug, clap::Args)]
struct ChosenArgs {
    #[command(flatten)]
    layers: LayerArgs,
    /// Such as `reason=bad_json,stage=decode`; also topic= and partition=; a key given twice means either
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = Filter::parse, default_value = "")]
    filter: Filter,
    /// Only this reason; the same as --filter reason=
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Only those written since: a span such as 2h, or a time such as 2026-03-01T10:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// At most so many; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u64,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    Ago(Span),
    At(Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    let parsed = Span::parse(text).map(Since::Ago).or_else(|| Timestamp::parse(text).map(Since::At));
    parsed.ok_or_else(|| "write for example 2h or 2026-03-01T10:00:00Z".into())
}

impl ChosenArgs {
    fn filter(&self) -> Filter {
        let mut filter = self.filter.clone();
        filter.reasons.extend(self.reason.iter().cloned());
        filter
    }

    fn since_ms(&self) -> Option<i64> {
        let at = match self.since? {
            Since::Ago(span) => Clock::system().now().minus(span),
            Since::At(at) => at,
        };
        Some(at.micros() / 1_000)
    }
}

/// Runs the command: 0 when all was listed or sent, 1 when some was not.
///
/// # Errors
/// Settings with faults, and a broker that cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (shutdown, done) = (Shutdown::default(), Shutdown::default());
    let watch = interrupt::watch(shutdown.clone(), done.clone())?;
    let ended = match &args.command {
        Command::List { chosen, json } => list(chosen, *json, &shutdown),
        Command::Replay { chosen, dry_run, force } => replay(chosen, (*dry_run, *force), &shutdown),
    };
    done.ask();
    // It was asked to end and has nothing left to say.
    let _ = watch.join();
    let code = ended?;
    Ok(if shutdown.is_asked() { ExitCode::from(interrupt::EXIT_INTERRUPTED) } else { code })
}

fn options(chosen: &ChosenArgs) -> anyhow::Result<Options> {
    match chosen.layers.load()?.0.kafka {
        Some(options) => Ok(options),
        None => bail!("no Kafka is set: kafka.bootstrap_servers is empty"),
    }
}

/// Visits the chosen letters in order; says how many there were.
fn visit(
    chosen: &ChosenArgs,
    options: &Options,
    shutdown: &Shutdown,
    visit: &mut dyn FnMut(&Found) -> anyhow::Result<()>,
) -> anyhow::Result<(u64, Ended)> {
    let filter = chosen.filter();
    let (mut count, mut failed) = (0, None);
    let ended = reader::read(options, chosen.since_ms(), shutdown, &mut |found| {
        if !filter.accepts(&found.letter) {
            return Ok(Next::More);
        }
        count += 1;
        if let Err(error) = visit(&found) {
            failed = Some(error);
            return Ok(Next::Enough);
        }
        Ok(if chosen.limit > 0 && count >= chosen.limit { Next::Enough } else { Next::More })
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok((count, ended)),
    }
}

fn list(chosen: &ChosenArgs, json: bool, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
    let options = options(chosen)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let (count, _) = visit(chosen, &options, shutdown, &mut |found| {
        *reasons.entry(told(found, "reason")).or_default() += 1;
        if json {
            json_line(found, &mut out)?;
        } else {
            writeln!(out, "{}", line(found))?;
        }
        Ok(())
    })?;
    out.flush()?;
    let counted: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let by_reason = if counted.is_empty() { String::new() } else { format!(": {}", counted.join(", ")) };
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{count} dead letters in {}{by_reason}", options.topics.dead);
    Ok(ExitCode::SUCCESS)
}

fn told(found: &Found, name: &str) -> String {
    found.letter.told(name).unwrap_or("?").to_owned()
}

/// One line for people: place, time, why, where from.
fn line(found: &Found) -> String {
    let time = found.written_ms.map(|millis| Timestamp::from_micros(millis.saturating_mul(1_000)).to_string());
    let changed = match found.letter.told("changed") {
        Some(changed) => format!(" [{changed}]"),
        None => String::new(),
    };
    let of = |name| told(found, name);
    format!(
        "{}:{} {} {} at {}, attempt {}, from {} {}:{}{changed}: {}",
        found.partition,
        found.offset,
        time.unwrap_or_else(|| "?".into()),
        of("reason"),
        of("stage"),
        of("attempt"),
        of("topic"),
        of("partition"),
        of("offset"),
        of("error")
    )
}

fn json_line(found: &Found, out: &mut impl Write) -> anyhow::Result<()> {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers: Vec<_> = found.letter.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let object = serde_json::json!({
        "partition": found.partition,
        "offset": found.offset,
        "written_ms": found.written_ms,
        "reason": found.letter.told("reason"),
        "stage": found.letter.told("stage"),
        "error": found.letter.told("error"),
        "attempt": found.letter.attempt(),
        "changed": found.letter.changes(),
        "key": text(&found.letter.key),
        "value": text(&found.letter.value),
        "headers": headers,
    });
    serde_json::to_writer(&mut *out, &object)?;
    Ok(writeln!(out)?)
}

fn replay(chosen: &ChosenArgs, (is_dry, is_forced): (bool, bool), shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
    let options = options(chosen)?;
    let changed = if is_forced { Changed::Send } else { Changed::Refuse };
    let replay = if is_dry { None } else { Some(Replay::new(&options, changed)?) };
    let (mut ready, mut refused) = (0_u64, 0_u64);
    let bar = super::progress("replay");
    let seen = visit(chosen, &options, shutdown, &mut |found| {
        let fate = match &replay {
            Some(replay) => replay.send(&found.letter)?,
            None => fate(&found.letter, changed),
        };
        match fate {
            Fate::Sent => ready += 1,
            Fate::Refused(changes) => {
                refused += 1;
                let place = format!("{}:{}", found.partition, found.offset);
                let said = format!("{place} was {} and stays; --force sends it as it is", changes.join(" and "));
                bar.suspend(|| say(&said));
            }
        }
        bar.set_position(ready);
        Ok(())
    });
    // What was sent before an error counts too.
    let sent = replay.map(Replay::finish).unwrap_or_default();
    bar.finish_and_clear();
    let (_, ended) = seen?;
    let early = if ended == Ended::Early && shutdown.is_asked() { ", stopped early" } else { "" };
    if is_dry {
        say(&format!("{ready} would be sent again, {refused} would stay{early}"));
    } else {
        say(&format!("{} sent again, {} not taken by the broker, {refused} stay{early}", sent.taken, sent.lost));
    }
    Ok(if sent.lost > 0 || refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn say(text: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_a_time() {
        assert!(matches!(since("2h"), Ok(Since::Ago(span)) if span == Span::from_seconds(7_200)));
        assert!(matches!(since("2026-03-01T10:00:00Z"), Ok(Since::At(_))));
        assert!(since("yesterday").is_err());
    }
}

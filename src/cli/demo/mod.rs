//! `fraudd demo`: the service heals itself before your eyes.
//!
//! ```text
//! ground    a directory: bundles, history, the demo profile; the world whose payments come
//! traffic   the world's payments over HTTP at a steady rate; every answer is looked at
//! scenes    what is put in, what must be found and done
//! course    well -> put in -> found -> done -> checked -> mended -> well, read from the record of healing
//! ```
//! Everything runs in this process, and what it shows is what the service itself wrote down.

mod course;
mod ground;
mod scenes;
mod table;
mod traffic;
mod watcher;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use tokio::sync::oneshot;

use super::interrupt;
use crate::app::{App, Terminal};
use crate::runtime::clock::{Clock, Moment};
use crate::tasks::Shutdown;
use crate::telemetry::logs;
use course::{Seen, Stage};
use ground::Ground;
use scenes::{SCENES, Scene};
use traffic::Traffic;
use watcher::Watcher;

/// How long the process waits for threads that hang when it ends.
const LEAVE: Duration = Duration::from_secs(1);

/// What `fraudd demo` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Play only this scene; repeatable
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(SCENES.iter().map(|scene| scene.name)))]
    scene: Vec<String>,
    /// The world: the same seed, the same payments
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Payments a second
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=2_000))]
    rate: u32,
    /// How long a scene may take until it counts as failed
    #[arg(long, value_name = "COUNT", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// Days of history that fill the windows first; below 62 the windows stay too short for drift
    #[arg(long, value_name = "COUNT", default_value_t = 62, value_parser = clap::value_parser!(u32).range(1..=365))]
    history_days: u32,
    /// Where to keep record and state; a directory that goes away without
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Settings over the demo profile; repeatable
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  fraudd demo                                     all scenes
  fraudd demo --scene fails --scene slow          two of them
  fraudd demo --keep shown; fraudd audit explain shown/state/audit

Exit code 0 when every scene was found and answered and no request failed, 1 when not, 130 after Ctrl-C.";

/// Plays the scenes and prints what came of them.
///
/// # Errors
/// Settings with faults, a service that does not start or does not answer at its doors.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let screen = Screen::new();
    let temporary = tempfile::tempdir().context("tried to make a directory")?;
    let directory = match &args.keep {
        None => temporary.path().to_owned(),
        Some(directory) => empty(directory)?,
    };
    screen.say(
        "demo profile: config/demo.toml and config/healing-demo.toml; short times, large budgets, wide tolerances",
    );
    let plan =
        ground::Plan { directory: &directory, layers: &args.config, seed: args.seed, history_days: args.history_days };
    let ground = ground::lay(&plan, &|written| screen.show(&format!("history: {written} payments")))?;
    logs::init(&ground.settings.log)?;
    let (stop, done) = (Shutdown::default(), Shutdown::default());
    let watch = interrupt::watch(stop.clone(), done.clone())?;
    let played = play(args, ground, &stop, &screen);
    done.ask();
    // It was asked to end and has nothing left to say.
    let _ = watch.join();
    screen.clear();
    let (seen, is_whole) = played?;
    let mut out = io::stdout().lock();
    table::write(&seen, &mut out)?;
    if let Some(directory) = &args.keep {
        writeln!(out, "the record: fraudd audit explain {}/state/audit", directory.display())?;
    }
    if stop.is_asked() {
        return Ok(ExitCode::from(interrupt::EXIT_INTERRUPTED));
    }
    let is_passed = is_whole && seen.iter().all(Seen::is_passed);
    Ok(if is_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn empty(directory: &PathBuf) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(directory).with_context(|| format!("tried to create {}", directory.display()))?;
    if std::fs::read_dir(directory)?.next().is_some() {
        bail!("{} is not empty: name a new directory", directory.display());
    }
    Ok(directory.clone())
}

/// Runs service and scenes together; gives what was seen, and whether every scene was played.
fn play(args: &Args, ground: Ground, stop: &Shutdown, screen: &Screen) -> anyhow::Result<(Vec<Seen>, bool)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let app = App::build(ground.settings.clone())?;
    let service = Shutdown::default();
    let (told, address) = oneshot::channel();
    let bar = screen.bar.clone();
    let terminal = Terminal {
        progress: Box::new(move |rows| bar.set_message(format!("filling the windows: {rows} payments"))),
        restoring: Box::new(|_| {}),
        // Nobody hears it only when the scenes have ended.
        listening: Box::new(move |address| {
            let _ = told.send(address);
        }),
    };
    let history = ground.history.clone();
    let scenes: Vec<Scene> = SCENES.iter().filter(|scene| is_wanted(args, scene)).copied().collect();
    let (served, played) = runtime.block_on(async {
        let serving = async {
            let served = app.run(history, service.clone(), terminal).await;
            if served.is_err() {
                // Scenes must not wait for a service that is gone.
                stop.ask();
            }
            served
        };
        let playing = async {
            let played = show(args, ground, (address, stop), (&scenes, screen)).await;
            service.ask();
            played
        };
        tokio::join!(serving, playing)
    });
    runtime.shutdown_timeout(LEAVE);
    served?;
    let seen = played?;
    let is_whole = seen.len() == scenes.len();
    Ok((seen, is_whole))
}

fn is_wanted(args: &Args, scene: &Scene) -> bool {
    args.scene.is_empty() || args.scene.iter().any(|name| name == scene.name)
}

/// Plays the scenes against the service at an address, once it has one.
async fn show(
    args: &Args,
    mut ground: Ground,
    (address, stop): (oneshot::Receiver<SocketAddr>, &Shutdown),
    (scenes, screen): (&[Scene], &Screen),
) -> anyhow::Result<Vec<Seen>> {
    let address = tokio::select! {
        // Interrupted first: an address in the same instant is not needed any more.
        biased;
        () = stop.asked() => return Ok(Vec::new()),
        address = address => address.context("the service did not start")?,
    };
    let base = format!("http://{address}");
    screen.say(&format!("{base} answers, {} payments of {} days behind it", ground.past, args.history_days));
    let life = ground.life.take().context("the world is taken once")?;
    let (traffic, clients) = Traffic::start(&base, life, args.rate)?;
    let tell = |line: &str| screen.say(line);
    let mut stage = Stage {
        ground: &ground,
        traffic: &traffic,
        watcher: Watcher::new(&base)?,
        clock: Clock::system(),
        patience: Duration::from_secs(args.seconds),
        stop,
        tell: &tell,
    };
    let played = play_all(&mut stage, scenes, screen).await;
    traffic.stop();
    for client in clients {
        client.await?;
    }
    played
}

async fn play_all(stage: &mut Stage<'_>, scenes: &[Scene], screen: &Screen) -> anyhow::Result<Vec<Seen>> {
    let mut all = Vec::with_capacity(scenes.len());
    for scene in scenes {
        screen.say(&format!("{}: {}", scene.name, scene.story));
        let Some(seen) = stage.play(*scene).await? else { break };
        let (model, others) = seen.tally.by();
        let well = seen.over.map_or("not well in time".to_owned(), |over| {
            format!("well {} after it was mended", course::after(seen.mended.unwrap_or(over), over))
        });
        let failed = seen.tally.failed;
        screen.say(&format!("  {well}; {failed} failed, {model} by the model, {others} by rules"));
        if let Some(failure) = seen.tally.failure.as_ref().filter(|_| failed > 0) {
            screen.say(&format!("  the first that failed: {failure}"));
        }
        all.push(seen);
    }
    Ok(all)
}

/// Lines for people: above a bar that tells what happens on a terminal, plain elsewhere.
struct Screen {
    bar: ProgressBar,
    is_terminal: bool,
    began: Moment,
}

impl Screen {
    fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, is_terminal, began: Moment::now() }
    }

    /// Says something that stays.
    fn say(&self, text: &str) {
        let line = format!("{:6.1} s  {text}", self.began.elapsed().as_secs_f64());
        if self.is_terminal {
            self.bar.println(line);
        } else {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Shows something until the next.
    fn show(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

//! One local training run: a child process, bounded in time, in what it says, and in what it may take from us.
//!
//! ```text
//! spawn in a group of its own ─ lowest priority, first to go when memory is short
//!   lines it says ──> the log, so many of so long      stdout's last line ──> what came of it
//!   exit, deadline or stop ──> TERM to the group ─ grace ─> KILL to the group
//! ```
//! The child gets paths in its environment and none of our settings: those may hold keys.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, setpriority_process};
use serde::Deserialize;

use crate::healing::retraining::Outcome;
use crate::runtime::clock::Moment;
use crate::tasks::{self, Shutdown};
use crate::telemetry::retraining::TrainerSaid;

/// The lowest priority there is; what the child starts has it, too.
const NICENESS: i32 = 19;
/// Bytes of a line that are kept.
const LINE_LEN_MAX: usize = 400;
/// Lines that are logged; further ones are only counted.
const LINES_MAX: u64 = 200;
/// Lines that wait between the pipes and the log.
const WAITING_MAX: usize = 64;
/// How often the child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long what it has said may still arrive after it ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the command is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub deadline: Duration,
    /// How long it may take to end when it is told to.
    pub grace: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// In one word.
    pub outcome: Outcome,
    /// The bundle it says it made: name and version.
    pub bundle: Option<(String, String)>,
    /// In one line, for people.
    pub said: String,
}

/// What the last line of standard output may say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LastLine {
    name: Option<String>,
    version: Option<String>,
    reason: Option<String>,
}

/// How waiting ended.
enum Waited {
    Exited(ExitStatus),
    TooLong,
    Stopped,
}

/// Runs the command to its end, at most until its deadline or until `shutdown` is asked for. Blocks.
#[must_use]
pub fn run(options: &Options, environment: &[(&str, OsString)], shutdown: &Shutdown) -> Ended {
    let mut child = match spawn(options, environment) {
        Ok(child) => child,
        Err(reason) => return Ended { outcome: Outcome::Failed, bundle: None, said: reason },
    };
    lower(&child);
    let (sender, lines) = sync_channel(WAITING_MAX);
    let reading = [
        child.stdout.take().map(|pipe| read("retrain-out", pipe, Pipe::Out, sender.clone())),
        child.stderr.take().map(|pipe| read("retrain-err", pipe, Pipe::Err, sender)),
    ];
    if let Some(error) = reading.into_iter().flatten().find_map(Result::err) {
        end(&mut child, options.grace);
        let said = format!("tried to start a thread that reads what the command says: {error}");
        return Ended { outcome: Outcome::Failed, bundle: None, said };
    }
    let mut heard = Heard::default();
    let waited = wait(&mut child, &lines, (options, shutdown), &mut heard);
    end(&mut child, options.grace);
    heard.last_words(&lines);
    told(&waited, options, &heard)
}

fn spawn(options: &Options, environment: &[(&str, OsString)]) -> Result<Child, String> {
    let Some((program, arguments)) = options.command.split_first() else {
        return Err("retraining.command is empty: name a program".into());
    };
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"FRAUDD__")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    // A group of its own: a signal reaches all that it starts, and Ctrl-C on our terminal does not reach it.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().map_err(|error| format!("tried to start {program}: {error}"))
}

/// Makes it give way to everything else: decisions come first. Best effort, as not every system allows it.
fn lower(child: &Child) {
    let _refused = setpriority_process(Some(Pid::from_child(child)), NICENESS);
    let _not_there = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000");
}

fn wait(
    child: &mut Child,
    lines: &Receiver<(Pipe, String)>,
    (options, shutdown): (&Options, &Shutdown),
    heard: &mut Heard,
) -> Waited {
    let deadline = Moment::now().after(options.deadline);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Waited::Exited(status),
            Ok(None) if shutdown.is_asked() => return Waited::Stopped,
            Ok(None) if deadline.has_passed() => return Waited::TooLong,
            // It cannot be waited for: as good as hanging.
            Err(_) => return Waited::TooLong,
            Ok(None) => heard.listen(lines, LOOK_EVERY.min(deadline.remaining().max(Duration::from_millis(1)))),
        }
    }
}

/// Ends the whole group: asked first, then killed. Also what outlived the child itself.
fn end(child: &mut Child, grace: Duration) {
    let group = Pid::from_child(child);
    let is_over = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
    if !is_over(child) {
        let _gone = kill_process_group(group, Signal::TERM);
        let (until, (_keep, never)) = (Moment::now().after(grace), sync_channel::<()>(1));
        while !is_over(child) && !until.has_passed() {
            // Nothing is ever sent: this is a pause.
            let _pause = never.recv_timeout(LOOK_EVERY);
        }
    }
    let _gone = kill_process_group(group, Signal::KILL);
    let _over = child.wait();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipe {
    Out,
    Err,
}

fn read(
    name: &str,
    pipe: impl Read + Send + 'static,
    which: Pipe,
    sender: SyncSender<(Pipe, String)>,
) -> std::io::Result<()> {
    tasks::thread(name, move || {
        let mut reader = BufReader::new(pipe);
        // Ends with the pipe, or when nobody listens any more.
        while let Some(line) = next_line(&mut reader) {
            if sender.send((which, line)).is_err() {
                return;
            }
        }
    })
    .map(drop)
}

/// Reads a line of at most so many bytes; the rest of a longer one is passed over.
fn next_line(reader: &mut impl BufRead) -> Option<String> {
    let (mut kept, mut any) = (Vec::new(), false);
    loop {
        let buffer = reader.fill_buf().ok()?;
        if buffer.is_empty() {
            return any.then(|| String::from_utf8_lossy(&kept).into_owned());
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let line = &buffer[..end.unwrap_or(buffer.len())];
        kept.extend_from_slice(&line[..line.len().min(LINE_LEN_MAX - kept.len())]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Some(String::from_utf8_lossy(&kept).into_owned());
        }
    }
}

/// What the command has said so far.
#[derive(Default)]
struct Heard {
    count: u64,
    /// The last line of standard output, else of standard error.
    out: String,
    err: String,
}

impl Heard {
    fn listen(&mut self, lines: &Receiver<(Pipe, String)>, patience: Duration) {
        match lines.recv_timeout(patience) {
            Ok(line) => self.take(line),
            Err(RecvTimeoutError::Timeout) => {}
            // Both pipes are closed and it still runs: only time can pass.
            Err(RecvTimeoutError::Disconnected) => {
                let (_keep, never) = sync_channel::<()>(1);
                let _pause = never.recv_timeout(patience);
            }
        }
    }

    fn last_words(&mut self, lines: &Receiver<(Pipe, String)>) {
        let until = Moment::now().after(LAST_WORDS);
        while let Ok(line) = lines.recv_timeout(until.remaining()) {
            self.take(line);
        }
    }

    fn take(&mut self, (pipe, line): (Pipe, String)) {
        self.count += 1;
        if self.count <= LINES_MAX {
            TrainerSaid { line: &line, is_last: self.count == LINES_MAX }.emit();
        }
        if line.trim().is_empty() {
            return;
        }
        match pipe {
            Pipe::Out => self.out = line,
            Pipe::Err => self.err = line,
        }
    }

    fn last(&self) -> &str {
        if self.err.is_empty() { &self.out } else { &self.err }
    }
}

fn told(waited: &Waited, options: &Options, heard: &Heard) -> Ended {
    let failed = |said: String| Ended { outcome: Outcome::Failed, bundle: None, said };
    let status = match waited {
        Waited::Stopped => return failed("stopped: the service ends".into()),
        Waited::TooLong => return failed(format!("not done within {} s: it was ended", options.deadline.as_secs())),
        Waited::Exited(status) => status,
    };
    let LastLine { name, version, reason } = serde_json::from_str(&heard.out).unwrap_or_default();
    let outcome = match status.code() {
        Some(0) => Outcome::Delivered,
        Some(3) => Outcome::NothingBetter,
        Some(4) => Outcome::TooLittle,
        Some(code) => return failed(format!("ended with {code}: {}", heard.last())),
        None => return failed(format!("killed by signal {}: {}", status.signal().unwrap_or(0), heard.last())),
    };
    let bundle = name.zip(version).filter(|_| outcome == Outcome::Delivered);
    let said = match (&bundle, reason) {
        (Some((name, version)), _) => format!("{name}/{version}"),
        (None, Some(reason)) => reason,
        (None, None) => heard.out.clone(),
    };
    Ended { outcome, bundle, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, seconds: u64) -> Options {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Options { command, deadline: Duration::from_secs(seconds), grace: Duration::from_secs(10) }
    }

    fn run_shell(script: &str, seconds: u64) -> Ended {
        run(&shell(script, seconds), &[("FRAUDD_REQUEST", "/tmp/r.json".into())], &Shutdown::default())
    }

    #[test]
    fn exit_codes_say_what_came_of_it() {
        let check = |script: &str, outcome, bundle: Option<(&str, &str)>, said: &str| {
            let ended = run_shell(script, 60);
            let bundle = bundle.map(|(name, version)| (name.to_owned(), version.to_owned()));
            assert_eq!((ended.outcome, &ended.bundle), (outcome, &bundle), "{script}: {ended:?}");
            assert!(ended.said.contains(said), "{script}: {ended:?}");
        };
        let json = r#"echo noise; echo '{"outcome":"delivered","name":"card","version":"2"}'; echo talk >&2"#;
        check(json, Outcome::Delivered, Some(("card", "2")), "card/2");
        check("echo done", Outcome::Delivered, None, "done");
        check(r#"echo '{"reason":"as good"}'; exit 3"#, Outcome::NothingBetter, None, "as good");
        check("exit 4", Outcome::TooLittle, None, "");
        check("echo out; echo no such file >&2; exit 1", Outcome::Failed, None, "ended with 1: no such file");
        check("kill -9 $$", Outcome::Failed, None, "signal 9");
        check("echo $FRAUDD_REQUEST; env | grep -c ^FRAUDD__ ; exit 0", Outcome::Delivered, None, "0");
    }

    #[test]
    fn what_cannot_be_started_is_said() {
        let none = Options { command: vec![], ..shell("", 1) };
        assert!(run(&none, &[], &Shutdown::default()).said.contains("retraining.command"));
        let missing = Options { command: vec!["/no/such/program".into()], ..shell("", 1) };
        let ended = run(&missing, &[], &Shutdown::default());
        assert_eq!(ended.outcome, Outcome::Failed);
        assert!(ended.said.contains("tried to start /no/such/program"), "{ended:?}");
    }

    #[test]
    fn the_whole_group_goes_when_its_time_is_over_or_the_service_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let pids = directory.path().join("pids");
        // The shell waits for a child that does not listen to TERM, and so does not end by itself.
        let script = format!(
            "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >> {0}; sleep 600' & echo $$ >> {0}; wait",
            pids.display()
        );
        let options = Options { grace: Duration::from_millis(200), ..shell(&script, 600) };
        let shutdown = Shutdown::default();
        let asked = shutdown.clone();
        let watched = pids.clone();
        let asker = tasks::thread("asker", move || {
            while std::fs::read_to_string(&watched).map_or(0, |text| text.lines().count()) < 2 {
                std::thread::yield_now();
            }
            asked.ask();
        });
        let ended = run(&options, &[], &shutdown);
        asker.expect("a thread").join().expect("ended");
        assert_eq!(ended.said, "stopped: the service ends");
        for pid in std::fs::read_to_string(&pids).expect("written").lines() {
            // A killed orphan may still be waiting for its new parent to take note: then it has no command line.
            while std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
                std::thread::yield_now();
            }
        }

        let late = run(&Options { deadline: Duration::from_millis(300), ..options }, &[], &Shutdown::default());
        assert!(late.said.contains("not done within"), "{late:?}");
    }

    #[test]
    fn a_flood_is_bounded() {
        let ended = run_shell("yes 0123456789 | head -c 3000000; head -c 2000000 /dev/zero; echo; echo the end", 120);
        assert_eq!((ended.outcome, ended.said.as_str()), (Outcome::Delivered, "the end"));
        let long = format!("{}\nnext", "x".repeat(10_000));
        let mut reader = BufReader::with_capacity(64, long.as_bytes());
        assert_eq!(next_line(&mut reader).map(|line| line.len()), Some(LINE_LEN_MAX));
        assert_eq!(next_line(&mut reader).as_deref(), Some("next"));
        assert_eq!(next_line(&mut reader), None);
    }
}

//! The gates in a process of their own: a bundle that crashes, hangs or eats memory fails a gate, no more.
//!
//! ```text
//! parent: read files once ──stdin: one header line, then the bytes──> child: limits, gates::run
//!         Report, or a failed Limits gate   <──stdout: one line of JSON──
//! ```
//! The child never opens the bundle's directory: it gets the bytes that were hashed. It works when nobody else
//! wants the processor: beside a service that is busy it must cost no decision its time. The parent kills it
//! at the deadline.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use rlimit::Resource;
use serde::{Deserialize, Serialize};

use super::{Gate, Limits, Report};
use crate::runtime::inference::{foreign, library};
use crate::runtime::release::bundle::{self, Bundle, Files};
use crate::tasks;

/// The hidden subcommand the child is started with.
pub const SUBCOMMAND: [&str; 2] = ["model", "gate-child"];
/// The lowest priority there is; threads that start later have it, too.
const NICENESS: i32 = 19;
/// The longest report a child may write, in bytes.
const REPORT_BYTES_MAX: u64 = 1 << 20;
/// The most bytes a child reads for one bundle.
const BUNDLE_BYTES_MAX: u64 = bundle::MODEL_BYTES_MAX + 6 * bundle::FILE_BYTES_MAX;

#[derive(Serialize, Deserialize)]
struct Header {
    limits: Limits,
    candidate: Vec<(String, u64)>,
    active: Option<Vec<(String, u64)>>,
}

/// Validates the files of a bundle beside those of the active one, in a child of the given executable.
#[must_use]
pub fn validate(executable: &Path, candidate: &Files, active: Option<&Files>, limits: &Limits) -> Report {
    match ask(executable, candidate, active, limits) {
        Ok(report) => report,
        Err(reason) => Report::failed(Gate::Limits, reason),
    }
}

fn ask(executable: &Path, candidate: &Files, active: Option<&Files>, limits: &Limits) -> Result<Report, String> {
    // Found here, so that the child's library is the parent's and not what its environment says.
    let library = library::open(None).map_err(|error| error.to_string())?;
    let mut command = Command::new(executable);
    // Settings may hold API keys, which no model has a use for.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"FRAUDD__")) {
        command.env_remove(name);
    }
    let mut child = command
        .args(SUBCOMMAND)
        .env("ORT_DYLIB_PATH", &library.path)
        .env(foreign::TELEMETRY_OFF, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("tried to start {}: {error}", executable.display()))?;
    let talked = talk(&mut child, question(candidate, active, limits), limits);
    if talked.is_none() {
        let _ended_already = child.kill();
    }
    let status = child.wait().map_err(|error| format!("tried to wait for the child process: {error}"))?;
    match talked {
        None => Err(format!("no verdict within {} s: the model hangs or is too slow", limits.child_wall_seconds_max)),
        Some(text) => serde_json::from_str(&text).map_err(|_| death(status, limits)),
    }
}

fn question(candidate: &Files, active: Option<&Files>, limits: &Limits) -> Vec<Bytes> {
    let sizes = |files: &Files| files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect();
    let header = Header { limits: limits.clone(), candidate: sizes(candidate), active: active.map(sizes) };
    let mut line = serde_json::to_vec(&header).unwrap_or_default();
    line.push(b'\n');
    std::iter::once(Bytes::from(line))
        .chain(candidate.values().cloned())
        .chain(active.into_iter().flat_map(|files| files.values().cloned()))
        .collect()
}

/// Writes the question and reads the answer; `None` when the deadline passes first.
fn talk(child: &mut Child, question: Vec<Bytes>, limits: &Limits) -> Option<String> {
    let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
    let (sender, answer) = mpsc::sync_channel(1);
    let writer = tasks::thread("gate-writer", move || {
        // A child that dies early closes the pipe; the reader tells what happened.
        let _closed = question.iter().try_for_each(|bytes| stdin.write_all(bytes));
    });
    let reader = tasks::thread("gate-reader", move || {
        let mut text = String::new();
        let _partly = stdout.take(REPORT_BYTES_MAX).read_to_string(&mut text);
        let _deadline_passed = sender.send(text);
    });
    if writer.is_err() || reader.is_err() {
        return None;
    }
    answer.recv_timeout(Duration::from_secs(limits.child_wall_seconds_max)).ok()
}

fn death(status: ExitStatus, limits: &Limits) -> String {
    use std::os::unix::process::ExitStatusExt;
    let cpu = limits.child_cpu_seconds_max;
    match status.signal() {
        Some(24 | 9) => format!("the child process was killed: more than {cpu} s of processor time, or out of memory"),
        Some(6) => {
            format!("the child process aborted, as when more than {} MiB are wanted", limits.child_bytes_max >> 20)
        }
        Some(signal) => format!("the child process crashed with signal {signal}: the model breaks ONNX Runtime"),
        None => format!("the child process gave no verdict and ended with {status}"),
    }
}

/// The child's side: takes limits and files from `input`, judges, writes the report to `output`.
///
/// # Errors
/// The pipe's, or a question this build does not understand.
pub fn answer(input: impl Read, mut output: impl Write) -> io::Result<()> {
    // Before anything is read, so that no thread of the model's starts before.
    rustix::process::setpriority_process(None, NICENESS)?;
    let mut input = BufReader::new(input);
    let mut line = String::new();
    input.by_ref().take(REPORT_BYTES_MAX).read_line(&mut line)?;
    let header: Header = serde_json::from_str(&line)?;
    confine(&header.limits)?;
    let candidate = take(&mut input, header.candidate)?;
    let active = header.active.map(|sizes| take(&mut input, sizes)).transpose()?;
    let report = judge(&candidate, active.as_ref(), &header.limits);
    serde_json::to_writer(&mut output, &report)?;
    output.flush()
}

fn confine(limits: &Limits) -> io::Result<()> {
    // When memory is short it is this process that goes, not the service that started it. Best effort: not
    // every system has the file.
    let _not_there = std::fs::write("/proc/self/oom_score_adj", "1000");
    rlimit::setrlimit(Resource::CORE, 0, 0)?;
    rlimit::setrlimit(Resource::CPU, limits.child_cpu_seconds_max, limits.child_cpu_seconds_max + 1)?;
    rlimit::setrlimit(Resource::AS, limits.child_bytes_max, limits.child_bytes_max)
}

fn take(input: &mut impl Read, sizes: Vec<(String, u64)>) -> io::Result<Files> {
    if sizes.iter().map(|(_, size)| *size).sum::<u64>() > BUNDLE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the bundle is larger than its bound"));
    }
    let mut files = Files::new();
    for (name, size) in sizes {
        let mut bytes = Vec::new();
        if input.by_ref().take(size).read_to_end(&mut bytes)? as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        files.insert(name, bytes.into());
    }
    Ok(files)
}

fn judge(candidate: &Files, active: Option<&Files>, limits: &Limits) -> Report {
    let candidate = match Bundle::from_files(candidate) {
        Ok(bundle) => bundle,
        Err(error) => return Report::failed(Gate::Hashes, error.to_string()),
    };
    match active.map(Bundle::from_files).transpose() {
        Ok(active) => super::run(&candidate, active.as_ref(), limits),
        Err(error) => Report::failed(Gate::Hashes, format!("the active bundle: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_cut_short_is_an_error() {
        let files = Files::from([("a".to_owned(), Bytes::from_static(b"1234"))]);
        let bytes: Vec<u8> = question(&files, None, &Limits::default()).concat();
        let mut header = BufReader::new(&bytes[..bytes.len() - 1]);
        header.read_line(&mut String::new()).expect("a header");
        let error = take(&mut header, vec![("a".to_owned(), 4)]).expect_err("cut short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(take(&mut io::empty(), vec![("a".to_owned(), BUNDLE_BYTES_MAX + 1)]).is_err());
    }

    #[test]
    fn an_executable_that_says_nothing_fails_the_gate() {
        let report = validate(Path::new("/bin/true"), &Files::new(), None, &Limits::default());
        assert!(!report.passed());
        assert!(report.checks.iter().any(|check| check.gate == Gate::Limits), "{report:?}");
    }
}

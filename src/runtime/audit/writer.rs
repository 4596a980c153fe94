//! The thread that writes the record: takes what waits, chains it, appends it, syncs it, and only then says so.
//!
//! A file that failed is cut to its last good line and never appended to again: the next try goes to a new file, so
//! that a torn line can only be a file's last one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::reading::{file_name, files_of};
use super::record::{Head, Kind, Line, hash_of};
use super::{Error, Inner, Note, Options};
use crate::domain::Timestamp;
use crate::telemetry::healing::{AuditFailed, AuditLines, AuditRecovered};

/// How long after a failure the disk is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// The most lines of one append.
const GROUP_LEN_MAX: usize = 256;

/// Where the record goes on.
pub(super) struct Opened {
    pub(super) head: Head,
    /// What the first line of a new chain says.
    pub(super) begun: Option<serde_json::Value>,
    file: Option<Place>,
}

struct Place {
    file: File,
    len: u64,
}

pub(super) fn open(options: &Options, now: Timestamp) -> Result<Opened, Error> {
    let place = options.directory.as_deref().unwrap_or(Path::new("memory"));
    let chain = hash_of(&format!("{}|{}|{}", now.micros(), std::process::id(), place.display()))[..16].to_owned();
    let new = |reason: &str| Opened {
        head: Head::new(chain.clone()),
        begun: Some(json!({"version": env!("CARGO_PKG_VERSION"), "reason": reason})),
        file: None,
    };
    let Some(directory) = &options.directory else { return Ok(new("kept in memory")) };
    let failed = |error| Error::Directory { path: directory.clone(), error };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let files = files_of(directory).map_err(failed)?;
    let Some(newest) = files.last() else { return Ok(new("the first one")) };
    if let Some((head, len)) = last_line(newest).map_err(failed)? {
        let file = OpenOptions::new().append(true).open(newest).map_err(failed)?;
        file.set_len(len).map_err(failed)?;
        return Ok(Opened { head, begun: None, file: Some(Place { file, len }) });
    }
    // Kept for whoever looks into it: the new chain's first file must not have its name.
    let aside = newest.with_extension("jsonl.unreadable");
    std::fs::rename(newest, &aside).map_err(failed)?;
    let opened = open(options, now)?;
    let told = format!("{} ended without a readable line and was set aside", newest.display());
    let begun = Some(json!({"version": env!("CARGO_PKG_VERSION"), "reason": told}));
    Ok(Opened { begun, ..opened })
}

/// Returns the head after a file's last whole line and the length up to it; `None` without such a line.
fn last_line(path: &Path) -> std::io::Result<Option<(Head, u64)>> {
    let mut file = File::open(path)?;
    let len = file.seek(SeekFrom::End(0))?;
    let from = len.saturating_sub(super::reading::LINE_LEN_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
    let begin = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let text = String::from_utf8_lossy(&tail[begin..end]);
    let Ok(line) = Line::read(&text) else { return Ok(None) };
    let good = from + u64::try_from(end).unwrap_or(u64::MAX) + 1;
    Ok(Some((line.head(), good)))
}

/// Writes until closed and drained. On closing, one last try is made.
pub(super) fn run(inner: &Arc<Inner>, opened: Opened) {
    let mut writer = Writer { options: inner.options.clone(), file: opened.file };
    let mut head = opened.head;
    loop {
        let (notes, lost, config, is_closing) = {
            let mut state = inner.state.lock();
            while state.queue.is_empty() && !state.is_closing {
                inner.changed.wait(&mut state);
            }
            let len = state.queue.len().min(GROUP_LEN_MAX);
            let notes: Vec<Note> = state.queue.drain(..len).collect();
            (notes, state.lost, state.config.clone(), state.is_closing)
        };
        if notes.is_empty() {
            return;
        }
        let (lines, after) = writer.lines(&head, &notes, (lost, config));
        match writer.append(&head, &lines) {
            Ok(()) => {
                head = after;
                written(inner, notes, (lines, lost, &head));
            }
            Err(error) => {
                failed(inner, notes, &error);
                if is_closing {
                    return;
                }
                let mut state = inner.state.lock();
                inner.changed.wait_for(&mut state, RETRY);
            }
        }
    }
}

fn written(inner: &Inner, notes: Vec<Note>, (lines, lost, head): (Vec<(u64, String)>, u64, &Head)) {
    AuditLines { count: lines.len(), seq: head.seq }.emit();
    let mut state = inner.state.lock();
    state.head.clone_from(head);
    state.lost -= lost;
    if state.failure.take().is_some() {
        AuditRecovered.emit();
    }
    for (seq, line) in lines {
        let line: Arc<str> = line.into();
        // Who is too slow misses lines, who is gone is forgotten.
        state.followers.retain(|follower| {
            !matches!(follower.try_send(Arc::clone(&line)), Err(std::sync::mpsc::TrySendError::Disconnected(_)))
        });
        state.ring.push_back((seq, line));
        if state.ring.len() > inner.options.ring_len_max {
            state.ring.pop_front();
        }
    }
    drop(state);
    for heard in notes.into_iter().filter_map(|note| note.written) {
        // Whoever waited too long is gone.
        let _ = heard.try_send(());
    }
}

fn failed(inner: &Inner, notes: Vec<Note>, error: &std::io::Error) {
    let mut state = inner.state.lock();
    if state.failure.is_none() {
        AuditFailed { error }.emit();
    }
    state.failure = Some(error.to_string());
    for note in notes.into_iter().rev() {
        state.queue.push_front(note);
    }
}

struct Writer {
    options: Options,
    file: Option<Place>,
}

impl Writer {
    /// Makes the lines of a group, without changing anything: after a failure they are made again.
    fn lines(
        &self,
        head: &Head,
        notes: &[Note],
        (lost, config): (u64, Option<Arc<str>>),
    ) -> (Vec<(u64, String)>, Head) {
        let mut head = head.clone();
        let mut lines = Vec::with_capacity(notes.len() + 2);
        let begins_file = self.file.as_ref().is_none_or(|place| place.len >= self.options.file_len_max);
        if let (true, Some(config), Some(first)) = (begins_file && head.seq > 0, config, notes.first()) {
            let line = head.next(first.at, Kind::Config, &config);
            lines.push((head.seq, line));
        }
        for note in notes {
            let line = head.next(note.at, note.kind, &note.body);
            lines.push((head.seq, line));
        }
        if let (true, Some(last)) = (lost > 0, notes.last()) {
            let line = head.next(last.at, Kind::Lost, &json!({"lines": lost}).to_string());
            lines.push((head.seq, line));
        }
        (lines, head)
    }

    fn append(&mut self, head: &Head, lines: &[(u64, String)]) -> std::io::Result<()> {
        let Some(directory) = self.options.directory.clone() else { return Ok(()) };
        let full = self.options.file_len_max;
        let mut place = match self.file.take().filter(|place| place.len < full) {
            Some(place) => place,
            None => self.begin(&directory, head.seq + 1)?,
        };
        let mut bytes = Vec::with_capacity(lines.iter().map(|(_, line)| line.len() + 1).sum());
        for (_, line) in lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        let done = place.file.write_all(&bytes).and_then(|()| place.file.sync_data());
        match done {
            Ok(()) => {
                place.len += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.file = Some(place);
                Ok(())
            }
            Err(error) => {
                // As far as the disk lets it: a torn line is told apart by the reader as well.
                let _ = place.file.set_len(place.len);
                Err(error)
            }
        }
    }

    fn begin(&self, directory: &Path, first_seq: u64) -> std::io::Result<Place> {
        let path = directory.join(file_name(first_seq));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        // A file of that name is what a failed try left, or what a restart found cut: it has no line of its own.
        file.set_len(0)?;
        File::open(directory)?.sync_all()?;
        let files = files_of(directory)?;
        let spare = files.len().saturating_sub(self.options.files_max);
        let oldest: Vec<PathBuf> = files.into_iter().take(spare).filter(|old| *old != path).collect();
        for old in oldest {
            std::fs::remove_file(old)?;
        }
        Ok(Place { file, len: 0 })
    }
}

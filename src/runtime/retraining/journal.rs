//! What retraining remembers over a restart: what was asked for, what went wrong when, and each request.
//!
//! Two kinds of files in a directory of its own: `memory.json`, written anew whole, and `ID/request.json` beside what
//! the command leaves. Only the newest few requests are kept.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::healing::retraining::{Incidents, Memory, Request};

/// Requests that are kept, with what their runs left.
const REQUESTS_MAX: usize = 5;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Remembered {
    pub(super) memory: Memory,
    pub(super) incidents: Incidents,
}

/// The directory; `None` remembers nothing over a restart.
#[derive(Clone, Debug)]
pub(super) struct Journal(Option<PathBuf>);

impl Journal {
    /// Opens a journal and reads what it holds.
    pub(super) fn open(directory: Option<PathBuf>) -> io::Result<(Self, Remembered)> {
        let Some(directory) = directory else { return Ok((Self(None), Remembered::default())) };
        fs::create_dir_all(&directory)?;
        let remembered = match fs::read(directory.join("memory.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Remembered::default(),
            Err(error) => return Err(error),
        };
        Ok((Self(Some(directory)), remembered))
    }

    /// Writes what is remembered.
    pub(super) fn keep(&self, remembered: &Remembered) -> io::Result<()> {
        let Some(directory) = &self.0 else { return Ok(()) };
        write_whole(&directory.join("memory.json"), &serde_json::to_vec_pretty(remembered)?)
    }

    /// Writes a request into a directory of its own, and returns that; older ones go. `None`: nothing is kept.
    pub(super) fn put(&self, request: &Request) -> io::Result<Option<PathBuf>> {
        let Some(directory) = &self.0 else { return Ok(None) };
        let own = directory.join(&request.id);
        fs::create_dir_all(&own)?;
        write_whole(&own.join("request.json"), &serde_json::to_vec_pretty(request)?)?;
        tidy(directory, &own);
        Ok(Some(own))
    }
}

/// Removes all but the newest requests. What cannot be removed now is tried again with the next one.
fn tidy(directory: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rt_") && entry.path() != newest)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    let surplus = found.len().saturating_sub(REQUESTS_MAX - 1);
    for (_, path) in found.into_iter().take(surplus) {
        let _next_time = fs::remove_dir_all(path);
    }
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(directory)?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()
}

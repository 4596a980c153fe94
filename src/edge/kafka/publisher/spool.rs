//! Requests for a new model that wait for the broker: one file each, so that none is lost over a restart.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Letter, Options, events, write_whole};
use crate::edge::outbound::webhook::signature;
use crate::healing::retraining::Request;

/// The most requests that may wait.
pub const SPOOLED_MAX: usize = 64;

/// The directory of requests that wait.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    kind: &'static str,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct WaitingRequest {
    path: PathBuf,
    id: String,
    asked_at: String,
    kind: &'static str,
    text: String,
}

/// What of a request its letter says outside.
#[derive(Deserialize)]
struct Head {
    id: String,
    asked_at: String,
}

impl Spool {
    /// Opens a spool for events of one type; the directory is made with the first request.
    #[must_use]
    pub const fn new(directory: PathBuf, kind: &'static str) -> Self {
        Self { directory, kind }
    }

    /// Takes a request, on disk when this returns. The same one again is the same file.
    ///
    /// # Errors
    /// Too many wait, or the disk does not take it.
    pub fn take(&self, request: &Request) -> Result<(), String> {
        let said = |error: io::Error| format!("tried to keep it for the broker: {error}");
        fs::create_dir_all(&self.directory).map_err(said)?;
        let waiting = self.files().map_err(said)?.len();
        if waiting >= SPOOLED_MAX {
            return Err(format!("{waiting} requests wait for the broker already"));
        }
        let text = serde_json::to_vec(request).map_err(|error| error.to_string())?;
        // By time first: they go in the order they were made.
        let name = format!("{:020}-{}.json", request.asked_at.micros().max(0), request.id);
        write_whole(&self.directory.join(name), &text).map_err(said)
    }

    /// Lists what waits, oldest first.
    pub(super) fn waiting(&self) -> io::Result<Vec<WaitingRequest>> {
        let mut waiting = Vec::new();
        for path in self.files()? {
            let text = fs::read_to_string(&path)?;
            let Ok(Head { id, asked_at }) = serde_json::from_str(&text) else {
                // Not one of ours: left for whoever put it there.
                continue;
            };
            waiting.push(WaitingRequest { path, id, asked_at, kind: self.kind, text });
        }
        Ok(waiting)
    }

    /// Lets one go that the broker has.
    pub(super) fn let_go(&self, waiting: &WaitingRequest) -> io::Result<()> {
        fs::remove_file(&waiting.path)?;
        fs::File::open(&self.directory)?.sync_all()
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

impl WaitingRequest {
    /// Writes it for its topic, signed when there is a secret.
    pub(super) fn letter(&self, topic: &str, options: &Options) -> Letter {
        let mut headers = events(self.kind, &options.source, (&self.id, &self.asked_at));
        if let Some(secret) = &options.secret {
            let signed = signature(secret, self.text.as_bytes());
            headers.push(("x-fraudd-signature".to_owned(), Some(signed.into_bytes())));
        }
        Letter { topic: topic.to_owned(), key: self.id.clone(), payload: self.text.clone(), headers }
    }
}

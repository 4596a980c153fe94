//! How far the record is published, in a small file beside the store.
//!
//! It is written after the broker has a batch: after a crash the batch is sent again, and never skipped.

use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::write_whole;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("tried to read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written there.
    #[error("{path} is damaged: {source}; remove it, and the whole record is published once more")]
    Damaged {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    chain: String,
    seq: u64,
}

/// The position, in its file.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    kept: Mutex<Kept>,
}

impl Place {
    /// Opens the file; without one the record is published from its beginning.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let kept = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| Error::Damaged { path: path.display().to_string(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(source) => return Err(Error::Io { path: path.display().to_string(), source }),
        };
        Ok(Self { path, kept: Mutex::new(kept) })
    }

    /// Returns the number of the last line of a chain that the broker has; 0 of a chain that is new.
    #[must_use]
    pub fn of(&self, chain: &str) -> u64 {
        let kept = self.kept.lock();
        if kept.chain == chain { kept.seq } else { 0 }
    }

    /// Keeps a position. In memory it moves on even when the disk does not take it.
    pub(super) fn keep(&self, chain: &str, seq: u64) -> io::Result<()> {
        let kept = Kept { chain: chain.to_owned(), seq };
        self.kept.lock().clone_from(&kept);
        write_whole(&self.path, &serde_json::to_vec(&kept)?)
    }
}

//! Where the outbox is, in a small file beside the store.
//!
//! `first` is the feed's cursor at which the stream was switched on: older decisions are none of its business.
//! `acknowledged` is behind the truth by up to a second after a crash; what is sent twice counts once.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::telemetry::events::OutboxStuck;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("tried to {what} {path}: {source}")]
    Io {
        /// Which of the two.
        what: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written there.
    #[error(
        "{path} is damaged: {source}; remove it, and decisions of the REST door that are not in the stream yet stay out of it"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    first: u64,
    acknowledged: u64,
    partitions: u32,
}

/// The file.
#[derive(Debug)]
pub struct CursorFile {
    path: PathBuf,
    first: u64,
    partitions: u32,
    acknowledged: AtomicU64,
}

impl CursorFile {
    /// Opens the file; `None` when there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(path: PathBuf) -> Result<Option<Self>, Error> {
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(kept) => Ok(Some(Self::of(path, kept))),
                Err(source) => Err(Error::Damaged { path: path.display().to_string(), source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { what: "read", path: path.display().to_string(), source }),
        }
    }

    /// Begins a file at `newest`, the feed's newest cursor, for an input of so many partitions.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(path: PathBuf, newest: u64, partitions: u32) -> Result<Self, Error> {
        let kept = Kept { first: newest, acknowledged: newest, partitions };
        match write(&path, kept) {
            Ok(()) => Ok(Self::of(path, kept)),
            Err(source) => Err(Error::Io { what: "write", path: path.display().to_string(), source }),
        }
    }

    fn of(path: PathBuf, kept: Kept) -> Self {
        let Kept { first, acknowledged, partitions } = kept;
        Self { path, first, partitions, acknowledged: AtomicU64::new(acknowledged) }
    }

    /// Returns how many partitions the input had when the stream was switched on.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Returns the cursor after which decisions belong to the stream.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Returns up to which cursor the broker has everything, as it was last kept.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Keeps a cursor. A disk that does not take it costs nothing but sending again.
    pub fn keep(&self, acknowledged: u64) {
        if self.acknowledged() == acknowledged {
            return;
        }
        match write(&self.path, Kept { first: self.first, acknowledged, partitions: self.partitions }) {
            Ok(()) => self.acknowledged.store(acknowledged, Ordering::Relaxed),
            Err(error) => {
                OutboxStuck { reason: &format!("its cursor cannot be written: {error}"), is_first: false }.emit();
            }
        }
    }
}

fn write(path: &std::path::Path, kept: Kept) -> io::Result<()> {
    let beside = path.with_extension("part");
    fs::write(&beside, serde_json::to_vec(&kept)?)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_the_newest_and_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("outbox.json");
        assert!(CursorFile::open(path.clone()).expect("readable").is_none());
        let file = CursorFile::begin(path.clone(), 41, 12).expect("made");
        assert_eq!((file.first(), file.acknowledged()), (41, 41));
        file.keep(50);
        let again = CursorFile::open(path.clone()).expect("readable").expect("there");
        assert_eq!((again.first(), again.acknowledged(), again.partitions()), (41, 50, 12));
        fs::write(&path, b"{\"first\":1}").expect("written");
        assert!(matches!(CursorFile::open(path), Err(Error::Damaged { .. })));
    }
}

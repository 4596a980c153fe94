//! Why a store cannot be opened, read or mended: each with the file and the cure.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done with a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("tried to {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process: stop it, or give this one a directory of its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The store was written by another version.
    #[error("{} has format version {found}, and this fraudd reads {supported}: start the fraudd that wrote it, or \
             an empty directory; nothing was changed", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// What it says.
        found: u16,
        /// What we read.
        supported: u16,
    },
    /// A file that is named like a segment and is none of this log.
    #[error("{} is no segment of this log: move it away if it is not fraudd's, else copy what is readable with \
             `fraudd store repair`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A frame is damaged and whole ones follow, or must have followed.
    #[error("{0}")]
    Damaged(Damage),
    /// A directory that must be empty is not.
    #[error("{} holds a store already: name an empty directory", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
}

/// Where a log is damaged, and how much can be read around it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged at byte {offset}: {before} records are readable before it and {after} behind it in this file; \
     `fraudd store check` tells all there is, `fraudd store repair DIR --into NEW` copies every readable record into \
     a fresh store and says how many were lost",
    path.display()
)]
pub struct Damage {
    /// The segment.
    pub path: PathBuf,
    /// Where the first damaged frame begins.
    pub offset: u64,
    /// Whole frames before it.
    pub before: u64,
    /// Whole frames behind it.
    pub after: u64,
}

impl Error {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

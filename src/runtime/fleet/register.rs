//! The register's file: how far every bundle has come, across restarts.
//!
//! One small file, replaced whole (written beside, synced, renamed), so that a crash leaves the old or the new one. Without
//! a state directory it is kept in memory. A file that cannot be read stops the start: to forget a ban in silence would let a
//! bad bundle back in.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::healing::lifecycle::Lives;
use crate::healing::{ModelRef, Stage};
use crate::runtime::resident;
use crate::runtime::store::write_whole;

const VERSION: u32 = 1;
/// The file's name in the state directory.
const FILE: &str = "models.json";

/// Why the register cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("tried to {what} {}: {reason}", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    reason: String,
}

/// The bundles that the settings named when the file was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    active: String,
    standby: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    named: Named,
    lives: Lives,
}

/// How far every bundle had come when it was last saved, and where that is kept.
#[derive(Clone, Debug, Default)]
pub struct Register {
    path: Option<PathBuf>,
    named: Named,
    lives: Lives,
    /// What the file said.
    before: Lives,
}

impl Register {
    /// Reads the register of a state directory; without one, or without a file in it, nothing is known.
    ///
    /// # Errors
    /// [`Error`] for a file that cannot be read or does not hold together.
    pub fn open(directory: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = directory.map(|directory| directory.join(FILE)) else { return Ok(Self::default()) };
        let fail = |reason: String| Error { what: "read the models' register", path: path.clone(), reason };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: Some(path), ..Self::default() });
            }
            Err(error) => return Err(fail(error.to_string())),
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
        if kept.version != VERSION {
            return Err(fail(format!("version {} is not {VERSION}: start the fraudd that wrote it", kept.version)));
        }
        if let Some(fault) = kept.lives.fault() {
            return Err(fail(fault));
        }
        Ok(Self { path: Some(path), named: kept.named, before: kept.lives.clone(), lives: kept.lives })
    }

    /// Returns how far every bundle had come.
    #[must_use]
    pub const fn lives(&self) -> &Lives {
        &self.lives
    }

    /// Returns how far every bundle had come by the file, whatever was made of that since.
    pub(super) const fn known_before(&self) -> &Lives {
        &self.before
    }

    /// Replaces what is known, before a fleet is started from it.
    #[must_use]
    pub fn with_lives(self, lives: Lives) -> Self {
        Self { lives, ..self }
    }

    /// Returns the directory it lies in; `None` when it is kept in memory.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.path.as_deref().and_then(Path::parent)
    }

    /// Tells whether a bundle may be loaded.
    #[must_use]
    pub fn allows(&self, model: &ModelRef) -> bool {
        self.lives.get(&model.sha256).is_none_or(|life| life.stage != Stage::Quarantined)
    }

    /// Says which bundles to start with: those that were in their places last, unless the settings have been
    /// changed to name others since.
    #[must_use]
    pub fn choose(&self, settings: &resident::Options) -> resident::Options {
        let named = Named { active: settings.active.clone(), standby: settings.standby.clone() };
        let place = |stage| self.lives.at(stage).map(|life| life.model.to_string());
        match place(Stage::Active) {
            Some(active) if named == self.named => {
                let standby = place(Stage::Standby).unwrap_or_default();
                resident::Options { active, standby, ..settings.clone() }
            }
            Some(_) | None => settings.clone(),
        }
    }

    /// Saves what is known now, for settings that name these bundles. Blocks until it is synced.
    ///
    /// # Errors
    /// [`Error`]; what was there before stays.
    pub fn save(&self, settings: &resident::Options, lives: &Lives) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let named = Named { active: settings.active.clone(), standby: settings.standby.clone() };
        let kept = Kept { version: VERSION, named, lives: lives.clone() };
        let fail = |reason: String| Error { what: "save the models' register", path: path.clone(), reason };
        let json = serde_json::to_vec_pretty(&kept).map_err(|error| fail(error.to_string()))?;
        write_whole(path, &json).map_err(|error| fail(error.to_string()))
    }
}

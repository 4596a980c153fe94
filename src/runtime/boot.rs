//! Remembers across restarts which model was activated last and whether the process lived on with it.
//!
//! ```text
//! begin(model) ─> boot.json: not proven ──┬─ 60 s later, or a drained end ─> proven
//!                                         └─ the process ends otherwise ──> at the next start: one crash more
//! ```
//! A model with two such ends in a row is banned: who starts the service takes the other one. Without a directory of
//! state there is nothing to remember in, and that is said. What ended the process is not known here: an operator's
//! `kill -9` twice within the minute counts, too.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::store::write_whole;
use crate::domain::{Span, Timestamp};
use crate::healing::model::ModelRef;
use crate::telemetry::guard::BootGuardBlind;

/// How long a process must live with a model until it is proven.
pub const PROVEN_AFTER: Span = Span::from_seconds(60);
/// Ends in a row without proof that ban a model.
pub const CRASHES_MAX: u32 = 2;
const FILE: &str = "boot.json";
const VERSION: u32 = 1;

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    version: u32,
    model: ModelRef,
    activated_at: Timestamp,
    is_proven: bool,
    crashes: u32,
    /// Models that are not started until a person says so.
    #[serde(default)]
    banned: Vec<ModelRef>,
}

/// A model with which the process ended before it was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Which.
    pub model: ModelRef,
    /// How often in a row.
    pub crashes: u32,
    /// Whether that is too often: it must not be started.
    pub is_banned: bool,
}

/// The guard of starts.
#[derive(Debug)]
pub struct BootGuard {
    path: Option<PathBuf>,
    suspect: Option<Suspect>,
    memory: Mutex<Option<Memory>>,
}

impl BootGuard {
    /// Reads what the process before left in the directory of state.
    #[must_use]
    pub fn open(directory: Option<&Path>) -> Self {
        Self::open_for(directory, CRASHES_MAX)
    }

    /// As [`Self::open`], with so many crashes in a row that ban a model; 0: none does. One model is banned at most:
    /// when the next one crashes the process, too, it is not the model.
    #[must_use]
    pub fn open_for(directory: Option<&Path>, crashes_max: u32) -> Self {
        let Some(directory) = directory else {
            BootGuardBlind { reason: &"state.directory is not set", is_fault: false }.emit();
            return Self { path: None, suspect: None, memory: Mutex::default() };
        };
        let path = directory.join(FILE);
        let memory = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Memory>(&bytes).map_err(|error| error.to_string()).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let memory = memory.unwrap_or_else(|reason| {
            // It only holds back a model: a start without it is better than none.
            BootGuardBlind { reason: &format_args!("{}: {reason}", path.display()), is_fault: true }.emit();
            None
        });
        let suspect = memory.as_ref().filter(|memory| memory.version == VERSION && !memory.is_proven).map(|memory| {
            let crashes = memory.crashes + 1;
            let is_other = memory.banned.iter().all(|banned| *banned == memory.model);
            let is_banned = crashes_max > 0 && crashes >= crashes_max && is_other;
            Suspect { model: memory.model.clone(), crashes, is_banned }
        });
        Self { path: Some(path), suspect, memory: Mutex::new(memory) }
    }

    /// Returns the model with which the process before ended too soon.
    #[must_use]
    pub const fn verdict(&self) -> Option<&Suspect> {
        self.suspect.as_ref()
    }

    /// Tells whether a model, by its hash, must not be started.
    #[must_use]
    pub fn is_banned(&self, sha256: &str) -> bool {
        let is_suspect =
            self.suspect.as_ref().is_some_and(|suspect| suspect.is_banned && suspect.model.sha256 == sha256);
        is_suspect || self.memory.lock().iter().flat_map(|memory| &memory.banned).any(|model| model.sha256 == sha256)
    }

    /// A model is activated, at the start or by a swap. Blocks until that is on disk; a failure is told.
    pub fn begin(&self, model: &ModelRef, now: Timestamp) {
        let mut memory = self.memory.lock();
        let mut banned = memory.as_ref().map(|memory| memory.banned.clone()).unwrap_or_default();
        let suspect = self.suspect.as_ref();
        banned.extend(suspect.filter(|suspect| suspect.is_banned).map(|suspect| suspect.model.clone()));
        banned.sort();
        banned.dedup();
        // Only the start after the crash continues the count; a swap to it later is a first time.
        let is_start =
            memory.as_ref().is_none_or(|memory| Some(&memory.model) == suspect.map(|suspect| &suspect.model));
        let crashes =
            suspect.filter(|suspect| suspect.model == *model && is_start).map_or(0, |suspect| suspect.crashes);
        let next =
            Memory { version: VERSION, model: model.clone(), activated_at: now, is_proven: false, crashes, banned };
        self.write(&next);
        *memory = Some(next);
    }

    /// The process lived on with its model, or is drained: it is proven. Blocks like [`Self::begin`].
    pub fn stable(&self) {
        let mut memory = self.memory.lock();
        if let Some(memory) = memory.as_mut().filter(|memory| !memory.is_proven) {
            (memory.is_proven, memory.crashes) = (true, 0);
            self.write(memory);
        }
    }

    /// Returns when the model in force is proven; `None` when it is, or there is none.
    #[must_use]
    pub fn proven_at(&self) -> Option<Timestamp> {
        let memory = self.memory.lock();
        memory.as_ref().filter(|memory| !memory.is_proven).map(|memory| memory.activated_at.plus(PROVEN_AFTER))
    }

    /// A person lets a banned model be started again.
    pub fn forgive(&self, sha256: &str) {
        let mut memory = self.memory.lock();
        if let Some(memory) = memory.as_mut() {
            memory.banned.retain(|model| model.sha256 != sha256);
            self.write(memory);
        }
    }

    fn write(&self, memory: &Memory) {
        let Some(path) = &self.path else { return };
        // Strings and numbers: writing them to memory cannot fail.
        let json = serde_json::to_vec_pretty(memory).unwrap_or_default();
        if let Err(error) = write_whole(path, &json) {
            BootGuardBlind { reason: &format_args!("{}: {error}", path.display()), is_fault: true }.emit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn model(name: &str) -> ModelRef {
        ModelRef { name: name.into(), version: "1".into(), sha256: format!("hash of {name}") }
    }

    /// A process that starts with a model and ends without being proven; returns what it thought at its start.
    fn crash(directory: &Path, name: &str) -> Option<(u32, bool)> {
        let boot = BootGuard::open(Some(directory));
        boot.begin(&model(name), NOW);
        assert_eq!(boot.proven_at(), Some(NOW.plus(PROVEN_AFTER)));
        boot.verdict().map(|suspect| (suspect.crashes, suspect.is_banned))
    }

    #[test]
    fn two_crashes_in_a_row_ban_a_model_until_it_is_forgiven() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(crash(place.path(), "bad"), None);
        assert_eq!(crash(place.path(), "bad"), Some((1, false)));
        // The third start knows: it takes the other one, and goes on knowing after that is proven.
        let boot = BootGuard::open(Some(place.path()));
        assert!(boot.is_banned("hash of bad") && !boot.is_banned("hash of good"));
        boot.begin(&model("good"), NOW);
        boot.stable();
        for _ in 0..2 {
            let boot = BootGuard::open(Some(place.path()));
            assert_eq!(boot.verdict(), None);
            assert!(boot.is_banned("hash of bad"));
            boot.begin(&model("good"), NOW);
            boot.stable();
        }
        let boot = BootGuard::open(Some(place.path()));
        boot.forgive("hash of bad");
        assert!(!BootGuard::open(Some(place.path())).is_banned("hash of bad"));
    }

    #[test]
    fn a_proven_minute_or_a_drained_end_forgets() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(crash(place.path(), "bad"), None);
        let boot = BootGuard::open(Some(place.path()));
        boot.begin(&model("bad"), NOW);
        boot.stable();
        assert_eq!(boot.proven_at(), None);
        assert_eq!(crash(place.path(), "bad"), None);
        assert_eq!(crash(place.path(), "bad"), Some((1, false)));
    }

    #[test]
    fn a_crash_of_one_model_is_not_counted_for_another() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(crash(place.path(), "one"), None);
        assert_eq!(crash(place.path(), "two"), Some((1, false)));
        assert_eq!(crash(place.path(), "one"), Some((1, false)));
        assert!(!BootGuard::open(Some(place.path())).is_banned("hash of one"));
    }

    #[test]
    fn nothing_is_remembered_without_a_directory_and_a_broken_file_is_passed_over() {
        let boot = BootGuard::open(None);
        boot.begin(&model("bad"), NOW);
        assert_eq!(boot.verdict(), None);
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join(FILE), "{").expect("written");
        let boot = BootGuard::open(Some(place.path()));
        assert_eq!((boot.verdict(), boot.proven_at()), (None, None));
        boot.begin(&model("bad"), NOW);
        assert_eq!(crash(place.path(), "bad"), Some((1, false)));
    }
}

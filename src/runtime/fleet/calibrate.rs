//! The map from the active model's score to a probability: put in force beside the model, which stays as it was signed, and
//! kept across restarts. It belongs to its model: with another one in its place it is gone.

use std::convert::Infallible;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Error, Fleet};
use crate::domain::Calibration;
use crate::healing::ModelRef;
use crate::runtime::slot::Release;
use crate::runtime::store::write_whole;
use crate::telemetry::fleet::{CalibrationUnread, RegisterUnsaved};

/// The file's name in the state directory.
const FILE: &str = "calibration.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    model: ModelRef,
    map: Calibration,
}

impl Fleet {
    /// Lets scores of the active model stand for probabilities by a map, or by themselves again. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::NotActive`], [`Error::Unsaved`]; nothing is changed then.
    pub fn calibrate(&self, model: &ModelRef, map: Option<Calibration>) -> Result<(), Error> {
        let _one_at_a_time = self.ordering.lock();
        self.parts.slot.change(|release| {
            let is_meant = release.model.as_ref().is_some_and(|active| active.reference == *model);
            if !is_meant {
                return Err(Error::NotActive);
            }
            // What takes a map away is done also when the disk refuses: a wrong map must not stay because of it.
            match self.write_calibration(map.map(|map| Kept { model: model.clone(), map }).as_ref()) {
                Err(error) if map.is_some() => return Err(Error::Unsaved(error.to_string())),
                Err(error) => RegisterUnsaved { error: &error }.emit(),
                Ok(()) => {}
            }
            Ok(Release { calibration: map, ..release.clone() })
        })?;
        Ok(())
    }

    /// Returns the map in force and whose it is.
    #[must_use]
    pub fn calibration(&self) -> Option<(ModelRef, Calibration)> {
        let release = self.parts.slot.load();
        Some((release.model.as_ref()?.reference.clone(), release.calibration?))
    }

    /// Puts the map of before the restart in force again, if its model answers. One that cannot be read is told and left
    /// out: then scores stand for themselves, and labels will ask for a new one.
    pub(super) fn calibrate_again(&self) {
        let Some(path) = self.calibration_path() else { return };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return CalibrationUnread { error: &error }.emit(),
        };
        let kept: Kept = match serde_json::from_slice(&text) {
            Ok(kept) => kept,
            Err(error) => return CalibrationUnread { error: &error }.emit(),
        };
        if !kept.map.is_sound() {
            return CalibrationUnread { error: &"it is no map" }.emit();
        }
        let put: Result<_, Infallible> = self.parts.slot.change(|release| {
            let is_meant = release.model.as_ref().is_some_and(|active| active.reference == kept.model);
            let calibration = if is_meant { Some(kept.map) } else { release.calibration };
            Ok(Release { calibration, ..release.clone() })
        });
        drop(put);
    }

    /// Forgets the file of a map whose model has left its place.
    pub(super) fn keep_calibration(&self) {
        let is_there = self.calibration_path().is_some_and(|path| path.exists());
        if !is_there || self.calibration().is_some() {
            return;
        }
        if let Err(error) = self.write_calibration(None) {
            RegisterUnsaved { error: &error }.emit();
        }
    }

    fn calibration_path(&self) -> Option<PathBuf> {
        self.register.directory().map(|directory| directory.join(FILE))
    }

    fn write_calibration(&self, kept: Option<&Kept>) -> std::io::Result<()> {
        let Some(path) = self.calibration_path() else { return Ok(()) };
        match kept {
            Some(kept) => write_whole(&path, &serde_json::to_vec(kept)?),
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }
}

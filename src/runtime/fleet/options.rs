//! What a fleet is told by the settings.

use std::path::PathBuf;
use std::time::Duration;

use crate::healing::trial;
use crate::runtime::inference::InferenceOptions;
use crate::runtime::release::gates;
use crate::runtime::resident;

/// What the settings say of the fleet, under `[fleet]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How often the model directory is looked at for new bundles; zero never.
    pub watch_every: Duration,
    /// How often golden rows are run through the active and the standby model; zero never.
    pub golden_every: Duration,
    /// The share of transactions the standby scores, too, in percent.
    pub standby_sample_percent: u8,
    /// Public keys in hex whose signatures count.
    pub trusted_keys: Vec<String>,
    /// What a trial asks for.
    pub trial: trial::Options,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            watch_every: Duration::from_secs(10),
            golden_every: Duration::from_secs(30),
            standby_sample_percent: 2,
            trusted_keys: Vec::new(),
            trial: trial::Options::default(),
        }
    }
}

/// What a fleet works with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the settings say.
    pub settings: Settings,
    /// Where bundles are, and which the settings name active and standby.
    pub models: resident::Options,
    /// How a model is run.
    pub inference: InferenceOptions,
    /// What the gates ask for.
    pub limits: gates::Limits,
    /// The executable that runs the gates as a child.
    pub executable: PathBuf,
}

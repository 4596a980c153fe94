//! Which model is meant, and how far it has come.
//!
//! ```text
//! candidate ─> validated ─> shadow ─> canary ─> active ─> standby ─> retired
//!     └────────────┴───────────┴─────────┴─────────┴─────────┴─> quarantined (by hash, until a person releases it)
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// One model bundle: name and version as people know it, and the hash that says which bytes are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// Name in the bundle's manifest.
    pub name: String,
    /// Version in the bundle's manifest.
    pub version: String,
    /// The sha256 of the bundle's manifest, in hex; the manifest hashes every other file.
    pub sha256: String,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.name, self.version)
    }
}

/// How far a bundle has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was found; no gate has been asked.
    Candidate,
    /// It passed every gate.
    Validated,
    /// It scores a sample of the traffic beside the active model, and answers nobody.
    Shadow,
    /// It answers for a share of the entities.
    Canary,
    /// It answers.
    Active,
    /// It was proven and stays loaded and warm.
    Standby,
    /// It was proven once and is not loaded any more.
    Retired,
    /// It may not be loaded until a person releases it.
    Quarantined,
}

impl Stage {
    /// Every stage, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Candidate,
        Self::Validated,
        Self::Shadow,
        Self::Canary,
        Self::Active,
        Self::Standby,
        Self::Retired,
        Self::Quarantined,
    ];

    /// Returns the name used in JSON, decisions and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Validated => "validated",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Retired => "retired",
            Self::Quarantined => "quarantined",
        }
    }
}

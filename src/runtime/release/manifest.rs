//! The manifest: what a bundle says about itself. Read once, trusted only where a gate has checked it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Thresholds;
use crate::runtime::inference::OutputChoice;

/// The manifest's format this build writes and reads.
pub const FORMAT: u32 = 1;

/// `manifest.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The manifest's own format.
    pub format: u32,
    /// The model's name: lower-case letters, digits, `-`, `.`, `_`; at most 64.
    pub name: String,
    /// The model's version, of the same letters.
    pub version: String,
    /// When it was packed, RFC 3339.
    pub created_at: String,
    /// Library and version that trained it, such as `xgboost 3.2.0`.
    pub trainer: String,
    /// What it is meant to be: `active` or `standby`; a hint for the first start.
    pub role: Role,
    /// Hash of the feature schema, as the schema computes it.
    pub schema_hash: String,
    /// The model's inputs: feature names in order.
    pub inputs: Vec<String>,
    /// sha256 of every other file, in hex.
    pub files: BTreeMap<String, String>,
    /// Where the probability is.
    pub output: OutputChoice,
    /// The score limits.
    pub thresholds: Thresholds,
    /// How far our scores may be from the trainer's.
    pub tolerance: Tolerance,
    /// Holdout metrics as the trainer measured them: for people, no gate reads them.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// What it was trained on.
    #[serde(default)]
    pub training: Training,
    /// What stands for a missing value, for each input; `nan` where the model was trained so.
    pub missing: BTreeMap<String, f64>,
}

/// What a bundle is meant to be when a service starts for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Answers.
    Active,
    /// Waits, validated.
    Standby,
    /// Must earn its place.
    Candidate,
}

/// How far the scores on the golden rows may be from the trainer's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Rows within this distance agree.
    pub close: f64,
    /// The share of rows that may be further away.
    pub share: f64,
    /// The furthest any row may be.
    pub size: f64,
}

impl Tolerance {
    /// Float32 thresholds flip a few tree paths; more than this must be declared when packing.
    pub const DEFAULT: Self = Self { close: 1e-5, share: 0.01, size: 0.03 };
    /// The most a bundle may declare.
    pub const MOST: Self = Self { close: 1e-4, share: 0.02, size: 0.1 };
}

/// What a model was trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// First event time, RFC 3339.
    #[serde(default)]
    pub from: String,
    /// Last event time, RFC 3339.
    #[serde(default)]
    pub to: String,
    /// Rows.
    #[serde(default)]
    pub rows: u64,
    /// Frauds among them.
    #[serde(default)]
    pub frauds: u64,
    /// Days a label needs to arrive; the gap between training and test.
    #[serde(default)]
    pub label_delay_days: f64,
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// Every fault that does not hide others, joined, with the cure.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().replace('\n', " "))?;
        let mut faults = Vec::new();
        if manifest.format != FORMAT {
            faults.push(format!("format is {}, this build reads {FORMAT}; pack it again", manifest.format));
        }
        for (what, word) in [("name", &manifest.name), ("version", &manifest.version)] {
            if !is_word(word) {
                faults.push(format!("{what} {word:?} is not 1 to 64 of a-z 0-9 - . _"));
            }
        }
        if !manifest.thresholds.are_ordered() {
            faults.push("thresholds are not ordered within 0..=1; write review <= challenge <= decline".to_owned());
        }
        let (declared, most) = (manifest.tolerance, Tolerance::MOST);
        let within = |value: f64, most: f64| (0.0..=most).contains(&value);
        if !(within(declared.close, most.close)
            && within(declared.share, most.share)
            && within(declared.size, most.size))
        {
            faults.push(format!("tolerance is wider than {} / {} / {}", most.close, most.share, most.size));
        }
        if faults.is_empty() { Ok(manifest) } else { Err(faults.join("; ")) }
    }
}

/// Tells whether a text may name a model or a version: it becomes a directory and a metric label.
#[must_use]
pub fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            name: "card-fraud".into(),
            version: "1".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            trainer: "test 1".into(),
            role: Role::Active,
            schema_hash: "s".into(),
            inputs: vec!["amount".into()],
            files: BTreeMap::new(),
            output: OutputChoice { name: "probabilities".into(), column: 1 },
            thresholds: Thresholds { review: 0.2, challenge: None, decline: 0.9 },
            tolerance: Tolerance::DEFAULT,
            metrics: BTreeMap::from([("auc".into(), 0.9)]),
            training: Training::default(),
            missing: BTreeMap::from([("amount".into(), f64::NAN), ("count".into(), 0.0)]),
        }
    }

    #[test]
    fn a_manifest_survives_its_file() {
        let written = toml::to_string(&manifest()).expect("written");
        let read = Manifest::parse(&written).expect("read");
        assert_eq!(toml::to_string(&read).expect("written"), written);
        assert!(read.missing["amount"].is_nan());
    }

    #[test]
    fn what_cannot_be_is_refused_at_once() {
        let mut wrong = manifest();
        wrong.name = "../etc".into();
        wrong.format = 9;
        wrong.thresholds.review = 0.95;
        wrong.tolerance.size = 0.5;
        let faults = Manifest::parse(&toml::to_string(&wrong).expect("written")).expect_err("refused");
        for part in ["format is 9", "../etc", "thresholds", "tolerance"] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
        assert!(Manifest::parse("format = 1\nsurprise = 2").is_err());
    }
}

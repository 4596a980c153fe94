//! A bundle: every file read once, every hash checked, every part parsed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::baseline::Baseline;
use super::golden::{self, GoldenRow};
use super::manifest::Manifest;
use crate::healing::ModelRef;
use crate::healing::drift::Profile;
use crate::scoring::feature::{Schema, SchemaFault, Source};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.toml";
/// The model's file name.
pub const MODEL: &str = "model.onnx";
/// The schema's file name.
pub const SCHEMA: &str = "features.toml";
/// The reference profile's file name.
pub const BASELINE: &str = "baseline.json";
/// The golden rows' file name.
pub const GOLDEN: &str = "golden.jsonl";
/// The model card's file name.
pub const CARD: &str = "MODEL_CARD.md";
/// The detached signature's file name; the only one that may be missing.
pub const SIGNATURE: &str = "manifest.sig";

/// The files the manifest must hash, and nothing else.
pub const HASHED: [&str; 5] = [MODEL, SCHEMA, BASELINE, GOLDEN, CARD];
/// The largest model file, in bytes.
pub const MODEL_BYTES_MAX: u64 = 256 << 20;
/// The largest other file, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// The files of a bundle by name, as bytes.
pub type Files = BTreeMap<String, Bytes>;

/// Why a directory is not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not there or not readable.
    #[error("tried to read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// A file is larger than its bound.
    #[error("tried to read {name}: {bytes} bytes are more than the {bytes_max} allowed")]
    TooLarge {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// A file's content is not what the manifest hashed.
    #[error(
        "tried to check {name}: its sha256 is {found} and the manifest says {stated}; the file was changed after packing"
    )]
    Hash {
        /// The file.
        name: String,
        /// The hash of what is there.
        found: String,
        /// What the manifest says.
        stated: String,
    },
    /// A file does not say what it must.
    #[error("tried to parse {name}: {reason}")]
    Malformed {
        /// The file.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// A model with everything that belongs to it. What was hashed is what is here.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Its features.
    pub schema: Arc<Schema>,
    /// The profile of its training data.
    pub baseline: Baseline,
    /// Rows with known answers.
    pub golden: Vec<GoldenRow>,
    /// The ONNX file.
    pub model: Bytes,
    /// The ONNX file's sha256 in hex.
    pub model_sha256: String,
    /// The manifest file's bytes: what a signature signs.
    pub manifest_bytes: Bytes,
    /// The signature file's bytes, when there is one.
    pub signature: Option<Bytes>,
}

impl Bundle {
    /// Reads a bundle's directory.
    ///
    /// # Errors
    /// [`Error`], naming the file and what is wrong.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        Self::from_files(&read(directory)?)
    }

    /// Makes a bundle of files in memory.
    ///
    /// # Errors
    /// [`Error`], naming the file and what is wrong.
    pub fn from_files(files: &Files) -> Result<Self, Error> {
        let manifest_bytes = file(files, MANIFEST)?.clone();
        let malformed = |name, reason| Error::Malformed { name, reason };
        let manifest =
            Manifest::parse(&text(MANIFEST, &manifest_bytes)?).map_err(|reason| malformed(MANIFEST, reason))?;
        check_hashes(files, &manifest)?;
        let schema =
            Schema::parse(&text(SCHEMA, file(files, SCHEMA)?)?).map_err(|faults| malformed(SCHEMA, join(&faults)))?;
        let baseline =
            serde_json::from_slice(file(files, BASELINE)?).map_err(|error| malformed(BASELINE, error.to_string()))?;
        let golden = golden::parse(&text(GOLDEN, file(files, GOLDEN)?)?, schema.inputs().len())
            .map_err(|reason| malformed(GOLDEN, reason))?;
        let model = file(files, MODEL)?.clone();
        let model_sha256 = manifest.files.get(MODEL).cloned().unwrap_or_default();
        let signature = files.get(SIGNATURE).cloned();
        Ok(Self {
            manifest,
            schema: Arc::new(schema),
            baseline,
            golden,
            model,
            model_sha256,
            manifest_bytes,
            signature,
        })
    }

    /// Says which bundle this is.
    #[must_use]
    pub fn reference(&self) -> ModelRef {
        let (name, version) = (self.manifest.name.clone(), self.manifest.version.clone());
        ModelRef { name, version, sha256: sha256(&self.manifest_bytes) }
    }

    /// Returns the names of the model's inputs, in order.
    #[must_use]
    pub fn input_names(&self) -> Vec<&str> {
        input_names(&self.schema)
    }

    /// Returns the baseline as the detectors read it.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let features = self.schema.features();
        let is_calendar = |place: &usize| matches!(features[*place].source, Source::Calendar(_));
        let calendar: Vec<bool> = self.schema.inputs().iter().map(is_calendar).collect();
        self.baseline.profile(&calendar, &self.manifest.thresholds)
    }
}

/// Returns the names of a schema's model inputs, in order.
#[must_use]
pub fn input_names(schema: &Schema) -> Vec<&str> {
    schema.inputs().iter().map(|place| schema.features()[*place].name.as_str()).collect()
}

/// Reads the files of a bundle, each once, within their bounds.
///
/// # Errors
/// [`Error::Unreadable`] and [`Error::TooLarge`].
pub fn read(directory: &Path) -> Result<Files, Error> {
    let mut files = Files::new();
    for name in HASHED.into_iter().chain([MANIFEST, SIGNATURE]) {
        let path = directory.join(name);
        if name == SIGNATURE && !path.exists() {
            continue;
        }
        files.insert(name.to_owned(), read_file(name, path)?);
    }
    Ok(files)
}

fn read_file(name: &str, path: PathBuf) -> Result<Bytes, Error> {
    let bytes_max = if name == MODEL { MODEL_BYTES_MAX } else { FILE_BYTES_MAX };
    let bytes = match std::fs::metadata(&path) {
        Ok(facts) => facts.len(),
        Err(reason) => return Err(Error::Unreadable { path, reason }),
    };
    if bytes > bytes_max {
        return Err(Error::TooLarge { name: name.to_owned(), bytes, bytes_max });
    }
    std::fs::read(&path).map(Bytes::from).map_err(|reason| Error::Unreadable { path, reason })
}

fn check_hashes(files: &Files, manifest: &Manifest) -> Result<(), Error> {
    if let Some(surplus) = manifest.files.keys().find(|name| !HASHED.contains(&name.as_str())) {
        return Err(Error::Malformed {
            name: MANIFEST,
            reason: format!("it lists {surplus}, which is no file of a bundle"),
        });
    }
    for name in HASHED {
        let found = sha256(file(files, name)?);
        let stated = manifest.files.get(name).cloned().unwrap_or_else(|| "nothing".to_owned());
        if found != stated {
            return Err(Error::Hash { name: name.to_owned(), found, stated });
        }
    }
    Ok(())
}

fn file<'a>(files: &'a Files, name: &'static str) -> Result<&'a Bytes, Error> {
    files.get(name).ok_or_else(|| Error::Malformed { name, reason: "the file is missing".to_owned() })
}

fn text(name: &'static str, bytes: &Bytes) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|error| Error::Malformed { name, reason: error.to_string() })
}

fn join(faults: &[SchemaFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Returns the sha256 of bytes in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_what_everybody_computes() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_missing_file_is_named() {
        let place = tempfile::tempdir().expect("a directory");
        let error = Bundle::load(place.path()).expect_err("refused").to_string();
        assert!(error.contains(MODEL), "{error}");
        let error = Bundle::from_files(&Files::new()).expect_err("refused").to_string();
        assert!(error.contains(MANIFEST), "{error}");
    }
}

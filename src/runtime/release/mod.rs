//! Releases: the model bundle as it lies on disk, and the gates it must pass before it serves.
//!
//! ```text
//! pack ──writes──> model.onnx  features.toml  baseline.json  golden.jsonl  MODEL_CARD.md  manifest.toml [manifest.sig]
//! Bundle::load ──reads each file once──> hashes agree? parses? ──> Bundle ──> gates::run ──> Report
//! ```
//! What was hashed is what is used: no file is opened twice. The manifest hashes every other file, so a
//! signature over the manifest covers the bundle. Which release is active is not known here.

pub mod baseline;
pub mod bundle;
pub mod gates;
pub mod golden;
pub mod manifest;
pub mod onnx;
pub mod pack;
pub mod signature;

pub use baseline::{Baseline, FeatureProfile, ScoreProfile};
pub use bundle::{Bundle, sha256};
pub use golden::GoldenRow;
pub use manifest::Manifest;

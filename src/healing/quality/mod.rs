//! Quality: what labels say of a model, and what their feed says of the labels.
//!
//! ```text
//! decided ──> sample ──matured──> coverage                                    ┐
//! labelled ─> delay, silence, share of frauds ───────────────────────────────┼─> LabelFeed holds the rest
//!          └─matured─> precision, recall, ranks, calibration (one track a model) ─> QualityLost, CalibrationOff
//!          └─both scores─> paired evidence: is the standby better?            └─> the permission to swap
//! ```
//! A label that is not there yet is missing, not negative; a label counts when its transaction is old enough that those
//! of its age are complete. Evidence about one model is never evidence about another (`HE-3`).

mod feed;
mod label;
mod options;
mod paired;
mod ranks;
mod recalibrate;
mod track;
mod watch;

pub use label::{Decided, Labelled};
pub use options::{Expected, Options, Unlabelled};
pub use paired::Paired;
pub use recalibrate::{Fitted, Unfit};
pub use watch::{CalibrationTrial, LabelWatch};

#[cfg(test)]
mod tests;

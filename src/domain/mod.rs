//! Floor 0: the nouns of the field, as types that cannot be wrong.
//!
//! ```text
//! Draft ──check──> Transaction ──> FeatureVector ──> Score ──> Decision
//!                        └──────────── Label (arrives days later)
//! ```
//! Everything here is a value: no clock, no I/O, no logging. Every other floor may look
//! down at this one; this one looks at nothing.

pub mod calibration;
pub mod card_number;
pub mod decision;
pub mod draft;
pub mod features;
pub mod field;
pub mod label;
pub mod money;
pub mod score;
pub mod time;
pub mod transaction;
pub mod value;

pub use calibration::Calibration;
pub use decision::{
    Contribution, Decision, DecisionId, DecisionSource, DegradedReason, EvaluationStatus, Latency, Outcome, Reason,
    ReasonSource, ReleaseFacts, RuleFacts, RuleVerdict, SecondFacts, Thresholds, TraceId,
};
pub use draft::{Draft, FieldError, FieldErrorCode};
pub use features::FeatureVector;
pub use field::{Field, FieldRef, TextField, ValueKind};
pub use label::{Label, LabelKind};
pub use money::{Currency, RateTable};
pub use score::Score;
pub use time::{Span, Timestamp};
pub use transaction::{EntityKey, Transaction};
pub use value::Value;

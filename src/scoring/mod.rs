//! Floor 1, pure: what is this transaction worth?
//!
//! ```text
//! features = feature::Plan over window logs      score = the model's (runtime)
//! verdicts = rule::RuleSet over tx, features, score
//! decide(score?, verdicts, list hits, policy) -> outcome, reasons, source
//! ```
//! No clock, lock, thread, randomness, logging or I/O: values in, values out.

pub mod decide;
pub mod document;
pub mod explain;
pub mod expression;
pub mod feature;
pub mod list;
pub mod metrics;
pub mod rule;
pub mod suggest;
pub mod window;

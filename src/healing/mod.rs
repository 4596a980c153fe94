//! Healing, the pure half: are we fit to answer, and what shall we do about it?
//!
//! ```text
//! observations ─> detectors ─> Finding ─┐
//! breaker, host, labels, trials ────────┼─> Situation ─> plan(memory, situation) ─> Action …
//!                                       │                 └ the same history gives the same actions
//! outcomes of actions ──────────────────┘
//! ```
//! Nothing here has a clock, a thread or a door: every function is given its `now` and returns values, so
//! that an incident can be replayed from what was recorded of it. `runtime` feeds it and acts for it.

pub mod action;
pub mod breaker;
pub mod drift;
pub mod finding;
pub mod host;
pub mod lifecycle;
pub mod memory;
pub mod model;
pub mod quality;
pub mod rates;
pub mod retraining;
pub mod situation;
pub mod supervisor;
pub mod table;
pub mod trial;

pub use action::Action;
pub use finding::{Alarm, Evidence, Finding, Verdict};
pub use memory::{Health, Memory};
pub use model::{ModelRef, Stage};
pub use situation::Situation;
pub use supervisor::{Plan, plan};
pub use table::Table;

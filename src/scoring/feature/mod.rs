//! Features: declared in a schema, compiled into a plan, computed as of one transaction.
//!
//! ```text
//! features.toml ──parse──> Schema ──compile──> Plan        what one release reads
//!                                 └─union────> Layout      what the store keeps for all releases
//! Plan: fields, calendar, codes ─> windows of each entity ─> expressions ─> FeatureVector
//! ```
//! A schema is checked whole: every fault comes at once, with its line and its cure. Features are
//! computed in the order they are declared, and an expression reads only those above it, so no cycle
//! can be written. Where events are kept, and in whose memory, is the store's business.

mod aggregate;
mod calendar;
mod layout;
mod parse;
mod plan;
mod raw;
mod schema;

pub use calendar::{Calendar, CalendarFact};
pub use layout::{Conflict, KindLayout, Layout, Row};
pub use plan::{KindPlan, Plan, Values};
pub use schema::{Aggregate, EntityKind, Feature, Schema, SchemaFault, Source};

/// The most features of one schema.
pub const FEATURES_MAX: usize = 512;
/// The most entity kinds of one store.
pub const ENTITY_KINDS_MAX: usize = 12;
/// The most fields in one entity's key.
pub const KEY_FIELDS_MAX: usize = 4;
/// The longest window, with its delay, in days.
pub const WINDOW_DAYS_MAX: i64 = 400;

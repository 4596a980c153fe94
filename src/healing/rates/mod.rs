//! Rates: has the share of something left its bounds?
//!
//! A Bernoulli e-detector against a boundary, for what is rare or has two values only: missing values, values out of
//! range, alerts, labelled frauds that were caught. [`Rate`] knows its boundary; [`Learned`] learns it first.

mod learned;
mod rate;

pub use learned::{Learned, Learning};
pub use rate::{Direction, Rate};

//! fraudd: a fraud scoring service that explains every decision and heals itself.
//!
//! ```text
//! ROOF     app  config  cli      wires the parts, owns the command line
//! FLOOR 3  edge                  touches network and files, decides nothing
//! FLOOR 2  runtime               owns state, time and threads; opens no socket
//! FLOOR 1  scoring  healing  simulator   pure: values in, values out
//! FLOOR 0  domain                the nouns of the field
//! stairs   telemetry  tasks      typed events; the only spawn
//! ```
//! Imports go down only; `tests/house.rs` holds the walls.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod edge;
pub mod healing;
pub mod runtime;
pub mod scoring;
pub mod simulator;
pub mod tasks;
pub mod telemetry;

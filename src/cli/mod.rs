//! The command line: one file a subcommand.

pub mod model;
pub mod simulate;

//! Real Kafka for tests: brokers started by `scripts/kafka`, and a proxy that misbehaves on demand.
//!
//! Where there is no Java or no Maven a test says "skipped" with the reason and passes; a broker that
//! is there and does not start is a failure.
#![allow(dead_code, reason = "each suite uses its part")]

pub(crate) mod broker;
pub(crate) mod proxy;

use std::io::Write;

/// Says that a test did nothing, past the test runner's capture.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

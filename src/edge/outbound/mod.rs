//! What we call: others' doors, from threads of their own.
//!
//! Nothing that decides waits here: events are queued within a bound, and what cannot be delivered is counted.

pub mod bundles;
pub mod webhook;

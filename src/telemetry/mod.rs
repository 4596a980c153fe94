//! Side stairs: typed events become a log line, metrics and spans.
//!
//! ```text
//! events::DecisionMade { .. }.emit() ──┬─> metrics   (relaxed atomics, resolved once)
//!                                      └─> log line  (tracing; nothing at INFO on the hot path)
//! trace::TraceContext ── sampled? ──> otlp (bounded queue, own thread; full: dropped and counted)
//! ```
//! The hot path never waits here. Labels come from closed sets. Every metric stands in
//! `docs/metrics.md`, which a test compares with the registry.

pub mod bundles;
pub mod desk;
pub mod events;
pub mod fleet;
pub mod guard;
pub mod healing;
pub mod histogram;
pub mod inference;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod process;
pub mod publisher;
pub mod retraining;
pub mod rules;
mod store;
pub mod stream_lane;
pub mod trace;

pub use metrics::metrics;
pub use rules::RuleCounters;
pub use trace::TraceContext;

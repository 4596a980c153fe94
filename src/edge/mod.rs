//! Floor 3: the world. Touches network and files, decides nothing.
//!
//! ```text
//! bytes ──wire──> domain types ──> runtime ──> domain types ──wire──> bytes
//!    └── Reject ──problem──> application/problem+json
//! files ──history──> transactions and labels of the past
//! Kafka <──kafka──> records in, decisions out, exactly once
//! events ──outbound──> others' doors
//! ```

pub mod history;
pub mod http;
pub mod kafka;
pub mod outbound;
pub mod problem;
pub mod wire;

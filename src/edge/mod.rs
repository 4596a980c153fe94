//! Floor 3: the world. Touches the network, decides nothing.
//!
//! ```text
//! bytes ──wire──> domain types ──> runtime ──> domain types ──wire──> bytes
//!    └── Reject ──problem──> application/problem+json
//! ```

pub mod http;
pub mod problem;
pub mod wire;

//! The breaker of one model: whether it may be asked, and how it earns that back.
//!
//! ```text
//! Closed ── failures in a row, failure rate, slow rate, a hung thread ──> Open
//!   ^                                                                      │ cooled (doubling, full jitter)
//!   │                     any of these fails: Open again                   v
//!   └── Ramp 100 % <─ 50 <─ 25 <─ 5 <─ 1 <── Shadow <── Probe ─────────────┘  these are HalfOpen
//!        live calls, a share of them             │         └ golden rows, nobody waits for them
//!                                                └ live rows scored and thrown away
//! ```
//! [`Breaker`] is a value: it is given the time, what calls came to, the state of the host and a number for
//! its jitter, and returns what changed. Half open, one [`Ticket`] is out at a time (`CB-1`); what was admitted
//! before a change is settled and counts for nothing after it (`CB-2`). A slow call only counts while the host
//! has its processor. Threads, atomics and models are not known here.

mod machine;
mod options;
pub mod slowness;
mod status;
#[cfg(test)]
mod tests;
mod window;

pub use machine::{Admission, Breaker, Report, Surroundings, Ticket, Work};
pub use options::Options;
pub use status::{BreakerStatus, Cause, Change, Force, ForceStatus, Place, Transition};
pub use window::{CallOutcome, Counts};

//! When a breaker opens and how it closes again.

use serde::{Deserialize, Serialize};

/// The limits of a breaker. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Hard failures in a row that open it.
    pub hard_in_a_row_max: u32,
    /// The share of hard failures within a second that opens it, in percent.
    pub hard_percent: u32,
    /// Calls within that second below which no share counts.
    pub hard_calls_min: u32,
    /// A call that computes longer than this is slow.
    pub slow_after_us: u64,
    /// Slow calls in a row, for a second or longer, that open it.
    pub slow_in_a_row_max: u32,
    /// The share of slow calls within a second that opens it, in percent.
    pub slow_percent: u32,
    /// Calls within that second below which no share counts.
    pub slow_calls_min: u32,
    /// The longest first wait before the model is tried; it doubles with each attempt.
    pub cool_us: u64,
    /// The longest wait of all.
    pub cool_max_us: u64,
    /// The share of live rows that are offered to the model while it answers nobody, in percent.
    pub shadow_percent: u32,
    /// Calls that shadow and each step of the ramp must see.
    pub step_calls: u32,
    /// How long each step of the ramp lasts at least.
    pub step_us: u64,
    /// How long the last step, all calls, lasts at least.
    pub full_us: u64,
    /// When a step has not seen its calls after this long, rows seen before are scored again instead.
    pub step_max_us: u64,
    /// After this long without an opening one attempt is forgotten.
    pub forget_us: u64,
}

impl Default for Options {
    fn default() -> Self {
        const SECOND: u64 = 1_000_000;
        Self {
            hard_in_a_row_max: 5,
            hard_percent: 25,
            hard_calls_min: 20,
            slow_after_us: 5_000,
            slow_in_a_row_max: 50,
            slow_percent: 50,
            slow_calls_min: 50,
            cool_us: SECOND,
            cool_max_us: 60 * SECOND,
            shadow_percent: 10,
            step_calls: 200,
            step_us: SECOND,
            full_us: 30 * SECOND,
            step_max_us: 30 * SECOND,
            forget_us: 600 * SECOND,
        }
    }
}

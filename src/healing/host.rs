//! Whether the host gives us our processor: what cgroups, the hypervisor and the scheduler say.
//!
//! ```text
//! cpu.stat: throttled time ── our own quota is used up   ┐
//! /proc/stat: steal ───────── another guest has the core ├─ shares of the time between two readings ─> HostState
//! cpu.pressure: some ──────── runnable, and no core free ┘
//! ```
//! The texts are parsed here; reading them is the runtime's part. A source that is not there says 0.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds of one tick of `/proc/stat`: `USER_HZ` is 100 wherever Linux runs.
const TICK_US: u64 = 10_000;

/// From which shares on the host counts as slow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Share of the time in which the quota kept us from running.
    pub throttled: f64,
    /// Share of the processor time that other guests took.
    pub stolen: f64,
    /// Share of the time in which one of us waited for a core.
    pub pressure: f64,
}

impl Limits {
    /// The limits a service starts with.
    pub const DEFAULT: Self = Self { throttled: 0.1, stolen: 0.1, pressure: 0.6 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the host counts, all of it since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// When it was read, in microseconds of some clock that never goes back.
    pub at_us: u64,
    /// Time in which the quota kept us from running.
    pub throttled_us: u64,
    /// Processor time that other guests took.
    pub stolen_us: u64,
    /// Processor time there was, over all cores.
    pub cores_us: u64,
    /// Time in which one of us waited for a core.
    pub pressure_us: u64,
}

/// How the host treated us between two readings. Shares are within 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// Share of the time in which the quota kept us from running.
    pub throttled_share: f64,
    /// Share of the processor time that other guests took.
    pub stolen_share: f64,
    /// Share of the time in which one of us waited for a core.
    pub pressure_share: f64,
    /// From which shares on that is slow.
    pub limits: Limits,
}

impl HostState {
    /// Compares two readings; the earlier one of a restarted counter says nothing.
    #[must_use]
    pub fn between(before: &Counters, after: &Counters, limits: Limits) -> Self {
        let wall = after.at_us.saturating_sub(before.at_us);
        let cores = after.cores_us.saturating_sub(before.cores_us);
        Self {
            throttled_share: share(after.throttled_us.saturating_sub(before.throttled_us), wall),
            stolen_share: share(after.stolen_us.saturating_sub(before.stolen_us), cores),
            pressure_share: share(after.pressure_us.saturating_sub(before.pressure_us), wall),
            limits,
        }
    }

    /// Tells whether slowness may be the host's.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.throttled_share >= self.limits.throttled
            || self.stolen_share >= self.limits.stolen
            || self.pressure_share >= self.limits.pressure
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| share * 100.0;
        write!(
            out,
            "host: throttled {:.0} %, stolen {:.0} %, waiting for a core {:.0} %",
            percent(self.throttled_share),
            percent(self.stolen_share),
            percent(self.pressure_share)
        )
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

/// Reads the throttled time out of a `cpu.stat`, of cgroups version 2 or 1.
#[must_use]
pub fn throttled_us(cpu_stat: &str) -> Option<u64> {
    cpu_stat.lines().find_map(|line| match line.split_once(' ')? {
        ("throttled_usec", micros) => micros.trim().parse().ok(),
        ("throttled_time", nanos) => nanos.trim().parse::<u64>().ok().map(|nanos| nanos / 1_000),
        _ => None,
    })
}

/// Reads stolen and total processor time out of `/proc/stat`.
#[must_use]
pub fn stolen_and_cores_us(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest times are within user and nice.
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let stolen = ticks.get(7)?;
    Some((stolen.saturating_mul(TICK_US), ticks.iter().sum::<u64>().saturating_mul(TICK_US)))
}

/// Reads the time out of a pressure file in which some task waited.
#[must_use]
pub fn pressure_us(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("total=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let second = "usage_usec 9\nnr_periods 3\nnr_throttled 2\nthrottled_usec 123456\n";
        assert_eq!(throttled_us(second), Some(123_456));
        assert_eq!(throttled_us("nr_periods 0\nnr_throttled 0\nthrottled_time 5000000\n"), Some(5_000));
        assert_eq!(throttled_us("usage_usec 9\n"), None);
        let stat = "cpu  10 1 5 100 2 0 3 7 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(stolen_and_cores_us(stat), Some((70_000, 1_280_000)));
        assert_eq!(stolen_and_cores_us("intr 5\n"), None);
        let pressure = "some avg10=7.04 avg60=21.91 avg300=29.96 total=6124\nfull avg10=0.00 total=7\n";
        assert_eq!(pressure_us(pressure), Some(6_124));
        assert_eq!(pressure_us(""), None);
    }

    #[test]
    fn shares_are_of_the_time_between() {
        let before = Counters { at_us: 1_000, throttled_us: 10, stolen_us: 0, cores_us: 0, pressure_us: 5 };
        let quiet = Counters { at_us: 101_000, throttled_us: 10, stolen_us: 0, cores_us: 200_000, pressure_us: 5 };
        let state = |after| HostState::between(&before, &after, Limits::DEFAULT);
        assert!(!state(quiet).is_slow());
        assert!(state(Counters { throttled_us: 10_010, ..quiet }).is_slow());
        assert!(state(Counters { stolen_us: 20_000, ..quiet }).is_slow());
        assert!(!state(Counters { stolen_us: 19_000, ..quiet }).is_slow());
        assert!(state(Counters { pressure_us: 60_005, ..quiet }).is_slow());
        // A counter that began anew, and a clock that stood still, say nothing.
        assert!(!state(Counters::default()).is_slow());
    }
}

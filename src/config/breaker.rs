//! The settings of breakers: when one opens, how it closes, and when the host is to blame.

use super::reader::Reader;
use super::{bounded, positive};
use crate::healing::breaker::Options;
use crate::healing::host::Limits;

pub(super) fn read(reader: &mut Reader) -> Options {
    let mut micros = |key: &str| u64::try_from(positive(reader, key).micros()).unwrap_or_default();
    let (slow_after_us, cool_us, cool_max_us) =
        (micros("breaker.slow_after"), micros("breaker.cool"), micros("breaker.cool_max"));
    let (step_us, full_us) = (micros("breaker.step"), micros("breaker.full"));
    let (step_max_us, forget_us) = (micros("breaker.step_max"), micros("breaker.forget"));
    reader.expect(cool_us <= cool_max_us, "breaker.cool", "expected at most breaker.cool_max");
    Options {
        hard_in_a_row_max: bounded(reader, "breaker.hard_in_a_row_max", 1, 1_000_000),
        hard_percent: bounded(reader, "breaker.hard_percent", 1, 100),
        hard_calls_min: bounded(reader, "breaker.hard_calls_min", 1, 1_000_000),
        slow_after_us,
        slow_in_a_row_max: bounded(reader, "breaker.slow_in_a_row_max", 1, 1_000_000),
        slow_percent: bounded(reader, "breaker.slow_percent", 1, 100),
        slow_calls_min: bounded(reader, "breaker.slow_calls_min", 1, 1_000_000),
        cool_us,
        cool_max_us,
        shadow_percent: bounded(reader, "breaker.shadow_percent", 1, 100),
        step_calls: bounded(reader, "breaker.step_calls", 1, 1_000_000),
        step_us,
        full_us,
        step_max_us,
        forget_us,
    }
}

pub(super) fn host(reader: &mut Reader) -> Limits {
    let mut share = |key: &str| {
        let share: f64 = reader.get(key);
        reader.expect(share > 0.0 && share <= 1.0, key, "expected a share above 0 and up to 1");
        share
    };
    Limits {
        throttled: share("breaker.host_throttled_max"),
        stolen: share("breaker.host_stolen_max"),
        pressure: share("breaker.host_pressure_max"),
    }
}

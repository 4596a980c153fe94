//! Histograms of the last minute, hour and day, for people: every transaction counts, votes or not.
//!
//! ```text
//! second x 60 ─> minute x 60 ─> hour x 24        a slot that is over is added to the slot of the next level
//! ```
//! Detection never reads them. Time is that of receipt; a clock that goes back adds to the newest slot.

use crate::domain::{Span, Timestamp};

const LEVELS: [(i64, i64); 3] = [(1, 60), (60, 60), (3_600, 24)];

/// Counters of the last day in three grains.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    levels: Vec<Level>,
    width: usize,
}

#[derive(Clone, Debug)]
struct Level {
    span_seconds: i64,
    slots: i64,
    counts: Vec<u32>,
    /// The newest slot's number: seconds over span.
    at: i64,
}

impl Ring {
    /// Makes rings of so many counters.
    #[must_use]
    pub(crate) fn new(width: usize) -> Self {
        let level = |(span_seconds, slots): (i64, i64)| {
            let counters = usize::try_from(slots).unwrap_or(0) * width;
            Level { span_seconds, slots, counts: vec![0; counters], at: i64::MIN }
        };
        Self { levels: LEVELS.map(level).into(), width }
    }

    /// Returns the counters of this instant, to add to.
    pub(crate) fn at(&mut self, now: Timestamp) -> &mut [u32] {
        turn(&mut self.levels, now.seconds(), self.width);
        let width = self.width;
        let level = &mut self.levels[0];
        let place = level.place(level.at);
        &mut level.counts[place * width..(place + 1) * width]
    }

    /// Sums the counters of about the last span, up to a day.
    #[must_use]
    pub(crate) fn sum(&self, now: Timestamp, span: Span) -> Vec<u64> {
        let mut sums = vec![0_u64; self.width];
        let seconds = (span.micros() / 1_000_000).max(1);
        let deepest = LEVELS.iter().position(|(grain, slots)| seconds <= grain * slots).unwrap_or(2);
        for (depth, level) in self.levels.iter().enumerate().take(deepest + 1) {
            if level.at == i64::MIN {
                continue;
            }
            // Finer levels hold only what their open slot has not yet passed on.
            let oldest =
                if depth == deepest { (now.seconds() - seconds).div_euclid(level.span_seconds) + 1 } else { level.at };
            for number in oldest.max(level.at - level.slots + 1)..=level.at {
                let from = level.place(number) * self.width;
                for (sum, count) in sums.iter_mut().zip(&level.counts[from..from + self.width]) {
                    *sum += u64::from(*count);
                }
            }
        }
        sums
    }
}

impl Level {
    fn place(&self, number: i64) -> usize {
        usize::try_from(number.rem_euclid(self.slots)).unwrap_or(0)
    }
}

/// Opens the slot of this second in the first level; the slot before it goes to the next level, finest first, so that
/// a minute is whole when it goes to its hour.
fn turn(levels: &mut [Level], seconds: i64, width: usize) {
    let Some((level, coarser)) = levels.split_first_mut() else { return };
    let number = seconds.div_euclid(level.span_seconds);
    if number <= level.at {
        return;
    }
    if level.at != i64::MIN && !coarser.is_empty() {
        turn(coarser, level.at * level.span_seconds, width);
        let (from, to) = (level.place(level.at) * width, coarser[0].place(coarser[0].at) * width);
        for offset in 0..width {
            let count = &mut coarser[0].counts[to + offset];
            *count = count.saturating_add(level.counts[from + offset]);
        }
    }
    let first = level.at.saturating_add(1).max(number - level.slots + 1);
    for passed in first..=number {
        let from = level.place(passed) * width;
        level.counts[from..from + width].fill(0);
    }
    level.at = number;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A naive list of events gives the same sums, up to the grain that a span is kept in.
        #[test]
        fn sums_are_those_of_a_list(gaps in prop::collection::vec(0_i64..5_000, 1..200), span in 1_i64..86_000) {
            let mut ring = Ring::new(1);
            let (mut seconds, mut events) = (1_000_000, Vec::new());
            for gap in gaps {
                seconds += gap;
                events.push(seconds);
                ring.at(Timestamp::from_seconds(seconds))[0] += 1;
            }
            let sum = ring.sum(Timestamp::from_seconds(seconds), Span::from_seconds(span))[0];
            let grain = LEVELS.iter().find(|(grain, slots)| span <= grain * slots).map_or(3_600, |(grain, _)| *grain);
            let since = |start: i64| events.iter().filter(|event| **event > start).count() as u64;
            // The oldest slot that counts begins at most a grain before and at most a grain after the span's start.
            prop_assert!(since(seconds - span + grain) <= sum && sum <= since(seconds - span - grain), "{sum}");
        }
    }
}

//! Panes: summaries of fixed stretches of event time, for entities too hot for a log.
//!
//! ```text
//! index = time / resolution     | 41 | 42 | 44 |        one Moments a pane, newest last
//! window (t - d - w, t - d]     panes whose index is in (start / r, end / r]
//! ```
//! Exact to the pane: the left edge of a window is rounded down to a pane's edge. The pane that holds
//! the right edge counts only while none of its events is later than that edge, so an event scored
//! late sees nothing of its future (`FE-1`).
//!
//! All panes of a window but its newest are sealed in the common case, where time goes forward: their
//! sum is remembered until a pane is begun, dropped or changed behind the newest. Reading a hot key then
//! touches one pane instead of the whole window. The sum is made in one order either way, so that what
//! is remembered and what is made anew are the same bits.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::VecDeque;

use super::track::finish;
use super::{ABSENT, ColumnKind, Moments, Reading, predicate_mask};

/// The most panes a window may span.
pub const PANES_MAX: u32 = 1_024;
/// Panes kept at most: those of the longest window and its lateness; beyond it the oldest goes.
const PANES_KEPT_MAX: usize = 2 * PANES_MAX as usize;

/// What one set of panes sums up.
#[derive(Clone, Debug, PartialEq)]
pub struct PaneSpec {
    /// Length of a pane in microseconds.
    pub resolution: i64,
    /// Only events for which this predicate held.
    pub predicate: Option<u8>,
    /// The word of the column and how it is read.
    pub column: Option<(usize, ColumnKind)>,
    /// How far back panes are kept, in microseconds.
    pub retention: i64,
}

/// Readings of one set of panes.
#[derive(Clone, Debug, PartialEq)]
pub struct PaneTrack {
    /// Which set of the entity's panes.
    pub panes: usize,
    /// How long before the transaction the windows end, in microseconds.
    pub delay: i64,
    /// The readings; each of a measure that panes can give.
    pub readings: Vec<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Pane {
    index: i64,
    newest: i64,
    moments: Moments,
}

/// The panes of one entity and one [`PaneSpec`], by index.
#[derive(Clone, Debug, Default)]
pub struct Panes {
    panes: VecDeque<Pane>,
    /// The last sum of sealed panes, and what it is a sum of.
    sealed: Cell<Option<Sealed>>,
}

/// The sum of the panes of a window but its newest.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    /// The window begins behind this index.
    start: i64,
    /// The index of the window's newest pane, which is not in the sum.
    newest: i64,
    moments: Moments,
}

impl Panes {
    /// Adds an event, unless the predicate did not hold or it lies before what is kept as of `clock`.
    pub fn insert(&mut self, spec: &PaneSpec, row: &[u64], clock: i64) {
        let time = row[0].cast_signed();
        let index = time.div_euclid(spec.resolution);
        let oldest = clock.saturating_sub(spec.retention).div_euclid(spec.resolution);
        if index < oldest || !holds(spec, row) {
            return;
        }
        while self.panes.front().is_some_and(|pane| pane.index < oldest) || self.panes.len() >= PANES_KEPT_MAX {
            self.panes.pop_front();
            self.sealed.take();
        }
        // Most events belong to the newest pane or begin the next.
        let newest = self.panes.back().map_or(i64::MIN, |pane| pane.index);
        let place = match newest.cmp(&index) {
            Ordering::Less => self.panes.len(),
            Ordering::Equal => self.panes.len() - 1,
            Ordering::Greater => self.panes.partition_point(|pane| pane.index < index),
        };
        if index < newest {
            self.sealed.take();
        }
        if self.panes.get(place).is_none_or(|pane| pane.index != index) {
            self.panes.insert(place, Pane { index, newest: time, moments: Moments::default() });
        }
        let pane = &mut self.panes[place];
        pane.newest = pane.newest.max(time);
        add(&mut pane.moments, spec, row);
    }

    /// Returns the bytes held on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.panes.capacity() * size_of::<Pane>()
    }

    /// Writes each reading as of `time` to `output`; `current` is an event that is not in the panes yet.
    pub fn read(
        &self,
        (spec, track): (&PaneSpec, &PaneTrack),
        time: i64,
        current: Option<&[u64]>,
        output: &mut [Option<f64>],
    ) {
        let end = time.saturating_sub(track.delay);
        let until = self.until(end, spec.resolution);
        for reading in &track.readings {
            let start = end.saturating_sub(reading.window).div_euclid(spec.resolution);
            let mut whole = self.sum(until, start);
            let inside = reading.include_current && track.delay == 0;
            if let Some(row) = current.filter(|row| inside && holds(spec, row)) {
                add(&mut whole, spec, row);
            }
            output[reading.feature] = finish(&whole, reading);
        }
    }

    /// Sums the first `until` panes whose index lies behind `start`: the sealed ones, then the newest.
    fn sum(&self, until: usize, start: i64) -> Moments {
        let Some(newest) = until.checked_sub(1).and_then(|last| self.panes.get(last)) else {
            return Moments::default();
        };
        if newest.index <= start {
            return Moments::default();
        }
        let remembered = self.sealed.get().filter(|sealed| (sealed.start, sealed.newest) == (start, newest.index));
        let sealed = remembered.unwrap_or_else(|| {
            let mut moments = Moments::default();
            let older = self.panes.range(..until - 1).rev();
            older.take_while(|pane| pane.index > start).for_each(|pane| moments.merge(&pane.moments));
            let sealed = Sealed { start, newest: newest.index, moments };
            self.sealed.set(Some(sealed));
            sealed
        });
        let mut whole = sealed.moments;
        whole.merge(&newest.moments);
        whole
    }

    /// Returns how many panes are seen at `end`.
    fn until(&self, end: i64, resolution: i64) -> usize {
        let last = end.div_euclid(resolution);
        // Time goes forward, mostly: the newest pane answers, and the others stay where they are in memory.
        let count = match self.panes.back().map_or(Ordering::Less, |newest| newest.index.cmp(&last)) {
            Ordering::Less => return self.panes.len(),
            Ordering::Equal => self.panes.len() - 1,
            Ordering::Greater => self.panes.partition_point(|pane| pane.index < last),
        };
        let whole = self.panes.get(count).is_some_and(|pane| pane.index == last && pane.newest <= end);
        count + usize::from(whole)
    }
}

fn holds(spec: &PaneSpec, row: &[u64]) -> bool {
    spec.predicate.is_none_or(|predicate| row[1] & predicate_mask(predicate) != 0)
}

fn add(moments: &mut Moments, spec: &PaneSpec, row: &[u64]) {
    moments.rows += 1;
    if let Some((word, kind)) = spec.column {
        // A row of a transaction that began before its schema came has no such word yet.
        moments.add(row.get(word).copied().unwrap_or(ABSENT), kind);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Measure;
    use super::*;

    const SPEC: PaneSpec =
        PaneSpec { resolution: 10, predicate: None, column: Some((2, ColumnKind::Int)), retention: 100 };

    fn row(time: i64, amount: i64) -> [u64; 3] {
        [time.cast_unsigned(), 0, amount.cast_unsigned()]
    }

    fn sums(panes: &Panes, time: i64, delay: i64) -> Vec<f64> {
        let reading = |feature, window| Reading {
            feature,
            measure: Measure::Sum,
            window,
            last: None,
            of_values: false,
            include_current: true,
            divide_by: 1.0,
        };
        let track = PaneTrack { panes: 0, delay, readings: vec![reading(0, 20), reading(1, 100)] };
        let mut output = [None, None];
        panes.read((&SPEC, &track), time, None, &mut output);
        output.into_iter().flatten().collect()
    }

    #[test]
    fn windows_are_exact_to_the_pane() {
        let mut panes = Panes::default();
        for (time, amount) in [(5, 1), (12, 10), (19, 100), (25, 1_000)] {
            panes.insert(&SPEC, &row(time, amount), time);
        }
        assert_eq!(sums(&panes, 25, 0), [1_110.0, 1_111.0]);
        assert_eq!(sums(&panes, 35, 0), [1_000.0, 1_111.0]);
        assert_eq!(sums(&panes, 35, 10), [1_110.0, 1_111.0]);
    }

    #[test]
    fn a_pane_with_later_events_is_not_seen() {
        let mut panes = Panes::default();
        panes.insert(&SPEC, &row(12, 10), 12);
        panes.insert(&SPEC, &row(25, 1_000), 25);
        panes.insert(&SPEC, &row(22, 500), 25);
        assert_eq!(sums(&panes, 22, 0), [10.0, 10.0]);
        assert_eq!(sums(&panes, 25, 0), [1_510.0, 1_510.0]);
    }

    proptest! {
        /// Whatever comes in whatever order, what is remembered between reads is what is made anew.
        #[test]
        fn remembered_sums_are_fresh_sums(events in prop::collection::vec((-60i64..40, 1i64..1_000), 1..80)) {
            let (mut read, mut sent, mut time) = (Panes::default(), Vec::new(), 1_000);
            for (step, amount) in events {
                let at = time + step;
                time = time.max(at);
                sent.push((at, amount, time));
                read.insert(&SPEC, &row(at, amount), time);
                let mut fresh = Panes::default();
                for (at, amount, clock) in &sent {
                    fresh.insert(&SPEC, &row(*at, *amount), *clock);
                }
                for (looked_at, delay) in [(at, 0), (time, 0), (time, 10), (time + 15, 0)] {
                    prop_assert_eq!(sums(&read, looked_at, delay), sums(&fresh, looked_at, delay));
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded_by_the_retention() {
        let mut panes = Panes::default();
        for time in 0..100_000 {
            panes.insert(&SPEC, &row(time, 1), time);
        }
        assert!(panes.panes.len() <= 12, "{}", panes.panes.len());
        panes.insert(&SPEC, &row(5, 1), 99_999);
        assert_eq!(sums(&panes, 20, 0), [0.0, 0.0], "too old to be kept");
    }
}

//! What is still to arrive, filed by day: one day at a time is put in order and handed out.
//!
//! ```text
//! file(at, order, item) ──> [today][+1][+2] ... [+delay]     each day unsorted
//! turn() ──> today's items by (at, order)
//! ```
//! Filing costs nothing but the copy; memory is what the longest delay holds, never the whole run.

use std::collections::VecDeque;
use std::vec::IntoIter;

use crate::domain::{Span, Timestamp};

/// Items by the day they are due.
#[derive(Clone, Debug)]
pub(super) struct Agenda<T> {
    days: VecDeque<Vec<Entry<T>>>,
    today: Timestamp,
}

/// An item and when it is due.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    pub(super) at: Timestamp,
    pub(super) order: u64,
    pub(super) item: T,
}

impl<T> Agenda<T> {
    /// Opens an agenda whose first day begins at `start`.
    pub(super) fn new(start: Timestamp) -> Self {
        Self { days: VecDeque::new(), today: start }
    }

    /// Files an item under its day; what was due before today is handed out today. Items of one instant come
    /// by `order`, then as filed.
    pub(super) fn file(&mut self, at: Timestamp, order: u64, item: T) {
        let ahead = at.since(self.today).micros().max(0) / Span::from_days(1).micros();
        let day = usize::try_from(ahead).unwrap_or(0);
        while self.days.len() <= day {
            self.days.push_back(Vec::new());
        }
        self.days[day].push(Entry { at, order, item });
    }

    /// Hands out today's items in order and turns the page.
    pub(super) fn turn(&mut self) -> IntoIter<Entry<T>> {
        let mut items = self.days.pop_front().unwrap_or_default();
        // Stable and fast on runs: transactions and labels were each filed almost in order.
        items.sort_by_key(|entry| (entry.at, entry.order));
        self.today = self.today.plus(Span::from_days(1));
        items.into_iter()
    }

    /// Counts what is still to come.
    pub(super) fn len(&self) -> usize {
        self.days.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_comes_once_and_in_order(due in proptest::collection::vec((0_i64..864_000, 0_u64..3), 0..200)) {
            let mut agenda = Agenda::new(Timestamp::MIN);
            for (number, &(second, order)) in due.iter().enumerate() {
                agenda.file(Timestamp::from_seconds(second), order, number);
            }
            let mut seen = Vec::new();
            while agenda.len() > 0 {
                seen.extend(agenda.turn().map(|entry| entry.item));
            }
            let mut expected: Vec<usize> = (0..due.len()).collect();
            expected.sort_by_key(|&number| due[number]);
            prop_assert_eq!(seen, expected);
        }
    }
}

//! Labels on rows: each is visible from its own event time on, a later one supersedes.
//!
//! ```text
//! flags   KNOWN FRAUD OLDER             of the latest label, in the row's second word
//! column  the latest label's time
//! aside   superseded labels of the log  so that a transaction between the two sees the right one
//! ```
//! Two labels of one transaction and the same instant: fraud wins, whichever came first, so that the
//! state does not depend on the order of arrival.

use super::log::{Log, same_id};

/// Flag bits below the predicates.
pub(super) const FLAG_BITS: u32 = 3;
/// Superseded labels kept per entity; beyond it the one of the oldest transaction goes.
pub const LABEL_HISTORY_MAX: usize = 256;

const KNOWN: u64 = 1;
const FRAUD: u64 = 2;
const OLDER: u64 = 4;

/// One label of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelMark {
    /// Event time of the transaction, in microseconds.
    pub time: i64,
    /// The transaction's id word; only its hash part counts.
    pub id_word: u64,
    /// Event time of the label, in microseconds.
    pub known_at: i64,
    /// What it says.
    pub fraud: bool,
}

impl Log {
    /// Marks the row a label is about; `label_word` is where rows keep the label's time. Returns
    /// whether anything changed: not when the row is not here or the same is known already.
    pub fn label(&mut self, mark: LabelMark, label_word: usize) -> bool {
        let Some(index) = self.find(mark.time, mark.id_word) else { return false };
        let row = self.row(index);
        let (flags, known_at) = (row[1], row[label_word].cast_signed());
        if flags & KNOWN == 0 {
            self.set(index, label_word, mark);
            return true;
        }
        let latest = LabelMark { known_at, fraud: flags & FRAUD != 0, ..mark };
        if mark.known_at < known_at {
            return self.keep_aside(index, mark);
        }
        if mark.known_at > known_at {
            self.keep_aside(index, latest);
            self.set(index, label_word, mark);
            return true;
        }
        let changes = mark.fraud && !latest.fraud;
        if changes {
            self.set(index, label_word, mark);
        }
        changes
    }

    /// Returns whether the row's label says fraud, as known at `time`; `None` when none was.
    #[must_use]
    pub fn label_at(&self, row: &[u64], label_word: usize, time: i64) -> Option<bool> {
        if row[1] & KNOWN == 0 {
            return None;
        }
        if row[label_word].cast_signed() <= time {
            return Some(row[1] & FRAUD != 0);
        }
        if row[1] & OLDER == 0 {
            return None;
        }
        let marks = self.older_labels.as_ref()?.iter();
        let of_row = marks.filter(|mark| mark.time == row[0].cast_signed() && same_id(mark.id_word, row[1]));
        of_row.filter(|mark| mark.known_at <= time).max_by_key(|mark| mark.known_at).map(|mark| mark.fraud)
    }

    fn set(&mut self, index: usize, label_word: usize, mark: LabelMark) {
        let flags = self.word_mut(index, 1);
        *flags = (*flags & !FRAUD) | KNOWN | if mark.fraud { FRAUD } else { 0 };
        *self.word_mut(index, label_word) = mark.known_at.cast_unsigned();
    }

    fn keep_aside(&mut self, index: usize, mark: LabelMark) -> bool {
        *self.word_mut(index, 1) |= OLDER;
        let marks = self.older_labels.get_or_insert_default();
        let same = marks.iter_mut().find(|known| {
            known.time == mark.time && same_id(known.id_word, mark.id_word) && known.known_at == mark.known_at
        });
        if let Some(known) = same {
            let changes = mark.fraud && !known.fraud;
            known.fraud |= mark.fraud;
            return changes;
        }
        if marks.len() >= LABEL_HISTORY_MAX
            && let Some(oldest) = (0..marks.len()).min_by_key(|&at| marks[at].time)
        {
            marks.swap_remove(oldest);
        }
        marks.push(mark);
        true
    }

    pub(super) fn forget_labels_of_dropped(&mut self) {
        let floor = self.floor();
        if let Some(marks) = &mut self.older_labels {
            // Rows of the floor's own instant may still be here.
            marks.retain(|mark| mark.time >= floor);
        }
        if self.older_labels.as_ref().is_some_and(|marks| marks.is_empty()) {
            self.older_labels = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::window::{ABSENT, id_word};

    const LABEL: usize = 2;

    fn log() -> Log {
        let mut log = Log::new(1, i64::MIN);
        log.insert(&[10, id_word(7 << 32, 0), ABSENT], 9);
        log
    }

    fn mark(known_at: i64, fraud: bool) -> LabelMark {
        LabelMark { time: 10, id_word: id_word(7 << 32, 0), known_at, fraud }
    }

    fn seen(log: &Log, time: i64) -> Option<bool> {
        log.label_at(log.row(0), LABEL, time)
    }

    #[test]
    fn a_label_is_visible_from_its_own_time_on() {
        let mut log = log();
        assert!(log.label(mark(20, true), LABEL));
        assert_eq!((seen(&log, 19), seen(&log, 20)), (None, Some(true)));
        assert!(!log.label(mark(20, true), LABEL), "the same again");
        assert!(!log.label(LabelMark { time: 11, ..mark(20, true) }, LABEL), "another transaction");
    }

    #[test]
    fn any_order_of_labels_gives_the_same_story() {
        let marks = [mark(20, true), mark(30, false), mark(40, true), mark(30, true)];
        let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
        for order in orders {
            let mut log = log();
            for place in order {
                log.label(marks[place], LABEL);
            }
            let story: Vec<_> = [19, 20, 29, 30, 39, 40].into_iter().map(|time| seen(&log, time)).collect();
            assert_eq!(story, [None, Some(true), Some(true), Some(true), Some(true), Some(true)], "{order:?}");
        }
        let mut log = log();
        log.label(mark(40, true), LABEL);
        log.label(mark(30, false), LABEL);
        assert_eq!((seen(&log, 35), seen(&log, 45)), (Some(false), Some(true)));
    }

    #[test]
    fn history_is_bounded_and_goes_with_its_rows() {
        let mut log = log();
        for known_at in 0..1_000 {
            log.label(mark(20 + known_at, known_at % 2 == 0), LABEL);
        }
        assert_eq!(log.older_labels.as_ref().expect("a history").len(), LABEL_HISTORY_MAX);
        assert_eq!(seen(&log, 5_000), Some(false));
        for time in 100..200 {
            log.insert(&[time, id_word(time << 32, 0), ABSENT], 1_000);
        }
        log.expire(180);
        assert!(log.older_labels.is_none());
    }
}

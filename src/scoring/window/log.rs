//! The event log of one entity: rows in one piece of memory, by event time, then arrival.
//!
//! ```text
//! words  [ dropped | row row row row ]     head = first kept row
//! floor  the latest time ever dropped: a window that reaches below it is incomplete
//! ```
//! In order, an event costs one append. Out of order, it is moved into its place. The newest
//! `events_max` rows stay; older ones go and raise the floor.

use super::label::LabelMark;
use super::{ABSENT, HEADER_WORDS};

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The row is in the log; nothing was dropped for it.
    Added,
    /// The row is in, and the oldest one went to keep the bound.
    Capped,
    /// The log is full of newer rows: this one was dropped at once.
    TooOld,
    /// The same transaction is already here.
    Present,
}

/// The rows of one entity. Every row has the same number of words.
#[derive(Clone, Debug)]
pub struct Log {
    words: Vec<u64>,
    stride: u32,
    head: u32,
    floor: i64,
    // Boxed: most logs have none, and an entity has 16 bytes less.
    #[expect(clippy::box_collection, reason = "see above")]
    pub(super) older_labels: Option<Box<Vec<LabelMark>>>,
}

impl Log {
    /// Starts an empty log of rows with `columns` columns. `floor` is the latest event time that is
    /// known to be lost already; `i64::MIN` for none.
    #[must_use]
    pub fn new(columns: usize, floor: i64) -> Self {
        // A schema has far fewer columns than 2^32.
        let stride = u32::try_from(HEADER_WORDS + columns).unwrap_or(u32::MAX);
        Self { words: Vec::new(), stride, head: 0, floor, older_labels: None }
    }

    /// Returns how many rows are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len() / self.stride() - self.head as usize
    }

    /// Tells whether no row is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the latest event time that was dropped; `i64::MIN` when none was.
    #[must_use]
    pub const fn floor(&self) -> i64 {
        self.floor
    }

    /// Returns the bytes this log holds on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let labels = self.older_labels.as_ref().map_or(0, |marks| marks.capacity() * size_of::<LabelMark>());
        self.words.capacity() * 8 + labels
    }

    /// Returns the row at `index`, 0 being the oldest.
    #[must_use]
    pub fn row(&self, index: usize) -> &[u64] {
        let start = self.offset(index);
        &self.words[start..start + self.stride()]
    }

    /// Returns the event time of the row at `index` in microseconds.
    #[must_use]
    pub fn time(&self, index: usize) -> i64 {
        self.words[self.offset(index)].cast_signed()
    }

    /// Returns the newest event time.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        self.len().checked_sub(1).map(|last| self.time(last))
    }

    /// Returns how many rows have an event time of at most `time`.
    #[must_use]
    pub fn rows_until(&self, time: i64) -> usize {
        let (mut low, mut high) = (0, self.len());
        // Most transactions are the newest of their entity.
        if high == 0 || self.time(high - 1) <= time {
            return high;
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.time(middle) <= time { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Finds the row of a transaction by its event time and id word.
    #[must_use]
    pub fn find(&self, time: i64, id_word: u64) -> Option<usize> {
        let mut index = self.rows_until(time);
        while index > 0 && self.time(index - 1) == time {
            index -= 1;
            if same_id(self.row(index)[1], id_word) {
                return Some(index);
            }
        }
        None
    }

    /// Puts a row where it belongs: by event time, behind those of the same instant. A row that is
    /// shorter than the log's is filled up with absent columns.
    pub fn insert(&mut self, row: &[u64], events_max: usize) -> Inserted {
        let time = row[0].cast_signed();
        if self.find(time, row[1]).is_some() {
            return Inserted::Present;
        }
        let place = self.rows_until(time);
        let full = self.len() >= events_max;
        if full && place == 0 {
            self.floor = self.floor.max(time);
            return Inserted::TooOld;
        }
        self.put(place, row);
        if full {
            self.drop_oldest();
            return Inserted::Capped;
        }
        Inserted::Added
    }

    /// Drops the rows at or before `horizon`; returns how many.
    pub fn expire(&mut self, horizon: i64) -> usize {
        let mut dropped = 0;
        while !self.is_empty() && self.time(0) <= horizon {
            self.drop_oldest();
            dropped += 1;
        }
        dropped
    }

    /// Widens every row to `columns` columns; old rows have nothing in the new ones.
    pub fn widen(&mut self, columns: usize) {
        let wider = Self::new(columns, self.floor);
        if wider.stride <= self.stride {
            return;
        }
        let mut words = Vec::with_capacity(self.len() * wider.stride());
        for index in 0..self.len() {
            words.extend_from_slice(self.row(index));
            words.resize((index + 1) * wider.stride(), ABSENT);
        }
        *self = Self { words, older_labels: self.older_labels.take(), ..wider };
    }

    pub(super) fn word_mut(&mut self, index: usize, word: usize) -> &mut u64 {
        let start = self.offset(index);
        &mut self.words[start + word]
    }

    fn put(&mut self, place: usize, row: &[u64]) {
        let (start, stride, end) = (self.offset(place), self.stride(), self.words.len());
        self.words.extend_from_slice(row);
        self.words.resize(end + stride, ABSENT);
        self.words[start..].rotate_right(if start == end { 0 } else { stride });
    }

    fn drop_oldest(&mut self) {
        self.floor = self.floor.max(self.time(0));
        self.head += 1;
        // Half of it dropped: move the rest to the front, so that each row is moved once on average.
        if self.head as usize * 2 * self.stride() >= self.words.len() {
            self.words.drain(..self.head as usize * self.stride());
            self.head = 0;
            if self.words.capacity() > 4 * self.words.len().max(16) {
                self.words.shrink_to(2 * self.words.len());
            }
            self.forget_labels_of_dropped();
        }
    }

    const fn stride(&self) -> usize {
        self.stride as usize
    }

    const fn offset(&self, index: usize) -> usize {
        (self.head as usize + index) * self.stride as usize
    }
}

pub(super) const fn same_id(left: u64, right: u64) -> bool {
    left >> 32 == right >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::window::id_word;

    fn row(time: i64, id: u64) -> [u64; 3] {
        [time.cast_unsigned(), id_word(id << 32, 0), id]
    }

    fn ids(log: &Log) -> Vec<u64> {
        (0..log.len()).map(|index| log.row(index)[2]).collect()
    }

    #[test]
    fn rows_go_where_they_belong() {
        let mut log = Log::new(1, i64::MIN);
        for (time, id) in [(10, 1), (30, 2), (20, 3), (20, 4), (5, 5), (30, 6)] {
            assert_eq!(log.insert(&row(time, id), 100), Inserted::Added);
        }
        assert_eq!(ids(&log), [5, 1, 3, 4, 2, 6]);
        assert_eq!(log.insert(&row(20, 3), 100), Inserted::Present);
        assert_eq!(log.find(20, id_word(4 << 32, 7)), Some(3));
        assert_eq!(log.find(21, id_word(4 << 32, 0)), None);
    }

    #[test]
    fn a_full_log_keeps_the_newest_and_raises_its_floor() {
        let mut log = Log::new(1, i64::MIN);
        for time in 1..=5 {
            log.insert(&row(time * 10, time.cast_unsigned()), 3);
        }
        assert_eq!((ids(&log), log.floor()), (vec![3, 4, 5], 20));
        assert_eq!(log.insert(&row(25, 9), 3), Inserted::TooOld);
        assert_eq!(log.insert(&row(35, 9), 3), Inserted::Capped);
        assert_eq!((ids(&log), log.floor()), (vec![9, 4, 5], 30));
    }

    #[test]
    fn expiry_drops_up_to_the_horizon_and_gives_memory_back() {
        let mut log = Log::new(1, i64::MIN);
        for time in 0..1_000 {
            log.insert(&row(time, time.cast_unsigned()), 5_000);
        }
        let full = log.bytes();
        assert_eq!(log.expire(989), 990);
        assert_eq!((log.len(), log.time(0), log.floor()), (10, 990, 989));
        assert!(log.bytes() * 4 < full, "{} of {full}", log.bytes());
    }

    #[test]
    fn widening_keeps_rows_and_leaves_new_columns_absent() {
        let mut log = Log::new(1, i64::MIN);
        log.insert(&row(1, 1), 10);
        log.insert(&row(2, 2), 10);
        log.widen(3);
        assert_eq!(log.row(1), [2, id_word(2 << 32, 0), 2, ABSENT, ABSENT]);
        log.insert(&row(3, 3), 10);
        assert_eq!(log.row(2)[3..], [ABSENT, ABSENT]);
    }
}

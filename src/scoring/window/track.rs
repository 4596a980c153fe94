//! Tracks: what is read from a log in one backward pass.
//!
//! ```text
//!   oldest ........ [   7d   [  24h  [ 1h [5m ]  <- t - delay       now = t
//!                   <-----------------------------  one pass, a reading at each left edge
//! ```
//! All windows of a track share filter, column and delay, so they nest; the summary at each left edge
//! is that window's. The current event is not in the log yet: it is added to a reading that wants it.

use super::{ABSENT, ColumnKind, Log, Moments, Seen, predicate_mask};

/// Which labels a row must bear to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelFilter {
    /// Any row.
    Any,
    /// Rows whose label is known as of the transaction.
    Known,
    /// Rows known to be fraud.
    Fraud,
    /// Rows known to be genuine.
    Genuine,
}

/// What is computed from the rows of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// How many rows; with a column, how many that have it.
    Count,
    /// The sum of a column.
    Sum,
    /// The mean of a column.
    Mean,
    /// The population standard deviation of a column.
    Std,
    /// The least value of a column.
    Min,
    /// The greatest value of a column.
    Max,
    /// How many different values of a column.
    Distinct,
    /// The newest value of a column.
    Last,
    /// Rows known to be fraud, over all rows.
    RateOfFraud,
    /// Seconds since the newest row.
    TimeSince,
}

/// A threshold on the column: only rows above `times` x a value computed before count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Above {
    /// Where that value is in the output.
    pub feature: usize,
    /// The factor on it.
    pub times: f64,
}

/// Which rows count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filter {
    /// A predicate that held when the event was inserted.
    pub predicate: Option<u8>,
    /// A word that must equal the current transaction's.
    pub same: Option<usize>,
    /// What the label says.
    pub labels: LabelFilter,
    /// A threshold on the track's column.
    pub above: Option<Above>,
}

impl Filter {
    /// Lets every row pass.
    pub const ALL: Self = Self { predicate: None, same: None, labels: LabelFilter::Any, above: None };
}

/// One feature read at one left edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Where the value goes in the output.
    pub feature: usize,
    /// What is computed.
    pub measure: Measure,
    /// Length of the window in microseconds.
    pub window: i64,
    /// Only the newest `last` rows of the window.
    pub last: Option<u32>,
    /// Whether a count is of the column's values; else of rows.
    pub of_values: bool,
    /// Whether the current event is inside.
    pub include_current: bool,
    /// Divides values (not counts, rates or times).
    pub divide_by: f64,
}

/// Readings that share one pass, narrowest window first.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Which rows count.
    pub filter: Filter,
    /// The word of the column and how it is read.
    pub column: Option<(usize, ColumnKind)>,
    /// The word that holds the label's time, where labels are read.
    pub label_word: Option<usize>,
    /// How long before the transaction the windows end, in microseconds.
    pub delay: i64,
    /// The readings, by window, then by `last`.
    pub readings: Vec<Reading>,
}

/// The point a log is read from.
#[derive(Clone, Copy, Debug)]
pub struct AsOf<'a> {
    /// Event time of the transaction in microseconds.
    pub time: i64,
    /// Rows before this index arrived before the transaction.
    pub end: usize,
    /// A row of the transaction itself among them (sent before with another time), not to be counted.
    pub skip: Option<usize>,
    /// The transaction's own row; `None` when an entity is only looked at.
    pub current: Option<&'a [u64]>,
}

impl<'a> AsOf<'a> {
    /// Reads `log` as of `current`: where the log holds it already, from its own place. `sent_before`
    /// is its event time, when it was sent with another one.
    #[must_use]
    pub fn new(log: &Log, current: &'a [u64], sent_before: Option<i64>) -> Self {
        let time = current[0].cast_signed();
        let end = log.find(time, current[1]).unwrap_or_else(|| log.rows_until(time));
        let skip = sent_before.filter(|before| *before != time).and_then(|before| log.find(before, current[1]));
        Self { time, end, skip, current: Some(current) }
    }
}

impl Track {
    /// Reads `log` and writes each reading's value to `output`. Returns whether a window reached
    /// below the log's floor, where rows were dropped.
    pub fn read(&self, log: &Log, as_of: &AsOf<'_>, seen: &mut Seen, output: &mut [Option<f64>]) -> bool {
        if self.filter.same.is_some_and(|word| as_of.current.is_none_or(|row| row[word] == ABSENT)) {
            return false;
        }
        let Some(threshold) = self.threshold(output) else { return false };
        let mut pass = Pass { track: self, log, as_of, threshold, index: self.end(log, as_of) };
        match self.readings.first().map(|reading| reading.measure) {
            Some(Measure::Last | Measure::TimeSince) => pass.newest(output),
            Some(Measure::Distinct) => pass.distinct(seen, output),
            Some(_) => pass.moments(output),
            None => false,
        }
    }

    /// Returns the threshold of [`Above`] in the column's own unit: no threshold is minus infinity,
    /// `None` is a threshold that could not be computed.
    fn threshold(&self, output: &[Option<f64>]) -> Option<f64> {
        let Some(above) = self.filter.above else { return Some(f64::NEG_INFINITY) };
        let divide_by = self.readings.first().map_or(1.0, |reading| reading.divide_by);
        output[above.feature].map(|value| value * above.times * divide_by)
    }

    fn end(&self, log: &Log, as_of: &AsOf<'_>) -> usize {
        if self.delay == 0 { as_of.end } else { log.rows_until(as_of.time - self.delay).min(as_of.end) }
    }

    /// Tells whether every row counts and nothing but their number is wanted.
    fn only_counts(&self) -> bool {
        let plain = self.filter == Filter::ALL && self.column.is_none();
        plain && self.readings.iter().all(|reading| reading.measure == Measure::Count && reading.last.is_none())
    }
}

struct Pass<'a> {
    track: &'a Track,
    log: &'a Log,
    as_of: &'a AsOf<'a>,
    threshold: f64,
    index: usize,
}

impl<'a> Pass<'a> {
    /// Steps back to the next row that counts and is later than `start`.
    #[inline]
    fn next(&mut self, start: i64) -> Option<&'a [u64]> {
        while self.index > 0 {
            let row = self.log.row(self.index - 1);
            if row[0].cast_signed() <= start {
                return None;
            }
            self.index -= 1;
            if Some(self.index) != self.as_of.skip && self.passes(row) {
                return Some(row);
            }
        }
        None
    }

    #[inline]
    fn passes(&self, row: &[u64]) -> bool {
        let filter = &self.track.filter;
        filter.predicate.is_none_or(|predicate| row[1] & predicate_mask(predicate) != 0)
            && filter.same.is_none_or(|word| self.as_of.current.is_some_and(|current| current[word] == row[word]))
            && (filter.labels == LabelFilter::Any || self.label_passes(row))
            && (filter.above.is_none() || self.is_above(row))
    }

    fn label_passes(&self, row: &[u64]) -> bool {
        match (self.track.filter.labels, self.fraud(row)) {
            (LabelFilter::Any, _) | (LabelFilter::Known, Some(_)) => true,
            (LabelFilter::Fraud, label) => label == Some(true),
            (LabelFilter::Genuine, label) => label == Some(false),
            (LabelFilter::Known, None) => false,
        }
    }

    fn is_above(&self, row: &[u64]) -> bool {
        let number = self.track.column.and_then(|(word, kind)| kind.number(row[word]));
        number.is_some_and(|number| number > self.threshold)
    }

    fn fraud(&self, row: &[u64]) -> Option<bool> {
        self.track.label_word.and_then(|word| self.log.label_at(row, word, self.as_of.time))
    }

    fn start(&self, reading: &Reading) -> i64 {
        self.as_of.time.saturating_sub(self.track.delay).saturating_sub(reading.window)
    }

    /// Returns the current row for readings that include it, when it passes the filter itself. It has
    /// no label yet, so a filter on labels never lets it pass.
    fn current(&self, reading: &Reading) -> Option<&'a [u64]> {
        let wanted = reading.include_current && self.track.delay == 0;
        let unlabelled = self.track.filter.labels == LabelFilter::Any;
        self.as_of.current.filter(|row| wanted && unlabelled && self.passes(row))
    }

    fn add(&self, moments: &mut Moments, row: &[u64]) {
        moments.rows += 1;
        if let Some((word, kind)) = self.track.column {
            moments.add(row[word], kind);
        }
    }

    fn moments(&mut self, output: &mut [Option<f64>]) -> bool {
        let only_counts = self.track.only_counts();
        let mut moments = Moments::default();
        let mut capped = false;
        for reading in &self.track.readings {
            let start = self.start(reading);
            let current = self.current(reading);
            let rows_max = reading.last.map_or(u64::MAX, |last| u64::from(last) - u64::from(current.is_some()));
            if only_counts {
                self.skip_to(start, &mut moments);
            }
            while moments.rows < rows_max
                && let Some(row) = self.next(start)
            {
                self.add(&mut moments, row);
                if self.track.label_word.is_some() {
                    moments.frauds += u64::from(self.fraud(row) == Some(true));
                }
            }
            capped |= self.log.floor() > start && moments.rows < rows_max;
            let mut whole = moments;
            if let Some(row) = current {
                self.add(&mut whole, row);
            }
            output[reading.feature] = finish(&whole, reading);
        }
        capped
    }

    /// Counts the rows later than `start` without looking at each.
    fn skip_to(&mut self, start: i64, moments: &mut Moments) {
        let first = self.log.rows_until(start).min(self.index);
        let skipped = self.as_of.skip.is_some_and(|skip| (first..self.index).contains(&skip));
        moments.rows += (self.index - first) as u64 - u64::from(skipped);
        self.index = first;
    }

    fn distinct(&mut self, seen: &mut Seen, output: &mut [Option<f64>]) -> bool {
        let Some((word, _)) = self.track.column else { return false };
        let mut capped = false;
        seen.clear();
        for reading in &self.track.readings {
            let start = self.start(reading);
            while let Some(row) = self.next(start) {
                if row[word] != ABSENT {
                    seen.insert(row[word]);
                }
            }
            capped |= self.log.floor() > start;
            let own = self.current(reading).map(|row| row[word]).filter(|own| *own != ABSENT);
            let more = own.is_some_and(|own| !seen.contains(own));
            output[reading.feature] = Some(seen.len() as f64 + f64::from(u8::from(more)));
        }
        capped
    }

    /// Finds the newest row (that has the column) once, for all windows.
    fn newest(&mut self, output: &mut [Option<f64>]) -> bool {
        let mut found: Option<&[u64]> = None;
        let mut capped = false;
        for reading in &self.track.readings {
            let start = self.start(reading);
            let has_column = |row: &&[u64]| self.track.column.is_none_or(|(word, _)| row[word] != ABSENT);
            let own = self.current(reading).filter(has_column);
            while own.is_none()
                && found.is_none()
                && let Some(row) = self.next(start)
            {
                found = Some(row).filter(|row| self.track.column.is_none_or(|(word, _)| row[word] != ABSENT));
            }
            let row = own.or(found);
            capped |= row.is_none() && self.log.floor() > start;
            output[reading.feature] = row.and_then(|row| self.value_of(row, reading));
        }
        capped
    }

    fn value_of(&self, row: &[u64], reading: &Reading) -> Option<f64> {
        if reading.measure == Measure::TimeSince {
            return Some((self.as_of.time - row[0].cast_signed()) as f64 / 1e6);
        }
        let (word, kind) = self.track.column?;
        kind.number(row[word]).map(|number| number / reading.divide_by)
    }
}

/// Turns a summary into the reading's value.
pub(super) fn finish(moments: &Moments, reading: &Reading) -> Option<f64> {
    let scaled = |value: Option<f64>| value.map(|value| value / reading.divide_by);
    match reading.measure {
        Measure::Count if reading.of_values => Some(moments.values() as f64),
        Measure::Count => Some(moments.rows as f64),
        Measure::Sum => Some(moments.sum().unwrap_or(0.0) / reading.divide_by),
        Measure::Mean => scaled(moments.mean()),
        Measure::Std => scaled(moments.std()),
        Measure::Min => scaled(moments.least()),
        Measure::Max => scaled(moments.greatest()),
        Measure::RateOfFraud => moments.rate_of_fraud(),
        Measure::Distinct | Measure::Last | Measure::TimeSince => None,
    }
}

//! What a backward pass adds up: counts, sums, spread, extremes.
//!
//! Whole numbers are summed in 128 bits, so a sum of minor units is exact and its mean and deviation
//! do not depend on the order. Doubles follow Welford, which does not cancel.

use super::{ABSENT, ColumnKind};

/// A running summary of rows and of one column's present values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Rows that passed the filter, with or without a value.
    pub rows: u64,
    /// Of them, those known to be fraud.
    pub frauds: u64,
    values: u64,
    doubles: u64,
    sum: i128,
    squares: i128,
    total: f64,
    mean: f64,
    spread: f64,
    least: f64,
    greatest: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            rows: 0,
            frauds: 0,
            values: 0,
            doubles: 0,
            sum: 0,
            squares: 0,
            total: 0.0,
            mean: 0.0,
            spread: 0.0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
        }
    }
}

impl Moments {
    /// Adds one value, unless it is absent.
    #[inline]
    pub fn add(&mut self, word: u64, kind: ColumnKind) {
        if word == ABSENT {
            return;
        }
        match kind {
            ColumnKind::Int => self.add_int(word.cast_signed()),
            ColumnKind::Float => self.add_float(f64::from_bits(word)),
            ColumnKind::Text => self.values += 1,
        }
    }

    #[inline]
    fn add_int(&mut self, number: i64) {
        let wide = i128::from(number);
        self.values += 1;
        self.sum += wide;
        self.squares = self.squares.saturating_add(wide * wide);
        self.least = self.least.min(number as f64);
        self.greatest = self.greatest.max(number as f64);
    }

    #[inline]
    fn add_float(&mut self, number: f64) {
        self.values += 1;
        self.doubles += 1;
        let step = number - self.mean;
        self.total += number;
        self.mean += step / self.doubles as f64;
        self.spread += step * (number - self.mean);
        self.least = self.least.min(number);
        self.greatest = self.greatest.max(number);
    }

    /// Joins two summaries of the same column.
    pub fn merge(&mut self, other: &Self) {
        // Whole numbers leave these alone, and divisions are what a merge would cost.
        if other.doubles > 0 {
            let (own, others) = (self.doubles as f64, other.doubles as f64);
            let apart = other.mean - self.mean;
            self.mean += apart * others / (own + others);
            self.spread += other.spread + apart * apart * own * others / (own + others);
        }
        self.rows += other.rows;
        self.frauds += other.frauds;
        self.values += other.values;
        self.doubles += other.doubles;
        self.sum += other.sum;
        self.squares = self.squares.saturating_add(other.squares);
        self.total += other.total;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// Returns how many values were present.
    #[must_use]
    pub const fn values(&self) -> u64 {
        self.values
    }

    /// Returns the sum; `None` of nothing.
    #[must_use]
    pub fn sum(&self) -> Option<f64> {
        // One of the two is zero: a column holds whole numbers or doubles.
        (self.values > 0).then_some(self.sum as f64 + self.total)
    }

    /// Returns the mean; `None` of nothing.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.sum().map(|sum| sum / self.values as f64)
    }

    /// Returns the population standard deviation (divided by n, so 0 of one value); `None` of nothing.
    #[must_use]
    pub fn std(&self) -> Option<f64> {
        let count = self.values as f64;
        let exact = i128::from(self.values)
            .checked_mul(self.squares)
            .zip(self.sum.checked_mul(self.sum))
            .and_then(|(squares, sum)| squares.checked_sub(sum));
        // Beyond 2^127 the doubles are good to 15 digits.
        let whole = exact.map_or_else(
            || (count * self.squares as f64 - self.sum as f64 * self.sum as f64).max(0.0),
            |exact| exact as f64,
        );
        (self.values > 0).then(|| (whole / (count * count) + self.spread / count).sqrt())
    }

    /// Returns the least value; `None` of nothing.
    #[must_use]
    pub fn least(&self) -> Option<f64> {
        (self.least <= self.greatest).then_some(self.least)
    }

    /// Returns the greatest value; `None` of nothing.
    #[must_use]
    pub fn greatest(&self) -> Option<f64> {
        (self.least <= self.greatest).then_some(self.greatest)
    }

    /// Returns the share of rows known to be fraud; `None` of no rows.
    #[must_use]
    pub fn rate_of_fraud(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.frauds as f64 / self.rows as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[i64]) -> Moments {
        let mut moments = Moments::default();
        for number in numbers {
            moments.add(number.cast_unsigned(), ColumnKind::Int);
        }
        moments
    }

    #[test]
    fn whole_numbers_are_exact() {
        let moments = of(&[9_007_199_254_740_991, 1, 1]);
        assert_eq!(moments.sum(), Some(9_007_199_254_740_993_i64 as f64));
        assert_eq!(of(&[3, 3, 3]).std(), Some(0.0));
        assert_eq!(of(&[2, 4]).std(), Some(1.0));
        let empty = of(&[]);
        assert_eq!((empty.sum(), empty.mean(), empty.std(), empty.least()), (None, None, None, None));
        assert!(of(&[i64::MAX; 200]).std().expect("a value").is_finite(), "no panic at the edge");
    }

    #[test]
    fn merging_equals_adding() {
        let numbers = [1.5, -2.25, 8.0, 1e6, 3.5];
        for cut in 0..=numbers.len() {
            let mut parts = [Moments::default(), Moments::default()];
            let mut whole = Moments::default();
            for (place, number) in numbers.iter().enumerate() {
                parts[usize::from(place >= cut)].add(f64::to_bits(*number), ColumnKind::Float);
                whole.add(f64::to_bits(*number), ColumnKind::Float);
            }
            let [mut left, right] = parts;
            left.merge(&right);
            let (merged, added) = (left.std().expect("a value"), whole.std().expect("a value"));
            assert!((merged - added).abs() < 1e-9 * added, "{merged} {added}");
            assert_eq!((left.least(), left.greatest()), (whole.least(), whole.greatest()));
        }
    }
}

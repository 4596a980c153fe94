//! The baseline of a model as the detectors read it: cells, their shares, and which inputs count.
//!
//! ```text
//! value -> below | bin 0 | … | bin n-1 | above | null | non-finite        (the raw cells, for people and rates)
//!             └──────┘            └──────┘                                (the bins that vote on drift)
//! ```
//! Values are compared as 32-bit floats, as models read them. What is missing or out of range is watched as a rate of its own, so
//! that a broken feature is not mistaken for a world that moved.

/// What an input's column looked like in training.
#[derive(Clone, Debug, PartialEq)]
pub struct InputProfile {
    /// The feature's name.
    pub name: String,
    /// Inner edges, ascending: a value goes to the first bin whose edge it does not exceed, else to the last.
    pub edges: Vec<f64>,
    /// Share of all rows in each bin; one more than edges.
    pub shares: Vec<f64>,
    /// The smallest finite value.
    pub min: f64,
    /// The largest finite value.
    pub max: f64,
    /// Share of rows without a value (NaN).
    pub null: f64,
    /// Share of rows with an infinity.
    pub non_finite: f64,
    /// Whether it is read off the calendar, which does not drift.
    pub calendar: bool,
}

/// What scores looked like in training.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoresProfile {
    /// Inner edges, ascending.
    pub edges: Vec<f64>,
    /// Share of rows in each bin; one more than edges.
    pub shares: Vec<f64>,
    /// The score from which a transaction is looked at; one of the edges, or as near as may be.
    pub review: f64,
}

/// A bundle's baseline, ready to be counted against.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Rows it was computed from.
    pub rows: u64,
    /// One for each model input, in order.
    pub inputs: Vec<Cells>,
    /// The scores; every score is in range.
    pub scores: Cells,
    /// The ordinary score bin from which on a transaction is looked at.
    pub alert_from: usize,
    /// The share of rows in those bins.
    pub alert_rate: f64,
}

/// The cells of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    /// The feature's name, or `score`.
    pub name: String,
    /// Whether it follows the calendar.
    pub calendar: bool,
    /// Shares of the ordinary bins among values that are there and finite; they sum to 1.
    pub shares: Vec<f64>,
    /// Share of rows without a value.
    pub null: f64,
    /// Share of rows with an infinity.
    pub non_finite: f64,
    edges: Vec<f32>,
    min: f32,
    max: f32,
}

/// Inner edges are padded to a multiple of this, for the processor's wide comparison.
const LANES: usize = 8;

impl Profile {
    /// Builds the profile of a bundle.
    #[must_use]
    pub fn new(rows: u64, inputs: Vec<InputProfile>, scores: ScoresProfile) -> Self {
        let above = |edge: &f64| *edge >= scores.review;
        // An edge is the upper end of its bin, so the bins after the threshold's edge are alerts. A score equal to the
        // threshold counts as none, in training and now alike: bins are all that is known of training.
        let alert_from = scores.edges.iter().position(above).map_or(scores.shares.len(), |place| place + 1);
        let (scores, inputs) = (Cells::of_scores(scores), inputs.into_iter().map(Cells::of).collect());
        let alert_rate = scores.shares.iter().skip(alert_from).sum();
        Self { rows, inputs, scores, alert_from, alert_rate }
    }
}

impl Profile {
    /// Returns how many raw cells the inputs and the scores have together.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.inputs.iter().chain([&self.scores]).map(Cells::len).sum()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "models read 32-bit floats")]
const fn narrow(value: f64) -> f32 {
    value as f32
}

impl Cells {
    fn of(input: InputProfile) -> Self {
        let InputProfile { name, edges, shares, min, max, null, non_finite, calendar } = input;
        Self::build(Self {
            name,
            calendar,
            shares,
            null,
            non_finite,
            edges: edges.into_iter().map(narrow).collect(),
            min: narrow(min),
            max: narrow(max),
        })
    }

    fn of_scores(scores: ScoresProfile) -> Self {
        Self::build(Self {
            name: "score".to_owned(),
            calendar: false,
            shares: scores.shares,
            null: 0.0,
            non_finite: 0.0,
            edges: scores.edges.into_iter().map(narrow).collect(),
            min: 0.0,
            max: 1.0,
        })
    }

    fn build(mut cells: Self) -> Self {
        cells.edges.truncate(cells.shares.len().saturating_sub(1));
        let padded = cells.edges.len().next_multiple_of(LANES);
        cells.edges.resize(padded, f32::INFINITY);
        let total: f64 = cells.shares.iter().sum();
        if total > 0.0 {
            cells.shares.iter_mut().for_each(|share| *share /= total);
        }
        cells
    }

    /// Returns how many ordinary bins there are.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.shares.len()
    }

    /// Returns how many raw cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bins() + 4
    }

    /// Tells whether there is no cell at all: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Finds the raw cell of a value.
    #[must_use]
    pub fn locate(&self, value: f64) -> usize {
        let value = narrow(value);
        if value.is_finite() {
            if value < self.min {
                return 0;
            }
            if value > self.max {
                return self.bins() + 1;
            }
            return 1 + self.bin(value);
        }
        self.bins() + if value.is_nan() { 2 } else { 3 }
    }

    /// Counts the edges below a value: all of them, for values are too irregular to be guessed. The count is as wide as an
    /// edge, so that the compiler does several at once.
    fn bin(&self, value: f32) -> usize {
        let below: u32 = self.edges.iter().map(|edge| u32::from(*edge < value)).sum();
        (below as usize).min(self.bins() - 1)
    }

    /// Returns the ordinary bin that a raw cell votes for; `None` where there is no finite value.
    #[must_use]
    pub fn vote(&self, cell: usize) -> Option<usize> {
        match cell {
            0 => Some(0),
            above if above == self.bins() + 1 => Some(self.bins() - 1),
            bin if bin <= self.bins() => Some(bin - 1),
            _ => None,
        }
    }

    /// Names what is wrong with a raw cell, where something is.
    #[must_use]
    pub fn lost(&self, cell: usize) -> Option<Lost> {
        match cell {
            0 => Some(Lost::Below),
            bin if bin <= self.bins() => None,
            other if other == self.bins() + 1 => Some(Lost::Above),
            other if other == self.bins() + 2 => Some(Lost::Null),
            _ => Some(Lost::NonFinite),
        }
    }
}

/// How a value can be out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// It is not there.
    Null,
    /// It is infinite.
    NonFinite,
    /// It is below everything seen in training.
    Below,
    /// It is above everything seen in training.
    Above,
    /// It is always the same.
    Stuck,
}

impl Lost {
    /// Every way but standing still, which is no matter of a single value.
    pub const OF_VALUES: [Self; 4] = [Self::Null, Self::NonFinite, Self::Below, Self::Above];

    /// Returns the name used in evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::NonFinite => "non_finite",
            Self::Below => "below_range",
            Self::Above => "above_range",
            Self::Stuck => "stuck",
        }
    }
}

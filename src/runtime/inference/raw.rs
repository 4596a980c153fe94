//! Raw calls: rows in, every float output out, through the same threads and sessions as decisions.
//!
//! ```text
//! call(rows) ──> raw line (bounded in rows) ──> a slice of rows ──> Session::run_raw ──> .. ──> RawAnswer
//!                behind the decisions' line      between two of their batches
//! ```
//! A raw call never runs whole: it is cut into slices of [`SLICE_ROWS`], and before each slice the decisions
//! that wait go first, [`DECISION_TURNS`] batches of them; so a decision waits for one slice at most, and
//! raw rows still move while decisions never end. What the numbers mean is not known here.

use std::time::Duration;

use tokio::sync::oneshot;

use super::engine::ModelFailure;
use crate::runtime::clock::Moment;

/// Rows of one slice: what a decision may have to wait for.
pub const SLICE_ROWS: usize = 16;
/// Batches of decisions that go before one slice, while decisions wait.
pub const DECISION_TURNS: u32 = 8;

/// The numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit float.
    Float,
    /// 64-bit float.
    Double,
    /// 64-bit integer.
    Integer,
}

/// One tensor a model takes or gives. The first dimension is the rows, unless `batch_is_one`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFacts {
    /// Its name.
    pub name: String,
    /// Its numbers.
    pub element: Element,
    /// The dimensions behind the rows.
    pub inner: Vec<usize>,
    /// For an input: the columns of our row it takes, in order.
    pub places: Vec<usize>,
}

/// What a model takes and gives, as a raw call sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Values of one row over all inputs.
    pub width: usize,
    /// Inputs, as the model declares them.
    pub inputs: Vec<TensorFacts>,
    /// Float outputs with their real shapes, seen in a trial run; maps are told as tensors of their classes.
    pub outputs: Vec<TensorFacts>,
    /// Whether the graph takes one row at a time; the engine then runs rows one by one.
    pub batch_is_one: bool,
}

/// The numbers of one output, all rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// 32-bit floats.
    Float(Vec<f32>),
    /// 64-bit floats.
    Double(Vec<f64>),
}

impl Numbers {
    /// Returns how many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Float(numbers) => numbers.len(),
            Self::Double(numbers) => numbers.len(),
        }
    }

    /// Tells whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts NaN and infinities.
    #[must_use]
    pub fn not_finite(&self) -> usize {
        match self {
            Self::Float(numbers) => numbers.iter().filter(|number| !number.is_finite()).count(),
            Self::Double(numbers) => numbers.iter().filter(|number| !number.is_finite()).count(),
        }
    }
}

/// What a raw call is answered with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawAnswer {
    /// One entry for each output of the [`Signature`], in its order.
    pub outputs: Vec<Numbers>,
    /// From the question to the first slice.
    pub queued: Duration,
    /// Inside the model, all slices.
    pub ran: Duration,
    /// Slices.
    pub runs: u32,
}

/// Rows of one call, partly run.
pub(super) struct RawJob {
    /// Row-major, in input order.
    pub(super) cells: Vec<f64>,
    /// Rows that are not run yet; they are the last ones of `cells`.
    pub(super) rows_left: usize,
    /// When it joined the line.
    pub(super) asked_at: Moment,
    /// After this nobody waits any more.
    pub(super) deadline: Moment,
    /// What the slices so far gave.
    pub(super) answer: RawAnswer,
    /// Nobody listens when the caller has gone.
    pub(super) reply: oneshot::Sender<Result<RawAnswer, ModelFailure>>,
}

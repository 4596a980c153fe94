//! How far a call came and where its time went: what tells a slow model from a long line.

use super::engine::ModelFailure;
use crate::domain::Score;

/// How far a call came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// It stood in line, or found it full.
    #[default]
    Line,
    /// It was being computed when its caller stopped waiting.
    Run,
    /// It was answered, well or not.
    Answer,
}

/// Where the time of one call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// How far it came.
    pub reached: Reached,
    /// How long it stood in line, in microseconds.
    pub queued_us: u32,
    /// How long its run took, with all the rows it was run with. Of a call that was not answered, the longer of its
    /// run so far and the run it waited behind. In microseconds.
    pub ran_us: u32,
}

/// The answer to one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The score, or why there is none.
    pub score: Result<Score, ModelFailure>,
    /// Where the time went.
    pub course: Course,
}

/// The answers to many rows that were asked for at once.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredRows {
    /// One answer a row.
    pub scores: Vec<Result<Score, ModelFailure>>,
    /// Where the time went, the same for all of them.
    pub course: Course,
}

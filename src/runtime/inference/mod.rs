//! The model's answers: threads that own ONNX Runtime sessions, behind one bounded queue.
//!
//! ```text
//! score(row) ──> Queue (bounded) ──> worker thread: Session::run ──> oneshot ──> Score | ModelFailure
//!     full: QueueFull      late at dequeue: Timeout      NaN: NotFinite, outside 0..=1: OutOfRange
//! ```
//! A worker takes whatever waits, up to `batch_len_max` rows, and never waits for more: a batch costs
//! one row nothing. Each session runs on its own thread alone, so a call never meets a lock inside ONNX
//! Runtime. Raw calls (`raw`) wait in a line of their own behind it. A thread that does not
//! come back is written off and replaced (`crew`). What a failure means for the decision is not known here.

mod beat;
pub mod course;
mod crew;
pub mod engine;
pub mod foreign;
pub mod layout;
pub mod library;
mod queue;
pub mod raw;
mod raw_session;
pub mod session;
pub mod tally;
mod worker;

pub use course::{Course, Reached, Scored, ScoredRows};
pub use crew::Watched;
pub use engine::{Asked, Error, Inference, InferenceOptions, ModelFailure, Stats};
pub use layout::OutputChoice;
pub use raw::{RawAnswer, Signature};
pub use session::Session;

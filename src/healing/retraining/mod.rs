//! Retraining, the pure half: when a new model is asked for, what for, and which rows it may learn from.
//!
//! ```text
//! findings, label feed, trial ─> consider(options, memory, situation) ─> Ask a Request | Hold, with the reason
//! what went wrong, as findings ─> Incidents ─> windows to leave out ─┐
//! request ─> Selection ─> each recorded decision: kept with a weight, or left out with a reason
//! ```
//! Quality that labels show to be lost asks at once; drift of inputs or scores must last first. A silent label
//! feed, a trial or a retraining under way, backoff and the daily cap hold. A request's id comes from what it
//! says, so the same evidence at the same instant gives the same one. Who trains is not known here.

mod ask;
mod incidents;
mod request;
mod selection;

pub use ask::{Ask, Hold, LabelFeed, Memory, Options, Outcome, Situation, consider};
pub use incidents::Incidents;
pub use request::{Declined, GATES, Request, Why, Window};
pub use selection::{LeftOut, Row, Selection, Verdict};

//! How good are these scores? Quality of a ranking and of its probabilities, on labelled rows.
//!
//! Equal scores count as one step, so the order of rows never matters. Rows carry weights, because golden
//! rows are sampled unevenly. The definitions are those of scikit-learn and of the fraud-detection handbook.

mod cards;
mod ranking;

pub use cards::{CardDay, card_precision};
pub use ranking::{average_precision, brier, calibration, roc_auc};

/// One labelled score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// What the model says.
    pub score: f64,
    /// What it was.
    pub fraud: bool,
    /// How many rows it stands for.
    pub weight: f64,
}

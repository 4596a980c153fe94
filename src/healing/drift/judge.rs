//! Is this model in control on these transactions? Asked of the standby before it may take over.
//!
//! The same detectors run over a fixed number of transactions, against a threshold that a model in control passes with
//! probability 99 %: by the maximal inequality, a run exceeds blocks / .01 in so many blocks with probability .01 at
//! most. That is far below the threshold of an alarm, because here the question is asked once, about a suspect.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::options::Options;
use super::profile::Profile;
use super::watch::{Observation, Watch};
use crate::healing::model::ModelRef;

/// How often a model in control may be called out of control.
const LEVEL: f64 = 0.01;
/// Fewer votes tell nothing.
const VOTES_MIN: u64 = 400;
/// Kinds of evidence that share the level.
const KINDS: usize = 5;

/// Whether a model is in control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing speaks against it.
    InControl,
    /// Its inputs or scores are not those of its training.
    OutOfControl,
    /// There was too little to tell.
    Inconclusive,
}

/// What was found about a model on some transactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The answer.
    pub state: State,
    /// Votes it rests on.
    pub votes: u64,
    /// Logarithm that evidence of any kind would have to reach.
    pub log_threshold: f64,
    /// Logarithm of the largest evidence while it looked: `inputs`, `broken`, `scores`, `surge`, `collapse`.
    pub log_e: BTreeMap<String, f64>,
    /// Features behind it, worst first.
    pub suspects: Vec<String>,
}

/// Judges whether a model is in control on transactions in their order; scores are the model's own.
pub fn judge<'a>(profile: &Arc<Profile>, options: &Options, rows: impl Iterator<Item = Observation<'a>>) -> Control {
    let model = ModelRef { name: String::new(), version: String::new(), sha256: String::new() };
    let mut watch = Watch::new(model, Arc::clone(profile), options);
    let mut highest = [0.0_f64; KINDS];
    let (mut blocks, mut scored) = (0, 0_u64);
    for row in rows {
        scored += u64::from(row.score.is_some());
        watch.observe(&row);
        if watch.blocks > blocks {
            blocks = watch.blocks;
            for (most, log) in highest.iter_mut().zip(watch.logs()) {
                *most = most.max(log);
            }
        }
    }
    let votes = watch.votes();
    let log_threshold = (KINDS as f64 * blocks.max(1) as f64 / LEVEL).ln();
    let is_out = highest.iter().any(|log| *log >= log_threshold);
    let state = match (is_out, votes >= VOTES_MIN && scored >= VOTES_MIN) {
        (true, _) => State::OutOfControl,
        (false, true) => State::InControl,
        (false, false) => State::Inconclusive,
    };
    let names = ["inputs", "broken", "scores", "surge", "collapse"];
    let log_e = names.iter().zip(highest).map(|(name, log)| ((*name).to_owned(), log)).collect();
    let suspects = if is_out { watch.suspects() } else { Vec::new() };
    Control { state, votes, log_threshold, log_e, suspects }
}

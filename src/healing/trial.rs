//! Trials: a bundle beside the active one, on the same transactions, until the evidence says enough.
//!
//! ```text
//! Pair { active's outcome and score, candidate's } ─> tests: new alerts · lost alerts · errors ─> Verdict
//! ```
//! Each test is a sequential one on a Bernoulli rate against a band the settings declare: it may be looked
//! at after every pair, and the chance that it ever errs is at most `error_rate_max`. A step is *won* when every
//! band is shown to be kept, *lost* when one is shown to be left, and *inconclusive* while windows are not full, pairs do not come, or
//! too much time has passed. An entity votes once in a block of pairs, so that one busy card decides nothing.
//! What follows from a verdict is the planner's.

mod rate;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::{Outcome, Span, Timestamp};
pub use rate::{Rate, RateTest};

/// Pairs of one block: within it an entity votes once.
const BLOCK_PAIRS: u64 = 200;
/// Latency samples below which the ratio is not judged.
const TIMED_PAIRS_MIN: u64 = 20;
/// However much too much an active model stops, a candidate owes a tenth of what it would owe a model in order.
const EXCESS_MAX: f64 = 10.0;

/// What a trial asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The shares a canary goes through, in percent, rising.
    pub steps: Vec<u8>,
    /// The fewest votes in shadow.
    pub shadow_votes_min: u64,
    /// The shortest time in shadow.
    pub shadow_dwell_min: Span,
    /// The fewest votes at each share of a canary.
    pub canary_votes_min: u64,
    /// The shortest time at each share of a canary.
    pub canary_dwell_min: Span,
    /// The longest time at one step; past it a trial without a verdict is inconclusive.
    pub dwell_max: Span,
    /// After how long without a pair a trial is starved.
    pub starved_after: Span,
    /// The share of transactions the active model lets through that the candidate may stop.
    pub new_alerts_max: f64,
    /// The share of transactions the active model stops that the candidate may let through.
    pub lost_alerts_max: f64,
    /// The share of its calls that may fail.
    pub errors_max: f64,
    /// How many times as long as the active model it may compute.
    pub latency_ratio_max: f64,
    /// The chance that a test errs, either way.
    pub error_rate_max: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            steps: vec![1, 5, 25, 50],
            shadow_votes_min: 10_000,
            shadow_dwell_min: Span::from_seconds(30 * 60),
            canary_votes_min: 5_000,
            canary_dwell_min: Span::from_seconds(10 * 60),
            dwell_max: Span::from_days(7),
            starved_after: Span::from_seconds(10 * 60),
            new_alerts_max: 0.02,
            lost_alerts_max: 0.5,
            errors_max: 0.002,
            latency_ratio_max: 3.0,
            error_rate_max: 0.001,
        }
    }
}

impl Options {
    /// Returns what is asked of a candidate beside an active model that stops `excess` times as much as it was built to: of
    /// its alerts only those are owed that it would raise at its own rate. Without this a model that alarms at everything
    /// could never be replaced by a better one.
    #[must_use]
    pub fn beside(&self, excess: f64) -> Self {
        let owed = (1.0 - self.lost_alerts_max) / if excess.is_finite() { excess.clamp(1.0, EXCESS_MAX) } else { 1.0 };
        Self { lost_alerts_max: 1.0 - owed, ..self.clone() }
    }

    /// Returns the share that follows a share; 100 after the last.
    #[must_use]
    pub fn next_percent(&self, percent: u8) -> u8 {
        self.steps.iter().copied().find(|step| *step > percent).unwrap_or(100)
    }

    /// Says what is wrong with the settings, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let is_share = |share: f64| share > 0.0 && share < 1.0;
        let rises = self.steps.windows(2).all(|pair| pair[0] < pair[1]);
        if !rises || self.steps.iter().any(|step| !(1..=99).contains(step)) {
            return Some("steps: expected rising percentages from 1 to 99");
        }
        if ![self.new_alerts_max, self.lost_alerts_max, self.errors_max, self.error_rate_max].into_iter().all(is_share)
        {
            return Some("shares: expected numbers between 0 and 1");
        }
        if !(self.latency_ratio_max >= 1.0 && self.latency_ratio_max.is_finite()) {
            return Some("latency_ratio_max: expected 1 or more");
        }
        None
    }
}

/// What the evidence of a trial says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not enough yet.
    #[default]
    Going,
    /// Every band is shown to be kept.
    Won,
    /// A band is shown to be left.
    Lost,
    /// It cannot be told: windows are not full, no pairs come, or time is up.
    Inconclusive,
}

impl Verdict {
    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What one side made of a transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// Its score.
    pub score: f64,
    /// The outcome of the whole decision with this score.
    pub outcome: Outcome,
}

/// Both sides of one transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// When it was paired.
    pub at: Timestamp,
    /// Whose transaction it is, as a hash.
    pub entity: u64,
    /// What the active model made of it.
    pub active: Side,
    /// What the candidate made of it; `None` when it failed on it.
    pub candidate: Option<Side>,
}

/// The figures of a trial, all finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Transactions both sides were asked about.
    pub pairs: u64,
    /// Those that voted: an entity once a block.
    pub votes: u64,
    /// Votes the active model lets through and the candidate stops.
    pub new_alerts: RateTest,
    /// Votes the active model stops and the candidate lets through.
    pub lost_alerts: RateTest,
    /// Calls of the candidate that failed.
    pub errors: RateTest,
    /// Decisions that differ in any way.
    pub flips: u64,
    /// Mean of the candidate's score less the active model's.
    pub delta_mean: f64,
    /// Mean size of that difference.
    pub delta_size: f64,
    /// Median time of one row as a multiple of the active model's; 0 before it was measured.
    pub latency_ratio: f64,
    /// Rows it was measured on.
    pub latency_pairs: u64,
    /// Why the verdict is what it is, for people.
    pub text: String,
}

/// One step of a trial: a bundle in shadow, or a canary at one share. It can be kept and gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    options: Options,
    since: Timestamp,
    is_shadow: bool,
    pairs: u64,
    votes: u64,
    flips: u64,
    new_alerts: Rate,
    lost_alerts: Rate,
    errors: Rate,
    delta: f64,
    delta_size: f64,
    scored: u64,
    latency: (f64, u64),
    last_pair: Option<Timestamp>,
    block: BTreeSet<u64>,
}

impl Trial {
    /// Begins a step: in shadow at 0 percent, else as a canary.
    #[must_use]
    pub fn new(options: &Options, percent: u8, now: Timestamp) -> Self {
        let rate = |band| Rate::new(band, options.error_rate_max);
        Self {
            since: now,
            is_shadow: percent == 0,
            pairs: 0,
            votes: 0,
            flips: 0,
            new_alerts: rate(options.new_alerts_max),
            lost_alerts: rate(options.lost_alerts_max),
            errors: rate(options.errors_max),
            delta: 0.0,
            delta_size: 0.0,
            scored: 0,
            latency: (0.0, 0),
            last_pair: None,
            block: BTreeSet::new(),
            options: options.clone(),
        }
    }

    /// Returns how many pairs it rests on.
    #[must_use]
    pub const fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Goes on with what was kept, if that is the same step: begun at the same instant, by the same settings. A time
    /// in which nothing could be compared is no starving.
    #[must_use]
    pub fn resumed(self, options: &Options, since: Timestamp, now: Timestamp) -> Option<Self> {
        let is_same = self.options == *options && self.since == since;
        is_same.then(|| Self { last_pair: self.last_pair.max(Some(now)), ..self })
    }

    /// Takes one pair in.
    pub fn observe(&mut self, pair: &Pair) {
        if self.pairs.is_multiple_of(BLOCK_PAIRS) {
            self.block.clear();
        }
        self.pairs += 1;
        self.last_pair = self.last_pair.max(Some(pair.at));
        // A failure is the model's, whosever transaction it is.
        self.errors.observe(pair.candidate.is_none());
        let Some(candidate) = pair.candidate else { return };
        let delta = candidate.score - pair.active.score;
        if delta.is_finite() {
            self.scored += 1;
            self.delta += delta;
            self.delta_size += delta.abs();
        }
        self.flips += u64::from(candidate.outcome != pair.active.outcome);
        if !self.block.insert(pair.entity) {
            return;
        }
        self.votes += 1;
        let (was_stopped, is_stopped) = (is_alert(pair.active.outcome), is_alert(candidate.outcome));
        if was_stopped {
            self.lost_alerts.observe(!is_stopped);
        } else {
            self.new_alerts.observe(is_stopped);
        }
    }

    /// Takes the median time of a row, as a multiple of the active model's, and how many rows it rests on.
    pub fn timed(&mut self, ratio: f64, pairs: u64) {
        if ratio.is_finite() && ratio >= 0.0 {
            self.latency = (ratio, pairs);
        }
    }

    /// Judges what there is now. `is_warm`: every window of the candidate's schema is full.
    #[must_use]
    pub fn judge(&self, now: Timestamp, is_warm: bool) -> (Verdict, Figures) {
        let (verdict, text) = self.verdict(now, is_warm);
        let scored = self.scored.max(1) as f64;
        let figures = Figures {
            pairs: self.pairs,
            votes: self.votes,
            new_alerts: self.new_alerts.figures(),
            lost_alerts: self.lost_alerts.figures(),
            errors: self.errors.figures(),
            flips: self.flips,
            delta_mean: self.delta / scored,
            delta_size: self.delta_size / scored,
            latency_ratio: self.latency.0,
            latency_pairs: self.latency.1,
            text,
        };
        (verdict, figures)
    }

    fn verdict(&self, now: Timestamp, is_warm: bool) -> (Verdict, String) {
        // Failing needs no full windows to be seen.
        if self.errors.is_left() {
            return (Verdict::Lost, "it fails on too many transactions".to_owned());
        }
        if now < self.since {
            return (Verdict::Inconclusive, "the clock was set back".to_owned());
        }
        if !is_warm {
            return (Verdict::Inconclusive, "the windows of its features are not full yet".to_owned());
        }
        let named = [
            ("stops too many that are let through", &self.new_alerts),
            ("lets too many through that are stopped", &self.lost_alerts),
        ];
        if let Some((what, _)) = named.iter().find(|(_, rate)| rate.is_left()) {
            return (Verdict::Lost, format!("it {what}"));
        }
        let (ratio, timed) = self.latency;
        if timed >= TIMED_PAIRS_MIN && ratio > self.options.latency_ratio_max {
            return (Verdict::Lost, format!("it takes {ratio:.1} times as long as the active model"));
        }
        let Options { shadow_votes_min, shadow_dwell_min, canary_votes_min, canary_dwell_min, .. } = self.options;
        let (votes_min, dwell_min) =
            if self.is_shadow { (shadow_votes_min, shadow_dwell_min) } else { (canary_votes_min, canary_dwell_min) };
        let dwelt = now.since(self.since);
        let is_kept =
            self.errors.is_kept() && self.new_alerts.is_kept() && self.lost_alerts.is_kept_or_rare(self.votes);
        if self.votes >= votes_min && dwelt >= dwell_min && is_kept {
            return (Verdict::Won, format!("every band was kept on {} votes", self.votes));
        }
        if dwelt > self.options.dwell_max {
            return (Verdict::Inconclusive, "time is up and the evidence decides nothing".to_owned());
        }
        let quiet = now.since(self.last_pair.unwrap_or(self.since));
        if quiet > self.options.starved_after {
            return (Verdict::Inconclusive, "no transactions come to compare on".to_owned());
        }
        (Verdict::Going, format!("{} of {votes_min} votes", self.votes.min(votes_min)))
    }
}

/// Tells whether an outcome stops a transaction.
fn is_alert(outcome: Outcome) -> bool {
    outcome != Outcome::Approve
}

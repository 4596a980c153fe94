//! The feed of labels itself: does it stop, thin out, come late, or forget the frauds?
//!
//! A feed that fails halves the quality of a model that learns from it while no input moves. So everything that rests on
//! labels is held while one of these stands. Decided transactions are followed in a sample (by a hash of their id, so
//! that the sample is the same everywhere) until the age at which labels are complete.

use std::collections::{BTreeMap, VecDeque};

use super::label::{Decided, Labelled};
use super::options::Options;
use crate::domain::{Span, Timestamp};
use crate::healing::drift::Ceilings;
use crate::healing::rates::{Direction, Learned, Learning};

/// Labels before silence is judged.
const LABELS_MIN: u64 = 20;
/// Silence is so many times the longest usual pause.
const PAUSES: f64 = 3.0;
/// What is kept of the longest pause from label to label.
const PAUSE_KEEP: f64 = 0.9999;
/// Frauds may become so much rarer among labels before the feed is suspected.
const FRAUD_TOLERANCE: f64 = 2.0;

/// A decided transaction that is followed.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// What was decided.
    pub(crate) decided: Decided,
    /// What its label said, if one came.
    pub(crate) is_fraud: Option<bool>,
}

/// The state of the feed.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    followed: BTreeMap<u64, Followed>,
    queue: VecDeque<(Timestamp, u64)>,
    /// One of 2^thinning transactions is followed.
    thinning: u32,
    newest: Option<Timestamp>,
    first_unlabelled: Option<Timestamp>,
    longest_pause_us: f64,
    labels: u64,
    legitimate: u64,
    scale: Option<Span>,
    /// Followed transactions whose label had come when they were old enough.
    pub(crate) coverage: Learned,
    /// How late labels come, as delay / (delay + first delay).
    pub(crate) delay: Learned,
    /// Frauds among labels.
    pub(crate) frauds: Learned,
}

impl Feed {
    /// Begins without a past.
    #[must_use]
    pub(crate) fn new(options: &Options) -> Self {
        let learning = Learning { tolerance: options.feed_tolerance, votes_min: 200, ..options.learning };
        let rare = Learning { tolerance: FRAUD_TOLERANCE, votes_min: 500, ..learning };
        Self {
            followed: BTreeMap::new(),
            queue: VecDeque::new(),
            thinning: 0,
            newest: None,
            first_unlabelled: None,
            longest_pause_us: 0.0,
            labels: 0,
            legitimate: 0,
            scale: None,
            coverage: Learned::new(Direction::Falling, None, learning),
            delay: Learned::new(Direction::Rising, None, learning),
            frauds: Learned::new(Direction::Falling, None, rare),
        }
    }

    /// Follows a decided transaction, if it is in the sample.
    pub(crate) fn decided(&mut self, decided: &Decided, options: &Options) {
        self.first_unlabelled.get_or_insert(decided.decided_at);
        if !self.is_sampled(decided.transaction) {
            return;
        }
        if self.followed.len() >= options.sampled_max.max(2) {
            self.thinning += 1;
            let thinning = self.thinning;
            self.followed.retain(|transaction, _| is_in(*transaction, thinning));
            self.queue.retain(|(_, transaction)| is_in(*transaction, thinning));
            if !self.is_sampled(decided.transaction) {
                return;
            }
        }
        let followed = Followed { decided: decided.clone(), is_fraud: None };
        if self.followed.insert(decided.transaction, followed).is_none() {
            self.queue.push_back((decided.occurred_at, decided.transaction));
        }
    }

    fn is_sampled(&self, transaction: u64) -> bool {
        is_in(transaction, self.thinning)
    }

    /// Counts a label.
    pub(crate) fn labelled(&mut self, label: &Labelled, ceilings: Ceilings) {
        let since = self.newest.map(|newest| label.labelled_at.since(newest).micros().max(0) as f64);
        self.longest_pause_us = (self.longest_pause_us * PAUSE_KEEP).max(since.unwrap_or(0.0));
        self.newest = Some(self.newest.map_or(label.labelled_at, |newest| newest.max(label.labelled_at)));
        self.first_unlabelled = None;
        self.labels += 1;
        self.legitimate += u64::from(!label.is_fraud);
        if let Some(followed) = self.followed.get_mut(&label.decided.transaction) {
            followed.is_fraud = Some(label.is_fraud);
        }
        let delay = label.labelled_at.since(label.decided.occurred_at).micros().max(1) as f64;
        let scale = self
            .scale
            .get_or_insert(Span::from_micros(label.labelled_at.since(label.decided.occurred_at).micros().max(1)));
        self.delay.vote(delay / (delay + scale.micros() as f64), ceilings);
        self.frauds.vote(f64::from(u8::from(label.is_fraud)), ceilings);
    }

    /// Takes out the followed transactions that are old enough now, and counts whether their labels came.
    pub(crate) fn matured(&mut self, now: Timestamp, options: &Options, ceilings: Ceilings) -> Vec<Followed> {
        let mut matured = Vec::new();
        while let Some((occurred_at, transaction)) = self.queue.front().copied() {
            if occurred_at.plus(options.maturity) > now {
                break;
            }
            self.queue.pop_front();
            if let Some(followed) = self.followed.remove(&transaction) {
                // Before the first label nobody knows whether there is a feed at all.
                if self.labels > 0 {
                    self.coverage.vote(f64::from(u8::from(followed.is_fraud.is_some())), ceilings);
                }
                matured.push(followed);
            }
        }
        matured
    }

    /// Returns how long the feed has been silent although there was something to label; `None` while it is not.
    #[must_use]
    pub(crate) fn silent_for(&self, now: Timestamp, options: &Options) -> Option<Span> {
        let newest = self.newest.filter(|_| self.labels >= LABELS_MIN)?;
        let silent = now.since(newest);
        let usual = Span::from_micros(whole(self.longest_pause_us * PAUSES));
        let is_long = silent > options.silence && silent > usual;
        (is_long && self.first_unlabelled.is_some()).then_some(silent)
    }

    /// Tells whether a part of what was decided is not followed.
    #[must_use]
    pub(crate) fn is_thinned(&self) -> bool {
        self.thinning > 0
    }

    /// Tells whether labels of legitimate transactions come, too.
    #[must_use]
    pub(crate) fn has_legitimate(&self) -> bool {
        self.legitimate > 0
    }
}

/// Mixes the id's hash once more: a caller's hash may be a running number.
fn is_in(transaction: u64, thinning: u32) -> bool {
    let mut mixed = transaction.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).trailing_zeros() >= thinning
}

#[expect(clippy::cast_possible_truncation, reason = "a few pauses, far from the largest integer")]
fn whole(micros: f64) -> i64 {
    micros as i64
}

//! Warmth: whether a schema's longest window has been watched in full.

use serde::Serialize;

use crate::domain::{Span, Timestamp};

/// Whether the features of a schema are what they were trained to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Warmth {
    /// Every window is full.
    Warm,
    /// Some windows reach back before the store began to watch.
    Warming {
        /// When it began; `None` before the first event.
        since: Option<Timestamp>,
        /// When the longest window will be full.
        until: Option<Timestamp>,
    },
}

/// Since when a schema's needs are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    admitted_at: Option<i64>,
}

impl Watch {
    /// Begins to watch: from `clock` on when the schema brought something new, else as long as the store.
    pub(super) fn new(brings_new: bool, clock: i64) -> Self {
        Self { admitted_at: (brings_new && clock != i64::MIN).then_some(clock) }
    }

    pub(super) fn since(self, first: Option<i64>) -> Option<i64> {
        self.admitted_at.or(first)
    }
}

pub(super) fn warmth(since: Option<i64>, clock: i64, longest: Span) -> Warmth {
    if longest == Span::ZERO {
        return Warmth::Warm;
    }
    let since = since.map(Timestamp::from_micros);
    let until = since.map(|since| since.plus(longest));
    if until.is_some_and(|until| until.micros() <= clock) { Warmth::Warm } else { Warmth::Warming { since, until } }
}

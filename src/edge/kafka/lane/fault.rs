//! What can go wrong with the broker, by what the lane can do about it.
//!
//! The classes follow the contract of the transactional producer: call again, abort, or start over. An error
//! that fits none is fatal, which is the contract's own advice.

use std::fmt;

/// What the lane can do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The same call may be made again; what it did so far is not known.
    Retriable,
    /// The transaction must be aborted and may then be published again.
    Abortable,
    /// The group has moved on: abort, and wait until the new generation is known.
    StaleGeneration,
    /// Another producer has this transactional id: the producer must be made anew.
    Fenced,
    /// The producer is of no use any more and must be made anew.
    Fatal,
    /// The consumer is of no use any more: both clients must be made anew.
    ConsumerLost,
    /// The broker will not take this output however often it is sent.
    Refused,
    /// The credentials do not suffice.
    Denied,
}

impl Class {
    /// Every class, in the order of the metric's children.
    pub const ALL: [Self; 8] = [
        Self::Retriable,
        Self::Abortable,
        Self::StaleGeneration,
        Self::Fenced,
        Self::Fatal,
        Self::ConsumerLost,
        Self::Refused,
        Self::Denied,
    ];

    /// Returns the word used in logs and as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retriable => "retriable",
            Self::Abortable => "abortable",
            Self::StaleGeneration => "stale_generation",
            Self::Fenced => "fenced",
            Self::Fatal => "fatal",
            Self::ConsumerLost => "consumer_lost",
            Self::Refused => "refused",
            Self::Denied => "denied",
        }
    }
}

/// A failed call, with the broker's or the library's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What can be done about it.
    pub class: Class,
    /// Which call failed.
    pub call: &'static str,
    /// The original error.
    pub text: String,
}

impl Fault {
    /// Returns the fault of `call`.
    #[must_use]
    pub fn new(class: Class, call: &'static str, text: impl Into<String>) -> Self {
        Self { class, call, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({}): {}", self.call, self.class.as_str(), self.text)
    }
}

impl std::error::Error for Fault {}

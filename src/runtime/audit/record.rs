//! One line of the record: numbered, chained to the line before it by a hash over its very text.
//!
//! ```text
//! {"seq":7,"chain":"3f…","at":"…","kind":"intent","previous":"<hash of 6>","body":{…},"hash":"<sha256 of all before>"}
//! ```
//! The hash covers the text up to its own key, so nobody has to agree on how JSON is written to check it.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::domain::Timestamp;

/// The hash before the first line.
pub const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const HASH_KEY: &str = ",\"hash\":\"";

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A chain begins.
    Chain,
    /// Findings changed.
    Alarm,
    /// The planner planned: with the situation and the memory it planned from.
    Plan,
    /// What the table asks for and is not done changed.
    Held,
    /// An action is about to be performed.
    Intent,
    /// What became of it, or of its check.
    Outcome,
    /// A person did something.
    Override,
    /// A list entry came or went.
    List,
    /// Settings or the table in force.
    Config,
    /// A model changed its stage.
    Model,
    /// The breaker changed its state.
    Breaker,
    /// Lines were lost because none could be written.
    Lost,
}

impl Kind {
    /// Every kind, for metrics and doors.
    pub const ALL: [Self; 12] = [
        Self::Chain,
        Self::Alarm,
        Self::Plan,
        Self::Held,
        Self::Intent,
        Self::Outcome,
        Self::Override,
        Self::List,
        Self::Config,
        Self::Model,
        Self::Breaker,
        Self::Lost,
    ];

    /// Returns the name used in lines and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Alarm => "alarm",
            Self::Plan => "plan",
            Self::Held => "held",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Override => "override",
            Self::List => "list",
            Self::Config => "config",
            Self::Model => "model",
            Self::Breaker => "breaker",
            Self::Lost => "lost",
        }
    }
}

/// Where a chain stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chain's id.
    pub chain: String,
    /// The number of its last line; 0 before the first.
    pub seq: u64,
    /// The hash of its last line.
    pub hash: String,
}

impl Head {
    /// Begins a chain.
    #[must_use]
    pub fn new(chain: String) -> Self {
        Self { chain, seq: 0, hash: ZEROS.to_owned() }
    }

    /// Writes the next line, without its line feed, and moves on. `body` is JSON.
    pub fn next(&mut self, at: Timestamp, kind: Kind, body: &str) -> String {
        self.seq += 1;
        let (seq, chain, kind, previous) = (self.seq, &self.chain, kind.name(), &self.hash);
        let mut line = format!(
            "{{\"seq\":{seq},\"chain\":\"{chain}\",\"at\":\"{at}\",\"kind\":\"{kind}\",\"previous\":\"{previous}\",\"body\":{body}"
        );
        self.hash = hash_of(&line);
        // Writing to a text cannot fail.
        let _ = write!(line, "{HASH_KEY}{}\"}}", self.hash);
        line
    }
}

/// A line, read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// Its number in the chain, from 1.
    pub seq: u64,
    /// The chain's id.
    pub chain: String,
    /// When it was noted.
    pub at: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// The hash of the line before.
    pub previous: String,
    /// What it says.
    #[serde(borrow)]
    pub body: &'a RawValue,
    /// Its own hash.
    pub hash: String,
}

impl<'a> Line<'a> {
    /// Reads a line and checks its hash against its text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &'a str) -> Result<Self, String> {
        let line: Self = serde_json::from_str(text).map_err(|error| format!("not a record: {error}"))?;
        let covered = text.rfind(HASH_KEY).map_or(text, |end| &text[..end]);
        if hash_of(covered) != line.hash {
            return Err(format!("record {}: its text does not have its hash: it was changed", line.seq));
        }
        Ok(line)
    }

    /// Returns where the chain stands after this line.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { chain: self.chain.clone(), seq: self.seq, hash: self.hash.clone() }
    }
}

/// Returns the sha256 of a text in hex.
#[must_use]
pub fn hash_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut out, byte| {
        // Writing to a text cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

//! What a trainer is asked for, in full: enough to train without asking back.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::{Span, Timestamp};
use crate::healing::{Finding, ModelRef};

/// What the new bundle must pass before it answers anybody, in order.
pub const GATES: [&str; 5] = ["signature", "bundle gates", "quality against the active model", "shadow", "canary"];

/// Why a stretch of time is no material to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A feature's source was broken.
    BrokenFeature,
    /// Labels did not come: frauds of that time look genuine.
    LabelFeed,
    /// Few entities made most of the alerts.
    Attack,
    /// Transactions came in an unknown quantity, late, or not at all.
    Volume,
    /// A person says so: poisoned, tested on, or otherwise not like the rest.
    ByHand,
}

impl Why {
    /// Returns the name used in JSON and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokenFeature => "broken_feature",
            Self::LabelFeed => "label_feed",
            Self::Attack => "attack",
            Self::Volume => "volume",
            Self::ByHand => "by_hand",
        }
    }
}

/// A stretch of event time to leave out: from, and before until.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    /// The first instant of it.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
    /// Why.
    pub why: Why,
}

impl Window {
    /// Tells whether an instant lies in it.
    #[must_use]
    pub fn has(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }

    /// Reads `FROM..UNTIL` with two RFC 3339 instants; `None` when it is none, or empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once("..")?;
        let (from, until) = (Timestamp::parse(from.trim())?, Timestamp::parse(until.trim())?);
        (from < until).then_some(Self { from, until, why: Why::ByHand })
    }
}

/// What stands for transactions that were declined, which nobody can dispute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Declined {
    /// Those somebody labelled, as they are. What analysts choose to look at is no random sample.
    #[default]
    Labelled,
    /// Those that the control share let through, each weighing what it stands for; all others are left out.
    Control,
}

/// One request for a new model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Made of all that follows.
    pub id: String,
    /// When it was made.
    pub asked_at: Timestamp,
    /// The model that answers now.
    pub replaces: ModelRef,
    /// What speaks for it.
    pub evidence: Vec<Finding>,
    /// Learn from this instant on; as far back as there is when absent.
    pub from: Option<Timestamp>,
    /// Learn until here: what came later has no mature label.
    pub until: Timestamp,
    /// How long after a transaction a label may still come; without one by then it counts as genuine.
    pub maturity: Span,
    /// What not to learn from, in order, none overlapping another of the same reason.
    pub leave_out: Vec<Window>,
    /// What stands for declined transactions.
    pub declined: Declined,
    /// The gates that the new bundle must pass.
    pub gates: Vec<String>,
    /// What whoever trains must know, for people.
    pub note: String,
}

impl Request {
    /// Gives the request the id that its content makes.
    #[must_use]
    pub(super) fn named(self) -> Self {
        let bare = Self { id: String::new(), ..self };
        // Finite numbers, texts and lists: writing them to memory cannot fail, and maps are ordered.
        let content = serde_json::to_vec(&bare).unwrap_or_default();
        Self { id: format!("rt_{:032x}", xxh3_128(&content)), ..bare }
    }

    /// Tells what speaks for it, in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        let said = self.evidence.iter().map(|finding| match &finding.subject {
            Some(subject) => format!("{} of {subject} since {}", finding.alarm.name(), finding.since),
            None => format!("{} since {}", finding.alarm.name(), finding.since),
        });
        said.collect::<Vec<_>>().join(", ")
    }
}

//! What can be set about Kafka, and what cannot be set together.
//!
//! A value of its own, checked whole by [`Options::faults`] (`check`); `config` reads it, `client` turns
//! it into librdkafka's keys. It does not know where a value came from.

mod check;
mod security;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;

pub use check::OptionFault;
pub use security::{Mechanism, Protocol, Secret, Security};

use crate::domain::Span;
use crate::edge::wire::UnknownFields;
use crate::runtime::stream::Partitioner;

/// The least a key of the group may have, in bytes: what HMAC-SHA256 is made for.
pub const KEY_LEN_MIN: usize = 32;
/// The most lanes of one instance.
pub const LANES_MAX: u32 = 64;

/// How fraudd takes part in a stream.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to begin with, comma separated `host:port`.
    pub bootstrap_servers: String,
    /// The consumer group, and the first word of every transactional id.
    pub group: String,
    /// The name of this instance in its group, the same after every restart.
    pub instance: String,
    /// Threads that each read, decide and publish.
    pub lanes: NonZeroUsize,
    /// How the connection is secured.
    pub security: Security,
    /// Names of the topics.
    pub topics: Topics,
    /// Partitions that every topic of the stream must have; `None` takes the input's count.
    pub partitions: Option<u32>,
    /// How keys of the input become partitions.
    pub partitioner: Partitioner,
    /// What to do with unknown fields of the input.
    pub unknown_fields: UnknownFields,
    /// How long the model may take for a run of rows.
    pub model_deadline: Span,
    /// How records become transactions of Kafka.
    pub batch: Batch,
    /// Deadlines towards the broker.
    pub timeouts: Timeouts,
    /// Where a group without offsets begins.
    pub start: Start,
    /// What to do when state of a partition is lost.
    pub on_lost_state: OnLostState,
    /// How far the watermark stays behind the newest event time.
    pub watermark_bound: Span,
    /// How far behind the watermark an event may be and still change state.
    pub lateness: Span,
    /// How far ahead of its arrival a transaction may say it happened.
    pub ahead_max: Span,
    /// When a decision over REST is answered.
    pub rest_ack: RestAck,
    /// The group's key, under which decisions travel in the input topic.
    pub key: Option<Secret>,
    /// Whether feature vectors are published.
    pub features_enabled: bool,
    /// Whether the record of healing is published.
    pub audit_enabled: bool,
    /// Whether requests for a new model are published.
    pub retrain_enabled: bool,
    /// Bounds of dead letters.
    pub dead: DeadOptions,
    /// The source in `files.mapping` that the input is written like; `None` for the contract's own form.
    pub mapping: Option<String>,
    /// The foreign topic that is re-keyed into the input, when one is.
    pub rekey: Option<String>,
    /// Keys of librdkafka over ours, for every client.
    pub client: Overrides,
}

/// Keys of librdkafka with their values, which are not shown: some are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, String>);

impl Overrides {
    /// Keeps keys and values.
    #[must_use]
    pub const fn new(keys: BTreeMap<String, String>) -> Self {
        Self(keys)
    }

    /// Lists them by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Names of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its use, see docs/kafka.md")]
pub struct Topics {
    pub transactions: String,
    pub labels: String,
    pub scores: String,
    pub alerts: String,
    pub features: String,
    pub dead: String,
    pub late: String,
    pub state: String,
    pub control: String,
    pub audit: String,
    pub retrain: String,
}

impl Topics {
    /// Lists every topic with its setting, in a fixed order.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &str); 11] {
        [
            ("transactions", &self.transactions),
            ("labels", &self.labels),
            ("scores", &self.scores),
            ("alerts", &self.alerts),
            ("features", &self.features),
            ("dead", &self.dead),
            ("late", &self.late),
            ("state", &self.state),
            ("control", &self.control),
            ("audit", &self.audit),
            ("retrain", &self.retrain),
        ]
    }
}

/// How records become transactions of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The most records of one transaction.
    pub len_max: NonZeroUsize,
    /// The most bytes of records of one transaction; one record may be longer alone.
    pub bytes_max: usize,
    /// How long an idle lane waits for company.
    pub linger_min: Duration,
    /// How long a lane with much to do waits.
    pub linger_max: Duration,
}

/// Deadlines towards the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// After which silence the group gives a lane's partitions to others.
    pub session: Duration,
    /// How long a lane may go without polling.
    pub poll_interval_max: Duration,
    /// After which the broker ends a transaction by itself.
    pub transaction: Duration,
    /// How long one record may take to be accepted.
    pub message: Duration,
    /// How long the lanes may take to finish at shutdown.
    pub drain: Duration,
}

/// Where a group without offsets begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest record there is.
    #[default]
    Earliest,
    /// With the next one to come.
    Latest,
}

/// What to do when state of a partition is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLostState {
    /// Leave the partition alone and say so.
    #[default]
    Stop,
    /// Go on with empty windows, counted and alarmed.
    Continue,
}

/// When a decision over REST is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestAck {
    /// Once it is in the journal.
    #[default]
    Journal,
    /// Once the broker has it too.
    Broker,
}

/// Bounds of dead letters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadOptions {
    /// The most bytes kept of an original.
    pub value_len_max: usize,
    /// The share of dead records that stops a lane, above 0; 1 never does.
    pub share_max: f64,
    /// Over how long the share is taken.
    pub window: Duration,
    /// Dead records below which nothing stops.
    pub len_min: u32,
}

impl Options {
    /// Returns the name of a lane within its group: `group.instance.id`.
    #[must_use]
    pub fn member(&self, lane: usize) -> String {
        format!("{}-{lane}", self.instance)
    }

    /// Returns the transactional id of a lane.
    #[must_use]
    pub fn transactional_id(&self, lane: usize) -> String {
        format!("{}-{}-{lane}", self.group, self.instance)
    }

    /// Returns the group in which a foreign topic is re-keyed.
    #[must_use]
    pub fn rekey_group(&self) -> String {
        format!("{}-rekey", self.group)
    }

    /// Returns the name of the re-key lane in its group; no lane of the stream ends like it.
    #[must_use]
    pub fn rekey_member(&self) -> String {
        format!("{}-rekey", self.instance)
    }

    /// Returns the transactional id of the re-key lane.
    #[must_use]
    pub fn rekey_transactional_id(&self) -> String {
        format!("{}-{}-rekey", self.group, self.instance)
    }
}

#[cfg(test)]
pub(crate) mod tests;

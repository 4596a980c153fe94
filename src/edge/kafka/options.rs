//! What can be set about Kafka, and what cannot be set together.
//!
//! A value of its own, checked whole by [`Options::faults`]; `config` reads it, `client` turns it
//! into librdkafka's keys. It does not know where a value came from.

use std::collections::BTreeSet;
use std::collections::btree_map::{self, BTreeMap};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::client;
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
    /// Bounds of dead letters.
    pub dead: DeadOptions,
    /// The source in `files.mapping` that the input is written like; `None` for the contract's own form.
    pub mapping: Option<String>,
    /// The foreign topic that is re-keyed into the input, when one is.
    pub rekey: Option<String>,
    /// Keys of librdkafka over ours, for every client.
    pub client: Overrides,
}

/// How the connection is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Whether it is encrypted, and whether one logs in.
    pub protocol: Protocol,
    /// How one logs in.
    pub mechanism: Mechanism,
    /// Who logs in.
    pub username: Option<String>,
    /// With which password.
    pub password: Option<Secret>,
    /// Certificates of the authorities that may vouch for a broker; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, when brokers ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
}

/// Whether a connection is encrypted, and whether one logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither.
    #[default]
    Plaintext,
    /// Encrypted.
    Ssl,
    /// With a login in the clear.
    SaslPlaintext,
    /// Encrypted, with a login.
    SaslSsl,
}

impl Protocol {
    /// Returns librdkafka's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Tells whether one logs in.
    #[must_use]
    pub const fn has_login(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Tells whether the connection is encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// How one logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// Name and password as they are.
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    /// A salted challenge over SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A salted challenge over SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// Returns librdkafka's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Bytes that are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Shows them to who needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
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
}

impl<'a> IntoIterator for &'a Overrides {
    type Item = (&'a String, &'a String);
    type IntoIter = btree_map::Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
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

/// One thing wrong, under the key below `kafka.` that it is wrong with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionFault {
    /// The key, such as `topics.labels`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
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

    /// Lists everything that cannot be, one value alone or several together.
    #[must_use]
    pub fn faults(&self) -> Vec<OptionFault> {
        let mut found = Faults::default();
        found.expect(is_address_list(&self.bootstrap_servers), "bootstrap_servers", || {
            "expected host:port, several separated by commas, such as \"kafka-0:9092,kafka-1:9092\"".into()
        });
        for (key, name) in [("group", &self.group), ("instance", &self.instance)] {
            found.expect(is_name(name), key, || {
                format!("{name:?} is no name of 1 to 200 letters, digits, dots, dashes and underscores")
            });
        }
        self.topics_into(&mut found);
        self.security_into(&mut found);
        self.times_into(&mut found);
        let key_len = self.key.as_ref().map(|key| key.expose().len());
        found.expect(key_len.is_none_or(|len| len >= KEY_LEN_MIN), "hmac_key", || {
            format!("is shorter than {KEY_LEN_MIN} bytes; make one with: openssl rand -hex 32")
        });
        for (key, _) in &self.client {
            if let Some(why) = client::refused(key) {
                found.add(&format!("client.{key}"), why);
            }
        }
        // The file's faults are told with the file's keys; librdkafka sees what is left.
        if found.0.is_empty() {
            for (key, value) in &self.client {
                if let Err(message) = client::try_key(key, value) {
                    found.add(&format!("client.{key}"), message);
                }
            }
        }
        found.0
    }

    fn topics_into(&self, found: &mut Faults) {
        let mut seen = BTreeSet::new();
        for (key, name) in self.topics.all() {
            let key = format!("topics.{key}");
            found.expect(is_topic(name), &key, || {
                format!("{name:?} is no topic: 1 to 249 letters, digits, dots, dashes and underscores")
            });
            found.expect(seen.insert(name), &key, || format!("{name:?} is another topic's name already"));
        }
        if let Some(source) = &self.rekey {
            found.expect(is_topic(source), "rekey.source", || format!("{source:?} is no topic"));
            found.expect(!seen.contains(source.as_str()), "rekey.source", || {
                format!("{source:?} is a topic of fraudd's own; name the foreign one")
            });
        }
    }

    fn security_into(&self, found: &mut Faults) {
        let security = &self.security;
        let has_login = security.protocol.has_login();
        let name = security.protocol.name();
        for (key, is_set) in
            [("security.username", security.username.is_some()), ("security.password", security.password.is_some())]
        {
            found.expect(is_set || !has_login, key, || format!("security.protocol {name} needs one"));
            found.expect(!is_set || has_login, key, || {
                format!("security.protocol {name} does not log in; set sasl_ssl or sasl_plaintext")
            });
        }
        for (key, file) in [
            ("security.ca_file", &security.ca_file),
            ("security.cert_file", &security.cert_file),
            ("security.key_file", &security.key_file),
        ] {
            let Some(path) = file else { continue };
            found.expect(security.protocol.is_encrypted(), key, || {
                format!("security.protocol {name} does not encrypt; set ssl or sasl_ssl")
            });
            if let Err(error) = std::fs::File::open(path) {
                found.add(key, format!("{} cannot be read: {error}", path.display()));
            }
        }
        found.expect(security.cert_file.is_some() == security.key_file.is_some(), "security.cert_file", || {
            "a certificate and its private key (security.key_file) go together".into()
        });
    }

    fn times_into(&self, found: &mut Faults) {
        let times = &self.timeouts;
        let said = |time: Duration| format!("{} ms", time.as_millis());
        found.expect(times.message < times.transaction, "message_timeout", || {
            let (message, transaction) = (said(times.message), said(times.transaction));
            format!("{message} is not below transaction_timeout, {transaction}: a record could outlive its transaction")
        });
        found.expect(times.drain < times.session, "drain_timeout", || {
            let (drain, session) = (said(times.drain), said(times.session));
            format!("{drain} is not below session_timeout, {session}: others would take over while this one finishes")
        });
        found.expect(times.session <= times.poll_interval_max, "session_timeout", || {
            format!("{} is above max_poll_interval, {}", said(times.session), said(times.poll_interval_max))
        });
        let (least, most) = (Duration::from_secs(6), Duration::from_mins(30));
        found.expect((least..=most).contains(&times.session), "session_timeout", || {
            "expected 6s to 30m, which is what brokers accept unless set otherwise".into()
        });
        found.expect(times.transaction <= Duration::from_mins(15), "transaction_timeout", || {
            "expected at most 15m, which is what brokers accept unless set otherwise".into()
        });
        found.expect(times.transaction <= times.poll_interval_max, "transaction_timeout", || {
            format!("{} is above max_poll_interval, {}", said(times.transaction), said(times.poll_interval_max))
        });
        found.expect(self.batch.linger_min <= self.batch.linger_max, "linger_min", || "is above linger_max".into());
    }
}

#[derive(Default)]
struct Faults(Vec<OptionFault>);

impl Faults {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(OptionFault { key: key.into(), message: message.into() });
    }

    fn expect(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.add(key, message());
        }
    }
}

fn is_address_list(text: &str) -> bool {
    text.split(',').all(|address| {
        address.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    })
}

fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_topic(text: &str) -> bool {
    (1..=249).contains(&text.len()) && text.bytes().all(is_plain) && !matches!(text, "." | "..")
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
pub(crate) mod tests;

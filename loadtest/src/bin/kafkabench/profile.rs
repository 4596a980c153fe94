//! What a scorer's outputs look like: the bytes the copy loop sends in their stead.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use rdkafka::message::{Header, OwnedHeaders};
use serde::Deserialize;

use super::client::id_range;

/// The outputs of one scorer, as `read` and the benchmark found them.
#[derive(Debug, Deserialize)]
pub(crate) struct Profile {
    /// One decision.
    pub(crate) scores: Template,
    /// One decision that is an alert.
    pub(crate) alerts: Template,
    /// One feature vector, when they are published.
    pub(crate) features: Option<Template>,
    /// Alerts among the decisions, 0..=1.
    pub(crate) alert_share: f64,
    /// Bytes of the state record per transaction in it.
    pub(crate) state_bytes_per_row: f64,
    /// The text that travels beside an offset.
    pub(crate) metadata: String,
}

/// One output record.
#[derive(Debug, Deserialize)]
pub(crate) struct Template {
    value: String,
    headers: Vec<(String, String)>,
}

/// A template ready to send: all but the transaction's id stays.
pub(crate) struct Mould {
    before: Vec<u8>,
    after: Vec<u8>,
    headers: OwnedHeaders,
}

impl Profile {
    /// Reads a profile.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        serde_json::from_reader(file).with_context(|| format!("reading {}", path.display()))
    }
}

impl Template {
    /// Splits the value around its id.
    pub(crate) fn mould(&self) -> anyhow::Result<Mould> {
        let value = self.value.as_bytes();
        let range = id_range(value).context("a template without a transaction_id")?;
        let headers =
            self.headers.iter().fold(OwnedHeaders::new_with_capacity(self.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value.as_bytes()) })
            });
        Ok(Mould { before: value[..range.start].to_vec(), after: value[range.end..].to_vec(), headers })
    }
}

impl Mould {
    /// Writes the value for `id` over `into`.
    pub(crate) fn fill(&self, id: &[u8], into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&self.before);
        into.extend_from_slice(id);
        into.extend_from_slice(&self.after);
    }

    /// Returns the headers, a copy for one record.
    pub(crate) fn headers(&self) -> OwnedHeaders {
        self.headers.clone()
    }
}

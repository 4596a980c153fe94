//! What the service says of itself, asked at its own doors: the record of healing and its health. The demonstration
//! knows nothing that an operator could not know.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::domain::Timestamp;

/// The longest wait for a door.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records of one page.
const PAGE_LEN: usize = 200;

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) kind: String,
    pub(super) body: Value,
}

/// Reads the doors of the service.
pub(super) struct Watcher {
    client: reqwest::Client,
    base: String,
    after: u64,
}

impl Watcher {
    pub(super) fn new(base: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { client, base: base.to_owned(), after: 0 })
    }

    /// Reads the records since the last time.
    ///
    /// # Errors
    /// A service that does not answer.
    pub(super) async fn records(&mut self) -> anyhow::Result<Vec<Line>> {
        let mut lines = Vec::new();
        loop {
            let page = self.get(&format!("/v1/audit?after={}&limit={PAGE_LEN}", self.after)).await?;
            let records = page["records"].as_array().context("a page of the record without records")?;
            for record in records {
                self.after = record["seq"].as_u64().unwrap_or(self.after);
                let at = record["at"].as_str().and_then(Timestamp::parse).context("a record without its time")?;
                let kind = record["kind"].as_str().unwrap_or_default().to_owned();
                lines.push(Line { at, kind, body: record["body"].clone() });
            }
            if records.len() < PAGE_LEN {
                return Ok(lines);
            }
        }
    }

    /// Reads how healing stands.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub(super) async fn healing(&self) -> anyhow::Result<Value> {
        Ok(self.get("/v1/health").await?["healing"].take())
    }

    /// Promotes a bundle as a person does; false while it is refused.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub(super) async fn promote(&self, name: &str, version: &str) -> anyhow::Result<Result<(), String>> {
        let url = format!("{}/v1/models/{name}/versions/{version}/promote", self.base);
        let body = json!({"reason": "the demonstration's bad release, let in by hand"}).to_string();
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        let answer = request.send().await?;
        let is_done = answer.status().is_success();
        let text = answer.text().await?;
        Ok(if is_done { Ok(()) } else { Err(text) })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.get(&url).send().await.with_context(|| format!("tried to ask {path}"))?;
        let (status, body) = (answer.status(), answer.bytes().await?);
        if !status.is_success() {
            bail!("{path} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Tells whether nothing is wrong, and nothing is under way.
pub(super) fn is_healthy(healing: &Value) -> bool {
    let acting = |finding: &Value| finding["verdict"] == "acting";
    let has_alarm = healing["alarms"].as_array().is_some_and(|alarms| alarms.iter().any(acting));
    healing["state"] == "healthy" && !has_alarm
}

/// Names the model that answers, as `NAME/VERSION`.
pub(super) fn active(healing: &Value) -> Option<String> {
    let model = &healing["fleet"]["active"]["model"];
    Some(format!("{}/{}", model["name"].as_str()?, model["version"].as_str()?))
}

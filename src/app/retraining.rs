//! Retraining put together: the local command with its paths, and the webhook.

use std::sync::Arc;

use anyhow::Context;

use crate::config::Settings;
use crate::edge::outbound::webhook::{Event, Webhook};
use crate::healing::retraining::Request;
use crate::runtime::retraining::{Door, Doors, Paths, Retraining};

/// The type of the event that asks for a new model.
pub const REQUESTED: &str = "fraudd.retraining.requested.v1";

/// Retraining and the webhook, running.
pub(super) struct Outbound {
    pub(super) retraining: Arc<Retraining>,
    pub(super) webhook: Option<Webhook>,
}

impl Outbound {
    /// Starts both as the settings say. `stream` publishes requests, when there is a stream.
    pub(super) fn start(settings: &Settings, stream: Option<Door>) -> anyhow::Result<Self> {
        let webhook = settings.webhook.clone().map(Webhook::start).transpose().context("tried to start the webhook")?;
        let by_webhook = webhook.clone().map(|webhook| -> Door {
            Box::new(move |request| webhook.send(&event(request)).map_err(|refused| refused.to_string()))
        });
        let doors = Doors { webhook: by_webhook, stream };
        let retraining = Retraining::start(settings.retraining.clone(), doors, paths(settings)?)?;
        Ok(Self { retraining: Arc::new(retraining), webhook })
    }

    /// Ends a run that is under way, and delivers what waits for the webhook once more. Blocks.
    pub(super) fn close(&self) {
        self.retraining.close();
        if let Some(webhook) = &self.webhook {
            webhook.close();
        }
    }
}

/// Makes the event that asks for a new model.
fn event(request: &Request) -> Event {
    Event {
        id: request.id.clone(),
        kind: REQUESTED,
        subject: request.replaces.to_string(),
        time: request.asked_at,
        data: serde_json::to_value(request).unwrap_or_default(),
    }
}

fn paths(settings: &Settings) -> anyhow::Result<Paths> {
    let library = settings.models.runtime_library.iter();
    let store = settings.state.as_ref().map(|state| state.directory.clone());
    Ok(Paths {
        binary: std::env::current_exe().context("tried to find the running executable")?,
        store: absolute(store.unwrap_or_default())?,
        models: absolute(settings.models.directory.clone())?,
        environment: library.map(|path| ("ORT_DYLIB_PATH".to_owned(), path.into())).collect(),
    })
}

fn absolute(path: std::path::PathBuf) -> anyhow::Result<std::path::PathBuf> {
    if path.as_os_str().is_empty() {
        return Ok(path);
    }
    std::path::absolute(&path).with_context(|| format!("tried to find {}", path.display()))
}

//! What goes to topics beside decisions: the record of healing and requests for a new model.

use std::sync::Arc;

use anyhow::Context;

use super::retraining::REQUESTED;
use crate::config::Settings;
use crate::edge::kafka::client;
use crate::edge::kafka::publisher::{Options, Place, Publisher, Running, Sources, Spool, sender};
use crate::runtime::audit::Audit;
use crate::runtime::retraining::Door;

/// Makes the place where requests wait for the broker; `None` without a stream that takes them.
pub(super) fn spool(settings: &Settings) -> Option<Arc<Spool>> {
    let (stream, state) = (settings.kafka.as_ref()?, settings.state.as_ref()?);
    let is_wanted = stream.retrain_enabled && settings.retraining.ask.is_enabled;
    is_wanted.then(|| Arc::new(Spool::new(state.directory.join("publish"), REQUESTED)))
}

/// Makes the door that retraining hands its requests to.
pub(super) fn door(spool: Option<&Arc<Spool>>) -> Option<Door> {
    let spool = Arc::clone(spool?);
    Some(Box::new(move |request| spool.take(request)))
}

/// Starts publishing what the settings name; `None` when that is nothing.
pub(super) fn start(
    settings: &Settings,
    audit: Option<Audit>,
    spool: Option<Arc<Spool>>,
) -> anyhow::Result<Option<Running>> {
    let (Some(stream), Some(state)) = (&settings.kafka, &settings.state) else { return Ok(None) };
    let audit = audit.filter(|_| stream.audit_enabled);
    if audit.is_none() && spool.is_none() {
        return Ok(None);
    }
    let options = Options {
        audit: audit.is_some().then(|| stream.topics.audit.clone()),
        retrain: spool.is_some().then(|| stream.topics.retrain.clone()),
        source: format!("fraudd/{}", stream.instance),
        secret: settings.webhook.as_ref().and_then(|webhook| webhook.secret.clone()),
    };
    let place = Place::open(state.directory.join("published.json"))?;
    let spool = spool.unwrap_or_else(|| Arc::new(Spool::new(state.directory.join("publish"), REQUESTED)));
    let send = sender(&client::publisher_producer(stream), stream.timeouts.message * 2);
    let send = send.context("tried to make the producer of the record")?;
    let publisher = Publisher::new(options, Sources { audit, place, spool }, send);
    Running::start(publisher).context("tried to start publishing").map(Some)
}

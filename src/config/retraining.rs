//! The `[retraining]` section: when a new model is asked for, who trains it, and whom to tell.

use super::reader::Reader;
use super::{bounded, positive};
use crate::domain::Span;
use crate::edge::outbound::webhook;
use crate::healing::retraining as ask;
use crate::runtime::retraining::{Options, command};

/// How long the command may take to end when it is told to.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads the section; what goes wrong is a fault of the reader.
pub(super) fn read(reader: &mut Reader) -> Options {
    let ask = ask::Options {
        is_enabled: reader.get("retraining.enabled"),
        persistence: reader.get("retraining.persistence"),
        backoff: positive(reader, "retraining.backoff"),
        backoff_max: positive(reader, "retraining.backoff_max"),
        per_day_max: bounded(reader, "retraining.cap_per_day", 0, 48),
        maturity: reader.get("retraining.maturity"),
        history: reader.get("retraining.history"),
        frauds_min: bounded(reader, "retraining.frauds_min", 1, 1_000_000).into(),
        patience: positive(reader, "retraining.patience"),
        declined: reader.get("retraining.declined"),
    };
    let deadline = positive(reader, "retraining.deadline").to_std();
    let command = reader.get::<String>("retraining.command");
    let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if ask.is_enabled && !command.is_empty() {
        beside(reader, ask.maturity);
    }
    Options {
        ask,
        command: (!command.is_empty()).then_some(command::Options { command, deadline, grace: GRACE }),
        directory: reader.path("state.directory").map(|state| state.join("retraining")),
    }
}

/// Reads where events go.
pub(super) fn webhook(reader: &mut Reader) -> Option<webhook::Options> {
    let timeout = positive(reader, "retraining.webhook_timeout").to_std();
    let secret = reader.secret("retraining.webhook_secret");
    let url = reader.optional("retraining.webhook_url")?;
    if let Some(fault) = webhook::url_fault(&url) {
        reader.fault("retraining.webhook_url", fault);
    }
    let instance = reader.optional("kafka.instance");
    let source = instance.map_or_else(|| "fraudd".to_owned(), |instance| format!("fraudd/{instance}"));
    Some(webhook::Options { url, secret, timeout, source })
}

/// Checks what the local command needs of other sections.
fn beside(reader: &mut Reader, maturity: Span) {
    let has_store = reader.path("state.directory").is_some();
    reader.expect(has_store, "state.directory", "retraining.command learns from it; set for example \"state\"");
    let kept: Span = reader.get("ledger.age_max");
    let message = format!(
        "decisions are gone before their labels are mature (retraining.maturity, {maturity}): nothing is left to learn \
         from; set for example \"97d\""
    );
    reader.expect(kept > maturity, "ledger.age_max", &message);
}

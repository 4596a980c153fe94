//! Settings: defaults, then files, then the environment; checked whole.
//!
//! Each part's options live beside the part; this is the only place that gathers them. What a key
//! means, its unit, range and default stand in `config/default.toml`, which is compiled in.

mod breaker;
mod detectors;
mod fleet;
mod healing;
mod kafka;
mod reader;
mod retraining;
mod size;
mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::domain::{Currency, RateTable, Span, TextField};
use crate::edge::http::inference as protocol;
use crate::edge::http::service::Limits;
use crate::edge::http::{Keys, server};
use crate::edge::kafka::options as stream;
use crate::edge::outbound::{bundles, webhook};
use crate::edge::wire::UnknownFields;
use crate::healing::{drift, host, quality};
use crate::runtime::fleet::Settings as FleetSettings;
use crate::runtime::inference::InferenceOptions;
use crate::runtime::{decisions, entities, explainer, reload, resident, store};
use crate::telemetry::{logs, otlp};

pub use healing::Healing;
use reader::Reader;
pub use reader::{Effective, Fault};
use size::Size;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Worker threads of the HTTP side; `None` means one per core.
    pub threads: Option<NonZeroUsize>,
    /// How connections are treated.
    pub server: server::Options,
    /// Bounds of one request.
    pub limits: Limits,
    /// How much of a deadline the model may take.
    pub model_deadline: Span,
    /// API keys.
    pub keys: Keys,
    /// Whether everybody is served without keys.
    pub allow_insecure: bool,
    /// What to do with unknown fields.
    pub unknown_fields: UnknownFields,
    /// The fields one of which a transaction must have.
    pub partition_key: Vec<TextField>,
    /// How far ahead of receipt an event time may lie.
    pub ahead_max: Span,
    /// Which models to load.
    pub models: resident::Options,
    /// How bundles are watched, tried and trusted.
    pub fleet: FleetSettings,
    /// The object store that bundles come from, when there is one.
    pub source: Option<bundles::Options>,
    /// How long an instance without its model stays unready.
    pub model_grace: Span,
    /// How many ends in a row, each soon after its activation, ban a model at the next start; 0: none.
    pub model_crashes_max: u32,
    /// How a model is run.
    pub inference: InferenceOptions,
    /// From when on slowness is the host's.
    pub host: host::Limits,
    /// How raw calls are served, if at all.
    pub protocol: protocol::Options,
    /// How much entity state is kept.
    pub entities: entities::Options,
    /// How many decisions are kept.
    pub ledger: decisions::Options,
    /// Where state is kept on disk, when anywhere.
    pub state: Option<store::Options>,
    /// When a new model is asked for, and who trains it.
    pub retraining: crate::runtime::retraining::Options,
    /// Where requests and pages go, when anywhere.
    pub webhook: Option<webhook::Options>,
    /// How the stream is taken part in, when at all.
    pub kafka: Option<stream::Options>,
    /// How the service heals itself, when it does.
    pub healing: Option<healing::Healing>,
    /// How contributions are paid for.
    pub explain: explainer::Options,
    /// Rules, lists and policy files.
    pub files: reload::Paths,
    /// Foreign formats.
    pub mapping: Option<PathBuf>,
    /// How often files are looked at.
    pub reload_every: Span,
    /// Exchange rates.
    pub rates: RateTable,
    /// How inputs and scores are watched.
    pub drift: drift::Options,
    /// How labels are watched.
    pub labels: quality::Options,
    /// How to log.
    pub log: logs::Options,
    /// Where spans go, when anywhere.
    pub otlp: Option<otlp::Options>,
}

impl Settings {
    /// Loads the settings of this process.
    ///
    /// # Errors
    /// Every fault of every layer.
    pub fn load(files: &[PathBuf], environment: Vec<(String, String)>) -> Result<(Self, Vec<Effective>), Vec<Fault>> {
        let mut reader = Reader::open(files, environment)?;
        let settings = Self::read(&mut reader);
        let effective = reader.effective();
        let faults = reader.into_faults();
        if faults.is_empty() { Ok((settings, effective)) } else { Err(faults) }
    }

    fn read(reader: &mut Reader) -> Self {
        let retraining = retraining::read(reader);
        Self {
            listen: reader.get("server.listen"),
            threads: NonZeroUsize::new(reader.get("server.threads")),
            server: server(reader),
            limits: limits(reader),
            model_deadline: positive(reader, "limits.model_deadline"),
            keys: keys(reader),
            allow_insecure: reader.get("auth.allow_insecure"),
            unknown_fields: reader.get("contract.unknown_fields"),
            partition_key: partition_key(reader),
            ahead_max: reader.get("contract.ahead_max"),
            models: models(reader),
            fleet: fleet::read(reader),
            source: source::read(reader),
            model_grace: reader.get("models.grace"),
            model_crashes_max: reader.get("models.crashes_max"),
            inference: inference(reader),
            host: breaker::host(reader),
            protocol: protocol(reader),
            entities: entities(reader),
            ledger: decisions::Options {
                age_max: positive(reader, "ledger.age_max"),
                bytes_max: reader.get::<Size>("ledger.memory_max").bytes(),
            },
            state: state(reader, retraining.is_local()),
            retraining,
            webhook: retraining::webhook(reader),
            kafka: kafka::read(reader),
            healing: healing::read(reader),
            explain: explainer::Options { cpu_ms_per_second: bounded(reader, "explain.cpu_ms_per_second", 0, 1_000) },
            files: reload::Paths {
                rules: reader.path("files.rules"),
                lists: reader.path("files.lists"),
                policy: reader.path("files.policy"),
            },
            mapping: reader.path("files.mapping"),
            reload_every: positive(reader, "files.reload_every"),
            rates: rates(reader),
            drift: detectors::drift(reader),
            labels: detectors::labels(reader),
            log: log(reader),
            otlp: otlp(reader),
        }
    }
}

fn positive(reader: &mut Reader, key: &str) -> Span {
    let span: Span = reader.get(key);
    reader.expect(span > Span::ZERO, key, "expected a duration above 0, such as \"10ms\"");
    span
}

fn bounded(reader: &mut Reader, key: &str, least: u32, most: u32) -> u32 {
    let number: u32 = reader.get(key);
    reader.expect((least..=most).contains(&number), key, &format!("expected {least} to {most}"));
    number
}

fn count(reader: &mut Reader, key: &str, most: u32) -> NonZeroUsize {
    let number = bounded(reader, key, 1, most);
    usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn server(reader: &mut Reader) -> server::Options {
    server::Options {
        connections_max: count(reader, "server.connections_max", 1_000_000).get(),
        header_timeout: positive(reader, "server.header_timeout").to_std(),
        drain_pause: reader.get::<Span>("server.drain_pause").to_std(),
        drain_grace: positive(reader, "server.drain_grace").to_std(),
    }
}

fn limits(reader: &mut Reader) -> Limits {
    Limits {
        body_len_max: reader.get::<Size>("limits.body_max").bytes(),
        batch_body_len_max: reader.get::<Size>("limits.batch_body_max").bytes(),
        body_timeout: positive(reader, "limits.body_timeout").to_std(),
        batch_len_max: count(reader, "limits.batch_len_max", 1_000).get(),
        deadline: positive(reader, "limits.deadline").to_std(),
        concurrency_max: count(reader, "limits.concurrency_max", 1_000_000).get(),
        rules_only_above_percent: count(reader, "limits.rules_only_above_percent", 100).get(),
        ..Limits::default()
    }
}

fn keys(reader: &mut Reader) -> Keys {
    let inline: String = reader.get("auth.keys");
    let mut lines = inline.replace("\\n", "\n");
    if let Some(path) = reader.path("auth.keys_file") {
        match std::fs::read_to_string(&path) {
            Ok(text) => lines = format!("{lines}\n{text}"),
            Err(error) => reader.fault("auth.keys_file", format!("{} cannot be read: {error}", path.display())),
        }
    }
    Keys::parse(lines.trim_start_matches('\n')).unwrap_or_else(|faults| {
        for fault in &faults {
            reader.fault("auth.keys", fault.to_string());
        }
        Keys::default()
    })
}

fn partition_key(reader: &mut Reader) -> Vec<TextField> {
    let paths: Vec<String> = reader.get("contract.partition_key");
    let mut fields = Vec::new();
    for path in &paths {
        match TextField::ALL.into_iter().find(|(_, known, _)| known == path) {
            Some((field, _, _)) => fields.push(field),
            None => reader.fault("contract.partition_key", format!("{path:?} is no text field of a transaction")),
        }
    }
    reader.expect(!paths.is_empty(), "contract.partition_key", "expected at least one field, such as \"customer_id\"");
    fields
}

fn models(reader: &mut Reader) -> resident::Options {
    resident::Options {
        enabled: reader.get("models.enabled"),
        directory: PathBuf::from(reader.get::<String>("models.directory")),
        active: reader.get("models.active"),
        standby: reader.get("models.standby"),
        runtime_library: reader.path("models.runtime_library"),
        staged: reader.path("state.directory").map(|directory| directory.join("models")),
    }
}

fn inference(reader: &mut Reader) -> InferenceOptions {
    InferenceOptions {
        threads: count(reader, "inference.threads", 256),
        queue_len_max: count(reader, "inference.queue_len_max", 1_000_000),
        batch_len_max: count(reader, "inference.batch_len_max", 4_096),
        raw_queue_len_max: count(reader, "inference.protocol_queue_len_max", 1_000_000),
        hang_after: positive(reader, "inference.hang_after").to_std(),
        breaker: breaker::read(reader),
        ..InferenceOptions::default()
    }
}

fn protocol(reader: &mut Reader) -> protocol::Options {
    protocol::Options {
        enabled: reader.get("inference.protocol_enabled"),
        body_len_max: reader.get::<Size>("inference.protocol_body_max").bytes(),
        rows_max: count(reader, "inference.protocol_rows_max", 1_000_000).get(),
        calls_max: count(reader, "inference.protocol_calls_max", 100_000).get(),
        deadline: positive(reader, "inference.protocol_deadline").to_std(),
    }
}

fn entities(reader: &mut Reader) -> entities::Options {
    let shards = count(reader, "entities.shards", 256).get();
    reader.expect(shards.is_power_of_two(), "entities.shards", "expected a power of two, 1 to 256");
    let events_per_entity_max = count(reader, "entities.events_per_entity_max", 1_000_000).get();
    reader.expect(events_per_entity_max >= 16, "entities.events_per_entity_max", "expected at least 16");
    let bytes_max = reader.get::<Size>("entities.memory_max").bytes();
    entities::Options {
        shards,
        events_per_entity_max,
        lateness_max: reader.get("entities.lateness_max"),
        labels_pending_max: count(reader, "entities.labels_pending_max", 100_000_000).get(),
        bytes_max: (bytes_max > 0).then_some(bytes_max),
    }
}

fn state(reader: &mut Reader, learns_from_it: bool) -> Option<store::Options> {
    let bytes = |size: Size| u64::try_from(size.bytes()).unwrap_or(u64::MAX);
    let (bytes_max, segment_len_max) = (bytes(reader.get("state.bytes_max")), bytes(reader.get("state.segment_size")));
    let (durability, on_failure) = (reader.get("state.durability"), reader.get("state.on_failure"));
    let sync_interval = positive(reader, "state.sync_interval").to_std();
    let is_in_range = (64 << 10..=1 << 30).contains(&segment_len_max);
    reader.expect(is_in_range, "state.segment_size", "expected 64KiB to 1GiB");
    let age_max: Span = reader.get("ledger.age_max");
    // Labels are kept as long as the decisions they are about.
    let events_age_min = if learns_from_it { age_max } else { Span::ZERO };
    let directory = reader.path("state.directory")?;
    Some(store::Options {
        directory,
        durability,
        on_failure,
        bytes_max,
        age_max,
        events_age_min,
        segment_len_max,
        sync_interval,
    })
}

fn rates(reader: &mut Reader) -> RateTable {
    let base: String = reader.get("rates.base");
    let base = Currency::parse(&base).unwrap_or_else(|| {
        reader.fault("rates.base", "expected an ISO 4217 code in capitals, such as \"EUR\"");
        Currency::EUR
    });
    let mut rates = BTreeMap::new();
    for (code, rate) in reader.get::<BTreeMap<String, f64>>("rates.rates") {
        let key = format!("rates.rates.{code}");
        // Environment variables arrive in lower case.
        let currency = Currency::parse(&code.to_ascii_uppercase());
        reader.expect(currency.is_some(), &key, "no ISO 4217 currency");
        reader.expect(rate.is_finite() && rate > 0.0, &key, "expected a finite number above 0");
        rates.extend(currency.map(|currency| (currency, rate)));
    }
    RateTable { version: reader.get("rates.version"), base, rates }
}

fn log(reader: &mut Reader) -> logs::Options {
    let options =
        logs::Options { format: reader.get("telemetry.log.format"), filter: reader.get("telemetry.log.filter") };
    if let Err(error) = logs::parse_filter(&options.filter) {
        reader.fault("telemetry.log.filter", error.to_string());
    }
    options
}

fn otlp(reader: &mut Reader) -> Option<otlp::Options> {
    let sample_ratio: f64 = reader.get("telemetry.otlp.sample_ratio");
    reader.expect((0.0..=1.0).contains(&sample_ratio), "telemetry.otlp.sample_ratio", "expected 0 to 1");
    let timeout = positive(reader, "telemetry.otlp.timeout").to_std();
    let interval = positive(reader, "telemetry.otlp.interval").to_std();
    let endpoint = reader.optional("telemetry.otlp.endpoint")?;
    let is_url = endpoint.starts_with("http://") || endpoint.starts_with("https://");
    reader.expect(is_url, "telemetry.otlp.endpoint", "expected a URL, such as \"http://127.0.0.1:4318/v1/traces\"");
    Some(otlp::Options { endpoint, sample_ratio, timeout, interval })
}

#[cfg(test)]
mod tests;

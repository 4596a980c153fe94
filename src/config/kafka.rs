//! The `[kafka]` section: key by key into the options of the Kafka door.
//!
//! An empty `kafka.bootstrap_servers` means no Kafka; then the rest is read for its types only.

use std::path::Path;

use super::reader::Reader;
use super::size::Size;
use super::{bounded, count, positive};
use crate::domain::Span;
use crate::edge::kafka::options::{Batch, DeadOptions, Options, Overrides, Secret, Security, Timeouts, Topics};

/// Reads the section; what goes wrong is a fault of the reader.
pub(super) fn read(reader: &mut Reader) -> Option<Options> {
    let servers = reader.optional("kafka.bootstrap_servers");
    let options = Options {
        bootstrap_servers: servers.clone().unwrap_or_default(),
        group: reader.get("kafka.group"),
        instance: reader.optional("kafka.instance").or_else(host).unwrap_or_default(),
        lanes: count(reader, "kafka.lanes", crate::edge::kafka::options::LANES_MAX),
        security: security(reader),
        topics: topics(reader),
        partitions: Some(bounded(reader, "kafka.partitions", 0, 10_000)).filter(|partitions| *partitions > 0),
        partitioner: reader.get("kafka.partitioner"),
        unknown_fields: reader.get("kafka.unknown_fields"),
        model_deadline: positive(reader, "kafka.model_deadline"),
        batch: batch(reader),
        timeouts: timeouts(reader),
        start: reader.get("kafka.start"),
        on_lost_state: reader.get("kafka.on_lost_state"),
        watermark_bound: reader.get("kafka.watermark_bound"),
        lateness: reader.get("kafka.lateness"),
        ahead_max: reader.get("contract.ahead_max"),
        rest_ack: reader.get("kafka.rest_ack"),
        key: secret(reader, "kafka.hmac_key", "kafka.hmac_key_file"),
        features_enabled: reader.get("kafka.features"),
        audit_enabled: reader.get("kafka.audit"),
        retrain_enabled: reader.get("kafka.retrain"),
        dead: dead(reader),
        mapping: reader.optional("kafka.mapping"),
        rekey: rekey(reader),
        client: Overrides::new(reader.table("kafka.client")),
    };
    servers?;
    for fault in options.faults() {
        reader.fault(&format!("kafka.{}", fault.key), fault.message);
    }
    beside(reader, &options);
    Some(options)
}

/// Checks what must hold between this section and others.
fn beside(reader: &mut Reader, options: &Options) {
    let has_store = reader.path("state.directory").is_some();
    reader.expect(
        has_store,
        "state.directory",
        "Kafka needs one: what was published is kept there; set for example \"state\"",
    );
    let lateness_max: Span = reader.get("entities.lateness_max");
    let fits = options.lateness <= lateness_max;
    let message = format!("is above entities.lateness_max, {lateness_max}: windows of late events would not be whole");
    reader.expect(fits, "kafka.lateness", &message);
    let has_mapping = options.mapping.is_none() || reader.path("files.mapping").is_some();
    reader.expect(has_mapping, "kafka.mapping", "names a source, and files.mapping names no file to find it in");
}

/// Returns the host's name as the kernel knows it: a pod's own.
fn host() -> Option<String> {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok())?;
    Some(told.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Reads a secret from its key or its file; both at once is a fault.
fn secret(reader: &mut Reader, key: &str, file_key: &str) -> Option<Secret> {
    let inline = reader.secret(key);
    let Some(path) = reader.path(file_key) else { return inline.map(Secret::new) };
    reader.expect(inline.is_none(), key, &format!("is set, and so is {file_key}: which one?"));
    match text_of(&path) {
        Ok(text) => Some(Secret::new(text)),
        Err(message) => {
            reader.fault(file_key, message);
            None
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let text = text.trim_end();
    if text.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(text.to_owned()) }
}

fn security(reader: &mut Reader) -> Security {
    Security {
        protocol: reader.get("kafka.security.protocol"),
        mechanism: reader.get("kafka.security.mechanism"),
        username: reader.secret("kafka.security.username"),
        password: secret(reader, "kafka.security.password", "kafka.security.password_file"),
        ca_file: reader.path("kafka.security.ca_file"),
        cert_file: reader.path("kafka.security.cert_file"),
        key_file: reader.path("kafka.security.key_file"),
    }
}

fn topics(reader: &mut Reader) -> Topics {
    let mut name = |setting: &str| reader.get(&format!("kafka.topics.{setting}"));
    Topics {
        transactions: name("transactions"),
        labels: name("labels"),
        scores: name("scores"),
        alerts: name("alerts"),
        features: name("features"),
        dead: name("dead"),
        late: name("late"),
        state: name("state"),
        control: name("control"),
        audit: name("audit"),
        retrain: name("retrain"),
    }
}

fn batch(reader: &mut Reader) -> Batch {
    let bytes_max = reader.get::<Size>("kafka.batch_bytes_max").bytes();
    let is_in_range = (64 << 10..=64 << 20).contains(&bytes_max);
    reader.expect(is_in_range, "kafka.batch_bytes_max", "expected 64KiB to 64MiB");
    Batch {
        len_max: count(reader, "kafka.batch_max", 10_000),
        bytes_max,
        linger_min: positive(reader, "kafka.linger_min").to_std(),
        linger_max: positive(reader, "kafka.linger_max").to_std(),
    }
}

fn timeouts(reader: &mut Reader) -> Timeouts {
    let mut time = |key: &str| positive(reader, key).to_std();
    Timeouts {
        session: time("kafka.session_timeout"),
        poll_interval_max: time("kafka.max_poll_interval"),
        transaction: time("kafka.transaction_timeout"),
        message: time("kafka.message_timeout"),
        drain: time("kafka.drain_timeout"),
    }
}

fn dead(reader: &mut Reader) -> DeadOptions {
    let value_len_max = reader.get::<Size>("kafka.dead.value_max").bytes();
    let is_in_range = (1 << 10..=900 << 10).contains(&value_len_max);
    reader.expect(is_in_range, "kafka.dead.value_max", "expected 1KiB to 900KiB");
    let share_max: f64 = reader.get("kafka.dead.share_max");
    reader.expect(share_max > 0.0 && share_max <= 1.0, "kafka.dead.share_max", "expected above 0, to 1");
    let len_min = bounded(reader, "kafka.dead.count_min", 1, 1_000_000);
    DeadOptions { value_len_max, share_max, window: positive(reader, "kafka.dead.window").to_std(), len_min }
}

fn rekey(reader: &mut Reader) -> Option<String> {
    let (enabled, source): (bool, _) = (reader.get("kafka.rekey.enabled"), reader.optional("kafka.rekey.source"));
    let is_named = !enabled || source.is_some();
    reader.expect(is_named, "kafka.rekey.source", "is empty, and kafka.rekey.enabled is on; name the foreign topic");
    source.filter(|_| enabled)
}

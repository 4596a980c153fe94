//! Configurations of librdkafka's clients, one for each use, and the keys nobody may change.
//!
//! Every key that differs from librdkafka's default says why. A user's own keys (`[kafka.client]`)
//! come last, but for those that exactly-once rests on. Nothing here opens a connection.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::options::{Options, Security};
use crate::runtime::stream::Partitioner;

/// How long a request may wait for its answer.
const SOCKET_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// Bytes of records in one request of a producer: brokers with their default bound of a megabyte take it uncompressed.
pub const REQUEST_LEN_MAX: usize = 1_000_000;

/// Configures the consumer of a lane: a static member of the group that reads committed records only.
#[must_use]
pub fn consumer(options: &Options, lane: usize) -> ClientConfig {
    let mut config = fetcher(options, &options.member(lane));
    config
        .set("group.id", &options.group)
        // A restart within the session timeout gets its partitions back without a rebalance.
        .set("group.instance.id", options.member(lane))
        // The newer protocol stalled for minutes in librdkafka 2.12.
        .set("group.protocol", "classic")
        // A member that joins takes some partitions and leaves the others running.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(options.timeouts.session))
        // Ten heartbeats a session: one that is lost decides nothing.
        .set("heartbeat.interval.ms", millis(options.timeouts.session / 10))
        .set("max.poll.interval.ms", millis(options.timeouts.poll_interval_max))
        // How far behind a lane is, is told by the client's statistics.
        .set("statistics.interval.ms", "1000")
        // Offsets exist before a partition is read; without them an error is better than a jump.
        .set("auto.offset.reset", "error");
    finish(config, options)
}

/// Configures the transactional producer of a lane.
#[must_use]
pub fn producer(options: &Options, lane: usize) -> ClientConfig {
    let mut config = sender(options, &options.member(lane));
    config
        // Stable: a restart fences its own past and ends its open transaction at once.
        .set("transactional.id", options.transactional_id(lane))
        .set("transaction.timeout.ms", millis(options.timeouts.transaction))
        // librdkafka insists: a request may not outlive the transaction it is of.
        .set("socket.timeout.ms", millis(options.timeouts.transaction.min(SOCKET_TIMEOUT)))
        // Must end before its transaction does.
        .set("message.timeout.ms", millis(options.timeouts.message))
        // A batch is queued within this time, and its flush sends it at once: the records of a partition go in one
        // request. A second one would have to wait for the answer to the first, and the client would not sleep meanwhile.
        .set("linger.ms", "20")
        // Records that were taken are counted by the client itself: no other thread has to wake for them.
        .set("delivery.report.only.error", "true");
    finish(config, options)
}

/// Configures the consumer of the re-key lane: a static member of a group of its own.
#[must_use]
pub fn rekey_consumer(options: &Options) -> ClientConfig {
    let mut config = consumer(options, 0);
    config.set("group.id", options.rekey_group()).set("group.instance.id", options.rekey_member());
    name(&mut config, options, &options.rekey_member());
    config
}

/// Configures the transactional producer of the re-key lane.
#[must_use]
pub fn rekey_producer(options: &Options) -> ClientConfig {
    let mut config = producer(options, 0);
    config.set("transactional.id", options.rekey_transactional_id());
    name(&mut config, options, &options.rekey_member());
    config
}

/// Names a client in the broker's eyes, unless the user did.
fn name(config: &mut ClientConfig, options: &Options, name: &str) {
    if !options.client.iter().any(|(key, _)| key == "client.id") {
        config.set("client.id", format!("fraudd-{name}"));
    }
}

/// Configures the idempotent producer that appends decisions of REST to the input.
#[must_use]
pub fn outbox_producer(options: &Options) -> ClientConfig {
    let mut config = sender(options, &format!("{}-outbox", options.instance));
    config
        // Waits a moment for company: nobody waits for it unless rest_ack is "broker".
        .set("linger.ms", if matches!(options.rest_ack, super::options::RestAck::Broker) { "0" } else { "5" })
        // Never given up: what waits is bounded by the outbox, and a broker that is back gets it in order.
        .set("message.timeout.ms", "0");
    finish(config, options)
}

/// Configures the idempotent producer of the record and of requests for a new model.
#[must_use]
pub fn publisher_producer(options: &Options) -> ClientConfig {
    let mut config = sender(options, &format!("{}-publisher", options.instance));
    config
        // A batch is whole when it is sent.
        .set("linger.ms", "5")
        // Then it is sent again, from files: nothing waits in the client longer than that.
        .set("message.timeout.ms", millis(options.timeouts.message))
        // Bounds of what waits in it: one batch.
        .set("queue.buffering.max.messages", "1000")
        .set("queue.buffering.max.kbytes", "16384");
    finish(config, options)
}

/// Configures a consumer without a group, for reading chosen offsets: restoring, and tools.
#[must_use]
pub fn reader(options: &Options) -> ClientConfig {
    let mut config = fetcher(options, &format!("{}-reader", options.instance));
    config
        // librdkafka asks for a group although none is joined; ours, so that ACLs need no other.
        .set("group.id", &options.group)
        // Reading to the end of committed records is told as an event.
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error");
    finish(config, options)
}

/// Configures the client that makes and describes topics.
#[must_use]
pub fn admin(options: &Options) -> ClientConfig {
    finish(common(options, &format!("{}-admin", options.instance)), options)
}

/// Returns librdkafka's word; records without a key go anywhere.
const fn partitioner_name(partitioner: Partitioner) -> &'static str {
    match partitioner {
        Partitioner::Murmur2 => "murmur2_random",
        Partitioner::Consistent => "consistent_random",
    }
}

fn millis(time: std::time::Duration) -> String {
    time.as_millis().to_string()
}

fn common(options: &Options, name: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap_servers)
        .set("client.id", format!("fraudd-{name}"))
        // A broker that is back is tried again within 2 s instead of 10.
        .set("reconnect.backoff.max.ms", "2000")
        // A broker that does not answer a connection is left after 5 s instead of 30.
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("socket.timeout.ms", millis(SOCKET_TIMEOUT))
        // A half-open connection is noticed by the system too.
        .set("socket.keepalive.enable", "true")
        // Leaders that moved are looked up every 30 s instead of 5 minutes, errors apart.
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set_log_level(RDKafkaLogLevel::Warning);
    secure(&mut config, &options.security);
    config
}

fn secure(config: &mut ClientConfig, security: &Security) {
    config.set("security.protocol", security.protocol.name());
    if security.protocol.has_login() {
        config.set("sasl.mechanism", security.mechanism.name());
    }
    if let Some(name) = &security.username {
        config.set("sasl.username", name);
    }
    if let Some(password) = &security.password {
        config.set("sasl.password", String::from_utf8_lossy(password.expose()));
    }
    for (key, path) in [
        ("ssl.ca.location", &security.ca_file),
        ("ssl.certificate.location", &security.cert_file),
        ("ssl.key.location", &security.key_file),
    ] {
        if let Some(path) = path {
            config.set(key, path.to_string_lossy());
        }
    }
}

fn fetcher(options: &Options, name: &str) -> ClientConfig {
    let mut config = common(options, name);
    config
        // Offsets are committed with the records they led to, and in no other way.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        // Answers come when there is a record, or after 10 ms instead of 500.
        .set("fetch.wait.max.ms", "10")
        .set("fetch.min.bytes", "1")
        // Prefetch is bounded: 5,000 records and 16 MiB instead of 100,000 and 64.
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "16384")
        // A full queue is looked at again after 5 ms instead of a second.
        .set("fetch.queue.backoff.ms", "5")
        // A damaged batch is an error and not a record.
        .set("check.crcs", "true");
    config
}

fn sender(options: &Options, name: &str) -> ClientConfig {
    let mut config = common(options, name);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5")
        // The batch exists already when it is sent.
        .set("linger.ms", "0")
        .set("compression.type", "lz4")
        .set("batch.size", REQUEST_LEN_MAX.to_string())
        // A changelog record of a whole batch, and a dead letter, are larger than one record.
        .set("message.max.bytes", super::topics::MESSAGE_LEN_MAX.to_string())
        // Bounds of what waits: 200,000 records, 256 MiB.
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "262144")
        .set("partitioner", partitioner_name(options.partitioner));
    config
}

/// Puts the user's own keys over ours; those that may not change were refused before.
fn finish(mut config: ClientConfig, options: &Options) -> ClientConfig {
    for (key, value) in options.client.iter().filter(|(key, _)| refused(key).is_none()) {
        config.set(key, value);
    }
    config
}

/// Keys that exactly-once rests on, which stay as they are.
const FIXED: &[&str] = &[
    "acks",
    "auto.commit.enable",
    "auto.offset.reset",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.protocol",
    "group.remote.assignor",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "partition.assignment.strategy",
    "queuing.strategy",
    "request.required.acks",
    "retries",
];

/// Keys that have a setting of fraudd's own.
const NAMED: &[(&str, &str)] = &[
    ("bootstrap.servers", "bootstrap_servers"),
    ("metadata.broker.list", "bootstrap_servers"),
    ("group.id", "group"),
    ("group.instance.id", "instance"),
    ("transactional.id", "instance"),
    ("max.poll.interval.ms", "max_poll_interval"),
    ("message.max.bytes", "dead.value_max"),
    ("message.timeout.ms", "message_timeout"),
    ("partitioner", "partitioner"),
    ("sasl.mechanism", "security.mechanism"),
    ("sasl.mechanisms", "security.mechanism"),
    ("sasl.password", "security.password"),
    ("sasl.username", "security.username"),
    ("security.protocol", "security.protocol"),
    ("session.timeout.ms", "session_timeout"),
    ("ssl.ca.location", "security.ca_file"),
    ("ssl.certificate.location", "security.cert_file"),
    ("ssl.key.location", "security.key_file"),
    ("transaction.timeout.ms", "transaction_timeout"),
];

/// Says why a key may not be set below `kafka.client`, when it may not.
#[must_use]
pub fn refused(key: &str) -> Option<String> {
    if FIXED.contains(&key) {
        return Some("exactly-once rests on it; it cannot be changed".into());
    }
    let (_, setting) = NAMED.iter().find(|(name, _)| *name == key)?;
    Some(format!("has a setting of its own: kafka.{setting}"))
}

/// Lets librdkafka look at a key and its value.
pub(super) fn try_key(key: &str, value: &str) -> Result<(), String> {
    let tried = ClientConfig::new().set(key, value).create_native_config();
    tried.map(|_| ()).map_err(|error| match error {
        rdkafka::error::KafkaError::ClientConfig(_, said, _, _) => said,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::options::Overrides;
    use super::super::options::tests::options;
    use super::*;

    #[test]
    fn every_configuration_is_one_librdkafka_takes() {
        let options = options();
        for config in
            [consumer(&options, 0), producer(&options, 0), outbox_producer(&options), reader(&options), admin(&options)]
                .into_iter()
                .chain([rekey_consumer(&options), rekey_producer(&options), publisher_producer(&options)])
        {
            config.create_native_config().expect("known keys and values");
        }
    }

    #[test]
    fn members_and_transactional_ids_are_stable_names() {
        let options = options();
        assert_eq!(consumer(&options, 1).get("group.instance.id"), Some("fraudd-0-1"));
        assert_eq!(producer(&options, 1).get("transactional.id"), Some("fraudd-fraudd-0-1"));
    }

    #[test]
    fn the_re_key_lane_is_nobody_else() {
        let options = options();
        let (consumer, producer) = (rekey_consumer(&options), rekey_producer(&options));
        assert_eq!(consumer.get("group.id"), Some("fraudd-rekey"));
        assert_eq!(consumer.get("group.instance.id"), Some("fraudd-0-rekey"));
        assert_eq!(producer.get("transactional.id"), Some("fraudd-fraudd-0-rekey"));
        assert_eq!(consumer.get("client.id"), Some("fraudd-fraudd-0-rekey"));
    }

    #[test]
    fn own_keys_come_last_but_not_where_exactly_once_rests() {
        let mut options = options();
        let keys = [("fetch.wait.max.ms", "20"), ("isolation.level", "read_uncommitted")];
        options.client = Overrides::new(keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let config = consumer(&options, 0);
        assert_eq!(config.get("fetch.wait.max.ms"), Some("20"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        for key in FIXED {
            assert!(refused(key).is_some_and(|why| why.contains("exactly-once")), "{key}");
        }
        assert!(refused("sasl.password").is_some_and(|why| why.contains("kafka.security.password")));
        assert_eq!(refused("client.rack"), None);
    }
}

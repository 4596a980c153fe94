//! Options that go together, and those that do not.

use super::*;

/// Makes options that are right, for tests to spoil.
pub(crate) fn options() -> Options {
    Options {
        bootstrap_servers: "127.0.0.1:9092".into(),
        group: "fraudd".into(),
        instance: "fraudd-0".into(),
        lanes: NonZeroUsize::MIN,
        security: Security::default(),
        topics: Topics {
            transactions: "transactions".into(),
            labels: "labels".into(),
            scores: "scores".into(),
            alerts: "alerts".into(),
            features: "features".into(),
            dead: "transactions.dead".into(),
            late: "transactions.late".into(),
            state: "fraudd.state".into(),
            control: "fraudd.control".into(),
            audit: "fraudd.audit".into(),
            retrain: "fraudd.retrain".into(),
        },
        partitions: None,
        partitioner: Partitioner::Murmur2,
        unknown_fields: UnknownFields::Ignore,
        model_deadline: Span::from_micros(100_000),
        batch: Batch {
            len_max: NonZeroUsize::new(512).expect("above 0"),
            bytes_max: 4 << 20,
            linger_min: Duration::from_millis(1),
            linger_max: Duration::from_millis(20),
        },
        timeouts: Timeouts {
            session: Duration::from_secs(10),
            poll_interval_max: Duration::from_mins(1),
            transaction: Duration::from_secs(10),
            message: Duration::from_secs(8),
            drain: Duration::from_secs(5),
        },
        start: Start::Earliest,
        on_lost_state: OnLostState::Stop,
        watermark_bound: Span::from_seconds(30),
        lateness: Span::from_days(1),
        ahead_max: Span::from_seconds(300),
        rest_ack: RestAck::Journal,
        key: None,
        features_enabled: false,
        audit_enabled: true,
        retrain_enabled: true,
        dead: DeadOptions { value_len_max: 900 << 10, share_max: 0.2, window: Duration::from_mins(1), len_min: 100 },
        mapping: None,
        rekey: None,
        client: Overrides::default(),
    }
}

fn check(spoil: impl FnOnce(&mut Options), expected: &[&str]) {
    let mut options = options();
    spoil(&mut options);
    let found: Vec<String> = options.faults().iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} does not begin with {expected}");
    }
}

#[test]
fn right_options_have_no_fault() {
    check(|_| (), &[]);
}

#[test]
fn deadlines_must_fit_into_each_other() {
    check(
        |o| o.timeouts.message = o.timeouts.transaction,
        &["message_timeout: 10000 ms is not below transaction_timeout"],
    );
    check(|o| o.timeouts.drain = o.timeouts.session, &["drain_timeout: 10000 ms is not below session_timeout"]);
    check(|o| o.timeouts.poll_interval_max = Duration::from_secs(9), &["session_timeout:", "transaction_timeout:"]);
    check(
        |o| o.timeouts.session = Duration::from_secs(5) + Duration::from_millis(1),
        &["session_timeout: expected 6s"],
    );
    check(|o| o.batch.linger_min = Duration::from_secs(1), &["linger_min: is above linger_max"]);
}

#[test]
fn topics_are_named_once_and_legally() {
    check(|o| o.topics.labels = "transactions".into(), &["topics.labels: \"transactions\" is another topic's"]);
    check(|o| o.topics.labels = "my labels".into(), &["topics.labels: \"my labels\" is no topic"]);
    check(|o| o.rekey = Some("scores".into()), &["rekey.source: \"scores\" is a topic of fraudd's own"]);
    check(|o| o.rekey = Some("bank.payments".into()), &[]);
}

#[test]
fn a_login_has_a_name_and_a_password_and_only_then() {
    check(
        |o| o.security.protocol = Protocol::SaslSsl,
        &["security.username: security.protocol sasl_ssl", "security.password:"],
    );
    check(
        |o| o.security.username = Some("shop".into()),
        &["security.username: security.protocol plaintext does not log in"],
    );
    check(
        |o| o.security.ca_file = Some("/nowhere/ca.pem".into()),
        &["security.ca_file: security.protocol plaintext", "security.ca_file: /nowhere/ca.pem cannot be read"],
    );
}

#[test]
fn addresses_names_and_keys_are_checked() {
    check(|o| o.bootstrap_servers = "kafka".into(), &["bootstrap_servers: expected host:port"]);
    check(|o| o.bootstrap_servers = "a:1, b:2".into(), &[]);
    check(|o| o.instance = String::new(), &["instance:"]);
    check(|o| o.key = Some(Secret::new("short")), &["hmac_key: is shorter than 32 bytes"]);
}

#[test]
fn keys_of_librdkafka_are_asked_of_librdkafka() {
    let set = |key: &'static str, value: &'static str| {
        move |o: &mut Options| o.client = Overrides::new([(key.into(), value.into())].into())
    };
    check(set("client.rack", "a"), &[]);
    check(set("acks", "1"), &["client.acks: exactly-once rests on it"]);
    check(set("no.such.key", "1"), &["client.no.such.key: No such configuration property"]);
    check(set("fetch.wait.max.ms", "soon"), &["client.fetch.wait.max.ms: Invalid value"]);
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
}

//! The tools of a stream against real Kafka: topics made and judged, dead letters listed and replayed,
//! and every trouble of a first contact told in a sentence. Also the proxy that later suites rest on.
//!
//! Starts its own brokers on loopback; says "skipped" where there is no Java or Maven.

#[path = "kafka/support/mod.rs"]
mod support;

use std::ffi::CStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use fraudd::config::Settings;
use fraudd::edge::kafka::connect::{self, Error};
use fraudd::edge::kafka::dead::{Cause, Letter, Origin, Stage, letter};
use fraudd::edge::kafka::options::Options;
use fraudd::edge::kafka::topics::{Administrator, MESSAGE_LEN_MAX};
use fraudd::edge::kafka::{client, headers};
use fraudd::runtime::clock::Moment;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::bindings::{
    self as native, rd_kafka_vu_s__bindgen_ty_1 as Part, rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 as Part2,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaApiKey;
use support::broker::{Broker, Wanted};
use support::proxy::{METADATA, Mode, Proxy};

const PATIENCE: Duration = Duration::from_secs(20);

/// The environment of a command or of settings that use a broker.
fn environment(bootstrap: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let base = [
        ("FRAUDD__KAFKA__BOOTSTRAP_SERVERS", bootstrap),
        ("FRAUDD__KAFKA__INSTANCE", "test-0"),
        ("FRAUDD__STATE__DIRECTORY", "/nowhere"),
    ];
    base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn options(bootstrap: &str, more: &[(&str, &str)]) -> Options {
    let (settings, _) = Settings::load(&[], environment(bootstrap, more)).expect("valid");
    settings.kafka.expect("a stream")
}

fn fraudd(arguments: &[&str], environment: &[(String, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    command.args(arguments).envs(environment.iter().cloned()).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the binary")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn check_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", out(output), err(output));
}

fn refusal(options: &Options, patience: Duration) -> Error {
    connect::reach(options, patience, &mut |_| ()).expect_err("a refusal")
}

// ---- Topics ---------------------------------------------------------------------------------------------------------

#[test]
fn topics_and_dead_letters() {
    let Some(broker) = Broker::start(&Wanted::default()) else { return };
    let environment = environment(broker.bootstrap(), &[]);
    let options = options(broker.bootstrap(), &[]);
    topics_are_made_and_checked(&options, &environment);
    each_fault_of_a_topic_is_found(&broker, &options, &environment);
    dead_letters_are_listed_and_replayed(&options, &environment);
    a_record_with_any_header_is_read(&options);
}

fn topics_are_made_and_checked(options: &Options, environment: &[(String, String)]) {
    let checked = fraudd(&["topics", "check"], environment);
    check_code(&checked, 1);
    assert_eq!(out(&checked).matches("is missing; fraudd topics create").count(), 11, "{}", out(&checked));

    let dry = fraudd(&["topics", "create", "--partitions", "3", "--dry-run"], environment);
    check_code(&dry, 0);
    assert_eq!(out(&dry).matches("would be made").count(), 11, "{}", out(&dry));
    check_code(&fraudd(&["topics", "check"], environment), 1);

    let made = fraudd(&["topics", "create", "--partitions", "3"], environment);
    check_code(&made, 0);
    assert_eq!(out(&made).matches(" made: 3 partitions, 1 copies").count(), 8, "{}", out(&made));
    assert_eq!(out(&made).matches(" made: 1 partitions, 1 copies").count(), 3, "{}", out(&made));
    let checked = fraudd(&["topics", "check", "--json"], environment);
    check_code(&checked, 0);
    let said: serde_json::Value = serde_json::from_str(&out(&checked)).expect("JSON");
    assert_eq!(said["findings"], serde_json::json!([]));

    let again = fraudd(&["topics", "create"], environment);
    check_code(&again, 0);
    assert_eq!(out(&again).matches("was there\n").count(), 11, "{}", out(&again));
    let cluster = connect::reach(options, PATIENCE, &mut |_| ()).expect("a cluster");
    assert_eq!(cluster.partitions(options), Ok(3));
}

fn each_fault_of_a_topic_is_found(broker: &Broker, options: &Options, environment: &[(String, String)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let admin: AdminClient<DefaultClientContext> = client::admin(options).create().expect("a client");
    let set = |topic: &str, settings: &[(&str, &str)]| {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let change = settings.iter().fold(change, |change, (key, value)| change.set(key, value));
        let done = runtime.block_on(admin.alter_configs(&[change], &AdminOptions::new())).expect("an answer");
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    };
    // Each replaces all of a topic's settings.
    set("transactions", &[("retention.ms", "604800000"), ("message.timestamp.type", "CreateTime")]);
    set("labels", &[("retention.ms", "604800000")]);
    set("fraudd.state", &[("cleanup.policy", "compact")]);
    set("fraudd.audit", &[("min.insync.replicas", "2")]);
    let wider = [NewPartitions::new("scores", 4)];
    let done = runtime.block_on(admin.create_partitions(&wider, &AdminOptions::new())).expect("an answer");
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let done = runtime.block_on(admin.delete_topics(&["alerts"], &AdminOptions::new())).expect("an answer");
    assert!(done.iter().all(Result::is_ok), "{done:?}");

    let expected = [
        ("alerts", "missing"),
        ("fraudd.audit", "replicas"),
        ("fraudd.state", "cleanup_policy"),
        ("fraudd.state", "message_len"),
        ("labels", "timestamp_type"),
        ("scores", "partitions"),
        ("transactions", "ledger_retention"),
        ("transactions", "timestamp_type"),
    ];
    let mut seen = Vec::new();
    // A change is answered before every part of the broker has heard of it.
    let deadline = Moment::now().after(Duration::from_secs(10));
    while seen != expected.map(|(topic, code)| (topic.to_owned(), code.to_owned())) && !deadline.has_passed() {
        let checked = fraudd(&["topics", "check", "--json"], environment);
        check_code(&checked, 1);
        let said: serde_json::Value = serde_json::from_str(&out(&checked)).expect("JSON");
        let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().expect(key).to_owned();
        let findings = said["findings"].as_array().expect("findings");
        seen = findings.iter().map(|finding| (text(finding, "topic"), text(finding, "code"))).collect();
        seen.sort();
    }
    assert_eq!(seen, expected.map(|(topic, code)| (topic.to_owned(), code.to_owned())));
    let made = fraudd(&["topics", "create"], environment);
    check_code(&made, 1);
    assert!(out(&made).lines().any(|line| line.starts_with("alerts") && line.contains(" made: 3")), "{}", out(&made));
    assert!(out(&made).contains("was there, and differs:"), "{}", out(&made));
    assert!(Administrator::new(options).is_ok_and(|admin| admin.broker_count() == Ok(1)), "{}", broker.bootstrap());
}

// ---- Dead letters ---------------------------------------------------------------------------------------------------

fn write(options: &Options, topic: &str, partition: i32, letter: &Letter) {
    let producer: BaseProducer = client::outbox_producer(options).create().expect("a client");
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition);
    record = record.headers(headers::written(&letter.headers));
    if let Some(key) = &letter.key {
        record = record.key(key);
    }
    if let Some(value) = &letter.value {
        record = record.payload(value);
    }
    producer.send(record).map_err(|(error, _)| error).expect("taken");
    producer.flush(PATIENCE).expect("delivered");
}

fn dead(options: &Options, offset: i64, value: &[u8], (reason, stage): (&str, Stage)) {
    let origin = Origin {
        topic: "transactions",
        partition: 1,
        offset,
        timestamp_ms: Some(1_000),
        key: Some(b"customer-7"),
        value: Some(value),
        headers: &[("traceparent".into(), Some(b"00-aa".to_vec()))],
    };
    let cause = Cause { reason, stage, error: "it is broken" };
    write(options, "transactions.dead", 1, &Letter::write(&origin, &cause, 64));
}

fn read_all(options: &Options, topic: &str, wanted: usize) -> Vec<Letter> {
    let consumer: BaseConsumer = client::reader(options).create().expect("a client");
    let mut all = TopicPartitionList::new();
    for partition in 0..3 {
        all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&all).expect("assigned");
    let (mut found, mut ends) = (Vec::new(), 0);
    let deadline = Moment::now().after(PATIENCE);
    while (found.len() < wanted || ends < 3) && !deadline.has_passed() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => found.push(Letter {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers::read(&message),
            }),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ends += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    found
}

fn dead_letters_are_listed_and_replayed(options: &Options, environment: &[(String, String)]) {
    dead(options, 10, b"{\"id\":", ("bad_json", Stage::Decode));
    dead(options, 11, b"{\"pan\":\"4111111111111111\"}", ("bad_field", Stage::Validate));
    dead(options, 12, &[b'x'; 100], ("bad_json", Stage::Decode));
    dead(options, 13, b"{\"id\":\"tx-1\"}", ("id_conflict", Stage::Conflict));

    let listed = fraudd(&["dead", "list"], environment);
    check_code(&listed, 0);
    assert_eq!(out(&listed).lines().count(), 4, "{}", out(&listed));
    assert!(
        out(&listed).contains("bad_json at decode, attempt 1, from transactions 1:10: it is broken"),
        "{}",
        out(&listed)
    );
    assert!(out(&listed).contains("[masked]") && out(&listed).contains("[cut]"), "{}", out(&listed));
    assert!(err(&listed).contains("4 dead letters in transactions.dead: bad_field 1, bad_json 2, id_conflict 1"));

    let one = fraudd(&["dead", "list", "--reason", "bad_field", "--since", "1h", "--json"], environment);
    let line: serde_json::Value = serde_json::from_str(out(&one).trim()).expect("one line of JSON");
    assert_eq!(line["value"], "{\"pan\":\"************1111\"}");
    assert_eq!((&line["changed"], &line["attempt"]), (&serde_json::json!(["masked"]), &serde_json::json!(1)));
    let none = fraudd(&["dead", "list", "--since", "2199-01-01T00:00:00Z"], environment);
    assert_eq!(out(&none), "");
    let first = fraudd(&["dead", "list", "--limit", "2"], environment);
    assert_eq!(out(&first).lines().count(), 2);

    let dry = fraudd(&["dead", "replay", "--dry-run"], environment);
    check_code(&dry, 1);
    assert!(err(&dry).contains("2 would be sent again, 2 would stay"), "{}", err(&dry));
    assert_eq!(read_all(options, "transactions", 0), []);

    let sent = fraudd(&["dead", "replay", "--filter", "stage=decode"], environment);
    check_code(&sent, 1);
    assert!(err(&sent).contains("1:2 was cut and stays; --force sends it as it is"), "{}", err(&sent));
    assert!(err(&sent).contains("1 sent again, 0 not taken by the broker, 1 stay"), "{}", err(&sent));
    let arrived = read_all(options, "transactions", 1);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].value.as_deref(), Some(b"{\"id\":".as_slice()));
    assert_eq!(arrived[0].key.as_deref(), Some(b"customer-7".as_slice()));
    let trace = ("traceparent".to_owned(), Some(b"00-aa".to_vec()));
    assert_eq!(arrived[0].headers, [trace, (letter::ATTEMPT.to_owned(), Some(b"2".to_vec()))]);

    let forced = fraudd(&["dead", "replay", "--filter", "reason=bad_field", "--force"], environment);
    check_code(&forced, 0);
    assert_eq!(read_all(options, "transactions", 2).len(), 2);
}

/// Writes a record whose only header has these bytes for a name; the library's own writer takes text only.
#[expect(unsafe_code, reason = "senders in other languages write header names that are no text, and so must we")]
fn write_odd(options: &Options, (topic, partition): (&CStr, i32), name: &CStr) {
    use native::rd_kafka_vtype_t as kind;
    let producer: BaseProducer = client::outbox_producer(options).create().expect("a client");
    let part = |vtype, u| native::rd_kafka_vu_s { vtype, u };
    let header = Part2 { name: name.as_ptr(), val: c"v".as_ptr().cast(), size: 1 };
    let parts = [
        part(kind::RD_KAFKA_VTYPE_TOPIC, Part { cstr: topic.as_ptr() }),
        part(kind::RD_KAFKA_VTYPE_PARTITION, Part { i32_: partition }),
        part(kind::RD_KAFKA_VTYPE_HEADER, Part { header }),
    ];
    // SAFETY: the parts and what they point to outlive the call, which copies them.
    let failed = unsafe { native::rd_kafka_produceva(producer.client().native_ptr(), parts.as_ptr(), parts.len()) };
    assert!(failed.is_null(), "the record is taken");
    producer.flush(PATIENCE).expect("delivered");
}

fn a_record_with_any_header_is_read(options: &Options) {
    let value = vec![b'v'; MESSAGE_LEN_MAX / 16];
    let odd = Letter {
        key: None,
        value: Some(value),
        headers: vec![("née".into(), None), (String::new(), Some(vec![0xff, 0])), ("a".into(), Some(Vec::new()))],
    };
    write(options, "labels", 2, &odd);
    // The library's own reader panics on this one.
    write_odd(options, (c"labels", 2), c"n\xff");
    let found = read_all(options, "labels", 2);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], odd);
    assert_eq!(found[1].headers, [("n\u{fffd}".to_owned(), Some(b"v".to_vec()))]);
}

// ---- First contact --------------------------------------------------------------------------------------------------

#[test]
fn a_broker_is_reached_and_known() {
    let Some(broker) = Broker::start(&Wanted::default()) else { return };
    let options = options(broker.bootstrap(), &[]);
    let cluster = connect::reach(&options, PATIENCE, &mut |_| ()).expect("a cluster");
    assert_eq!((cluster.brokers, cluster.topics.len()), (1, 0));
    assert!(cluster.features.is_known() && cluster.features.is_verified(), "{cluster:?}");

    // Frozen, it is waited for; thawed, it is reached.
    broker.node("stop", 1);
    let mut told = Vec::new();
    let error = connect::reach(&options, Duration::from_secs(2), &mut |reason| told.push(reason.clone()));
    assert!(matches!(error, Err(Error::Unreachable { .. })), "{error:?}");
    broker.node("cont", 1);
    let cluster = connect::reach(&options, PATIENCE, &mut |_| ());
    assert!(cluster.is_ok(), "{cluster:?}");

    let gone = fraudd(&["dead", "list"], &environment(broker.bootstrap(), &[]));
    check_code(&gone, 2);
    assert!(
        err(&gone)
            .contains("topic transactions.dead does not exist, or our user may not see it; make it with fraudd topics")
    );
}

#[test]
fn nobody_there_is_waited_for_and_told() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut told = Vec::new();
    let began = Moment::now();
    let options = options(&free.to_string(), &[]);
    let error = connect::reach(&options, Duration::from_secs(3), &mut |reason| told.push(reason.to_string()));
    assert!(matches!(&error, Err(Error::Unreachable { .. })), "{error:?}");
    assert!(began.elapsed() >= Duration::from_secs(3), "it gave up early");
    assert!(!told.is_empty() && told.len() < 5, "told once each: {told:?}");
    let checked = fraudd(&["topics", "check", "--wait", "1s"], &environment(&free.to_string(), &[]));
    check_code(&checked, 2);
    assert!(err(&checked).contains(&format!("no broker answers at {free}")), "{}", err(&checked));
}

#[test]
fn logins_and_rights_are_refused_in_words() {
    let Some(broker) = Broker::start(&Wanted { users: Some(&["shop:shop-secret"]), ..Wanted::default() }) else {
        return;
    };
    let login = |name: &'static str, password: &'static str| {
        [
            ("FRAUDD__KAFKA__SECURITY__PROTOCOL", "sasl_plaintext"),
            ("FRAUDD__KAFKA__SECURITY__USERNAME", name),
            ("FRAUDD__KAFKA__SECURITY__PASSWORD", password),
        ]
    };
    let made = fraudd(&["topics", "create"], &environment(broker.bootstrap(), &login("admin", "admin-secret")));
    check_code(&made, 0);

    let began = Moment::now();
    let wrong = options(broker.bootstrap(), &login("shop", "wrong"));
    let error = refusal(&wrong, PATIENCE);
    assert!(matches!(&error, Error::Login { said } if said.contains("Authentication failed")), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for what waiting cannot cure");
    let checked = fraudd(&["topics", "check"], &environment(broker.bootstrap(), &login("shop", "wrong")));
    check_code(&checked, 2);
    assert!(err(&checked).contains("the broker refuses our login"), "{}", err(&checked));

    let error = refusal(&options(broker.bootstrap(), &[]), Duration::from_secs(3));
    assert!(matches!(&error, Error::HangsUp { .. } | Error::Unreachable { .. }), "{error:?}");

    // Known, but allowed nothing.
    let shop = environment(broker.bootstrap(), &login("shop", "shop-secret"));
    let checked = fraudd(&["topics", "check"], &shop);
    check_code(&checked, 2);
    assert!(err(&checked).contains("does not allow us to use topic transactions"), "{}", err(&checked));
    check_code(&fraudd(&["topics", "create"], &shop), 2);
    broker.allow("shop", &["--operation", "Describe", "--topic", "*"]);
    let checked = fraudd(&["topics", "check"], &shop);
    check_code(&checked, 1);
    assert_eq!(out(&checked).matches("does not show us its settings").count(), 11, "{}", out(&checked));
    broker.allow("shop", &["--operation", "DescribeConfigs", "--topic", "*"]);
    check_code(&fraudd(&["topics", "check"], &shop), 0);
    // It may look but not read: dead letters are not its business.
    let listed = fraudd(&["dead", "list"], &shop);
    check_code(&listed, 0);
    let letter = Letter { key: None, value: None, headers: vec![("fraudd-dead-reason".into(), None)] };
    write(&options(broker.bootstrap(), &login("admin", "admin-secret")), "transactions.dead", 0, &letter);
    let listed = fraudd(&["dead", "list"], &shop);
    check_code(&listed, 2);
    assert!(err(&listed).contains("does not allow us"), "{}", err(&listed));
}

#[test]
fn encryption_is_checked_and_told() {
    let Some(broker) = Broker::start(&Wanted { tls: true, ..Wanted::default() }) else { return };
    let ssl = ("FRAUDD__KAFKA__SECURITY__PROTOCOL", "ssl");
    let trusted = options(broker.bootstrap(), &[ssl, ("FRAUDD__KAFKA__SECURITY__CA_FILE", broker.ca_file())]);
    let cluster = connect::reach(&trusted, PATIENCE, &mut |_| ());
    assert!(cluster.is_ok(), "{cluster:?}");
    let error = refusal(&options(broker.bootstrap(), &[ssl]), PATIENCE);
    assert!(matches!(&error, Error::Tls { .. }), "{error:?}");
    let no_file = tempfile::NamedTempFile::new().expect("a file");
    let path = no_file.path().to_str().expect("UTF-8");
    let error = refusal(&options(broker.bootstrap(), &[ssl, ("FRAUDD__KAFKA__SECURITY__CA_FILE", path)]), PATIENCE);
    assert!(matches!(&error, Error::Tls { .. }), "{error:?}");
    let error = refusal(&options(broker.bootstrap(), &[]), Duration::from_secs(3));
    assert!(!error.is_final(), "in the clear it hangs up, which could pass: {error:?}");
}

#[test]
fn a_broker_that_is_too_old_is_told_apart() {
    // The client library's imitation of a broker is one.
    let old = rdkafka::mocking::MockCluster::new(1).expect("a mock");
    let options = options(&old.bootstrap_servers(), &[]);
    assert_eq!(refusal(&options, PATIENCE), Error::TooOld { api: "OffsetFetch", has: 6, needs: 7 });
    old.apiversion(RDKafkaApiKey::JoinGroup, Some(0), Some(4)).expect("set");
    assert_eq!(refusal(&options, PATIENCE), Error::TooOld { api: "JoinGroup", has: 4, needs: 5 });
}

// ---- The proxy ------------------------------------------------------------------------------------------------------

/// A server that sends back what it hears.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            let answer = move || {
                let mut bytes = [0; 4_096];
                while let Ok(len @ 1..) = client.read(&mut bytes) {
                    if client.write_all(&bytes[..len]).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new().spawn(answer).expect("a thread");
        }
    };
    std::thread::Builder::new().spawn(serve).expect("a thread");
    address
}

fn said_back(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Duration> {
    let began = Moment::now();
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, bytes);
    Ok(began.elapsed())
}

#[test]
fn the_proxy_delays_falls_silent_and_recovers() {
    let proxy = Proxy::start();
    proxy.target(echo());
    let mut stream = TcpStream::connect(proxy.address()).expect("connected");
    said_back(&mut stream, b"hello").expect("passed");
    proxy.latency(Duration::from_millis(60));
    assert!(said_back(&mut stream, b"slow").expect("passed") >= Duration::from_millis(120));
    proxy.latency(Duration::ZERO);
    proxy.bandwidth(Some(20_000));
    assert!(said_back(&mut stream, &[7; 4_000]).expect("passed") >= Duration::from_millis(180));
    proxy.bandwidth(None);

    proxy.mode(Mode::Silent);
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    stream.write_all(b"anybody?").expect("written");
    let mut back = [0; 8];
    assert!(stream.read_exact(&mut back).is_err(), "silence answers");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    proxy.mode(Mode::Forward);
    stream.read_exact(&mut back).expect("it was only late");
    assert_eq!(&back, b"anybody?");
}

#[test]
fn the_proxy_resets_and_refuses() {
    let proxy = Proxy::start();
    proxy.target(echo());
    let mut stream = TcpStream::connect(proxy.address()).expect("connected");
    said_back(&mut stream, b"hello").expect("passed");
    proxy.reset();
    let error = stream.read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut stream = TcpStream::connect(proxy.address()).expect("a new one passes");
    said_back(&mut stream, b"hello").expect("passed");
    proxy.mode(Mode::Refuse);
    assert!(stream.read(&mut [0; 1]).is_err());
    let mut refused = TcpStream::connect(proxy.address()).expect("the system accepts");
    assert!(said_back(&mut refused, b"hello").is_err());
    proxy.mode(Mode::Forward);
    let mut stream = TcpStream::connect(proxy.address()).expect("connected");
    said_back(&mut stream, b"hello").expect("passed");
}

#[test]
fn the_proxy_cuts_after_a_chosen_request() {
    let proxy = Proxy::start();
    proxy.target(echo());
    let mut stream = TcpStream::connect(proxy.address()).expect("connected");
    let frame = |key: i16| [&6_u32.to_be_bytes()[..], &key.to_be_bytes(), &[0; 4]].concat();
    proxy.cut_after(METADATA, 1);
    said_back(&mut stream, &frame(1)).expect("another request passes");
    let both = [frame(1), frame(METADATA)].concat();
    assert!(said_back(&mut stream, &both).is_err());
    assert_eq!(proxy.cuts(), 1);
    let mut stream = TcpStream::connect(proxy.address()).expect("connected");
    said_back(&mut stream, &frame(METADATA)).expect("only once");
    assert_eq!((proxy.cuts(), proxy.opened()), (1, 2));
}

#[test]
fn a_broker_behind_a_proxy_is_reached_only_through_it() {
    let proxy = Proxy::start();
    let Some(broker) = Broker::start(&Wanted { advertise: vec![proxy.address()], ..Wanted::default() }) else { return };
    proxy.target(broker.node_address(1));
    assert_eq!(broker.bootstrap(), proxy.address());
    let options = options(broker.bootstrap(), &[]);
    connect::reach(&options, PATIENCE, &mut |_| ()).expect("through the proxy");
    proxy.mode(Mode::Refuse);
    assert!(!refusal(&options, Duration::from_secs(2)).is_final());
    proxy.mode(Mode::Forward);
    connect::reach(&options, PATIENCE, &mut |_| ()).expect("again");
    let past = environment(broker.direct(), &[]);
    check_code(&fraudd(&["topics", "create"], &past), 0);
}

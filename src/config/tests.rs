//! Layers, their order, and every fault at once.

use std::io::Write;

use super::*;
use crate::runtime::release::bundle::Bundle;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<(Settings, Vec<Effective>), Vec<Fault>> {
    let mut written = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    written.write_all(file.as_bytes()).expect("written");
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::load(&[written.path().to_owned()], environment)
}

fn faults(file: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load(file, environment).map(|_| ()).expect_err("faults").iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_stand_alone() {
    let (settings, effective) = Settings::load(&[], Vec::new()).expect("valid");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.partition_key, [TextField::CustomerId, TextField::AccountId, TextField::CardToken]);
    assert!(settings.otlp.is_none() && settings.keys.is_empty());
    assert!(effective.iter().all(|setting| setting.origin == "default"));
}

#[test]
fn the_shipped_run_file_is_valid() {
    let file = include_str!("../../config/run.toml");
    let (settings, _) = load(file, &[]).expect("valid");
    assert_eq!(settings.rates.to_base(1_000, Currency::parse("USD").expect("USD")), Some(920));
}

/// Made by `fraudd calibrate`; a bundle with another schema needs it made anew.
#[test]
fn the_shipped_tolerances_are_those_of_the_shipped_bundle() {
    let bundle = Bundle::load("models/card-fraud/1.0.0".as_ref()).expect("the shipped bundle");
    let (settings, _) = load(include_str!("../../config/detectors.toml"), &[]).expect("valid");
    assert_eq!(settings.drift.calibrated_for, bundle.schema.hash(), "the bundle has another schema: calibrate anew");
    assert!(settings.drift.may_act() && settings.drift.of_schema(bundle.schema.hash()).may_act());
    let inputs = bundle.input_names();
    let named = settings.drift.tolerances.keys().chain(&settings.drift.excluded);
    let unknown: Vec<_> = named.filter(|name| *name != "score" && !inputs.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "no inputs of the bundle: {unknown:?}");
    let (defaults, _) = Settings::load(&[], Vec::new()).expect("valid");
    assert!(!defaults.drift.may_act(), "without the file nothing is acted on");
}

#[test]
fn later_layers_win() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\ndrain_grace = \"3s\"";
    let environment = [("FRAUDD__SERVER__LISTEN", "127.0.0.1:2"), ("FRAUDD__MODELS__ENABLED", "false")];
    let (settings, effective) = load(file, &environment).expect("valid");
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.server.drain_grace.as_secs(), 3);
    assert!(!settings.models.enabled);
    let origin = |key: &str| effective.iter().find(|setting| setting.key == key).expect(key).origin.clone();
    assert_eq!(origin("server.listen"), "environment");
    assert!(origin("server.drain_grace").contains(".toml"));
    assert_eq!(origin("ledger.age_max"), "default");
}

#[test]
fn all_faults_come_at_once() {
    let file = r#"
        [server]
        listn = "127.0.0.1:1"
        header_timeout = "soon"
        [limits]
        body_max = "64"
        batch_len_max = 100000
        [contract]
        unknown_fields = "shrug"
        partition_key = ["amount"]
        [rates]
        base = "ZZZ"
        [rates.rates]
        USD = -1.0
        [telemetry.otlp]
        sample_ratio = 2.0
    "#;
    let found = faults(file, &[("FRAUDD__INFERENCE__THREADS", "many"), ("FRAUDD__NO__SUCH", "1")]);
    let expected = [
        "no.such: no such setting",
        "server.listn: no such setting; did you mean server.listen?",
        "server.header_timeout:",
        "limits.body_max:",
        "limits.batch_len_max: expected 1 to 1000",
        "contract.unknown_fields:",
        "contract.partition_key: \"amount\" is no text field",
        "inference.threads:",
        "rates.base:",
        "rates.rates.USD: expected a finite number above 0",
        "telemetry.otlp.sample_ratio: expected 0 to 1",
    ];
    for start in expected {
        assert!(found.iter().any(|fault| fault.starts_with(start)), "{start} is not among {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("write for example \"64KiB\"")), "{found:#?}");
}

#[test]
fn state_is_in_memory_unless_a_directory_is_named() {
    assert_eq!(load("", &[]).expect("valid").0.state, None);
    let (settings, _) = load("[state]\ndirectory = \"state\"\ndurability = \"disk\"", &[]).expect("valid");
    let state = settings.state.expect("a store");
    assert_eq!((state.durability, state.on_failure), (store::Durability::Disk, store::OnFailure::Answer));
    assert_eq!(state.age_max, settings.ledger.age_max);
    let found = faults("[state]\nsegment_size = \"1KiB\"\ndurability = \"maybe\"", &[]);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn secrets_are_not_shown() {
    let line = format!("shop:score:{}", "ab".repeat(32));
    let (settings, effective) = load("", &[("FRAUDD__AUTH__KEYS", &line)]).expect("valid");
    assert!(!settings.keys.is_empty());
    assert!(effective.iter().all(|setting| !setting.value.contains("abab")));
    assert!(!format!("{settings:?}").contains("abab"));
}

const STREAM: &str = "[state]\ndirectory = \"state\"\n[kafka]\nbootstrap_servers = \"127.0.0.1:9092\"\n";

#[test]
fn without_servers_there_is_no_stream() {
    assert!(load("", &[]).expect("valid").0.kafka.is_none());
    let (settings, _) = load(STREAM, &[("FRAUDD__KAFKA__INSTANCE", "fraudd-2")]).expect("valid");
    let kafka = settings.kafka.expect("a stream");
    assert_eq!((kafka.group.as_str(), kafka.member(0)), ("fraudd", "fraudd-2-0".into()));
    assert_eq!(kafka.ahead_max, settings.ahead_max);
    assert_eq!((kafka.partitions, kafka.key, kafka.mapping, kafka.rekey), (None, None, None, None));
}

#[test]
fn a_stream_without_a_name_takes_the_host_s() {
    let kafka = load(STREAM, &[]).expect("valid").0.kafka.expect("a stream");
    assert!(!kafka.instance.is_empty());
}

#[test]
fn a_stream_that_cannot_be_is_told_whole() {
    let file = "
        [kafka]
        bootstrap_servers = \"kafka\"
        lateness = \"7d\"
        message_timeout = \"10s\"
        drain_timeout = \"20s\"
        mapping = \"bank\"
        [kafka.security]
        protocol = \"sasl_ssl\"
        [kafka.rekey]
        enabled = true
        [kafka.client]
        \"enable.idempotence\" = false
        fetch.wait.max.ms = 20
    ";
    let found = faults(file, &[]);
    let expected = [
        "kafka.rekey.source: is empty",
        "kafka.bootstrap_servers: expected host:port",
        "kafka.security.username: security.protocol sasl_ssl needs one",
        "kafka.security.password: security.protocol sasl_ssl needs one",
        "kafka.message_timeout: 10000 ms is not below",
        "kafka.drain_timeout: 20000 ms is not below",
        "kafka.client.enable.idempotence: exactly-once rests on it",
        "state.directory: Kafka needs one",
        "kafka.lateness: is above entities.lateness_max",
        "kafka.mapping: names a source",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, start) in found.iter().zip(expected) {
        assert!(found.starts_with(start), "{found} does not begin with {start}");
    }
}

#[test]
fn secrets_of_the_stream_are_whole_and_not_shown() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"0123456789abcdef0123456789abcdef\n").expect("written");
    let path = file.path().to_string_lossy().into_owned();
    let environment = [
        ("FRAUDD__KAFKA__SECURITY__PROTOCOL", "sasl_plaintext"),
        ("FRAUDD__KAFKA__SECURITY__USERNAME", "shop"),
        // It looks like a number, and its zeros belong to it.
        ("FRAUDD__KAFKA__SECURITY__PASSWORD", "00123456700"),
        ("FRAUDD__KAFKA__HMAC_KEY_FILE", path.as_str()),
    ];
    let text = format!("{STREAM}[kafka.client]\n\"ssl.key.password\" = \"hushhush\"\nclient.rack = \"a\"\n");
    let (settings, effective) = load(&text, &environment).expect("valid");
    let shown = format!("{effective:?}{settings:?}");
    for hidden in ["123456700", "0123456789abcdef", "hushhush"] {
        assert!(!shown.contains(hidden), "{hidden} is shown");
    }
    let of = |key: &str| effective.iter().find(|setting| setting.key == key).expect(key);
    assert_eq!(of("kafka.client.ssl.key.password").value, "\"***\"");
    assert!(of("kafka.client.client.rack").origin.contains(".toml"));
    let kafka = settings.kafka.expect("a stream");
    assert_eq!(kafka.security.password.expect("a password").expose(), b"00123456700");
    assert_eq!(kafka.key.expect("a key").expose(), b"0123456789abcdef0123456789abcdef");
    assert!(kafka.client.iter().any(|pair| pair == ("client.rack", "a")));
    let both = [environment[3], ("FRAUDD__KAFKA__HMAC_KEY", "abc")];
    assert!(faults(STREAM, &both)[0].starts_with("kafka.hmac_key: is set, and so is"));
}

#[test]
fn retraining_needs_something_to_learn_from() {
    let file = "
        [retraining]
        enabled = true
        command = \"models/training/retrain.sh --fast\"
        webhook_url = \"https://hooks.example/T0/tok9\"
        webhook_secret = \"hush\"
        cap_per_day = 49
        declined = \"all\"
    ";
    let found = faults(file, &[]);
    let expected = [
        "retraining.cap_per_day: expected 0 to 48",
        "retraining.declined: ",
        "state.directory: retraining.command learns from it",
        "ledger.age_max: decisions are gone before their labels are mature",
        "retraining.webhook_url: this build speaks plain HTTP",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, start) in found.iter().zip(expected) {
        assert!(found.starts_with(start), "{found} does not begin with {start}");
    }

    let whole = file.replace("https", "http").replace("49", "2").replace("all", "control")
        + "[state]\ndirectory = \"state\"\n[ledger]\nage_max = \"97d\"\n";
    let (settings, effective) = load(&whole, &[]).expect("valid");
    let shown = format!("{effective:?}{settings:?}");
    assert!(!shown.contains("hush") && !shown.contains("tok9"), "{shown}");
    assert!(settings.retraining.is_local());
    let command = settings.retraining.command.expect("a command").command;
    assert_eq!(command, ["models/training/retrain.sh", "--fast"]);
    assert_eq!(settings.retraining.directory, Some(PathBuf::from("state/retraining")));
    let state = settings.state.expect("a store");
    assert_eq!(state.events_age_min, Span::from_days(97), "labels are kept as long as decisions");
    let (defaults, _) = load("", &[]).expect("valid");
    assert!(!defaults.retraining.is_local() && defaults.webhook.is_none());
}

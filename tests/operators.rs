//! What operators are given is held to the code: every metric and label value that a board or an alert
//! names exists, every alert has its page, and the settings of container and cluster load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fraudd::config::Settings;
use fraudd::domain::{DecisionSource, DegradedReason};
use fraudd::healing::Health;
use fraudd::healing::breaker::Place;
use fraudd::telemetry::desk::{OUTBOX_RESULTS, RECORD_RESULTS, REKEY_RESULTS, RESTORE_RESULTS};
use fraudd::telemetry::metrics::{RELOAD_RESULTS, STAGES, STATE_PARTS};
use fraudd::telemetry::stream_lane::{FAULT_CLASSES, LANE_STATES, PARTITION_STATES};

const BOARD: &str = include_str!("../k8s/dashboards/fraudd.json");
const ALERTS: &str = include_str!("../k8s/alerts/fraudd.rules.yaml");
const METRICS: &str = include_str!("../docs/metrics.md");
const RUNBOOK: &str = include_str!("../docs/alerts.md");

/// Every `fraudd_...` of a text, without the endings that a histogram adds.
fn metrics_named(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let names = text.match_indices("fraudd_").map(|(at, _)| {
        let name = &text[at..];
        let name = &name[..name.find(|letter| !is_part(letter)).unwrap_or(name.len())];
        ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
    });
    names.collect()
}

/// Every value that a text matches `label` with; alternatives apart.
fn values_named<'a>(text: &'a str, label: &str) -> BTreeSet<&'a str> {
    let mut values = BTreeSet::new();
    for matcher in ["=", "=~", "!=", "!~"] {
        // The board is JSON: its quotes are escaped.
        for quote in ["\"", "\\\""] {
            let opening = format!("{label}{matcher}{quote}");
            for (at, _) in text.match_indices(&opening) {
                let value = &text[at + opening.len()..];
                let value = &value[..value.find(['"', '\\']).unwrap_or(value.len())];
                values.extend(value.split('|'));
            }
        }
    }
    values
}

/// What the tables of a page name first; tests beside the code hold those tables to it.
fn first_column(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect()
}

#[test]
fn every_metric_of_board_and_alerts_exists() {
    let documented = first_column(METRICS);
    for (what, text) in [("board", BOARD), ("alerts", ALERTS)] {
        let named = metrics_named(text);
        assert!(named.len() > 5, "{what}: names only {named:?}");
        let unknown: Vec<_> = named.difference(&documented).collect();
        assert!(unknown.is_empty(), "{what}: docs/metrics.md knows no {unknown:?}");
    }
}

#[test]
fn the_board_shows_every_metric() {
    let shown = metrics_named(BOARD);
    let hidden: Vec<_> = first_column(METRICS).into_iter().filter(|name| !shown.contains(name)).collect();
    assert!(hidden.is_empty(), "the board shows nothing of {hidden:?}");
}

#[test]
fn every_label_value_of_board_and_alerts_exists() {
    let results = [&RELOAD_RESULTS[..], &RECORD_RESULTS, &RESTORE_RESULTS, &OUTBOX_RESULTS, &REKEY_RESULTS].concat();
    let known: [(&str, Vec<&str>); 8] = [
        ("reason", DegradedReason::ALL.map(DegradedReason::name).to_vec()),
        ("source", DecisionSource::ALL.map(DecisionSource::name).to_vec()),
        ("stage", STAGES.to_vec()),
        ("part", STATE_PARTS.to_vec()),
        ("result", results),
        (
            "state",
            [&LANE_STATES[..], &PARTITION_STATES, &Health::ALL.map(Health::name), &Place::ALL.map(Place::name)]
                .concat(),
        ),
        ("class", FAULT_CLASSES.to_vec()),
        ("code", first_column(include_str!("../docs/api.md")).into_iter().collect()),
    ];
    for (label, known) in known {
        let named = [BOARD, ALERTS].map(|text| values_named(text, label));
        let unknown: Vec<_> = named.iter().flatten().filter(|value| !known.contains(value)).collect();
        assert!(unknown.is_empty(), "{label} is never {unknown:?}");
        assert!(named.iter().flatten().count() > 0, "no query looks at {label}");
    }
}

#[test]
fn every_alert_says_what_it_is_and_what_to_do() {
    let alerts: Vec<&str> = ALERTS.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10, "the alerts cannot be read");
    for alert in &alerts {
        let name = alert.lines().next().expect("a name");
        for key in ["severity: ", "summary: ", "description: "] {
            assert!(alert.contains(key), "{name}: no {key}");
        }
        let runbook = format!("runbook: docs/alerts.md#{}", name.to_lowercase());
        assert!(alert.contains(&runbook), "{name}: expected {runbook}");
        let page = RUNBOOK.split("\n## ").find_map(|page| page.strip_prefix(name));
        let page = page.unwrap_or_else(|| panic!("docs/alerts.md has no ## {name}"));
        assert!(
            page.contains("**Means**") && page.contains("**Do**"),
            "{name}: its page says what it means and what to do"
        );
    }
    let pages = RUNBOOK.matches("\n## Fraudd").count();
    assert_eq!(pages, alerts.len(), "docs/alerts.md has a page without an alert");
}

/// Loads settings files as the image or the cluster would, with what only exists there replaced.
fn load(files: &[&str]) -> Settings {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<PathBuf> = files.iter().map(|file| root.join(file)).collect();
    // Any file with text does for those that are only read here.
    let there = root.join("k8s/overlays/local/keys").display().to_string();
    let given = ["AUTH__KEYS", "KAFKA__HMAC_KEY", "KAFKA__SECURITY__PASSWORD", "KAFKA__SECURITY__CA"];
    let environment = given.iter().map(|key| (format!("FRAUDD__{key}_FILE"), there.clone())).collect();
    match Settings::load(&files, environment) {
        Ok((settings, _)) => settings,
        Err(faults) => panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

#[test]
fn container_and_cluster_settings_load() {
    let image = load(&["config/container.toml"]);
    assert!(image.listen.ip().is_unspecified(), "a container is reached from outside");
    let state = |settings: &Settings| settings.state.as_ref().map(|state| state.directory.clone());
    assert_eq!(state(&image), Some(PathBuf::from("/var/lib/fraudd")), "state is on the volume");
    assert!(!image.allow_insecure, "and never open to everybody");
    let cluster = load(&["config/container.toml", "k8s/base/site.toml"]);
    assert_eq!(state(&cluster), state(&image), "in the cluster too");
    assert_eq!(cluster.models.directory, image.models.directory);
    assert!(cluster.server.drain_pause > image.server.drain_pause, "endpoints need time to notice");
    assert!(!cluster.keys.is_empty(), "the local overlay has a key");
    assert!(cluster.entities.bytes_max.is_some(), "memory has a limit, so entities have a bound");
}

#[test]
fn the_cluster_with_a_stream_loads() {
    let settings = load(&["config/container.toml", "k8s/base/site.toml", "k8s/components/kafka/kafka.toml"]);
    let kafka = settings.kafka.as_ref().expect("the component names brokers");
    assert!(kafka.security.protocol.is_encrypted() && kafka.security.protocol.has_login());
    assert!(kafka.key.is_some(), "several replicas believe each other");
    let back = Duration::from_secs(8) + settings.server.drain_pause;
    assert!(kafka.timeouts.session > back, "a pod that is replaced is back before the group gives its partitions away");
}

#[test]
fn the_component_of_the_stream_gives_no_secret() {
    let secrets = [
        include_str!("../k8s/components/kafka/password"),
        include_str!("../k8s/components/kafka/hmac-key"),
        include_str!("../k8s/components/kafka/ca.pem"),
    ];
    assert!(secrets.iter().all(|secret| secret.is_empty()), "a secret that everybody can read is none");
}

#[test]
fn the_base_gives_no_key() {
    let keys = include_str!("../k8s/base/keys");
    assert!(keys.lines().all(|line| line.starts_with('#')), "a key that everybody can read is no key");
}

//! `fraudd demo` in short: a model that fails and a pipeline that breaks, healed before the client's eyes; what was done is
//! on a record whose chain is whole. And the demonstration's table is the shipped one but for what its header names.

use std::process::{Command, Output};

use fraudd::domain::Span;
use fraudd::runtime::inference::library;
use toml::Value;

fn fraudd(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    let outcome = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output();
    outcome.expect("the binary runs")
}

#[test]
fn a_failing_model_and_a_broken_pipeline_are_healed_without_a_failed_request() {
    if library::open(None).is_err() {
        println!("skipped: no ONNX Runtime in .deps (make runtime)");
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let kept = place.path().join("shown").display().to_string();
    let scenes = ["--scene", "fails", "--scene", "pipeline"];
    let played = fraudd(&[&["demo", "--rate", "150", "--seconds", "240", "--keep", &kept], &scenes[..]].concat());
    let (table, lines) = (String::from_utf8_lossy(&played.stdout), String::from_utf8_lossy(&played.stderr));
    assert_eq!(played.status.code(), Some(0), "{table}\n{lines}");
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("fails").contains("swap (fault-standby-passes)"), "{table}\n{lines}");
    assert!(row("pipeline").contains("mask (broken-feature)"), "{table}\n{lines}");
    assert!(table.contains("2 of 2 scenes as they must be"), "{table}\n{lines}");
    let record = format!("{kept}/state/audit");
    let verified = fraudd(&["audit", "verify", &record]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let replayed = fraudd(&["audit", "replay", &record]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stdout));
}

#[test]
fn a_directory_in_use_is_not_written_to() {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("mine"), "kept").expect("written");
    let refused = fraudd(&["demo", "--keep", &place.path().display().to_string()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"));
    assert_eq!(std::fs::read_dir(place.path()).expect("readable").count(), 1);
}

/// What a key may differ in: its value is shorter or fewer, or more, or another word.
fn may_differ(path: &str, shipped: &Value, demo: &Value) -> bool {
    let span = |value: &Value| value.clone().try_into::<Span>().ok();
    let count = |value: &Value| value.as_integer();
    let key = path.rsplit('.').next().unwrap_or(path);
    match key {
        "version" => demo.as_str() == Some("demo-1"),
        "hour" | "day" => count(demo) >= count(shipped) && count(shipped).is_some(),
        "votes_min" => count(demo) <= count(shipped) && count(demo).is_some(),
        "after" | "dwell" | "cool_down" => span(demo) <= span(shipped) && span(demo).is_some(),
        _ if path.starts_with(".times.") => span(demo) <= span(shipped) && span(demo).is_some(),
        _ => false,
    }
}

/// Lists where the demonstration's table is another than its header says.
fn differences(path: &str, shipped: &Value, demo: &Value) -> Vec<String> {
    match (shipped, demo) {
        (Value::Table(one), Value::Table(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            let below = |key: &String| match (one.get(key), other.get(key)) {
                (Some(shipped), Some(demo)) => differences(&format!("{path}.{key}"), shipped, demo),
                (Some(_) | None, None) | (None, Some(_)) => {
                    vec![format!("{path}.{key} is in one of them only")]
                }
            };
            keys.into_iter().flat_map(below).collect()
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let named = |place: usize, value: &Value| {
                value.get("id").and_then(Value::as_str).map_or(place.to_string(), str::to_owned)
            };
            let pairs = one.iter().zip(other).enumerate();
            pairs
                .flat_map(|(place, (shipped, demo))| {
                    differences(&format!("{path}[{}]", named(place, shipped)), shipped, demo)
                })
                .collect()
        }
        _ if shipped == demo || may_differ(path, shipped, demo) => Vec::new(),
        _ => vec![format!("{path}: {shipped} is {demo} there")],
    }
}

#[test]
fn the_table_of_the_demonstration_has_the_same_rows_shorter_times_fewer_votes_larger_budgets_and_nothing_else() {
    let read = |text: &str| text.parse::<toml::Table>().map(Value::Table).expect("a table");
    let shipped = read(include_str!("../config/healing.toml"));
    let demo = read(include_str!("../config/healing-demo.toml"));
    let ids = |table: &Value| -> Vec<String> {
        let rows = table["row"].as_array().expect("rows");
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&shipped), ids(&demo));
    assert_eq!(differences("", &shipped, &demo), Vec::<String>::new());
    // It looks: a longer time, a smaller budget, another action are told.
    for (from, to, where_it_is) in [
        ("hold_off = \"2s\"", "hold_off = \"2h\"", ".times.hold_off"),
        ("swap = { hour = 60", "swap = { hour = 1", ".budget.swap.hour"),
        ("then = [{ do = \"mask\" }", "then = [{ do = \"tighten\" }", ".row[broken-feature].then[0].do"),
    ] {
        let other = include_str!("../config/healing-demo.toml").replacen(from, to, 1);
        let told = differences("", &shipped, &read(&other));
        assert!(told.len() == 1 && told[0].starts_with(where_it_is), "{told:?}");
    }
}

//! `fraudd replay --heal`: the whole loop on event time, on a simulated history in which something goes wrong at a known time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_fraudd");
/// From then on amounts are a hundred times what they are.
const WRONG: &str = "2026-01-07T00:00:00Z";
const FROM: &str = "2026-01-03T00:00:00Z";

/// What the test sets: short runs between false alarms, and a trainer that takes its time and finds nothing better.
const SETTINGS: &str = r#"
[healing.drift]
uncalibrated = "acting"
tolerance = 0.6
run_length_acting = 1e6
block_votes = 10
[healing.labels]
maturity = "1d"
[ledger]
age_max = "30d"
[retraining]
enabled = true
command = "/bin/sh train.sh"
maturity = "1d"
frauds_min = 1
persistence = "10m"
"#;

fn fraudd(directory: &Path, arguments: &[&str]) -> Output {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut command = Command::new(BINARY);
    command
        .current_dir(directory)
        .env("FRAUDD__MODELS__DIRECTORY", models)
        .env("FRAUDD__TELEMETRY__LOG__FILTER", "error");
    command.args(arguments).output().expect("the binary")
}

fn done(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Tells whether ONNX Runtime is here; `make test` fetches it first.
#[expect(clippy::print_stdout, reason = "tells why nothing was tested")]
fn runtime_is_here() -> bool {
    match fraudd::runtime::inference::library::open(None) {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

/// A history of two worlds that differ in nothing but the amounts from a day on.
fn history(directory: &Path) {
    let world =
        "simulate --seed 7 --label-delay 1d --customers 60 --terminals 200 --days 9 --out t.jsonl --labels l.jsonl";
    done(&fraudd(directory, &world.split(' ').collect::<Vec<_>>()));
    let text = std::fs::read_to_string(directory.join("t.jsonl")).expect("transactions");
    let wrong: Vec<String> = text.lines().map(|line| tampered(line).to_string()).collect();
    std::fs::write(directory.join("wrong.jsonl"), wrong.join("\n") + "\n").expect("written");
    std::fs::write(directory.join("settings.toml"), SETTINGS).expect("written");
    std::fs::write(directory.join("train.sh"), "sleep 1; echo '{\"reason\": \"as good\"}'; exit 3\n").expect("written");
}

fn tampered(line: &str) -> Value {
    let mut transaction: Value = serde_json::from_str(line).expect("JSON");
    if transaction["occurred_at"].as_str().expect("a time") >= WRONG {
        let amount = transaction["amount"].as_i64().expect("minor units");
        transaction["amount"] = (amount * 100).into();
    }
    transaction
}

fn healed(directory: &Path, transactions: &str, name: &str) -> (Value, String) {
    let (store, report) = (format!("{name}-store"), format!("{name}.json"));
    let more = ["--labels", "l.jsonl", "--store", &store, "--report", &report, "--from", FROM, "--tick", "5m"];
    let base = ["replay", transactions, "--heal", "--config", "settings.toml"];
    let said = done(&fraudd(directory, &[&base[..], &more].concat()));
    let text = std::fs::read_to_string(directory.join(report)).expect("a report");
    (serde_json::from_str(&text).expect("JSON"), said)
}

fn all<'a>(report: &'a Value, what: &str) -> &'a [Value] {
    report[what].as_array().expect(what)
}

/// What happened, without what hangs on the machine: how long a training took.
fn course(report: &Value) -> Value {
    let mut course = report.clone();
    for training in course["trainings"].as_array_mut().expect("a list") {
        training["seconds"] = Value::Null;
    }
    course
}

#[test]
fn what_goes_wrong_is_found_and_answered_in_event_time_and_its_twin_is_left_alone() {
    if !runtime_is_here() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let directory: PathBuf = place.path().into();
    history(&directory);

    let (right, _) = healed(&directory, "t.jsonl", "right");
    let (wrong, said) = healed(&directory, "wrong.jsonl", "wrong");
    let found: Vec<&Value> = all(&wrong, "findings").iter().filter(|found| found["is_end"] == false).collect();
    let about_amounts =
        |found: &&&Value| ["broken_feature", "input_drift"].contains(&found["alarm"].as_str().expect("a name"));
    let first = found.iter().find(about_amounts).unwrap_or_else(|| panic!("{found:?}\n{said}"));
    let at = first["at"].as_str().expect("a time");
    assert!((WRONG.."2026-01-08").contains(&at), "{first}");
    let answers = all(&wrong, "actions").iter().filter(|action| action["failure"].is_null());
    let answers: Vec<&str> = answers.map(|action| action["action"].as_str().expect("a name")).collect();
    assert!(answers.contains(&"mask") || answers.contains(&"widen_review"), "{answers:?}");
    assert!(!answers.contains(&"swap"), "the standby is no better at it: {answers:?}");

    // The twin has the same days, and none of this.
    let same = all(&right, "findings").iter().filter(|found| about_amounts(&found));
    assert_eq!(same.count(), 0, "{}", right["findings"]);
    assert_eq!(right["whole"]["transactions"], wrong["whole"]["transactions"]);
    assert_eq!(all(&right, "days").len(), 7);
    assert_eq!(right["whole"]["unscored"], 0);

    // The record is whole, and the same history takes the same course.
    done(&fraudd(&directory, &["audit", "verify", "wrong-store/audit"]));
    done(&fraudd(&directory, &["audit", "replay", "wrong-store/audit"]));
    let (again, _) = healed(&directory, "wrong.jsonl", "again");
    assert_eq!(course(&again), course(&wrong));

    // A store that is there already is not written over.
    let twice = fraudd(&directory, &["replay", "t.jsonl", "--heal", "--store", "wrong-store"]);
    let text = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(!twice.status.success() && text.contains("name an empty directory"), "{text}");
}

//! `fraudd replay --heal`: the whole loop on event time, on a simulated history whose labels stop at a known time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use onnx::runtime_is_here;

#[path = "shared/onnx.rs"]
mod onnx;

const BINARY: &str = env!("CARGO_BIN_EXE_fraudd");
/// From then on no label comes.
const WRONG: &str = "2026-01-07T00:00:00Z";
const FROM: &str = "2026-01-03T00:00:00Z";

const SETTINGS: &str = r#"
[models]
standby = ""
[healing.labels]
maturity = "1d"
silence = "12h"
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

/// A history, its labels, and those that came before the feed stopped.
fn history(directory: &Path) {
    let world =
        "simulate --seed 7 --label-delay 1d --customers 60 --terminals 200 --days 9 --out t.jsonl --labels right.jsonl";
    done(&fraudd(directory, &world.split(' ').collect::<Vec<_>>()));
    let text = std::fs::read_to_string(directory.join("right.jsonl")).expect("labels");
    let came = |line: &&str| {
        let label: Value = serde_json::from_str(line).expect("JSON");
        label["occurred_at"].as_str().expect("a time") < WRONG
    };
    let came: Vec<&str> = text.lines().filter(came).collect();
    std::fs::write(directory.join("stopped.jsonl"), came.join("\n") + "\n").expect("written");
    std::fs::write(directory.join("settings.toml"), SETTINGS).expect("written");
}

fn healed(directory: &Path, labels: &str, name: &str) -> (Value, String) {
    let (store, report) = (format!("{name}-store"), format!("{name}.json"));
    let more = ["--labels", labels, "--store", &store, "--report", &report, "--from", FROM, "--tick", "5m"];
    let base = ["replay", "t.jsonl", "--heal", "--config", "settings.toml"];
    let said = done(&fraudd(directory, &[&base[..], &more].concat()));
    let text = std::fs::read_to_string(directory.join(report)).expect("a report");
    (serde_json::from_str(&text).expect("JSON"), said)
}

fn all<'a>(report: &'a Value, what: &str) -> &'a [Value] {
    report[what].as_array().expect(what)
}

/// Findings that the feed of labels stands still.
fn silences(report: &Value) -> Vec<&Value> {
    let is_meant = |found: &&Value| found["subject"] == "silent" && found["is_end"] == false;
    all(report, "findings").iter().filter(is_meant).collect()
}

#[test]
fn what_goes_wrong_is_found_and_answered_in_event_time_and_its_twin_is_left_alone() {
    if !runtime_is_here() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let directory: PathBuf = place.path().into();
    history(&directory);

    let (right, _) = healed(&directory, "right.jsonl", "right");
    let (wrong, said) = healed(&directory, "stopped.jsonl", "wrong");
    let [silent] = silences(&wrong)[..] else { panic!("{said}") };
    let at = silent["at"].as_str().expect("a time");
    assert!(("2026-01-07T08".."2026-01-07T13").contains(&at), "twelve hours after the last label: {silent}");
    let answers = all(&wrong, "actions").iter().filter(|action| action["row"] == "label-feed");
    let answers: Vec<&Value> = answers.collect();
    assert!(answers.iter().any(|action| action["action"] == "page" && action["failure"].is_null()), "{said}");
    assert!(all(&wrong, "trainings").iter().all(|training| training["asked_at"].as_str() < silent["at"].as_str()));

    // The twin has the same days and decisions, and none of this.
    assert!(silences(&right).is_empty(), "{}", right["findings"]);
    assert_eq!(right["whole"]["transactions"], wrong["whole"]["transactions"]);
    assert_eq!((all(&right, "days").len(), all(&right, "weeks").len()), (7, 1));
    assert_eq!(right["whole"]["unscored"], 0);

    // The record is whole, and the same history takes the same course.
    done(&fraudd(&directory, &["audit", "verify", "wrong-store/audit"]));
    done(&fraudd(&directory, &["audit", "replay", "wrong-store/audit"]));
    let (again, _) = healed(&directory, "stopped.jsonl", "again");
    assert_eq!(again, wrong);

    // A store that is there already is not written over.
    let twice = fraudd(&directory, &["replay", "t.jsonl", "--heal", "--store", "wrong-store"]);
    let text = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(!twice.status.success() && text.contains("name an empty directory"), "{text}");
}

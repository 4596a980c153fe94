//! `fraudd demo` in short: a model that fails and a pipeline that breaks, healed before the client's eyes; what was done is
//! on a record whose chain is whole.

use std::process::{Command, Output};

use fraudd::runtime::inference::library;

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

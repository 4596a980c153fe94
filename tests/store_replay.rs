//! `fraudd replay`: a history into a store of its own, figures from its labels, going on where it ended.

mod service;

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use service::{Service, transaction};

fn replay(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    command.current_dir(directory).env("FRAUDD__MODELS__ENABLED", "false").arg("replay").args(arguments);
    command.output().expect("the binary")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_history_is_scored_measured_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut history, mut labels) = (String::new(), String::new());
    // Out of order in the file: the replay sorts by event time.
    for number in (0..200).rev() {
        let _ = writeln!(history, "{}", transaction(number).replace('\n', " "));
        if number % 10 == 0 {
            let _ = writeln!(
                labels,
                r#"{{"transaction_id":"t-{number}","label":"fraud","occurred_at":"2026-03-02T00:00:00Z","source":"bank"}}"#
            );
        }
    }
    std::fs::write(directory.path().join("history.jsonl"), &history).expect("written");
    std::fs::write(directory.path().join("labels.jsonl"), &labels).expect("written");
    let arguments = ["history.jsonl", "--store", "replayed", "--labels", "labels.jsonl"];
    let first = replay(directory.path(), &arguments);
    let (out, err) = (text(&first.stdout), text(&first.stderr));
    assert!(first.status.success(), "{err}");
    assert!(out.contains("200 decided, 0 known before, 0 conflicts, 0 rows refused"), "{out}");
    assert!(out.contains("20 frauds") && out.contains("average precision 0."), "{out}");
    for figure in ["AUC", "at or above the review threshold", "not approved", "declined", "alert rate"] {
        assert!(out.contains(figure), "{figure}: {out}");
    }

    let refused = replay(directory.path(), &arguments);
    assert!(text(&refused.stderr).contains("--continue"), "{}", text(&refused.stderr));
    assert!(!refused.status.success());
    let more = format!("{history}{}\n", transaction(500).replace('\n', " "));
    std::fs::write(directory.path().join("history.jsonl"), more).expect("written");
    let again = replay(directory.path(), &[&arguments[..], &["--continue"]].concat());
    let again_out = text(&again.stdout);
    assert!(again_out.contains("1 decided, 200 known before"), "{again_out}");

    let service = Service::start(&directory.path().join("replayed"), &[("FRAUDD__LEDGER__AGE_MAX", "36500d")]);
    service.wait_until_ready();
    let expected: Vec<String> = (0..200).chain([500]).map(|number| format!("t-{number}")).collect();
    assert_eq!(service.feed(), expected, "in event time");
    let (status, duplicate) = service.post("/v1/decisions", &transaction(3)).expect("an answer");
    assert_eq!((status, duplicate["evaluation_status"].as_str()), (200, Some("duplicate")));
    assert!(service.text("/metrics").contains("fraudd_state{part=\"ledger_kept\"} 201"));
    assert!(service.stop());
    let mut again = Service::start(&directory.path().join("replayed"), &[("FRAUDD__LEDGER__AGE_MAX", "36500d")]);
    assert_eq!(again.get("/v1/decisions/t-500").0, 200);
    again.kill();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    let checked = checked_output(command.args(["store", "check"]).arg(directory.path().join("replayed")));
    assert!(checked.contains("ledger:") && checked.contains("0 lost"), "{checked}");
}

fn checked_output(command: &mut Command) -> String {
    let output = command.output().expect("the binary");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn an_interrupted_replay_ends_clean_says_so_and_is_continued() {
    const LEN: u64 = 10_000;
    let directory = tempfile::tempdir().expect("a directory");
    let history: String = (0..LEN).map(|number| transaction(number).replace('\n', " ") + "\n").collect();
    std::fs::write(directory.path().join("history.jsonl"), &history).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    command.current_dir(directory.path()).env("FRAUDD__MODELS__ENABLED", "false");
    command.args(["replay", "history.jsonl", "--store", "replayed"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    // Decisions are on their way: Ctrl-C now falls between the first and the last.
    while bytes_in(&directory.path().join("replayed/ledger")) < 20_000 {
        assert!(child.try_wait().expect("a process").is_none(), "it ended before it was interrupted");
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let ended = child.wait_with_output().expect("ended");
    let out = text(&ended.stdout);
    assert_eq!(ended.status.code(), Some(130), "{out}{}", text(&ended.stderr));
    let decided: u64 = out.split(" decided").next().and_then(|count| count.parse().ok()).expect("a count");
    assert!((1..LEN).contains(&decided) && out.ends_with("interrupted: --continue goes on from here\n"), "{out}");

    // What it says was done is what is kept, and it goes on behind it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    let checked = checked_output(command.args(["store", "check"]).arg(directory.path().join("replayed")));
    assert!(checked.contains("0 lost"), "{checked}");
    let again = replay(directory.path(), &["history.jsonl", "--store", "replayed", "--continue"]);
    let again_out = text(&again.stdout);
    let expected = format!("{} decided, {decided} known before, 0 conflicts", LEN - decided);
    assert!(again.status.success() && again_out.contains(&expected), "{again_out}{}", text(&again.stderr));
}

/// Counts the bytes of a directory's files; none while there is no directory.
fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

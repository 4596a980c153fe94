//! A full disk, for real: answered and said so or refused, alarmed, and mended when there is room again.
//!
//! Needs the right to mount a small tmpfs; says so where it has not.

mod service;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use service::{Service, transaction};

/// Answers of one test at most: the disk must have failed, or recovered, by then.
const POSTS_MAX: u64 = 60_000;

struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Mounts a disk of 4 MiB that is full but for some 300 KiB; `None` without the right to.
    fn nearly_full() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "fraudd-test"])
            .arg(directory.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            // Whoever reads the output must see that this was not tested.
            let _ = writeln!(std::io::stderr(), "skipped: no right to mount a tmpfs");
            return None;
        }
        let disk = Self { directory };
        std::fs::write(disk.filler(), vec![1; 3_700 << 10]).expect("room");
        Some(disk)
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.directory.path()).status();
        assert!(unmounted.expect("umount").success());
    }
}

fn start(state: &Path, on_failure: &str) -> Service {
    let settings = [("FRAUDD__STATE__SEGMENT_SIZE", "64KiB"), ("FRAUDD__STATE__ON_FAILURE", on_failure)];
    let service = Service::start(state, &settings);
    service.wait_until_ready();
    service
}

fn is_unrecorded(decision: &serde_json::Value) -> bool {
    decision["degraded_reasons"].as_array().expect("a list").iter().any(|reason| reason == "not_recorded")
}

#[test]
fn a_full_disk_answers_and_says_so_and_catches_up() {
    let Some(disk) = Disk::nearly_full() else { return };
    let service = start(&disk.state(), "answer");
    let post = |number| {
        let (status, decision) = service.post("/v1/decisions", &transaction(number)).expect("an answer");
        assert_eq!(status, 200, "{decision}");
        decision
    };
    let full = (0..POSTS_MAX).find(|number| is_unrecorded(&post(*number))).expect("the disk fills up");
    for number in full + 1..full + 50 {
        assert!(is_unrecorded(&post(number)), "t-{number} has no room");
    }
    let first = post(full);
    assert_eq!(first["evaluation_status"], "duplicate", "the first answer stands although no disk has it");
    let metrics = service.text("/metrics");
    assert!(metrics.contains("\nfraudd_store_failing 1"), "{metrics}");
    let health = service.get("/v1/health").1;
    assert_eq!(health["state"], "degraded");
    assert!(health["degraded_reasons"].as_array().expect("a list").contains(&"not_recorded".into()), "{health}");

    disk.free();
    let next = (full + 50..full + POSTS_MAX).find(|number| !is_unrecorded(&post(*number))).expect("it recovers");
    assert!(service.text("/metrics").contains("\nfraudd_store_failing 0"));
    let expected: Vec<String> = (0..=next).map(|number| format!("t-{number}")).collect();
    assert_eq!(service.feed(), expected, "each once, in order");
    assert!(service.stop());

    let again = start(&disk.state(), "answer");
    assert_eq!(again.feed(), expected);
    let (_, found) = again.get(&format!("/v1/decisions/t-{full}"));
    assert!(is_unrecorded(&found), "what was answered is what is kept: {found}");
    assert_eq!(found["outcome"], first["outcome"]);
}

#[test]
fn a_full_disk_refuses_when_told_so_and_the_id_stays_free() {
    let Some(disk) = Disk::nearly_full() else { return };
    let mut service = start(&disk.state(), "refuse");
    let post = |number| service.post("/v1/decisions", &transaction(number)).expect("an answer");
    let full = (0..POSTS_MAX).find(|number| post(*number).0 != 200).expect("the disk fills up");
    let (status, problem) = post(full);
    assert_eq!((status, problem["code"].as_str()), (503, Some("not_recorded")), "{problem}");
    let label = format!(
        r#"{{"transaction_id":"t-0","label":"fraud","occurred_at":"2026-03-02T00:00:00Z","source":"x{full}"}}"#
    );
    assert_eq!(service.post("/v1/labels", &label).expect("an answer").0, 503);
    let entry = r#"{"field":"card.token","value":"tok_1","reason":"stolen"}"#;
    assert_eq!(service.get(&format!("/v1/decisions/t-{full}")).0, 404);
    assert!(
        service.text("/metrics").contains("\nfraudd_store_failing 1"),
        "nothing was written since: the alarm stands"
    );
    disk.free();
    let answered = (0..POSTS_MAX).map(|_| post(full)).find(|(status, _)| *status == 200).expect("it recovers");
    assert_eq!(answered.1["evaluation_status"], "new");
    assert_eq!(service.post("/v1/lists/deny/entries", entry).expect("an answer").0, 201);
    let expected: Vec<String> = (0..=full).map(|number| format!("t-{number}")).collect();
    assert_eq!(service.feed(), expected);
    service.kill();
    let again = start(&disk.state(), "refuse");
    let (_, kept) = again.get("/v1/lists/deny/entries");
    assert_eq!(kept["entries"][0]["value"], "tok_1", "{kept}");
}

#[test]
fn a_read_only_disk_is_told_at_start() {
    let Some(disk) = Disk::nearly_full() else { return };
    disk.free();
    start(&disk.state(), "answer").kill();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.directory.path()).status();
    assert!(remounted.expect("mount").success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("FRAUDD__MODELS__ENABLED", "false");
    let output = command.env("FRAUDD__STATE__DIRECTORY", disk.state()).output().expect("the binary");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("LOCK") && told.contains("Read-only file system"), "{told}");
}

//! The chain: whole, tampered with, over files and restarts, on a disk that refuses.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::reading::{files_of, verify};
use super::{Audit, Head, Kind, Line, Options};
use crate::domain::Timestamp;
use crate::healing::situation::RecordState;
use crate::runtime::clock::Clock;

const SOON: Duration = Duration::from_secs(30);

fn options(directory: &Path) -> Options {
    Options { directory: Some(directory.to_path_buf()), ..Options::default() }
}

fn open(options: Options) -> Audit {
    Audit::open(options, Clock::manual(Timestamp::from_seconds(1_800_000_000))).expect("opened")
}

fn fill(audit: &Audit, count: usize) {
    for number in 0..count {
        assert!(audit.note_and_wait(Kind::Alarm, &json!({"number": number, "text": "\"hash\":\"x\""}), SOON));
    }
}

#[test]
fn a_chain_goes_on_over_files_and_restarts() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = Options { file_len_max: 2_000, ..options(directory.path()) };
    let audit = open(small.clone());
    audit.note_config(&json!({"table": 1}));
    fill(&audit, 20);
    let head = audit.view().head;
    audit.close();
    let again = open(small);
    assert_eq!(again.view().head, head);
    fill(&again, 5);
    let shown = again.after(0, 1_000).expect("readable");
    again.close();
    let report = verify(directory.path()).expect("readable");
    assert_eq!((report.faults.len(), report.chains, report.first_seq), (0, 1, 1), "{report:?}");
    assert_eq!(shown.len() as u64, report.lines);
    let files = files_of(directory.path()).expect("files");
    assert!(files.len() > 2);
    // Each file after the first begins with the table in force, so that it can be replayed alone.
    let second = std::fs::read_to_string(&files[1]).expect("text");
    let first_line = second.lines().next().expect("a line");
    assert_eq!(Line::read(first_line).expect("whole").kind, Kind::Config);
}

#[test]
fn old_files_go_and_the_rest_still_verifies() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = open(Options { file_len_max: 1_000, files_max: 3, ..options(directory.path()) });
    fill(&audit, 40);
    audit.close();
    assert_eq!(files_of(directory.path()).expect("files").len(), 3);
    let report = verify(directory.path()).expect("readable");
    assert!(report.faults.is_empty() && report.first_seq > 1, "{report:?}");
}

#[test]
fn whatever_is_changed_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = open(options(directory.path()));
    fill(&audit, 6);
    audit.close();
    let path = files_of(directory.path()).expect("files").remove(0);
    let text = std::fs::read_to_string(&path).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    let check = |changed: String, what: &str| {
        std::fs::write(&path, changed).expect("written");
        let report = verify(directory.path()).expect("readable");
        assert!(!report.faults.is_empty(), "{what}");
    };
    check(text.replacen("\"number\":3", "\"number\":4", 1), "a number");
    check(text.replacen("alarm", "model", 1), "a kind");
    let mut without = lines.clone();
    without.remove(3);
    check(without.join("\n") + "\n", "a line is gone");
    let mut moved = lines.clone();
    moved.swap(2, 3);
    check(moved.join("\n") + "\n", "lines are swapped");
    let mut forged = Head::new("forged".into());
    let line = forged.next(Timestamp::from_seconds(1), Kind::Alarm, "{}");
    check(format!("{text}{}\n", line.replace("\"seq\":1", "\"seq\":8")), "a line of somebody else");
    // Every single byte counts.
    for at in (0..text.len() - 1).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        check(String::from_utf8_lossy(&bytes).into_owned(), "a byte");
    }
    std::fs::write(&path, format!("{text}{{\"seq\":")).expect("written");
    let report = verify(directory.path()).expect("readable");
    assert_eq!((report.faults.len(), report.torn_bytes), (0, 7), "a torn end is told, and no fault");
}

#[test]
fn a_torn_end_is_cut_and_the_chain_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = open(options(directory.path()));
    fill(&audit, 3);
    audit.close();
    let path = files_of(directory.path()).expect("files").remove(0);
    let mut text = std::fs::read_to_string(&path).expect("text");
    text.push_str("{\"seq\":5,\"chain\"");
    std::fs::write(&path, text).expect("written");
    let audit = open(options(directory.path()));
    fill(&audit, 2);
    audit.close();
    let report = verify(directory.path()).expect("readable");
    assert_eq!((report.faults, report.lines, report.torn_bytes), (vec![], 6, 0));
    // A file without a readable end is set aside, and a new chain says so.
    std::fs::write(&path, "nonsense").expect("written");
    let audit = open(options(directory.path()));
    fill(&audit, 1);
    audit.close();
    assert!(path.with_extension("jsonl.unreadable").exists());
    assert!(verify(directory.path()).expect("readable").faults.is_empty());
}

#[test]
fn a_disk_that_refuses_is_said_and_what_found_no_room_is_told() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("audit");
    // Each group begins a file of its own, so that a directory that is gone is felt at once.
    let audit = open(Options { file_len_max: 1, queue_len_max: 8, ..options(&directory) });
    fill(&audit, 2);
    std::fs::remove_dir_all(&directory).expect("removed");
    let is_heard = || audit.note_and_wait(Kind::Intent, &json!({}), Duration::from_millis(5));
    while audit.state() == RecordState::Written {
        assert!(!is_heard(), "nothing can be written");
    }
    assert!(audit.view().failure.is_some());
    (0..20).for_each(|_| audit.note(Kind::Alarm, &json!({"while": "down"})));
    assert!(audit.view().lost > 0);
    std::fs::create_dir(&directory).expect("made");
    while audit.state() == RecordState::Down {
        is_heard();
    }
    audit.close();
    let report = verify(&directory).expect("readable");
    assert!(report.faults.is_empty(), "{report:?}");
    let all: String =
        files_of(&directory).expect("files").iter().map(|path| std::fs::read_to_string(path).expect("text")).collect();
    assert!(all.contains("\"kind\":\"lost\""), "{all}");
}

#[test]
fn without_a_directory_the_ring_shows_what_there_is() {
    let audit = open(Options { ring_len_max: 4, ..Options::default() });
    let followed = audit.follow(16);
    fill(&audit, 6);
    let view = audit.view();
    assert_eq!((view.seq, view.is_durable), (7, false));
    let shown = audit.after(0, 100).expect("in memory");
    assert_eq!(shown.len(), 4);
    assert_eq!(Line::read(&shown[0]).expect("whole").seq, 4);
    assert_eq!(audit.after(6, 100).expect("in memory").len(), 1);
    assert!(followed.try_iter().count() >= 6, "who follows sees what is written from then on");
    audit.close();
}

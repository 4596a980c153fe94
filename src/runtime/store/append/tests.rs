//! Every crash and every failing call of the disk, by an imitation of the disk.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::PathBuf;

use super::super::samples::transaction;
use super::super::{Kind, put_transaction};
use super::*;
use crate::domain::Timestamp;

const GROUPS: usize = 3;
const GROUP_LEN: usize = 4;

thread_local! {
    /// Calls of the disk until one fails; `None`: none does.
    static FAILS_AFTER: Cell<Option<u32>> = const { Cell::new(None) };
    /// A log, and copies of it as a crash at each call of the disk would have left it.
    static CRASHES: RefCell<Option<(PathBuf, Vec<tempfile::TempDir>)>> = const { RefCell::new(None) };
}

/// What happens before each call: a crash is thought of, and the planned one fails.
fn touch() -> io::Result<()> {
    CRASHES.with_borrow_mut(|crashes| {
        if let Some((log, copies)) = crashes {
            copies.push(copy(log));
        }
    });
    match FAILS_AFTER.get() {
        Some(0) => Err(io::Error::other("as planned")),
        left => {
            FAILS_AFTER.set(left.map(|left| left - 1));
            Ok(())
        }
    }
}

fn copy(log: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(log).expect("a directory") {
        let from = entry.expect("an entry").path();
        fs::copy(&from, copy.path().join(from.file_name().expect("a name"))).expect("copied");
    }
    copy
}

const DISK: Disk =
    Disk { write: |file, bytes, at| touch().and_then(|()| file.write_all_at(bytes, at)), sync: |_| touch() };

fn group(number: usize) -> Vec<Vec<u8>> {
    let payload = |place| {
        let mut payload = Vec::new();
        put_transaction(&mut payload, &transaction(&format!("t-{number}-{place}"), Timestamp::from_seconds(7)));
        payload
    };
    (0..GROUP_LEN).map(payload).collect()
}

/// Every payload of a log as a start finds it.
fn payloads_of(directory: &Path) -> Vec<Vec<u8>> {
    let (log, recovered) = Log::open(directory, Kind::Events, &mut |_, _| {}).expect("a log");
    assert_eq!(recovered.cut_bytes, 0);
    let mut found = Vec::new();
    for segment in log.segments() {
        for entry in segment.entries().expect("readable").entries {
            found.push(segment.read(entry.offset).expect("a frame").1);
        }
    }
    found
}

/// A log of three groups, `synced` of them synced, the last sync failed.
fn failed(directory: &Path, synced: usize) -> (Appender, Vec<Vec<u8>>) {
    let (log, _) = Log::open(directory, Kind::Events, &mut |_, _| {}).expect("a log");
    let mut appender = Appender::new(Arc::new(log), 1 << 20, DISK, Clock::system());
    let mut all = Vec::new();
    for number in 0..GROUPS {
        appender.make_room().expect("room");
        let group = group(number);
        appender.append(&group.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("written");
        all.extend(group);
        if number + 1 == synced {
            appender.sync().expect("synced");
        }
    }
    appender.make_room().expect("room");
    appender.fail_sync(io::Error::other("as planned"));
    (appender, all)
}

#[test]
fn a_crash_at_any_moment_of_writing_anew_loses_nothing() {
    for synced in 0..GROUPS {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut appender, all) = failed(directory.path(), synced);
        CRASHES.set(Some((directory.path().into(), Vec::new())));
        let mut moved = Vec::new();
        appender.write_anew(&mut |payload, place| moved.push((payload.to_vec(), place))).expect("written anew");
        let (_, copies) = CRASHES.take().expect("copies");
        assert!(copies.len() >= GROUPS - synced + 2, "header, groups, sync");
        for copy in &copies {
            assert!(payloads_of(copy.path()) == all, "{synced} groups synced");
        }
        assert!(moved.iter().map(|(payload, _)| payload).eq(&all[synced * GROUP_LEN..]));
        for (payload, place) in &moved {
            let segment = appender.log.get(place.segment).expect("a segment");
            assert_eq!(&segment.read(place.offset).expect("a frame").1, payload);
        }
        drop(appender);
        assert!(payloads_of(directory.path()) == all, "{synced} groups synced");
    }
}

#[test]
fn a_disk_that_fails_while_writing_anew_leaves_the_old_file_and_another_try_mends() {
    for (synced, calls) in [(0, 0), (0, 2), (0, 4), (1, 1), (2, 2)] {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut appender, mut all) = failed(directory.path(), synced);
        FAILS_AFTER.set(Some(calls));
        appender.write_anew(&mut |_, _| panic!("nothing has moved")).expect_err("as planned");
        FAILS_AFTER.set(None);
        assert!(payloads_of(copy(directory.path()).path()) == all, "{synced} synced, {calls} calls");
        // What comes before the next try goes behind what is there.
        let group = group(GROUPS);
        appender.append(&group.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("written");
        all.extend(group);
        appender.write_anew(&mut |_, _| {}).expect("written anew");
        appender.close().expect("synced");
        drop(appender);
        assert!(payloads_of(directory.path()) == all, "{synced} synced, {calls} calls");
    }
}

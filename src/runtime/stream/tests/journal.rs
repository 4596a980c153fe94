//! What a committed group leaves on disk: whole up to its position, wherever a crash cuts.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Instance, open, open_with, options, transaction};
use crate::domain::Span;
use crate::runtime::store::Options;
use crate::runtime::stream::{Position, Standing};

fn newest(directory: &Path, log: &str) -> PathBuf {
    let files = fs::read_dir(directory.join(log)).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut segments: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments.pop().expect("a segment")
}

/// Where each frame of a segment ends, its header first.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![64];
    while let Some(head) = bytes.get(ends[ends.len() - 1]..).and_then(|rest| rest.get(..4)) {
        let len = u32::from_le_bytes(head.try_into().expect("four")) as usize;
        ends.push(ends[ends.len() - 1] + 16 + len);
    }
    assert_eq!(ends.last(), Some(&bytes.len()), "whole frames to the end");
    ends
}

/// Copies a store with one log cut, as a crash leaves it: the newest segments are not sealed.
fn cut(from: &Path, log: &str, len: usize) -> tempfile::TempDir {
    let target = tempfile::tempdir().expect("a directory");
    for name in ["events", "ledger"] {
        fs::create_dir_all(target.path().join(name)).expect("made");
        let source = newest(from, name);
        let copy = target.path().join(name).join(source.file_name().expect("a name"));
        let mut bytes = fs::read(&source).expect("readable");
        if name == log {
            bytes.truncate(len);
        }
        fs::write(copy, bytes).expect("written");
    }
    fs::copy(from.join("stream.json"), target.path().join("stream.json")).expect("copied");
    target
}

/// Five groups of six, with a decision of the REST door between them.
async fn groups(instance: &Instance) -> Vec<Position> {
    let mut at = None;
    let mut ends = Vec::new();
    for group in 0..5 {
        let (_, after) = instance.commit(group * 10..group * 10 + 6, at);
        drop(instance.score(transaction(group * 10 + 8)).await);
        at = Some(after);
        ends.push(after);
    }
    ends
}

#[tokio::test]
async fn wherever_a_crash_cuts_a_position_has_all_that_comes_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let ends = groups(&instance).await;
    let whole = instance.fingerprint(60);
    drop(instance);
    let mut seen = std::collections::BTreeSet::new();
    for log in ["ledger", "events"] {
        let bytes = fs::read(newest(directory.path(), log)).expect("readable");
        let boundaries = boundaries(&bytes);
        let inside = boundaries.windows(2).map(|pair| usize::midpoint(pair[0], pair[1]));
        for len in boundaries.iter().copied().chain(inside) {
            let crashed = cut(directory.path(), log, len);
            let again = open(crashed.path());
            let reached = again.positions.get(&0).copied();
            let groups = reached.map_or(0, |position| {
                1 + ends.iter().position(|end| *end == position).expect("a position that was written")
            });
            seen.insert((log, groups));
            for group in 0..groups {
                for number in group * 10..group * 10 + 6 {
                    let number = i64::try_from(number).expect("few");
                    let id = format!("t-{number}");
                    assert!(again.entities.knows(&id), "{log} cut at {len}: the event of {id} is missing");
                    let record = again.ledger.find(&id).await.expect("readable");
                    assert!(record.is_some(), "{log} cut at {len}: the decision of {id} is missing");
                }
            }
            if groups == 5 && log == "ledger" {
                assert_eq!(again.fingerprint(60), whole);
            }
        }
    }
    for log in ["ledger", "events"] {
        for groups in 0..=5 {
            assert!(seen.contains(&(log, groups)), "{log} was never cut behind group {groups}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn after_a_crash_the_changelog_closes_the_gap_and_nothing_is_published_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let (_, first) = instance.commit(0..5, None);
    // Decided by REST, then published in a group whose local trace a crash takes away.
    drop(instance.score(transaction(7)).await);
    instance.running.close();
    let ledger = fs::metadata(newest(directory.path(), "ledger")).expect("there").len();
    drop(instance);
    let instance = open(directory.path());
    let (blob, second) = instance.commit(5..10, Some(first));
    let expected = instance.fingerprint(10);
    drop(instance);
    fs::remove_file(newest(directory.path(), "ledger")).expect("removed");
    fs::remove_file(newest(directory.path(), "events")).expect("removed");
    assert_eq!(fs::metadata(newest(directory.path(), "ledger")).expect("there").len(), ledger);

    let again = open(directory.path());
    assert_eq!(again.positions.get(&0), Some(&first));
    assert_eq!(again.ledger.unpublished(), 1, "as far as the store knows");
    let blob = crate::runtime::stream::Blob::decode(&blob).expect("readable");
    assert_eq!(crate::runtime::stream::StateSink::follow(&first, &blob), Ok(true));
    again.sink().apply(0, &blob, true);
    assert_eq!((again.ledger.unpublished(), again.fingerprint(10)), (0, expected));
    drop(again);
    let again = open(directory.path());
    assert_eq!((again.positions.get(&0), again.ledger.unpublished()), (Some(&second), 0));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_holds_no_lane_up_and_gets_all_of_it_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let (ledger, away) = (directory.path().join("ledger"), directory.path().join("away"));
    fs::rename(&ledger, &away).expect("moved");
    let (_, first) = instance.commit(0..5, None);
    let (_, second) = instance.commit(5..10, Some(first));
    for number in 0..10 {
        let found = instance.ledger.find(&format!("t-{number}")).await.expect("memory");
        assert!(found.is_some(), "visible although the disk has nothing of it");
    }
    assert!(instance.ledger.stats().waiting > 0);
    fs::rename(&away, &ledger).expect("moved back");
    while instance.ledger.stats().waiting > 0 {
        std::thread::yield_now();
    }
    let expected = instance.fingerprint(10);
    drop(instance);
    let again = open(directory.path());
    assert_eq!((again.positions.get(&0), again.ledger.stats().kept), (Some(&second), 10));
    assert_eq!(again.fingerprint(10), expected);
}

#[tokio::test]
async fn a_repaired_store_claims_no_position_that_it_lost_something_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let end = groups(&instance).await.pop();
    drop(instance);
    let repaired = |from: &Path| {
        let target = tempfile::tempdir().expect("a directory");
        crate::runtime::store::repair(from, &target.path().join("new"), &|_| {}).expect("copied");
        let again = open(&target.path().join("new"));
        assert_eq!(again.ledger.unpublished(), 5, "what the REST door decided is still owed");
        (again.positions.get(&0).copied(), again.ledger.stats().kept, target)
    };
    let (position, kept, _whole) = repaired(directory.path());
    assert_eq!((position, kept), (end, 35));
    let damaged = cut(directory.path(), "neither", 0);
    let events = newest(damaged.path(), "events");
    let mut bytes = fs::read(&events).expect("readable");
    bytes[400] ^= 1;
    fs::write(&events, bytes).expect("written");
    let (position, kept, _repaired) = repaired(damaged.path());
    assert_eq!((position, kept), (None, 35), "the decisions are all there, an event is not");
}

#[tokio::test]
async fn an_idle_partition_keeps_its_position_when_old_segments_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = Options { segment_len_max: 16 << 10, bytes_max: 48 << 10, ..options(directory.path()) };
    let instance = open_with(small.clone(), 1 << 20);
    let idle = Position { chain: 77, ..Position::start(500, 3) };
    let advance = crate::runtime::stream::Advance { partition: 3, before: None, after: idle };
    let group = crate::runtime::stream::StreamGroup { advances: vec![advance], ..Default::default() };
    instance.scorer.keep_group(group);
    let mut at = None;
    for group in 0..100 {
        at = Some(instance.commit(group * 5..group * 5 + 5, at).1);
        // Answered when written: groups become several writes, and several segments.
        drop(instance.score(transaction(10_000 + group)).await);
    }
    instance.running.close();
    let stats = instance.ledger.stats();
    assert!(stats.evicted > 0 && stats.disk_bytes < 100 << 10, "{stats:?}");
    assert!(instance.ledger.find("t-0").await.expect("readable").is_none(), "its segment has gone");
    drop(instance);
    let again = open_with(small, 1);
    assert_eq!((again.positions.get(&3), again.positions.get(&0)), (Some(&idle), at.as_ref()));
}

#[tokio::test]
async fn what_was_let_go_stays_gone_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let (blob, after) = instance.commit(0..20, None);
    let whole = instance.fingerprint(20);
    instance.sink().release(&[0, 1, 2, 3]);
    let released = instance.fingerprint(20);
    drop(instance);
    let again = open(directory.path());
    assert!(again.positions.is_empty());
    assert_eq!(again.fingerprint(20), released);
    assert_eq!(again.entities.stats().transactions, 20);
    // It comes back from the changelog, and stays.
    again.sink().apply(0, &crate::runtime::stream::Blob::decode(&blob).expect("readable"), false);
    assert_eq!(again.fingerprint(20), whole);
    drop(again);
    let again = open(directory.path());
    assert_eq!(again.positions.get(&0), Some(&after));
}

#[tokio::test]
async fn a_store_without_a_stream_opens_with_one_and_what_it_decided_before_is_not_owed() {
    let directory = tempfile::tempdir().expect("a directory");
    let record = |number| {
        crate::runtime::store::samples::record_at(&format!("old-{number}"), 0, transaction(number).occurred_at())
    };
    {
        let (store, kept) = crate::runtime::store::Store::open(options(directory.path())).expect("a store");
        let cache = crate::runtime::decisions::Options { age_max: Span::from_days(36_500), bytes_max: 1 << 20 };
        let ledger = std::sync::Arc::new(crate::runtime::decisions::Ledger::with_store(cache, &store, &kept));
        let (entities, _) = crate::runtime::store::samples::entities();
        let running = store.start(&ledger, &entities, &crate::tasks::Shutdown::default()).expect("threads");
        let record = record(1);
        let crate::runtime::decisions::Reservation::Reserved(ticket) = ledger.reserve("old-1", record.payload_hash)
        else {
            panic!("not free")
        };
        ticket.settle(record, crate::runtime::clock::Moment::now().after(std::time::Duration::from_mins(1))).await;
        running.close();
    }
    let version = |path: &Path| fs::read(path).expect("readable")[8];
    assert_eq!(version(&newest(directory.path(), "ledger")), 1, "an older fraudd reads it");
    let instance = open(directory.path());
    assert_eq!(instance.ledger.unpublished(), 0);
    assert!(instance.ledger.find("old-1").await.expect("readable").is_some());
    drop(instance.score(transaction(2)).await);
    assert_eq!(instance.ledger.unpublished(), 1);
    drop(instance);
    assert_eq!(version(&newest(directory.path(), "ledger")), 2, "an older fraudd refuses it, and says so");
    let again = open(directory.path());
    assert_eq!(again.ledger.unpublished(), 1, "the start is kept");
    assert_eq!(again.ownership.standing(0), Standing::Live);
}

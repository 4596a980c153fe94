//! The publisher over a broker that is played: in order, at least once, nothing lost over outages and restarts.

use std::path::Path as Folder;

use super::*;
use crate::domain::{Span, Timestamp};
use crate::healing::ModelRef;
use crate::healing::retraining::{Declined, Request};
use crate::runtime::audit::{self, Kind};
use crate::runtime::clock::Clock;

/// A broker: what it has, and what it does next.
#[derive(Default)]
struct Played {
    has: Vec<Letter>,
    is_away: bool,
    /// How many letters it still takes before it breaks off in the middle of a batch.
    takes: Option<usize>,
}

type Broker = Arc<Mutex<Played>>;

fn sending(broker: &Broker) -> Send {
    let broker = Arc::clone(broker);
    Box::new(move |letters, _| {
        let mut broker = broker.lock();
        if broker.is_away {
            return Err("all brokers are down".to_owned());
        }
        let room = broker.takes.take().unwrap_or(usize::MAX);
        broker.has.extend(letters.iter().take(room).cloned());
        if room < letters.len() { Err("it broke off".to_owned()) } else { Ok(()) }
    })
}

fn record(folder: &Folder) -> Audit {
    let options =
        audit::Options { directory: Some(folder.join("audit")), ring_len_max: 4, ..audit::Options::default() };
    Audit::open(options, Clock::manual(Timestamp::from_seconds(1_770_000_000))).expect("opened")
}

/// Notes so many lines; they are on disk when this returns.
fn note(audit: &Audit, count: u64) {
    for number in 0..count {
        assert!(audit.note_and_wait(Kind::Alarm, &number, Duration::from_secs(20)), "written");
    }
}

fn request(second: i64) -> Request {
    let asked_at = Timestamp::from_seconds(second);
    Request {
        id: format!("rt_{second}"),
        asked_at,
        replaces: ModelRef { name: "card-fraud".into(), version: "1.0.0".into(), sha256: "aa".into() },
        evidence: Vec::new(),
        from: None,
        until: asked_at,
        maturity: Span::from_days(7),
        leave_out: Vec::new(),
        declined: Declined::Labelled,
        gates: Vec::new(),
        note: String::new(),
    }
}

fn publisher(folder: &Folder, audit: Option<&Audit>, broker: &Broker) -> (Publisher, Arc<Spool>) {
    let options = Options {
        audit: Some("fraudd.audit".into()),
        retrain: Some("fraudd.retrain".into()),
        source: "fraudd/test-0".into(),
        secret: Some("geheim".into()),
    };
    let spool = Arc::new(Spool::new(folder.join("publish"), "fraudd.retraining.requested.v1"));
    let place = Place::open(folder.join("published.json")).expect("opened");
    let sources = Sources { audit: audit.cloned(), place, spool: Arc::clone(&spool) };
    (Publisher::new(options, sources, sending(broker)), spool)
}

fn numbers(broker: &Broker) -> Vec<u64> {
    let broker = broker.lock();
    let lines = broker.has.iter().filter(|letter| letter.topic == "fraudd.audit");
    lines.map(|letter| Line::read(&letter.payload).expect("a line").seq).collect()
}

fn header(letter: &Letter, name: &str) -> String {
    let found = letter.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone());
    String::from_utf8(found.unwrap_or_default()).expect("text")
}

#[test]
fn the_whole_record_goes_in_order_and_once_while_all_is_well() {
    let (folder, broker) = (tempfile::tempdir().expect("a folder"), Broker::default());
    let audit = record(folder.path());
    note(&audit, 300);
    let (mut publisher, _) = publisher(folder.path(), Some(&audit), &broker);
    while publisher.step().expect("taken") > 0 {}
    assert_eq!(numbers(&broker), (1..=301).collect::<Vec<_>>());
    {
        let broker = broker.lock();
        let last = broker.has.last().expect("a letter");
        assert_eq!(last.key, audit.view().chain);
        assert_eq!(header(last, SEQUENCE_HEADER), "301");
        assert_eq!(header(last, "ce_id"), format!("{}:301", last.key));
        assert_eq!(header(last, "ce_type"), RECORDED);
    }
    // Whoever has all of them can check the chain without us.
    let broker = broker.lock();
    let lines: Vec<_> = broker.has.iter().map(|letter| Line::read(&letter.payload).expect("a line")).collect();
    assert!(lines.windows(2).all(|pair| pair[1].previous == pair[0].hash));
    audit.close();
}

#[test]
fn an_outage_loses_nothing_and_a_batch_that_broke_off_comes_again() {
    let (folder, broker) = (tempfile::tempdir().expect("a folder"), Broker::default());
    let audit = record(folder.path());
    note(&audit, 1);
    let (mut publisher, _) = publisher(folder.path(), Some(&audit), &broker);
    assert_eq!(publisher.step(), Ok(2));
    broker.lock().is_away = true;
    note(&audit, 10);
    for _ in 0..3 {
        assert_eq!(publisher.step(), Err("all brokers are down".to_owned()));
    }
    assert_eq!(numbers(&broker), [1, 2]);
    {
        let mut broker = broker.lock();
        (broker.is_away, broker.takes) = (false, Some(4));
    }
    assert!(publisher.step().is_err());
    assert_eq!(publisher.step(), Ok(10));
    let expected: Vec<u64> = (1..=6).chain(3..=12).collect();
    assert_eq!(numbers(&broker), expected, "four of them twice, all of them at least once");
    audit.close();
}

#[test]
fn a_restart_goes_on_where_the_broker_was() {
    let (folder, broker) = (tempfile::tempdir().expect("a folder"), Broker::default());
    let first = record(folder.path());
    note(&first, 5);
    let (mut before, _) = publisher(folder.path(), Some(&first), &broker);
    assert_eq!(before.step(), Ok(6));
    note(&first, 3);
    first.close();
    drop(before);
    let again = record(folder.path());
    let (mut after, _) = publisher(folder.path(), Some(&again), &broker);
    note(&again, 1);
    while after.step().expect("taken") > 0 {}
    assert_eq!(numbers(&broker), (1..=10).collect::<Vec<_>>());
    again.close();
    std::fs::write(folder.path().join("published.json"), b"{").expect("written");
    assert!(matches!(Place::open(folder.path().join("published.json")), Err(PlaceError::Damaged { .. })));
}

#[test]
fn requests_wait_on_disk_and_go_oldest_first_and_signed() {
    let (folder, broker) = (tempfile::tempdir().expect("a folder"), Broker::default());
    broker.lock().is_away = true;
    let (mut before, spool) = publisher(folder.path(), None, &broker);
    for second in [300, 100, 200, 100] {
        spool.take(&request(second)).expect("kept");
    }
    assert!(before.step().is_err());
    drop((before, spool));
    broker.lock().is_away = false;
    let (mut after, _) = publisher(folder.path(), None, &broker);
    assert_eq!(after.step(), Ok(3));
    assert_eq!(after.step(), Ok(0));
    let broker = broker.lock();
    let keys: Vec<&str> = broker.has.iter().map(|letter| letter.key.as_str()).collect();
    assert_eq!(keys, ["rt_100", "rt_200", "rt_300"]);
    let first = &broker.has[0];
    assert_eq!(first.topic, "fraudd.retrain");
    let read: Request = serde_json::from_str(&first.payload).expect("a request");
    assert_eq!(read, request(100));
    let signed = crate::edge::outbound::webhook::signature("geheim", first.payload.as_bytes());
    assert_eq!(header(first, "x-fraudd-signature"), signed);
}

#[test]
fn no_more_requests_wait_than_there_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, spool) = publisher(folder.path(), None, &Broker::default());
    for second in 0..64 {
        spool.take(&request(second)).expect("kept");
    }
    let refused = spool.take(&request(64)).expect_err("refused");
    assert!(refused.contains("64 requests wait"), "{refused}");
}

#[test]
fn closing_sends_what_is_left() {
    let (folder, broker) = (tempfile::tempdir().expect("a folder"), Broker::default());
    let audit = record(folder.path());
    note(&audit, 280);
    let (publisher, spool) = publisher(folder.path(), Some(&audit), &broker);
    spool.take(&request(1)).expect("kept");
    let running = Running::start(publisher).expect("a thread");
    audit.close();
    running.close();
    assert_eq!(numbers(&broker).len(), 281);
    assert!(broker.lock().has.iter().any(|letter| letter.key == "rt_1"));
}

//! Stores over real files: what is kept, what a crash leaves, what is damaged, what retention lets go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::samples::{entities, options, record_at, transaction};
use super::*;
use crate::domain::{DegradedReason, Label, LabelKind, Timestamp};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::{self, Reservation, Settled};

const T0: i64 = 1_772_359_200;

/// A store that runs, with its ledger and entity state.
struct Open {
    ledger: Arc<Ledger>,
    entities: Arc<Entities>,
    running: Running,
}

fn open_with(options: Options, cache: usize, sync: append::Sync) -> Open {
    let (store, kept) = Store::open(options).expect("a store");
    let store = store.with_sync(sync);
    let cache = decisions::Options { age_max: Span::from_days(36_500), bytes_max: cache };
    let ledger = Arc::new(Ledger::with_store(cache, &store, &kept));
    let (entities, _) = entities();
    let running = store.start(&ledger, &entities, &Shutdown::default()).expect("threads");
    Open { ledger, entities, running }
}

fn open(directory: &Path) -> Open {
    open_with(options(directory), 64 << 20, fs::File::sync_data)
}

impl Open {
    fn restored(self) -> Self {
        self.running.restore(&|_| true).expect("readable");
        self
    }

    async fn decide(&self, id: &str, at: i64) -> Settled {
        let record = record_at(id, 0, Timestamp::from_seconds(at));
        let Reservation::Reserved(mut ticket) = self.ledger.reserve(id, record.payload_hash) else {
            panic!("{id} was not free")
        };
        self.entities.absorb(&record.transaction);
        ticket.observed(&record.transaction);
        ticket.settle(record, Moment::now().after(Duration::from_mins(1))).await
    }

    /// Decides `t-FROM` to `t-UNTIL`, each a second later.
    async fn decide_all(&self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let settled = self.decide(&format!("t-{number}"), T0 + number).await;
            assert!(matches!(settled, Settled::Kept(record) if !is_unrecorded(&record)), "t-{number}");
        }
    }

    async fn feed(&self) -> Vec<String> {
        let (mut cursor, mut ids) = (0, Vec::new());
        loop {
            let page = self.ledger.after(cursor, None, 7).await.expect("readable");
            if page.records.is_empty() {
                return ids;
            }
            assert!(page.records.iter().all(|record| record.cursor.get() > cursor), "cursors grow");
            cursor = page.next;
            ids.extend(page.records.iter().map(|record| record.transaction.id().to_owned()));
        }
    }
}

fn is_unrecorded(record: &Record) -> bool {
    record.decision.degraded.contains(&DegradedReason::NotRecorded)
}

fn ids(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|number| format!("t-{number}")).collect()
}

fn len(feed: &[String]) -> i64 {
    i64::try_from(feed.len()).expect("few")
}

fn segments(directory: &Path, log: &str) -> Vec<PathBuf> {
    segment::list(&directory.join(log)).expect("a directory")
}

fn refused(directory: &Path) -> String {
    match Store::open(options(directory)) {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_was_answered_is_found_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = open(directory.path()).restored();
    first.decide_all(0..100).await;
    let label = Label {
        transaction_id: "t-5".into(),
        kind: LabelKind::Fraud,
        occurred_at: Timestamp::from_seconds(T0 + 90),
        source: "bank".into(),
    };
    assert!(first.ledger.record_labels(|reply| labels(&label, reply)).await);
    first.entities.label(&label);
    drop(first);

    // Memory holds one record: all the others come from disk.
    let again = open_with(options(directory.path()), 1, fs::File::sync_data).restored();
    assert_eq!(again.feed().await, ids(0..100));
    for number in 0..100 {
        let id = format!("t-{number}");
        let expected = record_at(&id, 0, Timestamp::from_seconds(T0 + number));
        let found = again.ledger.find(&id).await.expect("readable").expect("kept");
        assert_eq!((&found.decision, &found.transaction), (&expected.decision, &expected.transaction));
        let Reservation::OnDisk(place) = again.ledger.reserve(&id, expected.payload_hash) else { panic!("{id}") };
        let recalled = again.ledger.recall(place).await.expect("readable").expect("kept");
        assert_eq!(recalled.decided().expect("a decision").transaction.id(), id);
    }
    assert!(again.ledger.find("t-100").await.expect("readable").is_none());
    let (naive, schema) = entities();
    for number in 0..100 {
        naive.absorb(&transaction(&format!("t-{number}"), Timestamp::from_seconds(T0 + number)));
    }
    naive.label(&label);
    let plan = naive.admit(&schema).expect("a plan");
    let probe = transaction("probe", Timestamp::from_seconds(T0 + 200));
    let expected = format!("{:?}", naive.observe(&probe, &plan));
    let plan = again.entities.admit(&schema).expect("a plan");
    assert_eq!(format!("{:?}", again.entities.observe(&probe, &plan)), expected);
    again.decide_all(100..110).await;
    assert_eq!(again.feed().await, ids(0..110));
    assert_eq!(again.ledger.stats().kept, 110);
}

fn labels(label: &Label, reply: tokio::sync::oneshot::Sender<bool>) -> Message {
    let mut payload = Vec::new();
    put_label(&mut payload, label);
    Message::Labels { payloads: vec![payload], deferred: Vec::new(), reply: Some(reply) }
}

#[tokio::test]
async fn events_that_come_while_restoring_are_in_state_afterwards() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).restored().decide_all(0..50).await;
    let again = open(directory.path());
    for number in 50..60 {
        let id = format!("t-{number}");
        let record = record_at(&id, 0, Timestamp::from_seconds(T0 + number));
        let Reservation::Reserved(mut ticket) = again.ledger.reserve(&id, record.payload_hash) else { panic!("{id}") };
        ticket.deferred(&record.transaction);
        let settled = ticket.settle(record, Moment::now().after(Duration::from_mins(1))).await;
        assert!(matches!(settled, Settled::Kept(_)));
        assert!(!again.entities.knows(&id), "{id} overtook the replay");
    }
    let restored = again.running.restore(&|_| true).expect("readable").expect("not stopped");
    assert_eq!(restored.events, 60);
    assert!((0..60).all(|number| again.entities.knows(&format!("t-{number}"))));
    assert!(!again.running.gate.is_restoring());
}

#[tokio::test]
async fn restoring_reads_the_files_it_opened_whatever_has_their_names() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).restored().decide_all(0..50).await;
    let again = open(directory.path());
    for segment in segments(directory.path(), "events") {
        let other = segment.with_extension("other");
        fs::write(&other, b"written anew").expect("written");
        fs::rename(&other, &segment).expect("renamed");
    }
    let restored = again.running.restore(&|_| true).expect("readable").expect("not stopped");
    assert_eq!(restored.events, 50);
    assert!((0..50).all(|number| again.entities.knows(&format!("t-{number}"))));
}

#[tokio::test]
async fn a_request_given_up_leaves_its_event_and_frees_its_id() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = open(directory.path()).restored();
    let abandoned = transaction("t-0", Timestamp::from_seconds(T0));
    let Reservation::Reserved(mut ticket) = first.ledger.reserve("t-0", 1) else { panic!("free") };
    ticket.observed(&abandoned);
    drop(ticket);
    first.decide_all(1..3).await;
    drop(first);
    let again = open(directory.path()).restored();
    assert_eq!(again.feed().await, ids(1..3));
    assert!(again.entities.knows("t-0"));
    assert!(matches!(again.ledger.reserve("t-0", 1), Reservation::Reserved(_)));
}

/// Writes 100 decisions and makes the newest ledger segment look as a crash leaves it: not sealed.
async fn crashed(directory: &Path) -> PathBuf {
    open(directory).restored().decide_all(0..100).await;
    for log in ["ledger", "events"] {
        let newest = segments(directory, log).pop().expect("a segment");
        fs::remove_file(segment::index_path(&newest)).expect("sealed");
    }
    segments(directory, "ledger").pop().expect("a segment")
}

#[tokio::test]
async fn a_torn_tail_is_cut() {
    let directory = tempfile::tempdir().expect("a directory");
    let newest = crashed(directory.path()).await;
    let whole = fs::read(&newest).expect("readable");
    for torn in [whole.len() - 1, whole.len() - 400, segment::HEADER_LEN + 3] {
        fs::write(&newest, &whole[..torn]).expect("written");
        let _ = fs::remove_file(segment::index_path(&newest));
        let again = open(directory.path()).restored();
        let feed = again.feed().await;
        assert!(feed.len() < 100 && feed == ids(0..len(&feed)), "{torn}: {feed:?}");
    }
    // Garbage and zeros behind the last frame, as a lost power leaves them.
    for tail in [vec![0; 5_000], vec![7; 300]] {
        fs::write(&newest, [whole.as_slice(), &tail].concat()).expect("written");
        let _ = fs::remove_file(segment::index_path(&newest));
        let (store, kept) = Store::open(options(directory.path())).expect("a store");
        assert_eq!((kept.len(), store.recovered().cut_bytes), (100, tail.len() as u64));
    }
}

#[tokio::test]
async fn a_long_unsealed_segment_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let long = Options { segment_len_max: 1 << 20, ..options(directory.path()) };
    open_with(long, 1, fs::File::sync_data).restored().decide_all(0..400).await;
    let newest = segments(directory.path(), "ledger").pop().expect("a segment");
    assert!(fs::metadata(&newest).expect("there").len() > 64 << 10);
    fs::remove_file(segment::index_path(&newest)).expect("sealed");
    assert_eq!(open(directory.path()).ledger.stats().kept, 400);
}

#[tokio::test]
async fn a_segment_that_was_only_begun_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let newest = crashed(directory.path()).await;
    for content in
        [vec![], vec![0; 30], vec![0; segment::HEADER_LEN + 100], fs::read(&newest).expect("read")[..64].to_vec()]
    {
        let begun = segment::path_of(newest.parent().expect("a parent"), 5_000);
        fs::write(&begun, &content).expect("written");
        let again = open(directory.path());
        assert_eq!(again.ledger.stats().kept, 100, "{}", content.len());
        drop(again);
        assert!(!begun.exists());
    }
}

#[tokio::test]
async fn damage_before_whole_frames_refuses_the_start_and_repair_copies_the_rest() {
    let directory = tempfile::tempdir().expect("a directory");
    let newest = crashed(directory.path()).await;
    let whole = fs::read(&newest).expect("readable");
    let mut damaged = whole.clone();
    damaged[segment::HEADER_LEN + 900] ^= 1;
    fs::write(&newest, &damaged).expect("written");
    let error = refused(directory.path());
    assert!(
        error.contains(newest.to_str().expect("text")) && error.contains("byte") && error.contains("repair"),
        "{error}"
    );
    assert_eq!(fs::read(&newest).expect("readable"), damaged, "a refused store was changed");

    let report = check(directory.path(), &|_| {}).expect("readable");
    assert!(!report.is_whole());
    assert_eq!((report.ledger.lost, report.ledger.damages.len(), report.events.lost), (1, 1, 0));
    let fresh = tempfile::tempdir().expect("a directory");
    let copied = repair(directory.path(), &fresh.path().join("new"), &|_| {}).expect("copied");
    assert_eq!(copied.ledger, report.ledger);
    assert!(matches!(repair(directory.path(), &fresh.path().join("new"), &|_| {}), Err(Error::NotEmpty { .. })));
    let again = open(&fresh.path().join("new")).restored();
    assert_eq!(again.feed().await.len(), 99);
    again.decide_all(100..105).await;
    drop(again);
    assert!(check(&fresh.path().join("new"), &|_| {}).expect("readable").is_whole());
}

#[tokio::test]
async fn a_damaged_header_refuses_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let newest = crashed(directory.path()).await;
    let mut bytes = fs::read(&newest).expect("readable");
    bytes[20] ^= 1;
    fs::write(&newest, &bytes).expect("written");
    let error = refused(directory.path());
    assert!(error.contains("damaged at byte 0") && error.contains(newest.to_str().expect("text")), "{error}");
    assert_eq!(check(directory.path(), &|_| {}).expect("readable").ledger.damages.len(), 1);
    assert_eq!(fs::read(&newest).expect("readable"), bytes, "a refused store was changed");
}

#[tokio::test]
async fn a_sealed_segment_that_is_short_or_missing_refuses_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).restored().decide_all(0..300).await;
    let paths = segments(directory.path(), "ledger");
    assert!(paths.len() > 3, "{paths:?}");
    let whole = fs::read(&paths[1]).expect("readable");
    fs::write(&paths[1], &whole[..whole.len() - 10]).expect("written");
    assert!(refused(directory.path()).contains("damaged"));
    fs::remove_file(&paths[1]).expect("removed");
    assert!(refused(directory.path()).contains("damaged"));
    fs::write(&paths[1], &whole).expect("written");
    assert_eq!(open(directory.path()).ledger.stats().kept, 300);
}

#[tokio::test]
async fn indexes_are_made_again() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).restored().decide_all(0..100).await;
    let paths = segments(directory.path(), "ledger");
    fs::remove_file(segment::index_path(&paths[0])).expect("removed");
    let damaged = segment::index_path(&paths[1]);
    let mut bytes = fs::read(&damaged).expect("readable");
    bytes[60] ^= 8;
    fs::write(&damaged, &bytes).expect("written");
    let (store, kept) = Store::open(options(directory.path())).expect("a store");
    assert_eq!((kept.len(), store.recovered().rebuilt), (100, 2));
    drop(store);
    let (store, _) = Store::open(options(directory.path())).expect("a store");
    assert_eq!(store.recovered(), Recovered::default());
}

#[tokio::test]
async fn a_damaged_event_log_is_told_while_restoring() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).restored().decide_all(0..100).await;
    let first = segments(directory.path(), "events").remove(0);
    let mut bytes = fs::read(&first).expect("readable");
    bytes[segment::HEADER_LEN + 300] ^= 1;
    fs::write(&first, &bytes).expect("written");
    let again = open(directory.path());
    let error = again.running.restore(&|_| true).expect_err("damaged").to_string();
    assert!(error.contains("records are readable before it"), "{error}");
    assert!(again.running.gate.is_restoring(), "the model may not score on wrong state");
}

#[tokio::test]
async fn one_process_and_one_version_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = open(directory.path()).restored();
    running.decide_all(0..3).await;
    assert!(refused(directory.path()).contains("in use by another process"));
    assert!(matches!(check(directory.path(), &|_| {}), Err(Error::InUse { .. })));
    drop(running);
    let newest = segments(directory.path(), "ledger").pop().expect("a segment");
    let mut bytes = fs::read(&newest).expect("readable");
    bytes[8..10].copy_from_slice(&3_u16.to_le_bytes());
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..56]).to_le_bytes();
    bytes[56..64].copy_from_slice(&checksum);
    fs::write(&newest, &bytes).expect("written");
    let error = refused(directory.path());
    assert!(error.contains("format version 3") && error.contains("nothing was changed"), "{error}");
}

#[tokio::test]
async fn retention_lets_files_and_index_entries_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let by_bytes = Options { bytes_max: 20 << 10, ..options(directory.path()) };
    let first = open_with(by_bytes, 1, fs::File::sync_data).restored();
    first.decide_all(0..200).await;
    first.running.close();
    let stats = first.ledger.stats();
    assert!(stats.kept < 120 && stats.kept as u64 + stats.evicted == 200, "{stats:?}");
    assert!(stats.disk_bytes <= 37 << 10, "{stats:?}");
    assert!(first.ledger.find("t-0").await.expect("readable").is_none());
    assert!(first.ledger.find("t-199").await.expect("readable").is_some());
    assert!(matches!(first.ledger.reserve("t-0", 9), Reservation::Reserved(_)));
    let feed = first.feed().await;
    assert_eq!(feed, ids(200 - len(&feed)..200));
    drop(first);

    // By receipt time: all of them are years old, so all but the last segment go.
    let by_age = Options { age_max: Span::from_days(1), ..options(directory.path()) };
    let second = open_with(by_age, 1, fs::File::sync_data).restored();
    second.running.close();
    assert_eq!(segments(directory.path(), "ledger").len(), 1);
    drop(second);

    // By event time: windows of the schema have passed the old events once the clock is far ahead.
    let events = segments(directory.path(), "events").len();
    let far_ahead = |options: Options| {
        let open = open_with(options, 64 << 20, fs::File::sync_data).restored();
        for day in 1..2_000 {
            open.entities.absorb(&transaction(&format!("later-{day}"), Timestamp::from_seconds(T0 + day * 20_000)));
        }
        open.running.close();
        segments(directory.path(), "events").len()
    };
    // Labels to learn from are kept for longer than any window, when the settings say so.
    let long = Options { events_age_min: Span::from_days(1_000), ..options(directory.path()) };
    assert!(events >= 2 && far_ahead(long) == events);
    assert_eq!(far_ahead(options(directory.path())), 1);
}

static SYNC_FAILS: AtomicBool = AtomicBool::new(false);

fn failing_sync(file: &fs::File) -> io::Result<()> {
    if SYNC_FAILS.load(Ordering::Relaxed) { Err(io::Error::other("as planned")) } else { file.sync_data() }
}

#[tokio::test]
async fn after_a_failed_sync_everything_is_written_to_a_new_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Options { durability: Durability::Disk, segment_len_max: 1 << 20, ..options(directory.path()) };
    let first = open_with(disk.clone(), 64 << 20, failing_sync).restored();
    first.decide_all(0..5).await;
    SYNC_FAILS.store(true, Ordering::Relaxed);
    let settled = first.decide("t-5", T0 + 5).await;
    assert!(matches!(settled, Settled::Kept(record) if is_unrecorded(&record)));
    SYNC_FAILS.store(false, Ordering::Relaxed);
    let mut next = 6;
    // The writer rests between attempts: the condition is that one goes through.
    loop {
        let settled = first.decide(&format!("t-{next}"), T0 + next).await;
        next += 1;
        if matches!(settled, Settled::Kept(record) if !is_unrecorded(&record)) {
            break;
        }
    }
    drop(first);
    let again = open_with(disk, 1, fs::File::sync_data).restored();
    let mut feed = again.feed().await;
    feed.sort_by_key(|id| id[2..].parse::<i64>().expect("a number"));
    assert!(feed == ids(0..next), "{} of {next} decisions are left", feed.len());
}

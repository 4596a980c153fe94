//! A desk over a real instance without a model: what each kind of record leaves, and state that comes back.

mod changelog;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::domain::{Currency, RateTable, Span, TextField, Timestamp, Transaction};
use crate::edge::kafka::lane::{Committed, Place, Sink, Source};
use crate::edge::kafka::options::{OnLostState, Start};
use crate::edge::kafka::signature::{DECISION_HEADER, Key, Subject};
use crate::edge::wire::{Contract, UnknownFields, record};
use crate::runtime::decisions::Record;
use crate::runtime::scorer::Answer;
use crate::runtime::store::seal_record;
use crate::runtime::stream::Position;
use crate::runtime::stream::tests::support::{self, Instance, T0, bits, open, paying, request, transaction};

/// The changelog as the broker would give it back.
type Log = Arc<parking_lot::Mutex<Vec<Vec<u8>>>>;

struct Kept {
    log: Log,
    at: usize,
    calls: Calls,
}

/// How often a reader was asked to seek, and for a record.
type Calls = Arc<parking_lot::Mutex<[usize; 2]>>;

impl Reader for Kept {
    fn bounds(&mut self) -> Result<(i64, i64), String> {
        Ok((0, i64::try_from(self.log.lock().len()).expect("few")))
    }

    fn seek(&mut self, offset: i64) -> Result<(), String> {
        self.at = usize::try_from(offset).expect("from 0");
        self.calls.lock()[0] += 1;
        Ok(())
    }

    fn next(&mut self, _wait: Duration) -> Result<Option<Vec<u8>>, String> {
        self.at += 1;
        self.calls.lock()[1] += 1;
        Ok(self.log.lock().get(self.at - 1).cloned())
    }
}

fn key() -> Key {
    Key::new(&[7; 32]).expect("long enough")
}

fn options() -> Options {
    let mut contract = Contract::new(Arc::new(RateTable::identity(Currency::EUR)));
    contract.partition_key = vec![TextField::CustomerId];
    contract.unknown_fields = UnknownFields::Ignore;
    Options {
        intake: IntakeOptions { contract, mapping: None, payload_len_max: 4_000, key: Some(key()) },
        scribe: ScribeOptions {
            group: "fraudd".into(),
            features: true,
            inputs: ["transactions".into(), "labels".into()],
            dead_len_max: 2_000,
        },
        rate: RateOptions { share_max: 0.5, window: Span::from_seconds(60), count_min: 20 },
        restore: RestoreOptions {
            start: Start::Earliest,
            on_lost_state: OnLostState::Stop,
            reach: Span::from_days(40),
        },
        bounds: TimeBounds::default(),
        deadline: Duration::from_millis(50),
        changelog_len_max: 768 << 10,
    }
}

/// One desk with partition 0 to read.
struct Rig {
    instance: Instance,
    desk: Desk,
    log: Log,
    next: [i64; 2],
}

fn place(committed: Option<Committed>) -> Place {
    Place { committed, earliest: 0, latest: 0 }
}

fn assigned(committed: Option<Committed>) -> Assigned {
    Assigned { partition: 0, transactions: place(committed), labels: place(None) }
}

fn desk(instance: &Instance, log: &Log, options: Options) -> Desk {
    counted(instance, (log, &Calls::default()), options)
}

fn counted(instance: &Instance, (log, calls): (&Log, &Calls), options: Options) -> Desk {
    let locals = Locals::new(instance.positions.clone(), 1, Arc::clone(&instance.ownership));
    let parts = Parts {
        scorer: instance.scorer.clone(),
        ownership: Arc::clone(&instance.ownership),
        sink: instance.sink(),
        locals,
        lane: 0,
        clock: Clock::manual(Timestamp::from_seconds(T0)),
    };
    let (log, calls) = (Arc::clone(log), Arc::clone(calls));
    let reader = move |_| Ok(Box::new(Kept { log: Arc::clone(&log), at: 0, calls: Arc::clone(&calls) }) as _);
    Desk::new(parts, options, Box::new(reader))
}

/// Waits until the partition is restored, or says why it cannot be.
fn restored(desk: &mut Desk, committed: Option<Committed>) -> Result<[i64; 2], String> {
    desk.assigned(vec![assigned(committed)]);
    loop {
        match desk.restored().pop() {
            Some(Restored::Ready(start)) => return Ok([start.transactions, start.labels]),
            Some(Restored::Failed { reason, .. }) => return Err(reason),
            None => std::thread::yield_now(),
        }
    }
}

fn rig(directory: &std::path::Path) -> Rig {
    let (instance, log) = (open(directory), Log::default());
    let mut desk = desk(&instance, &log, options());
    let next = restored(&mut desk, None).expect("a first run");
    Rig { instance, desk, log, next }
}

#[test]
fn a_partition_that_comes_while_the_store_is_read_is_restored_behind_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = support::begin(support::options(directory.path()), 64 << 20);
    let (log, calls) = (Log::default(), Calls::default());
    let mut desk = counted(&instance, (&log, &calls), options());
    desk.assigned(vec![assigned(None)]);
    desk.revoked(&[0], true);
    desk.assigned(vec![assigned(None)]);
    for _ in 0..100 {
        assert_eq!(desk.restored(), [], "the store is still read");
    }
    assert_eq!(*calls.lock(), [0, 0], "the changelog was not looked at");
    instance.running.restore(&|_| true).expect("readable");
    let told = loop {
        match desk.restored() {
            told if told.is_empty() => std::thread::yield_now(),
            told => break told,
        }
    };
    assert!(matches!(told[..], [Restored::Ready(_)]), "once, although it came twice: {told:?}");
}

/// A transaction number whose customer belongs to partition 0.
fn mine(instance: &Instance, nth: usize) -> i64 {
    (0..).filter(|number| instance.partition_of(&transaction(*number)) == 0).nth(nth).expect("endless")
}

fn fetched(source: Source, payload: Option<Vec<u8>>) -> Fetched {
    let payload = payload.map(Bytes::from);
    let timestamp_ms = Some((T0 + 10_000_000) * 1_000);
    Fetched { source, partition: 0, offset: 0, timestamp_ms, key: None, payload, headers: Vec::new() }
}

fn of(transaction: &Transaction) -> Fetched {
    fetched(Source::Transactions, Some(record::transaction(transaction).to_string().into_bytes()))
}

impl Rig {
    fn decide(&mut self, records: impl IntoIterator<Item = Fetched>) -> Batch {
        let mut numbered = Vec::new();
        for mut record in records {
            let next = &mut self.next[record.source as usize];
            record.offset = *next;
            *next += 1;
            numbered.push(record);
        }
        self.desk.decide(numbered)
    }

    /// Publishes a batch as a broker that never fails would; returns its outputs without the changelog.
    fn commit(&mut self, batch: Batch) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.desk
            .emit(&batch, &mut |output| {
                outputs.push(output.clone());
                Ok(())
            })
            .expect("taken");
        let blobs = outputs.extract_if(.., |output| output.sink == Sink::State);
        self.log.lock().extend(blobs.filter_map(|output| output.payload).map(|payload| payload.to_vec()));
        self.desk.committed(batch);
        outputs
    }

    fn take(&mut self, records: impl IntoIterator<Item = Fetched>) -> Vec<Output> {
        let batch = self.decide(records);
        self.commit(batch)
    }

    fn position(&self) -> Position {
        self.desk.prefixes[&0].position()
    }
}

fn sinks(outputs: &[Output]) -> Vec<Sink> {
    outputs.iter().map(|output| output.sink).filter(|sink| *sink != Sink::Alerts).collect()
}

fn header<'o>(output: &'o Output, name: &str) -> &'o str {
    let found = output.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref());
    std::str::from_utf8(found.unwrap_or_default()).expect("text")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(output.payload.as_deref().expect("a payload")).expect("JSON")
}

#[test]
fn a_transaction_leaves_its_decision_and_its_features_under_its_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let transaction = transaction(mine(&rig.instance, 0));
    let mut record = of(&transaction);
    record.key = Some(Bytes::from_static(b"c"));
    record.headers = vec![(
        "traceparent".into(),
        Some(Bytes::from_static(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
    )];
    let outputs = rig.take([record]);
    assert_eq!(sinks(&outputs), [Sink::Scores, Sink::Features]);
    let scores = outputs.iter().find(|output| output.sink == Sink::Scores).expect("scores");
    assert_eq!(json(scores)["transaction_id"], transaction.id());
    assert_eq!((scores.partition, scores.key.as_deref()), (0, Some(&b"c"[..])));
    assert_eq!((header(scores, "ce_specversion"), header(scores, "ce_type")), ("1.0", "fraudd.decision.v1"));
    assert_eq!(header(scores, "ce_id"), json(scores)["decision_id"]);
    let trace = json(scores)["trace_id"].as_str().expect("a trace").to_owned();
    assert_ne!(trace, "0af7651916cd43dd8448eb211c80319c", "a trace of our own beside the sender's");
    assert!(
        header(scores, "traceparent").starts_with(&format!("00-{trace}-")),
        "whoever reads it goes on from our span"
    );
    assert!(header(scores, "traceparent").ends_with("-01"), "sampled, as the sender says");
    let features = outputs.last().expect("features");
    let names = rig.instance.scorer.release().schema.features().len();
    assert_eq!(json(features)["features"].as_object().map(serde_json::Map::len), Some(names));
    assert_eq!((rig.position().transactions, rig.position().labels), (1, 0));
}

#[test]
fn every_bad_record_is_a_dead_letter_and_its_neighbours_are_decided() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let good = |nth| of(&transaction(nth));
    let (first, second) = (mine(&rig.instance, 0), mine(&rig.instance, 1));
    let foreign =
        (0..100).find(|number| rig.instance.partition_of(&transaction(*number)) != 0).expect("of seven customers");
    let text = |text: &str| fetched(Source::Transactions, Some(text.as_bytes().to_vec()));
    let mut early = good(second);
    early.timestamp_ms = Some(0);
    let bad = [
        (text("{\"transaction_id\":"), "malformed_json", "decode"),
        (text("\u{0}"), "malformed_json", "decode"),
        (fetched(Source::Transactions, Some(vec![0xff, 0xfe])), "invalid_utf8", "decode"),
        (text("[1]"), "wrong_shape", "schema"),
        (text("{\"transaction_id\":\"x\"}"), "invalid_transaction", "schema"),
        (fetched(Source::Transactions, None), "empty_record", "decode"),
        (text(&" ".repeat(5_000)), "record_too_large", "decode"),
        (good(foreign), "wrong_partition", "key"),
        (early, "future_transaction", "schema"),
        (fetched(Source::Labels, Some(b"{\"label\":\"maybe\"}".to_vec())), "invalid_label", "schema"),
    ];
    let records = bad.iter().map(|(record, ..)| record.clone());
    let outputs = rig.take([good(first)].into_iter().chain(records).chain([good(second)]));
    let dead: Vec<_> = outputs.iter().filter(|output| output.sink == Sink::Dead).collect();
    let told: Vec<_> = dead.iter().map(|o| (header(o, "fraudd-dead-reason"), header(o, "fraudd-dead-stage"))).collect();
    assert_eq!(told, bad.each_ref().map(|(_, reason, stage)| (*reason, *stage)));
    assert_eq!(outputs.iter().filter(|output| output.sink == Sink::Scores).count(), 2);
    assert_eq!((rig.position().transactions, rig.position().labels), (11, 1), "no offset is skipped");
    assert_eq!(rig.desk.halt(), None);
    rig.take((0..30).map(|_| text("{")));
    assert!(rig.desk.halt().is_some_and(|reason| reason.contains("fault of the source")));
}

#[test]
fn an_id_is_published_once_whatever_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let number = mine(&rig.instance, 0);
    let outputs = rig.take([of(&transaction(number)), of(&transaction(number))]);
    assert_eq!(sinks(&outputs), [Sink::Scores, Sink::Features], "twice in one batch");
    assert_eq!(sinks(&rig.take([of(&transaction(number))])), [], "again in another");
    let outputs = rig.take([of(&paying(number, 7))]);
    assert_eq!(sinks(&outputs), [Sink::Dead]);
    assert_eq!(header(&outputs[0], "fraudd-dead-reason"), "id_conflict");
    assert_eq!(rig.position().transactions, 4);
}

#[test]
fn a_batch_that_lost_its_partition_gives_its_ids_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let number = mine(&rig.instance, 0);
    let mut batch = rig.decide([of(&transaction(number))]);
    rig.desk.shed(&mut batch, &[0]);
    assert!(rig.desk.is_empty(&batch));
    rig.desk.revoked(&[0], true);
    assert_eq!(rig.instance.ownership.standing(0), Standing::Foreign);
    rig.next = restored(&mut rig.desk, None).expect("nothing was committed");
    assert_eq!(sinks(&rig.take([of(&transaction(number))])), [Sink::Scores, Sink::Features]);
}

#[test]
fn what_was_decided_before_a_partition_went_stands_when_it_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let numbers: Vec<i64> = (0..40).map(|nth| mine(&rig.instance, nth)).collect();
    rig.take(numbers[..10].iter().map(|number| of(&transaction(*number))));
    let committed = rig.position();
    // Out of order: what comes later in the log is earlier in event time, and is of the same card.
    let records = || numbers[10..].iter().rev().map(|number| of(&transaction(*number)));
    let vectors = |outputs: &[Output]| -> Vec<serde_json::Value> {
        outputs
            .iter()
            .filter(|output| output.sink == Sink::Features)
            .map(|output| json(output)["features"].clone())
            .collect()
    };
    let mut batch = rig.decide(records());
    let mut first = Vec::new();
    rig.desk
        .emit(&batch, &mut |output| {
            first.push(output.clone());
            Ok(())
        })
        .expect("taken");
    rig.desk.shed(&mut batch, &[0]);
    rig.desk.revoked(&[0], false);
    let place = Committed { offset: committed.transactions, metadata: committed.metadata(), token: None };
    rig.next = restored(&mut rig.desk, Some(place)).expect("from the changelog");
    // It comes back in other batches than before.
    let mut records: Vec<Fetched> = records().collect();
    let rest = records.split_off(12);
    let mut again = rig.take(records);
    again.extend(rig.take(rest));
    assert_eq!(vectors(&again).len(), 30);
    assert_eq!(vectors(&again), vectors(&first));
}

#[tokio::test]
async fn what_rest_decided_is_confirmed_with_its_own_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let transaction = transaction(mine(&rig.instance, 0));
    let Answer::Decided { record, .. } = rig.instance.score(transaction.clone()).await else { panic!("decided") };
    let features = bits(&record.features);
    let outputs = rig.take([of(&transaction), of(&transaction)]);
    assert_eq!(sinks(&outputs), [Sink::Scores, Sink::Features]);
    let scores = outputs.iter().find(|output| output.sink == Sink::Scores).expect("scores");
    assert_eq!(json(scores)["trace_id"], record.decision.trace_id.to_string(), "the answer that REST gave");
    assert_eq!(rig.instance.ledger.unpublished(), 0);
    let plan = &rig.instance.scorer.release().plan;
    assert_eq!(bits(&rig.instance.entities.peek(&transaction, plan)), features, "counted once");
}

#[tokio::test]
async fn a_sealed_decision_is_published_as_it_is_and_a_forged_one_is_not() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let other = open(directories[0].path());
    let mut rig = rig(directories[1].path());
    let (first, second) = (transaction(mine(&rig.instance, 0)), transaction(mine(&rig.instance, 1)));
    let decided = async |transaction: &Transaction| match other.score(transaction.clone()).await {
        Answer::Decided { record, .. } => record,
        answer => panic!("{answer:?}"),
    };
    let sealed = |record: &Record, key: &Key| {
        let subject = Subject { transaction_id: record.transaction.id(), payload_hash: record.payload_hash };
        let mut input = of(&record.transaction);
        input.headers = vec![(DECISION_HEADER.into(), Some(Bytes::from(key.seal(&subject, &seal_record(record)))))];
        input
    };
    let (genuine, forged) = (decided(&first).await, decided(&second).await);
    let forger = Key::new(&[9; 32]).expect("long enough");
    let outputs = rig.take([sealed(&genuine, &key()), sealed(&forged, &forger)]);
    let scores: Vec<_> = outputs.iter().filter(|output| output.sink == Sink::Scores).map(json).collect();
    assert_eq!(scores.len(), 2);
    let at = |record: &Record| record.decision.latency.total;
    assert_eq!(scores[0]["latency_us"]["total"], at(&genuine), "taken over");
    let own = rig.instance.ledger.find(second.id()).await.expect("memory").expect("kept");
    assert_eq!(scores[1]["trace_id"], own.decision.trace_id.to_string(), "scored here");
    assert_ne!(own.decision.trace_id, forged.decision.trace_id);
}

#[test]
fn late_events_are_decided_marked_and_change_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let numbers: Vec<i64> = (0..400).map(|nth| mine(&rig.instance, nth)).collect();
    rig.take([of(&transaction(*numbers.last().expect("some")))]);
    let watermark = rig.position().watermark_micros;
    let before = rig.instance.entities.stats();
    assert!(transaction(numbers[0]).occurred_at().micros() < watermark - Span::from_days(1).micros());
    let outputs = rig.take([of(&transaction(numbers[0]))]);
    assert_eq!(sinks(&outputs), [Sink::Scores, Sink::Features, Sink::Late]);
    assert_eq!(header(outputs.iter().find(|o| o.sink == Sink::Scores).expect("scores"), "fraudd-late"), "true");
    assert_eq!(rig.instance.entities.stats().events, before.events);
    assert_eq!(rig.position().watermark_micros, watermark);
    assert_eq!(sinks(&rig.take([of(&transaction(numbers[0]))])), [], "its id is known all the same");
}

#[test]
fn labels_find_their_transaction_also_when_they_come_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let number = mine(&rig.instance, 0);
    let label = |at: i64| {
        let body = format!(
            "{{\"transaction_id\":\"t-{number}\",\"label\":\"fraud\",\"occurred_at\":\"{}\",\"source\":\"bank\"}}",
            Timestamp::from_seconds(T0 + at)
        );
        fetched(Source::Labels, Some(body.into_bytes()))
    };
    assert_eq!(sinks(&rig.take([label(100_000)])), []);
    assert_eq!(rig.instance.entities.stats().labels_pending, 1);
    rig.take([of(&transaction(number))]);
    assert_eq!(rig.instance.entities.stats().labels_pending, 0);
    assert_eq!((rig.position().transactions, rig.position().labels), (1, 1));
}

#[test]
fn requests_of_the_rest_door_and_records_race_for_one_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for nth in 0..20 {
        let transaction = transaction(mine(&rig.instance, nth));
        let scorer = rig.instance.scorer.clone();
        let asked = request(transaction.clone());
        let (answer, outputs) = std::thread::scope(|scope| {
            let answer = scope.spawn(|| runtime.block_on(scorer.score(asked)));
            let outputs = rig.take([of(&transaction)]);
            (answer.join().expect("no panic"), outputs)
        });
        let Answer::Decided { record, .. } = answer else { panic!("{answer:?}") };
        let scores = outputs.iter().find(|output| output.sink == Sink::Scores).expect("published once");
        assert_eq!(json(scores)["trace_id"], record.decision.trace_id.to_string(), "one answer for both doors");
        assert_eq!(sinks(&rig.take([of(&transaction)])), []);
    }
}

#[test]
fn a_record_in_our_own_form_is_read_past_the_mapping() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    let mappings = r#"
        [mappings.bank.fields]
        transaction_id = "/id"
        occurred_at = { pointer = "/at", as = "epoch_s" }
        amount = "/cents"
        currency = { constant = "EUR" }
        customer_id = "/owner"
    "#;
    let mut options = options();
    options.intake.mapping = crate::edge::wire::Mappings::parse(mappings).expect("a mapping").get("bank").cloned();
    rig.desk = desk(&rig.instance, &rig.log, options);
    rig.next = restored(&mut rig.desk, None).expect("a first run");
    let mapped = transaction(mine(&rig.instance, 0));
    let owner = mapped.text(TextField::CustomerId).expect("a customer");
    let foreign = format!(r#"{{"id":"b-1","at":{T0},"cents":7,"owner":"{owner}"}}"#);
    let formed = |form: &'static [u8]| {
        let mut record = of(&mapped);
        record.headers = vec![("fraudd-form".into(), Some(Bytes::from_static(form)))];
        record
    };
    let outputs = rig.take([
        fetched(Source::Transactions, Some(foreign.into_bytes())),
        formed(b"v1"),
        formed(b"v2"),
        of(&transaction(mine(&rig.instance, 1))),
    ]);
    let ids: Vec<_> =
        outputs.iter().filter(|o| o.sink == Sink::Scores).map(|o| json(o)["transaction_id"].clone()).collect();
    assert_eq!(ids, ["b-1", mapped.id()]);
    let dead: Vec<_> = outputs.iter().filter(|o| o.sink == Sink::Dead).collect();
    assert_eq!(header(dead[0], "fraudd-dead-reason"), "unknown_form", "of a newer fraudd");
    assert_eq!(dead.len(), 2, "without the header the mapping holds");
}

//! A re-key lane's work by itself: what each kind of record leaves, and where a partition begins.

use std::sync::Arc;

use super::*;
use crate::domain::{Currency, RateTable, Span, TextField};
use crate::edge::kafka::lane::Committed;
use crate::edge::wire::{Contract, Mappings, UnknownFields};
use crate::runtime::stream::Partitioner;

const NOW: i64 = 1_772_360_000;
const MAPPING: &str = r#"
    [mappings.bank.fields]
    transaction_id = "/id"
    occurred_at = { pointer = "/at", as = "epoch_s" }
    amount = "/cents"
    currency = { constant = "EUR" }
    customer_id = "/owner"
    "merchant.terminal_id" = "/till"
"#;

fn rekey(has_mapping: bool, spoil: impl FnOnce(&mut Options)) -> Rekey {
    let mut contract = Contract::new(Arc::new(RateTable::identity(Currency::EUR)));
    contract.partition_key = vec![TextField::CustomerId, TextField::AccountId];
    contract.unknown_fields = UnknownFields::Ignore;
    let mappings = Mappings::parse(MAPPING).expect("a mapping");
    let mapping = has_mapping.then(|| mappings.get("bank").expect("named").clone());
    let mut options = Options {
        source: "bank.payments".into(),
        intake: IntakeOptions { contract, mapping, payload_len_max: 2_000_000, key: None },
        rate: RateOptions { share_max: 0.5, window: Span::from_seconds(60), count_min: 5 },
        dead_len_max: 2_000,
        start: StartAt::Earliest,
        on_lost_state: OnLostState::Stop,
    };
    spoil(&mut options);
    let key = vec![TextField::CustomerId, TextField::AccountId];
    let ownership = Arc::new(Ownership::new(4, Partitioner::Murmur2, key));
    Rekey::new(options, ownership, Clock::manual(Timestamp::from_seconds(NOW)))
}

fn fetched(partition: i32, offset: i64, payload: &str) -> Fetched {
    Fetched {
        source: Source::Transactions,
        partition,
        offset,
        timestamp_ms: Some(NOW * 1_000 - 5),
        key: Some(Bytes::from_static(b"till-1")),
        payload: Some(Bytes::from(payload.to_owned())),
        headers: vec![("traceparent".into(), Some(Bytes::from_static(b"00-ab"))), ("empty".into(), None)],
    }
}

fn own(id: &str, owner: &str) -> String {
    format!(r#"{{"transaction_id":"{id}","occurred_at":"2026-03-01T10:00:00Z","amount":5,"currency":"EUR",{owner}}}"#)
}

fn outputs(rekey: &Rekey, batch: &Batch) -> Vec<Output> {
    let mut outputs = Vec::new();
    let mut take = |output: &Output| {
        outputs.push(output.clone());
        Ok(())
    };
    rekey.emit(batch, &mut take).expect("taken");
    outputs
}

fn told<'o>(output: &'o Output, name: &str) -> &'o str {
    let found = output.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref());
    std::str::from_utf8(found.unwrap_or_default()).expect("text")
}

#[test]
fn a_record_goes_on_as_it_is_under_its_own_key() {
    let mut rekey = rekey(true, |_| ());
    let payload = r#"{"id":77,"at":1772359200,"cents":12,"owner":"c-9","till":"till-1","more":[1]}"#;
    let batch = rekey.decide(vec![fetched(11, 7, payload)]);
    let [output] = outputs(&rekey, &batch).try_into().expect("one");
    let input = fetched(11, 7, payload);
    let expected = Output {
        sink: Sink::Transactions,
        partition: i32::try_from(Partitioner::Murmur2.partition(b"c-9", 4)).expect("small"),
        key: Some(Bytes::from_static(b"c-9")),
        payload: input.payload,
        headers: input.headers,
        timestamp_ms: input.timestamp_ms,
    };
    assert_eq!(output, expected);
    let [next] = rekey.offsets(&batch).try_into().expect("one");
    assert_eq!((next.source, next.partition, next.offset, next.watermark), (Source::Transactions, 11, 8, None));
}

#[test]
fn the_first_field_that_was_sent_is_the_key_and_a_time_ahead_is_the_brokers_to_say() {
    let mut rekey = rekey(false, |_| ());
    let mut ahead = fetched(0, 1, &own("t-2", r#""account_id":"a-1""#));
    ahead.timestamp_ms = Some(NOW * 1_000 + 1);
    let both = own("t-1", r#""account_id":"a-1","customer_id":"c-1""#);
    let future = own("t-3", r#""customer_id":"c-1""#).replace("2026-", "2099-");
    let batch = rekey.decide(vec![fetched(0, 0, &both), ahead, fetched(0, 2, &future)]);
    let outputs = outputs(&rekey, &batch);
    let keys: Vec<_> = outputs.iter().map(|output| output.key.as_deref().expect("a key")).collect();
    assert_eq!(keys, [&b"c-1"[..], b"a-1", b"c-1"]);
    assert_eq!(outputs[1].timestamp_ms, None);
    assert_eq!(outputs[2].sink, Sink::Transactions, "whether an event lies ahead is judged where it is decided");
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_of_the_source_and_its_neighbours_go_on() {
    let mut rekey = rekey(false, |_| ());
    let mut tombstone = fetched(6, 3, "");
    tombstone.payload = None;
    let mut formed = fetched(6, 5, &own("t-5", r#""customer_id":"c-1""#));
    formed.headers.push(("fraudd-form".into(), Some(Bytes::from_static(b"v9"))));
    let batch = rekey.decide(vec![
        fetched(6, 0, &own("t-0", r#""customer_id":"c-1""#)),
        fetched(6, 1, "{"),
        fetched(6, 2, &own("t-2", r#""device":{"id":"d"}"#)),
        tombstone,
        fetched(6, 4, &format!("{}{}", own("t-4", r#""customer_id":"c-1""#), " ".repeat(RECORD_LEN_MAX))),
        formed,
        fetched(6, 6, &own("t-6", r#""customer_id":"c-1""#)),
    ]);
    let outputs = outputs(&rekey, &batch);
    let dead: Vec<_> = outputs.iter().filter(|output| output.sink == Sink::Dead).collect();
    let reasons: Vec<_> = dead.iter().map(|output| told(output, "fraudd-dead-reason")).collect();
    let expected = ["malformed_json", "invalid_transaction", "empty_record", "record_too_large", "unknown_form"];
    assert_eq!(reasons, expected);
    for (offset, letter) in (1..).zip(&dead) {
        assert_eq!(told(letter, "fraudd-dead-topic"), "bank.payments");
        assert_eq!(told(letter, "fraudd-dead-partition"), "6");
        assert_eq!(told(letter, "fraudd-dead-offset"), offset.to_string());
        assert_eq!(letter.partition, 2, "6 of the source, modulo 4 of the stream");
    }
    assert_eq!(outputs.len() - dead.len(), 2);
    assert_eq!(rekey.offsets(&batch)[0].offset, 7, "no offset is skipped");
    assert!(rekey.halt().is_some_and(|reason| reason.contains("fault of the source")));
}

#[test]
fn records_of_lost_partitions_are_shed() {
    let mut rekey = rekey(false, |_| ());
    let payload = own("t-1", r#""customer_id":"c-1""#);
    let mut batch = rekey.decide(vec![fetched(0, 0, &payload), fetched(1, 0, &payload)]);
    rekey.shed(&mut batch, &[0]);
    assert_eq!((outputs(&rekey, &batch).len(), rekey.offsets(&batch).len()), (1, 1));
    assert!(!rekey.is_empty(&batch));
    rekey.shed(&mut batch, &[1]);
    assert!(rekey.is_empty(&batch));
}

fn place(committed: Option<i64>, earliest: i64, latest: i64) -> Place {
    let committed = committed.map(|offset| Committed { offset, metadata: String::new(), token: None });
    Place { committed, earliest, latest }
}

#[test]
fn a_partition_begins_where_the_group_stands_or_says_what_is_lost() {
    for (committed, start, next, is_lost) in [
        (None, StartAt::Earliest, 5, false),
        (None, StartAt::Latest, 9, false),
        (Some(5), StartAt::Latest, 5, false),
        (Some(9), StartAt::Earliest, 9, false),
        (Some(4), StartAt::Latest, 5, true),
        (Some(10), StartAt::Earliest, 5, true),
    ] {
        let found = first(&place(committed, 5, 9), start);
        assert_eq!((found.0, found.1.is_some()), (next, is_lost), "{committed:?} {start:?}");
    }
    let assigned = || Assigned { partition: 3, transactions: place(Some(4), 5, 9), labels: place(None, 0, 0) };
    let mut stops = rekey(false, |_| ());
    stops.assigned(vec![assigned()]);
    let [Restored::Failed { partition: 3, reason }] = &stops.restored()[..] else { panic!("it stops") };
    assert!(reason.contains("offsets 4 to 4 were deleted"), "{reason}");
    let mut goes_on = rekey(false, |options| options.on_lost_state = OnLostState::Continue);
    goes_on.assigned(vec![assigned()]);
    assert_eq!(goes_on.restored(), [Restored::Ready(Start { partition: 3, transactions: 5, labels: 0 })]);
    goes_on.assigned(vec![assigned()]);
    goes_on.revoked(&[3], false);
    assert_eq!(goes_on.restored(), [], "it went before it was begun");
}

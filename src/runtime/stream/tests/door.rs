//! The lane's door beside the REST door: same decisions, each id once, nothing left of what is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::support::{Instance, bits, essence, open, paying, request, streamed, transaction};
use crate::domain::{DegradedReason, EvaluationStatus};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::{Origin, Record, Reservation};
use crate::runtime::scorer::Answer;
use crate::runtime::stream::{BlobWriter, Position, Standing, StreamGroup, StreamRequest, Streamed};
use crate::tasks;

fn decided(answer: Answer) -> (Arc<Record>, EvaluationStatus) {
    match answer {
        Answer::Decided { record, status } => (record, status),
        other => panic!("{other:?}"),
    }
}

fn one(instance: &Instance, request: StreamRequest) -> Streamed {
    instance.scorer.decide_group(vec![request]).pop().expect("an answer")
}

fn keep(instance: &Instance, answers: Vec<Streamed>) -> Vec<Arc<Record>> {
    let held: Vec<_> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            Streamed::New(held) | Streamed::Confirmed(held) => Some(held),
            Streamed::Duplicate | Streamed::Conflict | Streamed::Busy => None,
        })
        .collect();
    let records = held.iter().map(|held| Arc::clone(held.record())).collect();
    instance.scorer.keep_group(StreamGroup { held, ..StreamGroup::default() });
    records
}

#[tokio::test]
async fn a_group_decides_as_the_same_requests_one_by_one() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [by_rest, by_lane] = directories.each_ref().map(|directory| open(directory.path()));
    let mut expected = Vec::new();
    for number in 0..200 {
        // Out of order within the bound, and in several groups.
        let (record, _) = decided(by_rest.score(transaction(number ^ 3)).await);
        expected.push(essence(&record));
    }
    let mut found = Vec::new();
    for group in 0..4 {
        let requests = (0..50).map(|place| group * 50 + place).map(|number| streamed(transaction(number ^ 3), number));
        let records = keep(&by_lane, by_lane.scorer.decide_group(requests.collect()));
        found.extend(records.iter().map(|record| essence(record)));
    }
    assert_eq!(found, expected);
    assert_eq!(by_lane.fingerprint(200), by_rest.fingerprint(200));
    let outcomes: std::collections::BTreeSet<_> = found.iter().map(|(_, text)| text.split(' ').nth(1)).collect();
    assert!(outcomes.len() > 1, "all alike proves little: {outcomes:?}");
}

#[tokio::test]
async fn a_group_scores_and_explains_as_the_model_does_one_by_one() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [by_rest, by_lane] = directories.each_ref().map(|directory| open(directory.path()).with_model());
    let explained = |number| StreamRequest {
        request: crate::runtime::scorer::Request { explain: number % 4 == 0, ..request(transaction(number)) },
        ..streamed(transaction(number), number)
    };
    let mut expected = Vec::new();
    for number in 0..70 {
        let (record, _) = decided(by_rest.scorer.score(explained(number).request).await);
        expected.push(essence(&record));
    }
    let answers = by_lane.scorer.decide_group((0..70).map(explained).collect());
    let records = keep(&by_lane, answers);
    assert_eq!(records.iter().map(|record| essence(record)).collect::<Vec<_>>(), expected);
    let contributions =
        |record: &&Arc<Record>| record.decision.reasons.iter().any(|reason| reason.contribution.is_some());
    assert!(records.iter().all(|record| record.decision.score.is_some()));
    assert!(records.iter().filter(contributions).count() > 10, "hardly any was explained");
    // Where state is not whole the model is not asked.
    by_lane.ownership.set(by_lane.partition_of(&transaction(71)), Standing::Restoring);
    let (record, _) = decided(by_lane.score(transaction(71)).await);
    assert_eq!((record.decision.score, record.decision.degraded[0]), (None, DegradedReason::Restoring));
}

#[tokio::test]
async fn ids_are_new_duplicate_or_in_conflict_also_within_a_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let requests = vec![
        streamed(transaction(1), 0),
        streamed(transaction(2), 1),
        streamed(transaction(1), 2),
        streamed(paying(2, 5), 3),
    ];
    let answers = instance.scorer.decide_group(requests);
    assert!(matches!(
        answers.as_slice(),
        [Streamed::New(_), Streamed::New(_), Streamed::Duplicate, Streamed::Conflict]
    ));
    keep(&instance, answers);
    assert!(matches!(one(&instance, streamed(transaction(1), 4)), Streamed::Duplicate));
    assert!(matches!(one(&instance, streamed(paying(1, 5), 5)), Streamed::Conflict));
    // Visible at once, before the store has written anything: a duplicate of the REST door gets it.
    let (record, status) = decided(instance.score(transaction(1)).await);
    assert_eq!((status, record.origin), (EvaluationStatus::Duplicate, Origin::Stream { partition: 0, offset: 0 }));
    assert!(matches!(instance.score(paying(1, 5)).await, Answer::Conflict));
    assert_eq!(instance.ledger.unpublished(), 0);
}

#[tokio::test]
async fn what_is_dropped_is_free_again_and_its_waiters_hear_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let held = one(&instance, streamed(transaction(1), 0));
    let hash = transaction(1).payload_hash();
    let Reservation::InFlight(waiter) = instance.ledger.reserve("t-1", hash) else { panic!("not held") };
    drop(held);
    assert!(waiter.decided().await.is_none());
    let (_, status) = decided(instance.score(transaction(1)).await);
    assert_eq!(status, EvaluationStatus::New);

    let held = one(&instance, streamed(transaction(2), 1));
    let Reservation::InFlight(waiter) = instance.ledger.reserve("t-2", transaction(2).payload_hash()) else {
        panic!("not held")
    };
    keep(&instance, vec![held]);
    assert_eq!(waiter.decided().await.expect("decided").transaction.id(), "t-2");
    drop(instance);
    // Only what was kept is there after a restart.
    let again = open(directory.path());
    assert!(again.ledger.find("t-2").await.expect("readable").is_some());
    assert!(!again.entities.knows("t-3"));
}

#[tokio::test]
async fn a_decision_of_the_rest_door_is_published_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let (first, _) = decided(instance.score(transaction(1)).await);
    let owed = instance.ledger.unpublished_after(0, 10).await.expect("readable");
    assert_eq!((owed.records.len(), owed.next), (1, first.cursor.get()));
    let answer = one(&instance, streamed(transaction(1), 0));
    let Streamed::Confirmed(held) = &answer else { panic!("not confirmed") };
    assert!(Arc::ptr_eq(held.record(), &first));
    // Not committed: it is still owed.
    drop(answer);
    let answer = one(&instance, streamed(transaction(1), 0));
    assert!(matches!(answer, Streamed::Confirmed(_)));
    keep(&instance, vec![answer]);
    assert!(matches!(one(&instance, streamed(transaction(1), 1)), Streamed::Duplicate));
    assert_eq!(instance.ledger.unpublished(), 0);
    drop(decided(instance.score(transaction(2)).await));
    drop(instance);

    let again = open(directory.path());
    let owed = again.ledger.unpublished_after(0, 10).await.expect("readable");
    assert_eq!(owed.records.iter().map(|record| record.transaction.id()).collect::<Vec<_>>(), ["t-2"]);
    assert!(again.ledger.is_unpublished(&transaction(2)) && !again.ledger.is_unpublished(&transaction(1)));
    assert!(matches!(one(&again, streamed(transaction(1), 2)), Streamed::Duplicate));
    assert!(matches!(one(&again, streamed(transaction(2), 3)), Streamed::Confirmed(_)));
}

#[test]
fn a_lane_waits_for_the_rest_door_and_gives_up_at_its_deadline() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = Arc::new(open(directory.path()));
    let Reservation::Reserved(ticket) = instance.ledger.reserve("t-1", transaction(1).payload_hash()) else {
        panic!("not free")
    };
    let at_once = |number| {
        let request = crate::runtime::scorer::Request { deadline: Moment::now(), ..request(transaction(number)) };
        StreamRequest { request, ..streamed(transaction(number), number) }
    };
    assert!(matches!(one(&instance, at_once(1)), Streamed::Busy));
    // Another payload is no conflict before it is decided: the request may be given up.
    let other = StreamRequest { request: request(paying(1, 5)), ..at_once(1) };
    let lane = {
        let instance = Arc::clone(&instance);
        tasks::thread("lane", move || assert!(matches!(one(&instance, other), Streamed::New(_)))).expect("a thread")
    };
    drop(ticket);
    lane.join().expect("it was free again");
}

#[tokio::test]
async fn late_ones_are_decided_and_change_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    instance.commit(0..40, None);
    let (before, events) = (instance.fingerprint(40), instance.entities.stats().events);
    let late = StreamRequest { late: true, ..streamed(transaction(41), 41) };
    let answer = one(&instance, late);
    let Streamed::New(held) = &answer else { panic!("not new") };
    assert!(held.is_late());
    let mut blob = BlobWriter::new(Position::start(0, 0));
    held.put(&mut blob);
    let bytes = blob.finish(Position::start(1, 0), 0);
    let read = crate::runtime::stream::Blob::decode(&bytes).expect("readable");
    assert!(matches!(read.entries.as_slice(), [crate::runtime::stream::Entry::Id { .. }]));
    let expected = bits(&instance.entities.peek(&transaction(41), &instance.scorer.release().plan));
    assert_eq!(bits(&held.record().features), expected, "as of its own time");
    keep(&instance, vec![answer]);
    assert_eq!((instance.fingerprint(40), instance.entities.stats().events), (before.clone(), events));
    drop(instance);
    let again = open(directory.path());
    assert_eq!(again.fingerprint(40), before);
    assert!(again.ledger.find("t-41").await.expect("readable").is_some());
}

#[tokio::test]
async fn a_checked_decision_of_another_instance_is_taken_over() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [there, here] = directories.each_ref().map(|directory| open(directory.path()));
    let (record, _) = decided(there.score(transaction(1)).await);
    let sent = StreamRequest { decided: Some(Box::new(Record::clone(&record))), ..streamed(transaction(1), 9) };
    let answer = one(&here, sent.clone());
    assert!(matches!(&answer, Streamed::New(held) if essence(held.record()) == essence(&record)));
    keep(&here, vec![answer]);
    assert!(here.entities.knows("t-1"));
    assert!(matches!(one(&here, sent), Streamed::Duplicate));
    let (found, _) = decided(here.score(transaction(1)).await);
    assert_eq!((found.origin, &found.decision), (Origin::Stream { partition: 0, offset: 9 }, &record.decision));
}

#[tokio::test]
async fn what_another_instance_owns_is_answered_by_rules_and_counted_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let partition = instance.partition_of(&transaction(1));
    let check = async |number: i64, reason: DegradedReason, counted: bool| {
        let (record, _) = decided(instance.score(transaction(number)).await);
        assert!(record.decision.degraded.contains(&reason), "{:?}", record.decision.degraded);
        assert_eq!(instance.entities.knows(&format!("t-{number}")), counted);
    };
    instance.ownership.set(partition, Standing::Foreign);
    check(1, DegradedReason::NotOwner, false).await;
    instance.ownership.set(partition, Standing::Restoring);
    check(8, DegradedReason::Restoring, true).await;
    instance.ownership.set(partition, Standing::Live);
    check(15, DegradedReason::ModelUnavailable, true).await;
    // It comes back through the stream: state has it from then on, and after a restart.
    keep(&instance, vec![one(&instance, streamed(transaction(1), 0))]);
    assert!(instance.entities.knows("t-1"));
    let expected = instance.fingerprint(20);
    drop(instance);
    let again = open(directory.path());
    assert!(again.entities.knows("t-1"));
    assert_eq!(again.fingerprint(20), expected);
}

#[test]
fn two_doors_race_and_every_id_is_decided_and_published_once() {
    const IDS: i64 = 600;
    let directory = tempfile::tempdir().expect("a directory");
    let instance = Arc::new(open(directory.path()));
    let answers = Arc::new(parking_lot::Mutex::new(BTreeMap::<i64, Vec<Arc<Record>>>::new()));
    let rest = |offset: i64| {
        let (instance, answers) = (Arc::clone(&instance), Arc::clone(&answers));
        tasks::thread("rest", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            for place in 0..IDS {
                let number = (place * 7 + offset) % IDS;
                let (record, _) = decided(runtime.block_on(instance.scorer.score(request(transaction(number)))));
                answers.lock().entry(number).or_default().push(record);
            }
        })
    };
    let threads: Vec<_> = [0, 311].into_iter().map(|offset| rest(offset).expect("a thread")).collect();
    let mut published = BTreeMap::<i64, usize>::new();
    let mut dropped = false;
    for group in 0..IDS / 20 {
        let numbers: Vec<i64> = (0..20).map(|place| group * 20 + place).collect();
        let decide = || {
            let requests = numbers.iter().map(|number| streamed(transaction(*number), *number)).collect();
            instance.scorer.decide_group(requests)
        };
        if group % 3 == 0 {
            // Not committed: nothing of it may be left.
            drop(decide());
            dropped = true;
        }
        let decided = decide();
        for (number, answer) in numbers.iter().zip(&decided) {
            let is_published = matches!(answer, Streamed::New(_) | Streamed::Confirmed(_));
            assert!(is_published, "{number} was neither new nor confirmed");
            *published.entry(*number).or_default() += 1;
        }
        for record in keep(&instance, decided) {
            let number = record.transaction.id()[2..].parse().expect("a number");
            answers.lock().entry(number).or_default().push(record);
        }
    }
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert!(dropped && published.len() == 600 && published.values().all(|times| *times == 1));
    for (number, records) in answers.lock().iter() {
        let first = &records[0];
        assert_eq!(records.len(), 3, "two requests and the lane");
        assert!(records.iter().all(|record| record.decision == first.decision), "{number} was decided twice");
    }
    assert_eq!(instance.ledger.unpublished(), 0);
}

//! Blobs in any order and number give the same state; what is let go comes back whole.

use std::sync::Arc;

use proptest::prelude::*;

use super::support::{Instance, T0, open, paying, request, streamed, transaction};
use crate::domain::{EvaluationStatus, Label, LabelKind, Timestamp};
use crate::runtime::decisions::Origin;
use crate::runtime::scorer::Answer;
use crate::runtime::stream::sink::Error;
use crate::runtime::stream::{Advance, Blob, BlobWriter, Position, StateSink, StreamGroup, Streamed};

fn label(number: i64) -> Label {
    Label {
        transaction_id: format!("t-{number}").into(),
        kind: LabelKind::Fraud,
        occurred_at: Timestamp::from_seconds(T0 + number * 60 + 600),
        source: "bank".into(),
    }
}

fn apply(instance: &Instance, bytes: &[u8]) {
    instance.sink().apply(0, &Blob::decode(bytes).expect("readable"), true);
}

fn apply_all(instance: &Instance, blobs: &[Vec<u8>]) {
    for bytes in blobs {
        apply(instance, bytes);
    }
}

/// Decides 120 transactions in groups of ten with a label each, and returns their blobs.
fn history(instance: &Instance) -> Vec<Vec<u8>> {
    let mut at = None;
    let mut blobs = Vec::new();
    for group in 0..12 {
        let (bytes, after) = instance.commit(group * 10..group * 10 + 10, at);
        let held = instance.scorer.take_label(&label(group * 10 + 4));
        let next = Position { labels: after.labels + 1, chain: after.chain + 1, ..after };
        let mut writer = BlobWriter::new(after);
        held.put(&mut writer);
        let labels = writer.finish(next, 0);
        let advances = vec![Advance { partition: 0, before: Some(after), after: next }];
        instance.scorer.keep_group(StreamGroup { advances, labels: vec![held], ..StreamGroup::default() });
        blobs.extend([bytes, labels]);
        at = Some(next);
    }
    blobs
}

#[test]
fn a_partition_let_go_and_applied_again_is_as_if_never_let_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = open(directory.path());
    let blobs = history(&instance);
    let (expected, before) = (instance.fingerprint(120), instance.entities.stats());
    let partition = instance.partition_of(&transaction(1));
    instance.sink().release(&[partition]);
    let released = instance.entities.stats();
    assert!(released.bytes < before.bytes && released.events < before.events && released.entities < before.entities);
    assert_eq!(released.transactions, before.transactions, "ids stay known");
    assert_ne!(instance.fingerprint(120), expected, "its windows are empty");
    // A label for what is gone does no harm, and is there when it comes back.
    let late = label(1);
    assert_eq!(instance.entities.label(&late), instance.entities.label(&late));
    apply_all(&instance, &blobs);
    let twin = tempfile::tempdir().expect("a directory");
    let twin = open(twin.path());
    history(&twin);
    twin.entities.label(&late);
    assert_eq!(instance.fingerprint(120), twin.fingerprint(120));
    assert_eq!(instance.entities.stats().events, before.events);
    assert_eq!(instance.entities.stats().entities, before.entities);
    // Let go while they are asked for: nothing breaks, and it comes back whole.
    instance.sink().release(&(0..super::support::PARTITIONS).collect::<Vec<_>>());
    for bytes in blobs.iter().rev() {
        apply(&instance, bytes);
    }
    twin.entities.label(&late);
    instance.entities.label(&late);
    assert_eq!(instance.fingerprint(120), twin.fingerprint(120));
}

#[test]
fn requests_while_a_partition_is_let_go_leave_state_that_comes_back_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = Arc::new(open(directory.path()));
    let blobs = history(&instance);
    let expected = instance.fingerprint(120);
    let writer = {
        let instance = Arc::clone(&instance);
        crate::tasks::thread("absorb", move || {
            for _ in 0..40 {
                for number in 0..120 {
                    instance.entities.absorb(&transaction(number));
                }
            }
        })
        .expect("a thread")
    };
    for _ in 0..200 {
        instance.entities.release(&[0, 1, 2, 3]);
    }
    writer.join().expect("no panic");
    apply_all(&instance, &blobs);
    assert_eq!(instance.fingerprint(120), expected);
    assert_eq!(instance.entities.stats().transactions, 120);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_order_and_number_of_blobs_gives_the_same_state(order in prop::collection::vec(0..24_usize, 0..40), releases in prop::collection::vec((0..40_usize, 0..4_u32), 0..3)) {
        let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
        let [source, target] = directories.each_ref().map(|directory| open(directory.path()));
        let blobs = history(&source);
        for (place, blob) in order.iter().enumerate() {
            for (_, partition) in releases.iter().filter(|(at, _)| *at == place) {
                target.entities.release(&[*partition]);
            }
            apply(&target, &blobs[*blob]);
        }
        for bytes in blobs.iter().rev() {
            apply(&target, bytes);
        }
        prop_assert_eq!(target.fingerprint(120), source.fingerprint(120));
        prop_assert_eq!(target.entities.stats().events, source.entities.stats().events);
    }
}

#[tokio::test]
async fn ids_learnt_from_the_changelog_are_decided_elsewhere_also_after_a_restart() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [source, target] = directories.each_ref().map(|directory| open(directory.path()));
    let mine = target.score(transaction(3)).await;
    let (bytes, after) = source.commit(0..10, None);
    // One that is decided here just while it is learnt: its decision stands, and is not published again.
    let racing = target.scorer.decide_group(vec![streamed(transaction(5), 5)]);
    drop(racing);
    let applied = target.sink().apply(0, &Blob::decode(&bytes).expect("readable"), false);
    assert_eq!((applied.events, applied.ids, applied.labels), (10, 0, 0));
    let check = async |instance: &Instance| {
        assert!(matches!(instance.score(transaction(1)).await, Answer::Elsewhere));
        assert!(matches!(instance.score(paying(1, 5)).await, Answer::Conflict));
        assert!(instance.ledger.find("t-1").await.expect("readable").is_none());
        let answers = instance.scorer.decide_group(vec![
            streamed(transaction(1), 1),
            streamed(paying(1, 5), 2),
            streamed(transaction(3), 3),
        ]);
        assert!(matches!(answers.as_slice(), [Streamed::Duplicate, Streamed::Conflict, Streamed::Duplicate]));
        let Answer::Decided { record, status } = instance.score(transaction(3)).await else { panic!("replaced") };
        assert_eq!((record.origin, status), (Origin::Rest, EvaluationStatus::Duplicate));
        assert_eq!(instance.ledger.unpublished(), 0);
        record
    };
    let Answer::Decided { record, .. } = mine else { panic!("not decided") };
    assert_eq!(check(&target).await.decision, record.decision);
    apply(&target, &bytes);
    let expected = target.fingerprint(10);
    target.running.close();
    drop(target);
    let again = open(directories[1].path());
    assert_eq!(again.positions.get(&0), Some(&after));
    assert_eq!(check(&again).await.decision, record.decision);
    assert_eq!(again.fingerprint(10), expected);
    let page = again.ledger.after(0, None, 100).await.expect("readable");
    assert_eq!(page.records.len(), 1, "the feed has decisions only");
}

#[tokio::test]
async fn what_the_rest_door_decides_while_it_is_learnt_is_not_published_again() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [source, target] = directories.each_ref().map(|directory| open(directory.path()));
    let (bytes, _) = source.commit(0..3, None);
    let crate::runtime::decisions::Reservation::Reserved(ticket) =
        target.ledger.reserve("t-1", transaction(1).payload_hash())
    else {
        panic!("not free")
    };
    apply(&target, &bytes);
    let record = target.scorer.dry_run(request(transaction(1))).await;
    let deadline = crate::runtime::clock::Moment::now().after(std::time::Duration::from_mins(1));
    ticket.settle(crate::runtime::decisions::Record::clone(&record), deadline).await;
    assert_eq!(target.ledger.unpublished(), 0);
    assert!(matches!(target.scorer.decide_group(vec![streamed(transaction(1), 1)]).as_slice(), [Streamed::Duplicate]));
}

#[test]
fn gaps_and_other_histories_are_told() {
    let (a, b, c) = (Position::start(0, 0), Position::start(10, 0), Position::start(20, 0));
    let blob = |before: Position, after: Position| BlobWriter::new(before).finish(after, 0);
    let check = |at: Position, bytes: Vec<u8>, expected| {
        assert_eq!(StateSink::follow(&at, &Blob::decode(&bytes).expect("readable")), expected);
    };
    check(a, blob(a, b), Ok(true));
    check(b, blob(a, b), Ok(false));
    check(a, blob(b, c), Err(Error::Gap { at: a, found: b }));
    check(b, blob(Position { chain: 5, ..b }, c), Err(Error::Diverged { at: b }));
    check(Position::start(15, 0), blob(b, c), Err(Error::Gap { at: Position::start(15, 0), found: b }));
}

//! The ledger keeps first answers, whatever the interleaving.

use smallvec::smallvec;

use super::*;
use crate::domain::transaction::samples::transaction;
use crate::domain::{
    Decision, DecisionId, DecisionSource, FeatureVector, Latency, Reason, ReasonSource, ReleaseFacts, Thresholds,
    Timestamp, TraceId,
};
use crate::runtime::clock::Moment;
use crate::scoring::decide::policy::StandinLoad;

fn record(id: &str, payload_hash: u128, outcome: Outcome, received_at: Timestamp) -> Record {
    let transaction = transaction(id, received_at, 1, |_| {});
    let reason = Reason {
        code: "X".into(),
        description: "x".into(),
        contribution: None,
        source: ReasonSource::Standin,
        decisive: true,
    };
    let decision = Decision {
        id: DecisionId(1),
        transaction_id: id.into(),
        outcome,
        score: None,
        risk_score: 0,
        reasons: smallvec![reason],
        rules: smallvec![],
        explanation_omitted: None,
        release: Arc::new(ReleaseFacts {
            model_name: String::new(),
            model_version: String::new(),
            model_sha256: String::new(),
            model_role: "none".into(),
            rules_version: String::new(),
            policy_version: String::new(),
            schema_hash: String::new(),
            rates_version: String::new(),
            thresholds: Thresholds { review: 0.1, challenge: None, decline: 0.5 },
            rules: vec![],
            ..ReleaseFacts::default()
        }),
        source: DecisionSource::Standin,
        degraded: smallvec![],
        latency: Latency::default(),
        trace_id: TraceId(1),
        evaluated_at: received_at,
    };
    Record {
        decision,
        transaction,
        payload_hash,
        features: FeatureVector::default(),
        standin: StandinLoad::default(),
        list_hits: vec![],
        received_at,
        cursor: Cursor::default(),
        origin: Origin::Rest,
    }
}

async fn settle(ledger: &Ledger, id: &str, outcome: Outcome, at: i64) {
    let Reservation::Reserved(ticket) = ledger.reserve(id, 7) else { panic!("{id} was not free") };
    let settled = ticket.settle(record(id, 7, outcome, Timestamp::from_seconds(at)), Moment::now()).await;
    assert!(matches!(settled, Settled::Kept(_)));
}

#[tokio::test]
async fn the_first_answer_stays() {
    let ledger = Ledger::new(Options::default());
    settle(&ledger, "t-1", Outcome::Review, 100).await;
    assert!(matches!(ledger.reserve("t-1", 7), Reservation::Decided(found) if found.cursor.get() == 1));
    assert!(matches!(ledger.reserve("t-1", 8), Reservation::Conflict));
    assert_eq!(ledger.find("t-1").await.expect("memory").expect("kept").decision.outcome, Outcome::Review);
    assert!(ledger.find("t-2").await.expect("memory").is_none());
}

#[tokio::test]
async fn those_who_wait_hear_the_answer_or_that_there_is_none() {
    let ledger = Ledger::new(Options::default());
    let Reservation::Reserved(ticket) = ledger.reserve("t-1", 7) else { panic!("free") };
    let Reservation::InFlight(first) = ledger.reserve("t-1", 7) else { panic!("in flight") };
    let Reservation::InFlight(second) = ledger.reserve("t-1", 7) else { panic!("in flight") };
    assert!(matches!(ledger.reserve("t-1", 9), Reservation::Conflict));
    ticket.settle(record("t-1", 7, Outcome::Decline, Timestamp::from_seconds(1)), Moment::now()).await;
    assert_eq!(first.decided().await.expect("decided").decision.outcome, Outcome::Decline);
    assert!(second.decided().await.is_some());

    let Reservation::Reserved(abandoned) = ledger.reserve("t-2", 7) else { panic!("free") };
    let Reservation::InFlight(waiter) = ledger.reserve("t-2", 7) else { panic!("in flight") };
    drop(abandoned);
    assert!(waiter.decided().await.is_none());
    assert!(matches!(ledger.reserve("t-2", 9), Reservation::Reserved(_)));
}

#[tokio::test]
async fn the_feed_is_in_order_and_filtered() {
    let ledger = Ledger::new(Options::default());
    for number in 1..=10 {
        let outcome = if number % 3 == 0 { Outcome::Decline } else { Outcome::Approve };
        settle(&ledger, &format!("t-{number}"), outcome, number).await;
    }
    let check = async |cursor, outcome, limit, expected: &[u64], next| {
        let page = ledger.after(cursor, outcome, limit).await.expect("memory");
        assert_eq!(page.records.iter().map(|r| r.cursor.get()).collect::<Vec<_>>(), expected);
        assert_eq!(page.next, next);
    };
    check(0, None, 3, &[1, 2, 3], 3).await;
    check(3, None, 100, &[4, 5, 6, 7, 8, 9, 10], 10).await;
    check(0, Some(Outcome::Decline), 2, &[3, 6], 6).await;
    check(6, Some(Outcome::Decline), 2, &[9], 10).await;
    check(10, None, 5, &[], 10).await;
    check(99, None, 5, &[], 99).await;
}

#[tokio::test]
async fn bounds_let_the_oldest_go() {
    let by_age = Ledger::new(Options { age_max: Span::from_seconds(5), bytes_max: 1 << 20 });
    for number in 0..20 {
        settle(&by_age, &format!("t-{number}"), Outcome::Approve, number).await;
    }
    assert_eq!(by_age.stats().records, 6);
    assert!(
        by_age.find("t-13").await.expect("memory").is_none() && by_age.find("t-14").await.expect("memory").is_some()
    );
    assert_eq!(by_age.after(0, None, 100).await.expect("memory").records[0].cursor.get(), 15);

    let by_bytes = Ledger::new(Options { age_max: Span::from_days(1), bytes_max: 1 << 20 });
    for number in 0..2_000 {
        settle(&by_bytes, &format!("t-{number}"), Outcome::Approve, 1).await;
    }
    let stats = by_bytes.stats();
    assert!(stats.bytes <= 1 << 20 && stats.records > 500, "{stats:?}");
    assert_eq!(stats.evicted, 2_000 - stats.records as u64);
}

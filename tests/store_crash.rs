//! `kill -9` under load: no answered decision is lost, none is doubled, features go on as if nothing happened.
//!
//! Three rounds; `FRAUDD_CRASH_ROUNDS` says how many instead (`make crash-test`: 20).

mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fraudd::app::parse_history;
use fraudd::domain::{Currency, RateTable};
use fraudd::runtime::entities::{Entities, Options};
use fraudd::scoring::feature::Schema;
use serde_json::Value;
use service::{Service, transaction};

const CLIENTS: usize = 4;
/// Answers of one round before the process is killed.
const ROUND: u64 = 250;

/// What a client was told of each number.
type Answers = BTreeMap<u64, Value>;

/// What makes an answer the same one. A disk that took longer than the deadline is told in the answer
/// only: the record was written after all.
fn essence(decision: &Value) -> Value {
    let keys = ["decision_id", "transaction_id", "outcome", "score", "risk_score", "reasons", "evaluated_at"];
    let reasons = decision["degraded_reasons"].as_array().expect("a list").iter();
    let whole: Vec<&Value> = reasons.filter(|reason| *reason != "not_recorded").collect();
    keys.iter().map(|key| decision[*key].clone()).chain([serde_json::json!(whole)]).collect()
}

struct Load {
    next: AtomicU64,
    answered: Mutex<Answers>,
    /// Sent, but the connection broke before an answer.
    broken: Mutex<Vec<u64>>,
}

impl Load {
    /// Posts until the service has gone, and kills it in full flight.
    fn round(&self, service: &mut Service) {
        let target = self.answered.lock().expect("lock").len() as u64 + ROUND;
        let (client, url) = (service.client.clone(), service.url("/v1/decisions"));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    loop {
                        let again = self.broken.lock().expect("lock").pop();
                        let number = again.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
                        let request = client.post(&url).header("content-type", "application/json");
                        let answer = request.body(transaction(number)).send().and_then(|answer| {
                            let status = answer.status().as_u16();
                            answer.json_text().map(|text| (status, text))
                        });
                        let Ok((status, text)) = answer else {
                            return self.broken.lock().expect("lock").push(number);
                        };
                        assert_eq!(status, 200, "{text}");
                        let decision = serde_json::from_str(&text).expect("JSON");
                        self.answered.lock().expect("lock").insert(number, decision);
                    }
                });
            }
            while (self.answered.lock().expect("lock").len() as u64) < target {
                std::thread::yield_now();
            }
            service.kill();
        });
    }
}

trait JsonText {
    fn json_text(self) -> reqwest::Result<String>;
}

impl JsonText for reqwest::blocking::Response {
    fn json_text(self) -> reqwest::Result<String> {
        self.text()
    }
}

/// Finds every answer again, by look-up and by asking once more.
fn verify(service: &Service, answers: &Answers) {
    for (number, told) in answers {
        let (status, found) = service.get(&format!("/v1/decisions/t-{number}"));
        assert_eq!((status, essence(&found)), (200, essence(told)), "t-{number} by look-up");
        let (status, again) = service.post("/v1/decisions", &transaction(*number)).expect("an answer");
        assert_eq!((status, essence(&again)), (200, essence(told)), "t-{number} by asking again");
        assert_eq!(again["evaluation_status"], "duplicate", "t-{number}");
    }
}

#[test]
fn no_answer_is_lost_or_doubled_and_features_go_on() {
    let rounds = std::env::var("FRAUDD_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let directory = tempfile::tempdir().expect("a directory");
    // Small segments and a small cache: rolling, sealing and cold look-ups happen in every round.
    let settings = [("FRAUDD__STATE__SEGMENT_SIZE", "64KiB"), ("FRAUDD__LEDGER__MEMORY_MAX", "200KiB")];
    let load = Load { next: AtomicU64::new(0), answered: Mutex::default(), broken: Mutex::default() };
    for round in 0..rounds {
        let mut service = Service::start(directory.path(), &settings);
        if round % 2 == 0 {
            // The others put load on a service that is still restoring.
            service.wait_until_ready();
        }
        let answers = load.answered.lock().expect("lock").clone();
        let recent = answers.iter().rev().take(200).map(|(number, told)| (*number, told.clone())).collect();
        verify(&service, &recent);
        load.round(&mut service);
    }
    let service = Service::start(directory.path(), &settings);
    service.wait_until_ready();
    for number in load.broken.lock().expect("lock").drain(..) {
        let (status, decision) = service.post("/v1/decisions", &transaction(number)).expect("an answer");
        assert_eq!(status, 200, "{decision}");
        load.answered.lock().expect("lock").insert(number, decision);
    }
    let answers = load.answered.into_inner().expect("lock");
    verify(&service, &answers);
    let feed = service.feed();
    let once: BTreeSet<&String> = feed.iter().collect();
    assert_eq!((feed.len(), once.len()), (answers.len(), answers.len()), "each decision once in the feed");
    compare_features(&service, answers.keys().copied());
    assert!(service.text("/metrics").contains("\nfraudd_store_failing 0"));
    assert!(service.stop(), "the drain went wrong");
}

/// Asks for new transactions of every customer and compares their features with a recompute from all events.
fn compare_features(service: &Service, sent: impl Iterator<Item = u64>) {
    let schema = Schema::parse(include_str!("../models/schemas/card-fraud.toml")).expect("a schema").into();
    let entities = Entities::new(Options::default(), std::slice::from_ref(&schema)).expect("entities");
    let plan = entities.admit(&schema).expect("a plan");
    let rates = RateTable::identity(Currency::EUR);
    let parse = |number| parse_history(transaction(number).as_bytes(), &rates).expect("valid");
    let mut newest = 0;
    for number in sent {
        entities.absorb(&parse(number));
        newest = number;
    }
    for probe in newest + 1..=newest + 20 {
        let expected = entities.observe(&parse(probe), &plan);
        assert_eq!(service.post("/v1/decisions", &transaction(probe)).expect("an answer").0, 200);
        let (status, shown) = service.get(&format!("/v1/decisions/t-{probe}?features=true"));
        assert_eq!(status, 200);
        for (place, feature) in schema.features().iter().enumerate() {
            let seen = &shown["features"][feature.name.as_str()];
            assert_eq!(seen["missing"], expected.is_missing(place), "t-{probe}: {}", feature.name);
            if let Some(value) = expected.get(place) {
                assert_eq!(
                    seen["value"].as_f64().map(f64::to_bits),
                    Some(value.to_bits()),
                    "t-{probe}: {}",
                    feature.name
                );
            }
        }
    }
}

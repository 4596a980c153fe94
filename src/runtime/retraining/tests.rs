//! Retraining with real children: what is asked for, run, remembered and told.

use std::time::Duration;

use super::*;
use crate::domain::{Span, Timestamp};
use crate::healing::retraining::{Declined, Hold, LabelFeed};
use crate::healing::{Alarm, Evidence, ModelRef, Verdict};

const T0: i64 = 1_772_359_200;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_seconds(T0 + minute * 60)
}

fn model() -> ModelRef {
    ModelRef { name: "card-fraud".into(), version: "1".into(), sha256: "ab".into() }
}

fn finding(alarm: Alarm, verdict: Verdict, (since, found): (i64, i64)) -> Finding {
    let (subject, evidence) = (None, Evidence::default());
    Finding { alarm, subject, model: Some(model()), verdict, since: at(since), at: at(found), evidence }
}

fn options(directory: Option<&Path>, script: Option<&str>) -> Options {
    let command = script.map(|script| command::Options {
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        deadline: Duration::from_mins(1),
        grace: Duration::from_millis(200),
    });
    let ask = retraining::Options {
        is_enabled: true,
        persistence: Span::from_seconds(60),
        backoff: Span::from_seconds(3_600),
        backoff_max: Span::from_days(1),
        per_day_max: 3,
        maturity: Span::from_days(7),
        history: Span::ZERO,
        frauds_min: 1,
        patience: Span::from_seconds(7_200),
        declined: Declined::Labelled,
    };
    Options { ask, command, directory: directory.map(Path::to_owned) }
}

fn start(directory: Option<&Path>, script: Option<&str>, doors: Doors) -> Retraining {
    Retraining::start(options(directory, script), doors, Paths::default()).expect("started")
}

fn ask(retraining: &Retraining, minute: i64) -> Ask {
    let active = model();
    retraining.ask(&Situation {
        now: at(minute),
        findings: &[finding(Alarm::QualityLost, Verdict::Acting, (0, 1))],
        active: Some(&active),
        models: std::slice::from_ref(&active),
        labels: LabelFeed::Healthy { frauds: 500 },
        incidents: &Incidents::default(),
        is_trial_on: false,
    })
}

fn request(answer: Ask) -> Request {
    match answer {
        Ask::Request(request) => *request,
        Ask::Hold(hold) => panic!("held: {hold}"),
    }
}

fn next_outcome(retraining: &Retraining) -> Ended {
    loop {
        if let Some(ended) = retraining.outcomes().pop() {
            return ended;
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_command_gets_its_request_and_tells_what_came_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = r#"grep -q quality_lost "$FRAUDD_REQUEST" && [ -d "$FRAUDD_WORK" ] &&
        echo "{\"name\":\"$FRAUDD_MODEL_NAME\",\"version\":\"2\"}""#;
    let retraining = start(Some(directory.path()), Some(script), Doors::default());
    let asked = request(ask(&retraining, 10));
    let ended = next_outcome(&retraining);
    let bundle = Some(("card-fraud".to_owned(), "2".to_owned()));
    assert_eq!(ended, Ended { id: asked.id, outcome: Outcome::Delivered, bundle, said: "card-fraud/2".into() });
    assert_eq!(retraining.under_way(), None);
    assert!(matches!(ask(&retraining, 11), Ask::Hold(Hold::Backoff { .. })));
}

#[test]
fn what_was_asked_and_what_went_wrong_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    {
        let retraining = start(Some(directory.path()), Some("echo broken >&2; exit 7"), Doors::default());
        retraining.note(&finding(Alarm::BrokenFeature, Verdict::Acting, (2, 3)));
        retraining.note(&finding(Alarm::BrokenFeature, Verdict::Ended, (2, 5)));
        request(ask(&retraining, 10));
        let ended = next_outcome(&retraining);
        assert_eq!((ended.outcome, ended.said.as_str()), (Outcome::Failed, "ended with 7: broken"));
    }
    let again = start(Some(directory.path()), Some("true"), Doors::default());
    // An hour, doubled because the first one failed.
    assert_eq!(ask(&again, 100), Ask::Hold(Hold::Backoff { until: at(130) }));
    let next = request(ask(&again, 130));
    assert_eq!(next.leave_out.len(), 1, "{:?}", next.leave_out);
    let saved = std::fs::read(directory.path().join(&next.id).join("request.json")).expect("a request");
    assert_eq!(serde_json::from_slice::<Request>(&saved).expect("JSON"), next);

    std::fs::write(directory.path().join("memory.json"), "no JSON").expect("written");
    drop(again);
    std::fs::write(directory.path().join("memory.json"), "no JSON").expect("written");
    let refused = Retraining::start(options(Some(directory.path()), None), Doors::default(), Paths::default());
    assert!(refused.is_err_and(|error| error.to_string().contains("move it away")));
}

#[test]
fn only_the_newest_requests_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let (journal, _) = Journal::open(Some(directory.path().to_owned())).expect("opened");
    let retraining = start(None, None, Doors::default());
    let first = request(ask(&retraining, 10));
    for number in 0..20 {
        journal.put(&Request { id: format!("rt_{number}"), ..first.clone() }).expect("kept");
    }
    let kept = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(kept, 5);
    assert!(directory.path().join("rt_19").exists());
}

#[test]
fn doors_get_the_request_and_the_bundle_that_comes_answers_it() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (by_web, by_stream) = (Arc::clone(&heard), Arc::clone(&heard));
    let doors = Doors {
        webhook: Some(Box::new(move |request| {
            by_web.lock().push(("webhook", request.id.clone()));
            Err("its queue is full".into())
        })),
        stream: Some(Box::new(move |request| {
            by_stream.lock().push(("stream", request.id.clone()));
            Ok(())
        })),
    };
    let retraining = start(None, None, doors);
    let asked = request(ask(&retraining, 10));
    assert_eq!(*heard.lock(), [("webhook", asked.id.clone()), ("stream", asked.id.clone())]);
    assert_eq!(retraining.under_way(), Some(asked.id.clone()));
    retraining.arrived("card-fraud", "2");
    assert_eq!(next_outcome(&retraining).id, asked.id);
    assert_eq!(retraining.under_way(), None);
    retraining.arrived("card-fraud", "3");
    assert_eq!(retraining.outcomes(), [], "nothing was asked for");
}

#[test]
fn a_request_that_nobody_takes_has_failed() {
    let retraining = start(None, None, Doors::default());
    let asked = request(ask(&retraining, 10));
    let ended = next_outcome(&retraining);
    assert_eq!((ended.id, ended.outcome), (asked.id, Outcome::Failed));
    assert!(ended.said.contains("retraining.command"), "{}", ended.said);
}

#[test]
fn closing_ends_a_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let retraining = start(Some(directory.path()), Some("touch \"$FRAUDD_WORK/begun\"; sleep 600"), Doors::default());
    let asked = request(ask(&retraining, 10));
    while !directory.path().join(&asked.id).join("begun").exists() {
        std::thread::yield_now();
    }
    retraining.close();
    retraining.close();
    let ended = next_outcome(&retraining);
    assert_eq!(ended.said, "stopped: the service ends");
}

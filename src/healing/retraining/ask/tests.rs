//! When a new model is asked for: each reason, beside the look-alike that must not.

use proptest::prelude::*;

use super::super::request::{Why, Window};
use super::*;
use crate::healing::Evidence;

const T0: i64 = 1_772_359_200;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_seconds(T0 + minute * 60)
}

fn model(version: &str) -> ModelRef {
    ModelRef { name: "card-fraud".into(), version: version.into(), sha256: format!("{version}-hash") }
}

fn minutes(count: i64) -> Span {
    Span::from_seconds(count * 60)
}

fn options() -> Options {
    Options {
        is_enabled: true,
        persistence: minutes(30),
        backoff: minutes(60),
        backoff_max: minutes(600),
        per_day_max: 3,
        maturity: Span::from_days(7),
        history: Span::from_days(90),
        frauds_min: 200,
        patience: minutes(120),
        declined: Declined::Labelled,
    }
}

fn finding(alarm: Alarm, verdict: Verdict, since: i64) -> Finding {
    let evidence = Evidence { log_e: 30.0, log_threshold: 21.0, votes: 4_000, ..Evidence::default() };
    Finding { alarm, subject: None, model: Some(model("1")), verdict, since: at(since), at: at(since + 1), evidence }
}

/// What is asked of one case; the defaults are a case that asks.
struct Case {
    now: i64,
    findings: Vec<Finding>,
    labels: LabelFeed,
    memory: Memory,
    is_trial_on: bool,
    options: Options,
}

fn case(findings: Vec<Finding>) -> Case {
    let labels = LabelFeed::Healthy { frauds: 500 };
    Case { now: 40, findings, labels, memory: Memory::default(), is_trial_on: false, options: options() }
}

impl Case {
    fn ask(&self) -> Ask {
        self.ask_with(&Incidents::default())
    }

    fn ask_with(&self, incidents: &Incidents) -> Ask {
        let active = model("1");
        let situation = Situation {
            now: at(self.now),
            findings: &self.findings,
            active: Some(&active),
            models: std::slice::from_ref(&active),
            labels: self.labels,
            incidents,
            is_trial_on: self.is_trial_on,
        };
        consider(&self.options, &self.memory, &situation)
    }

    fn held(&self) -> Hold {
        match self.ask() {
            Ask::Hold(hold) => hold,
            Ask::Request(request) => panic!("asked for {request:?}"),
        }
    }

    fn request(&self) -> Request {
        match self.ask() {
            Ask::Request(request) => *request,
            Ask::Hold(hold) => panic!("held: {hold}"),
        }
    }
}

fn drift() -> Finding {
    finding(Alarm::InputDrift, Verdict::Acting, 0)
}

#[test]
fn drift_asks_when_it_has_lasted_and_lost_quality_at_once() {
    let request = case(vec![drift()]).request();
    assert_eq!((request.replaces.version.as_str(), request.evidence.len()), ("1", 1));
    assert_eq!(Case { now: 29, ..case(vec![drift()]) }.held(), Hold::NotYet { until: at(30) });
    let lost = finding(Alarm::QualityLost, Verdict::Acting, 39);
    assert_eq!(case(vec![lost.clone()]).request().evidence, std::slice::from_ref(&lost));
    let both = case(vec![drift(), lost.clone()]).request();
    assert_eq!(both.evidence, [lost, drift()], "lost quality first");
    assert!(both.reason().starts_with("quality_lost since 2026-03-01T10:39:00Z, input_drift"), "{}", both.reason());
}

#[test]
fn what_only_looks_like_it_does_not_ask() {
    for verdict in [Verdict::Advisory, Verdict::Inconclusive, Verdict::Ended] {
        assert_eq!(case(vec![finding(Alarm::QualityLost, verdict, 0)]).held(), Hold::NothingFound, "{verdict:?}");
    }
    for alarm in Alarm::ALL
        .into_iter()
        .filter(|alarm| !matches!(alarm, Alarm::QualityLost | Alarm::InputDrift | Alarm::ScoreDrift))
    {
        assert_eq!(case(vec![finding(alarm, Verdict::Acting, 0)]).held(), Hold::NothingFound, "{alarm:?}");
    }
    let foreign = Finding { model: Some(model("0")), ..finding(Alarm::QualityLost, Verdict::Acting, 0) };
    assert_eq!(case(vec![foreign]).held(), Hold::NothingFound, "HE-3");
    let nobodys = Finding { model: None, ..finding(Alarm::QualityLost, Verdict::Acting, 0) };
    assert_eq!(case(vec![nobodys]).held(), Hold::NothingFound, "HE-3");
    assert_eq!(case(vec![]).held(), Hold::NothingFound);
}

#[test]
fn a_broken_pipeline_or_an_attack_is_not_a_changed_world() {
    for alarm in [Alarm::BrokenFeature, Alarm::AlertSurge, Alarm::Volume] {
        let open = case(vec![drift(), finding(alarm, Verdict::Acting, 0)]);
        assert_eq!(open.held(), Hold::Incident { alarm });
        let told = case(vec![drift(), finding(alarm, Verdict::Advisory, 0)]);
        assert_eq!(told.request().evidence.len(), 1, "an advisory holds nothing up");
    }
}

#[test]
fn without_labels_nothing_is_learned() {
    let with = |labels| Case { labels, ..case(vec![drift()]) }.held();
    assert_eq!(with(LabelFeed::Unhealthy), Hold::LabelFeed);
    assert_eq!(with(LabelFeed::Unknown), Hold::LabelsUnknown);
    assert_eq!(with(LabelFeed::Healthy { frauds: 199 }), Hold::TooFewFrauds { found: 199, needed: 200 });

    let of = |verdict: Option<Verdict>, frauds| {
        let findings: Vec<Finding> = verdict.into_iter().map(|v| finding(Alarm::LabelFeed, v, 0)).collect();
        LabelFeed::of(&findings, frauds)
    };
    assert_eq!(of(None, Some(7)), LabelFeed::Healthy { frauds: 7 });
    assert_eq!(of(None, None), LabelFeed::Unknown);
    assert_eq!(of(Some(Verdict::Ended), Some(7)), LabelFeed::Healthy { frauds: 7 });
    assert_eq!(of(Some(Verdict::Inconclusive), Some(7)), LabelFeed::Unknown);
    assert_eq!(of(Some(Verdict::Advisory), Some(7)), LabelFeed::Unhealthy);
    assert_eq!(of(Some(Verdict::Acting), None), LabelFeed::Unhealthy);
}

#[test]
fn one_at_a_time_and_none_while_a_candidate_is_tried() {
    let mut first = case(vec![drift()]);
    let request = first.request();
    first.memory.asked(&request);
    assert_eq!(first.held(), Hold::UnderWay { id: request.id.clone() });
    first.memory.ended("another", Outcome::Delivered);
    assert_eq!(first.held(), Hold::UnderWay { id: request.id.clone() });
    first.memory.ended(&request.id, Outcome::Delivered);
    assert_eq!(first.held(), Hold::Backoff { until: at(100) });
    first.now = 100;
    first.is_trial_on = true;
    assert_eq!(first.held(), Hold::Trial);
    first.is_trial_on = false;
    assert_ne!(first.request().id, request.id, "another instant, another request");
    assert_eq!(Case { options: Options { is_enabled: false, ..options() }, ..first }.held(), Hold::Disabled);
}

#[test]
fn what_brings_nothing_makes_the_pause_longer() {
    let mut case = Case { options: Options { per_day_max: 100, ..options() }, ..case(vec![drift()]) };
    for pause in [120, 240, 480, 600, 600] {
        let request = case.request();
        case.memory.asked(&request);
        case.memory.ended(&request.id, Outcome::NothingBetter);
        assert_eq!(case.held(), Hold::Backoff { until: at(case.now + pause) });
        case.now += pause;
    }
    // One that is never answered failed, and one that delivers makes up for all.
    let silent = case.request();
    case.memory.asked(&silent);
    case.now += 600;
    let next = case.request();
    case.memory.asked(&next);
    case.memory.ended(&next.id, Outcome::Delivered);
    assert_eq!(case.held(), Hold::Backoff { until: at(case.now + 60) });
    case.memory.refused();
    assert_eq!(case.held(), Hold::Backoff { until: at(case.now + 120) });
}

#[test]
fn the_day_has_a_cap() {
    let mut case = case(vec![drift()]);
    for now in [40, 100, 160] {
        case.now = now;
        let request = case.request();
        case.memory.asked(&request);
        case.memory.ended(&request.id, Outcome::Delivered);
    }
    case.now = 220;
    assert_eq!(case.held(), Hold::Cap { until: at(40 + 24 * 60) });
    case.now = 40 + 24 * 60;
    case.request();
    case.options.per_day_max = 0;
    assert!(matches!(case.held(), Hold::Cap { .. }));
}

#[test]
fn a_request_says_all_that_a_trainer_must_know() {
    let asks = case(vec![drift()]);
    let mut incidents = Incidents::default();
    incidents.note(&finding(Alarm::AlertSurge, Verdict::Acting, 10));
    incidents.note(&finding(Alarm::AlertSurge, Verdict::Ended, 19));
    let long_ago = at(-400 * 24 * 60);
    incidents.add(Window { from: long_ago.minus(minutes(5)), until: long_ago, why: Why::ByHand });
    let Ask::Request(request) = asks.ask_with(&incidents) else { panic!("held") };
    assert_eq!(request.until, at(40).minus(Span::from_days(7)));
    assert_eq!(request.from, Some(at(40).minus(Span::from_days(97))));
    assert_eq!(request.leave_out, [Window { from: at(10), until: at(20), why: Why::Attack }], "what is in reach");
    assert_eq!(request.gates, GATES);
    assert!(request.note.contains("Declined transactions have no labels"), "{}", request.note);
    assert!(request.id.starts_with("rt_") && request.id.len() == 35, "{}", request.id);

    let text = serde_json::to_string(&request).expect("JSON");
    assert_eq!(*request, serde_json::from_str(&text).expect("the same"));
    let Ask::Request(again) = asks.ask_with(&incidents) else { panic!("held") };
    assert_eq!(again, request, "the same history, the same request and the same id");
    let Ask::Request(other) = asks.ask() else { panic!("held") };
    assert_ne!(other.id, request.id, "another content, another id");
}

/// One step of a made-up history.
#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Ends(Outcome),
    Refused,
    Feed(LabelFeed),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1i64..400).prop_map(Step::Wait),
        3 => proptest::sample::select(Outcome::ALL.to_vec()).prop_map(Step::Ends),
        1 => Just(Step::Refused),
        1 => proptest::sample::select(vec![
            LabelFeed::Unhealthy,
            LabelFeed::Unknown,
            LabelFeed::Healthy { frauds: 300 },
            LabelFeed::Healthy { frauds: 300 },
        ])
        .prop_map(Step::Feed),
    ]
}

proptest! {
    /// Whatever happens: never two at once, never without labels, never more than the cap in any 24 hours.
    #[test]
    fn caps_hold_whatever_happens(steps in proptest::collection::vec(step(), 1..120)) {
        let mut case = case(vec![drift()]);
        let mut made: Vec<(i64, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(minutes) => case.now += minutes,
                Step::Ends(outcome) => {
                    let id = case.memory.under_way().map(str::to_owned);
                    if let Some(id) = id {
                        case.memory.ended(&id, outcome);
                    }
                }
                Step::Refused => case.memory.refused(),
                Step::Feed(feed) => case.labels = feed,
            }
            let was_under_way = case.memory.under_way().is_some();
            let Ask::Request(request) = case.ask() else { continue };
            let is_healthy = matches!(case.labels, LabelFeed::Healthy { .. });
            prop_assert!(is_healthy, "learns without labels");
            if let Some((last, _)) = made.last() {
                prop_assert!(case.now - last >= 60, "no pause: {} after {last}", case.now);
                prop_assert!(!was_under_way || case.now - last >= 120, "two at once");
            }
            prop_assert!(made.iter().all(|(_, id)| *id != request.id));
            made.push((case.now, request.id.clone()));
            let recent = made.iter().filter(|(when, _)| case.now - when < 24 * 60).count();
            prop_assert!(recent <= 3, "{made:?}");
            case.memory.asked(&request);
        }
    }
}

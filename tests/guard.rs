//! A model that begins to fail, to give NaN, to be slow, to hang or to panic under load, over the real scorer and the
//! real engine: every answer comes before its deadline, none is a failure, the breaker opens, and once the fault is
//! over the model earns its calls back: golden rows, shadow, ramp, closed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fraudd::domain::{
    Currency, DegradedReason, Draft, EvaluationStatus, RateTable, TextField, Timestamp, TraceId, Transaction,
};
use fraudd::healing::breaker::{CallOutcome, Cause, Options, Place};
use fraudd::healing::finding::{Alarm, Finding, Verdict};
use fraudd::healing::host::{HostState, Limits};
use fraudd::runtime::clock::{Clock, Moment};
use fraudd::runtime::decisions::{self, Ledger};
use fraudd::runtime::entities::{self, Entities};
use fraudd::runtime::explainer::{self, Budget};
use fraudd::runtime::guard::{self, Admitted, Watch};
use fraudd::runtime::host::Host;
use fraudd::runtime::inference::{Inference, InferenceOptions, ModelFailure, Reached};
use fraudd::runtime::release::{Bundle, gates};
use fraudd::runtime::resident::{self, Resident};
use fraudd::runtime::scorer::{self, Answer, Effort, Parts, Request, Scorer};
use fraudd::runtime::slot::{Model, Release, Slot};
use fraudd::runtime::store::Gate;
use fraudd::runtime::stream::{StreamRequest, Streamed};
use fraudd::scoring::decide::policy::Policy;
use fraudd::scoring::rule::RuleSet;
use fraudd::tasks::faults::{Fault, Faults};
use fraudd::tasks::{self, OnExit, Shutdown};

use onnx::runtime_is_here;

#[path = "shared/onnx.rs"]
mod onnx;

const MODEL: &str = "card-fraud/1.0.0";
const T0: i64 = 1_772_359_200;
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long an answer may take: far more than any model is waited for.
const DEADLINE: Duration = Duration::from_secs(10);
const CLIENTS: u64 = 8;

/// Short waits, so that a way back takes seconds; the limits that open are the shipped ones.
fn options() -> Options {
    Options {
        cool_us: 50_000,
        cool_max_us: 200_000,
        shadow_percent: 50,
        step_calls: 40,
        step_us: 20_000,
        full_us: 50_000,
        // Slow is what is far from what a busy machine does to a model that is not.
        slow_after_us: 60_000,
        ..Options::default()
    }
}

/// A scorer with the shipped model in force, watched, on a host that has all its processor.
struct Rig {
    scorer: Scorer,
    model: Arc<Model>,
    faults: Faults,
    shutdown: Shutdown,
    calls: AtomicU64,
    root: tempfile::TempDir,
}

fn rig(hang_after: Duration) -> Rig {
    let faults = Faults::possible();
    let models = resident::Options {
        enabled: true,
        directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("models"),
        active: MODEL.into(),
        standby: String::new(),
        runtime_library: None,
        staged: None,
    };
    let inference =
        InferenceOptions { hang_after, breaker: options(), faults: faults.clone(), ..InferenceOptions::default() };
    let loaded = Resident::load(&models, &inference, &gates::Limits::default()).active.expect("the shipped model");
    let entities = Entities::new(entities::Options::default(), &[Arc::clone(&loaded.schema)]).expect("entities");
    let rules = RuleSet::parse(include_str!("../config/rules.toml"), &loaded.schema.environment(true));
    let release = Release {
        facts: Arc::default(),
        plan: entities.admit(&loaded.schema).expect("a plan"),
        model: Some(Arc::clone(&loaded.model)),
        rules: Arc::new(rules.expect("rules")),
        schema: loaded.schema,
        lists: Arc::default(),
        policy: Arc::new(Policy::parse(include_str!("../config/policy.toml")).expect("a policy")),
        rates: Arc::new(RateTable::identity(Currency::EUR)),
        rule_counters: Arc::default(),
        rolled_back: false,
        union: None,
        calibration: None,
    };
    let parts = Parts {
        slot: Arc::new(Slot::new(release)),
        entities: Arc::new(entities),
        ledger: Arc::new(Ledger::new(decisions::Options::default())),
        gate: Arc::new(Gate::live()),
        clock: Clock::manual(Timestamp::from_seconds(T0)),
        explanations: Budget::new(&explainer::Options { cpu_ms_per_second: 0 }, Moment::now()),
        ownership: None,
        tap: Arc::default(),
    };
    let scorer = Scorer::new(
        parts,
        scorer::Options {
            model_deadline: Duration::from_millis(100),
            stream_model_deadline: Duration::from_millis(150),
            partition_key: vec![TextField::CustomerId],
        },
    );
    let (shutdown, root) = (Shutdown::default(), tempfile::tempdir().expect("a directory"));
    Rig { scorer, model: loaded.model, faults, shutdown, calls: AtomicU64::new(0), root }
}

fn transaction(number: u64) -> Transaction {
    let mut draft = Draft::new();
    draft.id(&format!("t-{number}"));
    draft.occurred_at(Timestamp::from_seconds(T0 + i64::try_from(number % 3_600).expect("small")));
    draft.amount(1_000 + i64::try_from(number % 500).expect("small"));
    draft.currency("EUR");
    draft.text(TextField::CustomerId, &format!("c-{}", number % 97));
    draft.text(TextField::CardToken, &format!("tok_{}", number % 97));
    draft.text(TextField::MerchantId, &format!("m-{}", number % 31));
    draft.text(TextField::Channel, "ecommerce");
    draft.finish(&RateTable::identity(Currency::EUR)).expect("valid")
}

fn request(number: u64) -> Request {
    let transaction = transaction(number);
    Request {
        received_at: transaction.occurred_at(),
        transaction,
        trace_id: TraceId(7),
        started: Moment::now(),
        deadline: Moment::now().after(DEADLINE),
        explain: false,
        effort: Effort::Whole,
    }
}

/// What one call was answered with: whether a model did, and what was less than whole.
type Seen = (bool, Vec<DegradedReason>);

impl Rig {
    /// Starts the watch over the model, on a host of which nothing bad is known.
    fn watched(self) -> Arc<Self> {
        let rig = Arc::new(self);
        let model = Arc::clone(&rig.model);
        let watch = Watch {
            models: Arc::new(move || vec![("active", Arc::clone(&model))]),
            host: Arc::new(Host::under(rig.root.path(), Limits::DEFAULT)),
            deadline: Duration::from_millis(100),
        };
        let stop = rig.shutdown.clone();
        let run = move || guard::watch(watch.clone(), stop.clone());
        drop(tasks::spawn("guards", OnExit::ShutDown, rig.shutdown.clone(), run));
        rig
    }

    fn next(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    async fn score(&self) -> Seen {
        let request = request(self.next());
        let deadline = request.deadline;
        let Answer::Decided { record, status } = self.scorer.score(request).await else { panic!("not decided") };
        assert!(!deadline.has_passed(), "an answer after its deadline");
        assert_eq!(status, EvaluationStatus::New);
        (record.decision.score.is_some(), record.decision.degraded.to_vec())
    }

    /// Lets clients ask, one call after the other each, until `is_over`; returns what they saw.
    async fn load(self: &Arc<Self>, what: &str, is_over: impl Fn(&Self) -> bool + Send + Sync + 'static) -> Vec<Seen> {
        let (over, until) = (Arc::new(AtomicBool::new(false)), Moment::now().after(PATIENCE));
        let is_over = Arc::new(is_over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (rig, over, is_over) = (Arc::clone(self), Arc::clone(&over), Arc::clone(&is_over));
                let (send, seen) = tokio::sync::oneshot::channel();
                let client = async move {
                    let mut seen = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        seen.push(rig.score().await);
                        if is_over(&rig) || until.has_passed() {
                            over.store(true, Ordering::Relaxed);
                        }
                        tokio::task::yield_now().await;
                    }
                    let _ = send.send(seen);
                };
                drop(tasks::once("client", client));
                seen
            })
            .collect();
        let mut seen = Vec::new();
        for client in clients {
            seen.extend(client.await.expect("no client panics"));
        }
        assert!(!until.has_passed(), "{what}: {:?}", self.model.guard.status());
        seen
    }
}

fn place(rig: &Rig) -> Place {
    rig.model.guard.place()
}

/// What an answer may say while the model is at fault, and on its way back.
const ALLOWED: [DegradedReason; 5] = [
    DegradedReason::BreakerOpen,
    DegradedReason::ModelError,
    DegradedReason::ModelTimeout,
    DegradedReason::ModelQueueFull,
    DegradedReason::ScoreNotFinite,
];

async fn goes_through(fault: Fault, causes: &[Cause], alarms: &[Alarm]) {
    if !runtime_is_here() {
        return;
    }
    let rig = rig(Duration::from_mins(10)).watched();
    let healthy = rig.load("healthy", |rig| rig.calls.load(Ordering::Relaxed) > 300).await;
    assert!(healthy.iter().all(|(by_model, degraded)| *by_model && degraded.is_empty()), "{healthy:?}");
    assert_eq!(place(&rig), Place::Closed);

    assert!(rig.faults.begin(MODEL, fault));
    let during = rig.load("the breaker opens", |rig| place(rig) != Place::Closed).await;
    let from = rig.calls.load(Ordering::Relaxed);
    let after = rig.load("rules answer", move |rig| rig.calls.load(Ordering::Relaxed) > from + 100).await;
    for (by_model, degraded) in during.iter().chain(&after) {
        assert!(*by_model != degraded.iter().any(|reason| ALLOWED.contains(reason)), "{degraded:?}");
    }
    assert!(after.iter().filter(|(_, degraded)| degraded.contains(&DegradedReason::BreakerOpen)).count() > 50);

    rig.faults.end(MODEL);
    let back = rig.load("it closes", |rig| place(rig) == Place::Closed).await;
    assert!(back.iter().all(|(by_model, degraded)| *by_model == degraded.is_empty()), "rules answered the rest");
    let from = rig.calls.load(Ordering::Relaxed);
    let healed = rig.load("healed", move |rig| rig.calls.load(Ordering::Relaxed) > from + 100).await;
    assert!(healed.iter().all(|(by_model, _)| *by_model));
    tell(&rig, causes, alarms);
    rig.shutdown.ask();
}

/// The moves and the findings that were told, from Closed to Closed.
fn tell(rig: &Rig, causes: &[Cause], alarms: &[Alarm]) {
    let moves = rig.model.guard.transitions();
    assert!(causes.contains(&moves[0].change.cause) && moves[0].change.to == Place::Open, "{:?}", moves[0]);
    let way: Vec<(Place, u32)> =
        moves.iter().rev().take(8).rev().map(|moved| (moved.change.to, moved.change.percent)).collect();
    let ramp = [1, 5, 25, 50, 100].map(|percent| (Place::Ramp, percent));
    assert_eq!(way[..2], [(Place::Probe, 0), (Place::Shadow, 0)], "{moves:?}");
    assert_eq!(way[2..7], ramp, "{moves:?}");
    assert_eq!(way[7], (Place::Closed, 100), "{moves:?}");
    let found = rig.model.guard.findings();
    let begun = found.first().expect("a finding");
    assert!(alarms.contains(&begun.alarm) && begun.verdict == Verdict::Acting, "{begun:?}");
    let ends = |finding: &Finding| finding.alarm == begun.alarm && finding.verdict == Verdict::Ended;
    assert!(found.iter().any(ends) && rig.model.guard.open_findings().is_empty(), "{found:?}");
    let status = rig.model.guard.status();
    assert_eq!(status.admitted, status.settled, "CB-2");
    assert!(status.refused > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_model() {
    goes_through(Fault::Fail, &[Cause::HardInARow, Cause::HardRate], &[Alarm::ModelFault]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_gives_nan() {
    goes_through(Fault::NotANumber, &[Cause::HardInARow, Cause::HardRate], &[Alarm::ModelFault]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_model() {
    // Writing down where it panicked may take longer than a call waits: then it is slow, too.
    let causes = [Cause::HardInARow, Cause::HardRate, Cause::SlowInARow, Cause::SlowRate];
    goes_through(Fault::Panic, &causes, &[Alarm::ModelFault, Alarm::SlowModel]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_model() {
    let slow = Fault::Slow(Duration::from_millis(80));
    goes_through(slow, &[Cause::SlowInARow, Cause::SlowRate], &[Alarm::SlowModel]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_model() {
    goes_through(Fault::Hang, &[Cause::SlowInARow, Cause::SlowRate], &[Alarm::SlowModel]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_hang_are_written_off_and_then_the_process_asks_to_start_anew() {
    if !runtime_is_here() {
        return;
    }
    let rig = rig(Duration::from_millis(50)).watched();
    assert!(rig.faults.begin(MODEL, Fault::Hang));
    let seen = rig.load("the process asks to be started anew", |rig| rig.shutdown.recycles()).await;
    assert!(seen.iter().all(|(by_model, _)| !by_model));
    assert!(rig.shutdown.is_asked());
    assert!(rig.model.guard.status().written_off >= 2);
    // The threads that hang end by themselves, and the engine can be dropped.
    rig.faults.end(MODEL);
}

fn engine(faults: &Faults) -> (Bundle, Inference) {
    let bundle = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(MODEL)).expect("a bundle");
    let hang_after = Duration::from_millis(20);
    let options = InferenceOptions { hang_after, faults: faults.clone(), ..InferenceOptions::default() };
    let inference = Inference::start(&bundle, options).expect("started");
    (bundle, inference)
}

#[tokio::test]
async fn a_thread_that_hangs_is_replaced_and_its_call_is_told_apart_from_one_in_line() {
    if !runtime_is_here() {
        return;
    }
    let faults = Faults::possible();
    let (bundle, inference) = engine(&faults);
    let row = &bundle.golden[0].row;
    assert!(faults.begin(MODEL, Fault::Hang));
    let soon = || Moment::now().after(Duration::from_millis(50));
    // On a busy machine the thread may come too late for a call: then it never runs it.
    let mut hangs = inference.score_timed(row, soon()).await;
    while hangs.course.reached != Reached::Run {
        assert_eq!(hangs.score, Err(ModelFailure::Timeout));
        hangs = inference.score_timed(row, soon()).await;
    }
    assert_eq!(hangs.score, Err(ModelFailure::Timeout));
    let waits = inference.score_timed(row, soon()).await;
    assert_eq!((waits.score, waits.course.reached), (Err(ModelFailure::Timeout), Reached::Line));
    assert!(waits.course.ran_us >= 50_000, "the run before it goes on: {:?}", waits.course);
    let mut hung = 0;
    while hung == 0 {
        hung = inference.watch().hung;
    }
    assert_eq!(inference.watch().hung_total, 1);
    faults.end(MODEL);
    let late = || Moment::now().after(Duration::from_secs(30));
    let scored = inference.score_timed(row, late()).await;
    assert!(scored.score.is_ok() && scored.course.reached == Reached::Answer, "{scored:?}");
    // The one that was written off came back meanwhile and left: nothing of it is counted twice.
    for _ in 0..100 {
        assert!(inference.score(row, late()).await.is_ok());
        assert_eq!((inference.watch().hung, inference.watch().died), (0, 0));
    }
}

#[tokio::test]
async fn all_threads_are_replaced_while_calls_go_on() {
    if !runtime_is_here() {
        return;
    }
    let (bundle, inference) = engine(&Faults::default());
    for golden in bundle.golden.iter().take(200) {
        let late = Moment::now().after(Duration::from_secs(30));
        let asked = inference.score(&golden.row, late);
        assert_eq!(inference.restart(), Ok(1));
        let score = asked.await.expect("scored").get();
        assert!((score - golden.probability).abs() < 0.05, "{score} {}", golden.probability);
    }
    assert_eq!(inference.watch().hung_total, 0);
}

#[tokio::test]
async fn a_flooded_line_before_a_fast_model_is_an_overload_and_opens_nothing() {
    if !runtime_is_here() {
        return;
    }
    let rig = rig(Duration::from_mins(10));
    // Rows come in thousands at once, each with next to no time: most of them wait in vain.
    let guard = Arc::clone(&rig.model.guard);
    let row = vec![0.0; rig.model.baseline.len()];
    let (mut waited, mut answered) = (0, 0);
    for round in 0..20 {
        let deadline = Moment::now().after(Duration::from_millis(2));
        let asked: Vec<_> = (0..2_000)
            .map(|_| {
                let Admitted::Call(permit) = guard.admit() else {
                    panic!("opened in round {round}: {:?}", guard.status())
                };
                (permit, rig.model.inference.score_timed(&row, deadline))
            })
            .collect();
        for (permit, asked) in asked {
            let scored = asked.await;
            let outcome = guard::outcome_of(scored.score.as_ref().err(), scored.course, guard.slow_after_us());
            waited += u64::from(outcome == CallOutcome::Neutral);
            answered += u64::from(outcome == CallOutcome::Good);
            permit.settle_scored(scored.score.as_ref().err(), scored.course, guard.slow_after_us());
        }
        guard.tick(&HostState::default());
        assert_eq!(guard.place(), Place::Closed);
    }
    assert!(waited > 1_000, "{waited} waited in vain, {answered} were answered");
    let status = guard.status();
    assert_eq!((status.admitted, status.settled, status.refused), (40_000, 40_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_guarded_too() {
    if !runtime_is_here() {
        return;
    }
    let rig = rig(Duration::from_mins(10)).watched();
    let decide = |rig: &Arc<Rig>, fault: bool| {
        let streamed = |number| StreamRequest {
            request: request(number),
            late: false,
            decided: None,
            origin: decisions::Origin::Stream { partition: 0, offset: 0 },
        };
        let group: Vec<_> = (0..200).map(|_| streamed(rig.next())).collect();
        let scorer = rig.scorer.clone();
        if fault {
            assert!(rig.faults.begin(MODEL, Fault::NotANumber));
        }
        let (send, answers) = std::sync::mpsc::sync_channel(1);
        let lane = tasks::thread("lane", move || {
            let answers = scorer.decide_group(group);
            let reasons = |streamed: &Streamed| {
                let Streamed::New(held) = streamed else { panic!("decided") };
                held.record().decision.degraded.to_vec()
            };
            send.send(answers.iter().map(reasons).collect::<Vec<_>>()).expect("heard");
        });
        lane.expect("a thread").join().expect("ended");
        answers.recv().expect("answers")
    };
    assert!(decide(&rig, false).iter().all(Vec::is_empty));
    let failing = decide(&rig, true);
    assert!(failing.iter().all(|reasons| reasons == &[DegradedReason::ScoreNotFinite]), "{failing:?}");
    assert_ne!(place(&rig), Place::Closed);
    let refused = decide(&rig, true);
    assert!(refused.iter().all(|reasons| reasons == &[DegradedReason::BreakerOpen]), "{refused:?}");
    rig.faults.end(MODEL);
    let until = Moment::now().after(PATIENCE);
    while place(&rig) != Place::Closed && !until.has_passed() {
        drop(decide(&rig, false));
    }
    assert_eq!(place(&rig), Place::Closed, "{:?}", rig.model.guard.status());
    assert!(decide(&rig, false).iter().all(Vec::is_empty));
    rig.shutdown.ask();
}

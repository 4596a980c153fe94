//! The guard under many threads and odd callers: permits are settled once, tickets are out once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::domain::Score;
use crate::healing::finding::{Alarm, Verdict};
use crate::runtime::inference::{Course, ModelFailure, Reached, Scored};
use crate::tasks;

const FAST: Options = Options {
    hard_in_a_row_max: 3,
    hard_percent: 25,
    hard_calls_min: 20,
    slow_after_us: 5_000,
    slow_in_a_row_max: 50,
    slow_percent: 50,
    slow_calls_min: 50,
    cool_us: 1,
    cool_max_us: 1,
    shadow_percent: 10,
    step_calls: 20,
    step_us: 1,
    full_us: 1,
    step_max_us: 60_000_000,
    forget_us: 600_000_000,
};

fn guard(options: Options) -> Arc<Guard> {
    let model = ModelRef { name: "m".into(), version: "1".into(), sha256: "s".into() };
    Arc::new(Guard::new(model, options, Clock::system(), (&[], Tolerance::DEFAULT)))
}

fn settle(guard: &Guard, outcome: CallOutcome) -> bool {
    let Admitted::Call(permit) = guard.admit() else { return false };
    permit.settle(outcome);
    true
}

/// Lets a breaker that cooled go through probe and shadow, up to its ramp.
fn to_ramp(guard: &Guard) {
    for _ in 0..10_000 {
        guard.tick(&HostState::default());
        if let Some(ticket) = guard.take_ticket() {
            assert_eq!(guard.take_ticket(), None, "CB-1");
            let report = Report { counts: Counts::good(20), is_whole: true, ..Report::default() };
            guard.return_ticket(&ticket, report);
        }
        if guard.place() == Place::Ramp {
            return;
        }
    }
    panic!("no ramp: {:?}", guard.status());
}

#[test]
fn failures_open_it_and_its_way_back_is_told() {
    let guard = guard(FAST);
    assert!((0..10).all(|_| settle(&guard, CallOutcome::Good)));
    assert!((0..3).all(|_| settle(&guard, CallOutcome::Hard)));
    assert!(!settle(&guard, CallOutcome::Good), "it is open");
    let status = guard.status();
    assert_eq!(
        (status.place, status.cause, status.admitted, status.settled),
        (Place::Open, Some(Cause::HardInARow), 13, 13)
    );
    assert_eq!(status.refused, 1);
    let found = guard.findings();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].alarm, found[0].verdict), (Alarm::ModelFault, Verdict::Acting));
    assert_eq!(found[0].model.as_ref(), Some(guard.model()));
    assert!(found[0].evidence.text.contains("hard_in_a_row") && !guard.open_findings().is_empty());
    to_ramp(&guard);
    for _ in 0..100_000 {
        settle(&guard, CallOutcome::Good);
        guard.tick(&HostState::default());
        if guard.place() == Place::Closed {
            break;
        }
    }
    let path: Vec<(Place, u32)> =
        guard.transitions().iter().map(|moved| (moved.change.to, moved.change.percent)).collect();
    let ramp = [1, 5, 25, 50, 100].map(|percent| (Place::Ramp, percent));
    let before = [(Place::Open, 0), (Place::Probe, 0), (Place::Shadow, 0)];
    assert_eq!(path, [&before[..], &ramp[..], &[(Place::Closed, 100)]].concat());
    assert!(guard.transitions().is_empty(), "told once");
    let ended = guard.findings();
    assert_eq!((ended[0].alarm, ended[0].verdict), (Alarm::ModelFault, Verdict::Ended));
    assert!(guard.open_findings().is_empty());
}

#[test]
fn a_share_is_spread_evenly() {
    for percent in [1_u32, 5, 10, 25, 50, 99, 100] {
        let guard = guard(FAST);
        let let_through: Vec<bool> = (0..1_000).map(|_| guard.is_among(percent)).collect();
        for hundred in let_through.chunks(100) {
            let count = hundred.iter().filter(|through| **through).count();
            assert_eq!(u32::try_from(count).expect("small"), percent);
        }
    }
}

#[test]
fn a_dropped_call_says_nothing_and_a_late_one_neither() {
    let guard = guard(FAST);
    for _ in 0..100 {
        let Admitted::Call(permit) = guard.admit() else { panic!("closed") };
        drop(permit);
    }
    assert_eq!((guard.status().last_second, guard.status().settled), (Counts::default(), 100));
    let Admitted::Call(late) = guard.admit() else { panic!("closed") };
    assert!((0..3).all(|_| settle(&guard, CallOutcome::Hard)));
    to_ramp(&guard);
    late.settle(CallOutcome::Hard);
    assert_eq!((guard.place(), guard.status().step), (Place::Ramp, Counts::default()), "of a stretch that is over");
}

#[test]
fn overload_throttling_and_a_slow_model_are_three_things() {
    let options = Options { slow_calls_min: 20, ..FAST };
    let waited = Course { reached: Reached::Line, queued_us: 10_000, ran_us: 900 };
    let computed = Course { reached: Reached::Run, queued_us: 100, ran_us: 9_900 };
    let throttled = HostState {
        throttled_share: 0.5,
        ..HostState { limits: crate::healing::host::Limits::DEFAULT, ..HostState::default() }
    };
    let calm = HostState { throttled_share: 0.0, ..throttled };
    let check = |course: Course, host: &HostState, expected: Place| {
        let guard = guard(options);
        for _ in 0..200 {
            let Admitted::Call(permit) = guard.admit() else { panic!("closed until it is looked at") };
            permit.settle_scored(Some(&ModelFailure::Timeout), course, guard.slow_after_us());
        }
        guard.tick(host);
        assert_eq!(guard.place(), expected, "{course:?} {host:?}");
        assert_eq!(guard.status().settled, 200);
    };
    check(waited, &calm, Place::Closed);
    check(waited, &throttled, Place::Closed);
    check(computed, &throttled, Place::Closed);
    check(computed, &calm, Place::Open);
}

#[test]
fn a_hung_thread_is_a_fault_whatever_opened_the_breaker() {
    let guard = guard(Options { cool_us: 60_000_000, cool_max_us: 60_000_000, ..FAST });
    guard.hung(1);
    let (moves, found) = (guard.transitions(), guard.findings());
    assert_eq!(
        (moves.len(), moves[0].change.cause, found.len(), found[0].alarm),
        (1, Cause::Hung, 1, Alarm::ModelFault)
    );
    let slow = self::guard(Options { slow_calls_min: 10, cool_us: 60_000_000, cool_max_us: 60_000_000, ..FAST });
    assert!((0..50).all(|_| settle(&slow, CallOutcome::Slow)));
    slow.tick(&HostState::default());
    assert_eq!(slow.findings().iter().map(|finding| finding.alarm).collect::<Vec<_>>(), [Alarm::SlowModel]);
    slow.hung(1);
    slow.hung(1);
    assert_eq!(slow.findings().iter().map(|finding| finding.alarm).collect::<Vec<_>>(), [Alarm::ModelFault]);
    assert_eq!((slow.status().written_off, slow.open_findings().len()), (2, 2));
}

#[test]
fn golden_rows_that_move_while_it_serves_are_found_until_they_give_their_scores_again() {
    let guard = guard(Options { cool_us: 60_000_000, cool_max_us: 60_000_000, ..FAST });
    guard.golden_held();
    assert!(guard.findings().is_empty() && guard.open_findings().is_empty());
    let moved = Moved { rows: 100, moved: 40, largest: 0.5 };
    guard.golden_moved(&moved);
    guard.golden_moved(&moved);
    let found: Vec<_> = guard.findings().into_iter().map(|finding| (finding.alarm, finding.verdict)).collect();
    assert_eq!(found, [(Alarm::GoldenMismatch, Verdict::Acting)], "told once");
    assert_eq!((guard.open_findings().len(), guard.place()), (1, Place::Closed));
    guard.golden_held();
    let found: Vec<_> = guard.findings().into_iter().map(|finding| (finding.alarm, finding.verdict)).collect();
    assert_eq!((found, guard.open_findings()), (vec![(Alarm::GoldenMismatch, Verdict::Ended)], Vec::new()));
    // While the breaker is open for a fault, that nothing moved closes nothing.
    guard.golden_moved(&moved);
    guard.hung(1);
    guard.golden_held();
    assert_eq!((guard.place(), guard.open_findings().len()), (Place::Open, 2));
}

#[test]
fn an_override_is_told_with_its_reason_and_ends() {
    let guard = guard(FAST);
    let until = guard.now().plus(crate::domain::Span::from_seconds(60));
    guard.force(Force::Open, until, "drill", "anna");
    assert!(matches!(guard.admit(), Admitted::Refused));
    let status = guard.status();
    let forced = status.force.expect("forced");
    assert_eq!(
        (forced.force, forced.reason.as_str(), forced.by.as_str(), forced.until),
        (Force::Open, "drill", "anna", until)
    );
    assert!(guard.clear("done", "anna") && !guard.clear("done", "anna"));
    assert_eq!((guard.place(), guard.status().force), (Place::Probe, None));
    let told: Vec<_> = guard.transitions().into_iter().map(|moved| (moved.change.cause, moved.reason)).collect();
    assert_eq!(told, [(Cause::Forced, Some("drill".into())), (Cause::Cleared, Some("done".into()))]);
    guard.force(Force::Closed, guard.now(), "over at once", "anna");
    guard.tick(&HostState::default());
    assert_eq!((guard.place(), guard.status().cause), (Place::Closed, Some(Cause::Expired)));
}

#[tokio::test]
async fn the_layer_keeps_the_same_contract() {
    let guard = guard(FAST);
    let failing = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&failing);
    let model = tower::service_fn(move |(): ()| {
        let fails = fails.load(Relaxed);
        let score = if fails { Err(ModelFailure::NotFinite) } else { Ok(Score::new(0.5).expect("a score")) };
        std::future::ready(Ok::<_, std::convert::Infallible>(Scored { score, course: Course::default() }))
    });
    let mut guarded = GuardLayer::new(Arc::clone(&guard)).layer(model);
    assert!(guarded.ready().await.expect("ready").call(()).await.is_ok());
    failing.store(true, Relaxed);
    // A call that is given up before it is polled is settled, too.
    drop(guarded.call(()));
    for _ in 0..3 {
        assert!(guarded.ready().await.expect("ready").call(()).await.expect("let through").score.is_err());
    }
    assert_eq!(guarded.call(()).await, Err(Refused::BreakerOpen));
    let status = guard.status();
    assert_eq!((status.admitted, status.settled, status.refused), (5, 5, 1));
}

/// One thing that a caller does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Ask,
    Settle(usize, CallOutcome),
    GiveUp(usize),
    Tick,
    Work { keeps: bool, fails: bool },
}

fn does() -> impl Strategy<Value = Does> {
    let outcome = prop_oneof![4 => Just(CallOutcome::Good), 2 => Just(CallOutcome::Hard), 1 => Just(CallOutcome::Slow)];
    prop_oneof![
        10 => Just(Does::Ask),
        8 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Does::Settle(which, outcome)),
        2 => any::<usize>().prop_map(Does::GiveUp),
        3 => Just(Does::Tick),
        3 => (any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(keeps, fails)| Does::Work { keeps, fails }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// CB-1 and CB-2 under a random schedule: one ticket is out, each admitted call is settled once.
    #[test]
    fn permits_are_settled_once_and_tickets_are_out_once(schedule in prop::collection::vec(does(), 1..500)) {
        let guard = guard(FAST);
        let (mut permits, mut ticket): (Vec<Permit<&Guard>>, Option<(Ticket, u64)>) = (Vec::new(), None);
        let (mut admitted, mut over) = (0, 0);
        for does in schedule {
            match does {
                Does::Ask => {
                    if let Admitted::Call(permit) = guard.admit() {
                        admitted += 1;
                        permits.push(permit);
                    }
                }
                Does::Settle(which, outcome) if !permits.is_empty() => {
                    permits.swap_remove(which % permits.len()).settle(outcome);
                    over += 1;
                }
                Does::GiveUp(which) if !permits.is_empty() => {
                    drop(permits.swap_remove(which % permits.len()));
                    over += 1;
                }
                Does::Settle(..) | Does::GiveUp(_) => {}
                Does::Tick => guard.tick(&HostState::default()),
                Does::Work { keeps, fails } => {
                    let epoch = guard.core.lock().breaker.epoch();
                    if let Some(taken) = guard.take_ticket() {
                        let out = ticket.replace((taken, epoch));
                        prop_assert!(out.is_none_or(|(_, of)| of != epoch), "CB-1");
                        if !keeps && let Some((ticket, _)) = ticket.take() {
                            let hard = u64::from(fails);
                            let counts = Counts { good: 20, hard, ..Counts::default() };
                            guard.return_ticket(&ticket, Report { counts, is_whole: true, ..Report::default() });
                        }
                    } else if let Some((ticket, _)) = ticket.take() {
                        guard.return_ticket(&ticket, Report::default());
                    }
                }
            }
            let status = guard.status();
            prop_assert_eq!((status.admitted, status.settled), (admitted, over), "CB-2");
        }
        drop(permits);
        let status = guard.status();
        prop_assert_eq!(status.admitted, status.settled, "CB-2");
    }
}

/// Many threads at once, while the breaker opens and closes under them.
#[test]
fn nothing_is_lost_among_threads() {
    const CALLS: u64 = 20_000;
    let guard = guard(FAST);
    let over = Arc::new(AtomicBool::new(false));
    let (ticks, ends) = (Arc::clone(&guard), Arc::clone(&over));
    let ticking = tasks::thread("ticks", move || {
        while !ends.load(Relaxed) {
            ticks.tick(&HostState::default());
            if let Some(ticket) = ticks.take_ticket() {
                let report = Report { counts: Counts::good(20), is_whole: true, ..Report::default() };
                ticks.return_ticket(&ticket, report);
            }
            std::thread::yield_now();
        }
    });
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let guard = Arc::clone(&guard);
            tasks::thread("calls", move || {
                for call in 0..CALLS {
                    let outcome = if (call + caller).is_multiple_of(7) { CallOutcome::Hard } else { CallOutcome::Good };
                    if let Admitted::Call(permit) = guard.admit() {
                        if call.is_multiple_of(11) { drop(permit) } else { permit.settle(outcome) }
                    }
                }
            })
            .expect("a thread")
        })
        .collect();
    for caller in callers {
        caller.join().expect("ended");
    }
    over.store(true, Relaxed);
    ticking.expect("a thread").join().expect("ended");
    let status = guard.status();
    assert_eq!(status.admitted, status.settled, "CB-2");
    assert_eq!(status.admitted + status.refused, 4 * CALLS);
}

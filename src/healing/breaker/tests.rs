//! The breaker against a naive reference that keeps every call, and its promises one by one.

mod reference;

use super::machine::{Admission, Breaker, Report, Surroundings, Ticket, Work};
use super::*;

const MS: u64 = 1_000;
const HALF: u64 = u64::MAX / 2;
const CALM: Surroundings = Surroundings { host_is_slow: false };
const SLOW_HOST: Surroundings = Surroundings { host_is_slow: true };

fn options() -> Options {
    Options {
        hard_in_a_row_max: 3,
        hard_percent: 25,
        hard_calls_min: 6,
        slow_after_us: 5 * MS,
        slow_in_a_row_max: 4,
        slow_percent: 50,
        slow_calls_min: 6,
        cool_us: 100 * MS,
        cool_max_us: 800 * MS,
        shadow_percent: 10,
        step_calls: 5,
        step_us: 50 * MS,
        full_us: 200 * MS,
        step_max_us: 400 * MS,
        forget_us: 3_000 * MS,
    }
}

fn calls(breaker: &mut Breaker, now: u64, outcome: CallOutcome, count: usize) -> Option<Change> {
    (0..count).find_map(|_| breaker.settle(now, breaker.epoch(), Counts::one(outcome), HALF))
}

fn opened() -> Breaker {
    let mut breaker = Breaker::new(Options::default(), 0);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Hard, 5).map(|change| change.cause), Some(Cause::HardInARow));
    breaker
}

#[test]
fn failures_in_a_row_or_a_quarter_of_a_second_open_it() {
    let mut breaker = Breaker::new(Options::default(), 0);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Hard, 4), None);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Good, 1), None);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Hard, 1), None, "5 of 6 failed, and 6 calls are too few");
    for _ in 0..4 {
        assert_eq!(calls(&mut breaker, 2_000 * MS, CallOutcome::Good, 3), None);
        assert_eq!(calls(&mut breaker, 2_000 * MS, CallOutcome::Hard, 1), None);
    }
    assert_eq!(calls(&mut breaker, 2_000 * MS, CallOutcome::Good, 3), None);
    let change = calls(&mut breaker, 2_000 * MS, CallOutcome::Hard, 1).expect("opened");
    assert_eq!((change.cause, change.counts.telling(), breaker.admission()), (Cause::HardRate, 20, Admission::Nobody));
}

#[test]
fn slow_calls_open_it_only_while_the_host_has_its_processor() {
    let mut breaker = Breaker::new(Options::default(), 0);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Good, 25), None);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Slow, 25), None, "slow calls are judged by the tick");
    assert_eq!(breaker.tick(25 * MS, SLOW_HOST, HALF), None);
    assert_eq!(breaker.tick(50 * MS, CALM, HALF), None, "excused calls stay excused");
    assert_eq!(calls(&mut breaker, 60 * MS, CallOutcome::Slow, 25), None);
    assert_eq!(breaker.tick(75 * MS, CALM, HALF).map(|change| change.cause), Some(Cause::SlowRate));
    // One hiccup holds up many calls; the seconds around it were good.
    let mut breaker = Breaker::new(Options::default(), 0);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Good, 4_500), None);
    assert_eq!(calls(&mut breaker, 900 * MS, CallOutcome::Slow, 500), None);
    assert_eq!(breaker.tick(900 * MS, CALM, HALF), None);
    assert_eq!(calls(&mut breaker, 901 * MS, CallOutcome::Good, 1), None);
    assert_eq!(breaker.tick(999 * MS, CALM, HALF), None);
    // A trickle of slow calls, never fifty within a second.
    let mut breaker = Breaker::new(Options::default(), 0);
    for call in 0..49 {
        assert_eq!(calls(&mut breaker, call * 200 * MS, CallOutcome::Slow, 1), None);
        assert_eq!(breaker.tick(call * 200 * MS, CALM, HALF), None);
    }
    assert_eq!(calls(&mut breaker, 10_000 * MS, CallOutcome::Slow, 1), None);
    assert_eq!(breaker.tick(10_000 * MS, CALM, HALF).map(|change| change.cause), Some(Cause::SlowInARow));
}

#[test]
fn overload_never_opens_it() {
    let mut breaker = Breaker::new(Options::default(), 0);
    for call in 0..10_000 {
        assert_eq!(calls(&mut breaker, call * MS, CallOutcome::Neutral, 9), None);
        assert_eq!(breaker.tick(call * MS, CALM, HALF), None);
    }
    assert_eq!(breaker.place(), Place::Closed);
}

#[test]
fn waits_double_and_are_spread_over_their_length() {
    let mut breaker = Breaker::new(Options::default(), 0);
    let mut now = 0;
    for expected_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        assert!(breaker.hung(now, u64::MAX).is_some());
        let until = breaker.until_us().expect("a wait");
        assert_eq!((until - now).div_ceil(MS), expected_ms);
        assert_eq!(breaker.tick(until - 1, CALM, 0), None);
        assert_eq!(breaker.tick(until, CALM, 0).map(|change| change.to), Some(Place::Probe));
        now = until;
    }
    assert!(breaker.hung(now, 0).is_some());
    assert_eq!(breaker.until_us(), Some(now), "full jitter reaches down to no wait");
}

#[test]
fn it_closes_by_golden_rows_then_shadow_then_a_ramp() {
    let mut breaker = opened();
    let mut now = breaker.until_us().expect("a wait");
    assert_eq!(breaker.tick(now, CALM, HALF).map(|change| change.cause), Some(Cause::Cooled));
    let ticket = breaker.take_ticket(now).expect("the permit");
    assert_eq!((ticket.work, breaker.take_ticket(now)), (Work::Golden, None), "CB-1");
    let whole = |good| Report { counts: Counts::good(good), is_whole: true, ..Report::default() };
    assert_eq!(breaker.return_ticket(now, &ticket, whole(192), HALF).map(|change| change.to), Some(Place::Shadow));
    assert_eq!(breaker.admission(), Admission::Shadow(10));
    for expected in [None, None, None, Some(Place::Ramp)] {
        let ticket = breaker.take_ticket(now).expect("the permit");
        assert!(matches!(ticket.work, Work::Live(_)));
        assert_eq!(breaker.return_ticket(now, &ticket, whole(50), HALF).map(|change| change.to), expected);
    }
    for percent in [1, 5, 25, 50, 100] {
        assert_eq!(breaker.admission(), Admission::Share(percent));
        assert_eq!(calls(&mut breaker, now, CallOutcome::Good, 200), None);
        let least = if percent == 100 { 30_000 * MS } else { 1_000 * MS };
        assert_eq!(breaker.tick(now + least - 1, CALM, HALF), None);
        now += least;
        assert!(breaker.tick(now, CALM, HALF).is_some());
    }
    assert_eq!((breaker.place(), breaker.admission()), (Place::Closed, Admission::All));
    assert_eq!(breaker.attempt(), 1);
    assert_eq!(breaker.tick(now + 600_000 * MS, CALM, HALF), None);
    assert_eq!(breaker.attempt(), 0, "ten clean minutes forget an attempt");
}

#[test]
fn a_step_that_live_calls_do_not_reach_is_done_with_rows_seen_before() {
    let mut breaker = opened();
    let now = breaker.until_us().expect("a wait");
    breaker.tick(now, CALM, HALF);
    let whole = |good| Report { counts: Counts::good(good), is_whole: true, ..Report::default() };
    let probe = breaker.take_ticket(now).expect("the permit");
    breaker.return_ticket(now, &probe, whole(192), HALF);
    let later = now + 30_000 * MS;
    let shadow = breaker.take_ticket(later).expect("the permit");
    assert_eq!(shadow.work, Work::Again(200));
    assert_eq!(breaker.return_ticket(later, &shadow, whole(200), HALF).map(|change| change.to), Some(Place::Ramp));
    assert_eq!(breaker.take_ticket(later), None, "a ramp has live calls first");
    assert_eq!(calls(&mut breaker, later, CallOutcome::Good, 7), None);
    let stuck = breaker.take_ticket(later + 30_000 * MS).expect("the permit");
    assert_eq!(stuck.work, Work::Again(193));
    assert_eq!(breaker.return_ticket(later + 30_000 * MS, &stuck, whole(193), HALF), None);
    assert_eq!(breaker.tick(later + 30_000 * MS, CALM, HALF).map(|change| change.percent), Some(5));
}

#[test]
fn a_failing_step_opens_it_again_and_a_permit_that_never_comes_back_too() {
    let whole = Report { is_whole: true, ..Report::default() };
    for (report, cause) in [
        (Report { is_mismatch: true, ..whole }, Cause::GoldenMismatch),
        (Report { counts: Counts::one(CallOutcome::Hard), ..whole }, Cause::StepFailed),
        (Report { counts: Counts { good: 190, slow: 2, ..Counts::default() }, ..whole }, Cause::SlowRate),
    ] {
        let mut breaker = opened();
        let now = breaker.until_us().expect("a wait");
        breaker.tick(now, CALM, HALF);
        let ticket = breaker.take_ticket(now).expect("the permit");
        let change = breaker.return_ticket(now, &ticket, report, HALF).expect("opened");
        assert_eq!((change.to, change.cause, breaker.attempt()), (Place::Open, cause, 2));
    }
    let mut breaker = opened();
    let now = breaker.until_us().expect("a wait");
    breaker.tick(now, CALM, HALF);
    let ticket = breaker.take_ticket(now).expect("the permit");
    assert_eq!(breaker.tick(now + 29_999 * MS, CALM, HALF), None);
    assert_eq!(breaker.tick(now + 30_000 * MS, CALM, HALF).map(|change| change.cause), Some(Cause::StepStuck));
    assert_eq!(breaker.return_ticket(now + 30_000 * MS, &ticket, whole, HALF), None, "it is void");
}

#[test]
fn a_person_has_the_last_word_for_a_while() {
    let mut breaker = Breaker::new(Options::default(), 0);
    breaker.force(0, Force::Closed, 1_000 * MS);
    assert_eq!(calls(&mut breaker, 0, CallOutcome::Hard, 100), None);
    assert_eq!((breaker.hung(0, 0), breaker.admission()), (None, Admission::All));
    assert_eq!(
        breaker.tick(1_000 * MS, CALM, 0).map(|change| (change.to, change.cause)),
        Some((Place::Closed, Cause::Expired))
    );
    breaker.force(0, Force::ObserveOnly, 1_000 * MS);
    let told = calls(&mut breaker, 0, CallOutcome::Hard, 5).expect("told");
    assert!(told.is_observed && breaker.place() == Place::ObserveOnly && breaker.admission() == Admission::All);
    breaker.force(0, Force::Open, 1_000 * MS);
    assert_eq!((breaker.admission(), breaker.take_ticket(0)), (Admission::Nobody, None));
    assert_eq!(breaker.clear(0).map(|change| (change.to, change.cause)), Some((Place::Probe, Cause::Cleared)));
    assert_eq!(breaker.clear(0), None);
}

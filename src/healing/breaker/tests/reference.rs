//! A naive breaker that keeps every call, and schedules under which both must do the same.

use proptest::prelude::*;

use super::*;

/// What a call counts as, and whether it was slow and is excused.
type Seen = (u64, CallOutcome, bool);

/// The same breaker, written to be read: it keeps every call of its stretch and counts them anew each time.
struct Reference {
    options: Options,
    place: Place,
    rung: usize,
    since: u64,
    until: u64,
    epoch: u64,
    attempt: u32,
    attempt_at: u64,
    calls: Vec<Seen>,
    work: Counts,
    out: Option<u64>,
}

impl Reference {
    fn new(options: Options) -> Self {
        let (place, work) = (Place::Closed, Counts::default());
        Self {
            options,
            place,
            rung: 0,
            since: 0,
            until: 0,
            epoch: 0,
            attempt: 0,
            attempt_at: 0,
            calls: Vec::new(),
            work,
            out: None,
        }
    }

    fn go(&mut self, now: u64, place: Place) {
        if place == Place::Closed {
            self.attempt_at = now;
        }
        (self.place, self.since, self.out, self.work) = (place, now, None, Counts::default());
        self.epoch += 1;
        self.calls.clear();
    }

    fn open(&mut self, now: u64, chance: u64) {
        let longest = (self.options.cool_us << self.attempt.min(20)).min(self.options.cool_max_us);
        self.go(now, Place::Open);
        self.until = now + u64::try_from((u128::from(longest) * u128::from(chance)) >> 64).expect("below its bound");
        self.attempt = (self.attempt + 1).min(20);
        self.attempt_at = now;
    }

    fn count(&self, from: u64, wanted: CallOutcome) -> u64 {
        let counts = |(at, outcome, excused): &&Seen| at / 100_000 >= from && *outcome == wanted && !excused;
        self.calls.iter().filter(counts).count() as u64
    }

    /// Good, slow and hard calls since a bucket.
    fn counts(&self, from: u64) -> (u64, u64, u64) {
        (self.count(from, CallOutcome::Good), self.count(from, CallOutcome::Slow), self.count(from, CallOutcome::Hard))
    }

    fn trailing(&self, wanted: CallOutcome, ended_by: &[CallOutcome]) -> u64 {
        let mut trailing = 0;
        for (_, outcome, excused) in self.calls.iter().rev() {
            if *outcome == wanted && !excused {
                trailing += 1;
            } else if ended_by.contains(outcome) {
                break;
            }
        }
        trailing
    }

    /// When the first of the slow calls in a row came.
    fn trailing_since(&self) -> Option<u64> {
        let row = self.calls.iter().rev().take_while(|(_, outcome, _)| *outcome != CallOutcome::Good);
        row.filter(|(_, outcome, excused)| *outcome == CallOutcome::Slow && !excused).last().map(|(at, ..)| *at)
    }

    fn is_bad(&self, now: u64, wanted: CallOutcome) -> bool {
        let (good, slow, hard) = self.counts((now / 100_000).saturating_sub(9));
        let all = good + slow + hard;
        let (in_a_row, least, percent, bad) = match wanted {
            CallOutcome::Hard => (3, 6, 25, hard),
            _ => (4, 6, 50, slow),
        };
        let ended_by: &[CallOutcome] = match wanted {
            CallOutcome::Hard => &[CallOutcome::Good, CallOutcome::Slow],
            _ => &[CallOutcome::Good],
        };
        let lasts = wanted == CallOutcome::Hard || self.trailing_since().is_some_and(|at| now - at >= 1_000_000);
        (self.trailing(wanted, ended_by) >= in_a_row && lasts)
            || (bad > 0 && all >= least && bad * 100 >= all * percent)
    }

    fn step(&self) -> (u64, u64, u64) {
        let (good, slow, hard) = self.counts(0);
        (good + self.work.good, slow + self.work.slow, hard + self.work.hard)
    }

    fn settle(&mut self, now: u64, epoch: u64, outcome: CallOutcome, chance: u64) {
        let counts = matches!(self.place, Place::Closed | Place::Ramp | Place::ForcedClosed | Place::ObserveOnly);
        if epoch != self.epoch || !counts {
            return;
        }
        self.calls.push((now, outcome, false));
        match self.place {
            Place::Closed if self.is_bad(now, CallOutcome::Hard) => self.open(now, chance),
            Place::ObserveOnly if self.is_bad(now, CallOutcome::Hard) => self.forget(),
            Place::Ramp => {
                let (good, slow, hard) = self.step();
                let row = self.trailing(CallOutcome::Hard, &[CallOutcome::Good, CallOutcome::Slow]);
                if row >= 2 || (hard >= 3 && hard * 100 >= good + slow + hard) {
                    self.open(now, chance);
                }
            }
            _ => {}
        }
    }

    fn forget(&mut self) {
        self.calls.clear();
        self.work = Counts::default();
    }

    fn tick(&mut self, now: u64, around: Surroundings, chance: u64) {
        if around.host_is_slow {
            let slow = |(_, outcome, _): &&mut Seen| *outcome == CallOutcome::Slow;
            self.calls.iter_mut().filter(slow).for_each(|(_, _, excused)| *excused = true);
            self.work.slow = 0;
        }
        match self.place {
            Place::Closed => {
                if now - self.attempt_at >= self.options.forget_us {
                    (self.attempt, self.attempt_at) = (self.attempt.saturating_sub(1), now);
                }
                if self.is_bad(now, CallOutcome::Slow) {
                    self.open(now, chance);
                }
            }
            Place::Open | Place::ForcedOpen if now >= self.until => self.go(now, Place::Probe),
            Place::Probe | Place::Shadow if self.out.is_some_and(|out| now - out >= 30_000_000) => {
                self.open(now, chance);
            }
            Place::Ramp => self.tick_ramp(now, chance),
            Place::ForcedClosed | Place::ObserveOnly if now >= self.until => self.go(now, Place::Closed),
            Place::ObserveOnly if self.is_bad(now, CallOutcome::Slow) => self.forget(),
            _ => {}
        }
    }

    fn tick_ramp(&mut self, now: u64, chance: u64) {
        let (good, slow, hard) = self.step();
        let (calls, waited) = (good + slow + hard, now - self.since);
        let least = if self.rung == 4 { self.options.full_us } else { self.options.step_us };
        if calls >= 5 && slow > 0 && slow * 10 >= calls {
            self.open(now, chance);
        } else if calls >= 5 && waited >= least {
            let rung = self.rung + 1;
            self.go(now, if rung == 5 { Place::Closed } else { Place::Ramp });
            self.rung = rung % 5;
        }
    }

    fn take(&mut self, now: u64) -> bool {
        let (good, slow, hard) = self.step();
        let stuck = now - self.since >= self.options.step_max_us && good + slow + hard < 5;
        let wants = matches!(self.place, Place::Probe | Place::Shadow) || (self.place == Place::Ramp && stuck);
        if self.out.is_some() || !wants {
            return false;
        }
        self.out = Some(now);
        true
    }

    fn give_back(&mut self, now: u64, report: Report, chance: u64) {
        self.out = None;
        if report.is_mismatch || report.counts.hard > 0 {
            return self.open(now, chance);
        }
        self.work.add(report.counts);
        let (good, slow, hard) = self.step();
        let calls = good + slow + hard;
        match self.place {
            Place::Probe | Place::Shadow if slow > 0 && slow * 100 >= calls && calls >= 20 => self.open(now, chance),
            Place::Probe if report.is_whole => self.go(now, Place::Shadow),
            Place::Shadow if calls >= 5 => {
                self.go(now, Place::Ramp);
                self.rung = 0;
            }
            _ => {}
        }
    }
}

/// One thing that happens to a breaker.
#[derive(Clone, Debug)]
enum Happens {
    Call(CallOutcome),
    /// A call of a stretch that is over ends.
    Late(CallOutcome),
    Time(u64, bool),
    Take,
    GiveBack(Counts, bool, bool),
    Hang,
    Force(Force, u64),
    Clear,
}

fn happens() -> impl Strategy<Value = Happens> {
    let outcome = || {
        prop_oneof![
            6 => Just(CallOutcome::Good),
            2 => Just(CallOutcome::Slow),
            2 => Just(CallOutcome::Hard),
            1 => Just(CallOutcome::Neutral),
        ]
    };
    let force = prop_oneof![Just(Force::Open), Just(Force::Closed), Just(Force::ObserveOnly)];
    let report = (0_u64..30, 0_u64..2, prop_oneof![9 => Just(0_u64), 1 => Just(1)]);
    prop_oneof![
        40 => outcome().prop_map(Happens::Call),
        2 => outcome().prop_map(Happens::Late),
        16 => (0_u64..120, prop::bool::weighted(0.1)).prop_map(|(ms, slow)| Happens::Time(ms * MS, slow)),
        1 => (300_u64..40_000).prop_map(|ms| Happens::Time(ms * MS, false)),
        8 => Just(Happens::Take),
        8 => (report, prop::bool::weighted(0.05), prop::bool::weighted(0.9)).prop_map(|((good, slow, hard), off, whole)| {
            Happens::GiveBack(Counts { good, slow, hard, neutral: 0 }, off, whole)
        }),
        1 => Just(Happens::Hang),
        1 => (force, 1_u64..500).prop_map(|(force, ms)| Happens::Force(force, ms * MS)),
        1 => Just(Happens::Clear),
    ]
}

/// Both breakers, side by side.
struct Pair {
    breaker: Breaker,
    reference: Reference,
    now: u64,
    ticket: Option<(Ticket, u64)>,
    path: Vec<Change>,
}

impl Pair {
    fn go_on(&mut self, what: &Happens, chance: u64) {
        let (now, epoch) = (self.now, self.breaker.epoch());
        let changed = match what {
            Happens::Call(outcome) => {
                self.reference.settle(now, epoch, *outcome, chance);
                self.breaker.settle(now, epoch, Counts::one(*outcome), chance)
            }
            Happens::Late(outcome) => {
                let before = epoch.wrapping_sub(1);
                let changed = self.breaker.settle(now, before, Counts::one(*outcome), chance);
                assert_eq!(changed, None, "a call of another stretch counts for nothing");
                None
            }
            Happens::Time(us, slow) => {
                self.now += us;
                let around = Surroundings { host_is_slow: *slow };
                self.reference.tick(self.now, around, chance);
                self.breaker.tick(self.now, around, chance)
            }
            Happens::Take => {
                let (taken, expected) = (self.breaker.take_ticket(now), self.reference.take(now));
                assert_eq!(taken.is_some(), expected);
                if let Some(ticket) = taken {
                    let out = self.ticket.replace((ticket, epoch));
                    assert!(out.is_none_or(|(_, of)| of != epoch), "CB-1: two permits of one stretch");
                }
                None
            }
            Happens::GiveBack(counts, is_mismatch, is_whole) => {
                let Some((ticket, of)) = self.ticket.take() else { return };
                let report = Report { counts: *counts, is_mismatch: *is_mismatch, is_whole: *is_whole };
                if of == epoch {
                    self.reference.give_back(now, report, chance);
                }
                self.breaker.return_ticket(now, &ticket, report, chance)
            }
            Happens::Hang => {
                if matches!(self.reference.place, Place::Closed | Place::Probe | Place::Shadow | Place::Ramp) {
                    self.reference.open(now, chance);
                } else if self.reference.place == Place::ObserveOnly {
                    self.reference.forget();
                }
                self.breaker.hung(now, chance)
            }
            Happens::Force(force, us) => {
                self.reference.go(now, force.place());
                self.reference.until = now + us;
                Some(self.breaker.force(now, *force, now + us))
            }
            Happens::Clear => {
                match self.reference.place {
                    Place::ForcedOpen => self.reference.go(now, Place::Probe),
                    Place::ForcedClosed | Place::ObserveOnly => self.reference.go(now, Place::Closed),
                    _ => {}
                }
                self.breaker.clear(now)
            }
        };
        self.path.extend(changed);
    }

    fn check(&self) {
        let (breaker, reference) = (&self.breaker, &self.reference);
        let seen = (breaker.place(), breaker.epoch(), breaker.attempt());
        assert_eq!(seen, (reference.place, reference.epoch, reference.attempt));
        let percent = match reference.place {
            Place::Closed | Place::ForcedClosed | Place::ObserveOnly => 100,
            Place::Ramp => [1, 5, 25, 50, 100][reference.rung],
            Place::Open | Place::Probe | Place::Shadow | Place::ForcedOpen => 0,
        };
        assert_eq!(breaker.percent(), percent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_does_what_its_reference_does(schedule in prop::collection::vec((happens(), any::<u64>()), 1..400)) {
        let (breaker, reference) = (Breaker::new(options(), 0), Reference::new(options()));
        let mut pair = Pair { breaker, reference, now: 0, ticket: None, path: Vec::new() };
        for (what, chance) in &schedule {
            pair.go_on(what, *chance);
            pair.check();
        }
        // Once all goes well it closes, wherever it was left, and by way of every step.
        let healing = [
            Happens::Time(60 * MS, false),
            Happens::Take,
            Happens::GiveBack(Counts::good(5), false, true),
            Happens::Call(CallOutcome::Good),
        ];
        let mut rounds = 0;
        while pair.breaker.place() != Place::Closed {
            for what in healing.iter().chain(std::iter::repeat_n(&healing[3], 4)) {
                pair.go_on(what, HALF);
                pair.check();
            }
            rounds += 1;
            prop_assert!(rounds < 100, "it never closes: {:?}", pair.breaker);
        }
        // Nobody gets past a step: an open breaker closes by way of all of them, or by a person.
        let mut before: Option<Change> = None;
        for change in pair.path.iter().filter(|change| !change.is_observed) {
            if let Some(before) = before {
                prop_assert_eq!(before.to, change.from);
            }
            let (from, to) = (change.from, change.to);
            let earlier = before.map_or(0, |before| before.percent);
            match to {
                Place::Probe => prop_assert!(matches!(from, Place::Open | Place::ForcedOpen)),
                Place::Shadow => prop_assert_eq!(from, Place::Probe),
                Place::Ramp if change.percent == 1 => prop_assert_eq!(from, Place::Shadow),
                Place::Ramp => prop_assert!(from == Place::Ramp && earlier < change.percent),
                Place::Closed if from == Place::Ramp => prop_assert_eq!(earlier, 100),
                Place::Closed => prop_assert!(matches!(from, Place::ForcedClosed | Place::ObserveOnly)),
                Place::Open => prop_assert!(from == Place::Closed || from.is_half_open()),
                Place::ForcedOpen | Place::ForcedClosed | Place::ObserveOnly => {}
            }
            before = Some(*change);
        }
    }
}

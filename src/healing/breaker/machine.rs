//! The state machine itself.

use super::options::Options;
use super::status::{Cause, Change, Force, Place};
use super::window::{Counts, Window, reaches};

/// The shares of calls of the ramp, in percent.
const RAMP: [u32; 5] = [1, 5, 25, 50, 100];
/// Hard failures in a row that end a step of the ramp.
const STEP_HARD_IN_A_ROW: u32 = 2;
/// Hard failures that end a step of the ramp where they are also this share of its calls, in percent.
const STEP_HARD: (u64, u32) = (3, 1);
/// The share of slow calls that ends a step, in percent, once there are enough calls.
const STEP_SLOW_PERCENT: u32 = 10;
/// How long a ticket may be out, in microseconds.
const TICKET_US_MAX: u64 = 30_000_000;
/// How long slow calls in a row must last: one hiccup holds up many calls at once.
const SLOW_ROW_US: u64 = 1_000_000;
/// Attempts beyond this make no difference to a wait.
const ATTEMPT_MAX: u32 = 20;

/// Who may ask the model now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Everybody.
    All,
    /// Nobody.
    Nobody,
    /// Nobody; a share of the rows, in percent, is wanted for shadow calls.
    Shadow(u32),
    /// A share of the calls, in percent.
    Share(u32),
}

/// What the world around the model is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether the processor is throttled, stolen or fought for: slow calls say nothing then.
    pub host_is_slow: bool,
}

/// What is to be done off the path of live calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Score the golden rows.
    Golden,
    /// Score rows that live calls brought, at most so many.
    Live(u64),
    /// Score rows seen before: live ones do not come.
    Again(u64),
}

/// The permit of a half-open breaker: who holds it may ask the model off the path (`CB-1`).
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    serial: u64,
    /// What to do with it.
    pub work: Work,
}

/// What was done with a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the calls came to.
    pub counts: Counts,
    /// Whether a golden row did not give its score.
    pub is_mismatch: bool,
    /// Whether everything that was asked for was done.
    pub is_whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until_us: u64 },
    Probe,
    Shadow,
    Ramp { step: usize },
    Forced { force: Force, until_us: u64 },
}

/// The breaker of one model.
#[derive(Clone, Debug)]
pub struct Breaker {
    options: Options,
    state: State,
    since_us: u64,
    epoch: u64,
    attempt: u32,
    /// When the attempts were last raised or forgotten.
    attempt_us: u64,
    window: Window,
    step: Counts,
    hard_in_a_row: u32,
    slow_in_a_row: u32,
    /// When the first of the slow calls in a row came.
    slow_since_us: u64,
    /// The ticket that is out, and since when.
    ticket: Option<(u64, u64)>,
    serial: u64,
    mismatches: u32,
}

impl Breaker {
    /// Makes one that is closed.
    #[must_use]
    pub fn new(options: Options, now_us: u64) -> Self {
        Self {
            options,
            state: State::Closed,
            since_us: now_us,
            epoch: 0,
            attempt: 0,
            attempt_us: now_us,
            window: Window::default(),
            step: Counts::default(),
            hard_in_a_row: 0,
            slow_in_a_row: 0,
            slow_since_us: 0,
            ticket: None,
            serial: 0,
            mismatches: 0,
        }
    }

    /// Returns who may ask the model now.
    #[must_use]
    pub fn admission(&self) -> Admission {
        match self.state {
            State::Closed | State::Forced { force: Force::Closed | Force::ObserveOnly, .. } => Admission::All,
            State::Open { .. } | State::Probe | State::Forced { force: Force::Open, .. } => Admission::Nobody,
            State::Shadow => Admission::Shadow(self.options.shadow_percent),
            State::Ramp { step } => Admission::Share(RAMP[step.min(RAMP.len() - 1)]),
        }
    }

    /// Returns where it stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self.state {
            State::Closed => Place::Closed,
            State::Open { .. } => Place::Open,
            State::Probe => Place::Probe,
            State::Shadow => Place::Shadow,
            State::Ramp { .. } => Place::Ramp,
            State::Forced { force, .. } => force.place(),
        }
    }

    /// Returns the share of calls that goes to the model, in percent.
    #[must_use]
    pub fn percent(&self) -> u32 {
        match self.admission() {
            Admission::All => 100,
            Admission::Share(percent) => percent,
            Admission::Nobody | Admission::Shadow(_) => 0,
        }
    }

    /// Returns the number of this stretch: every move begins another.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns since when it stands where it stands.
    #[must_use]
    pub const fn since_us(&self) -> u64 {
        self.since_us
    }

    /// Returns when an open one is tried, and when a force ends.
    #[must_use]
    pub const fn until_us(&self) -> Option<u64> {
        match self.state {
            State::Open { until_us } | State::Forced { until_us, .. } => Some(until_us),
            State::Closed | State::Probe | State::Shadow | State::Ramp { .. } => None,
        }
    }

    /// Returns how often it opened, as far as that is not forgotten.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns how many probes in a row found a golden row that does not give its score.
    #[must_use]
    pub const fn mismatches(&self) -> u32 {
        self.mismatches
    }

    /// Returns the calls of the last second.
    #[must_use]
    pub fn last_second(&self, now_us: u64) -> Counts {
        self.window.sum(now_us)
    }

    /// Returns the calls of the step it is in.
    #[must_use]
    pub const fn step(&self) -> Counts {
        self.step
    }

    /// Takes what calls came to that were admitted in stretch `epoch`; those of another one count for nothing.
    /// `chance` spreads the wait of an opening.
    pub fn settle(&mut self, now_us: u64, epoch: u64, counts: Counts, chance: u64) -> Option<Change> {
        let is_live = match self.state {
            State::Closed | State::Ramp { .. } | State::Forced { force: Force::Closed | Force::ObserveOnly, .. } => {
                true
            }
            State::Open { .. } | State::Probe | State::Shadow | State::Forced { force: Force::Open, .. } => false,
        };
        if epoch != self.epoch || !is_live {
            return None;
        }
        self.window.add(now_us, counts);
        self.step.add(counts);
        self.count_rows(now_us, counts);
        match self.state {
            State::Closed => self.hard_cause(now_us).map(|cause| self.open(now_us, cause, chance)),
            State::Ramp { .. } => self.step_broke().then(|| self.open(now_us, Cause::StepFailed, chance)),
            State::Forced { force: Force::ObserveOnly, .. } => {
                self.hard_cause(now_us).map(|cause| self.would_open(now_us, cause))
            }
            State::Forced { .. } | State::Open { .. } | State::Probe | State::Shadow => None,
        }
    }

    /// Lets time pass: a wait or a force ends, slow calls are judged, a step is done.
    pub fn tick(&mut self, now_us: u64, around: Surroundings, chance: u64) -> Option<Change> {
        if around.host_is_slow {
            self.window.excuse_slow();
            self.step.excuse_slow();
            self.slow_in_a_row = 0;
        }
        match self.state {
            State::Closed => {
                if now_us.saturating_sub(self.attempt_us) >= self.options.forget_us {
                    self.attempt = self.attempt.saturating_sub(1);
                    self.attempt_us = now_us;
                }
                self.slow_cause(now_us).map(|cause| self.open(now_us, cause, chance))
            }
            State::Open { until_us } => (now_us >= until_us).then(|| self.enter(now_us, State::Probe, Cause::Cooled)),
            State::Probe | State::Shadow => {
                let stuck = self.ticket.is_some_and(|(_, out)| now_us.saturating_sub(out) >= TICKET_US_MAX);
                stuck.then(|| self.open(now_us, Cause::StepStuck, chance))
            }
            State::Ramp { step } => self.tick_ramp(now_us, step, chance),
            State::Forced { force, until_us } if now_us < until_us => match force {
                Force::ObserveOnly => self.slow_cause(now_us).map(|cause| self.would_open(now_us, cause)),
                Force::Open | Force::Closed => None,
            },
            State::Forced { force, .. } => Some(self.unforce(now_us, force, Cause::Expired)),
        }
    }

    /// Gives the one permit of a half-open breaker out, unless it is out.
    pub fn take_ticket(&mut self, now_us: u64) -> Option<Ticket> {
        if self.ticket.is_some() {
            return None;
        }
        let waited = now_us.saturating_sub(self.since_us);
        let missing = u64::from(self.options.step_calls).saturating_sub(self.step.telling());
        let work = match self.state {
            State::Probe => Work::Golden,
            State::Shadow if waited >= self.options.step_max_us => Work::Again(missing),
            State::Shadow => Work::Live(missing),
            State::Ramp { .. } if waited >= self.options.step_max_us && missing > 0 => Work::Again(missing),
            State::Ramp { .. } | State::Closed | State::Open { .. } | State::Forced { .. } => return None,
        };
        self.serial += 1;
        self.ticket = Some((self.serial, now_us));
        Some(Ticket { serial: self.serial, work })
    }

    /// Takes a ticket back; one from before the last move counts for nothing.
    pub fn return_ticket(&mut self, now_us: u64, ticket: &Ticket, report: Report, chance: u64) -> Option<Change> {
        if self.ticket.is_none_or(|(serial, _)| serial != ticket.serial) {
            return None;
        }
        self.ticket = None;
        if report.is_mismatch {
            self.mismatches += 1;
            return Some(self.open(now_us, Cause::GoldenMismatch, chance));
        }
        if report.counts.hard > 0 {
            return Some(self.open(now_us, Cause::StepFailed, chance));
        }
        self.step.add(report.counts);
        let (calls, slow) = (self.step.telling(), self.step.slow);
        // Not one in a hundred may be slow where nobody waits for it.
        let is_slow = slow > 0 && reaches(slow, calls, 1) && calls >= 20;
        match self.state {
            State::Probe | State::Shadow if is_slow => Some(self.open(now_us, Cause::SlowRate, chance)),
            State::Probe if report.is_whole => {
                self.mismatches = 0;
                Some(self.enter(now_us, State::Shadow, Cause::StepPassed))
            }
            State::Shadow if calls >= u64::from(self.options.step_calls) => {
                Some(self.enter(now_us, State::Ramp { step: 0 }, Cause::StepPassed))
            }
            State::Probe
            | State::Shadow
            | State::Ramp { .. }
            | State::Closed
            | State::Open { .. }
            | State::Forced { .. } => None,
        }
    }

    /// Opens it at once: a thread of the model did not come back. A force stands.
    pub fn hung(&mut self, now_us: u64, chance: u64) -> Option<Change> {
        match self.state {
            State::Closed | State::Probe | State::Shadow | State::Ramp { .. } => {
                Some(self.open(now_us, Cause::Hung, chance))
            }
            State::Forced { force: Force::ObserveOnly, .. } => Some(self.would_open(now_us, Cause::Hung)),
            State::Open { .. } | State::Forced { .. } => None,
        }
    }

    /// Does what a person wants until `until_us`, whatever it would do itself.
    pub fn force(&mut self, now_us: u64, force: Force, until_us: u64) -> Change {
        self.enter(now_us, State::Forced { force, until_us }, Cause::Forced)
    }

    /// Ends a force; nothing changes without one.
    pub fn clear(&mut self, now_us: u64) -> Option<Change> {
        let State::Forced { force, .. } = self.state else { return None };
        Some(self.unforce(now_us, force, Cause::Cleared))
    }

    fn tick_ramp(&mut self, now_us: u64, step: usize, chance: u64) -> Option<Change> {
        let (calls, waited) = (self.step.telling(), now_us.saturating_sub(self.since_us));
        let wanted = u64::from(self.options.step_calls);
        if calls >= wanted.min(u64::from(self.options.slow_calls_min))
            && reaches(self.step.slow, calls, STEP_SLOW_PERCENT)
            && self.step.slow > 0
        {
            return Some(self.open(now_us, Cause::SlowRate, chance));
        }
        let is_last = step + 1 >= RAMP.len();
        let least = if is_last { self.options.full_us } else { self.options.step_us };
        if calls < wanted || waited < least {
            return None;
        }
        let next = if is_last { State::Closed } else { State::Ramp { step: step + 1 } };
        Some(self.enter(now_us, next, Cause::StepPassed))
    }

    /// A force leaves an open breaker to be tried first, and a closed one as if it were new.
    fn unforce(&mut self, now_us: u64, force: Force, cause: Cause) -> Change {
        let next = match force {
            Force::Open => State::Probe,
            Force::Closed | Force::ObserveOnly => State::Closed,
        };
        self.enter(now_us, next, cause)
    }

    fn count_rows(&mut self, now_us: u64, counts: Counts) {
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        if counts.good + counts.slow > 0 {
            self.hard_in_a_row = 0;
        }
        if counts.good > 0 {
            self.slow_in_a_row = 0;
        }
        self.hard_in_a_row = self.hard_in_a_row.saturating_add(narrow(counts.hard));
        if self.slow_in_a_row == 0 {
            self.slow_since_us = now_us;
        }
        self.slow_in_a_row = self.slow_in_a_row.saturating_add(narrow(counts.slow));
    }

    fn hard_cause(&self, now_us: u64) -> Option<Cause> {
        if self.hard_in_a_row >= self.options.hard_in_a_row_max {
            return Some(Cause::HardInARow);
        }
        let second = self.window.sum(now_us);
        let is_rate = second.hard > 0
            && second.telling() >= u64::from(self.options.hard_calls_min)
            && reaches(second.hard, second.telling(), self.options.hard_percent);
        is_rate.then_some(Cause::HardRate)
    }

    fn slow_cause(&self, now_us: u64) -> Option<Cause> {
        let lasts = now_us.saturating_sub(self.slow_since_us) >= SLOW_ROW_US;
        if self.slow_in_a_row >= self.options.slow_in_a_row_max && lasts {
            return Some(Cause::SlowInARow);
        }
        let second = self.window.sum(now_us);
        let is_rate = second.slow > 0
            && second.telling() >= u64::from(self.options.slow_calls_min)
            && reaches(second.slow, second.telling(), self.options.slow_percent);
        is_rate.then_some(Cause::SlowRate)
    }

    fn step_broke(&self) -> bool {
        let (count, percent) = STEP_HARD;
        let is_share = self.step.hard >= count && reaches(self.step.hard, self.step.telling(), percent);
        is_share || self.hard_in_a_row >= STEP_HARD_IN_A_ROW
    }

    fn open(&mut self, now_us: u64, cause: Cause, chance: u64) -> Change {
        let longest = self.options.cool_us.saturating_mul(1 << self.attempt.min(ATTEMPT_MAX));
        let longest = u128::from(longest.min(self.options.cool_max_us));
        // Full jitter: anywhere from now to the longest wait.
        let wait = u64::try_from((longest * u128::from(chance)) >> 64).unwrap_or(0);
        let change = self.enter(now_us, State::Open { until_us: now_us.saturating_add(wait) }, cause);
        self.attempt = self.attempt.saturating_add(1).min(ATTEMPT_MAX);
        self.attempt_us = now_us;
        change
    }

    /// Tells that it would have opened, and begins to count anew, so that this is told once for each time.
    fn would_open(&mut self, now_us: u64, cause: Cause) -> Change {
        let (from, counts) = (self.place(), self.window.sum(now_us));
        self.forget_calls();
        Change { from, to: Place::Open, percent: 100, cause, counts, attempt: self.attempt, is_observed: true }
    }

    fn enter(&mut self, now_us: u64, next: State, cause: Cause) -> Change {
        let from = self.place();
        let mut counts = self.window.sum(now_us);
        if from.is_half_open() {
            counts = self.step;
        }
        if next == State::Closed {
            self.attempt_us = now_us;
        }
        self.state = next;
        self.since_us = now_us;
        self.epoch += 1;
        self.ticket = None;
        self.forget_calls();
        let (to, percent, attempt) = (self.place(), self.percent(), self.attempt);
        Change { from, to, percent, cause, counts, attempt, is_observed: false }
    }

    fn forget_calls(&mut self) {
        self.window.clear();
        self.step = Counts::default();
        (self.hard_in_a_row, self.slow_in_a_row) = (0, 0);
    }
}

//! The guard of one model: nobody asks it but with a permit, and each permit is settled exactly once.
//!
//! ```text
//! admit ──┬─ Call(permit) ──> the model, with a deadline ──> permit.settle(what it came to)   dropped: neutral (CB-2)
//!         ├─ Refused ───────> rules answer (`breaker_open`)
//!         └─ Sampled ───────> the same, and the row is offered for a shadow call
//! tick, every 25 ms ──> healing::breaker decides; a ticket is out ──> `watch` scores off the path (CB-1)
//! ```
//! While the breaker is closed a call costs a few relaxed additions and no lock: good calls are summed and handed to
//! the breaker with the next look, at the latest when its bucket of 100 ms is over; failures go there at once, behind
//! the good calls that came before them. Which release is in force, and what to do about an open breaker, is not known here.

mod gate;
mod layer;
mod permit;
mod probe;
mod told;
mod watch;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use parking_lot::Mutex;

use crate::domain::Timestamp;
use crate::healing::breaker::slowness::{Slowness, Timings};
use crate::healing::breaker::{
    Admission, Breaker, BreakerStatus, CallOutcome, Cause, Change, Counts, Force, ForceStatus, Options, Place, Report,
    Surroundings, Ticket, Transition,
};
use crate::healing::finding::Finding;
use crate::healing::host::HostState;
use crate::healing::model::ModelRef;
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::release::golden::GoldenRow;
use crate::runtime::release::manifest::Tolerance;
use crate::telemetry::guard::BreakerMoved;
use gate::{admission_of, epoch_of, gate_of};
pub use layer::{GuardLayer, Guarded, Refused};
pub use permit::{Admitted, Permit, outcome_of};
pub use told::Moved;
use told::keep;
pub use watch::{Placed, Watch, watch};

/// Golden rows that a probe scores.
const GOLDEN_MAX: usize = 64;
/// Rows that wait for a shadow call; one more is not taken.
const OFFERED_MAX: usize = 64;
/// Rows seen before that are kept for steps that live calls do not reach.
const KEPT_MAX: usize = 256;
/// How long a bucket of the breaker's window lasts: good calls are handed over at least so often.
const LOOK_US: u64 = 100_000;
/// How long a window of the judge of slowness lasts.
const WINDOW_US: u64 = 1_000_000;

/// The guard of one model.
pub struct Guard {
    model: ModelRef,
    options: Options,
    clock: Clock,
    began: Moment,
    golden: Vec<GoldenRow>,
    tolerance: Tolerance,
    /// Who is let through, and the epoch: written behind the lock, read by every call.
    gate: AtomicU64,
    /// Numbers calls while only a share of them is let through.
    turn: AtomicU64,
    /// When good calls were last handed to the breaker, in buckets.
    looked: AtomicU64,
    calls: Calls,
    chance: AtomicU64,
    core: Mutex<Core>,
    rows: Mutex<Rows>,
}

/// What calls came to, all since the start.
#[derive(Debug, Default)]
struct Calls {
    admitted: AtomicU64,
    refused: AtomicU64,
    settled: AtomicU64,
    good: AtomicU64,
    computed: AtomicU64,
    computed_us: AtomicU64,
    queued_us: AtomicU64,
    slow: AtomicU64,
    waited_in_vain: AtomicU64,
}

/// What only one thread at a time may change.
struct Core {
    breaker: Breaker,
    slowness: Slowness,
    /// Good calls that the breaker has seen.
    good_seen: u64,
    /// The sums at the end of the last window of slowness, and when that was.
    window: (Timings, u64),
    cause: Option<Cause>,
    force: Option<ForceStatus>,
    written_off: u64,
    transitions: VecDeque<Transition>,
    findings: VecDeque<Finding>,
    open_findings: Vec<Finding>,
    host: HostState,
}

/// Rows of live calls, for work off the path.
#[derive(Default)]
struct Rows {
    offered: VecDeque<Vec<f64>>,
    kept: VecDeque<Vec<f64>>,
}

impl Guard {
    /// Makes the guard of a model that was just loaded: closed.
    #[must_use]
    pub fn new(
        model: ModelRef,
        options: Options,
        clock: Clock,
        (golden, tolerance): (&[GoldenRow], Tolerance),
    ) -> Self {
        let core = Core {
            breaker: Breaker::new(options, 0),
            slowness: Slowness::new(model.clone(), options.slow_after_us),
            good_seen: 0,
            window: (Timings::default(), 0),
            cause: None,
            force: None,
            written_off: 0,
            transitions: VecDeque::new(),
            findings: VecDeque::new(),
            open_findings: Vec::new(),
            host: HostState::default(),
        };
        Self {
            model,
            options,
            clock,
            began: Moment::now(),
            golden: golden.iter().take(GOLDEN_MAX).cloned().collect(),
            tolerance,
            gate: AtomicU64::new(gate_of(Admission::All, 0)),
            turn: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            calls: Calls::default(),
            chance: AtomicU64::new(RandomState::new().hash_one(0_u8)),
            core: Mutex::new(core),
            rows: Mutex::default(),
        }
    }

    /// Returns the model it guards.
    #[must_use]
    pub const fn model(&self) -> &ModelRef {
        &self.model
    }

    /// Returns the wall time that forces are measured by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns what a call may compute, in microseconds.
    #[must_use]
    pub const fn slow_after_us(&self) -> u64 {
        self.options.slow_after_us
    }

    /// Lets a call through, or says that rules answer it.
    pub fn admit(&self) -> Admitted<'_> {
        let gate = self.gate.load(Acquire);
        let percent = match admission_of(gate) {
            Admission::All => 100,
            Admission::Nobody => 0,
            Admission::Share(percent) => percent,
            Admission::Shadow(percent) => {
                self.calls.refused.fetch_add(1, Relaxed);
                return if self.is_among(percent) { Admitted::Sampled } else { Admitted::Refused };
            }
        };
        if percent == 100 || (percent > 0 && self.is_among(percent)) {
            self.calls.admitted.fetch_add(1, Relaxed);
            return Admitted::Call(Permit::new(self, epoch_of(gate)));
        }
        self.calls.refused.fetch_add(1, Relaxed);
        Admitted::Refused
    }

    /// Lets a call through whose permit outlives the borrow of its guard.
    pub fn admit_shared(self: &Arc<Self>) -> Option<Permit<Arc<Self>>> {
        let Admitted::Call(permit) = self.admit() else { return None };
        Some(permit.shared(Arc::clone(self)))
    }

    /// Takes a live row for a shadow call; when enough wait, it is not needed.
    pub fn offer(&self, row: &[f64]) {
        let mut rows = self.rows.lock();
        if rows.offered.len() < OFFERED_MAX {
            rows.offered.push_back(row.to_vec());
        }
    }

    /// Lets time pass: waits and forces end, slow calls are judged with the host in view, good calls are counted.
    pub fn tick(&self, host: &HostState) {
        let now_us = self.now_us();
        let mut core = self.core.lock();
        core.host = *host;
        self.hand_over(&mut core, now_us);
        let around = Surroundings { host_is_slow: host.is_slow() };
        if let Some(change) = core.breaker.tick(now_us, around, self.chance()) {
            self.moved(&mut core, change, None);
        }
        self.judge_slowness(&mut core, now_us);
    }

    /// A thread of the model did not come back: it was written off.
    pub fn hung(&self, threads: u64) {
        let mut core = self.core.lock();
        core.written_off += threads;
        if let Some(change) = core.breaker.hung(self.now_us(), self.chance()) {
            self.moved(&mut core, change, None);
        }
        self.lost(&mut core, threads);
    }

    /// Forces the breaker until an instant, for a reason, by somebody.
    pub fn force(&self, force: Force, until: Timestamp, reason: &str, by: &str) {
        let now_us = self.now_us();
        let lasts = u64::try_from(until.since(self.clock.now()).micros()).unwrap_or(0);
        let mut core = self.core.lock();
        let change = core.breaker.force(now_us, force, now_us.saturating_add(lasts));
        core.force = Some(ForceStatus { force, until, reason: reason.to_owned(), by: by.to_owned() });
        self.moved(&mut core, change, Some((by, reason)));
    }

    /// Returns what a person forces now.
    #[must_use]
    pub fn forced(&self) -> Option<ForceStatus> {
        self.core.lock().force.clone()
    }

    /// Ends a force; tells whether there was one. What was forced open is probed before it closes.
    pub fn clear(&self, reason: &str, by: &str) -> bool {
        let mut core = self.core.lock();
        let Some(change) = core.breaker.clear(self.now_us()) else { return false };
        self.moved(&mut core, change, Some((by, reason)));
        true
    }

    /// Returns where the breaker stands.
    #[must_use]
    pub fn place(&self) -> Place {
        self.core.lock().breaker.place()
    }

    /// Returns the breaker at a glance.
    #[must_use]
    pub fn status(&self) -> BreakerStatus {
        let mut core = self.core.lock();
        let now_us = self.now_us();
        self.hand_over(&mut core, now_us);
        let breaker = &core.breaker;
        BreakerStatus {
            model: self.model.clone(),
            place: breaker.place(),
            percent: breaker.percent(),
            since: self.wall(breaker.since_us()),
            cause: core.cause,
            tried_at: breaker.until_us().filter(|_| core.force.is_none()).map(|until| self.wall(until)),
            attempt: breaker.attempt(),
            force: core.force.clone(),
            last_second: breaker.last_second(now_us),
            step: breaker.step(),
            admitted: self.calls.admitted.load(Relaxed),
            settled: self.calls.settled.load(Relaxed),
            refused: self.calls.refused.load(Relaxed),
            written_off: core.written_off,
        }
    }

    /// Fetches the moves that were not fetched yet, oldest first.
    pub fn transitions(&self) -> Vec<Transition> {
        self.core.lock().transitions.drain(..).collect()
    }

    /// Fetches findings that began or ended and were not fetched yet, oldest first.
    pub fn findings(&self) -> Vec<Finding> {
        self.core.lock().findings.drain(..).collect()
    }

    /// Returns the findings that hold now.
    #[must_use]
    pub fn open_findings(&self) -> Vec<Finding> {
        self.core.lock().open_findings.clone()
    }

    /// Spreads a share of calls evenly over all of them.
    fn is_among(&self, percent: u32) -> bool {
        let turn = self.turn.fetch_add(1, Relaxed);
        turn.wrapping_mul(u64::from(percent)) % 100 < u64::from(percent)
    }

    /// Counts one call that is over. Called once for each permit.
    fn settle(&self, epoch: u64, outcome: CallOutcome) {
        self.calls.settled.fetch_add(1, Relaxed);
        if outcome == CallOutcome::Neutral {
            return;
        }
        let now_us = self.now_us();
        let gate = self.gate.load(Acquire);
        let is_fast = outcome == CallOutcome::Good && admission_of(gate) == Admission::All && epoch_of(gate) == epoch;
        if is_fast {
            self.calls.good.fetch_add(1, Relaxed);
            let bucket = now_us / LOOK_US;
            // One call of each bucket hands over what the last one summed.
            if self.looked.load(Relaxed) != bucket
                && let Some(mut core) = self.core.try_lock()
            {
                self.hand_over(&mut core, now_us);
            }
            return;
        }
        let mut core = self.core.lock();
        self.hand_over(&mut core, now_us);
        if let Some(change) = core.breaker.settle(now_us, epoch, Counts::one(outcome), self.chance()) {
            self.moved(&mut core, change, None);
        }
    }

    /// Hands the good calls that were summed to the breaker, as of the bucket they came in.
    fn hand_over(&self, core: &mut Core, now_us: u64) {
        let bucket = now_us / LOOK_US;
        let before = self.looked.swap(bucket, AcqRel);
        let good = self.calls.good.load(Relaxed);
        let fresh = good.saturating_sub(core.good_seen);
        core.good_seen = good;
        if fresh > 0 {
            let at_us = if before == bucket { now_us } else { before.saturating_mul(LOOK_US) };
            let epoch = core.breaker.epoch();
            // Good calls never open it.
            let _none = core.breaker.settle(at_us, epoch, Counts::good(fresh), 0);
        }
    }

    fn judge_slowness(&self, core: &mut Core, now_us: u64) {
        let (before, since_us) = core.window;
        if now_us.saturating_sub(since_us) < WINDOW_US {
            return;
        }
        let sums = self.calls.timings();
        core.window = (sums, now_us);
        let timings = Timings {
            computed: sums.computed.saturating_sub(before.computed),
            computed_us: sums.computed_us.saturating_sub(before.computed_us),
            queued_us: sums.queued_us.saturating_sub(before.queued_us),
            slow: sums.slow.saturating_sub(before.slow),
            waited_in_vain: sums.waited_in_vain.saturating_sub(before.waited_in_vain),
        };
        let (now, host) = (self.clock.now(), core.host);
        for finding in core.slowness.window(now, &timings, &host) {
            core.found(finding);
        }
    }

    /// Puts a move in force, and tells it.
    fn moved(&self, core: &mut Core, change: Change, by: Option<(&str, &str)>) {
        let at = self.clock.now();
        let transition = Transition {
            model: self.model.clone(),
            change,
            at,
            by: by.map(|(by, _)| by.to_owned()),
            reason: by.map(|(_, reason)| reason.to_owned()),
        };
        BreakerMoved { transition: &transition }.emit();
        keep(&mut core.transitions, transition);
        if change.is_observed {
            return;
        }
        core.cause = Some(change.cause);
        if !matches!(change.to, Place::ForcedOpen | Place::ForcedClosed | Place::ObserveOnly) {
            core.force = None;
        }
        // Calls that were summed before belong to the stretch that is over.
        core.good_seen = self.calls.good.load(Relaxed);
        self.gate.store(gate_of(core.breaker.admission(), core.breaker.epoch()), Release);
        if change.to == Place::Shadow {
            self.rows.lock().offered.clear();
        }
        self.find(core, &change, at);
    }

    fn take_ticket(&self) -> Option<Ticket> {
        self.core.lock().breaker.take_ticket(self.now_us())
    }

    fn return_ticket(&self, ticket: &Ticket, mut report: Report) {
        let mut core = self.core.lock();
        if core.host.is_slow() {
            report.counts.excuse_slow();
        }
        if let Some(change) = core.breaker.return_ticket(self.now_us(), ticket, report, self.chance()) {
            self.moved(&mut core, change, None);
        }
    }

    fn now_us(&self) -> u64 {
        Moment::now().micros_after(self.began)
    }

    /// Turns an instant of the guard's own time into wall time, as far as that is steady.
    fn wall(&self, us: u64) -> Timestamp {
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        let ahead = signed(us).saturating_sub(signed(self.now_us()));
        self.clock.now().plus(crate::domain::Span::from_micros(ahead))
    }

    /// Returns a number that nobody can foresee, for the jitter of waits.
    fn chance(&self) -> u64 {
        // splitmix64: one step of a counter, mixed.
        let mut mixed = self.chance.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Calls {
    fn timings(&self) -> Timings {
        Timings {
            computed: self.computed.load(Relaxed),
            computed_us: self.computed_us.load(Relaxed),
            queued_us: self.queued_us.load(Relaxed),
            slow: self.slow.load(Relaxed),
            waited_in_vain: self.waited_in_vain.load(Relaxed),
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Guard").field("model", &self.model).field("place", &self.place()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

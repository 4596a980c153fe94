//! A slow model, an overload and a slow host look alike to a caller. Here they are told apart.
//!
//! ```text
//! many calls compute too long ──┬─ host throttled, stolen, fought for ──> HostSlow
//!                               └─ host has its processor ──────────────> SlowModel
//! calls wait too long, computing is as ever ──┬─ host slow ─────────────> HostSlow
//!                                             └───────────────────────────> Overload
//! ```
//! [`judge`] reads one window. [`Slowness`] follows the readings: a finding begins when two windows in a row say so,
//! and ends when five in a row say otherwise; a window with too few calls says nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};
use crate::healing::host::HostState;
use crate::healing::model::ModelRef;

/// Calls of a window below which it says nothing.
const CALLS_MIN: u64 = 20;
/// The share of calls that compute too long, in percent, from which computing is slow.
const SLOW_PERCENT: u64 = 50;
/// The share of calls that waited in vain, in percent, from which the line is too long.
const WAITED_PERCENT: u64 = 10;
/// Windows in a row that begin a finding.
const BEGINS: u32 = 2;
/// Windows in a row that end one.
const ENDS: u32 = 5;

/// What the calls of one window spent their time on. Times are sums in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Calls that were computed, answered or not.
    pub computed: u64,
    /// Time they were computed.
    pub computed_us: u64,
    /// Time they waited in the line before.
    pub queued_us: u64,
    /// Those that computed too long.
    pub slow: u64,
    /// Calls that found the line full or left it at their deadline.
    pub waited_in_vain: u64,
}

impl Timings {
    /// Returns how long a call was computed on average, in microseconds; 0 without any.
    #[must_use]
    pub fn mean_computed_us(&self) -> f64 {
        self.computed_us as f64 / self.computed.max(1) as f64
    }

    /// Returns how long a computed call waited on average, in microseconds; 0 without any.
    #[must_use]
    pub fn mean_queued_us(&self) -> f64 {
        self.queued_us as f64 / self.computed.max(1) as f64
    }
}

/// What one window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Too few calls.
    Unclear,
    /// Nothing is slow.
    Fine,
    /// The model is.
    SlowModel,
    /// Too many calls come.
    Overload,
    /// The processor is.
    HostSlow,
}

impl Reading {
    const fn alarm(self) -> Option<Alarm> {
        match self {
            Self::SlowModel => Some(Alarm::SlowModel),
            Self::Overload => Some(Alarm::Overload),
            Self::HostSlow => Some(Alarm::HostSlow),
            Self::Unclear | Self::Fine => None,
        }
    }
}

/// Says what one window of calls shows; `slow_after_us` is what computing may take.
#[must_use]
pub fn judge(timings: &Timings, host: &HostState, slow_after_us: u64) -> Reading {
    let calls = timings.computed.saturating_add(timings.waited_in_vain);
    if calls < CALLS_MIN {
        return Reading::Unclear;
    }
    let is_slow = timings.slow > 0 && timings.slow * 100 >= timings.computed * SLOW_PERCENT;
    let waits = timings.waited_in_vain > 0 && timings.waited_in_vain * 100 >= calls * WAITED_PERCENT;
    let is_late = waits || timings.mean_queued_us() > slow_after_us as f64;
    match (is_slow, is_late) {
        (true, _) | (_, true) if host.is_slow() => Reading::HostSlow,
        (true, _) => Reading::SlowModel,
        (false, true) => Reading::Overload,
        (false, false) => Reading::Fine,
    }
}

/// Follows what the windows of one model say.
#[derive(Clone, Debug)]
pub struct Slowness {
    model: ModelRef,
    slow_after_us: u64,
    /// The finding that is open, and since when.
    open: Option<(Reading, Timestamp)>,
    /// What the last windows said, how many in a row, and when the first of them was.
    run: Option<(Reading, u32, Timestamp)>,
}

impl Slowness {
    /// Begins without a finding.
    #[must_use]
    pub const fn new(model: ModelRef, slow_after_us: u64) -> Self {
        Self { model, slow_after_us, open: None, run: None }
    }

    /// Takes a window and returns what began or ended with it.
    pub fn window(&mut self, now: Timestamp, timings: &Timings, host: &HostState) -> Vec<Finding> {
        let reading = judge(timings, host, self.slow_after_us);
        let mut changes = Vec::new();
        if reading == Reading::Unclear {
            return changes;
        }
        let (length, first) = match self.run {
            Some((last, length, first)) if last == reading => (length.saturating_add(1), first),
            Some(_) | None => (1, now),
        };
        self.run = Some((reading, length, first));
        let is_other = self.open.is_some_and(|(open, _)| open != reading);
        let is_over = is_other && (length >= ENDS || (reading.alarm().is_some() && length >= BEGINS));
        if is_over && let Some((open, since)) = self.open.take() {
            changes.extend(self.finding(open, Verdict::Ended, (since, now), (timings, host)));
        }
        if self.open.is_none() && length >= BEGINS && reading.alarm().is_some() {
            self.open = Some((reading, first));
            changes.extend(self.finding(reading, Verdict::Acting, (first, now), (timings, host)));
        }
        changes
    }

    fn finding(
        &self,
        reading: Reading,
        verdict: Verdict,
        (since, at): (Timestamp, Timestamp),
        (timings, host): (&Timings, &HostState),
    ) -> Option<Finding> {
        let alarm = reading.alarm()?;
        let figures = [
            ("computed", timings.computed as f64),
            ("waited_in_vain", timings.waited_in_vain as f64),
            ("slow", timings.slow as f64),
            ("mean_computed_us", timings.mean_computed_us()),
            ("mean_queued_us", timings.mean_queued_us()),
            ("throttled_share", host.throttled_share),
            ("stolen_share", host.stolen_share),
            ("pressure_share", host.pressure_share),
        ];
        let text = format!(
            "{} of {} calls computed longer than {} us (mean {:.0}), {} waited in vain (mean wait {:.0} us); {host}",
            timings.slow,
            timings.computed,
            self.slow_after_us,
            timings.mean_computed_us(),
            timings.waited_in_vain,
            timings.mean_queued_us(),
        );
        let values = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>();
        let votes = timings.computed.saturating_add(timings.waited_in_vain);
        let model = (alarm == Alarm::SlowModel).then(|| self.model.clone());
        let evidence = Evidence { votes, values, text, ..Evidence::default() };
        Some(Finding { alarm, subject: None, model, verdict, since, at, evidence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: HostState = HostState { throttled_share: 0.0, stolen_share: 0.01, pressure_share: 0.2, limits: LIMITS };
    const LIMITS: crate::healing::host::Limits = crate::healing::host::Limits::DEFAULT;

    fn calls(computed: u64, each_us: u64, queued_us: u64, waited_in_vain: u64) -> Timings {
        let slow = if each_us > 5_000 { computed } else { 0 };
        Timings { computed, computed_us: computed * each_us, queued_us: computed * queued_us, slow, waited_in_vain }
    }

    fn check(timings: Timings, host: HostState, expected: Reading) {
        assert_eq!(judge(&timings, &host, 5_000), expected, "{timings:?} {host:?}");
    }

    #[test]
    fn a_slow_model_and_its_look_alikes() {
        let throttled = HostState { throttled_share: 0.4, ..CALM };
        let stolen = HostState { stolen_share: 0.3, ..CALM };
        let fought_for = HostState { pressure_share: 0.9, ..CALM };
        check(calls(500, 80, 50, 0), CALM, Reading::Fine);
        check(calls(100, 50_000, 9_000, 400), CALM, Reading::SlowModel);
        // The same calls while the processor is away.
        for host in [throttled, stolen, fought_for] {
            check(calls(100, 50_000, 9_000, 400), host, Reading::HostSlow);
            check(calls(20_000, 80, 9_000, 8_000), host, Reading::HostSlow);
            check(calls(500, 80, 50, 0), host, Reading::Fine);
        }
        // The line is long and computing as fast as ever.
        check(calls(20_000, 80, 9_000, 8_000), CALM, Reading::Overload);
        check(calls(20_000, 80, 6_000, 0), CALM, Reading::Overload);
        check(calls(3, 50_000, 0, 0), CALM, Reading::Unclear);
    }

    fn follow(slowness: &mut Slowness, second: i64, timings: Timings) -> Vec<(Alarm, Verdict)> {
        let found = slowness.window(Timestamp::from_seconds(second), &timings, &CALM);
        found.into_iter().map(|finding| (finding.alarm, finding.verdict)).collect()
    }

    #[test]
    fn a_finding_needs_two_windows_and_ends_after_five() {
        let model = ModelRef { name: "m".into(), version: "1".into(), sha256: String::new() };
        let mut slowness = Slowness::new(model, 5_000);
        let (slow, fine) = (calls(100, 50_000, 0, 0), calls(100, 80, 0, 0));
        assert!(follow(&mut slowness, 1, slow).is_empty());
        assert!(follow(&mut slowness, 2, fine).is_empty(), "one bad second is no finding");
        assert!(follow(&mut slowness, 3, slow).is_empty());
        assert_eq!(follow(&mut slowness, 4, slow), [(Alarm::SlowModel, Verdict::Acting)]);
        assert!(follow(&mut slowness, 5, slow).is_empty(), "it is told once");
        for second in 6..10 {
            assert!(follow(&mut slowness, second, fine).is_empty());
        }
        assert!(follow(&mut slowness, 10, Timings::default()).is_empty(), "no calls, no verdict");
        assert_eq!(follow(&mut slowness, 11, fine), [(Alarm::SlowModel, Verdict::Ended)]);
        // One reading takes over from another.
        let overload = calls(20_000, 80, 9_000, 8_000);
        assert!(follow(&mut slowness, 12, overload).is_empty());
        assert_eq!(follow(&mut slowness, 13, overload), [(Alarm::Overload, Verdict::Acting)]);
        assert!(follow(&mut slowness, 14, slow).is_empty());
        let taken_over = follow(&mut slowness, 15, slow);
        assert_eq!(taken_over, [(Alarm::Overload, Verdict::Ended), (Alarm::SlowModel, Verdict::Acting)]);
    }
}

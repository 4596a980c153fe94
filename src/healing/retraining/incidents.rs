//! Stretches of time that went wrong, kept so that no model learns from them.
//!
//! A finding opens a window at its beginning, its end closes it. Windows of one reason that touch are one; there
//! is room for [`WINDOWS_MAX`], and then the oldest closed ones go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request::{Why, Window};
use crate::domain::{Span, Timestamp};
use crate::healing::{Alarm, Finding, Verdict};

/// Closed windows that are kept.
const WINDOWS_MAX: usize = 256;
/// Open ones: far above the features of a schema.
const OPEN_MAX: usize = 512;

/// What went wrong when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    closed: Vec<Window>,
    open: BTreeMap<String, (Why, Timestamp)>,
}

impl Incidents {
    /// Takes note of a finding.
    pub fn note(&mut self, finding: &Finding) {
        let Some(why) = spoils(finding.alarm) else { return };
        let subject = finding.subject.as_deref().unwrap_or_default();
        let key = format!("{}/{subject}", finding.alarm.name());
        match finding.verdict {
            Verdict::Acting | Verdict::Advisory if self.open.len() < OPEN_MAX || self.open.contains_key(&key) => {
                let since = self.open.get(&key).map_or(finding.since, |(_, since)| *since.min(&finding.since));
                self.open.insert(key, (why, since));
            }
            Verdict::Acting | Verdict::Advisory | Verdict::Inconclusive => {}
            Verdict::Ended => {
                if let Some((why, from)) = self.open.remove(&key) {
                    self.add(Window { from, until: finding.at, why });
                }
            }
        }
    }

    /// Leaves a window out because a person says so.
    pub fn add(&mut self, window: Window) {
        if window.from < window.until {
            self.closed.push(window);
            self.closed = merged(std::mem::take(&mut self.closed));
            let surplus = self.closed.len().saturating_sub(WINDOWS_MAX);
            self.closed.drain(..surplus);
        }
    }

    /// Lists what to leave out as of `now`, in order of time. What still goes on ends now, and labels that did not
    /// come spoil the transactions of up to `maturity` before.
    #[must_use]
    pub fn windows(&self, now: Timestamp, maturity: Span) -> Vec<Window> {
        let open = self.open.values().map(|(why, from)| Window { from: *from, until: now, why: *why });
        let all = self.closed.iter().copied().chain(open.filter(|window| window.from < window.until));
        let reaching = all.map(|window| match window.why {
            Why::LabelFeed => Window { from: window.from.minus(maturity), ..window },
            Why::BrokenFeature | Why::Attack | Why::Volume | Why::ByHand => window,
        });
        merged(reaching.collect())
    }
}

/// Tells which alarms spoil the time they last, and how.
const fn spoils(alarm: Alarm) -> Option<Why> {
    match alarm {
        Alarm::BrokenFeature => Some(Why::BrokenFeature),
        Alarm::LabelFeed => Some(Why::LabelFeed),
        Alarm::AlertSurge => Some(Why::Attack),
        Alarm::Volume => Some(Why::Volume),
        Alarm::ModelFault
        | Alarm::SlowModel
        | Alarm::Overload
        | Alarm::HostSlow
        | Alarm::InputDrift
        | Alarm::ScoreDrift
        | Alarm::AlertCollapse
        | Alarm::QualityLost
        | Alarm::CalibrationOff
        | Alarm::GoldenMismatch
        | Alarm::AuditDown => None,
    }
}

/// Puts windows in order and makes one of those that touch and have the same reason.
fn merged(mut windows: Vec<Window>) -> Vec<Window> {
    windows.sort_unstable_by_key(|window| (window.why, window.from));
    let mut kept: Vec<Window> = Vec::with_capacity(windows.len());
    for window in windows {
        match kept.last_mut().filter(|last| last.why == window.why && window.from <= last.until) {
            Some(last) => last.until = last.until.max(window.until),
            None => kept.push(window),
        }
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healing::Evidence;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_seconds(1_772_359_200 + hour * 3_600)
    }

    fn finding(alarm: Alarm, subject: &str, verdict: Verdict, (since, found): (i64, i64)) -> Finding {
        let subject = (!subject.is_empty()).then(|| subject.to_owned());
        let evidence = Evidence::default();
        Finding { alarm, subject, model: None, verdict, since: at(since), at: at(found), evidence }
    }

    #[test]
    fn an_incident_lasts_from_its_beginning_to_its_end() {
        let mut incidents = Incidents::default();
        incidents.note(&finding(Alarm::BrokenFeature, "amount", Verdict::Acting, (1, 2)));
        incidents.note(&finding(Alarm::BrokenFeature, "country", Verdict::Advisory, (2, 3)));
        let open = incidents.windows(at(5), Span::ZERO);
        assert_eq!(open, [Window { from: at(1), until: at(5), why: Why::BrokenFeature }], "two that overlap are one");
        incidents.note(&finding(Alarm::BrokenFeature, "amount", Verdict::Ended, (1, 4)));
        incidents.note(&finding(Alarm::BrokenFeature, "country", Verdict::Ended, (2, 6)));
        incidents.note(&finding(Alarm::AlertSurge, "", Verdict::Acting, (20, 21)));
        let closed = incidents.windows(at(22), Span::ZERO);
        let attack = Window { from: at(20), until: at(22), why: Why::Attack };
        assert_eq!(closed, [Window { from: at(1), until: at(6), why: Why::BrokenFeature }, attack]);
    }

    #[test]
    fn labels_that_did_not_come_spoil_what_waited_for_them() {
        let mut incidents = Incidents::default();
        incidents.note(&finding(Alarm::LabelFeed, "", Verdict::Acting, (100, 101)));
        incidents.note(&finding(Alarm::LabelFeed, "", Verdict::Ended, (100, 120)));
        let windows = incidents.windows(at(500), Span::from_seconds(48 * 3_600));
        assert_eq!(windows, [Window { from: at(52), until: at(120), why: Why::LabelFeed }]);
    }

    #[test]
    fn what_spoils_nothing_leaves_nothing_out() {
        let mut incidents = Incidents::default();
        for alarm in [Alarm::InputDrift, Alarm::QualityLost, Alarm::SlowModel] {
            incidents.note(&finding(alarm, "", Verdict::Acting, (1, 2)));
        }
        incidents.note(&finding(Alarm::BrokenFeature, "x", Verdict::Inconclusive, (1, 2)));
        incidents.note(&finding(Alarm::BrokenFeature, "y", Verdict::Ended, (1, 2)));
        assert_eq!(incidents.windows(at(9), Span::ZERO), []);
    }

    #[test]
    fn the_room_has_a_bound_and_the_oldest_goes() {
        let mut incidents = Incidents::default();
        for hour in 0..1_000 {
            incidents.add(Window { from: at(hour * 2), until: at(hour * 2 + 1), why: Why::ByHand });
        }
        let windows = incidents.windows(at(5_000), Span::ZERO);
        assert_eq!(windows.len(), WINDOWS_MAX);
        assert_eq!(windows.last().map(|window| window.from), Some(at(1_998)));
    }
}

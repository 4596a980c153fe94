//! What is open: which findings stand, what of them was told, and what holds them.
//!
//! Detectors write levels here; people and the planner get changes. While something holds (a starved stream, a jumped
//! clock), every finding reads `inconclusive`, and its own verdict comes back afterwards.

use std::collections::BTreeMap;

use crate::domain::Timestamp;
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};
use crate::healing::model::ModelRef;

type Key = (Alarm, Option<String>);

/// The findings of one watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<Key, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    finding: Finding,
    is_held: bool,
    told: Option<Verdict>,
}

impl Book {
    /// Returns the verdict that stands, apart from what holds it.
    #[must_use]
    pub(crate) fn verdict(&self, alarm: Alarm, subject: Option<&str>) -> Option<Verdict> {
        let entry = self.entries.get(&(alarm, subject.map(str::to_owned)))?;
        (entry.finding.verdict != Verdict::Ended).then_some(entry.finding.verdict)
    }

    /// Opens a finding, or brings it up to date; `since` stays what it was at first, and `at` while its verdict does.
    pub(crate) fn raise(&mut self, finding: Finding) {
        let key = (finding.alarm, finding.subject.clone());
        match self.entries.get_mut(&key) {
            Some(entry) if entry.finding.verdict != Verdict::Ended => {
                let Finding { since, at, verdict, .. } = entry.finding;
                let at = if verdict == finding.verdict { at } else { finding.at };
                entry.finding = Finding { since, at, ..finding };
            }
            _ => {
                self.entries.insert(key, Entry { finding, is_held: false, told: None });
            }
        }
    }

    /// Ends a finding.
    pub(crate) fn end(&mut self, alarm: Alarm, subject: Option<&str>, now: Timestamp, evidence: Option<Evidence>) {
        if let Some(entry) = self.entries.get_mut(&(alarm, subject.map(str::to_owned))) {
            (entry.finding.verdict, entry.finding.at) = (Verdict::Ended, now);
            entry.finding.evidence = evidence.unwrap_or_else(|| std::mem::take(&mut entry.finding.evidence));
        }
    }

    /// Holds or frees the findings of some alarms.
    pub(crate) fn hold(&mut self, holds: impl Fn(Alarm, Option<&str>) -> bool) {
        for ((alarm, subject), entry) in &mut self.entries {
            entry.is_held = holds(*alarm, subject.as_deref());
        }
    }

    /// Returns what changed since it was last asked: opened, another verdict, held, ended.
    pub(crate) fn changes(&mut self) -> Vec<Finding> {
        let mut changes = Vec::new();
        self.entries.retain(|_, entry| {
            let shown = entry.shown();
            if entry.told != Some(shown.verdict) && (entry.told.is_some() || shown.verdict != Verdict::Ended) {
                entry.told = Some(shown.verdict);
                changes.push(shown);
            }
            entry.finding.verdict != Verdict::Ended
        });
        changes
    }

    /// Returns every finding that stands, as of now.
    #[must_use]
    pub(crate) fn open(&self) -> Vec<Finding> {
        let stands = self.entries.values().filter(|entry| entry.finding.verdict != Verdict::Ended);
        stands.map(Entry::shown).collect()
    }

    /// Returns the subjects of an alarm that stand.
    #[must_use]
    pub(crate) fn subjects(&self, alarm: Alarm) -> Vec<Option<String>> {
        let of = self.entries.values().filter(|entry| entry.finding.alarm == alarm);
        of.filter(|entry| entry.finding.verdict != Verdict::Ended).map(|entry| entry.finding.subject.clone()).collect()
    }

    /// Ends everything.
    pub(crate) fn end_all(&mut self, now: Timestamp) {
        for entry in self.entries.values_mut() {
            (entry.finding.verdict, entry.finding.at) = (Verdict::Ended, now);
        }
    }
}

impl Entry {
    fn shown(&self) -> Finding {
        let mut shown = self.finding.clone();
        if self.is_held && shown.verdict != Verdict::Ended {
            shown.verdict = Verdict::Inconclusive;
        }
        shown
    }
}

/// Makes a finding that begins now.
#[must_use]
pub(crate) fn finding(
    (alarm, subject): (Alarm, Option<String>),
    model: Option<&ModelRef>,
    verdict: Verdict,
    (since, at): (Timestamp, Timestamp),
    evidence: Evidence,
) -> Finding {
    Finding { alarm, subject, model: model.cloned(), verdict, since, at, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(verdict: Verdict, at: i64) -> Finding {
        let at = Timestamp::from_seconds(at);
        finding((Alarm::InputDrift, None), None, verdict, (at, at), Evidence::default())
    }

    #[test]
    fn changes_are_told_once() {
        let mut book = Book::default();
        let verdicts = |book: &mut Book| book.changes().iter().map(|finding| finding.verdict).collect::<Vec<_>>();
        book.raise(raised(Verdict::Advisory, 1));
        assert_eq!(verdicts(&mut book), [Verdict::Advisory]);
        book.raise(raised(Verdict::Advisory, 2));
        assert!(verdicts(&mut book).is_empty());
        book.raise(raised(Verdict::Acting, 3));
        assert_eq!(book.open()[0].since, Timestamp::from_seconds(1), "since is when it began");
        assert_eq!(verdicts(&mut book), [Verdict::Acting]);
        book.hold(|_, _| true);
        assert_eq!(verdicts(&mut book), [Verdict::Inconclusive]);
        book.hold(|_, _| false);
        assert_eq!(verdicts(&mut book), [Verdict::Acting]);
        book.end(Alarm::InputDrift, None, Timestamp::from_seconds(9), None);
        assert_eq!(verdicts(&mut book), [Verdict::Ended]);
        assert!(book.open().is_empty() && verdicts(&mut book).is_empty());
        book.raise(raised(Verdict::Acting, 10));
        book.end_all(Timestamp::from_seconds(11));
        assert!(verdicts(&mut book).is_empty(), "what was never told need not end");
    }
}

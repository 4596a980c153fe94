//! From findings to incidents: opened by what may be acted on, closed a while after it is over.
//!
//! What a detector cannot tell neither opens nor closes. What is advisory opens nothing. A finding about a model
//! that does not answer is not looked at (`HE-3`); an incident about a model that no longer answers is over at
//! once, but for what is still to be done about that model.

use super::Planner;
use crate::healing::finding::{Finding, Verdict};
use crate::healing::memory::{INCIDENTS_MAX, Incident, TriedState};
use crate::healing::situation::Situation;

impl Planner<'_> {
    pub(super) fn follow_findings(&mut self) {
        let situation = self.situation;
        for finding in &situation.findings {
            if finding.verdict != Verdict::Acting || !situation.concerns_active(finding.model.as_ref()) {
                continue;
            }
            match self.memory.place_of(finding) {
                Some(place) => self.memory.incidents[place].ended = None,
                None if self.memory.incidents.len() < INCIDENTS_MAX => {
                    let number = self.memory.number();
                    self.memory.incidents.push(Incident::open(number, finding, self.now));
                }
                None => {}
            }
        }
        let (now, closing) = (self.now, self.now.minus(self.table.times.hold_off));
        let tries_max = self.table.evidence.tries_max;
        self.memory.incidents.retain_mut(|incident| {
            if !situation.concerns_active(incident.model.as_ref()) {
                incident.ended.get_or_insert(now);
                return has_work(incident, tries_max);
            }
            match finding_of(situation, incident).map(|finding| finding.verdict) {
                Some(Verdict::Acting | Verdict::Inconclusive) => true,
                Some(Verdict::Advisory | Verdict::Ended) | None => {
                    let ended = *incident.ended.get_or_insert(now);
                    ended > closing
                }
            }
        });
    }
}

/// Finds what a detector says of an incident now.
pub(super) fn finding_of<'a>(situation: &'a Situation, incident: &Incident) -> Option<&'a Finding> {
    situation.findings.iter().find(|finding| incident.is_of(finding))
}

/// Tells whether something is to be done about a model that no longer answers.
pub(super) fn has_work(incident: &Incident, tries_max: u32) -> bool {
    incident.tried.iter().any(|tried| match tried.state {
        TriedState::Ordered => true,
        TriedState::Failed => tried.name == "quarantine" && tried.failures < tries_max,
        TriedState::Done => false,
    })
}

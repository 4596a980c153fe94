//! Was a change of model right? It is good when its alarm stays away from the new model for a while on enough votes;
//! it is wrong when the alarm, or a fault, stands against the new model, too, or when labels show the old one better.
//!
//! Being quieter is not being better: a standby that says the same of everybody is always quiet, so labels have the
//! last word. A lack of evidence is no verdict: nothing is taken back for it, people are told.

use super::{Because, OVER_BUDGET, Planner, Verified};
use crate::healing::action::Action;
use crate::healing::finding::{Alarm, Finding, Verdict};
use crate::healing::memory::{Swapped, Verifying};
use crate::healing::situation::Refusal;
use crate::healing::table::Row;

/// Alarms that speak against a new model whatever it was taken for.
const FAULTS: &[Alarm] = &[Alarm::ModelFault, Alarm::GoldenMismatch, Alarm::SlowModel];

/// How a check stands.
enum Standing {
    Good,
    Wrong(String),
    Open,
}

impl Planner<'_> {
    pub(super) fn verify(&mut self) {
        let table = self.table;
        for mut check in std::mem::take(&mut self.memory.verifying) {
            let swap = self.memory.swaps.iter().find(|swap| swap.order == check.order).cloned();
            let (Some(swap), Some(row)) = (swap, table.find(&check.row)) else { continue };
            if self.situation.active() != Some(&swap.to) {
                continue;
            }
            match self.standing(&check, &swap, row) {
                Standing::Good => self.end(&check, true, format!("{} answers without the alarm", swap.to)),
                Standing::Wrong(why) => self.wrong(&check, &swap, (row, why)),
                Standing::Open => {
                    self.tell_late(&mut check, row);
                    self.memory.verifying.push(check);
                }
            }
        }
    }

    fn standing(&self, check: &Verifying, swap: &Swapped, row: &Row) -> Standing {
        let Some(verify) = row.verify else { return Standing::Good };
        let speaks = |finding: &&Finding| {
            finding.verdict == Verdict::Acting
                && finding.model.as_ref() == Some(&swap.to)
                && (row.alarm.contains(&finding.alarm) || FAULTS.contains(&finding.alarm))
        };
        if let Some(finding) = self.situation.findings.iter().find(speaks) {
            let (alarm, text) = (finding.alarm.name(), &finding.evidence.text);
            return Standing::Wrong(format!("{alarm} stands against {}, too: {text}", swap.to));
        }
        if let Some(paired) = &self.situation.paired
            && paired.active == swap.to
            && paired.standby == swap.from
            && paired.log_e_standby_better >= self.table.evidence.log_e_better
        {
            return Standing::Wrong(format!("labels show {} better than {}", swap.from, swap.to));
        }
        let watch = &self.situation.watch;
        let is_told = watch.model.as_ref() == Some(&swap.to) && watch.is_conclusive && watch.votes >= verify.votes_min;
        if is_told && check.since.plus(verify.dwell) <= self.now { Standing::Good } else { Standing::Open }
    }

    fn wrong(&mut self, check: &Verifying, swap: &Swapped, (row, why): (&Row, String)) {
        let because = Because {
            row: row.id.clone(),
            incident: None,
            reason: format!("a change of model did not help: {why}"),
            takes_back: Some(swap.order),
        };
        self.end(check, false, why);
        let is_undone = row.verify.is_some_and(|verify| verify.undo);
        if is_undone {
            let back = Action::Swap { from: swap.to.clone(), to: swap.from.clone() };
            match self.refusal(&back, &row.id, true) {
                None => {
                    self.order(back, because);
                    return;
                }
                Some(Refusal::Budget) => {
                    let reason = format!(
                        "the budget of changes of model is spent, and one was to be taken back: {}",
                        because.reason
                    );
                    self.lock(&Because::new(OVER_BUDGET, reason));
                    return;
                }
                Some(refusal) => self.hold(&row.id, check.incident, ("swap", refusal)),
            }
        }
        self.order(Action::Page, Because { takes_back: None, ..because });
    }

    fn end(&mut self, check: &Verifying, is_good: bool, text: String) {
        self.verified.push(Verified { order: check.order, row: check.row.clone(), is_good, text });
    }

    fn tell_late(&mut self, check: &mut Verifying, row: &Row) {
        let is_late = row.verify.is_some_and(|verify| check.since.plus(verify.within) <= self.now);
        if is_late && !check.is_paged {
            check.is_paged = true;
            let reason = "a change of model could not be checked: too little is seen of the new one".to_owned();
            self.order(Action::Page, Because::new(&row.id, reason));
        }
    }
}

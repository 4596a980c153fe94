//! How often each rule hit, asked in vain or failed: resolved once per rule set.
//!
//! Rules are configured and bounded, so their ids are a closed set. `no_hit` is not counted: it is what
//! remains of the decisions, and counting it would cost twenty additions per decision.

use prometheus::IntCounter;

use super::metrics::metrics;
use crate::domain::RuleVerdict;

/// Counters of one rule set, in its order. Counts go on across rule sets that keep a rule's id.
#[derive(Clone, Debug, Default)]
pub struct RuleCounters {
    rules: Vec<[IntCounter; 3]>,
}

impl RuleCounters {
    /// Resolves the counters of rules by id.
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let vec = &metrics().rule_verdicts;
        let resolve = |id: &str| ["hit", "absent", "error"].map(|verdict| vec.with_label_values(&[id, verdict]));
        Self { rules: ids.into_iter().map(resolve).collect() }
    }

    /// Counts one verdict of the rule at `index`.
    pub fn count(&self, index: usize, verdict: RuleVerdict) {
        let Some([hit, absent, error]) = self.rules.get(index) else { return };
        match verdict {
            RuleVerdict::Hit => hit.inc(),
            RuleVerdict::Absent => absent.inc(),
            RuleVerdict::Error => error.inc(),
            RuleVerdict::NoHit => {}
        }
    }

    /// Returns hits, absences and errors of the rule at `index` since the start.
    #[must_use]
    pub fn counts(&self, index: usize) -> [u64; 3] {
        self.rules.get(index).map_or([0; 3], |counters| [0, 1, 2].map(|verdict| counters[verdict].get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_a_new_rule_set() {
        let first = RuleCounters::new(["survivor-a", "survivor-b"]);
        first.count(1, RuleVerdict::Hit);
        first.count(1, RuleVerdict::NoHit);
        first.count(1, RuleVerdict::Error);
        first.count(9, RuleVerdict::Hit);
        let second = RuleCounters::new(["survivor-b"]);
        assert_eq!(second.counts(0), [1, 0, 1]);
        assert_eq!(first.counts(0), [0, 0, 0]);
    }
}

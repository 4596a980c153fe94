//! Decisions that wait for their label: the newest in memory, older ones in the ledger.
//!
//! Labels come minutes or weeks after their decision, and memory holds the newest decisions only. A label of an older
//! one is worth a look into the ledger, which may read the disk: so many a turn, and what is more is dropped and counted. A decision counts with its
//! first label; what comes later about the same one is known already.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::healing::quality::Decided;
use crate::telemetry::metrics;

/// Decisions that wait in memory, and labels that are remembered; beyond it the oldest are forgotten.
const WAITING_MAX: usize = 100_000;
/// The most looks into the ledger between two turns.
const LOOKS_MAX: usize = 100;

/// The decisions that wait for their label.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    decided: HashMap<u64, Decided>,
    order: VecDeque<u64>,
    heard: HashSet<u64>,
    heard_order: VecDeque<u64>,
    looks: usize,
}

impl Waiting {
    /// Begins to wait for the label of a decision.
    pub(super) fn put(&mut self, decided: Decided) {
        self.order.push_back(decided.transaction);
        self.decided.insert(decided.transaction, decided);
        while self.order.len() > WAITING_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.decided.remove(&oldest);
            }
        }
    }

    /// Returns one that waits in memory.
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut Decided> {
        self.decided.get_mut(&key)
    }

    /// Takes the decision a first label is about: from memory, else by `recorded`, which looks into the ledger.
    pub(super) fn take(&mut self, key: u64, recorded: impl FnOnce() -> Option<Decided>) -> Option<Decided> {
        if self.heard.contains(&key) {
            return None;
        }
        let waiting = self.decided.remove(&key);
        let is_looked = waiting.is_none() && self.looks < LOOKS_MAX;
        self.looks += usize::from(is_looked);
        if waiting.is_none() && !is_looked {
            metrics().healing.dropped.inc();
        }
        let found = waiting.or_else(|| if is_looked { recorded() } else { None })?;
        self.heard.insert(key);
        self.heard_order.push_back(key);
        if self.heard_order.len() > WAITING_MAX {
            self.heard_order.pop_front().map(|oldest| self.heard.remove(&oldest));
        }
        Some(found)
    }

    /// Lets as many looks be taken again. Once a turn.
    pub(super) const fn turn(&mut self) {
        self.looks = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Outcome, Timestamp};
    use crate::healing::ModelRef;

    fn decided(transaction: u64) -> Decided {
        let model = ModelRef { name: "m".to_owned(), version: "1".to_owned(), sha256: "0".to_owned() };
        let at = Timestamp::from_micros(1);
        let (score, standby_score, outcome) = (Some(0.5), None, Outcome::Approve);
        Decided { model: Arc::new(model), transaction, score, standby_score, outcome, occurred_at: at, decided_at: at }
    }

    #[test]
    fn a_decision_counts_with_its_first_label_from_memory_or_from_the_ledger() {
        let mut waiting = Waiting::default();
        waiting.put(decided(1));
        assert_eq!(waiting.take(1, || unreachable!("it is in memory")), Some(decided(1)));
        assert_eq!(waiting.take(1, || unreachable!("it has its label")), None);
        assert_eq!(waiting.take(2, || Some(decided(2))), Some(decided(2)));
        assert_eq!(waiting.take(2, || unreachable!("it has its label")), None);
        // What nobody knows is asked for again: its decision may come after its label.
        assert_eq!(waiting.take(3, || None), None);
        assert_eq!(waiting.take(3, || Some(decided(3))), Some(decided(3)));
    }

    #[test]
    fn looks_into_the_ledger_are_bounded_by_turn_and_memory_is_not_asked_less() {
        let mut waiting = Waiting::default();
        let many = u64::try_from(LOOKS_MAX).expect("small");
        let looked = |waiting: &mut Waiting, from: u64| {
            (from..from + 2 * many).filter_map(|key| waiting.take(key, || Some(decided(key)))).count()
        };
        assert_eq!(looked(&mut waiting, 1_000), LOOKS_MAX);
        waiting.put(decided(1));
        assert!(waiting.take(1, || None).is_some());
        waiting.turn();
        assert_eq!(looked(&mut waiting, 10_000), LOOKS_MAX);
    }
}

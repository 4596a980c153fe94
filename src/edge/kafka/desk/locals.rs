//! Where the state that is here stands, by partition: shared by all lanes of an instance.
//!
//! Begins with what the local store kept, moves on with commits, and lets go with revocation. Before the group
//! has said anything, the partitions of the last assignment count as ours, so that the REST door goes on while
//! the broker is away; once every lane has heard from the group, the rest of them is foreign.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::Timestamp;
use crate::runtime::stream::{Ownership, Position, Standing};

/// Positions of local state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Locals {
    inner: Arc<Mutex<Inner>>,
    ownership: Arc<Ownership>,
}

#[derive(Debug)]
struct Inner {
    positions: BTreeMap<u32, Position>,
    /// Of the last assignment, and not assigned since.
    remembered: BTreeSet<u32>,
    /// Lanes that have not heard from the group yet.
    waiting: BTreeSet<usize>,
}

impl Locals {
    /// Takes over what the local store kept, for lanes 0 to `lanes` - 1; its partitions count as ours.
    #[must_use]
    pub fn new(positions: BTreeMap<u32, Position>, lanes: usize, ownership: Arc<Ownership>) -> Self {
        let remembered: BTreeSet<u32> = positions.keys().copied().collect();
        for partition in &remembered {
            ownership.set(*partition, Standing::Live);
        }
        let inner = Inner { positions, remembered, waiting: (0..lanes).collect() };
        Self { inner: Arc::new(Mutex::new(inner)), ownership }
    }

    /// Returns how far behind now the partition lies whose event time is furthest behind, of those that are whole
    /// and have one.
    #[must_use]
    pub fn watermark_lag(&self, now: Timestamp) -> Option<Duration> {
        let inner = self.inner.lock();
        let has_one = |(partition, position): (&u32, &Position)| {
            let is_live = self.ownership.standing(*partition) == Standing::Live;
            (is_live && position.watermark_micros != i64::MIN).then_some(position.watermark_micros)
        };
        let least = inner.positions.iter().filter_map(has_one).min()?;
        Some(Duration::from_micros(u64::try_from(now.micros().saturating_sub(least)).unwrap_or(0)))
    }

    /// Hears that the group has told a lane of its partitions.
    pub(super) fn heard(&self, lane: usize, partitions: impl Iterator<Item = u32>) {
        let mut inner = self.inner.lock();
        inner.waiting.remove(&lane);
        for partition in partitions {
            inner.remembered.remove(&partition);
        }
        if inner.waiting.is_empty() {
            // Somebody else has them now. Their state stays where it is, should they come back.
            for partition in std::mem::take(&mut inner.remembered) {
                self.ownership.set(partition, Standing::Foreign);
            }
        }
    }

    /// Tells whether the group has told every lane of its partitions.
    #[must_use]
    pub fn have_heard(&self) -> bool {
        self.inner.lock().waiting.is_empty()
    }

    pub(super) fn take(&self, partition: u32) -> Option<Position> {
        self.inner.lock().positions.remove(&partition)
    }

    pub(super) fn put(&self, partition: u32, position: Position) {
        self.inner.lock().positions.insert(partition, position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TextField;
    use crate::runtime::stream::Partitioner;

    #[test]
    fn the_partition_most_behind_is_the_lag() {
        let ownership = Arc::new(Ownership::new(4, Partitioner::Murmur2, vec![TextField::CustomerId]));
        let locals = Locals::new(BTreeMap::new(), 1, Arc::clone(&ownership));
        let now = Timestamp::from_seconds(100);
        assert_eq!(locals.watermark_lag(now), None);
        for (partition, seconds) in [(0, 90), (1, 60), (2, 10)] {
            locals.put(partition, Position { watermark_micros: seconds * 1_000_000, ..Position::start(1, 0) });
        }
        locals.put(3, Position::start(1, 0));
        for partition in [0, 1, 3] {
            ownership.set(partition, Standing::Live);
        }
        assert_eq!(locals.watermark_lag(now), Some(Duration::from_secs(40)), "2 is not ours, 3 has no event yet");
        assert_eq!(locals.watermark_lag(Timestamp::from_seconds(50)), Some(Duration::ZERO), "events ahead of us");
    }

    #[test]
    fn the_last_assignment_counts_until_every_lane_has_heard() {
        let ownership = Arc::new(Ownership::new(4, Partitioner::Murmur2, vec![TextField::CustomerId]));
        let positions = (0..3).map(|partition| (partition, Position::start(7, 0))).collect();
        let locals = Locals::new(positions, 2, Arc::clone(&ownership));
        assert_eq!(ownership.with(Standing::Live), [0, 1, 2]);
        locals.heard(0, [0].into_iter());
        assert_eq!(ownership.with(Standing::Live), [0, 1, 2], "lane 1 may still get the others");
        assert!(!locals.have_heard());
        locals.heard(1, std::iter::empty());
        assert!(locals.have_heard(), "also a lane that gets nothing");
        assert_eq!(ownership.with(Standing::Live), [0]);
        assert_eq!(locals.take(1), Some(Position::start(7, 0)), "should it come back");
        assert_eq!(locals.take(1), None);
        locals.put(1, Position::start(9, 0));
        assert_eq!(locals.take(1), Some(Position::start(9, 0)));
    }
}

//! Which partitions a lane owns, and how far each is on its way to being read.
//!
//! ```text
//! assigned ──look up──> restoring ──restored──> live
//!                           └─────failed──────> failed (shown; not read)
//! ```

use std::time::Duration;

use super::broker::{Broker, Event};
use super::core::{Lane, Stage};
use super::fault::{Class, Fault};
use super::record::{Assigned, NextOffset, Source, Start};
use super::status::State;
use super::work::{Restored, Work};
use crate::telemetry::stream_lane::{BatchShed, WentBack};

/// How long a look-up that failed is left alone.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Assigned { look_up_at: Duration },
    Restoring,
    Live,
    Failed(String),
}

/// A partition this lane owns.
#[derive(Debug)]
pub(super) struct Partition {
    phase: Phase,
    /// The next offsets to take from the client, by source.
    read: [i64; 2],
    /// The next offsets as committed, by source.
    committed: [i64; 2],
    watermark: i64,
}

impl Partition {
    const fn new(now: Duration) -> Self {
        Self {
            phase: Phase::Assigned { look_up_at: now },
            read: [i64::MAX; 2],
            committed: [i64::MIN; 2],
            watermark: i64::MIN,
        }
    }

    /// Tells whether a record is the next, or after it, and takes note.
    pub(super) fn takes(&mut self, source: Source, offset: i64) -> bool {
        let read = &mut self.read[source as usize];
        let is_next = self.phase == Phase::Live && offset >= *read;
        if is_next {
            *read = offset + 1;
        }
        is_next
    }

    /// Tells what would move back if `next` were committed (KA-2).
    fn moves_back(&self, next: &NextOffset) -> Option<String> {
        let committed = self.committed[next.source as usize];
        let (source, partition) = (next.source, next.partition);
        if next.offset < committed {
            return Some(format!("offset of {source:?} {partition}: {committed} -> {}", next.offset));
        }
        let watermark = next.watermark.filter(|watermark| *watermark < self.watermark)?;
        Some(format!("watermark of {source:?} {partition}: {} -> {watermark}", self.watermark))
    }

    /// Takes note of what was committed.
    pub(super) fn commits(&mut self, next: &NextOffset) {
        let committed = &mut self.committed[next.source as usize];
        *committed = next.offset.max(*committed);
        self.watermark = next.watermark.map_or(self.watermark, |watermark| watermark.max(self.watermark));
    }
}

impl<B: Broker, W: Work> Lane<B, W> {
    /// Acts on an event of the group or the consumer.
    pub(super) fn notice(&mut self, event: Event) {
        match event {
            Event::Record(record) => self.take(record),
            Event::Idle => {}
            Event::Assigned(partitions) => {
                if partitions.is_empty() {
                    // Those that come are told when they are looked up; that none came is to be known, too.
                    self.work.assigned(Vec::new());
                }
                let now = self.broker.now();
                for partition in partitions {
                    self.partitions.insert(partition, Partition::new(now));
                }
                self.show_partitions();
            }
            Event::Revoked { partitions, is_lost } => self.give_up(&partitions, is_lost),
            Event::Fault(fault) => self.consumer_fault(&fault),
        }
    }

    /// Lets go of partitions: what is gathered and held of them is dropped, for nothing of it was visible.
    pub(super) fn give_up(&mut self, gone: &[i32], is_lost: bool) {
        if gone.is_empty() {
            return;
        }
        self.partitions.retain(|partition, _| !gone.contains(partition));
        self.drop_gathered(gone);
        if let Some(held) = &mut self.held {
            self.work.shed(&mut held.batch, gone);
            let is_empty = self.work.is_empty(&held.batch);
            BatchShed { index: self.options.index, is_empty }.emit();
            if is_empty {
                self.held = None;
            }
        }
        self.work.revoked(gone, is_lost);
        self.show_partitions();
    }

    /// A fault the consumer reports by itself: most pass, some end it.
    fn consumer_fault(&mut self, fault: &Fault) {
        self.report(fault);
        match fault.class {
            Class::ConsumerLost => self.consumer_gone(),
            Class::Fatal | Class::Fenced => {
                self.has_consumer = false;
                self.strike();
            }
            Class::Denied | Class::Refused if self.stage == Stage::Gather => self.pause_broken(&fault.to_string()),
            Class::Denied | Class::Refused | Class::Retriable | Class::Abortable | Class::StaleGeneration => {}
        }
    }

    /// Looks up where newly assigned partitions stand; returns whether it asked the broker.
    pub(super) fn look_up(&mut self) -> bool {
        let now = self.broker.now();
        let is_due =
            |partition: &Partition| matches!(partition.phase, Phase::Assigned { look_up_at } if look_up_at <= now);
        let due: Vec<i32> =
            self.partitions.iter().filter(|(_, owned)| is_due(owned)).map(|(number, _)| *number).collect();
        if due.is_empty() {
            return false;
        }
        match self.broker.places(&due) {
            Ok(places) => {
                for place in &places {
                    self.note_place(place);
                }
                self.work.assigned(places);
                self.show_partitions();
            }
            Err(fault) => {
                let look_up_at = self.broker.now() + LOOK_UP_PAUSE;
                for number in &due {
                    if let Some(partition) = self.partitions.get_mut(number) {
                        partition.phase = Phase::Assigned { look_up_at };
                    }
                }
                self.consumer_fault(&fault);
            }
        }
        true
    }

    fn note_place(&mut self, place: &Assigned) {
        let Some(partition) = self.partitions.get_mut(&place.partition) else { return };
        partition.phase = Phase::Restoring;
        for (source, place) in [(Source::Transactions, &place.transactions), (Source::Labels, &place.labels)] {
            if let Some(committed) = &place.committed {
                partition.committed[source as usize] = committed.offset;
            }
        }
    }

    /// Begins to read the partitions that are restored by now.
    pub(super) fn start_restored(&mut self) {
        let mut starts: Vec<Start> = Vec::new();
        let restored = self.work.restored();
        if restored.is_empty() {
            return;
        }
        for restored in restored {
            match restored {
                Restored::Ready(start) => {
                    let Some(partition) = self.partitions.get_mut(&start.partition) else { continue };
                    partition.phase = Phase::Live;
                    partition.read = [start.transactions, start.labels];
                    starts.push(start);
                }
                Restored::Failed { partition: number, reason } => {
                    let Some(partition) = self.partitions.get_mut(&number) else { continue };
                    partition.phase = Phase::Failed(reason);
                }
            }
        }
        if let Err(fault) = self.broker.start(&starts) {
            // Only a consumer that is no longer of use refuses its own partitions.
            self.report(&fault);
            self.has_consumer = false;
            self.strike();
        } else if self.is_paused {
            self.broker.pause();
        }
        self.show_partitions();
    }

    /// Refuses a commit that would move an offset or a watermark back (KA-2).
    pub(super) fn check_forward(&self, offsets: &[NextOffset]) -> Result<(), Fault> {
        for next in offsets {
            let back = self.partitions.get(&next.partition).and_then(|partition| partition.moves_back(next));
            if let Some(what) = back {
                WentBack { index: self.options.index, what: &what }.emit();
                debug_assert!(false, "KA-2: {what}");
                return Err(Fault::new(Class::Refused, "offsets", format!("KA-2: {what}")));
            }
        }
        Ok(())
    }

    pub(super) fn owned(&self) -> Vec<i32> {
        self.partitions.keys().copied().collect()
    }

    fn show_partitions(&self) {
        let (mut restoring, mut live, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (number, partition) in &self.partitions {
            match &partition.phase {
                Phase::Assigned { .. } | Phase::Restoring => restoring.push(*number),
                Phase::Live => live.push(*number),
                Phase::Failed(reason) => failed.push((*number, reason.clone())),
            }
        }
        self.status.set_partitions(restoring, live, failed);
    }

    /// Leaves the stage for whatever comes next, through the breaker when a client must be made anew.
    pub(super) fn strike(&mut self) {
        let now = self.broker.now();
        if self.breaker.strikes_out(now) {
            return self.pause_broken("clients had to be made anew too often");
        }
        self.resume();
    }

    /// Pauses as a broken lane does; it tries again afterwards.
    pub(super) fn pause_broken(&mut self, reason: &str) {
        self.show(State::Broken, reason);
        let until = self.broker.now() + self.breaker.broken_pause(self.options.broken_wait_max);
        self.stage = Stage::Wait { until, is_for_generation: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(source: Source, offset: i64, watermark: Option<i64>) -> NextOffset {
        NextOffset { source, partition: 3, offset, watermark, metadata: String::new() }
    }

    #[test]
    fn offsets_and_watermarks_never_move_back() {
        let mut partition = Partition::new(Duration::ZERO);
        partition.commits(&next(Source::Transactions, 10, Some(500)));
        partition.commits(&next(Source::Labels, 4, None));
        for (source, offset, watermark, is_back) in [
            (Source::Transactions, 10, Some(500), false),
            (Source::Transactions, 11, Some(600), false),
            (Source::Transactions, 9, Some(600), true),
            (Source::Transactions, 11, Some(499), true),
            (Source::Labels, 4, None, false),
            (Source::Labels, 3, None, true),
        ] {
            let back = partition.moves_back(&next(source, offset, watermark));
            assert_eq!(back.is_some(), is_back, "{source:?} {offset} {watermark:?}: {back:?}");
        }
    }

    #[test]
    fn a_record_is_taken_once_and_only_of_a_live_partition() {
        let mut partition = Partition::new(Duration::ZERO);
        assert!(!partition.takes(Source::Transactions, 7), "not live");
        partition.phase = Phase::Live;
        partition.read = [5, 0];
        let taken: Vec<bool> = [4, 5, 5, 8, 6, 9].map(|offset| partition.takes(Source::Transactions, offset)).into();
        assert_eq!(taken, [false, true, false, true, false, true], "gaps are markers, the past is left over");
    }
}

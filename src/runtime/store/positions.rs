//! How far the partitions of a stream are in this store: a frame behind what it speaks of.
//!
//! ```text
//! | tag, time, hash | events u64 | whole u8 | count u32 | partition u32, is held u8, position 32 | .. |
//! ```
//! It lies in the ledger, last of its group, and names the sequence that the event log had reached: it holds
//! only where both logs have what comes before it, so a position is never ahead of its events or decisions.
//! What does not continue the position that is written is left out. A new segment begins with all of them,
//! so that an idle partition's does not go with an old segment.

use std::collections::BTreeMap;

use super::encoding::{self, PREFIX_LEN, Tag};
use super::error::Error;
use super::log::Log;
use super::queue::Group;
use crate::runtime::stream::position::Position;

/// The last position of each partition; `None` for one that was let go.
pub(super) type ByPartition = BTreeMap<u32, Option<Position>>;

const HEAD_LEN: usize = 13;
const ENTRY_LEN: usize = 37;

/// What the writer knows of the positions on disk.
#[derive(Debug, Default)]
pub(super) struct Positions {
    written: ByPartition,
    staged: Option<ByPartition>,
}

impl Positions {
    pub(super) fn new(written: ByPartition) -> Self {
        Self { written, staged: None }
    }

    /// Returns the frame of all positions, for a segment that begins; `None` when there are none.
    pub(super) fn whole(&self, events: u64) -> Option<Vec<u8>> {
        let entries: Vec<_> = self.written.iter().map(|(partition, position)| (*partition, *position)).collect();
        (!entries.is_empty()).then(|| put(events, true, &entries))
    }

    /// Returns the frame of what a group moved, empty when nothing of it continues what is written. It
    /// counts once [`Self::keep`] says that the group is written.
    pub(super) fn stage(&mut self, group: &Group, events: u64) -> Vec<u8> {
        if group.advances.is_empty() && group.released.is_empty() {
            return Vec::new();
        }
        let staged = self.staged.get_or_insert_with(|| self.written.clone());
        let mut entries = Vec::with_capacity(group.advances.len() + group.released.len());
        for advance in &group.advances {
            let continues = advance.before.is_none_or(|before| staged.get(&advance.partition) == Some(&Some(before)));
            if continues {
                staged.insert(advance.partition, Some(advance.after));
                entries.push((advance.partition, Some(advance.after)));
            }
        }
        for partition in &group.released {
            staged.insert(*partition, None);
            entries.push((*partition, None));
        }
        if entries.is_empty() { Vec::new() } else { put(events, false, &entries) }
    }

    /// What was staged is written.
    pub(super) fn keep(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.written = staged;
        }
    }

    /// What was staged is not written.
    pub(super) fn discard(&mut self) {
        self.staged = None;
    }
}

fn put(events: u64, whole: bool, entries: &[(u32, Option<Position>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_LEN + HEAD_LEN + entries.len() * ENTRY_LEN);
    encoding::begin(&mut out, Tag::Positions, i64::MIN, 0);
    out.extend_from_slice(&events.to_le_bytes());
    out.push(u8::from(whole));
    out.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (partition, position) in entries {
        out.extend_from_slice(&partition.to_le_bytes());
        out.push(u8::from(position.is_some()));
        let Position { transactions, labels, watermark_micros, chain } = position.unwrap_or(Position::start(0, 0));
        for word in [transactions, labels, watermark_micros, chain.cast_signed()] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    out
}

/// Returns a frame that says that no position holds any more.
pub(super) fn nothing() -> Vec<u8> {
    put(0, true, &[])
}

/// One frame of positions.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    events: u64,
    whole: bool,
    entries: Vec<(u32, Option<Position>)>,
}

fn read(payload: &[u8]) -> Option<Read> {
    let note = encoding::note(payload).filter(|note| note.tag == Tag::Positions)?;
    debug_assert_eq!(note.hash, 0, "positions are about no id");
    let (head, mut rest) = payload.get(PREFIX_LEN..)?.split_at_checked(HEAD_LEN)?;
    let count = u32::from_le_bytes(head[9..].try_into().ok()?);
    let mut entries = Vec::new();
    for _ in 0..count {
        let (entry, after) = rest.split_at_checked(ENTRY_LEN)?;
        rest = after;
        let word = |place: usize| entry[5 + place * 8..][..8].try_into().map(i64::from_le_bytes).ok();
        let (transactions, labels, watermark_micros) = (word(0)?, word(1)?, word(2)?);
        let chain = word(3)?.cast_unsigned();
        let position = Position { transactions, labels, watermark_micros, chain };
        entries.push((u32::from_le_bytes(entry[..4].try_into().ok()?), (entry[4] == 1).then_some(position)));
    }
    let events = u64::from_le_bytes(head[..8].try_into().ok()?);
    rest.is_empty().then_some(Read { events, whole: head[8] == 1, entries })
}

/// Finds the last position of each partition that holds: the event log must reach to `events`.
pub(super) fn find(ledger: &Log, events: u64) -> Result<ByPartition, Error> {
    let mut found = ByPartition::new();
    'segments: for segment in ledger.segments().iter().rev() {
        let index = segment.entries()?;
        for entry in index.entries.iter().rev().filter(|entry| entry.tag == Tag::Positions) {
            let (_, payload) = segment.read(entry.offset)?;
            let Some(read) = read(&payload) else { return Err(segment.damaged(entry.offset)) };
            if read.events > events {
                // The machine died: what it speaks of did not all get to the disk.
                continue;
            }
            for (partition, position) in read.entries {
                found.entry(partition).or_insert(position);
            }
            if read.whole {
                break 'segments;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stream::group::Advance;

    fn position(transactions: i64) -> Position {
        Position { transactions, labels: 1, watermark_micros: -5, chain: transactions.cast_unsigned() * 3 }
    }

    fn group(advances: &[(u32, Option<i64>, i64)], released: &[u32]) -> Group {
        let advance = |(partition, before, after): &(u32, Option<i64>, i64)| Advance {
            partition: *partition,
            before: before.map(position),
            after: position(*after),
        };
        Group { advances: advances.iter().map(advance).collect(), released: released.into(), ..Group::default() }
    }

    #[test]
    fn frames_come_back_and_cuts_are_refused() {
        let entries = [(3, Some(position(7))), (9, None)];
        let payload = put(40, false, &entries);
        assert_eq!(read(&payload), Some(Read { events: 40, whole: false, entries: entries.into() }));
        for cut in 0..payload.len() {
            assert_eq!(read(&payload[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn only_what_continues_is_written() {
        let mut positions = Positions::default();
        let mut check = |what: &str, group: &Group, expected: &[(u32, Option<i64>)], kept: bool| {
            let payload = positions.stage(group, 1);
            let entries = read(&payload).map_or(Vec::new(), |read| read.entries);
            let expected: Vec<_> = expected.iter().map(|(p, at)| (*p, at.map(position))).collect();
            assert_eq!(entries, expected, "{what}");
            if kept { positions.keep() } else { positions.discard() }
        };
        check("a start", &group(&[(0, None, 5), (1, None, 9)], &[]), &[(0, Some(5)), (1, Some(9))], true);
        check("not written", &group(&[(0, Some(5), 6)], &[]), &[(0, Some(6))], false);
        check("a gap", &group(&[(0, Some(6), 7), (1, Some(9), 12)], &[]), &[(1, Some(12))], true);
        check("the gap closed", &group(&[(0, Some(5), 7)], &[]), &[(0, Some(7))], true);
        check("released", &group(&[], &[1, 4]), &[(1, None), (4, None)], true);
        check("after a release", &group(&[(1, Some(12), 13)], &[]), &[], true);
        let whole = positions.whole(8).expect("positions");
        assert_eq!(
            read(&whole),
            Some(Read { events: 8, whole: true, entries: vec![(0, Some(position(7))), (1, None), (4, None)] })
        );
    }
}

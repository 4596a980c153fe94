//! What must hold when everything is said and done, read as a `read_committed` consumer reads it.

use std::collections::{BTreeMap, BTreeSet};

use super::desk::{Blob, Entry, Kept, SILENT};
use super::world::{End, World};
use crate::edge::kafka::lane::record::{Sink, Source};

/// A score as it was written.
struct Score {
    transaction: usize,
    key: u8,
    offset: i64,
    count: u64,
}

/// Returns every violated promise; a double count begins with `KA-1: twice`.
pub(super) fn violations(world: &World, partitions: i32) -> Vec<String> {
    let mut found = world.violations.clone();
    for partition in 0..partitions {
        let scores = scores(world, partition);
        counted_once(world, partition, &scores, &mut found);
        in_order(partition, &scores, &mut found);
        let state = replayed(world, partition, &scores, &mut found);
        offsets_are_those_of(world, partition, &state, &mut found);
    }
    let open = world.transactions.iter().filter(|transaction| transaction.end == End::Open).count();
    if open > 0 {
        found.push(format!("{open} transactions left open"));
    }
    found
}

fn scores(world: &World, partition: i32) -> Vec<Score> {
    let score = |written: &super::world::Written| {
        let bytes = written.output.payload.as_deref().unwrap_or_default();
        let word = |at: usize| <[u8; 8]>::try_from(&bytes[at..at + 8]).expect("eight bytes");
        let (offset, count) = (i64::from_le_bytes(word(1)), u64::from_le_bytes(word(9)));
        Score { transaction: written.transaction, key: bytes[0], offset, count }
    };
    world.visible(Sink::Scores, partition).map(score).collect()
}

/// KA-1: every transaction that says something has one score.
fn counted_once(world: &World, partition: i32, scores: &[Score], found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for score in scores {
        if !seen.insert(score.offset) {
            found.push(format!("KA-1: twice: {partition}@{}", score.offset));
        }
    }
    let inputs = &world.inputs[&(Source::Transactions, partition)];
    let expected: BTreeSet<i64> =
        inputs.iter().filter(|input| !input.id.is_multiple_of(SILENT)).map(|input| input.offset).collect();
    for offset in expected.difference(&seen) {
        found.push(format!("KA-1: missing: {partition}@{offset}"));
    }
    for offset in seen.difference(&expected) {
        found.push(format!("KA-1: from nowhere: {partition}@{offset}"));
    }
}

/// KA-4: the scores of a key are in the order of its transactions, and so are its counts.
fn in_order(partition: i32, scores: &[Score], found: &mut Vec<String>) {
    let mut last: BTreeMap<u8, (i64, u64)> = BTreeMap::new();
    for score in scores {
        let before = last.insert(score.key, (score.offset, score.count));
        if before.is_some_and(|(offset, count)| offset >= score.offset || count >= score.count) {
            found.push(format!("KA-4: key {} of {partition} at {}", score.key, score.offset));
        }
    }
}

/// KA-3: the changelog has every input once, in order, each blob goes on where the last ended, and the scores of a
/// transaction are those of its blob's entries, with the counts a naive recount gives.
fn replayed(world: &World, partition: i32, scores: &[Score], found: &mut Vec<String>) -> Kept {
    let mut state = Kept::default();
    let mut seen: [Vec<i64>; 2] = Default::default();
    let mut expected = Vec::new();
    for written in world.visible(Sink::State, partition) {
        let blob = Blob::decode(written.output.payload.as_deref().unwrap_or_default());
        if blob.before != (state.next, state.chain) {
            found.push(format!("KA-3: blob of {partition} begins at {:?}, not {:?}", blob.before, state.next));
        }
        for entry in &blob.entries {
            seen[entry.source as usize].push(entry.offset);
            let Entry { key, offset, .. } = *entry;
            expected.extend(state.apply(entry).map(|count| (written.transaction, key, offset, count)));
        }
    }
    for source in [Source::Transactions, Source::Labels] {
        let inputs: Vec<i64> = world.inputs[&(source, partition)].iter().map(|input| input.offset).collect();
        if seen[source as usize] != inputs {
            found.push(format!("KA-3: changelog of {source:?} {partition} is not its input"));
        }
    }
    let written: Vec<_> =
        scores.iter().map(|score| (score.transaction, score.key, score.offset, score.count)).collect();
    if written != expected {
        found.push(format!("KA-3: scores of {partition} are not those of its changelog"));
    }
    state
}

fn offsets_are_those_of(world: &World, partition: i32, state: &Kept, found: &mut Vec<String>) {
    for source in [Source::Transactions, Source::Labels] {
        let committed = world.offsets.get(&(source, partition)).map_or(0, |committed| committed.offset);
        if committed != state.next[source as usize] {
            found.push(format!("KA-3: {source:?} {partition} committed at {committed}, changelog {:?}", state.next));
        }
    }
}

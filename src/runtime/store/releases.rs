//! Releases in the ledger: each decision names its own by a key, and each segment has those its decisions name.

use std::collections::VecDeque;
use std::sync::Arc;

use super::append::Appender;
use super::encoding;
use super::queue::{Group, Message};
use crate::domain::ReleaseFacts;
use crate::runtime::decisions::Record;

/// Releases whose key is remembered.
const KEYS_MAX: usize = 8;

/// Keys of the releases seen last, with their payloads.
#[derive(Default)]
pub(super) struct Releases {
    keys: VecDeque<(Arc<ReleaseFacts>, u64, Vec<u8>)>,
}

impl Releases {
    /// Writes the release key into each decision and returns the releases that the segment lacks.
    pub(super) fn name(&mut self, batch: &mut [Message], decisions: &Appender) -> Vec<Vec<u8>> {
        let mut lacking: Vec<(u64, Vec<u8>)> = Vec::new();
        for message in batch {
            match message {
                Message::Decided(decided) => {
                    let key = self.name_one(&decided.record, (decisions, &mut lacking));
                    encoding::set_release(&mut decided.payload, key);
                }
                Message::Group(group) => {
                    let Group { decided, records, .. } = &mut **group;
                    for (place, (_, record)) in decided.iter().enumerate() {
                        let key = self.name_one(record, (decisions, &mut lacking));
                        encoding::set_release(records.get_mut(place), key);
                    }
                }
                Message::Event(_) | Message::Labels { .. } => {}
            }
        }
        lacking.into_iter().map(|(_, payload)| payload).collect()
    }

    /// Returns the key of a record's release, and adds the release to those that the segment lacks.
    fn name_one(&mut self, record: &Record, (decisions, lacking): (&Appender, &mut Vec<(u64, Vec<u8>)>)) -> u64 {
        let facts = &record.decision.release;
        let place = self.keys.iter().position(|(known, _, _)| Arc::ptr_eq(known, facts)).unwrap_or_else(|| {
            let mut payload = Vec::new();
            let key = encoding::put_release(&mut payload, facts);
            self.keys.truncate(KEYS_MAX - 1);
            self.keys.push_front((Arc::clone(facts), key, payload));
            0
        });
        let (_, key, payload) = &self.keys[place];
        if !decisions.has_release(*key) && lacking.iter().all(|(known, _)| known != key) {
            lacking.push((*key, payload.clone()));
        }
        *key
    }
}

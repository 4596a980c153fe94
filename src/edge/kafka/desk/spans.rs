//! Spans of records that were decided, told once their transaction with the broker is committed.
//!
//! A record's span is the root of a trace of our own and is linked to the sender's: a batch has many senders, and
//! what they trace ended when the broker took the record. Where nothing is sampled nothing is kept.

use std::sync::Arc;

use super::intake::Note;
use crate::runtime::clock::Clock;
use crate::runtime::decisions::Record;
use crate::telemetry::otlp::{self, Consumed};

/// A decided record of which a span is wanted.
pub(super) struct Traced {
    note: Note,
    offset: i64,
    record: Arc<Record>,
}

impl Traced {
    /// Keeps what the span will say.
    pub(super) fn of(note: Note, offset: i64, record: &Arc<Record>) -> Self {
        Self { note, offset, record: Arc::clone(record) }
    }
}

/// Tells spans of one group and topic.
pub(super) struct Spans {
    group: String,
    topic: String,
}

impl Spans {
    pub(super) const fn new(group: String, topic: String) -> Self {
        Self { group, topic }
    }

    /// Tells the spans of a partition's records, which end now.
    pub(super) fn tell(&self, (partition, traced): (i32, &[Traced]), clock: &Clock) {
        if traced.is_empty() {
            return;
        }
        let committed_at = clock.now();
        for Traced { note, offset, record } in traced {
            let consumed = Consumed {
                trace: &note.trace,
                sender: note.sender.as_ref(),
                group: &self.group,
                topic: &self.topic,
                partition,
                offset: *offset,
                received_at: note.received_at,
                committed_at,
                decision: &record.decision,
            };
            otlp::consumed(&consumed);
        }
    }
}

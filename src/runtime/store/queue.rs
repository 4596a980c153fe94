//! The line in front of the writer: bounded, taken whole, so that a group is all that came meanwhile.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::domain::Label;
use crate::runtime::decisions::{Record, Settled};

/// A decision to be recorded.
pub(crate) struct Decided {
    /// The ledger's key of its id.
    pub(crate) key: u128,
    pub(crate) record: Arc<Record>,
    /// The transaction for the event log; empty when it is there already.
    pub(crate) event: Vec<u8>,
    /// The record for the ledger.
    pub(crate) payload: Vec<u8>,
    /// Whether entity state has not seen the transaction yet.
    pub(crate) deferred: bool,
    /// Who waits; nobody when it is tried again.
    pub(crate) reply: Option<oneshot::Sender<Settled>>,
}

/// Something for the writer.
pub(crate) enum Message {
    Decided(Box<Decided>),
    /// A transaction that entity state has seen and whose request was given up.
    Event(Vec<u8>),
    Labels {
        payloads: Vec<Vec<u8>>,
        /// Labels that entity state has not seen yet.
        deferred: Vec<Label>,
        reply: Option<oneshot::Sender<bool>>,
    },
}

impl Message {
    /// Returns about how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        const STRUCTS: usize = 512;
        match self {
            Self::Decided(decided) => STRUCTS + decided.event.len() + decided.payload.len() * 2,
            Self::Event(payload) => STRUCTS + payload.len(),
            Self::Labels { payloads, .. } => STRUCTS + payloads.iter().map(Vec::len).sum::<usize>() * 2,
        }
    }
}

/// The line. Shared by reference.
pub(crate) struct Queue {
    line: Mutex<Line>,
    filled: Condvar,
    len_max: usize,
}

#[derive(Default)]
struct Line {
    messages: Vec<Message>,
    is_closed: bool,
    is_asleep: bool,
    is_nudged: bool,
}

impl Queue {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { line: Mutex::default(), filled: Condvar::new(), len_max }
    }

    /// Appends a message, or hands it back when the line is full or closed. Wakes the writer when what it
    /// returns is dropped, so that whoever pushes meanwhile is served by the same wake-up.
    pub(crate) fn push(&self, message: Message) -> Result<Rouse<'_>, Message> {
        let mut line = self.line.lock();
        if line.is_closed || line.messages.len() >= self.len_max {
            return Err(message);
        }
        line.messages.push(message);
        Ok(Rouse(self))
    }

    /// Wakes the writer if it sleeps. One that is awake comes back by itself: most messages of a busy
    /// service wake nobody.
    fn rouse(&self) {
        let wake = std::mem::take(&mut self.line.lock().is_asleep);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Wakes the writer although there is nothing new to write.
    pub(crate) fn nudge(&self) {
        self.line.lock().is_nudged = true;
        self.filled.notify_one();
    }

    /// Refuses new messages; those that wait are still taken.
    pub(crate) fn close(&self) {
        self.line.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Moves everything that waits, after at most `wait` when nothing does. `false`: closed and empty.
    pub(crate) fn take(&self, batch: &mut Vec<Message>, wait: Option<Duration>) -> bool {
        let mut line = self.line.lock();
        while line.messages.is_empty() && !line.is_closed && !std::mem::take(&mut line.is_nudged) {
            line.is_asleep = true;
            match wait {
                None => self.filled.wait(&mut line),
                Some(wait) => {
                    if self.filled.wait_for(&mut line, wait).timed_out() {
                        break;
                    }
                }
            }
        }
        line.is_asleep = false;
        std::mem::swap(batch, &mut line.messages);
        !line.is_closed || !batch.is_empty()
    }
}

/// Owes the writer a wake-up, and gives it when dropped, also when its request is given up.
#[must_use = "dropped at once, it wakes at once"]
pub(crate) struct Rouse<'q>(&'q Queue);

impl Drop for Rouse<'_> {
    fn drop(&mut self) {
        self.0.rouse();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}

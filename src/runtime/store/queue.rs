//! The line in front of the writer: bounded, taken whole, so that a group is all that came meanwhile.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::domain::Label;
use crate::runtime::clock::Moment;
use crate::runtime::decisions::{Record, Settled};
use crate::runtime::stream::group::Advance;
use crate::telemetry::events::StoreLineFull;

/// Bytes of groups of the stream that may wait; beyond it their lane waits.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// How often a lane that waits looks whether the line was closed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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

/// Payloads one behind the other: one allocation for many.
#[derive(Default)]
pub(crate) struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    /// Appends what `put` writes.
    pub(crate) fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|place| &self.bytes[self.start(place)..self.ends[place]])
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> &mut [u8] {
        let start = self.start(place);
        &mut self.bytes[start..self.ends[place]]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// What a committed transaction with the broker leaves: written as one, and nobody waits for it.
#[derive(Default)]
pub(crate) struct Group {
    /// Transactions and labels for the event log.
    pub(crate) events: Vec<Vec<u8>>,
    /// Decisions whose transaction entity state has not seen yet.
    pub(crate) deferred: Vec<Arc<Record>>,
    /// Decisions: key of the id and record, and their payloads.
    pub(crate) decided: Vec<(u128, Arc<Record>)>,
    pub(crate) records: Payloads,
    /// Ids that another instance decided, and their payloads.
    pub(crate) known: Vec<u128>,
    pub(crate) known_ids: Payloads,
    /// Payloads that say which decisions of the REST door were published.
    pub(crate) confirmed: Payloads,
    /// How the partitions moved, and which are ours no longer.
    pub(crate) advances: Vec<Advance>,
    pub(crate) released: Vec<u32>,
    /// Made by the writer: the frame of the positions.
    pub(crate) positions: Vec<u8>,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames() == 0 && self.advances.is_empty() && self.released.is_empty()
    }

    /// Returns how many frames it asks for.
    pub(crate) fn frames(&self) -> usize {
        self.events.len() + self.decided.len() + self.known.len() + self.confirmed.len()
    }

    fn bytes(&self) -> usize {
        let records = self.records.bytes.len() * 2 + self.decided.len() * 512;
        let events: usize = self.events.iter().map(|event| event.len() + 32).sum();
        records + events + self.known_ids.bytes.len() + self.confirmed.bytes.len()
    }

    /// Lists the payloads for the ledger, the positions last.
    pub(crate) fn ledger_payloads(&self) -> impl Iterator<Item = &[u8]> {
        let positions = Some(self.positions.as_slice()).filter(|payload| !payload.is_empty());
        self.records.iter().chain(self.known_ids.iter()).chain(self.confirmed.iter()).chain(positions)
    }
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
    /// What the stream leaves.
    Group(Box<Group>),
}

impl Message {
    /// Lists what goes to the event log.
    pub(super) fn event_payloads(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many): (Option<&Vec<u8>>, &[Vec<u8>]) = match self {
            Self::Decided(decided) => (Some(&decided.event).filter(|event| !event.is_empty()), &[]),
            Self::Event(payload) => (Some(payload), &[]),
            Self::Labels { payloads, .. } => (None, payloads),
            Self::Group(group) => (None, &group.events),
        };
        one.into_iter().chain(many).map(Vec::as_slice)
    }

    /// Lists what goes to the ledger, in order.
    pub(super) fn ledger_payloads(&self) -> impl Iterator<Item = &[u8]> {
        let (one, group) = match self {
            Self::Decided(decided) => (Some(decided.payload.as_slice()), None),
            Self::Group(group) => (None, Some(group.ledger_payloads())),
            Self::Event(_) | Self::Labels { .. } => (None, None),
        };
        one.into_iter().chain(group.into_iter().flatten())
    }

    /// Returns about how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        const STRUCTS: usize = 512;
        match self {
            Self::Decided(decided) => STRUCTS + decided.event.len() + decided.payload.len() * 2,
            Self::Event(payload) => STRUCTS + payload.len(),
            Self::Labels { payloads, .. } => STRUCTS + payloads.iter().map(Vec::len).sum::<usize>() * 2,
            Self::Group(group) => STRUCTS + group.bytes(),
        }
    }
}

/// The line. Shared by reference.
pub(crate) struct Queue {
    line: Mutex<Line>,
    filled: Condvar,
    emptied: Condvar,
    len_max: usize,
}

#[derive(Default)]
struct Line {
    messages: Vec<Message>,
    is_closed: bool,
    is_asleep: bool,
    is_nudged: bool,
    /// Bytes of the groups that wait, and lanes that wait for room.
    group_bytes: usize,
    waiting: usize,
}

impl Queue {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { line: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new(), len_max }
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

    /// Appends a message once there is room, or hands it back when the line is closed. Blocks: only for
    /// threads of the stream, whose backpressure it is.
    pub(crate) fn push_waiting(&self, message: Message) -> Result<(), Message> {
        let bytes = message.bytes();
        let mut waited_since = None;
        {
            let mut line = self.line.lock();
            loop {
                if line.is_closed {
                    return Err(message);
                }
                // An empty line takes any group, so one above the bound does not wait for ever.
                let is_heavy = line.group_bytes > 0 && line.group_bytes + bytes > GROUP_BYTES_MAX;
                if !is_heavy && line.messages.len() < self.len_max {
                    break;
                }
                waited_since.get_or_insert_with(Moment::now);
                line.waiting += 1;
                self.emptied.wait_for(&mut line, LOOK_EVERY);
                line.waiting -= 1;
            }
            line.group_bytes += bytes;
            line.messages.push(message);
        }
        self.rouse();
        if let Some(since) = waited_since {
            StoreLineFull { waited: since.elapsed() }.emit();
        }
        Ok(())
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
        self.emptied.notify_all();
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
        line.group_bytes = 0;
        std::mem::swap(batch, &mut line.messages);
        if line.waiting > 0 {
            self.emptied.notify_all();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    fn group(bytes: usize) -> Message {
        Message::Group(Box::new(Group { events: vec![vec![1; bytes]], ..Group::default() }))
    }

    #[test]
    fn a_lane_waits_for_room_and_goes_on() {
        let queue = Arc::new(Queue::new(8));
        assert!(queue.push_waiting(group(GROUP_BYTES_MAX * 2)).is_ok(), "an empty line takes any group");
        let waiting = Arc::clone(&queue);
        let lane = tasks::thread("lane", move || assert!(waiting.push_waiting(group(10)).is_ok())).expect("a thread");
        while queue.line.lock().waiting == 0 {
            std::hint::spin_loop();
        }
        assert_eq!(queue.line.lock().messages.len(), 1, "it waits");
        // Requests of the other door are not held up by heavy groups.
        assert!(queue.push(Message::Event(vec![1])).is_ok());
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, None));
        lane.join().expect("it went on");
        assert!((batch.len(), queue.line.lock().messages.len()) == (2, 1));
    }

    #[test]
    fn a_closed_line_lets_a_lane_go() {
        let queue = Arc::new(Queue::new(1));
        assert!(queue.push_waiting(group(10)).is_ok());
        let waiting = Arc::clone(&queue);
        let lane = tasks::thread("lane", move || assert!(waiting.push_waiting(group(10)).is_err())).expect("a thread");
        while queue.line.lock().waiting == 0 {
            std::hint::spin_loop();
        }
        queue.close();
        lane.join().expect("it was let go");
    }

    #[test]
    fn payloads_come_back_one_by_one() {
        let mut payloads = Payloads::default();
        for len in [3, 0, 5] {
            payloads.push(|out| out.extend(std::iter::repeat_n(b'x', len)));
        }
        payloads.get_mut(2)[0] = b'y';
        assert_eq!(payloads.iter().collect::<Vec<_>>(), [&b"xxx"[..], b"", b"yxxxx"]);
        assert_eq!(payloads.len(), 3);
    }
}

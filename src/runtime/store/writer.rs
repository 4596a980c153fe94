//! The writer: one thread, all that is queued in one write per log, answers in one go.
//!
//! ```text
//! take all ─> events ─> (sync) ─> ledger ─> (sync) ─> cursor, publish, wake
//!      │ error                                           answered as recorded
//!      └> on_failure: answer `not_recorded` and keep for later, or refuse   retried with a pause, told once
//! ```
//! Feed order is journal order, and the feed shows only what was written. An episode of failures begins
//! with one ERROR line and ends with one that says what became of its records.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::append::{Appender, Placed};
use super::gate::Gate;
use super::positions::Positions;
use super::queue::{Decided, Group, Message, Queue};
use super::releases::Releases;
use super::{Durability, OnFailure, PENDING_BYTES_MAX, encoding};
use crate::domain::DegradedReason;
use crate::runtime::clock::Moment;
use crate::runtime::decisions::{Ledger, Settled};
use crate::runtime::entities::Entities;
use crate::tasks::{self, Shutdown};
use crate::telemetry::events::{StoreFailed, StoreLost, StoreRecovered};

/// Bytes of one group that is tried again, so that fresh decisions do not wait for all of them.
const RETRY_BYTES_MAX: usize = 4 << 20;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a writer works with.
pub(super) struct Parts {
    pub(super) queue: Arc<Queue>,
    pub(super) events: Appender,
    pub(super) decisions: Appender,
    pub(super) ledger: Arc<Ledger>,
    pub(super) entities: Arc<Entities>,
    pub(super) gate: Arc<Gate>,
    pub(super) positions: Positions,
}

/// The writer.
pub(super) struct Writer {
    parts: Parts,
    durability: Durability,
    on_failure: OnFailure,
    /// Messages of a failure's episode, oldest first.
    pending: VecDeque<Message>,
    pending_bytes: usize,
    episode: Option<Episode>,
    releases: Releases,
}

struct Episode {
    began: Moment,
    retry_at: Moment,
    pause: Duration,
    lost: u64,
    /// Whether only a write that goes through shows that it is over.
    needs_write: bool,
}

/// How far a group got.
enum Written {
    /// As far as the durability asks for.
    Whole(Vec<Placed>),
    /// In the files, but not synced: it will be written again.
    Unsynced(Vec<Placed>, io::Error),
    /// Not at all.
    Not(io::Error),
}

/// Closes the line when the thread ends, also when it panics: nobody may wait for it then.
struct Leave(Arc<Queue>, Shutdown);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.close();
        if std::thread::panicking() {
            self.0.take(&mut Vec::new(), Some(Duration::ZERO));
            self.1.ask();
        }
    }
}

impl Writer {
    pub(super) fn new(parts: Parts, (durability, on_failure): (Durability, OnFailure)) -> Self {
        let releases = Releases::default();
        Self { parts, durability, on_failure, pending: VecDeque::new(), pending_bytes: 0, episode: None, releases }
    }

    pub(super) fn start(self, shutdown: Shutdown) -> io::Result<JoinHandle<()>> {
        tasks::thread("fraudd-journal", move || {
            let _leave = Leave(Arc::clone(&self.parts.queue), shutdown);
            self.work();
        })
    }

    fn work(mut self) {
        let queue = Arc::clone(&self.parts.queue);
        let mut batch = Vec::new();
        while queue
            .take(&mut batch, self.episode.as_ref().map(|episode| episode.retry_at.remaining().max(PAUSE_MIN / 10)))
        {
            self.mend();
            self.retry();
            if !batch.is_empty() {
                self.group(&mut batch);
            }
        }
        self.finish();
    }

    /// Writes a fresh group and answers it.
    fn group(&mut self, batch: &mut Vec<Message>) {
        let rests = self.episode.as_ref().is_some_and(|episode| !episode.retry_at.has_passed());
        // Order is kept: while older records wait, fresh ones wait behind them.
        if rests || !self.pending.is_empty() {
            return self.fail(batch);
        }
        match self.write(batch) {
            Written::Whole(placed) => {
                self.publish(batch, placed, true);
                self.recover();
            }
            Written::Unsynced(placed, error) => {
                self.begin_episode("sync", &error);
                self.publish(batch, placed, false);
            }
            Written::Not(error) => {
                self.begin_episode("write", &error);
                self.fail(batch);
            }
        }
    }

    fn write(&mut self, batch: &mut [Message]) -> Written {
        if let Err(error) = self.parts.events.make_room().and_then(|()| self.parts.decisions.make_room()) {
            return Written::Not(error);
        }
        let events: Vec<&[u8]> = batch.iter().flat_map(Message::event_payloads).collect();
        if !events.is_empty()
            && let Err(error) = self.parts.events.append(&events)
        {
            return Written::Not(error);
        }
        let mut synced = Ok(());
        if self.durability == Durability::Disk {
            synced = sync_surely(&mut self.parts.events, None);
        }
        let has_begun = self.parts.decisions.take_begun();
        let leading = self.lead(batch, has_begun);
        let payloads: Vec<&[u8]> =
            leading.iter().map(Vec::as_slice).chain(batch.iter().flat_map(Message::ledger_payloads)).collect();
        if payloads.is_empty() {
            return synced.map_or_else(|error| Written::Unsynced(Vec::new(), error), |()| Written::Whole(Vec::new()));
        }
        let mut placed = match self.parts.decisions.append(&payloads) {
            Ok(placed) => placed,
            Err(error) => {
                self.parts.positions.discard();
                self.parts.decisions.put_begun_back(has_begun);
                return Written::Not(error);
            }
        };
        self.parts.positions.keep();
        placed.drain(..leading.len());
        if self.durability == Durability::Disk && synced.is_ok() {
            synced = sync_surely(&mut self.parts.decisions, Some((&self.parts.ledger, &mut placed)));
        }
        match synced {
            Ok(()) => Written::Whole(placed),
            Err(error) => Written::Unsynced(placed, error),
        }
    }

    /// Makes what must come before a group in the ledger: positions where a segment begins, releases that it
    /// lacks. Names the releases and positions in the group itself.
    fn lead(&mut self, batch: &mut [Message], has_begun: bool) -> Vec<Vec<u8>> {
        let mut leading = self.releases.name(batch, &self.parts.decisions);
        let events = self.parts.events.next();
        if has_begun {
            leading.extend(self.parts.positions.whole(events));
        }
        for message in batch {
            if let Message::Group(group) = message {
                group.positions = self.parts.positions.stage(group, events);
            }
        }
        leading
    }

    /// Makes a written group visible and answers it.
    fn publish(&mut self, batch: &mut Vec<Message>, placed: Vec<Placed>, is_whole: bool) {
        let mut placed = placed.into_iter();
        let replaying = self.parts.gate.is_replaying();
        for message in batch.drain(..) {
            match message {
                Message::Event(_) => {}
                Message::Decided(decided) => {
                    let Some(Placed { sequence, place }) = placed.next() else { continue };
                    if decided.deferred && !replaying {
                        self.parts.entities.absorb(&decided.record.transaction);
                    }
                    decided.record.cursor.set(sequence);
                    self.parts.ledger.publish(decided.key, &decided.record, Some(place));
                    self.answer(*decided, is_whole);
                }
                Message::Labels { deferred, reply, .. } => {
                    for label in deferred.iter().filter(|_| !replaying) {
                        self.parts.entities.label(label);
                    }
                    let _gone = reply.map(|reply| reply.send(is_whole || self.on_failure == OnFailure::Answer));
                }
                Message::Group(group) => self.publish_group(&group, &mut placed, replaying),
            }
        }
    }

    /// Makes what the stream left visible where it is written now.
    fn publish_group(&self, group: &Group, placed: &mut impl Iterator<Item = Placed>, replaying: bool) {
        for record in group.deferred.iter().filter(|_| !replaying) {
            self.parts.entities.absorb(&record.transaction);
        }
        for (key, record) in &group.decided {
            let Some(Placed { sequence, place }) = placed.next() else { return };
            record.cursor.set(sequence);
            self.parts.ledger.publish(*key, record, Some(place));
        }
        for key in &group.known {
            let Some(Placed { place, .. }) = placed.next() else { return };
            self.parts.ledger.publish_known(*key, place);
        }
        let rest = group.confirmed.len() + usize::from(!group.positions.is_empty());
        placed.take(rest).for_each(drop);
    }

    fn answer(&self, decided: Decided, is_whole: bool) {
        let Some(reply) = decided.reply else { return };
        // Nobody listens when the request was given up meanwhile; the record stands.
        let _gone = reply.send(match (is_whole, self.on_failure) {
            (true, _) => Settled::Kept(decided.record),
            (false, OnFailure::Answer) => Settled::Kept(Arc::new(decided.record.with(DegradedReason::NotRecorded))),
            (false, OnFailure::Refuse) => Settled::NotRecorded,
        });
    }

    /// Answers a group that could not be written, and keeps it for later where it was answered.
    fn fail(&mut self, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            match (message, self.on_failure) {
                (Message::Decided(decided), OnFailure::Refuse) => {
                    self.parts.ledger.give_up(decided.key);
                    self.answer(*decided, false);
                }
                (Message::Labels { reply, .. }, OnFailure::Refuse) => {
                    let _gone = reply.map(|reply| reply.send(false));
                }
                (Message::Decided(mut decided), OnFailure::Answer) => {
                    if std::mem::take(&mut decided.deferred) {
                        self.parts.entities.absorb(&decided.record.transaction);
                    }
                    // What was answered is what is kept: with its flag.
                    let record = Arc::new(decided.record.with(DegradedReason::NotRecorded));
                    decided.payload.clear();
                    encoding::put_record(&mut decided.payload, &record);
                    decided.record = Arc::clone(&record);
                    self.parts.ledger.publish(decided.key, &record, None);
                    let _gone = decided.reply.take().map(|reply| reply.send(Settled::Kept(record)));
                    self.hold(Message::Decided(decided));
                }
                (Message::Labels { payloads, deferred, reply }, OnFailure::Answer) => {
                    for label in &deferred {
                        self.parts.entities.label(label);
                    }
                    let _gone = reply.map(|reply| reply.send(true));
                    self.hold(Message::Labels { payloads, deferred: Vec::new(), reply: None });
                }
                (Message::Event(payload), _) => self.hold(Message::Event(payload)),
                (Message::Group(mut group), _) => {
                    // Its transaction is committed: it stands, whatever the settings say of failures.
                    for record in std::mem::take(&mut group.deferred) {
                        self.parts.entities.absorb(&record.transaction);
                    }
                    self.hold(Message::Group(group));
                }
            }
        }
    }

    /// Keeps a message until the disk is back; beyond the bound the oldest is lost, and counted.
    fn hold(&mut self, message: Message) {
        self.pending_bytes += message.bytes();
        self.pending.push_back(message);
        let mut lost = 0;
        while self.pending_bytes > PENDING_BYTES_MAX {
            let Some(oldest) = self.pending.pop_front() else { break };
            self.pending_bytes -= oldest.bytes();
            lost += self.lose(oldest);
        }
        if lost > 0 {
            StoreLost { count: lost }.emit();
            self.episode.iter_mut().for_each(|episode| episode.lost += lost);
        }
    }

    /// Gives a message up, and returns how many records that are.
    fn lose(&self, message: Message) -> u64 {
        match message {
            Message::Decided(decided) => self.parts.ledger.lose(decided.key),
            // Its positions are not written either: a restart finds the gap and asks the changelog.
            Message::Group(group) => {
                group.decided.iter().for_each(|(key, _)| self.parts.ledger.lose(*key));
                return group.frames() as u64;
            }
            Message::Event(_) | Message::Labels { .. } => {}
        }
        1
    }

    /// Writes what waits from a failure, in order, as long as it goes well.
    fn retry(&mut self) {
        let mut wrote = false;
        while !self.pending.is_empty() {
            if self.episode.as_ref().is_some_and(|episode| !episode.retry_at.has_passed()) {
                return;
            }
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while bytes < RETRY_BYTES_MAX
                && let Some(message) = self.pending.pop_front()
            {
                bytes += message.bytes();
                batch.push(message);
            }
            match self.write(&mut batch) {
                Written::Whole(placed) => {
                    self.pending_bytes -= bytes;
                    self.publish(&mut batch, placed, true);
                    wrote = true;
                }
                Written::Unsynced(placed, error) => {
                    self.pending_bytes -= bytes;
                    self.publish(&mut batch, placed, false);
                    return self.begin_episode("sync", &error);
                }
                Written::Not(error) => {
                    batch.into_iter().rev().for_each(|message| self.pending.push_front(message));
                    return self.begin_episode("write", &error);
                }
            }
        }
        let is_over = self.episode.as_ref().is_some_and(|episode| {
            // Nothing waits, so nothing was tried: a full disk would look mended.
            episode.retry_at.has_passed() && (wrote || !episode.needs_write)
        });
        if is_over && self.parts.events.is_well() && self.parts.decisions.is_well() {
            self.recover();
        }
    }

    /// Writes anew what a sync behind our back failed to keep.
    fn mend(&mut self) {
        if self.episode.as_ref().is_some_and(|episode| !episode.retry_at.has_passed()) {
            return;
        }
        let events = mend(&mut self.parts.events, None);
        let decisions = mend(&mut self.parts.decisions, Some(&self.parts.ledger));
        for (told, outcome) in [events, decisions].into_iter().flatten() {
            self.begin_episode("sync", &told);
            match outcome {
                // All is in a new file, which the next sync will tell about.
                Ok(()) => {}
                Err(error) => self.begin_episode("write", &error),
            }
        }
    }

    fn begin_episode(&mut self, operation: &'static str, error: &io::Error) {
        let pause = self.episode.as_ref().map_or(PAUSE_MIN, |episode| (episode.pause * 2).min(PAUSE_MAX));
        let retry_at = Moment::now().after(pause);
        StoreFailed { operation, error, is_first: self.episode.is_none() }.emit();
        let needs_write = operation == "write";
        let fresh = || Episode { began: Moment::now(), retry_at, pause, lost: 0, needs_write };
        let episode = self.episode.get_or_insert_with(fresh);
        (episode.retry_at, episode.pause) = (retry_at, pause);
        episode.needs_write |= needs_write;
    }

    fn recover(&mut self) {
        if let Some(episode) = self.episode.take() {
            StoreRecovered { after: episode.began.elapsed(), lost: episode.lost }.emit();
        }
    }

    /// Syncs and closes both logs; what still waits gets a last chance.
    fn finish(&mut self) {
        self.episode.iter_mut().for_each(|episode| episode.retry_at = Moment::now());
        self.mend();
        self.retry();
        if !self.pending.is_empty() {
            StoreLost { count: self.pending.len() as u64 }.emit();
        }
        for appender in [&mut self.parts.events, &mut self.parts.decisions] {
            if let Err(error) = appender.close() {
                StoreFailed { operation: "sync", error: &error, is_first: true }.emit();
            }
        }
    }
}

/// Syncs; when that fails writes all that was not synced into a new file and syncs that.
fn sync_surely(appender: &mut Appender, moved: Option<(&Ledger, &mut Vec<Placed>)>) -> io::Result<()> {
    let Err(error) = appender.sync() else { return Ok(()) };
    let (ledger, placed) = moved.unzip();
    let mut places = Vec::new();
    let anew = appender.write_anew(&mut |payload, place| {
        places.push(place);
        relocate(ledger, payload, place);
    });
    if let Some(placed) = placed {
        let fresh = places.len().saturating_sub(placed.len());
        for (placed, place) in placed.iter_mut().zip(places.iter().skip(fresh)) {
            placed.place = *place;
        }
    }
    anew.and_then(|()| appender.sync()).map_err(|again| {
        // Still to be done: the next attempt must find it so.
        appender.fail_sync(again);
        error
    })
}

/// Points a kept decision to where it is now, before the file it was in goes.
fn relocate(ledger: Option<&Ledger>, payload: &[u8], place: super::Place) {
    let id = encoding::note(payload).filter(|note| note.tag.is_id());
    if let Some((ledger, note)) = ledger.zip(id) {
        ledger.relocate(note.hash, place);
    }
}

type Mended = Option<(io::Error, io::Result<()>)>;

fn mend(appender: &mut Appender, ledger: Option<&Ledger>) -> Mended {
    let failed = appender.failed_sync()?;
    let anew = appender.write_anew(&mut |payload, place| relocate(ledger, payload, place));
    if anew.is_err() {
        // Still to be done: the next attempt must find it so.
        appender.fail_sync(io::Error::new(failed.kind(), failed.to_string()));
    }
    Some((failed, anew))
}

//! State that survives: a journal of events and a ledger of decisions on disk, written by one thread.
//!
//! ```text
//! request ─ encode ─> queue (bounded) ─> writer: all that is queued ─> events/ ─> ledger/ ─> answers, one go
//!                                           └ keeper: sync every 50 ms, seal, let go what is too old
//! start:  ledger indexes ─> answers of all kept ids   events/ replayed ─> entity state    meanwhile: rules
//! ```
//! Append-only files and an index in memory ("Bitcask", Sheehy and Smith, 2010): nothing is ever
//! rewritten or merged, so there is no compaction to wait for. Within a group events come first: a crash
//! between the two leaves an event without an answer, the same as a request that was given up. What the
//! stream leaves is one group of the same kinds, with the positions of its partitions last: `positions.rs`.
//! `docs/state.md` tells operators the same at length.

mod append;
mod encoding;
mod error;
mod export;
mod frame;
mod gate;
mod keeper;
mod lists;
mod log;
mod packing;
mod positions;
mod queue;
mod readers;
mod releases;
mod repair;
mod restore;
#[cfg(test)]
pub(crate) mod samples;
mod sealed;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

pub use error::{Damage, Error};
pub use export::{Exported, read_decisions, read_labels};
pub use gate::Gate;
pub use lists::ListsFile;
pub use log::Recovered;
pub use repair::{CheckReport, LogReport, check, repair};
pub use restore::{RestoreProgress, Restored};
pub use sealed::{read_record, seal_record};
pub(in crate::runtime) use segment::write_whole;

pub(crate) use encoding::{Event as StoredEvent, event as read_event};
pub(crate) use encoding::{id_hash, id_key, put_confirmed, put_known, put_label, put_record, put_transaction};
pub(crate) use queue::{Decided, Group, Message, Queue};

use crate::domain::Span;
use crate::runtime::clock::Clock;
use crate::runtime::decisions::{Ledger, Recalled, Record};
use crate::runtime::entities::Entities;
use crate::runtime::stream::position::Position;
use crate::tasks::Shutdown;
use append::Appender;
use log::Log;
use readers::Readers;

/// The newest format version that is read, and what segments have once a stream is on.
pub const FORMAT_VERSION: u16 = 2;
/// The oldest format version that is read, and what segments have without a stream.
pub const FORMAT_VERSION_MIN: u16 = 1;
/// Messages that may wait for the writer; far above the requests that may run at once.
const QUEUE_LEN_MAX: usize = 65_536;
/// Bytes of records that wait for a disk that does not take them.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// When an answer may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The record is in the operating system's hands: it survives the process, and is synced soon after.
    Process,
    /// The record is synced: it survives the machine.
    Disk,
}

/// What to do when a decision cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Answer, and say `not_recorded`.
    Answer,
    /// Do not answer: 503.
    Refuse,
}

/// How state is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory; one process at a time.
    pub directory: PathBuf,
    /// When an answer may go out.
    pub durability: Durability,
    /// What to do when a decision cannot be recorded.
    pub on_failure: OnFailure,
    /// Bytes of the ledger on disk; beyond it the oldest segment goes.
    pub bytes_max: u64,
    /// How long decisions are kept, by receipt time.
    pub age_max: Span,
    /// How far back events are kept at least, by event time, though no window reaches there: labels to learn from.
    pub events_age_min: Span,
    /// About how long a segment gets, in bytes: 64 KiB to 1 GiB.
    pub segment_len_max: u64,
    /// How often written bytes are synced.
    pub sync_interval: Duration,
}

/// Which log a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Transactions and labels, for entity state.
    Events = 1,
    /// Decisions with all they followed from.
    Ledger = 2,
}

/// Where a record lies: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// A store that is open and not yet written to.
pub struct Store {
    options: Options,
    events: Arc<Log>,
    ledger: Arc<Log>,
    queue: Arc<Queue>,
    gate: Arc<Gate>,
    readers: Arc<Readers>,
    recovered: Recovered,
    /// Held for its life: another process is refused.
    lock: File,
    disk: append::Disk,
    positions: positions::ByPartition,
    version: u16,
}

/// What the ledger needs of a store.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) queue: Arc<Queue>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) on_failure: OnFailure,
    pub(crate) readers: Arc<Readers>,
    log: Arc<Log>,
    events: Arc<Log>,
}

impl Shelf {
    /// Reads what lies at a place; `None` when it was let go. Blocks.
    pub(crate) fn recall(&self, place: Place) -> Result<Option<Recalled>, Error> {
        self.log.recall(place)
    }

    /// Hears of every decision of the REST door after a cursor, with its cursor and hash, and of every one
    /// that was published (`true`), in order. Blocks.
    pub(crate) fn doors(&self, cursor: u64, hear: &mut dyn FnMut(u64, u64, bool)) -> Result<(), Error> {
        for segment in self.log.segments().iter().filter(|segment| segment.next() > cursor) {
            let index = segment.entries()?;
            for (sequence, entry) in (index.first..).zip(&index.entries).filter(|(sequence, _)| *sequence > cursor) {
                match entry.tag {
                    encoding::Tag::Decision => hear(sequence, entry.hash, false),
                    encoding::Tag::Confirmed => hear(sequence, entry.hash, true),
                    encoding::Tag::Transaction
                    | encoding::Tag::Label
                    | encoding::Tag::Release
                    | encoding::Tag::Streamed
                    | encoding::Tag::Known
                    | encoding::Tag::Positions => {}
                }
            }
        }
        Ok(())
    }

    /// Reads records after a cursor in order until `take` has enough. Blocks.
    pub(crate) fn after(&self, cursor: u64, take: &mut dyn FnMut(Record) -> bool) -> Result<(), Error> {
        for segment in self.log.segments().iter().filter(|segment| segment.next() > cursor) {
            let index = segment.entries()?;
            for entry in log::entries_from(&index, cursor + 1) {
                if entry.tag.is_decision() && !take(self.log.record_of(segment, entry.offset)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Returns the sequence of the oldest frame kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.log.segments().first().map_or(1, |segment| segment.header.first)
    }

    /// Returns how many bytes the ledger and the event log take on disk.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.log.bytes(), self.events.bytes())
    }
}

impl Store {
    /// Opens a store, or makes one, and mends what a crash may leave. `kept` hears the hash and place of
    /// every decision, oldest first.
    ///
    /// # Errors
    /// [`Error`]; nothing is wiped, and a store that cannot be read whole is left as it is.
    pub fn open(options: Options) -> Result<(Self, Vec<KeptId>), Error> {
        let directory = &options.directory;
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let lock = lock(directory)?;
        let mut kept = Vec::new();
        let (ledger, ledger_recovered) = Log::open(&directory.join("ledger"), Kind::Ledger, &mut |segment, index| {
            kept.extend(index.ids().map(|entry| KeptId {
                hash: entry.hash,
                place: Place { segment: segment.ordinal, offset: entry.offset },
            }));
        })?;
        let (events, events_recovered) = Log::open(&directory.join("events"), Kind::Events, &mut |_, _| {})?;
        let recovered = Recovered {
            cut_bytes: ledger_recovered.cut_bytes + events_recovered.cut_bytes,
            rebuilt: ledger_recovered.rebuilt + events_recovered.rebuilt,
        };
        let positions = positions::find(&ledger, events.next())?;
        let readers = Readers::start().map_err(Error::io("start a thread for", &options.directory))?;
        let store = Self {
            readers: Arc::new(readers),
            options,
            events: Arc::new(events),
            ledger: Arc::new(ledger),
            queue: Arc::new(Queue::new(QUEUE_LEN_MAX)),
            gate: Arc::new(Gate::replaying()),
            recovered,
            lock,
            disk: append::Disk::default(),
            positions,
            version: FORMAT_VERSION_MIN,
        };
        Ok((store, kept))
    }

    /// Lets the store take what a stream leaves: from now on it is read by this version of fraudd and later ones.
    #[must_use]
    pub fn with_stream(self) -> Self {
        Self { version: FORMAT_VERSION, ..self }
    }

    /// Returns the directory the store is in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.options.directory
    }

    /// Returns the last position of every partition that this store holds state of: with a stream, the
    /// assignment that was known last.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<u32, Position> {
        self.positions.iter().filter_map(|(partition, position)| Some((*partition, (*position)?))).collect()
    }

    /// Returns the cursor after which decisions of the REST door are owed to the stream: as far as the
    /// ledger was when a stream was first on. Kept in the directory.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn stream_start(&self) -> Result<u64, Error> {
        let path = self.options.directory.join("stream.json");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let start: StreamStart =
                    serde_json::from_str(&text).map_err(|error| Error::io("understand", &path)(error.into()))?;
                Ok(start.first_cursor)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let first_cursor = self.ledger.next() - 1;
                let text = serde_json::json!({ "first_cursor": first_cursor }).to_string();
                segment::write_whole(&path, text.as_bytes()).map_err(Error::io("write", &path))?;
                Ok(first_cursor)
            }
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Takes another way to sync, for tests of disks that fail.
    #[cfg(test)]
    pub(super) fn with_sync(self, sync: append::Sync) -> Self {
        Self { disk: append::Disk { sync, ..self.disk }, ..self }
    }

    pub(crate) fn shelf(&self) -> Shelf {
        let (log, events) = (Arc::clone(&self.ledger), Arc::clone(&self.events));
        let (queue, gate) = (Arc::clone(&self.queue), Arc::clone(&self.gate));
        let readers = Arc::clone(&self.readers);
        Shelf { queue, gate, on_failure: self.options.on_failure, readers, log, events }
    }

    /// Returns the gate that tells how far restoring is.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Returns what opening mended.
    #[must_use]
    pub const fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Tells whether no event is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.segments().is_empty()
    }

    /// Returns the file that list entries of the API are kept in.
    #[must_use]
    pub fn lists_file(&self) -> ListsFile {
        ListsFile::new(self.options.directory.join("lists.json"))
    }

    /// Starts the writer and the keeper. `shutdown` is asked when one of them dies.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn start(self, ledger: &Arc<Ledger>, entities: &Arc<Entities>, shutdown: &Shutdown) -> Result<Running, Error> {
        let clock = Clock::system();
        let Options { segment_len_max, age_max, bytes_max, events_age_min, .. } = self.options;
        let appender = |log: &Arc<Log>| {
            Appender::new(Arc::clone(log), segment_len_max, self.disk, clock.clone()).with_version(self.version)
        };
        let (events, decisions) = (appender(&self.events), appender(&self.ledger));
        let keeper = keeper::Keeper {
            logs: [&events, &decisions].map(keeper::Kept::of),
            ledger: Arc::clone(ledger),
            entities: Arc::clone(entities),
            gate: Arc::clone(&self.gate),
            queue: Arc::clone(&self.queue),
            clock,
            limits: keeper::Limits { age_max, bytes_max, events_age_min, interval: self.options.sync_interval },
            sync: self.disk.sync,
        };
        let writer = writer::Writer::new(
            writer::Parts {
                queue: Arc::clone(&self.queue),
                events,
                decisions,
                ledger: Arc::clone(ledger),
                entities: Arc::clone(entities),
                gate: Arc::clone(&self.gate),
                positions: positions::Positions::new(self.positions.clone()),
            },
            (self.options.durability, self.options.on_failure),
        );
        let stop = Arc::new(keeper::Stop::default());
        let failed = || Error::io("start a thread for", &self.options.directory);
        let keeper = keeper.start(Arc::clone(&stop), shutdown.clone()).map_err(failed())?;
        let writer = writer.start(shutdown.clone()).map_err(failed())?;
        let released = self.positions.iter().filter(|(_, position)| position.is_none());
        Ok(Running {
            released: released.map(|(partition, _)| *partition).collect(),
            queue: self.queue,
            events: self.events,
            entities: Arc::clone(entities),
            gate: self.gate,
            threads: Mutex::new(Some((writer, keeper, stop))),
            lock: self.lock,
        })
    }
}

/// A decision that is kept: hash of its id, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptId {
    pub(crate) hash: u64,
    pub(crate) place: Place,
}

#[derive(Deserialize)]
struct StreamStart {
    first_cursor: u64,
}

type Threads = (JoinHandle<()>, JoinHandle<()>, Arc<keeper::Stop>);

/// A store that is written to, until it is closed.
pub struct Running {
    /// Partitions that were let go: what the event log has of them is not state any more.
    released: Vec<u32>,
    queue: Arc<Queue>,
    events: Arc<Log>,
    entities: Arc<Entities>,
    gate: Arc<Gate>,
    threads: Mutex<Option<Threads>>,
    #[expect(dead_code, reason = "held for its drop")]
    lock: File,
}

impl Running {
    /// Replays the event log into entity state, then opens the gate. Blocks; `tell` hears how far it is
    /// and says whether to go on: `None` when it did not.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the log cannot be read: state would be wrong, so the gate stays shut.
    pub fn restore(&self, tell: &dyn Fn(RestoreProgress) -> bool) -> Result<Option<Restored>, Error> {
        let parts = (&*self.entities, self.released.as_slice());
        restore::restore(&self.events, parts, &self.gate, tell)
    }

    /// Writes what is queued, syncs, seals and ends. Blocks; closing twice is the same as once.
    pub fn close(&self) {
        self.queue.close();
        if let Some((writer, keeper, stop)) = self.threads.lock().take() {
            // A thread that panicked has told so; there is nothing more to end.
            let _ = writer.join();
            stop.ask();
            let _ = keeper.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
    }
}

/// Locks a directory for this process.
fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("LOCK");
    let file = File::options().create(true).write(true).truncate(false).open(&path);
    let file = file.map_err(Error::io("open for writing", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: directory.into() }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

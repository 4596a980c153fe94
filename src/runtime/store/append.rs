//! The end of a log that is written to: groups of frames go in whole or not at all.
//!
//! ```text
//! append(group) ─> one write at the known end ─┬ ok: index grows, bytes kept until they are synced
//!                                              └ error: cut back to the last whole frame, the group is not in
//! sync fails ─> a new segment, everything not yet synced written again, the old file cut
//! ```
//! After a failed sync the page cache may have dropped what it could not write and call itself clean; a
//! second sync that succeeds proves nothing (Rebello and others, "Can Applications Recover from fsync
//! Failures?", 2020). So the bytes are kept here until a sync succeeded and go to a new file when one did not.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::frame::{self, Found};
use super::log::{Log, Segment};
use super::segment::{self, HEADER_LEN, Header, Index};
use super::{FORMAT_VERSION_MIN, Place};
use crate::runtime::clock::{Clock, Moment};
use crate::telemetry::events::{StoreSynced, StoreWrote};

/// Bytes that may wait for a sync; beyond it the writer syncs itself and its callers wait.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
/// A segment that is full is closed when this little waits for a sync, so that closing it is quick.
const ROLL_UNSYNCED_MAX: u64 = 256 << 10;

/// How a file is synced; tests give one that fails.
pub(super) type Sync = fn(&File) -> io::Result<()>;

/// How far the file being written to is synced: the writer writes, the keeper syncs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) file: Option<Arc<File>>,
    pub(super) ordinal: u32,
    pub(super) written: u64,
    pub(super) synced: u64,
    pub(super) failed: Option<io::Error>,
}

/// Syncs what was written so far, without holding up the writer. Returns whether all is well.
pub(super) fn sync_behind(progress: &Mutex<Progress>, sync: Sync) -> bool {
    let (file, ordinal, written) = {
        let progress = progress.lock();
        match &progress.file {
            Some(file) if progress.written > progress.synced && progress.failed.is_none() => {
                (Arc::clone(file), progress.ordinal, progress.written)
            }
            Some(_) | None => return progress.failed.is_none(),
        }
    };
    let started = Moment::now();
    let synced = sync(&file);
    StoreSynced { took: started.elapsed() }.emit();
    let mut progress = progress.lock();
    if progress.ordinal == ordinal {
        match synced {
            Ok(()) => progress.synced = progress.synced.max(written),
            Err(error) => progress.failed = Some(error),
        }
    }
    progress.failed.is_none()
}

struct Unsynced {
    /// Where its last frame ends.
    end: u64,
    frames: Vec<u8>,
}

struct Active {
    segment: Arc<Segment>,
    file: Arc<File>,
    len: u64,
    unsynced: VecDeque<Unsynced>,
}

/// Appends to a log. Owned by the writer.
pub(super) struct Appender {
    pub(super) log: Arc<Log>,
    pub(super) progress: Arc<Mutex<Progress>>,
    active: Option<Active>,
    next: u64,
    /// Segments that are full, for the keeper to seal.
    pub(super) full: Arc<Mutex<VecDeque<Arc<Segment>>>>,
    segment_len_max: u64,
    sync: Sync,
    clock: Clock,
    /// What new segments say of themselves.
    version: u16,
    /// Whether a segment was begun since somebody asked.
    has_begun: bool,
}

/// Where a frame went.
pub(super) struct Placed {
    pub(super) sequence: u64,
    pub(super) place: Place,
}

impl Appender {
    pub(super) fn new(log: Arc<Log>, segment_len_max: u64, sync: Sync, clock: Clock) -> Self {
        let next = log.next();
        let (progress, full) = (Arc::default(), Arc::default());
        Self {
            log,
            progress,
            active: None,
            next,
            full,
            segment_len_max,
            sync,
            clock,
            version: FORMAT_VERSION_MIN,
            has_begun: false,
        }
    }

    /// Lets new segments have another format version.
    pub(super) fn with_version(self, version: u16) -> Self {
        Self { version, ..self }
    }

    /// Returns the sequence of the next frame.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Tells whether a segment was begun since this was asked last.
    pub(super) fn take_begun(&mut self) -> bool {
        std::mem::take(&mut self.has_begun)
    }

    /// Leaves it to be asked again: what it was asked for was not written.
    pub(super) fn put_begun_back(&mut self, has_begun: bool) {
        self.has_begun |= has_begun;
    }

    /// Makes sure that there is a segment with room. Call it before the payloads of a group are made.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        self.drop_synced();
        if let Some(active) = &self.active {
            let unsynced = active.len - self.progress.lock().synced;
            let is_full = active.len >= self.segment_len_max
                && (unsynced <= ROLL_UNSYNCED_MAX || active.len >= self.segment_len_max / 2 * 3);
            if is_full {
                self.close()?;
            } else if unsynced > UNSYNCED_BYTES_MAX {
                self.sync()?;
            }
        }
        if self.active.is_none() {
            self.begin(self.next)?;
        }
        Ok(())
    }

    /// Tells whether the current segment has a release.
    pub(super) fn has_release(&self, key: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.segment.has_release(key))
    }

    /// Writes payloads as frames, all or none.
    pub(super) fn append(&mut self, payloads: &[&[u8]]) -> io::Result<Vec<Placed>> {
        let Some(active) = &mut self.active else { return Err(io::ErrorKind::NotFound.into()) };
        let mut frames = Vec::with_capacity(payloads.iter().map(|payload| payload.len() + frame::HEAD_LEN).sum());
        let mut placed = Vec::with_capacity(payloads.len());
        for (sequence, payload) in (self.next..).zip(payloads) {
            let offset = u32::try_from(active.len + frames.len() as u64).unwrap_or(u32::MAX);
            placed.push(Placed { sequence, place: Place { segment: active.segment.ordinal, offset } });
            frame::put(&mut frames, active.segment.header.salt, sequence, payload);
        }
        let started = Moment::now();
        if let Err(error) = active.file.write_all_at(&frames, active.len) {
            // What got through is no group: it must not be read as one.
            let is_mended = active.file.set_len(active.len).is_ok();
            if !is_mended && let Some(left) = self.active.take() {
                // The file cannot be mended now: a new segment takes over, and the keeper cuts this one.
                self.full.lock().push_back(left.segment);
            }
            return Err(error);
        }
        StoreWrote { took: started.elapsed(), frames: payloads.len(), bytes: frames.len() }.emit();
        active.segment.grow(|index| add_all(index, payloads));
        active.len += frames.len() as u64;
        self.next += payloads.len() as u64;
        self.progress.lock().written = active.len;
        active.unsynced.push_back(Unsynced { end: active.len, frames });
        Ok(placed)
    }

    /// Syncs everything written, here and now.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        sync_behind(&self.progress, self.sync);
        match self.progress.lock().failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Returns the error of a sync that failed behind the writer's back.
    pub(super) fn failed_sync(&mut self) -> Option<io::Error> {
        self.progress.lock().failed.take()
    }

    /// Leaves a failed sync to be mended later.
    pub(super) fn fail_sync(&mut self, error: io::Error) {
        self.progress.lock().failed = Some(error);
    }

    /// Tells whether no sync has failed since the last mending.
    pub(super) fn is_well(&self) -> bool {
        self.progress.lock().failed.is_none()
    }

    /// Writes all that was not synced into a new segment. `moved` hears of every frame that was.
    pub(super) fn write_anew(&mut self, moved: &mut dyn FnMut(&[u8], Place)) -> io::Result<()> {
        let Some(old) = self.active.take() else { return Ok(()) };
        let first = old.unsynced.front().map_or(self.next, |group| first_sequence(&old.segment, &group.frames));
        let keep_end = old.unsynced.front().map_or(old.len, |group| group.end - group.frames.len() as u64);
        let (segment, unsynced) = (Arc::clone(&old.segment), &old.unsynced);
        let groups: Vec<Vec<&[u8]>> =
            unsynced.iter().map(|group| payloads(&group.frames, segment.header.salt)).collect();
        let next = self.next;
        self.next = first;
        let written = self.begin(first).and_then(|()| {
            for group in &groups {
                for (payload, placed) in group.iter().zip(self.append(group)?) {
                    moved(payload, placed.place);
                }
            }
            Ok(())
        });
        if let Err(error) = written {
            // As before, but for the file that was begun: the next attempt starts from the same bytes.
            self.abandon();
            self.next = next;
            self.active = Some(old);
            return Err(error);
        }
        segment.grow(|index| index.end_before(first));
        // Best effort: a later segment with the same sequences supersedes what stays.
        let _ = old.file.set_len(keep_end);
        if segment.next() == segment.header.first {
            self.log.remove(segment.ordinal);
        } else {
            self.full.lock().push_back(segment);
        }
        Ok(())
    }

    /// Syncs and closes the current segment; the keeper seals it.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.sync()?;
        if let Some(active) = self.active.take() {
            self.full.lock().push_back(active.segment);
            *self.progress.lock() = Progress::default();
        }
        Ok(())
    }

    fn begin(&mut self, first: u64) -> io::Result<()> {
        let path = segment::path_of(&self.log.directory, first);
        let created = self.clock.now().micros();
        let salt = xxhash_rust::xxh3::xxh3_64_with_seed(&first.to_le_bytes(), created.cast_unsigned());
        let header = Header { version: self.version, kind: self.log.kind, first, salt, created, after_gap: false };
        // A file of this name holds no frame that counts: its first one is the one written now.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let made = file.write_all_at(&header.encode(), 0).and_then(|()| segment::sync_directory(&path));
        let reader = made.and_then(|()| File::open(&path)).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })?;
        let segment =
            self.log.add(|ordinal| Arc::new(Segment::new(ordinal, header, path.clone(), reader, Index::new(first))));
        let file = Arc::new(file);
        let written = HEADER_LEN as u64;
        *self.progress.lock() =
            Progress { file: Some(Arc::clone(&file)), ordinal: segment.ordinal, written, synced: 0, failed: None };
        self.active = Some(Active { segment, file, len: written, unsynced: VecDeque::new() });
        self.has_begun = true;
        Ok(())
    }

    fn abandon(&mut self) {
        if let Some(begun) = self.active.take() {
            self.log.remove(begun.segment.ordinal);
            let _ = std::fs::remove_file(&begun.segment.path);
        }
    }

    fn drop_synced(&mut self) {
        let synced = self.progress.lock().synced;
        if let Some(active) = &mut self.active {
            while active.unsynced.front().is_some_and(|group| group.end <= synced) {
                active.unsynced.pop_front();
            }
        }
    }
}

fn add_all(index: &mut Index, payloads: &[&[u8]]) {
    for payload in payloads {
        index.add(payload, payload.len() + frame::HEAD_LEN);
    }
}

fn payloads(frames: &[u8], salt: u64) -> Vec<&[u8]> {
    let (mut offset, mut found) = (0, Vec::new());
    while let Found::Whole(frame) = frame::at(frames, offset, salt) {
        found.push(frame.payload);
        offset = frame.end;
    }
    found
}

fn first_sequence(segment: &Segment, frames: &[u8]) -> u64 {
    match frame::at(frames, 0, segment.header.salt) {
        Found::Whole(frame) => frame.sequence,
        Found::End | Found::Damaged => segment.next(),
    }
}

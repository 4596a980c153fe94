//! A log: the segments of one directory, opened, checked and read.
//!
//! ```text
//! open: every segment but the newest   index beside it, else scanned; a damaged frame or a gap refuses the start
//!       the newest, unsealed           scanned; what is torn at its end is cut, counted and told; then sealed
//! ```
//! Where two segments have the same sequence the later one counts: it was written anew after a failed sync.
//! A log is shared: the appender adds segments, the keeper seals and lets go, readers look up.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::encoding::{self, Tag};
use super::error::{Damage, Error};
use super::frame::{self, Found, HEAD_LEN};
use super::segment::{self, Entry, HEADER_LEN, Header, Index};
use super::{Kind, Place};
use crate::domain::ReleaseFacts;
use crate::runtime::decisions::{Recalled, Record};
use crate::telemetry::events::{StoreIndexRebuilt, StoreTailCut};

/// The longest file that is looked at for having been only begun.
const STILLBORN_LEN_MAX: u64 = 64 << 10;

/// One file of a log, open for reading.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) ordinal: u32,
    pub(super) header: Header,
    pub(super) path: PathBuf,
    file: File,
    /// All entries while it is written to; only the numbers once it is sealed.
    pub(super) index: RwLock<Index>,
    pub(super) sealed: AtomicBool,
    /// The sequence behind the last frame.
    next: std::sync::atomic::AtomicU64,
    /// Where releases lie, and those that were read.
    places_of_releases: RwLock<HashMap<u64, u32>>,
    releases: Mutex<HashMap<u64, Arc<ReleaseFacts>>>,
}

impl Segment {
    pub(super) fn new(ordinal: u32, header: Header, path: PathBuf, file: File, index: Index) -> Self {
        let releases = index.tagged(Tag::Release).map(|(_, entry)| (entry.hash, entry.offset)).collect();
        Self {
            ordinal,
            header,
            path,
            file,
            sealed: AtomicBool::new(false),
            next: index.next().into(),
            index: RwLock::new(index),
            places_of_releases: RwLock::new(releases),
            releases: Mutex::default(),
        }
    }

    /// Takes note of frames that were written.
    pub(super) fn grow(&self, add: impl FnOnce(&mut Index)) {
        let mut index = self.index.write();
        let before = index.entries.len();
        add(&mut index);
        let fresh = index.entries.get(before..).unwrap_or_default();
        let releases = fresh.iter().filter(|entry| entry.tag == Tag::Release);
        self.places_of_releases.write().extend(releases.map(|entry| (entry.hash, entry.offset)));
        self.next.store(index.next(), Ordering::Release);
    }

    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    pub(super) fn has_release(&self, key: u64) -> bool {
        self.places_of_releases.read().contains_key(&key)
    }

    /// Forgets the entries of a sealed segment: they are in its index file.
    pub(super) fn seal(&self) {
        let mut index = self.index.write();
        self.sealed.store(true, Ordering::Release);
        index.entries = Vec::new();
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Returns bytes, newest and oldest time.
    pub(super) fn numbers(&self) -> (u64, i64, i64) {
        let index = self.index.read();
        (index.end, index.newest, index.oldest)
    }

    /// Returns every entry, from memory or from the index file.
    pub(super) fn entries(&self) -> Result<Index, Error> {
        {
            let index = self.index.read();
            if !self.is_sealed() {
                return Ok(index.clone());
            }
        }
        let mut index = load_index(&self.path, &self.header)?;
        index.end_before(self.next());
        Ok(index)
    }

    /// Reads the frame at an offset.
    pub(super) fn read(&self, offset: u32) -> Result<(u64, Vec<u8>), Error> {
        let read = |bytes: &mut [u8], at: u64| {
            self.file.read_exact_at(bytes, at).map_err(Error::io("read a record of", &self.path))
        };
        let mut bytes = vec![0; HEAD_LEN];
        read(&mut bytes, offset.into())?;
        let damaged = || {
            let before = self.index.read().entries.iter().take_while(|entry| entry.offset < offset).count() as u64;
            Error::Damaged(Damage { path: self.path.clone(), offset: offset.into(), before, after: 0 })
        };
        let len = frame::payload_len(&bytes).ok_or_else(damaged)?;
        bytes.resize(HEAD_LEN + len, 0);
        read(&mut bytes[HEAD_LEN..], u64::from(offset) + HEAD_LEN as u64)?;
        match frame::at(&bytes, 0, self.header.salt) {
            Found::Whole(frame) => {
                let sequence = frame.sequence;
                bytes.drain(..HEAD_LEN);
                Ok((sequence, bytes))
            }
            Found::End | Found::Damaged => Err(damaged()),
        }
    }

    /// Says that what lies at an offset is not what must be there.
    pub(super) fn damaged(&self, offset: u32) -> Error {
        Error::Damaged(Damage { path: self.path.clone(), offset: offset.into(), before: 0, after: 0 })
    }

    /// Reads the whole file, by its handle: its name may be that of what was written anew by now.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Error> {
        let failed = || Error::io("read", &self.path);
        let len = self.file.metadata().map_err(failed())?.len();
        let (mut bytes, mut read) = (vec![0; usize::try_from(len).unwrap_or(usize::MAX)], 0);
        while read < bytes.len() {
            match self.file.read_at(&mut bytes[read..], read as u64).map_err(failed())? {
                // Cut meanwhile: what is gone is in a later segment.
                0 => bytes.truncate(read),
                more => read += more,
            }
        }
        Ok(bytes)
    }

    fn release(&self, key: u64) -> Option<Arc<ReleaseFacts>> {
        if let Some(known) = self.releases.lock().get(&key) {
            return Some(Arc::clone(known));
        }
        let offset = self.places_of_releases.read().get(&key).copied()?;
        let (_, payload) = self.read(offset).ok()?;
        let facts = Arc::new(encoding::release(&payload)?);
        self.releases.lock().insert(key, Arc::clone(&facts));
        Some(facts)
    }
}

/// The segments of one directory, in order.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) directory: PathBuf,
    pub(super) kind: Kind,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
}

/// What opening found beside the segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// Indexes that were missing or damaged and made again.
    pub rebuilt: u64,
}

impl Log {
    /// Opens a log and mends what a crash may leave. `visit` hears every segment with its entries, in order.
    ///
    /// # Errors
    /// Everything that is not the torn end of the newest segment.
    pub(super) fn open(
        directory: &Path,
        kind: Kind,
        visit: &mut dyn FnMut(&Arc<Segment>, &Index),
    ) -> Result<(Self, Recovered), Error> {
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        segment::clear_beside(directory).map_err(Error::io("clear", directory))?;
        let mut paths = segment::list(directory).map_err(Error::io("list", directory))?;
        let mut recovered = Recovered::default();
        while paths.last().is_some_and(|newest| is_stillborn(newest)) {
            // Made just before the crash: nothing was ever in it.
            let Some(newest) = paths.pop() else { break };
            let len = fs::metadata(&newest).map_or(0, |metadata| metadata.len());
            fs::remove_file(&newest).map_err(Error::io("remove", &newest))?;
            recovered.cut_bytes += len;
        }
        let headers = headers(&paths, kind)?;
        let log = Self { directory: directory.into(), kind, segments: RwLock::default() };
        for (place, (path, header)) in paths.iter().zip(&headers).enumerate() {
            let following = headers.get(place + 1);
            let index = Opening { path, header, following, recovered: &mut recovered }.index()?;
            let ordinal = u32::try_from(place).unwrap_or(u32::MAX);
            let file = File::open(path).map_err(Error::io("open", path))?;
            let segment = Arc::new(Segment::new(ordinal, *header, path.clone(), file, index));
            visit(&segment, &segment.index.read());
            segment.seal();
            log.segments.write().insert(ordinal, segment);
        }
        Ok((log, recovered))
    }

    pub(super) fn add(&self, make: impl FnOnce(u32) -> Arc<Segment>) -> Arc<Segment> {
        let mut segments = self.segments.write();
        let ordinal = segments.last_key_value().map_or(0, |(ordinal, _)| ordinal.wrapping_add(1));
        let segment = make(ordinal);
        segments.insert(ordinal, Arc::clone(&segment));
        segment
    }

    pub(super) fn remove(&self, ordinal: u32) {
        self.segments.write().remove(&ordinal);
    }

    pub(super) fn get(&self, ordinal: u32) -> Option<Arc<Segment>> {
        self.segments.read().get(&ordinal).cloned()
    }

    /// Returns every segment, oldest first.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().values().cloned().collect()
    }

    /// Returns the sequence of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.segments.read().values().last().map_or(1, |segment| segment.next())
    }

    /// Returns how many bytes the log takes on disk, without its indexes.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.read().values().map(|segment| segment.numbers().0).sum()
    }

    /// Reads what lies at a place; `None` when its segment has gone.
    pub(super) fn recall(&self, place: Place) -> Result<Option<Recalled>, Error> {
        let Some(segment) = self.get(place.segment) else { return Ok(None) };
        let (sequence, payload) = segment.read(place.offset)?;
        if let Some((key, payload_hash)) = encoding::known(&payload) {
            return Ok(Some(Recalled::Known { key, payload_hash }));
        }
        let record = self.decode(&segment, sequence, &payload);
        Ok(Some(Recalled::Decided(Arc::new(record.ok_or_else(|| segment.damaged(place.offset))?))))
    }

    /// Reads the record at an offset of a segment.
    pub(super) fn record_of(&self, segment: &Segment, offset: u32) -> Result<Record, Error> {
        let (sequence, payload) = segment.read(offset)?;
        self.decode(segment, sequence, &payload).ok_or_else(|| segment.damaged(offset))
    }

    fn decode(&self, segment: &Segment, sequence: u64, payload: &[u8]) -> Option<Record> {
        let key = encoding::release_of(payload)?;
        let facts = segment.release(key).or_else(|| self.release(key))?;
        encoding::record(payload, sequence, facts)
    }

    /// Finds a release in any segment: the one beside a decision may have been lost to a repair.
    fn release(&self, key: u64) -> Option<Arc<ReleaseFacts>> {
        self.segments().iter().find_map(|segment| segment.release(key))
    }
}

/// Tells whether a newest segment never had a frame: a torn header and nothing behind it.
fn is_stillborn(path: &Path) -> bool {
    // A file that is longer than this was written to; reading it whole would be in vain.
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > STILLBORN_LEN_MAX) {
        return false;
    }
    let Ok(bytes) = fs::read(path) else { return false };
    let is_torn = bytes.len() < HEADER_LEN || bytes[..HEADER_LEN].iter().all(|byte| *byte == 0);
    let has_header_only = bytes.len() == HEADER_LEN;
    (is_torn && bytes.iter().skip(HEADER_LEN).all(|byte| *byte == 0)) || has_header_only && is_whole_header(&bytes)
}

fn is_whole_header(bytes: &[u8]) -> bool {
    [Kind::Events, Kind::Ledger].iter().any(|kind| matches!(Header::decode(bytes, *kind, Path::new("")), Ok(Some(_))))
}

fn headers(paths: &[PathBuf], kind: Kind) -> Result<Vec<Header>, Error> {
    let header = |path: &PathBuf| {
        let mut bytes = [0; HEADER_LEN];
        let file = File::open(path).map_err(Error::io("open", path))?;
        let read = file.read_exact_at(&mut bytes, 0);
        let header = if read.is_ok() { Header::decode(&bytes, kind, path)? } else { None };
        header.ok_or_else(|| Error::Damaged(Damage { path: path.clone(), offset: 0, before: 0, after: 0 }))
    };
    paths.iter().map(header).collect()
}

struct Opening<'a> {
    path: &'a Path,
    header: &'a Header,
    following: Option<&'a Header>,
    recovered: &'a mut Recovered,
}

impl Opening<'_> {
    fn index(mut self) -> Result<Index, Error> {
        let len = fs::metadata(self.path).map_err(Error::io("look at", self.path))?.len();
        let known = read_index(self.path, self.header);
        // A file that is shorter than its index says is damaged; the scan says where.
        let mut index = match known.filter(|index| index.end <= len) {
            Some(index) => index,
            None => self.scan_and_mend()?,
        };
        let Some(following) = self.following else { return Ok(index) };
        if index.next() < following.first && !following.after_gap {
            let before = index.entries.len() as u64;
            return Err(Error::Damaged(Damage { path: self.path.into(), offset: index.end, before, after: 0 }));
        }
        index.end_before(following.first);
        Ok(index)
    }

    fn scan_and_mend(&mut self) -> Result<Index, Error> {
        let (path, header) = (self.path, self.header);
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let scan = segment::scan(&bytes, header);
        let is_superseded = self.following.is_some_and(|following| scan.index.next() >= following.first);
        let may_be_torn = self.following.is_none() && scan.after == 0;
        if scan.is_damaged && !is_superseded && !may_be_torn {
            let before = scan.index.entries.len() as u64;
            let (offset, after) = (scan.index.end, scan.after);
            return Err(Error::Damaged(Damage { path: path.into(), offset, before, after }));
        }
        if scan.is_damaged && may_be_torn {
            let cut = bytes.len() as u64 - scan.index.end;
            let file = fs::OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))?;
            file.set_len(scan.index.end).and_then(|()| file.sync_all()).map_err(Error::io("cut", path))?;
            self.recovered.cut_bytes += cut;
            StoreTailCut { path: &path.display(), offset: scan.index.end, bytes: cut }.emit();
        }
        let index_path = segment::index_path(path);
        let written = segment::write_whole(&index_path, &scan.index.encode(header));
        written.map_err(Error::io("write", &index_path))?;
        self.recovered.rebuilt += 1;
        if self.following.is_some() {
            StoreIndexRebuilt { path: &index_path.display() }.emit();
        }
        Ok(scan.index)
    }
}

fn read_index(path: &Path, header: &Header) -> Option<Index> {
    fs::read(segment::index_path(path)).ok().and_then(|bytes| Index::decode(&bytes, header))
}

/// Reads a sealed segment's index file, or scans the segment when it is gone.
fn load_index(path: &Path, header: &Header) -> Result<Index, Error> {
    if let Some(index) = read_index(path, header) {
        return Ok(index);
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ok(segment::scan(&bytes, header).index)
}

/// Returns the entry of the first frame at or behind a sequence.
pub(super) fn entries_from(index: &Index, sequence: u64) -> &[Entry] {
    let skip = usize::try_from(sequence.saturating_sub(index.first)).unwrap_or(usize::MAX);
    index.entries.get(skip..).unwrap_or_default()
}

//! Segments: the files of a log. A header, then frames; sealed ones have an index beside them.
//!
//! ```text
//! 00000000000000000001.seg   | header 64 bytes | frame | frame | ..
//! 00000000000000000001.idx   | header | end, times | hash, offset, tag of every frame | checksum |
//! ```
//! A file is named by the sequence of its first frame. The index says no more than its segment: missing or
//! damaged, it is made again. Here is bytes to values and back, and reading whole files; who writes
//! when is the log's and the writer's.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::encoding::{self, Tag};
use super::error::Error;
use super::frame::{self, Found};
use super::{FORMAT_VERSION, FORMAT_VERSION_MIN, Kind};

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 64;
const MAGIC: [u8; 8] = *b"FRAUDDSG";
const INDEX_MAGIC: [u8; 8] = *b"FRAUDDIX";
const ENTRY_LEN: usize = 13;
/// Bytes of an index before its entries.
const INDEX_HEAD_LEN: usize = 58;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// What must be understood to read its frames.
    pub(super) version: u16,
    pub(super) kind: Kind,
    /// The sequence of the first frame.
    pub(super) first: u64,
    /// Seeds the checksums.
    pub(super) salt: u64,
    /// Wall time of its making, in microseconds.
    pub(super) created: i64,
    /// Whether frames before the first are known to be missing: a repair left them out.
    pub(super) after_gap: bool,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10] = self.kind as u8;
        bytes[11] = u8::from(self.after_gap);
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.created.to_le_bytes());
        let checksum = xxh3_64(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header; `Ok(None)` when it is torn or damaged.
    pub(super) fn decode(bytes: &[u8], kind: Kind, path: &Path) -> Result<Option<Self>, Error> {
        let Some(bytes) = bytes.get(..HEADER_LEN) else { return Ok(None) };
        if bytes[..8] != MAGIC || number(bytes, 56) != xxh3_64(&bytes[..56]) {
            return Ok(None);
        }
        let found = u16::from_le_bytes([bytes[8], bytes[9]]);
        if !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&found) {
            return Err(Error::Version { path: path.into(), found, supported: FORMAT_VERSION });
        }
        if bytes[10] != kind as u8 {
            return Err(Error::Foreign { path: path.into() });
        }
        Ok(Some(Self {
            version: found,
            kind,
            first: number(bytes, 16),
            salt: number(bytes, 24),
            created: number(bytes, 32).cast_signed(),
            after_gap: bytes[11] != 0,
        }))
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Where one frame lies and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) hash: u64,
    pub(super) offset: u32,
    pub(super) tag: Tag,
}

/// What is known of a segment's frames without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) first: u64,
    /// Where the last whole frame ends.
    pub(super) end: u64,
    /// Newest and oldest time of its records; [`i64::MIN`] and [`i64::MAX`] without one.
    pub(super) newest: i64,
    pub(super) oldest: i64,
    /// Every frame in order.
    pub(super) entries: Vec<Entry>,
}

impl Index {
    pub(super) const fn new(first: u64) -> Self {
        let end = HEADER_LEN as u64;
        Self { first, end, newest: i64::MIN, oldest: i64::MAX, entries: Vec::new() }
    }

    /// Takes note of the frame that was put at [`Self::end`].
    pub(super) fn add(&mut self, payload: &[u8], frame_len: usize) {
        let Some(note) = encoding::note(payload) else { return };
        if note.tag.has_time() {
            self.newest = self.newest.max(note.time);
            self.oldest = self.oldest.min(note.time);
        }
        let offset = u32::try_from(self.end).unwrap_or(u32::MAX);
        self.entries.push(Entry { hash: note.hash, offset, tag: note.tag });
        self.end += frame_len as u64;
    }

    /// Returns the sequence behind the last frame.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Forgets the frames from `sequence` on: a later segment has them.
    pub(super) fn end_before(&mut self, sequence: u64) {
        let keep = usize::try_from(sequence.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(entry) = self.entries.get(keep) {
            self.end = u64::from(entry.offset);
            self.entries.truncate(keep);
        }
    }

    /// Returns the sequence and entry of each frame with a tag.
    pub(super) fn tagged(&self, tag: Tag) -> impl Iterator<Item = (u64, Entry)> {
        (self.first..).zip(self.entries.iter().copied()).filter(move |(_, entry)| entry.tag == tag)
    }

    /// Returns the entries that say an id was decided, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().copied().filter(|entry| entry.tag.is_id())
    }

    pub(super) fn encode(&self, header: &Header) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(INDEX_HEAD_LEN + self.entries.len() * ENTRY_LEN + 8);
        bytes.extend_from_slice(&INDEX_MAGIC);
        bytes.extend_from_slice(&header.version.to_le_bytes());
        let times = [self.newest.cast_unsigned(), self.oldest.cast_unsigned()];
        for word in [self.first, header.salt, self.end, times[0], times[1], self.entries.len() as u64] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.hash.to_le_bytes());
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
            bytes.push(entry.tag as u8);
        }
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads an index; `None` when it is damaged or another segment's.
    pub(super) fn decode(bytes: &[u8], header: &Header) -> Option<Self> {
        let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
        let (head, entries) = content.split_at_checked(INDEX_HEAD_LEN)?;
        let is_ours = head[..8] == INDEX_MAGIC
            && head[8..10] == header.version.to_le_bytes()
            && number(checksum, 0) == xxh3_64(content)
            && number(head, 10) == header.first
            && number(head, 18) == header.salt;
        if !is_ours || (entries.len() / ENTRY_LEN) as u64 != number(head, 50) {
            return None;
        }
        let entry = |bytes: &[u8]| {
            let offset = u32::from_le_bytes(bytes[8..12].try_into().ok()?);
            Some(Entry { hash: number(bytes, 0), offset, tag: Tag::of(bytes[12])? })
        };
        Some(Self {
            first: header.first,
            end: number(head, 26),
            newest: number(head, 34).cast_signed(),
            oldest: number(head, 42).cast_signed(),
            entries: entries.chunks_exact(ENTRY_LEN).map(entry).collect::<Option<_>>()?,
        })
    }
}

/// What a scan of a segment's bytes found.
#[derive(Debug)]
pub(super) struct Scan {
    /// The whole frames from the start on.
    pub(super) index: Index,
    /// Whether bytes follow that are no whole frame.
    pub(super) is_damaged: bool,
    /// Whole frames behind the damage.
    pub(super) after: u64,
}

/// Reads every frame of a segment's bytes, the header before them.
pub(super) fn scan(bytes: &[u8], header: &Header) -> Scan {
    let mut index = Index::new(header.first);
    let mut offset = HEADER_LEN;
    loop {
        match frame::at(bytes, offset, header.salt) {
            Found::Whole(frame) if frame.sequence == index.next() && encoding::note(frame.payload).is_some() => {
                index.add(frame.payload, frame.end - offset);
                offset = frame.end;
            }
            Found::End => return Scan { index, is_damaged: false, after: 0 },
            Found::Whole(_) | Found::Damaged => {
                let after = count_after(bytes, offset, header.salt, index.next());
                return Scan { index, is_damaged: true, after };
            }
        }
    }
}

fn count_after(bytes: &[u8], offset: usize, salt: u64, damaged: u64) -> u64 {
    let (mut from, mut newest, mut count) = (offset + 1, damaged, 0);
    while let Some((_, found)) = frame::resume(bytes, from, salt, newest) {
        (from, newest, count) = (found.end, found.sequence, count + 1);
    }
    count
}

/// Returns the path of the segment that begins with a sequence.
pub(super) fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.seg"))
}

/// Returns the path of a segment's index.
pub(super) fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

/// Returns the path a segment is written at before it has its name: what is there counts for nothing.
pub(super) fn beside_path(segment: &Path) -> PathBuf {
    segment.with_extension("anew")
}

/// Removes files that a crash left before they had their name.
pub(super) fn clear_beside(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "anew") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Lists the segments of a log, oldest first.
pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_segment = path.extension().is_some_and(|end| end == "seg");
        if is_segment && stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a file whole or not at all: beside it, synced, renamed, the directory synced.
pub(in crate::runtime) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_directory(path)
}

/// Syncs the directory a file lies in, so that its name survives.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { version: 1, kind: Kind::Events, first: 5, salt: 99, created: 1, after_gap: false };

    #[test]
    fn headers_come_back_and_damage_is_seen() {
        let path = Path::new("x.seg");
        let bytes = HEADER.encode();
        assert_eq!(Header::decode(&bytes, Kind::Events, path).expect("readable"), Some(HEADER));
        assert!(matches!(Header::decode(&bytes, Kind::Ledger, path), Err(Error::Foreign { .. })));
        for bit in 0..HEADER_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, Kind::Events, path).expect("no version"), None, "bit {bit}");
        }
        let mut other = bytes;
        other[8] = 200;
        let checksum = xxh3_64(&other[..56]).to_le_bytes();
        other[56..].copy_from_slice(&checksum);
        let error = Header::decode(&other, Kind::Events, path).expect_err("another version").to_string();
        assert!(error.contains("format version 200") && error.contains("nothing was changed"), "{error}");
    }

    #[test]
    fn an_index_comes_back_and_damage_is_seen() {
        let mut index = Index::new(5);
        for number in 0..40_u64 {
            let mut payload = vec![Tag::Transaction as u8];
            payload.extend_from_slice(&number.cast_signed().to_le_bytes());
            payload.extend_from_slice(&(number * 7).to_le_bytes());
            index.add(&payload, 33);
        }
        assert_eq!((index.next(), index.newest, index.oldest), (45, 39, 0));
        let bytes = index.encode(&HEADER);
        assert_eq!(Index::decode(&bytes, &HEADER).as_ref(), Some(&index));
        assert_eq!(Index::decode(&bytes, &Header { salt: 98, ..HEADER }), None);
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 4;
            assert_eq!(Index::decode(&flipped, &HEADER), None, "byte {place}");
            assert_eq!(Index::decode(&bytes[..place], &HEADER), None, "cut at {place}");
        }
        index.end_before(15);
        assert_eq!((index.next(), index.end), (15, HEADER_LEN as u64 + 10 * 33));
    }
}

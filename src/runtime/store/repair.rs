//! Looking at a damaged store, and copying what is readable of it into a fresh one.
//!
//! Nothing here changes the store it reads. A copy keeps every sequence, so cursors stay what they were;
//! where records are missing a new segment begins that says so.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::encoding::{self, Tag};
use super::error::{Damage, Error};
use super::frame::{self, Found};
use super::segment::{self, HEADER_LEN, Header};
use super::{Kind, lock, positions};

/// What a look at one log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Its segments.
    pub segments: u64,
    /// Whole records, releases included.
    pub readable: u64,
    /// Sequences between the first and the last that no segment has.
    pub lost: u64,
    /// Each place that cannot be read, and each gap.
    pub damages: Vec<Damage>,
}

/// What a look at a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Transactions and labels.
    pub events: LogReport,
    /// Decisions.
    pub ledger: LogReport,
}

impl CheckReport {
    /// Tells whether every record can be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.events.damages.is_empty() && self.ledger.damages.is_empty()
    }
}

/// Reads every frame of a store and changes nothing. `tell` hears every segment.
///
/// # Errors
/// A directory that is in use or cannot be read, another format version.
pub fn check(directory: &Path, tell: &dyn Fn(&Path)) -> Result<CheckReport, Error> {
    let _lock = lock_existing(directory)?;
    let look = |name, kind| walk(&directory.join(name), kind, tell, &mut |_, _, _| Ok(()));
    Ok(CheckReport { events: look("events", Kind::Events)?, ledger: look("ledger", Kind::Ledger)? })
}

/// Copies every readable frame of a store into an empty directory.
///
/// # Errors
/// As [`check`], a target that is not empty, or that cannot be written.
pub fn repair(directory: &Path, into: &Path, tell: &dyn Fn(&Path)) -> Result<CheckReport, Error> {
    let _lock = lock_existing(directory)?;
    fs::create_dir_all(into).map_err(Error::io("create", into))?;
    if fs::read_dir(into).map_err(Error::io("list", into))?.next().is_some() {
        return Err(Error::NotEmpty { path: into.into() });
    }
    let _target = lock(into)?;
    for name in ["lists.json", "stream.json"] {
        let (source, target) = (directory.join(name), into.join(name));
        if source.exists() {
            fs::copy(&source, &target).map_err(Error::io("write", &target))?;
        }
    }
    let look = |name: &str, kind| walk(&directory.join(name), kind, tell, &mut |_, _, _| Ok(()));
    let is_whole = look("events", Kind::Events)?.damages.is_empty() && look("ledger", Kind::Ledger)?.damages.is_empty();
    let nothing = positions::nothing();
    let copy = |name: &str, kind| {
        let target = into.join(name);
        fs::create_dir_all(&target).map_err(Error::io("create", &target))?;
        let mut copy = Copy { directory: target, kind, open: None };
        let report = walk(&directory.join(name), kind, tell, &mut |header, sequence, payload| {
            // Where something is missing no partition is where it was: the stream's changelog brings it back.
            let is_position = encoding::note(payload).is_some_and(|note| note.tag == Tag::Positions);
            copy.put(header, sequence, if is_position && !is_whole { &nothing } else { payload })
        })?;
        copy.finish()?;
        Ok(report)
    };
    Ok(CheckReport { events: copy("events", Kind::Events)?, ledger: copy("ledger", Kind::Ledger)? })
}

fn lock_existing(directory: &Path) -> Result<File, Error> {
    // A directory without logs is a mistyped one, which must not be made.
    fs::read_dir(directory.join("ledger")).map_err(Error::io("list", &directory.join("ledger")))?;
    lock(directory)
}

pub(super) type Take<'a> = dyn FnMut(&Header, u64, &[u8]) -> Result<(), Error> + 'a;

/// Walks over every readable frame of a log in order, each sequence once.
pub(super) fn walk(
    directory: &Path,
    kind: Kind,
    tell: &dyn Fn(&Path),
    take: &mut Take<'_>,
) -> Result<LogReport, Error> {
    let paths = segment::list(directory).map_err(Error::io("list", directory))?;
    let mut headers = Vec::new();
    for path in &paths {
        let mut bytes = vec![0; HEADER_LEN];
        let file = File::open(path).map_err(Error::io("open", path))?;
        let header = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Header::decode(&bytes, kind, path)?,
            Err(_) => None,
        };
        headers.push(header);
    }
    let mut report = LogReport { segments: paths.len() as u64, ..LogReport::default() };
    let mut next = None;
    for (place, (path, header)) in paths.iter().zip(&headers).enumerate() {
        tell(path);
        let Some(header) = header else {
            report.damages.push(Damage { path: path.clone(), offset: 0, before: 0, after: 0 });
            continue;
        };
        if let Some(next) = next.filter(|next| *next < header.first) {
            report.lost += header.first - next;
            if !header.after_gap {
                report.damages.push(Damage { path: path.clone(), offset: 0, before: 0, after: header.first - next });
            }
        }
        let following = headers[place + 1..].iter().flatten().next().map(|following| following.first);
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let walked = Walk { path, header, until: following.unwrap_or(u64::MAX), is_newest: place + 1 == paths.len() };
        next = Some(walked.over(&bytes, &mut report, take)?);
    }
    Ok(report)
}

struct Walk<'a> {
    path: &'a Path,
    header: &'a Header,
    /// From here on a later segment counts.
    until: u64,
    is_newest: bool,
}

impl Walk<'_> {
    fn over(&self, bytes: &[u8], report: &mut LogReport, take: &mut Take<'_>) -> Result<u64, Error> {
        let (mut offset, mut next, mut before) = (HEADER_LEN, self.header.first, 0);
        while next < self.until {
            match frame::at(bytes, offset, self.header.salt) {
                Found::Whole(frame) if frame.sequence == next => {
                    take(self.header, next, frame.payload)?;
                    (offset, next, before) = (frame.end, next + 1, before + 1);
                    report.readable += 1;
                }
                Found::End => break,
                Found::Whole(_) | Found::Damaged => {
                    let resumed = frame::resume(bytes, offset + 1, self.header.salt, next);
                    let resumed = resumed.filter(|(_, frame)| frame.sequence < self.until);
                    let Some((at, frame)) = resumed else {
                        // The torn end of the newest segment is cut by any start: no damage.
                        if !self.is_newest {
                            report.damages.push(self.damage(offset, before, 0));
                        }
                        break;
                    };
                    report.lost += frame.sequence - next;
                    report.damages.push(self.damage(offset, before, 1));
                    (offset, next) = (at, frame.sequence);
                }
            }
        }
        Ok(next.min(self.until))
    }

    fn damage(&self, offset: usize, before: u64, after: u64) -> Damage {
        Damage { path: self.path.into(), offset: offset as u64, before, after }
    }
}

/// A log being written from readable frames.
struct Copy {
    directory: PathBuf,
    kind: Kind,
    open: Option<Open>,
}

struct Open {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Header,
    next: u64,
}

impl Copy {
    fn put(&mut self, from: &Header, sequence: u64, payload: &[u8]) -> Result<(), Error> {
        let is_next = self.open.as_ref().is_some_and(|open| open.next == sequence);
        let is_same = self.open.as_ref().is_some_and(|open| open.header.salt == from.salt);
        if !is_next || !is_same {
            let after_gap = from.after_gap || self.open.is_some() && !is_next;
            self.finish()?;
            let header = Header { first: sequence, kind: self.kind, after_gap, ..*from };
            let path = segment::path_of(&self.directory, sequence);
            let bytes = header.encode().to_vec();
            self.open = Some(Open { path, bytes, header, next: sequence });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        frame::put(&mut open.bytes, open.header.salt, sequence, payload);
        open.next = sequence + 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some(Open { path, bytes, .. }) = self.open.take() else { return Ok(()) };
        segment::write_whole(&path, &bytes).map_err(Error::io("write", &path))
    }
}

//! Reads a record back: line by line over its files, oldest first, and tells whether the chain holds.
//!
//! What is said of a chain: each line's text has its hash, each follows the one before. Files that retention let go
//! leave a chain that begins later, which is told; a line missing in the middle is a fault.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::record::{Head, Line};

/// The longest line that is read, in bytes.
pub const LINE_LEN_MAX: u64 = 32 << 20;

/// What checking a record found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that were read.
    pub lines: u64,
    /// The first line's number.
    pub first_seq: u64,
    /// Where it ends.
    pub head: Option<Head>,
    /// Chains that were begun, the first one included.
    pub chains: u64,
    /// Bytes of a torn last line.
    pub torn_bytes: usize,
    /// What is wrong, at most [`FAULTS_MAX`].
    pub faults: Vec<String>,
}

/// The most faults that are told.
pub const FAULTS_MAX: usize = 20;

/// Lists the files of a record, oldest first; a file stands for itself.
///
/// # Errors
/// The file system's.
pub fn files_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if first_seq_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Names the file whose first line has this number.
#[must_use]
pub fn file_name(first_seq: u64) -> String {
    format!("audit-{first_seq:016}.jsonl")
}

/// Returns the number of a file's first line, out of its name.
#[must_use]
pub fn first_seq_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// Reads lines of files in order until `take` says stop; a torn last line of a file is not given.
/// Returns the bytes of torn lines.
///
/// # Errors
/// The file system's, and a line that is too long.
pub fn each_line(files: &[PathBuf], mut take: impl FnMut(&str) -> bool) -> std::io::Result<usize> {
    let mut torn = 0;
    for path in files {
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let len = reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
            if len == 0 {
                break;
            }
            if line.last() != Some(&b'\n') {
                torn += len;
                break;
            }
            line.pop();
            let text = String::from_utf8_lossy(&line);
            if !take(&text) {
                return Ok(torn);
            }
        }
    }
    Ok(torn)
}

/// Checks the chain of a directory or a file.
///
/// # Errors
/// The file system's.
pub fn verify(path: &Path) -> std::io::Result<Report> {
    let mut report = Report::default();
    let torn = each_line(&files_of(path)?, |text| {
        report.take(text);
        report.faults.len() < FAULTS_MAX
    })?;
    report.torn_bytes = torn;
    Ok(report)
}

impl Report {
    fn take(&mut self, text: &str) {
        self.lines += 1;
        let line = match Line::read(text) {
            Ok(line) => line,
            Err(fault) => return self.faults.push(format!("line {}: {fault}", self.lines)),
        };
        match &self.head {
            None => {
                self.first_seq = line.seq;
                self.chains = 1;
            }
            // A new chain after a damaged one begins at 1 with nothing before it.
            Some(head) if head.chain != line.chain && line.seq == 1 => self.chains += 1,
            Some(head) if head.chain != line.chain => {
                self.faults.push(format!("record {}: another chain goes on without having begun", line.seq));
            }
            Some(head) if line.seq != head.seq + 1 => {
                self.faults
                    .push(format!("record {}: follows record {}: lines are missing or moved", line.seq, head.seq));
            }
            Some(head) if line.previous != head.hash => {
                self.faults.push(format!("record {}: does not follow the record before it", line.seq));
            }
            Some(_) => {}
        }
        self.head = Some(line.head());
    }
}

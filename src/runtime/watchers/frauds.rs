//! The frauds that labels have told of, by transaction: what retraining counts before it asks for a model.
//!
//! ```text
//! label ─> transaction of the ledger ─> one line at the end of frauds.log     a restart reads them all back
//! ```
//! A transaction counts once, however often its label comes, and no more when it turns out to be genuine. Lines reach
//! the operating system at once and are not synced: a process that is killed forgets none. What is no longer kept of
//! decisions is not counted: nothing can be learned from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::domain::{Span, Timestamp};
use crate::runtime::store::write_whole;
use crate::telemetry::healing::FraudsUnkept;

/// Frauds that are known; beyond it the oldest are forgotten.
const FRAUDS_MAX: usize = 100_000;
/// Lines from which the file is written anew.
const LINES_MAX: usize = 4 * FRAUDS_MAX;

/// The frauds that are known.
#[derive(Debug, Default)]
pub(super) struct Frauds {
    path: Option<PathBuf>,
    file: Option<File>,
    lines: usize,
    by_key: BTreeMap<u64, Timestamp>,
    by_time: BTreeSet<(Timestamp, u64)>,
}

impl Frauds {
    /// Reads what is known; without a path nothing is kept.
    pub(super) fn open(path: Option<PathBuf>) -> Self {
        let mut frauds = Self { path, ..Self::default() };
        let Some(path) = frauds.path.clone() else { return frauds };
        match std::fs::read(&path) {
            // A last line that was never finished is no line.
            Ok(bytes) => String::from_utf8_lossy(&bytes).split_inclusive('\n').for_each(|line| frauds.read(line)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => FraudsUnkept { tried: "read", error: &error }.emit(),
        }
        // Written whole: a torn end would swallow the next line.
        frauds.compact(&path);
        frauds
    }

    /// Takes note that a transaction is a fraud, or is none after all.
    pub(super) fn note(&mut self, key: u64, occurred_at: Timestamp, is_fraud: bool) {
        let is_known = self.by_key.contains_key(&key);
        if is_known == is_fraud {
            return;
        }
        self.apply(key, is_fraud.then_some(occurred_at));
        let line = line_of(key, is_fraud.then_some(occurred_at));
        self.lines += 1;
        let (Some(path), Some(file)) = (&self.path, &mut self.file) else { return };
        if let Err(error) = file.write_all(line.as_bytes()) {
            FraudsUnkept { tried: "append to", error: &error }.emit();
        }
        if self.lines > LINES_MAX {
            let path = path.clone();
            self.compact(&path);
        }
    }

    /// Tells whether a transaction is known to be a fraud.
    pub(super) fn has(&self, key: u64) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Counts those that are at least so old, and not older than decisions are kept.
    pub(super) fn mature(&self, now: Timestamp, (maturity, age_max): (Span, Span)) -> u64 {
        let (oldest, newest) = (now.minus(age_max), now.minus(maturity));
        if oldest > newest {
            return 0;
        }
        self.by_time.range((oldest, 0)..=(newest, u64::MAX)).count() as u64
    }

    fn apply(&mut self, key: u64, occurred_at: Option<Timestamp>) {
        if let Some(before) = self.by_key.remove(&key) {
            self.by_time.remove(&(before, key));
        }
        let Some(occurred_at) = occurred_at else { return };
        self.by_key.insert(key, occurred_at);
        self.by_time.insert((occurred_at, key));
        while self.by_time.len() > FRAUDS_MAX {
            if let Some((_, oldest)) = self.by_time.pop_first() {
                self.by_key.remove(&oldest);
            }
        }
    }

    fn read(&mut self, line: &str) {
        let Some((key, time)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) else { return };
        let Ok(key) = u64::from_str_radix(key, 16) else { return };
        match time.parse() {
            Ok(micros) => self.apply(key, Some(Timestamp::from_micros(micros))),
            Err(_) if time == "-" => self.apply(key, None),
            Err(_) => {}
        }
    }

    /// Writes what is known anew, and goes on behind it.
    fn compact(&mut self, path: &Path) {
        let text: String = self.by_key.iter().map(|(key, at)| line_of(*key, Some(*at))).collect();
        let opened = write_whole(path, text.as_bytes()).and_then(|()| OpenOptions::new().append(true).open(path));
        self.lines = self.by_key.len();
        self.file = opened.inspect_err(|error| FraudsUnkept { tried: "rewrite", error }.emit()).ok();
    }
}

fn line_of(key: u64, occurred_at: Option<Timestamp>) -> String {
    occurred_at.map_or_else(|| format!("{key:x} -\n"), |at| format!("{key:x} {}\n", at.micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGES: (Span, Span) = (Span::from_seconds(100), Span::from_seconds(1_000));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn frauds_count_once_when_they_are_mature_and_survive_a_kill() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("frauds.log");
        let mut frauds = Frauds::open(Some(path.clone()));
        for (key, seconds) in [(1, 500), (2, 600), (2, 600), (3, 950), (u64::MAX, 950)] {
            frauds.note(key, at(seconds), true);
        }
        frauds.note(3, at(950), false);
        let counts = |frauds: &Frauds| [900, 1_100, 1_550, 3_000].map(|now| frauds.mature(at(now), AGES));
        assert_eq!(counts(&frauds), [2, 3, 2, 0], "too young, all, one too old, all too old");
        assert!(frauds.has(2) && !frauds.has(3));
        // It is killed in the midst of a line: not dropped, not closed.
        std::mem::forget(frauds);
        let torn = std::fs::read_to_string(&path).expect("kept") + "ff 9";
        std::fs::write(&path, torn).expect("written");
        let mut again = Frauds::open(Some(path.clone()));
        assert_eq!(counts(&again), [2, 3, 2, 0]);
        again.note(7, at(800), true);
        assert_eq!(Frauds::open(Some(path)).mature(at(1_100), AGES), 4);
    }

    #[test]
    fn the_oldest_are_forgotten_and_nothing_is_kept_without_a_place() {
        let mut frauds = Frauds::open(None);
        for key in 0..=FRAUDS_MAX as u64 {
            frauds.note(key, at(i64::try_from(key).expect("small")), true);
        }
        assert!(!frauds.has(0) && frauds.has(1));
        assert_eq!(frauds.by_time.len(), FRAUDS_MAX);
    }
}

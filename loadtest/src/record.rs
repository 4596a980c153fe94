//! Writes down what was answered, so that it can be asked again after a crash.
//!
//! One line for each decision (status 200), in the order the answers came:
//! `transaction id, outcome, score as it was written or "-", evaluated_at`, separated by tabs. Buffered, and
//! handed to the system every second, so that a generator that is ended itself loses little.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What stands for a score that is absent.
const ABSENT: &str = "-";

/// The parts of a decision that must be the same whenever it is asked for.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    transaction_id: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    /// As text: two scores are the same when they are written the same.
    #[serde(borrow, default)]
    score: Option<&'a RawValue>,
    #[serde(borrow)]
    evaluated_at: Cow<'a, str>,
}

/// A file of answers.
pub(crate) struct Record {
    path: PathBuf,
    out: BufWriter<File>,
    /// Answers that were no decision.
    unreadable: u64,
}

impl Record {
    /// Makes the file, empty.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path: path.into(), out: BufWriter::with_capacity(1 << 20, file), unreadable: 0 })
    }

    /// Writes one answer's line; what is no decision is counted instead.
    pub(crate) fn write(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let Some(line) = line(body) else {
            self.unreadable += 1;
            return Ok(());
        };
        self.out.write_all(line.as_bytes()).with_context(|| self.failed())
    }

    /// Hands what is buffered to the system.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().with_context(|| self.failed())
    }

    /// Returns how many answers with status 200 were no decision.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn failed(&self) -> String {
        format!("writing answers to {}", self.path.display())
    }
}

/// Returns the line of a decision; `None` when the body is none, or would break the lines.
fn line(body: &[u8]) -> Option<String> {
    let told: Told = serde_json::from_slice(body).ok()?;
    let score = told.score.map_or(ABSENT, RawValue::get);
    let fields = [&*told.transaction_id, &*told.outcome, score, &*told.evaluated_at];
    let plain = fields.iter().all(|field| !field.contains(['\t', '\n', '\r']));
    plain.then(|| format!("{}\n", fields.join("\t")))
}

impl Drop for Record {
    fn drop(&mut self) {
        // The run has ended with another error, which is the one to tell.
        let _: io::Result<()> = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_score_as_it_was_written() {
        let check =
            |body: &str, expected: Option<&str>| assert_eq!(line(body.as_bytes()).as_deref(), expected, "{body}");
        check(
            r#"{"transaction_id":"t-1","outcome":"approve","score":0.10000000000000001,"rules":[{"outcome":"hit"}],"evaluated_at":"2026-01-02T03:04:05Z"}"#,
            Some("t-1\tapprove\t0.10000000000000001\t2026-01-02T03:04:05Z\n"),
        );
        check(
            r#"{"transaction_id":"t-2","outcome":"review","evaluated_at":"2026-01-02T03:04:05Z"}"#,
            Some("t-2\treview\t-\t2026-01-02T03:04:05Z\n"),
        );
        check(
            r#"{"transaction_id":"t-\u0033","outcome":"review","score":null,"evaluated_at":"x"}"#,
            Some("t-3\treview\t-\tx\n"),
        );
    }

    #[test]
    fn what_is_no_decision_has_no_line() {
        let check = |body: &str| assert_eq!(line(body.as_bytes()), None, "{body}");
        check("");
        check("{}");
        check(r#"{"transaction_id":"t-1","outcome":"approve"}"#);
        check(r#"{"transaction_id":"t-1\n","outcome":"approve","evaluated_at":"x"}"#);
        check(r#"{"transaction_id":"t-1","outcome":"approve","evaluated_at":"a\tb"}"#);
    }
}

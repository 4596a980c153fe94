//! Writes down what was answered, so that it can be asked again after a crash.
//!
//! One line for each decision (status 200), in the order the answers came:
//! `transaction id, outcome, score as it was written or "-", evaluated_at`, separated by tabs; with `--whole` also
//! `model version, model sha256, schema hash, review limit, degraded reasons or "-", µs in the service, µs since due,
//! µs since sent`. Buffered, and handed to the system every second, so that a generator that is ended itself loses little.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::report::{Waited, micros};

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

/// The parts that tell which release answered, how whole the answer is and how long it took.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    model: Option<ModelTold<'a>>,
    #[serde(borrow)]
    schema_hash: Cow<'a, str>,
    #[serde(borrow)]
    thresholds: Thresholds<'a>,
    #[serde(borrow, default)]
    degraded_reasons: Vec<Cow<'a, str>>,
    latency_us: Latency,
}

#[derive(Deserialize)]
struct ModelTold<'a> {
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Thresholds<'a> {
    #[serde(borrow)]
    review: &'a RawValue,
}

#[derive(Deserialize)]
struct Latency {
    total: u64,
}

/// What of an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// What must be the same whenever it is asked for.
    Same,
    /// Also which release answered and how long it took.
    Whole,
}

/// A file of answers.
pub(crate) struct Record {
    columns: Columns,
    path: PathBuf,
    out: BufWriter<File>,
    /// Answers that were no decision.
    unreadable: u64,
}

impl Record {
    /// Makes the file, empty.
    pub(crate) fn create(path: &Path, columns: Columns) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { columns, path: path.into(), out: BufWriter::with_capacity(1 << 20, file), unreadable: 0 })
    }

    /// Writes one answer's line; what is no decision is counted instead.
    pub(crate) fn write(&mut self, body: &[u8], waited: Waited) -> anyhow::Result<()> {
        let told = match self.columns {
            Columns::Same => line(body),
            Columns::Whole => line(body).zip(whole(body, waited)).map(|(same, whole)| same + "\t" + &whole),
        };
        let Some(mut line) = told else {
            self.unreadable += 1;
            return Ok(());
        };
        line.push('\n');
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

/// Returns the line of a decision without its end; `None` when the body is none, or would break the lines.
fn line(body: &[u8]) -> Option<String> {
    let told: Told = serde_json::from_slice(body).ok()?;
    let score = told.score.map_or(ABSENT, RawValue::get);
    let fields = [&*told.transaction_id, &*told.outcome, score, &*told.evaluated_at];
    joined(&fields)
}

/// Returns the further columns of a decision; `None` when the body is none.
fn whole(body: &[u8], waited: Waited) -> Option<String> {
    let told: Whole = serde_json::from_slice(body).ok()?;
    let model = told.model.as_ref().map_or([ABSENT; 2], |model| [&*model.version, &*model.sha256]);
    let degraded = if told.degraded_reasons.is_empty() { ABSENT.to_owned() } else { told.degraded_reasons.join(",") };
    let [total, due, sent] = [told.latency_us.total, micros(waited.due), micros(waited.sent)].map(|us| us.to_string());
    joined(&[model[0], model[1], &told.schema_hash, told.thresholds.review.get(), &degraded, &total, &due, &sent])
}

fn joined(fields: &[&str]) -> Option<String> {
    let plain = fields.iter().all(|field| !field.contains(['\t', '\n', '\r']));
    plain.then(|| fields.join("\t"))
}

impl Drop for Record {
    fn drop(&mut self) {
        // The run has ended with another error, which is the one to tell.
        let _: io::Result<()> = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_holds_the_score_as_it_was_written() {
        let check =
            |body: &str, expected: Option<&str>| assert_eq!(line(body.as_bytes()).as_deref(), expected, "{body}");
        check(
            r#"{"transaction_id":"t-1","outcome":"approve","score":0.10000000000000001,"rules":[{"outcome":"hit"}],"evaluated_at":"2026-01-02T03:04:05Z"}"#,
            Some("t-1\tapprove\t0.10000000000000001\t2026-01-02T03:04:05Z"),
        );
        check(
            r#"{"transaction_id":"t-2","outcome":"review","evaluated_at":"2026-01-02T03:04:05Z"}"#,
            Some("t-2\treview\t-\t2026-01-02T03:04:05Z"),
        );
        check(
            r#"{"transaction_id":"t-\u0033","outcome":"review","score":null,"evaluated_at":"x"}"#,
            Some("t-3\treview\t-\tx"),
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

    #[test]
    fn a_whole_line_names_the_release_and_the_waits() {
        let waited = Waited { due: Duration::from_micros(70), sent: Duration::from_micros(60) };
        let check = |body: &str, expected: Option<&str>| {
            assert_eq!(whole(body.as_bytes(), waited).as_deref(), expected, "{body}");
        };
        check(
            r#"{"thresholds":{"review":0.0234,"decline":0.9},"model":{"name":"m","version":"1","sha256":"ab","role":"active"},"schema_hash":"cd","degraded_reasons":["rolled_back","overload"],"latency_us":{"total":41}}"#,
            Some("1\tab\tcd\t0.0234\trolled_back,overload\t41\t70\t60"),
        );
        check(
            r#"{"thresholds":{"review":0.5},"model":null,"schema_hash":"cd","degraded_reasons":[],"latency_us":{"total":9}}"#,
            Some("-\t-\tcd\t0.5\t-\t9\t70\t60"),
        );
        check("{}", None);
    }
}

//! What a replay with healing came to: how good the answers were, by day and by week, and what was found and done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::domain::{Outcome, Span, Timestamp};
use crate::healing::{Finding, ModelRef, Verdict};
use crate::runtime::audit::reading::{each_line, files_of};
use crate::runtime::audit::{Kind, Line};
use crate::runtime::retraining::Ended;
use crate::scoring::metrics::{Scored, average_precision};

const DAY_US: i64 = 86_400_000_000;
/// The most findings and actions that are told each; further ones are only counted.
const TOLD_MAX: usize = 10_000;

/// What a replay with healing came to.
#[derive(Clone, Debug, Serialize)]
pub struct HealReport {
    /// The first instant that counts.
    pub from: Timestamp,
    /// All of it.
    pub whole: Slice,
    /// Weeks since the first instant.
    pub weeks: Vec<Slice>,
    /// Days since the first instant.
    pub days: Vec<Slice>,
    /// Labels that came.
    pub labels: u64,
    /// Rows of the files that were refused.
    pub refused: u64,
    /// What might be acted on, in its order, and its end.
    pub findings: Vec<Noticed>,
    /// What was done, in its order.
    pub actions: Vec<Acted>,
    /// What may be acted on and was not, by row, action and reason: how often that began.
    pub held: BTreeMap<String, u64>,
    /// Models asked for.
    pub trainings: Vec<Trained>,
    /// Who answered, from when on.
    pub models: Vec<Changed>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// A stretch of time.
#[derive(Clone, Debug, Serialize)]
pub struct Slice {
    /// Its first instant.
    pub from: Timestamp,
    /// Transactions decided.
    pub transactions: u64,
    /// Frauds among them.
    pub frauds: u64,
    /// Transactions stopped: any outcome but approve.
    pub stopped: u64,
    /// Frauds among those.
    pub stopped_frauds: u64,
    /// Transactions that no model scored; they count with the lowest score.
    pub unscored: u64,
    /// Decisions that were less than whole.
    pub degraded: u64,
    /// Average precision of the score that was answered, all cards; absent without frauds.
    pub average_precision: Option<f64>,
    /// Decisions by the version of the model.
    pub by_model: BTreeMap<String, u64>,
}

/// A finding that may be acted on, or its end.
#[derive(Clone, Debug, Serialize)]
pub struct Noticed {
    /// When.
    pub at: Timestamp,
    /// What.
    pub alarm: &'static str,
    /// What it is about.
    pub subject: Option<String>,
    /// Whose behaviour it rests on.
    pub model: Option<String>,
    /// Whether it is over with this.
    pub is_end: bool,
    /// One line for people.
    pub text: String,
}

/// Something that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Acted {
    /// When it was known what came of it.
    pub at: Timestamp,
    /// What.
    pub action: String,
    /// The model or feature it is about, and the share of a promotion.
    pub about: String,
    /// The row of the table.
    pub row: String,
    /// Why it failed, when it did.
    pub failure: Option<String>,
}

/// A model that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// When, in event time.
    pub asked_at: Timestamp,
    /// How long it took, on the wall.
    pub seconds: f64,
    /// What came of it, in one word.
    pub outcome: &'static str,
    /// In one line.
    pub said: String,
}

/// Another model answers.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// Since when.
    pub at: Timestamp,
    /// Which; `None`: rules alone.
    pub model: Option<String>,
}

/// A decision as the report counts it.
pub(super) struct Decided<'a> {
    pub(super) at: Timestamp,
    pub(super) is_fraud: bool,
    pub(super) score: Option<f64>,
    pub(super) outcome: Outcome,
    pub(super) is_degraded: bool,
    pub(super) model: &'a str,
}

/// What a day has so far.
#[derive(Clone, Debug, Default)]
struct Day {
    scored: Vec<Scored>,
    stopped: u64,
    stopped_frauds: u64,
    unscored: u64,
    degraded: u64,
    by_model: BTreeMap<String, u64>,
}

/// What is gathered while it runs.
pub(super) struct Gathered {
    from: Timestamp,
    days: BTreeMap<i64, Day>,
    labels: u64,
    trainings: Vec<Trained>,
    models: Vec<Changed>,
}

impl Gathered {
    pub(super) fn new(from: Timestamp) -> Self {
        Self { from, days: BTreeMap::new(), labels: 0, trainings: Vec::new(), models: Vec::new() }
    }

    pub(super) fn decided(&mut self, decided: &Decided<'_>) {
        let day = decided.at.since(self.from).micros().div_euclid(DAY_US);
        let day = self.days.entry(day).or_default();
        let is_stopped = decided.outcome != Outcome::Approve;
        day.stopped += u64::from(is_stopped);
        day.stopped_frauds += u64::from(is_stopped && decided.is_fraud);
        day.unscored += u64::from(decided.score.is_none());
        day.degraded += u64::from(decided.is_degraded);
        day.scored.push(Scored { score: decided.score.unwrap_or(0.0), fraud: decided.is_fraud, weight: 1.0 });
        match day.by_model.get_mut(decided.model) {
            Some(count) => *count += 1,
            None => drop(day.by_model.insert(decided.model.to_owned(), 1)),
        }
    }

    pub(super) fn labelled(&mut self) {
        self.labels += 1;
    }

    pub(super) fn trained(&mut self, asked_at: Timestamp, took: Duration, ended: Ended) {
        let (outcome, said) = (ended.outcome.name(), ended.said);
        self.trainings.push(Trained { asked_at, seconds: took.as_secs_f64(), outcome, said });
    }

    pub(super) fn changed(&mut self, at: Timestamp, model: Option<&ModelRef>) {
        self.models.push(Changed { at, model: model.map(ToString::to_string) });
    }

    /// Sums up, with what the record tells of findings and actions.
    pub(super) fn finish(self, audit: Option<&Path>, interrupted: bool) -> anyhow::Result<HealReport> {
        let days: Vec<Slice> = self.days.iter().map(|(day, what)| self.slice(*day, &[what])).collect();
        let mut by_week: BTreeMap<i64, Vec<&Day>> = BTreeMap::new();
        for (day, what) in &self.days {
            by_week.entry(day.div_euclid(7)).or_default().push(what);
        }
        let weeks = by_week.iter().map(|(week, days)| self.slice(week * 7, days)).collect();
        let whole = self.slice(0, &self.days.values().collect::<Vec<_>>());
        let mut told = FromRecord::default();
        if let Some(directory) = audit {
            let files = files_of(directory).context("tried to read the record")?;
            each_line(&files, |line| {
                told.take(line);
                true
            })?;
        }
        let FromRecord { findings, actions, held, .. } = told;
        let Self { from, labels, trainings, models, .. } = self;
        Ok(HealReport {
            from,
            whole,
            weeks,
            days,
            labels,
            refused: 0,
            findings,
            actions,
            held,
            trainings,
            models,
            interrupted,
        })
    }

    fn slice(&self, first_day: i64, days: &[&Day]) -> Slice {
        let scored: Vec<Scored> = days.iter().flat_map(|day| day.scored.iter().copied()).collect();
        let sum = |count: fn(&Day) -> u64| days.iter().map(|day| count(day)).sum();
        let mut by_model: BTreeMap<String, u64> = BTreeMap::new();
        for (model, count) in days.iter().flat_map(|day| &day.by_model) {
            *by_model.entry(model.clone()).or_default() += count;
        }
        Slice {
            from: self.from.plus(Span::from_days(first_day)),
            transactions: scored.len() as u64,
            frauds: scored.iter().filter(|row| row.fraud).count() as u64,
            stopped: sum(|day| day.stopped),
            stopped_frauds: sum(|day| day.stopped_frauds),
            unscored: sum(|day| day.unscored),
            degraded: sum(|day| day.degraded),
            average_precision: average_precision(&scored),
            by_model,
        }
    }
}

/// What the record tells.
#[derive(Default)]
struct FromRecord {
    findings: Vec<Noticed>,
    /// Findings that stand and may be acted on.
    acting: BTreeSet<(&'static str, Option<String>, Option<String>)>,
    intents: BTreeMap<u64, String>,
    actions: Vec<Acted>,
    held: BTreeMap<String, u64>,
    holding: Vec<String>,
}

#[derive(Deserialize)]
struct OutcomeLine {
    order: u64,
    action: String,
    row: String,
    failure: Option<String>,
}

#[derive(Deserialize)]
struct HeldLine {
    row: String,
    action: String,
    reason: String,
}

impl FromRecord {
    fn take(&mut self, text: &str) {
        let Ok(line) = Line::read(text) else { return };
        let body = line.body.get();
        match line.kind {
            Kind::Alarm => {
                if let Ok(finding) = serde_json::from_str(body) {
                    self.finding(line.at, finding);
                }
            }
            Kind::Intent => {
                let intent: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
                self.intents.insert(intent["order"].as_u64().unwrap_or(0), about(&intent));
            }
            Kind::Outcome => {
                if let Ok(OutcomeLine { order, action, row, failure }) = serde_json::from_str(body)
                    && self.actions.len() < TOLD_MAX
                {
                    let about = self.intents.remove(&order).unwrap_or_default();
                    self.actions.push(Acted { at: line.at, action, about, row, failure });
                }
            }
            Kind::Plan | Kind::Held => self.holds(body),
            Kind::Chain | Kind::Override | Kind::List | Kind::Config | Kind::Model | Kind::Breaker | Kind::Lost => {}
        }
    }

    fn finding(&mut self, at: Timestamp, finding: Finding) {
        let Finding { alarm, subject, model, verdict, evidence, .. } = finding;
        let model = model.map(|model| model.to_string());
        let key = (alarm.name(), subject.clone(), model.clone());
        let is_end = match verdict {
            Verdict::Acting => {
                if !self.acting.insert(key) {
                    return;
                }
                false
            }
            Verdict::Ended if self.acting.remove(&key) => true,
            Verdict::Ended | Verdict::Advisory | Verdict::Inconclusive => return,
        };
        if self.findings.len() < TOLD_MAX {
            self.findings.push(Noticed { at, alarm: alarm.name(), subject, model, is_end, text: evidence.text });
        }
    }

    fn holds(&mut self, body: &str) {
        #[derive(Deserialize)]
        struct Holds {
            holds: Vec<HeldLine>,
        }
        let Ok(Holds { holds }) = serde_json::from_str(body) else { return };
        let names = |HeldLine { row, action, reason }| format!("{row} {action}: {reason}");
        let holding: Vec<String> = holds.into_iter().map(names).collect();
        for name in holding.iter().filter(|name| !self.holding.contains(name)) {
            *self.held.entry(name.clone()).or_default() += 1;
        }
        self.holding = holding;
    }
}

/// Says what an action is about, out of its intent.
fn about(intent: &serde_json::Value) -> String {
    let model = |value: &serde_json::Value| {
        let part = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
        part("name").zip(part("version")).map(|(name, version)| format!("{name}/{version}"))
    };
    let of = ["to", "model"].into_iter().find_map(|name| intent.get(name).and_then(model));
    let feature = intent.get("feature").and_then(serde_json::Value::as_str).map(str::to_owned);
    let percent = intent.get("percent").and_then(serde_json::Value::as_u64).map(|percent| format!("{percent} %"));
    of.or(feature).into_iter().chain(percent).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healing::{Alarm, Evidence};

    const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn decided(day: i64, score: Option<f64>, is_fraud: bool, model: &str) -> Decided<'_> {
        let outcome = if score.is_some_and(|score| score > 0.5) { Outcome::Review } else { Outcome::Approve };
        let at = START.plus(Span::from_days(day)).plus(Span::from_seconds(7));
        Decided { at, is_fraud, score, outcome, is_degraded: score.is_none(), model }
    }

    #[test]
    fn weeks_are_of_all_their_rows_and_a_missing_score_is_the_lowest() {
        let mut gathered = Gathered::new(START);
        for (day, score, is_fraud, model) in [
            (0, Some(0.9), true, "1"),
            (6, Some(0.8), false, "1"),
            (6, None, true, ""),
            (7, Some(0.3), true, "2"),
            (13, Some(0.2), false, "2"),
        ] {
            gathered.decided(&decided(day, score, is_fraud, model));
        }
        let report = gathered.finish(None, false).expect("without a record");
        let [first, second] = report.weeks.as_slice() else { panic!("{:?}", report.weeks) };
        // The fraud without a score comes last of three.
        assert_eq!(first.average_precision, Some(f64::midpoint(1.0, 2.0 / 3.0)));
        assert_eq!((first.transactions, first.frauds, first.stopped, first.stopped_frauds), (3, 2, 2, 1));
        assert_eq!((first.unscored, first.degraded, first.by_model["1"]), (1, 1, 2));
        assert_eq!((second.from, second.average_precision), (START.plus(Span::from_days(7)), Some(1.0)));
        assert_eq!((report.days.len(), report.whole.transactions), (4, 5));
    }

    #[test]
    fn the_record_tells_what_may_be_acted_on_what_was_done_and_what_was_held() {
        let mut head = crate::runtime::audit::Head::new("c".into());
        let finding = |verdict| Finding {
            alarm: Alarm::InputDrift,
            subject: Some("amount".into()),
            model: None,
            verdict,
            since: START,
            at: START,
            evidence: Evidence::default(),
        };
        let mut told = FromRecord::default();
        for verdict in [Verdict::Advisory, Verdict::Acting, Verdict::Inconclusive, Verdict::Acting, Verdict::Ended] {
            let body = serde_json::to_string(&finding(verdict)).expect("JSON");
            told.take(&head.next(START, Kind::Alarm, &body));
        }
        let intent = r#"{"order":7,"do":"promote","model":{"name":"card","version":"2"},"percent":5}"#;
        told.take(&head.next(START, Kind::Intent, intent));
        let outcome =
            r#"{"order":7,"action":"promote","row":"trial-won","incident":null,"result":"done","failure":null}"#;
        told.take(&head.next(START, Kind::Outcome, outcome));
        let held = r#"{"holds":[{"row":"drift","incident":1,"action":"request_retraining","reason":"budget"}]}"#;
        told.take(&head.next(START, Kind::Held, held));
        told.take(&head.next(START, Kind::Held, held));
        told.take(&head.next(START, Kind::Held, r#"{"holds":[]}"#));
        told.take(&head.next(START, Kind::Held, held));
        told.take("no record at all");
        let ends: Vec<bool> = told.findings.iter().map(|finding| finding.is_end).collect();
        assert_eq!(ends, [false, true]);
        assert_eq!((told.actions.len(), told.actions[0].about.as_str()), (1, "card/2 5 %"));
        assert_eq!(told.held["drift request_retraining: budget"], 2);
    }
}

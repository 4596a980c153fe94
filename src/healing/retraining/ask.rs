//! Whether a new model is asked for now, and if not, why not.

use serde::{Deserialize, Serialize};

use super::incidents::Incidents;
use super::request::{Declined, GATES, Request};
use crate::domain::{Span, Timestamp};
use crate::healing::{Alarm, Finding, ModelRef, Verdict};

/// Requests that are remembered for the daily cap.
const ASKED_MAX: usize = 64;
/// Findings that a request names; the strongest.
const EVIDENCE_MAX: usize = 16;
/// Failures in a row that still double the pause.
const DOUBLINGS_MAX: u32 = 16;
const DAY: Span = Span::from_days(1);

/// When a new model is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Whether one is asked for at all.
    pub is_enabled: bool,
    /// How long drift must last; quality that labels show to be lost asks at once.
    pub persistence: Span,
    /// The pause after a request; doubled by every one that brought nothing.
    pub backoff: Span,
    /// The longest pause.
    pub backoff_max: Span,
    /// The most requests of any 24 hours.
    pub per_day_max: u32,
    /// How long after a transaction a label may still come.
    pub maturity: Span,
    /// How much of the past to learn from; zero for all there is.
    pub history: Span,
    /// The fewest mature frauds worth learning from.
    pub frauds_min: u64,
    /// How long a request may go unanswered before it counts as failed.
    pub patience: Span,
    /// What stands for declined transactions.
    pub declined: Declined,
}

/// How labels come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelFeed {
    /// As they should.
    Healthy {
        /// Mature frauds there are to learn from.
        frauds: u64,
    },
    /// They stopped, thinned out or come late.
    Unhealthy,
    /// Nobody can tell yet.
    Unknown,
}

impl LabelFeed {
    /// Tells by the findings that are open; `frauds` is `None` when nobody counts them.
    #[must_use]
    pub fn of(findings: &[Finding], frauds: Option<u64>) -> Self {
        let mut of_feed = findings.iter().filter(|finding| finding.alarm == Alarm::LabelFeed);
        let worst = of_feed.try_fold(Verdict::Ended, |worst, finding| match finding.verdict {
            Verdict::Acting | Verdict::Advisory => None,
            Verdict::Inconclusive => Some(Verdict::Inconclusive),
            Verdict::Ended => Some(worst),
        });
        match (worst, frauds) {
            (None, _) => Self::Unhealthy,
            (Some(Verdict::Ended), Some(frauds)) => Self::Healthy { frauds },
            (Some(_), _) => Self::Unknown,
        }
    }
}

/// What is known when the question is asked.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The present, in the time of findings.
    pub now: Timestamp,
    /// Every finding that is open.
    pub findings: &'a [Finding],
    /// The model that answers, when one does.
    pub active: Option<&'a ModelRef>,
    /// The models whose evidence counts: the active one, and one that just gave way to it (`HE-3`).
    pub models: &'a [ModelRef],
    /// How labels come in.
    pub labels: LabelFeed,
    /// What went wrong lately.
    pub incidents: &'a Incidents,
    /// Whether a candidate is being tried already.
    pub is_trial_on: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A bundle came of it.
    Delivered,
    /// Nothing that was trained is better than what answers.
    NothingBetter,
    /// There is too little to learn from.
    TooLittle,
    /// It failed, was given up, or its bundle was refused.
    Failed,
}

impl Outcome {
    /// Every outcome, for metrics.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::NothingBetter, Self::TooLittle, Self::Failed];

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NothingBetter => "nothing_better",
            Self::TooLittle => "too_little",
            Self::Failed => "failed",
        }
    }
}

/// What was asked for so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When requests were made, oldest first.
    asked: Vec<Timestamp>,
    /// The one that is under way.
    open: Option<(String, Timestamp)>,
    /// How many in a row brought nothing.
    failures: u32,
}

impl Memory {
    /// Takes note of a request that was made. One that was never answered counts as failed.
    pub fn asked(&mut self, request: &Request) {
        if self.open.take().is_some() {
            self.failures = self.failures.saturating_add(1);
        }
        self.asked.push(request.asked_at);
        let surplus = self.asked.len().saturating_sub(ASKED_MAX);
        self.asked.drain(..surplus);
        self.open = Some((request.id.clone(), request.asked_at));
    }

    /// Takes note of what became of a request; of another than the one under way it says nothing.
    pub fn ended(&mut self, id: &str, outcome: Outcome) {
        if self.open.as_ref().is_none_or(|(open, _)| open != id) {
            return;
        }
        self.open = None;
        self.failures = match outcome {
            Outcome::Delivered => 0,
            Outcome::NothingBetter | Outcome::TooLittle | Outcome::Failed => self.failures.saturating_add(1),
        };
    }

    /// Takes note that a bundle which had come was refused or lost its trial.
    pub fn refused(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Returns the request that is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<&str> {
        self.open.as_ref().map(|(id, _)| id.as_str())
    }

    fn pause(&self, options: &Options) -> Span {
        let factor = 1_i64 << self.failures.min(DOUBLINGS_MAX);
        let pause = Span::from_micros(options.backoff.micros().saturating_mul(factor));
        pause.min(options.backoff_max.max(options.backoff))
    }

    /// Returns when the daily cap has room again; `None` when it has.
    fn capped_until(&self, options: &Options, now: Timestamp) -> Option<Timestamp> {
        let room = usize::try_from(options.per_day_max).unwrap_or(usize::MAX);
        let recent: Vec<_> = self.asked.iter().filter(|at| now.since(**at) < DAY).collect();
        let full = recent.len() >= room;
        // A cap of none never has room: a day from now is as good as any.
        let first = recent.get(recent.len().saturating_sub(room.max(1))).map_or(now, |at| **at);
        full.then(|| first.plus(DAY))
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Ask {
    /// A new model is asked for.
    Request(Box<Request>),
    /// Not now.
    Hold(Hold),
}

/// Why no model is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum Hold {
    /// Settings say so.
    #[error("retraining is not enabled")]
    Disabled,
    /// No model answers.
    #[error("no model answers that could be replaced")]
    NoModel,
    /// Nothing speaks for it.
    #[error("no drift and no loss of quality to act on")]
    NothingFound,
    /// It has not lasted.
    #[error("drift must last until {until}")]
    NotYet {
        /// When it will have.
        until: Timestamp,
    },
    /// The data is wrong, not the model.
    #[error("{} is open: its rows are no material to learn from", alarm.name())]
    Incident {
        /// What is open.
        alarm: Alarm,
    },
    /// Labels do not come as they should.
    #[error("the label feed is not well: frauds would be learned as genuine")]
    LabelFeed,
    /// Nobody can tell yet how labels come.
    #[error("how labels come in is not known yet")]
    LabelsUnknown,
    /// There is too little to learn from.
    #[error("{found} mature frauds are fewer than {needed}")]
    TooFewFrauds {
        /// How many there are.
        found: u64,
        /// How many it takes.
        needed: u64,
    },
    /// One is under way.
    #[error("request {id} is under way")]
    UnderWay {
        /// Which.
        id: String,
    },
    /// A candidate is being tried.
    #[error("a candidate is on trial")]
    Trial,
    /// The daily cap is reached.
    #[error("the daily cap is reached until {until}")]
    Cap {
        /// When it has room again.
        until: Timestamp,
    },
    /// The last request was too short a while ago.
    #[error("the last request was made too short a while ago: next one at {until}")]
    Backoff {
        /// When the next may be made.
        until: Timestamp,
    },
}

/// Decides whether a new model is asked for now.
#[must_use]
pub fn consider(options: &Options, memory: &Memory, situation: &Situation<'_>) -> Ask {
    match hold(options, memory, situation) {
        Err(hold) => Ask::Hold(hold),
        Ok((active, evidence)) => Ask::Request(Box::new(request(options, situation, active, evidence))),
    }
}

/// Finds the first thing that speaks against it; else the model to replace and what speaks for it.
fn hold<'a>(
    options: &Options,
    memory: &Memory,
    situation: &Situation<'a>,
) -> Result<(&'a ModelRef, Vec<&'a Finding>), Hold> {
    if !options.is_enabled {
        return Err(Hold::Disabled);
    }
    let active = situation.active.ok_or(Hold::NoModel)?;
    let evidence = evidence(options, situation)?;
    let spoilt = situation.findings.iter().find(|finding| {
        let is_data = matches!(finding.alarm, Alarm::BrokenFeature | Alarm::AlertSurge | Alarm::Volume);
        is_data && finding.verdict == Verdict::Acting
    });
    if let Some(finding) = spoilt {
        return Err(Hold::Incident { alarm: finding.alarm });
    }
    match situation.labels {
        LabelFeed::Unhealthy => return Err(Hold::LabelFeed),
        LabelFeed::Unknown => return Err(Hold::LabelsUnknown),
        LabelFeed::Healthy { frauds } if frauds < options.frauds_min => {
            return Err(Hold::TooFewFrauds { found: frauds, needed: options.frauds_min });
        }
        LabelFeed::Healthy { .. } => {}
    }
    let now = situation.now;
    if let Some((id, _)) = memory.open.as_ref().filter(|(_, at)| now.since(*at) < options.patience) {
        return Err(Hold::UnderWay { id: id.clone() });
    }
    if situation.is_trial_on {
        return Err(Hold::Trial);
    }
    if let Some(until) = memory.capped_until(options, now) {
        return Err(Hold::Cap { until });
    }
    let next = memory.asked.last().map(|last| last.plus(memory.pause(options)));
    match next.filter(|next| now < *next) {
        Some(until) => Err(Hold::Backoff { until }),
        None => Ok((active, evidence)),
    }
}

/// Collects what speaks for a new model: lost quality at once, drift when it has lasted.
fn evidence<'a>(options: &Options, situation: &Situation<'a>) -> Result<Vec<&'a Finding>, Hold> {
    let is_about_us = |finding: &&Finding| {
        let is_ours = finding.model.as_ref().is_some_and(|model| situation.models.contains(model));
        is_ours && finding.verdict == Verdict::Acting
    };
    let (mut found, mut waits): (Vec<&Finding>, Option<Timestamp>) = (Vec::new(), None);
    for finding in situation.findings.iter().filter(is_about_us) {
        let lasting = match finding.alarm {
            Alarm::QualityLost => Span::ZERO,
            Alarm::InputDrift | Alarm::ScoreDrift => options.persistence,
            // Recalibration answers the first; the others are no question of what the model has learned.
            Alarm::CalibrationOff
            | Alarm::ModelFault
            | Alarm::SlowModel
            | Alarm::Overload
            | Alarm::HostSlow
            | Alarm::BrokenFeature
            | Alarm::AlertSurge
            | Alarm::AlertCollapse
            | Alarm::Volume
            | Alarm::LabelFeed
            | Alarm::GoldenMismatch
            | Alarm::AuditDown => continue,
        };
        let due = finding.since.plus(lasting);
        if situation.now >= due {
            found.push(finding);
        } else {
            waits = Some(waits.map_or(due, |waits| waits.min(due)));
        }
    }
    if found.is_empty() {
        return Err(waits.map_or(Hold::NothingFound, |until| Hold::NotYet { until }));
    }
    found.sort_by(|left, right| {
        let rank = |finding: &Finding| (finding.alarm != Alarm::QualityLost, finding.since);
        let by_strength = right.evidence.log_e.total_cmp(&left.evidence.log_e);
        rank(left).0.cmp(&rank(right).0).then(by_strength).then(rank(left).1.cmp(&rank(right).1))
    });
    found.truncate(EVIDENCE_MAX);
    Ok(found)
}

fn request(options: &Options, situation: &Situation<'_>, active: &ModelRef, evidence: Vec<&Finding>) -> Request {
    let Situation { now, incidents, .. } = situation;
    let until = now.minus(options.maturity);
    let from = (options.history > Span::ZERO).then(|| until.minus(options.history));
    let is_in_reach = |at: Timestamp| from.is_none_or(|from| at > from);
    let leave_out = incidents.windows(*now, options.maturity).into_iter().filter(|window| is_in_reach(window.until));
    let request = Request {
        id: String::new(),
        asked_at: *now,
        replaces: active.clone(),
        evidence: evidence.into_iter().cloned().collect(),
        from,
        until,
        maturity: options.maturity,
        leave_out: leave_out.collect(),
        declined: options.declined,
        gates: GATES.map(str::to_owned).to_vec(),
        note: note(options.declined).to_owned(),
    };
    request.named()
}

const fn note(declined: Declined) -> &'static str {
    match declined {
        Declined::Control => {
            "Declined transactions have no labels. Those that the control share let through stand for them, each with \
             the weight 1/share; all other declined ones are left out."
        }
        Declined::Labelled => {
            "Declined transactions have no labels but those that people gave them. They count as they are, so the set \
             leans towards what people looked at; a control share (policy.toml) would make it unbiased."
        }
    }
}

#[cfg(test)]
mod tests;

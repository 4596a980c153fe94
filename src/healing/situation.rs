//! All that a plan rests on, as one value: what was found, which models there are and how they stand, what
//! people ordered, what became of earlier actions.
//!
//! The situation is recorded with every plan, so that the same plan can be made again from the record
//! (`HE-5`). It therefore holds facts only, in order, without clocks or references. What is not known is
//! absent, and absent evidence never permits a change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::finding::{Alarm, Finding, Verdict};
use super::model::{ModelRef, Stage};
use crate::domain::{Calibration, Timestamp};

/// What is so at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Situation {
    /// When this is so.
    pub now: Timestamp,
    /// Every finding that is open, and those that ended just now.
    pub findings: Vec<Finding>,
    /// The models.
    pub fleet: FleetFacts,
    /// The breaker of the active model.
    pub breaker: BreakerFacts,
    /// The machine underneath.
    pub host: HostFacts,
    /// How far the detectors of the active model are.
    pub watch: WatchFacts,
    /// The standby, judged on the traffic of now.
    pub standby: Option<StandbyControl>,
    /// Active and standby, compared on labels.
    pub paired: Option<PairedEvidence>,
    /// The map from the active model's score to a probability, when one is in force.
    #[serde(default)]
    pub calibration: Option<CalibrationFacts>,
    /// Whether a model would be asked for now; `None`: nobody can tell, and asking would show it.
    #[serde(default)]
    pub asking: Option<Asking>,
    /// Whether what is done can be written down.
    pub record: RecordState,
    /// How this instance stands among those that share a stream.
    #[serde(default)]
    pub leadership: Leadership,
    /// What became of actions since the last situation.
    pub outcomes: Vec<Outcome>,
    /// What people ordered since the last situation.
    pub orders: Vec<Order>,
}

/// A map from score to probability, and how it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationFacts {
    /// Whose scores.
    pub model: ModelRef,
    /// The map.
    pub map: Calibration,
    /// Logarithm of the evidence for it against the bare score, on labels that matured under it, finite; negative where they
    /// speak against it.
    pub log_e_better: f64,
    /// How many those are.
    pub labels: u64,
}

/// The models and their places.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetFacts {
    /// Who answers; `None`: rules alone.
    pub active: Option<ActiveFacts>,
    /// Who stands by.
    pub standby: Option<StandbyFacts>,
    /// Who is on trial.
    pub trial: Option<TrialFacts>,
    /// Validated and signed bundles that wait for a trial.
    pub waiting: Vec<ModelRef>,
    /// Bundles that may not be loaded.
    pub quarantined: Vec<ModelRef>,
}

/// The model that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveFacts {
    /// Which.
    pub model: ModelRef,
    /// Since when.
    pub since: Timestamp,
    /// How it came to answer.
    pub cause: Cause,
    /// Its quality on the golden rows of its bundle, where larger is better.
    pub quality: Option<f64>,
}

/// How a model came to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It answered when the service started.
    Start,
    /// It is a new release: promoted, by the service or by a person.
    Promotion,
    /// It was proven before and came back.
    Rollback,
}

/// The model that stands by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StandbyFacts {
    /// Which.
    pub model: ModelRef,
    /// When its golden rows last gave their scores; `None`: never, or the last time they did not.
    pub golden_checked_at: Option<Timestamp>,
    /// Whether it is loaded and its windows are full.
    pub is_warm: bool,
    /// Its quality on the golden rows of its bundle, where larger is better.
    pub quality: Option<f64>,
}

/// The model on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialFacts {
    /// Which.
    pub model: ModelRef,
    /// Shadow or canary.
    pub stage: Stage,
    /// The share of entities it answers for, in percent; 0 in shadow.
    pub percent: u8,
    /// Since when at this share.
    pub since: Timestamp,
    /// How the trial stands.
    pub verdict: TrialVerdict,
    /// Named figures behind the verdict, finite.
    pub figures: BTreeMap<String, f64>,
}

/// How a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialVerdict {
    /// Not decided yet.
    Going,
    /// Not worse in anything that counts: one step on.
    Won,
    /// Worse: out.
    Lost,
    /// The evidence cannot decide; nothing moves.
    Inconclusive,
}

/// The breaker in front of the active model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerFacts {
    /// Its state.
    pub state: BreakerState,
    /// Whether a person holds it there.
    pub is_forced: bool,
}

/// The states of a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    #[default]
    Closed,
    /// No call goes through.
    Open,
    /// Probing.
    HalfOpen,
}

/// The machine underneath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Share of time the container was kept from its processor.
    pub throttled_share: f64,
    /// Share of time other guests took.
    pub stolen_share: f64,
    /// Whether the machine, not the model, explains slowness.
    pub is_slow: bool,
}

/// How far the detectors of the active model are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchFacts {
    /// Whom they watch.
    pub model: Option<ModelRef>,
    /// Votes since they began with this model.
    pub votes: u64,
    /// Whether they can tell: fed, warm, with a steady clock.
    pub is_conclusive: bool,
}

/// What judging a model on the traffic of now said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// As its own baseline has it.
    InControl,
    /// Otherwise than its own baseline has it.
    OutOfControl,
    /// Too little to tell.
    Inconclusive,
}

/// The standby, judged on the traffic of now by its own baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StandbyControl {
    /// Who was judged.
    pub model: ModelRef,
    /// When.
    pub at: Timestamp,
    /// On how many events.
    pub events: u64,
    /// Its inputs.
    pub inputs: Judged,
    /// Its scores.
    pub scores: Judged,
    /// How often it would stop transactions.
    pub alerts: Judged,
    /// Whether it computed the same rows, in the same seconds, within its time; `None`: not measured.
    pub within_time: Option<bool>,
    /// How many of the events it could not score.
    pub failures: u64,
    /// The active model on those of the same events that it answered; `None`: not judged.
    #[serde(default)]
    pub active: Option<ActiveControl>,
}

/// The active model, judged on the same events by its own baseline: an alarm that stands a while after its cause is
/// gone is told from one that the standby is free of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveControl {
    /// Its inputs.
    pub inputs: Judged,
    /// Its scores.
    pub scores: Judged,
    /// How often it would stop transactions.
    pub alerts: Judged,
}

/// Active and standby compared on the same labelled transactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedEvidence {
    /// Who answered.
    pub active: ModelRef,
    /// Who stood by.
    pub standby: ModelRef,
    /// Logarithm of the evidence that the standby is better.
    pub log_e_standby_better: f64,
    /// Logarithm of the evidence that the standby is worse.
    pub log_e_standby_worse: f64,
    /// On how many transactions.
    pub pairs: u64,
}

/// How this instance stands among those that share a stream: each protects itself, but what answers everywhere is not
/// changed by each on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leadership {
    /// There is nobody else: no stream, or all partitions of its input are here.
    #[default]
    Alone,
    /// Others read the stream, too, and the first partition is here: whoever has that asks for new models.
    Leads,
    /// Others read the stream, too.
    Follows,
    /// The stream has no partition here, or none yet: nothing is known of the others.
    Unknown,
}

impl Leadership {
    /// Judges by the partitions of the input that are here, out of so many. The group gives each to one instance.
    #[must_use]
    pub fn of(here: &[u32], partitions: u32) -> Self {
        let is_here = |partition: u32| here.contains(&partition);
        if here.is_empty() {
            Self::Unknown
        } else if (0..partitions).all(is_here) {
            Self::Alone
        } else if is_here(0) {
            Self::Leads
        } else {
            Self::Follows
        }
    }

    /// Tells whether what answers may be changed by the service itself: other instances would not follow.
    #[must_use]
    pub const fn may_promote(self) -> bool {
        matches!(self, Self::Alone)
    }

    /// Tells whether a new model may be asked for: one instance asks for all.
    #[must_use]
    pub const fn may_ask(self) -> bool {
        matches!(self, Self::Alone | Self::Leads)
    }
}

/// Whether a model would be asked for now. Retraining has conditions of its own: enough mature frauds, a pause between two
/// requests, none under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// Why not, for people; `None`: it would.
    pub hold: Option<String>,
}

/// Whether what is done can be written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordState {
    /// Records reach their place.
    #[default]
    Written,
    /// They wait in memory: only protective actions are taken.
    Down,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The number of the planned action.
    pub order: u64,
    /// When it was known.
    pub at: Timestamp,
    /// Why it failed; `None`: it was done.
    pub failure: Option<String>,
}

/// What a person ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub kind: OrderKind,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// Nothing but protection until unlocked.
    Lock,
    /// Acting again; budgets and memories of changes begin anew.
    Unlock,
    /// Rules answer alone.
    SafeMode,
    /// The end of safe mode.
    Resume,
}

impl OrderKind {
    /// Every order, for doors and their description.
    pub const ALL: [Self; 4] = [Self::Lock, Self::Unlock, Self::SafeMode, Self::Resume];

    /// Returns the name used in paths and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::SafeMode => "safe-mode",
            Self::Resume => "resume",
        }
    }

    /// Finds an order by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Situation {
    /// Returns the model that answers.
    #[must_use]
    pub fn active(&self) -> Option<&ModelRef> {
        self.fleet.active.as_ref().map(|active| &active.model)
    }

    /// Tells whether a finding may lead to actions now: it is about no model, or about the one that answers
    /// (`HE-3`).
    #[must_use]
    pub fn concerns_active(&self, model: Option<&ModelRef>) -> bool {
        model.is_none() || model == self.active()
    }

    /// Tells whether an alarm stands against a model now.
    #[must_use]
    pub fn stands(&self, alarms: &[Alarm], model: Option<&ModelRef>) -> bool {
        let is_meant = |finding: &&Finding| {
            finding.verdict == Verdict::Acting
                && alarms.contains(&finding.alarm)
                && (finding.model.is_none() || finding.model.as_ref() == model)
        };
        self.findings.iter().any(|finding| is_meant(&finding))
    }
}

/// An action with all that was said when it was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Its number, unique in a chain of memories.
    pub order: u64,
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// The row of the table it follows from.
    pub row: String,
    /// The incident it belongs to; `None`: none, such as a trial or a person.
    pub incident: Option<u64>,
    /// One line a person can read at three in the morning.
    pub reason: String,
}

/// Something the table asks for that is not done now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    /// The row that asks.
    pub row: String,
    /// The incident.
    pub incident: Option<u64>,
    /// The action's name; empty when the whole row is held.
    pub action: String,
    /// Why, for people and machines alike.
    pub reason: Refusal,
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The detector cannot tell.
    Inconclusive,
    /// Another alarm explains this one.
    Explained,
    /// Locked until a person unlocks.
    Locked,
    /// What is done cannot be written down.
    RecordDown,
    /// The budget of the hour or the day is spent.
    Budget,
    /// The row or the last change of model is too fresh.
    CoolDown,
    /// It would undo or redo a change of today.
    Returning,
    /// There is no model to change to: none stands by, it is cold, unchecked or banned.
    NoTarget,
    /// The labels or the data it would rest on are not to be trusted now.
    DataInDoubt,
    /// It failed as often as it may.
    Failed,
    /// Retraining would not ask for a model now, and says why itself.
    NotYet,
    /// An earlier action or a check of it is under way.
    Busy,
    /// Several instances share the stream, and this is not for one of them: it protects itself, and people decide.
    NotLeader,
}

impl Refusal {
    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inconclusive => "inconclusive",
            Self::Explained => "explained",
            Self::Locked => "locked",
            Self::RecordDown => "record_down",
            Self::Budget => "budget",
            Self::CoolDown => "cool_down",
            Self::Returning => "returning",
            Self::NoTarget => "no_target",
            Self::DataInDoubt => "data_in_doubt",
            Self::Failed => "failed",
            Self::NotYet => "not_yet",
            Self::Busy => "busy",
            Self::NotLeader => "not_leader",
        }
    }
}

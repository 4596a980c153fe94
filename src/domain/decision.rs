//! The decision: what we answered, why, and which release answered.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::calibration::Calibration;
use super::score::Score;
use super::time::Timestamp;

/// What the caller should do, from mildest to most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Let it through.
    Approve,
    /// Let a person look at it.
    Review,
    /// Ask the customer to prove who they are.
    Challenge,
    /// Stop it.
    Decline,
}

impl Outcome {
    /// Every outcome, mildest first.
    pub const ALL: [Self; 4] = [Self::Approve, Self::Review, Self::Challenge, Self::Decline];

    /// Returns the name used in JSON, rules and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Review => "review",
            Self::Challenge => "challenge",
            Self::Decline => "decline",
        }
    }

    /// Finds an outcome by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Who made the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionSource {
    /// The model's score against the thresholds.
    Model,
    /// A rule, or rule weights without or beyond the score.
    Rules,
    /// An allow or deny entry.
    List,
    /// The stand-in policy: no model and no rule decided.
    Standin,
}

impl DecisionSource {
    /// Every source, for metrics.
    pub const ALL: [Self; 4] = [Self::Model, Self::Rules, Self::List, Self::Standin];

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Rules => "rules",
            Self::List => "list",
            Self::Standin => "standin",
        }
    }
}

/// What was less than whole while deciding; stable, part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DegradedReason {
    /// No model is loaded.
    ModelUnavailable,
    /// The model call failed.
    ModelError,
    /// The model did not answer within its deadline.
    ModelTimeout,
    /// The inference queue was full.
    ModelQueueFull,
    /// The model answered NaN or an infinity.
    ScoreNotFinite,
    /// The model answered outside 0..=1.
    ScoreOutOfRange,
    /// The request's deadline was over before the model could be asked.
    DeadlineExceeded,
    /// An entity's log had dropped events that a window needed.
    FeaturesCapped,
    /// Feature windows of this release are not full yet.
    FeaturesWarming,
    /// The amount's currency has no rate: amount features are missing.
    RateMissing,
    /// The decision could not be recorded durably.
    NotRecorded,
    /// The release was rolled back and nobody has accepted that yet.
    RolledBack,
    /// State was still being read from disk: features were incomplete, so no model was asked.
    Restoring,
    /// Another instance has this transaction's state: no model was asked.
    NotOwner,
    /// Most places for requests were taken: the rules answered alone, so that there is room for more.
    Overload,
    /// The breaker of the model was open, or the call was not among those it lets through.
    BreakerOpen,
    /// Rules answer alone by decision of the supervisor or of a person.
    SafeMode,
    /// A feature whose source is broken took its declared default.
    FeatureMasked,
    /// It went to review although its risk is below the limit, because the model is in doubt.
    ReviewWidened,
    /// Rules on velocity weighed more, because of an attack.
    Tightened,
    /// The standby was asked, too, because the model went silent: the most severe answer counts.
    United,
    /// The standby should have been asked, too, and did not answer.
    UnionIncomplete,
}

impl DegradedReason {
    /// Every reason, for metrics.
    pub const ALL: [Self; 22] = [
        Self::ModelUnavailable,
        Self::ModelError,
        Self::ModelTimeout,
        Self::ModelQueueFull,
        Self::ScoreNotFinite,
        Self::ScoreOutOfRange,
        Self::DeadlineExceeded,
        Self::FeaturesCapped,
        Self::FeaturesWarming,
        Self::RateMissing,
        Self::NotRecorded,
        Self::RolledBack,
        Self::Restoring,
        Self::NotOwner,
        Self::Overload,
        Self::BreakerOpen,
        Self::SafeMode,
        Self::FeatureMasked,
        Self::ReviewWidened,
        Self::Tightened,
        Self::United,
        Self::UnionIncomplete,
    ];

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModelUnavailable => "model_unavailable",
            Self::ModelError => "model_error",
            Self::ModelTimeout => "model_timeout",
            Self::ModelQueueFull => "model_queue_full",
            Self::ScoreNotFinite => "score_not_finite",
            Self::ScoreOutOfRange => "score_out_of_range",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::FeaturesCapped => "features_capped",
            Self::FeaturesWarming => "features_warming",
            Self::RateMissing => "rate_missing",
            Self::NotRecorded => "not_recorded",
            Self::RolledBack => "rolled_back",
            Self::Restoring => "restoring",
            Self::NotOwner => "not_owner",
            Self::Overload => "overload",
            Self::BreakerOpen => "breaker_open",
            Self::SafeMode => "safe_mode",
            Self::FeatureMasked => "feature_masked",
            Self::ReviewWidened => "review_widened",
            Self::Tightened => "tightened",
            Self::United => "united",
            Self::UnionIncomplete => "union_incomplete",
        }
    }
}

/// Where a reason comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonSource {
    /// The model: a feature's contribution, or the score itself.
    Model,
    /// A rule that hit.
    Rule,
    /// A list entry.
    List,
    /// The stand-in policy.
    Standin,
    /// The policy's control share.
    Policy,
}

/// How much one feature moved the score: score as it is minus score with the feature at its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The feature's place in the schema.
    pub feature: usize,
    /// In units of probability, -1..=1.
    pub amount: f64,
}

/// One reason of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable code such as `AMOUNT_HIGH`.
    pub code: Arc<str>,
    /// One sentence for people.
    pub description: Arc<str>,
    /// Probability moved by this feature, or risk added by this rule as a probability; absent when not computed.
    /// Of the control share: the share itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contribution: Option<f64>,
    /// Where it comes from.
    pub source: ReasonSource,
    /// Exactly one reason of a decision is decisive.
    pub decisive: bool,
}

/// What one rule said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleVerdict {
    /// The condition held.
    Hit,
    /// The condition did not hold.
    NoHit,
    /// The condition read a field, feature or score that is absent: no hit.
    Absent,
    /// The condition failed (division by zero, overflow).
    Error,
}

/// The score limits of a release: at or above each, at least that outcome. Ordered, within 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// From here on: review.
    pub review: f64,
    /// From here on: challenge; absent when the release does not challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<f64>,
    /// From here on: decline.
    pub decline: f64,
}

impl Thresholds {
    /// Returns the outcome of a risk within 0..=1.
    #[must_use]
    pub fn outcome(&self, risk: f64) -> Outcome {
        if risk >= self.decline {
            Outcome::Decline
        } else if self.challenge.is_some_and(|challenge| risk >= challenge) {
            Outcome::Challenge
        } else if risk >= self.review {
            Outcome::Review
        } else {
            Outcome::Approve
        }
    }

    /// Tells whether the limits are ordered and within 0..=1.
    #[must_use]
    pub fn are_ordered(&self) -> bool {
        let middle = self.challenge.unwrap_or(self.decline);
        0.0 <= self.review && self.review <= middle && middle <= self.decline && self.decline <= 1.0
    }
}

impl Default for Thresholds {
    /// Returns the limits of a release without a model: rule weights alone are measured against them.
    fn default() -> Self {
        Self { review: 0.3, challenge: Some(0.5), decline: 0.7 }
    }
}

/// What every decision of one release has in common; shared, never copied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReleaseFacts {
    /// The model's name; empty when no model is loaded.
    pub model_name: String,
    /// The model's version.
    pub model_version: String,
    /// The model file's sha256 in hex.
    pub model_sha256: String,
    /// `active`, `standby`, `canary` or `none`.
    pub model_role: String,
    /// Hash of the rules and lists files.
    pub rules_version: String,
    /// Hash of the policy file.
    pub policy_version: String,
    /// Hash of the feature schema.
    pub schema_hash: String,
    /// Version of the rate table.
    pub rates_version: String,
    /// The score limits.
    pub thresholds: Thresholds,
    /// The active rules, in the order of a decision's verdicts.
    pub rules: Vec<RuleFacts>,
    /// The model that is asked beside the one that answers, while the most severe of both counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondFacts>,
    /// The map from the model's score to a probability, where labels showed that the score is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// A model that is asked beside the one that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondFacts {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The model file's sha256 in hex.
    pub sha256: String,
    /// Its own score limits.
    pub thresholds: Thresholds,
}

/// What a decision repeats of one active rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFacts {
    /// The rule's stable id.
    pub id: Arc<str>,
    /// The rule's version.
    pub version: u32,
    /// Risk points a hit adds, -1000..=1000; 0 for a rule that names an outcome.
    pub weight: i32,
    /// Risk points an error adds.
    pub on_error_weight: i32,
    /// The outcome a hit asks for, when the rule names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_for: Option<Outcome>,
}

/// Where the time went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From the decoded transaction to the decision.
    pub total: u32,
    /// Reading and writing entity state.
    pub features: u32,
    /// Evaluating the rules.
    pub rules: u32,
    /// Waiting for and running the model.
    pub model: u32,
}

/// Whether this answer is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationStatus {
    /// Decided now.
    New,
    /// The first decision of this transaction id, again.
    Duplicate,
    /// A dry run: nothing was recorded.
    DryRun,
}

/// The id of a decision, derived from transaction id and payload: a redelivery gives the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId(pub u128);

impl fmt::Display for DecisionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "dec_{:032x}", self.0)
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A W3C trace id: 16 bytes, not all zero when present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// The answer to one transaction (`SC-1`: exactly one).
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Content-derived id.
    pub id: DecisionId,
    /// The transaction it is about.
    pub transaction_id: CompactString,
    /// What to do.
    pub outcome: Outcome,
    /// The model's probability; absent on any model error, never 0 for one (`SC-5`).
    pub score: Option<Score>,
    /// Score and rule weights together, 0..=1000.
    pub risk_score: u16,
    /// Why, most important first; exactly one is decisive.
    pub reasons: SmallVec<[Reason; 4]>,
    /// One verdict per active rule, in the release's rule order.
    pub rules: SmallVec<[RuleVerdict; 24]>,
    /// Why contributions are not given, when they were wanted: `deadline`, `budget`, `model_error`.
    pub explanation_omitted: Option<&'static str>,
    /// Which model, rules, policy and schema answered.
    pub release: Arc<ReleaseFacts>,
    /// Who decided.
    pub source: DecisionSource,
    /// What was less than whole; empty is healthy.
    pub degraded: SmallVec<[DegradedReason; 2]>,
    /// Where the time went.
    pub latency: Latency,
    /// The caller's trace id, or one made for this request.
    pub trace_id: TraceId,
    /// When it was decided.
    pub evaluated_at: Timestamp,
}

#[cfg(test)]
pub(crate) mod samples {
    //! A release and a decision of it, for tests of whoever shows decisions.

    use super::*;

    /// A release with two rules, for tests of what is written.
    pub(crate) fn release() -> Arc<ReleaseFacts> {
        let rule =
            |id: &str, weight, asks_for| RuleFacts { id: id.into(), version: 3, weight, on_error_weight: 7, asks_for };
        Arc::new(ReleaseFacts {
            model_name: "card-fraud".into(),
            model_version: "1".into(),
            model_sha256: "ab".into(),
            model_role: "active".into(),
            rules_version: "r".into(),
            policy_version: "p".into(),
            schema_hash: "s".into(),
            rates_version: "x".into(),
            thresholds: Thresholds { review: 0.5, challenge: None, decline: 0.9 },
            rules: vec![rule("velocity", 120, None), rule("stolen", 0, Some(Outcome::Decline))],
            ..ReleaseFacts::default()
        })
    }

    /// A decision of that release.
    pub(crate) fn decision(id: &str) -> Decision {
        let reason = Reason {
            code: "AMOUNT_HIGH".into(),
            description: "amount is \"high\"".into(),
            contribution: Some(0.25),
            source: ReasonSource::Model,
            decisive: true,
        };
        Decision {
            id: DecisionId(1),
            transaction_id: id.into(),
            outcome: Outcome::Review,
            score: Some(Score::new(0.625).expect("a score")),
            risk_score: 745,
            reasons: [reason].into_iter().collect(),
            rules: [RuleVerdict::Hit, RuleVerdict::Absent].into_iter().collect(),
            explanation_omitted: None,
            release: release(),
            source: DecisionSource::Model,
            degraded: [DegradedReason::RateMissing].into_iter().collect(),
            latency: Latency { total: 40, features: 5, rules: 2, model: 20 },
            trace_id: TraceId(10),
            evaluated_at: Timestamp::from_seconds(1_772_359_200),
        }
    }
}

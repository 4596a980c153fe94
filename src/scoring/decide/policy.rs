//! The stand-in policy: what is answered when no model and no rule decides.
//!
//! Per channel, small amounts are approved until an entity's running total is used up; the rest goes
//! to review; when review would drown, `review_share_max` caps it and `over_cap` answers instead.
//! Nothing here approves by default (`SC-5`): a channel that is not named takes `[standin.default]`,
//! and an amount without a rate is never approved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::control::Control;
use crate::domain::{Outcome, Span, Thresholds};

/// The policy file (`config/policy.toml`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Names this policy in every decision.
    pub version: String,
    /// What answers when neither model nor rule does.
    pub standin: Standin,
    /// Which declines are let through, so that their labels are learned; none unless asked for.
    #[serde(default)]
    pub control: Control,
    /// How far healing may go to protect.
    #[serde(default)]
    pub protection: Protection,
}

/// How far healing may go to protect; part of the policy, so that a decision can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// How much more rules with the tag `velocity` weigh under an attack, in percent.
    pub tighten_percent: i32,
    /// How much lower the review threshold lies while more goes to review, as a share of it.
    pub widen_review_by: f64,
    /// The largest share of decisions that may become reviews by this.
    pub widen_share_max: f64,
}

impl Default for Protection {
    fn default() -> Self {
        Self { tighten_percent: 50, widen_review_by: 0.3, widen_share_max: 0.1 }
    }
}

impl Protection {
    /// Returns the limits while more goes to review.
    #[must_use]
    pub fn widened(&self, thresholds: &Thresholds) -> Thresholds {
        Thresholds { review: thresholds.review * (1.0 - self.widen_review_by), ..*thresholds }
    }
}

/// The stand-in part of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standin {
    /// Largest share of stand-in answers that may be `review`, 0..=1.
    pub review_share_max: f64,
    /// Over which receipt time that share is measured.
    pub review_window: Span,
    /// What answers beyond the share: `challenge` or `decline`.
    pub over_cap: Outcome,
    /// Over which receipt time an entity's approved total runs.
    pub total_window: Span,
    /// Limits of every channel that is not named below.
    pub default: Limits,
    /// Limits by channel.
    #[serde(default)]
    pub channels: BTreeMap<String, Limits>,
}

/// What a channel may approve without a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest single amount, in minor units of the base currency.
    pub approve_amount_max: i64,
    /// Largest running total of one entity with this amount, in minor units of the base currency.
    pub approve_total_max: i64,
}

impl Policy {
    /// Parses a policy file.
    ///
    /// # Errors
    /// Every fault, each with its key and what is expected.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let policy: Self = toml::from_str(text).map_err(|error| vec![error.to_string().trim().to_owned()])?;
        let faults = policy.faults();
        if faults.is_empty() { Ok(policy) } else { Err(faults) }
    }

    fn faults(&self) -> Vec<String> {
        let standin = &self.standin;
        let mut faults = self.control.faults();
        if !(0.0..=1.0).contains(&standin.review_share_max) {
            faults.push("standin.review_share_max: expected a share within 0..=1, such as 0.2".into());
        }
        if !matches!(standin.over_cap, Outcome::Challenge | Outcome::Decline) {
            faults.push("standin.over_cap: expected \"challenge\" or \"decline\"".into());
        }
        let Protection { tighten_percent, widen_review_by, widen_share_max } = self.protection;
        if !(0..=1_000).contains(&tighten_percent) {
            faults.push("protection.tighten_percent: expected 0 to 1000".into());
        }
        for (key, share) in [("widen_review_by", widen_review_by), ("widen_share_max", widen_share_max)] {
            if !(0.0..=1.0).contains(&share) {
                faults.push(format!("protection.{key}: expected a share within 0..=1, such as 0.1"));
            }
        }
        for (key, span) in [("review_window", standin.review_window), ("total_window", standin.total_window)] {
            if span <= Span::ZERO || span > Span::from_days(30) {
                faults.push(format!("standin.{key}: expected a duration above 0 and at most 30d, such as \"24h\""));
            }
        }
        let named = standin.channels.iter().map(|(channel, limits)| (format!("standin.channels.{channel}"), limits));
        for (key, limits) in named.chain([("standin.default".to_owned(), &standin.default)]) {
            if limits.approve_amount_max < 0 || limits.approve_total_max < limits.approve_amount_max {
                faults.push(format!("{key}: expected 0 <= approve_amount_max <= approve_total_max"));
            }
        }
        faults
    }
}

/// What the runtime knows of the stand-in's use so far; part of a decision's recorded inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StandinLoad {
    /// What the stand-in approved for this entity within the window, in minor units of the base currency.
    pub entity_total: i64,
    /// Share of stand-in answers within the window that were `review`, 0..=1; 0 while there are too few to tell.
    pub review_share: f64,
}

impl Standin {
    /// Answers one transaction.
    #[must_use]
    pub fn answer(&self, channel: Option<&str>, base_amount: Option<i64>, load: StandinLoad) -> StandinAnswer {
        let limits = channel.and_then(|channel| self.channels.get(channel)).unwrap_or(&self.default);
        let approves = base_amount.is_some_and(|amount| {
            amount <= limits.approve_amount_max && load.entity_total.saturating_add(amount) <= limits.approve_total_max
        });
        if approves {
            StandinAnswer::Approve
        } else if load.review_share >= self.review_share_max {
            StandinAnswer::OverCap(self.over_cap)
        } else {
            StandinAnswer::Review
        }
    }
}

/// What the stand-in policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandinAnswer {
    /// Below the amount and the running total.
    Approve,
    /// Not approved, and review has room.
    Review,
    /// Not approved, and review is full.
    OverCap(Outcome),
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        version = "t"
        [standin]
        review_share_max = 0.5
        review_window = "10m"
        over_cap = "decline"
        total_window = "24h"
        default = { approve_amount_max = 1000, approve_total_max = 3000 }
        channels.pos = { approve_amount_max = 5000, approve_total_max = 5000 }
    "#;

    #[test]
    fn nothing_is_approved_by_default() {
        let standin = Policy::parse(TEXT).expect("valid").standin;
        let check = |channel, amount, entity_total, review_share, expected| {
            let load = StandinLoad { entity_total, review_share };
            assert_eq!(standin.answer(channel, amount, load), expected, "{channel:?} {amount:?} {load:?}");
        };
        check(None, Some(1_000), 2_000, 0.0, StandinAnswer::Approve);
        check(None, Some(1_001), 0, 0.0, StandinAnswer::Review);
        check(None, Some(1_000), 2_001, 0.0, StandinAnswer::Review);
        check(None, None, 0, 0.0, StandinAnswer::Review);
        check(Some("pos"), Some(5_000), 0, 0.0, StandinAnswer::Approve);
        check(Some("moto"), Some(5_000), 0, 0.49, StandinAnswer::Review);
        check(Some("moto"), Some(5_000), 0, 0.5, StandinAnswer::OverCap(Outcome::Decline));
        check(Some("pos"), Some(1), i64::MAX, 1.0, StandinAnswer::OverCap(Outcome::Decline));
    }

    #[test]
    fn all_faults_come_at_once() {
        let broken = TEXT.replace("0.5", "1.5").replace("\"decline\"", "\"approve\"").replace("5000 }", "1 }");
        assert_eq!(Policy::parse(&broken).expect_err("refused").len(), 3);
        let unknown = format!("{TEXT}\n[standin.extra]\nx = 1");
        assert!(Policy::parse(&unknown).expect_err("refused")[0].contains("unknown field"));
    }
}

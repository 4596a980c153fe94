//! The control share: a tiny part of what would be declined is let through, so that its label comes.
//!
//! What is declined is never disputed, so nobody learns whether it was fraud. A control share, when a policy asks
//! for one, is drawn by the transaction's id: the same transaction always falls the same way. Its decision says so,
//! with the share, so that whoever learns from it gives it the weight `1 / share`. It is off by default. Deny lists
//! and rules that name an outcome are never overruled, nor is an amount above the limit or without a rate.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::reasons::REASONS_MAX;
use crate::domain::{Outcome, Reason, ReasonSource, Transaction};

/// The code of the reason that a decision of the control share gives.
pub const CODE: &str = "CONTROL_SHARE";
/// The largest share of declines that may be let through.
pub const SHARE_MAX: f64 = 0.1;
/// Keeps this draw apart from others over the same ids.
const SEED: u64 = 0x636f_6e74_726f_6c31;

static TEXTS: LazyLock<(Arc<str>, Arc<str>)> = LazyLock::new(|| {
    (CODE.into(), "let through as control, so that its label is learned; it would be declined".into())
});

/// The part of the policy about control decisions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Which share of declines by risk is let through, 0 (none) to 0.1.
    pub share: f64,
    /// The largest amount that is, in minor units of the base currency.
    pub amount_max: i64,
    /// What they get instead: `approve`, `review` or `challenge`.
    pub outcome: Outcome,
}

impl Default for Control {
    fn default() -> Self {
        Self { share: 0.0, amount_max: 0, outcome: Outcome::Review }
    }
}

impl Control {
    /// Lists what is wrong with it.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !(0.0..=SHARE_MAX).contains(&self.share) {
            faults.push(format!("control.share: expected 0 to {SHARE_MAX}, such as 0.005"));
        }
        if self.amount_max < 0 {
            faults.push("control.amount_max: expected an amount in minor units, such as 5000".into());
        }
        if self.outcome == Outcome::Decline {
            faults.push("control.outcome: expected \"approve\", \"review\" or \"challenge\"".into());
        }
        faults
    }

    /// Tells whether a transaction that would be declined is let through.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a share of 2^64, which fits")]
    pub fn lets_through(&self, transaction: &Transaction) -> bool {
        if self.share <= 0.0 || transaction.base_amount().is_none_or(|amount| amount > self.amount_max) {
            return false;
        }
        let drawn = xxh3_64_with_seed(transaction.id().as_bytes(), SEED);
        drawn < (self.share * u64::MAX as f64) as u64
    }

    /// Makes this the decisive reason.
    pub(super) fn explain(&self, reasons: &mut SmallVec<[Reason; 4]>) {
        for reason in reasons.iter_mut() {
            reason.decisive = false;
        }
        let (code, description) = &*TEXTS;
        let reason = Reason {
            code: Arc::clone(code),
            description: Arc::clone(description),
            contribution: Some(self.share),
            source: ReasonSource::Policy,
            decisive: true,
        };
        reasons.insert(0, reason);
        reasons.truncate(REASONS_MAX);
    }
}

/// Returns the control share that let a decision through, by its reasons; `None` when none did.
#[must_use]
pub fn share_of(reasons: &[Reason]) -> Option<f64> {
    let control = reasons.iter().find(|reason| reason.source == ReasonSource::Policy && &*reason.code == CODE);
    control.and_then(|reason| reason.contribution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::transaction::samples;

    fn transaction(id: &str, amount: i64) -> Transaction {
        samples::transaction(id, Timestamp::from_seconds(1_772_359_200), amount, |_| {})
    }

    #[test]
    fn the_share_is_kept_and_the_draw_is_the_transactions() {
        let control = Control { share: 0.05, amount_max: 10_000, outcome: Outcome::Review };
        let drawn = |share: f64| {
            let control = Control { share, ..control };
            (0..20_000).filter(|n| control.lets_through(&transaction(&format!("t-{n}"), 10_000))).collect::<Vec<_>>()
        };
        let five = drawn(0.05);
        assert!((900..1_100).contains(&five.len()), "{}", five.len());
        assert_eq!(five, drawn(0.05), "sticky");
        assert!(drawn(0.01).iter().all(|number| five.contains(number)), "a smaller share is a part of a larger one");
        assert_eq!(drawn(0.0).len(), 0);
        let id = format!("t-{}", five[0]);
        assert!(!control.lets_through(&transaction(&id, 10_001)), "above the amount");
        assert!(!Control::default().lets_through(&transaction(&id, 0)), "off by default");
    }

    #[test]
    fn a_policy_cannot_ask_for_more_than_a_share() {
        let good = Control { share: 0.1, amount_max: 0, outcome: Outcome::Approve };
        assert_eq!(good.faults().len() + Control::default().faults().len(), 0);
        let bad = Control { share: 0.2, amount_max: -1, outcome: Outcome::Decline };
        assert_eq!(bad.faults().len(), 3);
        assert_eq!(Control { share: f64::NAN, ..good }.faults().len(), 1);
    }
}

//! What protects answers while something is wrong: safe mode, masked features, tightened rules, wider review.
//!
//! ```text
//! executor ── change ──> Shield ── one load a transaction ──> Stance: no model? default of which features? limits?
//! ```
//! Nothing here loosens. Widening has a cap: beyond a share of all decisions nothing more goes to review for it.
//! Decisions that it touched say so, and how far it goes is part of the policy, so they can be made again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::domain::{DegradedReason, FeatureVector, Timestamp};
use crate::scoring::feature::Schema;

/// Over how many minutes the share of widened reviews is measured.
const MINUTES: i64 = 10;

/// What is in force; nothing, as it should be.
#[expect(clippy::struct_excessive_bools, reason = "each is a protection of its own, in any combination")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protections {
    /// Rules answer alone.
    pub is_safe_mode: bool,
    /// Rules on velocity weigh more.
    pub is_tight: bool,
    /// More goes to review.
    pub is_wide: bool,
    /// The stream is not read.
    pub is_paused: bool,
    /// Features that take their declared default, by name.
    pub masked: Vec<String>,
}

/// What protects one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stance {
    /// Rules answer alone.
    pub is_safe_mode: bool,
    /// Rules on velocity weigh more.
    pub is_tight: bool,
    /// More goes to review.
    pub is_wide: bool,
}

impl Stance {
    /// Returns why no model may be asked.
    #[must_use]
    pub fn bar(self) -> Option<DegradedReason> {
        self.is_safe_mode.then_some(DegradedReason::SafeMode)
    }
}

/// The protections in force, read by every transaction, changed by the executor only.
#[derive(Default)]
pub struct Shield {
    /// Whether there is anything at all: the rest is read only then.
    is_raised: AtomicBool,
    current: ArcSwap<Protections>,
    changing: Mutex<()>,
    widened: Mutex<Widened>,
}

/// Decisions and widened ones by minute of receipt, the newest last.
#[derive(Default)]
struct Widened {
    minutes: VecDeque<(i64, u64, u64)>,
}

impl Shield {
    /// Masks what is to be masked and tells what else protects this transaction.
    #[must_use]
    pub fn protect(&self, features: &mut FeatureVector, schema: &Schema) -> Stance {
        if !self.is_raised.load(Ordering::Acquire) {
            return Stance::default();
        }
        let protections = self.current.load();
        for name in &protections.masked {
            let named = schema.features().iter().enumerate().find(|(_, feature)| feature.name == name.as_str());
            if let Some((index, feature)) = named {
                features.mask(index, feature.missing);
            }
        }
        let Protections { is_safe_mode, is_tight, is_wide, .. } = **protections;
        Stance { is_safe_mode, is_tight, is_wide }
    }

    /// Returns what is in force.
    #[must_use]
    pub fn current(&self) -> Arc<Protections> {
        self.current.load_full()
    }

    /// Changes what is in force, one change at a time.
    pub fn change(&self, change: impl FnOnce(&mut Protections)) {
        let _one_at_a_time = self.changing.lock();
        let mut next = Protections::clone(&self.current.load());
        change(&mut next);
        let is_raised = next != Protections::default();
        self.current.store(Arc::new(next));
        self.is_raised.store(is_raised, Ordering::Release);
    }

    /// Counts one decision while review is wide, and tells whether it may become a review: it would, and the
    /// share of those is below `share_max`.
    pub fn may_widen(&self, would: bool, share_max: f64, now: Timestamp) -> bool {
        let minute = now.seconds() / 60;
        let mut widened = self.widened.lock();
        widened.minutes.retain(|(at, _, _)| *at > minute - MINUTES && *at <= minute);
        let (all, ours) = widened.minutes.iter().fold((0, 0), |(all, ours), (_, a, o)| (all + a, ours + o));
        let may = would && (ours as f64) < share_max * ((all + 1) as f64);
        match widened.minutes.back_mut() {
            Some((at, all, ours)) if *at == minute => {
                *all += 1;
                *ours += u64::from(may);
            }
            _ => widened.minutes.push_back((minute, 1, u64::from(may))),
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Span;

    #[test]
    fn widening_stays_below_its_share() {
        let shield = Shield::default();
        let start = Timestamp::from_seconds(1_000_000);
        let mut widened = 0;
        for step in 0..6_000_i64 {
            let now = start.plus(Span::from_micros(step * 100_000));
            widened += u32::from(shield.may_widen(step % 2 == 0, 0.1, now));
        }
        assert!((590..=601).contains(&widened), "{widened}");
        assert!(!shield.may_widen(false, 1.0, start.plus(Span::from_days(1))));
        assert!(!shield.may_widen(true, 0.0, start.plus(Span::from_days(1))));
    }

    #[test]
    fn a_masked_feature_takes_its_default_and_the_stance_follows_the_change() {
        let schema = Schema::parse(include_str!("../../models/schemas/card-fraud.toml")).expect("a schema");
        let shield = Shield::default();
        let vector = || {
            let mut vector = FeatureVector::with_capacity(schema.features().len());
            schema.features().iter().for_each(|_| vector.push(Some(1.5), 0.0));
            vector
        };
        let mut features = vector();
        assert_eq!(shield.protect(&mut features, &schema), Stance::default());
        let name = schema.features()[3].name.to_string();
        shield.change(|protections| {
            protections.masked.push(name.clone());
            protections.masked.push("no such feature".into());
            protections.is_safe_mode = true;
        });
        assert_eq!(shield.protect(&mut features, &schema).bar(), Some(DegradedReason::SafeMode));
        assert_eq!(features.unmasked(), [(3, Some(1.5))]);
        shield.change(|protections| *protections = Protections::default());
        let mut features = vector();
        assert_eq!(shield.protect(&mut features, &schema), Stance::default());
        assert!(!features.is_masked());
    }
}

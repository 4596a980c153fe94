//! Drift: what changes in the course of a simulation, and from when on.
//!
//! A drift is written `KEY=VALUE@AFTER`, its start counted from the start of the simulation:
//!
//! ```text
//! amount.scale=1.5@30d          what is sent is 1.5 times the amount (100: the classic cents bug)
//! amount.shift=500@30d          ... or 500 minor units more
//! fraud_amount.scale=0.4@30d    fraud only: the enemy learns
//! null.card.bin=0.2@30d         a field is missing in a fifth of the transactions (or `null.location`)
//! fraud.scale=3@30d             every fraud pattern begins three times as often
//! traffic.scale=2@30d           customers pay twice as often
//! labels.share=0@30d            the label feed stops
//! card_testing.per_day=20@30d   a pattern's rate becomes another (a new pattern: from 0)
//! ```
//! Amounts, nulls and labels change to the second; rates and traffic from the first whole day on.
//! Amounts change only as they are *sent*: who is a fraudster was settled before.

use super::detail::Part;
use super::options::{RATE_PER_DAY_MAX, Rates, is_rate};
use super::scenario::Pattern;
use crate::domain::Span;

/// The largest factor of a scale.
pub const SCALE_MAX: f64 = 1_000.0;
/// The largest shift of an amount in minor units, either way.
pub const SHIFT_MAX: i64 = 1_000_000_000;

/// One change with its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// How long after the start of the simulation it sets in.
    pub after: Span,
    /// What changes.
    pub change: Change,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Every amount is multiplied.
    AmountScale(f64),
    /// Every amount gets so many minor units more, never falling below 0.
    AmountShift(i64),
    /// Amounts of frauds are multiplied.
    FraudAmountScale(f64),
    /// A part is missing in this share of transactions.
    Null(Part, f64),
    /// Every fraud pattern with a rate begins so many times as often.
    FraudScale(f64),
    /// Customers pay so many times as often.
    TrafficScale(f64),
    /// Only this share of the labels still comes.
    LabelShare(f64),
    /// A pattern begins so often a day.
    PatternRate(Pattern, f64),
}

impl Drift {
    /// Parses `KEY=VALUE@AFTER`.
    ///
    /// # Errors
    /// What was expected where, with an example.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("drift {text:?}: {why}, such as amount.scale=1.5@30d"));
        let Some(((key, value), after)) =
            text.rsplit_once('@').and_then(|(change, after)| Some((change.split_once('=')?, after)))
        else {
            return refuse("expected KEY=VALUE@AFTER");
        };
        let Some(after) = Span::parse(after) else {
            return refuse("expected a duration after @");
        };
        let Ok(value) = value.parse::<f64>() else {
            return refuse("expected a number after =");
        };
        let Some(change) = Change::parse(key, value) else {
            return refuse("no such key, or not a whole number of minor units");
        };
        let drift = Self { after, change };
        drift.fault().map_or(Ok(drift), Err)
    }

    /// Says what is wrong with the value, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let (holds, bounds) = match self.change {
            Change::AmountScale(scale)
            | Change::FraudAmountScale(scale)
            | Change::FraudScale(scale)
            | Change::TrafficScale(scale) => {
                ((0.0..=SCALE_MAX).contains(&scale), format!("a factor of 0 to {SCALE_MAX}"))
            }
            Change::AmountShift(shift) => (shift.abs() <= SHIFT_MAX, format!("a shift within {SHIFT_MAX} minor units")),
            Change::Null(_, share) | Change::LabelShare(share) => {
                ((0.0..=1.0).contains(&share), "a share of 0 to 1".to_owned())
            }
            Change::PatternRate(_, rate) => (is_rate(rate), format!("a rate of 0 to {RATE_PER_DAY_MAX} a day")),
        };
        (!holds).then(|| format!("drift {:?}: expected {bounds}", self.change))
    }

    /// Tells whether the change is in force so long after the start.
    #[must_use]
    pub fn acts_at(&self, since_start: Span) -> bool {
        since_start >= self.after
    }
}

impl Change {
    fn parse(key: &str, value: f64) -> Option<Self> {
        match key {
            "amount.scale" => Some(Self::AmountScale(value)),
            "amount.shift" => whole(value).map(Self::AmountShift),
            "fraud_amount.scale" => Some(Self::FraudAmountScale(value)),
            "fraud.scale" => Some(Self::FraudScale(value)),
            "traffic.scale" => Some(Self::TrafficScale(value)),
            "labels.share" => Some(Self::LabelShare(value)),
            other => {
                let null = other.strip_prefix("null.").and_then(Part::parse).map(|part| Self::Null(part, value));
                let pattern = || other.strip_suffix(".per_day").and_then(Pattern::parse);
                null.or_else(|| pattern().map(|pattern| Self::PatternRate(pattern, value)))
            }
        }
    }
}

/// What the drifts in force make of one day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weather {
    /// How often customers pay, as a factor.
    pub(super) traffic: f64,
    /// How often each pattern begins.
    pub(super) rates: Rates,
}

impl Weather {
    /// Reads the drifts in force when a day begins, in their order.
    pub(super) fn on(since_start: Span, mut rates: Rates, drifts: &[Drift]) -> Self {
        let (mut traffic, mut fraud) = (1.0, 1.0);
        for drift in drifts.iter().filter(|drift| drift.acts_at(since_start)) {
            match drift.change {
                Change::TrafficScale(scale) => traffic *= scale,
                Change::FraudScale(scale) => fraud *= scale,
                Change::PatternRate(pattern, rate) => rates.set(pattern, rate),
                Change::AmountScale(_)
                | Change::AmountShift(_)
                | Change::FraudAmountScale(_)
                | Change::Null(..)
                | Change::LabelShare(_) => {}
            }
        }
        for pattern in Pattern::ALL {
            let scaled = (rates.of(pattern) * fraud).min(RATE_PER_DAY_MAX);
            rates.set(pattern, scaled);
        }
        Self { traffic, rates }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a whole number far below 2^53 by the check before it")]
fn whole(value: f64) -> Option<i64> {
    (value.fract().abs() < f64::EPSILON && value.abs() < 9e15).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::options::Options;
    use super::*;
    use crate::domain::TextField;

    #[test]
    fn the_examples_are_read() {
        let check = |text: &str, change: Change| {
            assert_eq!(Drift::parse(text), Ok(Drift { after: Span::from_days(30), change }), "{text}");
        };
        check("amount.scale=1.5@30d", Change::AmountScale(1.5));
        check("amount.shift=-500@30d", Change::AmountShift(-500));
        check("fraud_amount.scale=0.4@30d", Change::FraudAmountScale(0.4));
        check("null.card.bin=0.2@30d", Change::Null(Part::Text(TextField::CardBin), 0.2));
        check("null.location=1@30d", Change::Null(Part::Location, 1.0));
        check("fraud.scale=3@30d", Change::FraudScale(3.0));
        check("traffic.scale=2@30d", Change::TrafficScale(2.0));
        check("labels.share=0@30d", Change::LabelShare(0.0));
        check("card_testing.per_day=20@30d", Change::PatternRate(Pattern::CardTesting, 20.0));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_cure() {
        let wrong = [
            "",
            "amount.scale",
            "amount.scale=2",
            "amount.scale=2@soon",
            "amount.scale=many@1d",
            "amount.scale=-1@1d",
            "amount.scale=nan@1d",
            "amount.scale=1001@1d",
            "amount.shift=1.5@1d",
            "amount.shift=2000000000@1d",
            "null.amount=0.5@1d",
            "null.card.bin=1.1@1d",
            "weather.per_day=1@1d",
            "card_testing.per_day=10001@1d",
        ];
        for text in wrong {
            let refusal = Drift::parse(text).expect_err(text);
            assert!(refusal.starts_with("drift") && (refusal.contains("expected") || refusal.contains("no such key")));
        }
    }

    #[test]
    fn weather_changes_at_its_start_and_not_before() {
        let drifts: Vec<_> = ["traffic.scale=2@3d", "fraud.scale=4@5d", "card_testing.per_day=7@4d"]
            .iter()
            .map(|text| Drift::parse(text).expect("a drift"))
            .collect();
        let check = |day: i64, traffic: f64, terminals: f64, testing: f64| {
            let weather = Weather::on(Span::from_days(day), Options::handbook().rates, &drifts);
            let seen = [weather.traffic, weather.rates.compromised_terminals, weather.rates.card_testing];
            let same = seen.iter().zip([traffic, terminals, testing]).all(|(one, other)| (one - other).abs() < 1e-12);
            assert!(same, "day {day}: {weather:?}");
        };
        check(2, 1.0, 2.0, 0.0);
        check(3, 2.0, 2.0, 0.0);
        check(4, 2.0, 2.0, 7.0);
        check(5, 2.0, 8.0, 28.0);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(drift) = Drift::parse(&text) {
                prop_assert_eq!(drift.fault(), None);
            }
        }
    }
}

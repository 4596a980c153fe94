//! The knobs of the simulated world, their bounds, and what is wrong with a set of them.

use super::detail::{Detail, Details, Part};
use super::drift::{Change, Drift};
use super::scenario::Pattern;
use crate::domain::{Currency, Span, TextField, Timestamp};

/// The most customers.
pub const CUSTOMERS_MAX: u32 = 10_000_000;
/// The most terminals.
pub const TERMINALS_MAX: u32 = 10_000_000;
/// The most days: a hundred years.
pub const DAYS_MAX: u32 = 36_500;
/// The most pairs of a customer and a terminal in reach (4 bytes each), as estimated from the options.
pub const REACH_PAIRS_MAX: f64 = 200_000_000.0;
/// The highest rate of a fraud pattern per day.
pub const RATE_PER_DAY_MAX: f64 = 10_000.0;
/// The longest wait for a label, its jitter, or a displaced, late or repeated transaction.
pub const DELAY_MAX: Span = Span::from_days(400);
/// The most drifts of one run.
pub const DRIFTS_MAX: usize = 64;

/// What world to simulate. [`Options::default`] is the full one, [`Options::handbook`] the published one.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How many customers live on the map.
    pub customers: u32,
    /// How many terminals stand on the map.
    pub terminals: u32,
    /// How far a customer goes to a terminal, in units of the 100 x 100 map (1 km).
    pub radius: f64,
    /// How many days to simulate.
    pub days: u32,
    /// When the first day begins.
    pub start: Timestamp,
    /// The currency of every amount; it should have two decimals.
    pub currency: Currency,
    /// A genuine amount above this many minor units is fraud; `None` switches the scenario off.
    pub high_amount: Option<i64>,
    /// How often the other fraud patterns begin.
    pub rates: Rates,
    /// Which groups of fields are sent.
    pub details: Details,
    /// What becomes known of transactions, and when.
    pub labels: Labels,
    /// What goes wrong on the way.
    pub disorder: Disorder,
    /// What changes in the course of time.
    pub drifts: Vec<Drift>,
}

/// How many times a day each fraud pattern begins; a fraction is a chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Terminals that become compromised, for 28 days.
    pub compromised_terminals: f64,
    /// Customers who become compromised, for 14 days.
    pub compromised_customers: f64,
    /// Card-testing bursts of 20 to 60 attempts.
    pub card_testing: f64,
    /// Account takeovers of 3 to 6 payments.
    pub account_takeover: f64,
    /// Cloned cards used far away, 1 to 3 payments.
    pub geo_velocity: f64,
}

impl Rates {
    /// Returns the rate of a pattern.
    #[must_use]
    pub const fn of(&self, pattern: Pattern) -> f64 {
        match pattern {
            Pattern::CompromisedTerminals => self.compromised_terminals,
            Pattern::CompromisedCustomers => self.compromised_customers,
            Pattern::CardTesting => self.card_testing,
            Pattern::AccountTakeover => self.account_takeover,
            Pattern::GeoVelocity => self.geo_velocity,
        }
    }

    /// Sets the rate of a pattern.
    pub const fn set(&mut self, pattern: Pattern, per_day: f64) {
        *match pattern {
            Pattern::CompromisedTerminals => &mut self.compromised_terminals,
            Pattern::CompromisedCustomers => &mut self.compromised_customers,
            Pattern::CardTesting => &mut self.card_testing,
            Pattern::AccountTakeover => &mut self.account_takeover,
            Pattern::GeoVelocity => &mut self.geo_velocity,
        } = per_day;
    }
}

/// What becomes known of transactions, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labels {
    /// The share of transactions that ever get a label, 0 to 1.
    pub share: f64,
    /// How long after its transaction a label comes.
    pub delay: Span,
    /// Up to how much later still, uniformly.
    pub jitter_max: Span,
}

/// What goes wrong on the way. Shares are of transactions, 0 to 1; nothing goes wrong by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disorder {
    /// The share that arrives out of order.
    pub out_of_order_share: f64,
    /// The longest such displacement.
    pub displacement_max: Span,
    /// The share that arrives late: by more than the displacement.
    pub late_share: f64,
    /// The longest lateness.
    pub lateness_max: Span,
    /// The share that arrives twice: same id, same payload, again within the displacement.
    pub duplicate_share: f64,
}

impl Default for Disorder {
    fn default() -> Self {
        Self {
            out_of_order_share: 0.0,
            displacement_max: Span::from_seconds(60),
            late_share: 0.0,
            lateness_max: Span::from_seconds(6 * 3_600),
            duplicate_share: 0.0,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rates: Rates { card_testing: 0.5, account_takeover: 3.0, geo_velocity: 3.0, ..Self::handbook().rates },
            details: Details::ALL,
            ..Self::handbook()
        }
    }
}

impl Options {
    /// Returns the handbook's process and nothing else: 5,000 customers, 10,000 terminals, 183 days.
    ///
    /// # Panics
    /// Never: EUR is a currency.
    #[must_use]
    pub fn handbook() -> Self {
        Self {
            customers: 5_000,
            terminals: 10_000,
            radius: 5.0,
            days: 183,
            start: Timestamp::from_seconds(1_767_225_600),
            currency: Currency::parse("EUR").expect("ISO 4217 lists the euro"),
            high_amount: Some(22_000),
            rates: Rates {
                compromised_terminals: 2.0,
                compromised_customers: 3.0,
                card_testing: 0.0,
                account_takeover: 0.0,
                geo_velocity: 0.0,
            },
            details: Details::NONE,
            labels: Labels { share: 1.0, delay: Span::from_days(7), jitter_max: Span::ZERO },
            disorder: Disorder::default(),
            drifts: Vec::new(),
        }
    }

    /// Lists everything that is wrong with these options, each with its bounds.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        let Self { customers, terminals, radius, days, .. } = self;
        check((1..=CUSTOMERS_MAX).contains(customers), format!("customers = {customers} is not 1 to {CUSTOMERS_MAX}"));
        check((1..=TERMINALS_MAX).contains(terminals), format!("terminals = {terminals} is not 1 to {TERMINALS_MAX}"));
        check((1..=DAYS_MAX).contains(days), format!("days = {days} is not 1 to {DAYS_MAX}"));
        check(radius.is_finite() && *radius >= 0.0, format!("radius = {radius} is not a finite number from 0"));
        check(
            self.reach_pairs() <= REACH_PAIRS_MAX,
            "too many terminals in reach of too many customers: lower the radius or the terminals".into(),
        );
        let end = self.start.plus(Span::from_days(i64::from(*days))).plus(DELAY_MAX).plus(DELAY_MAX);
        check(end < Timestamp::MAX, format!("start = {} lies too late for {days} days", self.start));
        check(self.high_amount.is_none_or(|minor| minor >= 0), "high_amount lies below 0".into());
        for pattern in Pattern::ALL {
            let rate = self.rates.of(pattern);
            check(is_rate(rate), format!("{} = {rate} a day is not 0 to {RATE_PER_DAY_MAX}", pattern.name()));
        }
        for (name, share) in self.shares() {
            check((0.0..=1.0).contains(&share), format!("{name} = {share} is not 0 to 1"));
        }
        for (name, span) in self.spans() {
            check((Span::ZERO..=DELAY_MAX).contains(&span), format!("{name} = {span} is not 0s to {DELAY_MAX}"));
        }
        if self.disorder.lateness_max < self.disorder.displacement_max {
            faults.push("lateness lies below the displacement: late is later than out of order".into());
        }
        faults.extend(self.drift_faults());
        faults
    }

    fn shares(&self) -> [(&'static str, f64); 4] {
        [
            ("label share", self.labels.share),
            ("out-of-order share", self.disorder.out_of_order_share),
            ("late share", self.disorder.late_share),
            ("duplicate share", self.disorder.duplicate_share),
        ]
    }

    fn spans(&self) -> [(&'static str, Span); 4] {
        [
            ("label delay", self.labels.delay),
            ("label jitter", self.labels.jitter_max),
            ("displacement", self.disorder.displacement_max),
            ("lateness", self.disorder.lateness_max),
        ]
    }

    fn drift_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.drifts.len() > DRIFTS_MAX {
            faults.push(format!("{} drifts are more than {DRIFTS_MAX}", self.drifts.len()));
        }
        faults.extend(self.drifts.iter().filter_map(Drift::fault));
        let nulls = |field| {
            self.drifts.iter().any(|drift| matches!(drift.change, Change::Null(Part::Text(null), _) if null == field))
        };
        if nulls(TextField::CustomerId) && (nulls(TextField::CardToken) || !self.details.has(Detail::Card)) {
            faults.push("a transaction without customer_id and card.token has no key: keep one of them".into());
        }
        faults
    }

    /// Estimates how many terminals are in reach, summed over customers, from the area of a circle.
    fn reach_pairs(&self) -> f64 {
        let share = (std::f64::consts::PI * self.radius * self.radius / 10_000.0).min(1.0);
        f64::from(self.customers) * f64::from(self.terminals) * share
    }
}

/// Tells whether a number can be a rate per day.
pub(super) fn is_rate(rate: f64) -> bool {
    (0.0..=RATE_PER_DAY_MAX).contains(&rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_worlds_have_no_fault() {
        assert_eq!(Options::default().faults(), Vec::<String>::new());
        assert_eq!(Options::handbook().faults(), Vec::<String>::new());
    }

    #[test]
    fn all_faults_come_at_once() {
        let options = Options {
            customers: 0,
            terminals: TERMINALS_MAX + 1,
            radius: f64::NAN,
            days: DAYS_MAX + 1,
            high_amount: Some(-1),
            rates: Rates { card_testing: -1.0, geo_velocity: f64::INFINITY, ..Options::handbook().rates },
            labels: Labels { share: 1.5, delay: Span::from_days(401), jitter_max: Span::from_micros(-1) },
            disorder: Disorder { late_share: f64::NAN, ..Disorder::default() },
            ..Options::handbook()
        };
        let faults = options.faults();
        let words = "customers,terminals,days,radius,high_amount,card_testing,geo_velocity,label share,late share,label delay,label jitter";
        for word in words.split(',') {
            assert!(faults.iter().any(|fault| fault.starts_with(word)), "{word}: {faults:?}");
        }
    }

    #[test]
    fn every_bound_is_held() {
        let check = |change: fn(&mut Options), faulty: bool| {
            let mut options = Options::default();
            change(&mut options);
            assert_eq!(!options.faults().is_empty(), faulty, "{:?}", options.faults());
        };
        check(|options| options.radius = 200.0, false);
        check(|options| (options.customers, options.terminals) = (1_000_000, 1_000_000), true);
        check(|options| options.start = Timestamp::MAX, true);
        let null = |text: &str| Drift::parse(text).expect("a drift");
        check(|options| options.drifts = vec![Drift::parse("null.customer_id=1@1d").expect("a drift")], false);
        let mut keyless = Options { drifts: vec![null("null.customer_id=1@1d")], ..Options::handbook() };
        assert_eq!(keyless.faults().len(), 1);
        keyless.details = Details::ALL;
        keyless.drifts.push(null("null.card.token=0.1@9d"));
        assert_eq!(keyless.faults().len(), 1);
        keyless.drifts = vec![null("fraud.scale=2@1d"); DRIFTS_MAX + 1];
        assert_eq!(keyless.faults().len(), 1);
    }
}

//! The simulation itself: an iterator of events in the order they arrive.
//!
//! A label is an event of its own, at its own time, before transactions of the same instant. After the last
//! day come the labels that are still due. Same options and same generator, same events to the last bit.

use std::iter::Peekable;
use std::vec::IntoIter;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::agenda::{Agenda, Entry};
use super::attack::Attackers;
use super::day::{Day, Underworld};
use super::dice::Dice;
use super::drift::{Change, Weather};
use super::options::Options;
use super::scenario::Scenario;
use super::sketch::{Sketch, TransactionId, Wardrobe};
use super::world::World;
use crate::domain::draft::AMOUNT_MAX;
use crate::domain::{Label, LabelKind, Span, Timestamp, Transaction};

/// What arrives.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an event is handed on at once: a box would only cost an allocation")]
pub enum Event {
    /// A transaction, and what only the simulator knows of it.
    Transaction(Transaction, Truth),
    /// A label for a transaction that occurred before it.
    Label(Label),
}

/// What only the simulator knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// What is behind it.
    pub scenario: Scenario,
    /// The label it gets and when; `None` when it never gets one.
    pub label: Option<(LabelKind, Timestamp)>,
    /// When it arrives: its event time unless it is displaced, late or a duplicate.
    pub arrives_at: Timestamp,
    /// Whether it has arrived before.
    pub duplicate: bool,
}

impl Truth {
    /// Tells whether the transaction is fraud.
    #[must_use]
    pub const fn is_fraud(&self) -> bool {
        self.scenario.is_fraud()
    }
}

/// A world that is being lived through.
pub struct Simulation {
    options: Options,
    dice: Dice,
    world: World,
    underworld: Underworld,
    /// Apart from payments, since a label waits for days and is small.
    labels: Agenda<LabelKind>,
    payments: Agenda<Arrival>,
    labels_today: Peekable<IntoIter<Entry<LabelKind>>>,
    payments_today: Peekable<IntoIter<Entry<Arrival>>>,
    wardrobe: Wardrobe,
    transactions: u64,
    day: u32,
}

/// A payment on its way.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    sketch: Sketch,
    duplicate: bool,
}

impl Simulation {
    /// Builds the world.
    ///
    /// # Errors
    /// Everything that is wrong with the options, as [`Options::faults`] lists it.
    pub fn new(options: Options, rng: &ChaCha8Rng) -> Result<Self, Vec<String>> {
        let faults = options.faults();
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut dice = Dice::new(rng);
        let world = World::build(&options, &mut dice.world);
        Ok(Self {
            underworld: Underworld::new(&world),
            labels: Agenda::new(options.start),
            payments: Agenda::new(options.start),
            labels_today: Vec::new().into_iter().peekable(),
            payments_today: Vec::new().into_iter().peekable(),
            wardrobe: Wardrobe::new(options.currency),
            transactions: 0,
            day: 0,
            options,
            dice,
            world,
        })
    }

    /// Returns how many days have been begun, at most [`Options::days`].
    #[must_use]
    pub const fn days_begun(&self) -> u32 {
        self.day
    }

    /// Counts the events that are waiting for a later day: what memory grows with.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.labels.len() + self.payments.len()
    }

    /// Turns to the next day; false when the last is over and nothing is due any more.
    fn advance(&mut self) -> bool {
        if self.day < self.options.days {
            self.live();
            self.day += 1;
        } else if self.waiting() == 0 {
            return false;
        }
        self.labels_today = self.labels.turn().peekable();
        self.payments_today = self.payments.turn().peekable();
        true
    }

    /// Lives through one day: payments, fraud, drift, then filed under the time they arrive.
    fn live(&mut self) {
        let since_start = Span::from_days(i64::from(self.day));
        let start = self.options.start.plus(since_start);
        let weather = Weather::on(since_start, self.options.rates, &self.options.drifts);
        self.underworld.spread(self.day, &weather, &mut self.dice.crime);
        let mut sketches = Vec::new();
        let day = Day {
            world: &self.world,
            underworld: &self.underworld,
            weather,
            number: self.day,
            start,
            high_amount: self.options.high_amount,
        };
        day.live(&mut self.dice, &mut sketches);
        Attackers { world: &self.world, weather, start }.strike(&mut self.dice.attack, &mut sketches);
        sketches.sort_by_key(|sketch| sketch.at);
        for mut sketch in sketches {
            self.transactions += 1;
            sketch.number = self.transactions;
            sketch.hidden = self.options.details.hidden();
            self.distort(&mut sketch);
            self.label(&mut sketch);
            self.send(sketch);
        }
    }

    /// Applies what has drifted by the time of a payment to what is sent of it.
    fn distort(&mut self, sketch: &mut Sketch) {
        let since_start = sketch.at.since(self.options.start);
        for drift in self.options.drifts.iter().filter(|drift| drift.acts_at(since_start)) {
            match drift.change {
                Change::AmountScale(scale) => sketch.amount = scaled(sketch.amount, scale),
                Change::FraudAmountScale(scale) if sketch.scenario.is_fraud() => {
                    sketch.amount = scaled(sketch.amount, scale);
                }
                Change::AmountShift(shift) => sketch.amount = sketch.amount.saturating_add(shift).clamp(0, AMOUNT_MAX),
                Change::Null(part, share) => {
                    if self.dice.drift.random_bool(share) {
                        sketch.hidden.hide(part);
                    }
                }
                Change::FraudAmountScale(_)
                | Change::FraudScale(_)
                | Change::TrafficScale(_)
                | Change::LabelShare(_)
                | Change::PatternRate(..) => {}
            }
        }
    }

    /// Decides whether, as what and when a payment is labelled, and files the label.
    fn label(&mut self, sketch: &mut Sketch) {
        let labels = self.options.labels;
        let rng = &mut self.dice.label;
        let at = sketch.at.plus(labels.delay).plus(up_to(labels.jitter_max, rng));
        let since_start = at.since(self.options.start);
        let shares = self.options.drifts.iter().filter(|drift| drift.acts_at(since_start));
        let share = shares.fold(labels.share, |share, drift| match drift.change {
            Change::LabelShare(left) => share * left,
            Change::AmountScale(_)
            | Change::AmountShift(_)
            | Change::FraudAmountScale(_)
            | Change::Null(..)
            | Change::FraudScale(_)
            | Change::TrafficScale(_)
            | Change::PatternRate(..) => share,
        });
        // Both are drawn for every payment, so that another share leaves the other labels as they were.
        let (lot, disputed) = (rng.random::<f64>(), rng.random_bool(0.7));
        let kind = match (sketch.scenario.is_fraud(), disputed) {
            (false, _) => LabelKind::Legitimate,
            (true, true) => LabelKind::Chargeback,
            (true, false) => LabelKind::Fraud,
        };
        if lot < share {
            sketch.label = Some((kind, at));
            self.labels.file(at, sketch.number, kind);
        }
    }

    /// Files a payment under the time it arrives, and its repetition, if any.
    fn send(&mut self, sketch: Sketch) {
        let disorder = self.options.disorder;
        let rng = &mut self.dice.disorder;
        let (lot, displaced) = (rng.random::<f64>(), up_to(disorder.displacement_max, rng));
        let wait = if lot < disorder.late_share {
            let beyond = disorder.lateness_max.micros() - disorder.displacement_max.micros();
            Span::from_micros(disorder.displacement_max.micros() + up_to(Span::from_micros(beyond), rng).micros())
        } else if lot < disorder.late_share + disorder.out_of_order_share {
            displaced
        } else {
            Span::ZERO
        };
        let at = sketch.at.plus(wait);
        self.payments.file(at, sketch.number, Arrival { sketch, duplicate: false });
        if rng.random::<f64>() < disorder.duplicate_share {
            let again = at.plus(up_to(disorder.displacement_max, rng));
            self.payments.file(again, sketch.number, Arrival { sketch, duplicate: true });
        }
    }

    fn next_label(&mut self) -> Option<Event> {
        let Entry { at, order: number, item: kind } = self.labels_today.next()?;
        let transaction_id = self.wardrobe.write(TransactionId(number)).into();
        Some(Event::Label(Label { transaction_id, kind, occurred_at: at, source: source_of(kind).into() }))
    }

    fn next_payment(&mut self) -> Option<Event> {
        let Entry { at: arrives_at, item: Arrival { sketch, duplicate }, .. } = self.payments_today.next()?;
        let transaction = self.wardrobe.dress(&sketch, &self.world);
        let truth = Truth { scenario: sketch.scenario, label: sketch.label, arrives_at, duplicate };
        Some(Event::Transaction(transaction, truth))
    }
}

impl Iterator for Simulation {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let label = self.labels_today.peek().map(|label| label.at);
            let payment = self.payments_today.peek().map(|payment| payment.at);
            match (label, payment) {
                (Some(label), Some(payment)) if label <= payment => return self.next_label(),
                (_, Some(_)) => return self.next_payment(),
                (Some(_), None) => return self.next_label(),
                (None, None) if self.advance() => {}
                (None, None) => return None,
            }
        }
    }
}

/// Returns who tells: disputes come from the card schemes, the rest from people and settlement.
const fn source_of(kind: LabelKind) -> &'static str {
    match kind {
        LabelKind::Chargeback => "chargebacks",
        LabelKind::Fraud | LabelKind::FalsePositive => "analyst",
        LabelKind::Legitimate => "settlement",
    }
}

/// Draws a span of 0 to `longest` in whole seconds.
fn up_to(longest: Span, rng: &mut ChaCha8Rng) -> Span {
    Span::from_seconds(rng.random_range(0..=longest.micros().max(0) / 1_000_000))
}

/// Multiplies minor units, rounded; below 2^53, as factors and amounts are bounded.
#[expect(clippy::cast_possible_truncation, reason = "bounded by SCALE_MAX, DRIFTS_MAX and the clamp")]
fn scaled(amount: i64, scale: f64) -> i64 {
    (amount as f64 * scale).round().clamp(0.0, AMOUNT_MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Lives through a world without dressing anyone: only what is behind each payment is looked at.
    fn sketches(options: Options, seed: u64) -> impl Iterator<Item = Sketch> {
        let mut simulation = Simulation::new(options, &ChaCha8Rng::seed_from_u64(seed)).expect("options without fault");
        std::iter::from_fn(move || {
            loop {
                match simulation.payments_today.next() {
                    Some(payment) => return Some(payment.item.sketch),
                    None => simulation.advance().then_some(())?,
                }
            }
        })
    }

    #[test]
    fn the_handbooks_counts_come_out() {
        let mut counts = [0_u32; 7];
        for sketch in sketches(Options::handbook(), 1) {
            counts[usize::from(sketch.scenario.number())] += 1;
        }
        let transactions: u32 = counts.iter().sum();
        let check = |seen: u32, published: f64, tolerance: f64| {
            let off = (f64::from(seen) / published - 1.0).abs();
            assert!(off < tolerance, "{seen} against the published {published}: {counts:?}");
        };
        // Published: 1,754,155 transactions, 973 / 9,077 / 4,631 frauds. One draw of a population of 5,000 (the
        // high amounts come from its few largest spenders) and of 366 terminals and 549 customers: stated tolerances.
        check(transactions, 1_754_155.0, 0.03);
        check(counts[1], 973.0, 0.25);
        check(counts[2], 9_077.0, 0.15);
        check(counts[3], 4_631.0, 0.15);
        assert_eq!(counts[4..], [0, 0, 0]);
    }

    #[test]
    fn numbers_follow_event_time() {
        let options = Options { days: 3, ..Options::default() };
        let all: Vec<_> = sketches(options, 5).map(|sketch| (sketch.number, sketch.at)).collect();
        assert!(all.is_sorted_by(|left, right| left.0 + 1 == right.0 && left.1 <= right.1));
    }
}

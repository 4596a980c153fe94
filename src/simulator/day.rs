//! A day of life, as the handbook publishes it, and the details beyond it.
//!
//! ```text
//! n       ~ Poisson(daily rate)               second ~ N(43200, 20000), dropped outside the day
//! amount  ~ N(mean, mean / 2), below 0: U(0, 2 mean)     terminal ~ uniform within the radius
//! fraud:  amount > threshold  <  terminal compromised, 28 days  <  customer compromised, 14 days: a third x 5
//! ```
//! A later scenario overwrites the label of an earlier one. A customer with no terminal in reach pays nothing.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson, StandardNormal};

use super::atlas::{Channel, FAR};
use super::dice::{Dice, count_of, pick};
use super::drift::Weather;
use super::scenario::Scenario;
use super::sketch::{Bill, Checks, Device, Sketch};
use super::world::World;
use crate::domain::{Span, Timestamp};

const SECONDS_PER_DAY: i64 = 86_400;
const TERMINAL_FRAUD_DAYS: u32 = 28;
const CUSTOMER_FRAUD_DAYS: u32 = 14;
const CUSTOMER_FRAUD_SHARE: f64 = 1.0 / 3.0;
const CUSTOMER_FRAUD_FACTOR: i64 = 5;

/// Who is compromised, and up to which day (not included).
#[derive(Clone, Debug)]
pub(super) struct Underworld {
    terminals_until: Vec<u32>,
    customers_until: Vec<u32>,
}

impl Underworld {
    /// Nobody is compromised yet.
    pub(super) fn new(world: &World) -> Self {
        Self { terminals_until: vec![0; world.near as usize], customers_until: vec![0; world.customers.len()] }
    }

    /// Compromises today's terminals and customers.
    pub(super) fn spread(&mut self, day: u32, weather: &Weather, rng: &mut ChaCha8Rng) {
        let victims = [
            (&mut self.terminals_until, weather.rates.compromised_terminals, TERMINAL_FRAUD_DAYS),
            (&mut self.customers_until, weather.rates.compromised_customers, CUSTOMER_FRAUD_DAYS),
        ];
        for (until, rate, days) in victims {
            for _ in 0..count_of(rate, rng) {
                let victim = rng.random_range(0..until.len());
                until[victim] = day + days;
            }
        }
    }

    /// Settles what a payment is: its amount may change, its scenario is the last that fits.
    fn settle(&self, sketch: &mut Sketch, day: u32, high_amount: Option<i64>, rng: &mut ChaCha8Rng) {
        if high_amount.is_some_and(|threshold| sketch.amount > threshold) {
            sketch.scenario = Scenario::HighAmount;
        }
        if day < self.terminals_until[sketch.terminal as usize] {
            sketch.scenario = Scenario::CompromisedTerminal;
        }
        if day < self.customers_until[sketch.customer as usize] && rng.random_bool(CUSTOMER_FRAUD_SHARE) {
            sketch.amount *= CUSTOMER_FRAUD_FACTOR;
            sketch.scenario = Scenario::CompromisedCustomer;
        }
    }
}

/// What a day needs to know.
pub(super) struct Day<'a> {
    pub(super) world: &'a World,
    pub(super) underworld: &'a Underworld,
    pub(super) weather: Weather,
    pub(super) number: u32,
    pub(super) start: Timestamp,
    pub(super) high_amount: Option<i64>,
}

impl Day<'_> {
    /// Lets everyone pay; customer by customer, not yet in order of time.
    pub(super) fn live(&self, dice: &mut Dice, into: &mut Vec<Sketch>) {
        for (customer, number) in self.world.customers.iter().zip(0..) {
            // A rate of 0 makes no distribution: such a customer pays nothing.
            let Ok(visits) = Poisson::new(customer.daily_rate * self.weather.traffic) else { continue };
            for _ in 0..whole(visits.sample(&mut dice.life)) {
                if let Some(mut sketch) = self.pay(number, &mut dice.life) {
                    self.underworld.settle(&mut sketch, self.number, self.high_amount, &mut dice.crime);
                    adorn(&mut sketch, self.world, &mut dice.detail);
                    into.push(sketch);
                }
            }
        }
    }

    /// Draws one payment; `None` when its time falls outside the day or no terminal is in reach.
    fn pay(&self, customer: u32, rng: &mut ChaCha8Rng) -> Option<Sketch> {
        let profile = self.world.customer(customer);
        let second = whole(43_200.0 + 20_000.0 * rng.sample::<f64, _>(StandardNormal));
        if !(1..SECONDS_PER_DAY).contains(&second) {
            return None;
        }
        let drawn = profile.mean_amount * (1.0 + 0.5 * rng.sample::<f64, _>(StandardNormal));
        let amount = if drawn < 0.0 { rng.random_range(0.0..2.0 * profile.mean_amount) } else { drawn };
        let reach = self.world.reach(customer);
        if reach.is_empty() {
            return None;
        }
        let terminal = reach[rng.random_range(0..reach.len())];
        let at = self.start.plus(Span::from_seconds(second));
        Some(Sketch::of(Bill { at, amount: cents(amount), customer, terminal }, self.world))
    }
}

/// Draws a payment's details, as genuine customers leave them; frauds of the handbook look no different.
fn adorn(sketch: &mut Sketch, world: &World, rng: &mut ChaCha8Rng) {
    sketch.result = pick(&[("approved", 970), ("insufficient_funds", 22), ("do_not_honour", 8)], rng);
    if sketch.channel != Channel::Ecommerce {
        return;
    }
    let customer = world.customer(sketch.customer);
    let own = Device::Own(sketch.customer, rng.random_range(0..customer.devices));
    let new = Device::Other(rng.random());
    sketch.device = Some(if rng.random_bool(0.01) { new } else { own });
    // One online payment in a hundred is made on a journey, one in fifty goes to a friend abroad.
    sketch.place = if rng.random_bool(0.01) { FAR[rng.random_range(0..FAR.len())] } else { customer.home };
    let friend = FAR[rng.random_range(0..FAR.len())].country;
    sketch.shipping = Some(if rng.random_bool(0.02) { friend } else { customer.home.country });
    sketch.checks = Some(Checks {
        three_ds: pick(&[("authenticated", 80), ("attempted", 10), ("none", 9), ("failed", 1)], rng),
        cvc: pick(&[("match", 97), ("not_provided", 2), ("mismatch", 1)], rng),
        avs: pick(&[("match", 92), ("partial", 5), ("mismatch", 3)], rng),
    });
}

/// Rounds an amount in major units to whole cents.
pub(super) fn cents(amount: f64) -> i64 {
    whole((amount * 100.0).round())
}

#[expect(clippy::cast_possible_truncation, reason = "toward zero, as meant; draws are far below 2^53")]
fn whole(drawn: f64) -> i64 {
    drawn as i64
}

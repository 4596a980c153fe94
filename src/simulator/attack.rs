//! Episodes of fraud beyond the handbook: each begins and ends within one day.
//!
//! | episode | what happens | what gives it away |
//! |---|---|---|
//! | card testing | 20 to 60 stolen cards, .50 to 3.00 each, seconds apart, seven in ten refused | one device, one merchant, many cards, failures |
//! | account takeover | 3 to 6 online payments of 2 to 6 times the customer's mean within hours | new device, far country, goods sent far away |
//! | geo-velocity | 1 to 3 payments with the card present, far away, within the hour of a genuine one | a speed nobody travels at |

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::atlas::{Channel, FAR};
use super::day::cents;
use super::dice::{count_of, pick};
use super::drift::Weather;
use super::scenario::Scenario;
use super::sketch::{Bill, Checks, Device, Sketch};
use super::world::World;
use crate::domain::{Span, Timestamp};

const SECONDS_PER_DAY: i64 = 86_400;

/// The fraudsters of one day.
pub(super) struct Attackers<'a> {
    pub(super) world: &'a World,
    pub(super) weather: Weather,
    pub(super) start: Timestamp,
}

impl Attackers<'_> {
    /// Adds the day's episodes to its genuine payments.
    pub(super) fn strike(&self, rng: &mut ChaCha8Rng, day: &mut Vec<Sketch>) {
        let rates = self.weather.rates;
        let genuine = day.len();
        for _ in 0..count_of(rates.card_testing, rng) {
            self.test_cards(rng, day);
        }
        for _ in 0..count_of(rates.account_takeover, rng) {
            self.take_over(rng, day);
        }
        for _ in 0..count_of(rates.geo_velocity, rng) {
            self.clone_card(genuine, rng, day);
        }
    }

    fn test_cards(&self, rng: &mut ChaCha8Rng, day: &mut Vec<Sketch>) {
        let terminal = self.world.any_online(rng);
        let device = Device::Other(rng.random());
        let place = FAR[rng.random_range(0..FAR.len())];
        let mut second = rng.random_range(0..SECONDS_PER_DAY - 3_600);
        for _ in 0..rng.random_range(20..=60) {
            second += rng.random_range(2..=20);
            let victim = self.world.any_customer(rng);
            let mut sketch = self.remote(second, rng.random_range(50..=300), victim, terminal);
            sketch.result = pick(&[("do_not_honour", 40), ("invalid_cvc", 30), ("approved", 30)], rng);
            let cvc = if sketch.result == "invalid_cvc" {
                "mismatch"
            } else {
                pick(&[("match", 3), ("not_provided", 7)], rng)
            };
            sketch.checks = Some(Checks { three_ds: "none", cvc, avs: pick(&[("mismatch", 7), ("partial", 3)], rng) });
            sketch.device = Some(device);
            sketch.place = place;
            sketch.scenario = Scenario::CardTesting;
            day.push(sketch);
        }
    }

    fn take_over(&self, rng: &mut ChaCha8Rng, day: &mut Vec<Sketch>) {
        let victim = self.world.any_customer(rng);
        let mean = self.world.customer(victim).mean_amount;
        let device = Device::Other(rng.random());
        let place = FAR[rng.random_range(0..FAR.len())];
        let mut second = rng.random_range(0..SECONDS_PER_DAY - 6 * 1_800);
        for _ in 0..rng.random_range(3..=6) {
            second += rng.random_range(120..=1_800);
            let amount = cents(mean * rng.random_range(2.0..6.0));
            let terminal = self.world.any_online(rng);
            let mut sketch = self.remote(second, amount, victim, terminal);
            sketch.result = pick(&[("approved", 80), ("insufficient_funds", 12), ("do_not_honour", 8)], rng);
            sketch.checks = Some(Checks {
                three_ds: pick(&[("none", 5), ("attempted", 3), ("authenticated", 2)], rng),
                cvc: pick(&[("match", 9), ("mismatch", 1)], rng),
                avs: pick(&[("match", 4), ("partial", 3), ("mismatch", 3)], rng),
            });
            sketch.device = Some(device);
            sketch.place = place;
            sketch.shipping = Some(place.country);
            sketch.scenario = Scenario::AccountTakeover;
            day.push(sketch);
        }
    }

    /// Clones the card of a genuine payment made in person; a day without one sees no such fraud.
    fn clone_card(&self, genuine: usize, rng: &mut ChaCha8Rng, day: &mut Vec<Sketch>) {
        if genuine == 0 {
            return;
        }
        let first = rng.random_range(0..genuine);
        let in_person = |sketch: &&Sketch| sketch.channel == Channel::Pos;
        let Some(seen) = day[first..genuine].iter().chain(&day[..first]).find(in_person).copied() else { return };
        let terminal = self.world.any_far(rng);
        let mean = self.world.customer(seen.customer).mean_amount;
        let mut second = seen.at.since(self.start).micros() / 1_000_000;
        for _ in 0..rng.random_range(1..=3) {
            second += rng.random_range(300..=1_200);
            if second >= SECONDS_PER_DAY {
                return;
            }
            let at = self.start.plus(Span::from_seconds(second));
            let amount = cents(mean * rng.random_range(1.0..4.0));
            let mut sketch = Sketch::of(Bill { at, amount, customer: seen.customer, terminal }, self.world);
            sketch.channel = Channel::Pos;
            sketch.result = pick(&[("approved", 85), ("insufficient_funds", 10), ("do_not_honour", 5)], rng);
            sketch.scenario = Scenario::GeoVelocity;
            day.push(sketch);
        }
    }

    /// Sketches a payment at a distance, whatever the terminal's own channel.
    fn remote(&self, second: i64, amount: i64, customer: u32, terminal: u32) -> Sketch {
        let at = self.start.plus(Span::from_seconds(second));
        let mut sketch = Sketch::of(Bill { at, amount, customer, terminal }, self.world);
        sketch.channel = Channel::Ecommerce;
        sketch.shipping = Some(self.world.customer(customer).home.country);
        sketch
    }
}

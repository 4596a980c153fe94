//! The population: customers and terminals on a 100 x 100 map, and which terminals a customer reaches.
//!
//! Built once from the `world` stream and never changed. 4 bytes a pair of customer and terminal in reach,
//! about 120 bytes a customer, 64 a terminal.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::atlas::{self, Channel, FAR, Issuer, Place, Trade};
use super::grid::Grid;
use super::options::Options;

const MAP_SIDE: f64 = 100.0;
/// How many terminals in a row belong to one merchant.
const TERMINALS_PER_MERCHANT: u32 = 4;
/// How many terminals stand at each far place.
const TERMINALS_PER_FAR_PLACE: usize = 8;

/// One customer, who has one card.
#[derive(Clone, Debug)]
pub(super) struct Customer {
    /// Mean amount in major units; the standard deviation is half of it.
    pub(super) mean_amount: f64,
    /// Mean payments a day.
    pub(super) daily_rate: f64,
    /// Where the customer lives.
    pub(super) home: Place,
    pub(super) issuer: Issuer,
    /// The last four digits of the card.
    pub(super) last4: u16,
    /// How many devices the customer owns, 1 to 3.
    pub(super) devices: u8,
    reach: Range<usize>,
}

/// One terminal.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    pub(super) place: Place,
    pub(super) trade: Trade,
    /// The number of the merchant who owns it.
    pub(super) merchant: u32,
}

/// Everyone and everything that pays and is paid.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) customers: Vec<Customer>,
    /// Those on the map, then those far away.
    pub(super) terminals: Vec<Terminal>,
    /// How many terminals stand on the map.
    pub(super) near: u32,
    /// The terminals on the map that sell at a distance.
    pub(super) online: Vec<u32>,
    reachable: Vec<u32>,
}

impl World {
    /// Populates the map.
    pub(super) fn build(options: &Options, rng: &mut ChaCha8Rng) -> Self {
        let homes: Vec<_> = (0..options.customers).map(|_| point(rng)).collect();
        let spots: Vec<_> = (0..options.terminals).map(|_| point(rng)).collect();
        let customers = homes.iter().map(|&home| customer(home, rng)).collect();
        let mut world = Self {
            customers,
            terminals: terminals(&spots, rng),
            near: options.terminals,
            online: Vec::new(),
            reachable: Vec::new(),
        };
        let sells_online = |&number: &u32| world.terminal(number).trade.channel == Channel::Ecommerce;
        world.online = (0..world.near).filter(sells_online).collect();
        world.connect(&homes, &spots, options.radius);
        world
    }

    /// Returns a customer by number.
    pub(super) fn customer(&self, number: u32) -> &Customer {
        &self.customers[number as usize]
    }

    /// Returns a terminal by number.
    pub(super) fn terminal(&self, number: u32) -> &Terminal {
        &self.terminals[number as usize]
    }

    /// Returns the terminals within the radius of a customer's home, in order of their numbers.
    pub(super) fn reach(&self, customer: u32) -> &[u32] {
        &self.reachable[self.customer(customer).reach.clone()]
    }

    /// Draws any customer.
    pub(super) fn any_customer(&self, rng: &mut ChaCha8Rng) -> u32 {
        rng.random_range(0..count(&self.customers))
    }

    /// Draws a terminal that sells at a distance; any on the map when none does.
    pub(super) fn any_online(&self, rng: &mut ChaCha8Rng) -> u32 {
        match self.online.len() {
            0 => rng.random_range(0..self.near),
            count => self.online[rng.random_range(0..count)],
        }
    }

    /// Draws a terminal far away.
    pub(super) fn any_far(&self, rng: &mut ChaCha8Rng) -> u32 {
        rng.random_range(self.near..count(&self.terminals))
    }

    /// Writes down who reaches what.
    fn connect(&mut self, homes: &[(f64, f64)], spots: &[(f64, f64)], radius: f64) {
        let grid = Grid::new(spots, radius);
        for (customer, &home) in self.customers.iter_mut().zip(homes) {
            let start = self.reachable.len();
            grid.within(home, &mut self.reachable);
            customer.reach = start..self.reachable.len();
        }
    }
}

/// Counts what is numbered by `u32`: the options' bounds lie far below its end.
fn count<T>(of: &[T]) -> u32 {
    u32::try_from(of.len()).unwrap_or(u32::MAX)
}

fn point(rng: &mut ChaCha8Rng) -> (f64, f64) {
    (rng.random_range(0.0..MAP_SIDE), rng.random_range(0.0..MAP_SIDE))
}

fn customer((x, y): (f64, f64), rng: &mut ChaCha8Rng) -> Customer {
    let home = Place::on_map(x, y);
    Customer {
        mean_amount: rng.random_range(5.0..100.0),
        daily_rate: rng.random_range(0.0..4.0),
        home,
        issuer: atlas::issuer_in(home.country, rng),
        last4: rng.random_range(0..10_000),
        devices: rng.random_range(1..=3),
        reach: 0..0,
    }
}

fn terminals(spots: &[(f64, f64)], rng: &mut ChaCha8Rng) -> Vec<Terminal> {
    let far = FAR.into_iter().flat_map(|place| [place; TERMINALS_PER_FAR_PLACE]);
    let places = spots.iter().map(|&(x, y)| Place::on_map(x, y)).chain(far);
    let mut trade = atlas::trade(rng);
    let mut terminals = Vec::with_capacity(spots.len() + FAR.len() * TERMINALS_PER_FAR_PLACE);
    for (place, number) in places.zip(0_u32..) {
        if number.is_multiple_of(TERMINALS_PER_MERCHANT) {
            trade = atlas::trade(rng);
        }
        terminals.push(Terminal { place, trade, merchant: number / TERMINALS_PER_MERCHANT });
    }
    terminals
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn reach_is_the_circle_and_nothing_else() {
        let options = Options { customers: 60, terminals: 900, radius: 7.0, ..Options::handbook() };
        let world = World::build(&options, &mut ChaCha8Rng::seed_from_u64(3));
        let mut same = ChaCha8Rng::seed_from_u64(3);
        let homes: Vec<_> = (0..60).map(|_| point(&mut same)).collect();
        let spots: Vec<_> = (0..900).map(|_| point(&mut same)).collect();
        for (&(x, y), number) in homes.iter().zip(0..) {
            let near = |spot: &&u32| {
                let (dx, dy) = (spots[**spot as usize].0 - x, spots[**spot as usize].1 - y);
                dx * dx + dy * dy < 49.0
            };
            let all: Vec<u32> = (0..900).collect();
            let expected: Vec<u32> = all.iter().filter(near).copied().collect();
            assert_eq!(world.reach(number), expected, "customer {number}");
        }
    }

    #[test]
    fn the_population_is_as_published() {
        let options = Options { customers: 20_000, terminals: 10, ..Options::handbook() };
        let world = World::build(&options, &mut ChaCha8Rng::seed_from_u64(1));
        let mean = |of: fn(&Customer) -> f64| world.customers.iter().map(of).sum::<f64>() / 20_000.0;
        assert!((mean(|customer| customer.mean_amount) - 52.5).abs() < 0.6);
        assert!((mean(|customer| customer.daily_rate) - 2.0).abs() < 0.03);
        assert!(world.customers.iter().all(|customer| (5.0..100.0).contains(&customer.mean_amount)));
    }
}

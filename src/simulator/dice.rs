//! The caller's generator, split into one stream per purpose.
//!
//! What one purpose draws never shifts what another draws: a day with an attack more has the same genuine
//! payments, and a disordered stream holds the same transactions as an ordered one.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// One stream per purpose.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    /// Who lives where, with which card.
    pub(super) world: ChaCha8Rng,
    /// Who pays when, where and how much.
    pub(super) life: ChaCha8Rng,
    /// Which terminals and customers fall, which of their payments are fraud.
    pub(super) crime: ChaCha8Rng,
    /// Devices, answers and checks of a payment.
    pub(super) detail: ChaCha8Rng,
    /// Episodes of fraud.
    pub(super) attack: ChaCha8Rng,
    /// What drift takes away.
    pub(super) drift: ChaCha8Rng,
    /// What is labelled, and when.
    pub(super) label: ChaCha8Rng,
    /// What arrives late, twice or out of order.
    pub(super) disorder: ChaCha8Rng,
}

impl Dice {
    /// Splits a generator.
    pub(super) fn new(rng: &ChaCha8Rng) -> Self {
        let stream = |number: u64| {
            let mut split = rng.clone();
            split.set_stream(rng.get_stream().wrapping_add(number));
            split
        };
        Self {
            world: stream(0),
            life: stream(1),
            crime: stream(2),
            detail: stream(3),
            attack: stream(4),
            drift: stream(5),
            label: stream(6),
            disorder: stream(7),
        }
    }
}

/// Turns a rate per day into a whole count for one day: the whole part always, one more by its fraction.
#[expect(clippy::cast_possible_truncation, reason = "rates are bounded by RATE_PER_DAY_MAX")]
pub(super) fn count_of(rate_per_day: f64, rng: &mut ChaCha8Rng) -> u32 {
    rate_per_day.floor() as u32 + u32::from(rng.random::<f64>() < rate_per_day.fract())
}

/// Picks one of `weighted` with a chance in proportion to its weight.
pub(super) fn pick<T: Copy>(weighted: &[(T, u32)], rng: &mut ChaCha8Rng) -> T {
    let total: u32 = weighted.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0..total);
    for &(value, weight) in weighted {
        if left < weight {
            return value;
        }
        left -= weight;
    }
    weighted[weighted.len() - 1].0
}

/// Spreads the bits of a number, so that ids look like ids and never repeat: a bijection (splitmix64's finish).
pub(super) const fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// Does the same for 32 bits: multiplying by an odd number and folding the high bits down can both be undone.
pub(super) const fn scatter_short(number: u32) -> u32 {
    let mixed = (number ^ number >> 16).wrapping_mul(0x85EB_CA6B);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xC2B2_AE35);
    mixed ^ mixed >> 16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn scattered_numbers_never_repeat() {
        let short: BTreeSet<_> = (0..50_000).map(scatter_short).collect();
        let long: BTreeSet<_> = (0..50_000).map(scatter).collect();
        assert_eq!((short.len(), long.len()), (50_000, 50_000));
    }

    #[test]
    fn rates_and_weights_come_out() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let sum: u32 = (0..4_000).map(|_| count_of(2.25, &mut rng)).sum();
        assert!((8_880..9_120).contains(&sum), "{sum}");
        assert!((0..100).all(|_| count_of(3.0, &mut rng) == 3 && count_of(0.0, &mut rng) == 0));
        let heads = (0..4_000).filter(|_| pick(&[(true, 3), (false, 1)], &mut rng)).count();
        assert!((2_900..3_100).contains(&heads), "{heads}");
    }

    #[test]
    fn streams_differ_and_do_not_touch_each_other() {
        let rng = ChaCha8Rng::seed_from_u64(1);
        let (mut one, mut other) = (Dice::new(&rng), Dice::new(&rng));
        let life: u64 = one.life.random();
        assert_ne!(life, one.attack.random::<u64>());
        let _: u64 = other.world.random();
        assert_eq!(life, other.life.random::<u64>());
    }
}

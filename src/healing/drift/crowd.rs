//! Who is behind the alerts: are they many, or a few?
//!
//! A sale raises alerts all over; an attack comes from a few cards, devices or merchants. The last alerts are kept
//! beside the last transactions, so that a merchant who always has half of the traffic is not an attacker.

use std::collections::{BTreeMap, VecDeque};

const KEPT_MAX: usize = 512;
const TOP: usize = 10;

/// The last alerts and the last transactions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    alerts: VecDeque<(u64, u64)>,
    all: VecDeque<(u64, u64)>,
}

/// How much of something the largest few have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    /// What was counted.
    pub(crate) count: usize,
    /// Different ones among it.
    pub(crate) different: usize,
    /// The share of the largest.
    pub(crate) largest: f64,
    /// The share of the ten largest.
    pub(crate) top: f64,
}

impl Crowd {
    /// Counts a transaction.
    pub(crate) fn observe(&mut self, entity: u64, merchant: u64, is_alert: bool) {
        push(&mut self.all, (entity, merchant));
        if is_alert {
            push(&mut self.alerts, (entity, merchant));
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns named figures for the evidence of a surge.
    #[must_use]
    pub(crate) fn values(&self) -> BTreeMap<String, f64> {
        let sides = [("", &self.alerts), ("traffic_", &self.all)];
        let mut values = BTreeMap::new();
        for (side, kept) in sides {
            for (of, shares) in [
                ("entity", shares(kept.iter().map(|pair| pair.0))),
                ("merchant", shares(kept.iter().map(|pair| pair.1))),
            ] {
                values.insert(format!("{side}top_{of}_share"), shares.largest);
                values.insert(format!("{side}top10_{of}_share"), shares.top);
                values.insert(format!("{side}different_{of}"), shares.different as f64);
            }
            values.insert(format!("{side}counted"), kept.len() as f64);
        }
        values
    }
}

fn push(kept: &mut VecDeque<(u64, u64)>, pair: (u64, u64)) {
    if kept.len() >= KEPT_MAX {
        kept.pop_front();
    }
    kept.push_back(pair);
}

/// Counts known keys (0 is unknown) and returns what the largest have.
fn shares(keys: impl Iterator<Item = u64>) -> Shares {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    keys.filter(|key| *key != 0).for_each(|key| *counts.entry(key).or_default() += 1);
    let mut sizes: Vec<usize> = counts.into_values().collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let count: usize = sizes.iter().sum();
    let share = |of: usize| if count == 0 { 0.0 } else { of as f64 / count as f64 };
    Shares {
        count,
        different: sizes.len(),
        largest: share(sizes.first().copied().unwrap_or(0)),
        top: share(sizes.iter().take(TOP).sum()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_is_told_from_a_sale() {
        let (mut sale, mut attack) = (Crowd::default(), Crowd::default());
        for place in 0..600_u64 {
            sale.observe(place % 300 + 1, place % 97 + 1, place % 3 == 0);
            attack.observe(place % 300 + 1, place % 97 + 1, false);
            attack.observe(9_000 + place % 4, 5, true);
        }
        let (sale, attack) = (sale.values(), attack.values());
        assert!(sale["top10_entity_share"] < 0.2 && sale["top_merchant_share"] < 0.05, "{sale:?}");
        assert!(attack["top10_entity_share"] > 0.99 && attack["top_merchant_share"] > 0.99, "{attack:?}");
        assert!(attack["traffic_top_merchant_share"] < 0.6);
        assert!(Crowd::default().values().values().all(|value| value.is_finite()));
    }
}

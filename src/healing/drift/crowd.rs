//! Who is behind the alerts: are they many, or a few?
//!
//! A sale raises alerts all over; an attack comes from a few cards, devices or merchants. The last alerts are kept
//! beside the last transactions, so that a merchant who always has half of the traffic is not an attacker.

use std::collections::{BTreeMap, VecDeque};

const KEPT_MAX: usize = 512;
const TOP: usize = 10;
/// The most votes whose origin is kept, and the least that can tell something.
const ORIGINS_MAX: usize = 128;
const ORIGINS_MIN: usize = 12;

/// Whose a transaction is, by hashes; 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Card, customer or device.
    pub(crate) entity: u64,
    /// The merchant.
    pub(crate) merchant: u64,
    /// The device.
    pub(crate) device: u64,
}

/// The last alerts and the last transactions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    alerts: VecDeque<Who>,
    all: VecDeque<Who>,
}

/// Where something comes from that many votes had: the last of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    kept: VecDeque<Who>,
}

impl Origins {
    /// Keeps one.
    pub(crate) fn push(&mut self, who: Who) {
        push(&mut self.kept, who, ORIGINS_MAX);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Returns the shares of the largest merchant and the largest device, and what these have of all traffic; nothing while
    /// there are too few to tell. Entities are left out: each votes once in a block, so they are never few.
    pub(crate) fn values(&self, crowd: &Crowd) -> BTreeMap<String, f64> {
        if self.kept.len() < ORIGINS_MIN {
            return BTreeMap::new();
        }
        let of = |kept: &VecDeque<Who>, read: fn(&Who) -> u64| shares(kept.iter().map(read)).largest;
        let named = |name: &str, read: fn(&Who) -> u64| {
            let (own, usual) = (of(&self.kept, read), of(&crowd.all, read));
            [(format!("top_{name}_share"), own), (format!("traffic_top_{name}_share"), usual)]
        };
        named("merchant", |who| who.merchant).into_iter().chain(named("device", |who| who.device)).collect()
    }
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
    pub(crate) fn observe(&mut self, who: Who, is_alert: bool) {
        push(&mut self.all, who, KEPT_MAX);
        if is_alert {
            push(&mut self.alerts, who, KEPT_MAX);
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
                ("entity", shares(kept.iter().map(|who| who.entity))),
                ("merchant", shares(kept.iter().map(|who| who.merchant))),
                ("device", shares(kept.iter().map(|who| who.device))),
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

fn push(kept: &mut VecDeque<Who>, who: Who, len_max: usize) {
    if kept.len() >= len_max {
        kept.pop_front();
    }
    kept.push_back(who);
}

/// Counts known keys (0 is unknown) and returns what of all, unknown ones included, the largest have.
fn shares(keys: impl Iterator<Item = u64>) -> Shares {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    let mut count = 0;
    for key in keys {
        count += 1;
        if key != 0 {
            *counts.entry(key).or_default() += 1;
        }
    }
    let mut sizes: Vec<usize> = counts.into_values().collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
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
            let usual = Who { entity: place % 300 + 1, merchant: place % 97 + 1, device: place % 211 + 1 };
            sale.observe(usual, place % 3 == 0);
            attack.observe(usual, false);
            attack.observe(Who { entity: 9_000 + place % 4, merchant: 5, device: 7 }, true);
        }
        let (sale, attack) = (sale.values(), attack.values());
        assert!(sale["top10_entity_share"] < 0.2 && sale["top_merchant_share"] < 0.05, "{sale:?}");
        assert!(attack["top10_entity_share"] > 0.99 && attack["top_merchant_share"] > 0.99, "{attack:?}");
        assert!(attack["traffic_top_merchant_share"] < 0.6 && attack["top_device_share"] > 0.99);
        assert!(Crowd::default().values().values().all(|value| value.is_finite()));
    }

    #[test]
    fn one_device_with_many_cards_is_told_from_a_feature_that_broke_for_all() {
        let (mut crowd, mut one, mut all) = (Crowd::default(), Origins::default(), Origins::default());
        for place in 0..100_u64 {
            let who = Who { entity: place + 1, merchant: place % 31 + 1, device: place + 1_000 };
            crowd.observe(who, false);
            all.push(who);
            one.push(Who { device: 7, ..who });
        }
        assert!(one.values(&crowd)["top_device_share"] > 0.99 && one.values(&crowd)["top_merchant_share"] < 0.1);
        assert!(all.values(&crowd).values().all(|share| *share < 0.1));
        // A few that are known by their device among many without one are not a device's attack.
        let mut unknown = Origins::default();
        (0..50).for_each(|place| unknown.push(Who { device: u64::from(place < 3), ..Who::default() }));
        assert!(unknown.values(&crowd)["top_device_share"] < 0.1);
        one.clear();
        assert!(one.values(&crowd).is_empty());
    }
}

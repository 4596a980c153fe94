//! Card precision at k: what share of the k cards an investigator looks at each day is compromised.
//!
//! A card's score is its highest that day, its label too; a card once found is not looked at again. Ties go
//! to the smaller card, so the figure does not depend on the order of rows.

use std::collections::{BTreeMap, BTreeSet};

/// One scored transaction of a card on a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CardDay<'a> {
    /// The day's number.
    pub day: i64,
    /// The card.
    pub card: &'a str,
    /// The score.
    pub score: f64,
    /// Whether it was fraud.
    pub fraud: bool,
}

/// Returns the mean over days of the precision among the `top` cards. `None` without rows or with `top` 0.
#[must_use]
pub fn card_precision(rows: &[CardDay<'_>], top: usize) -> Option<f64> {
    let mut days: BTreeMap<i64, BTreeMap<&str, (f64, bool)>> = BTreeMap::new();
    for row in rows {
        let card = days.entry(row.day).or_default().entry(row.card).or_insert((row.score, row.fraud));
        *card = (card.0.max(row.score), card.1 || row.fraud);
    }
    if days.is_empty() || top == 0 {
        return None;
    }
    let mut found = BTreeSet::new();
    let mut sum = 0.0;
    for cards in days.values() {
        let mut cards: Vec<_> = cards.iter().filter(|(card, _)| !found.contains(**card)).collect();
        // Stable: cards of equal score stay in the order of their names.
        cards.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        let hits: Vec<&str> = cards.iter().take(top).filter(|(_, (_, fraud))| *fraud).map(|(card, _)| **card).collect();
        sum += hits.len() as f64 / top as f64;
        found.extend(hits);
    }
    Some(sum / days.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn row(day: i64, card: &'static str, score: f64, fraud: bool) -> CardDay<'static> {
        CardDay { day, card, score, fraud }
    }

    #[test]
    fn a_card_found_is_not_looked_at_again() {
        let rows = [
            row(1, "a", 0.9, true),
            row(1, "a", 0.1, false),
            row(1, "b", 0.8, false),
            row(1, "c", 0.1, true),
            row(2, "a", 0.9, true),
            row(2, "c", 0.5, true),
            row(2, "d", 0.4, false),
        ];
        // Day 1: a and b, one hit. Day 2 without a: c and d, one hit.
        assert_eq!(card_precision(&rows, 2), Some(0.5));
        assert_eq!(card_precision(&[], 2), None);
        assert_eq!(card_precision(&rows, 0), None);
    }

    #[test]
    fn ties_go_to_the_smaller_card() {
        let rows = [row(1, "b", 0.5, true), row(1, "a", 0.5, false)];
        assert_eq!(card_precision(&rows, 1), Some(0.0));
    }
}

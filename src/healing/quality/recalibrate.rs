//! A map from score to probability, fitted on matured labels and held against newer ones that it has not seen.
//!
//! ```text
//! labels in the order they matured: | older: the map is fitted | newest: log e = sum of ln p(label) - ln q(label) |
//!                                                                  p: the new map    q: what is in force
//! ```
//! The sum is the logarithm of a likelihood ratio, so its exponential is an e-value: where `q` tells the truth it reaches
//! 1/a with probability at most a, however long it is watched (Ville). It goes on with every label that matures after the
//! map is in force, in both directions. Fitted is by the penalised likelihood (the penalty pulls towards no change, with
//! the weight of one label), by Newton's method with a line search; a slope that would be negative is held at 0 and the
//! rest fitted again, as Kull, Silva Filho and Flach (AISTATS 2017) do.

use std::collections::VecDeque;

use crate::domain::Calibration;

/// The most labels that are kept to fit on.
const KEPT_MAX: usize = 20_000;
/// So many frauds are enough: older labels tell of an older world.
const FRAUDS_WANTED: usize = 400;
/// Fewer frauds than this, to fit on and to check by, are too few.
const FRAUDS_MIN: usize = 100;
/// The same of legitimate transactions.
const LEGITIMATE_MIN: usize = 200;
/// The share of labels, the newest, that the map is checked by.
const HELD_OUT: f64 = 0.3;
/// Logarithm of the evidence that a map needs: 20 to 1.
const LOG_E_BETTER: f64 = 3.0;
/// What the penalty weighs: of the slopes, of the shift.
const PENALTY: [f64; 3] = [1.0, 1.0, 0.01];
const ROUNDS_MAX: usize = 60;
const STEP_MIN: f64 = 1e-10;
/// No probability is certain: one label may not outweigh all others.
const PROBABILITY_MIN: f64 = 1e-4;
/// The most evidence that is kept of either direction.
const LOG_E_MAX: f64 = 600.0;

/// A matured label: the score of the model and whether it was fraud.
type Case = (f64, bool);

/// A map that newer labels agree with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// The map.
    pub map: Calibration,
    /// Logarithm of the evidence for it on labels it has not seen.
    pub log_e: f64,
    /// How many those are.
    pub held_out: u64,
}

/// Why there is no map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No label of this model has matured.
    #[error("no label of the model has matured")]
    Unknown,
    /// Too little is known.
    #[error("too few labels have matured: {FRAUDS_MIN} frauds and {LEGITIMATE_MIN} others are needed")]
    TooFew,
    /// What is legitimate is known of a sample only, and all frauds: shares would be wrong.
    #[error("legitimate transactions are followed in a sample only, so shares of frauds are not known")]
    Sampled,
    /// The likelihood has no maximum that could be found.
    #[error("no map could be fitted")]
    Unsolved,
    /// Labels it has not seen do not show it to be better.
    #[error("on newer labels the map is not shown to be better")]
    NotBetter,
}

/// The labels of one model that can be fitted on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cases {
    kept: VecDeque<Case>,
}

impl Cases {
    pub(crate) fn keep(&mut self, score: f64, is_fraud: bool) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((score, is_fraud));
    }

    /// Fits a map and checks it against what is in force, which is `None` for the scores themselves.
    pub(crate) fn fit(&self, in_force: Option<Calibration>) -> Result<Fitted, Unfit> {
        let cases = self.newest();
        let frauds = cases.iter().filter(|(_, is_fraud)| *is_fraud).count();
        if frauds < FRAUDS_MIN || cases.len() - frauds < LEGITIMATE_MIN {
            return Err(Unfit::TooFew);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let held_out = (cases.len() as f64 * HELD_OUT) as usize;
        let (older, newer) = cases.split_at(cases.len() - held_out);
        let map = fit(older).ok_or(Unfit::Unsolved)?;
        let log_e = newer.iter().map(|case| gain(&map, in_force.as_ref(), *case)).sum();
        if log_e < LOG_E_BETTER {
            return Err(Unfit::NotBetter);
        }
        Ok(Fitted { map, log_e, held_out: newer.len() as u64 })
    }

    /// Returns the newest labels, as many as have the frauds that are wanted.
    fn newest(&self) -> Vec<Case> {
        let mut frauds = 0;
        let is_wanted = |(_, is_fraud): &&Case| {
            frauds += usize::from(*is_fraud);
            frauds <= FRAUDS_WANTED
        };
        let mut cases: Vec<Case> = self.kept.iter().rev().take_while(is_wanted).copied().collect();
        cases.reverse();
        cases
    }
}

/// How a map in force does on labels that mature under it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Trial {
    /// Logarithm of the evidence for the map against the bare score.
    pub(crate) log_e: f64,
    /// Labels it rests on.
    pub(crate) votes: u64,
}

impl Trial {
    pub(crate) fn vote(&mut self, map: &Calibration, case: Case) {
        self.log_e = (self.log_e + gain(map, None, case)).clamp(-LOG_E_MAX, LOG_E_MAX);
        self.votes += 1;
    }
}

/// Returns by how much a label is likelier under a map than under another, as a logarithm.
fn gain(map: &Calibration, other: Option<&Calibration>, (score, is_fraud): Case) -> f64 {
    let log = |probability: f64| {
        let probability = probability.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
        if is_fraud { probability.ln() } else { (-probability).ln_1p() }
    };
    log(map.probability(score)) - log(other.map_or(score, |other| other.probability(score)))
}

/// Fits the map, holding slopes at 0 that would be negative.
fn fit(cases: &[Case]) -> Option<Calibration> {
    let mut is_free = [true, true, true];
    for _ in 0..2 {
        let [slope_low, slope_high, shift] = newton(cases, is_free)?;
        if slope_low >= 0.0 && slope_high >= 0.0 {
            let map = Calibration { slope_low, slope_high, shift, labels: cases.len() as u64 };
            return map.is_sound().then_some(map);
        }
        is_free[usize::from(slope_low >= 0.0)] = false;
    }
    None
}

/// Finds the maximum of the penalised likelihood over those parameters that are free; the others are 0.
fn newton(cases: &[Case], is_free: [bool; 3]) -> Option<[f64; 3]> {
    let mut at = [f64::from(u8::from(is_free[0])), f64::from(u8::from(is_free[1])), 0.0];
    let mut loss = loss_of(cases, at);
    for _ in 0..ROUNDS_MAX {
        let step = solve(slopes(cases, at, is_free))?;
        let mut length = 1.0;
        let (next, next_loss) = loop {
            let next: [f64; 3] = std::array::from_fn(|place| at[place] - length * step[place]);
            let next_loss = loss_of(cases, next);
            if next_loss <= loss {
                break (next, next_loss);
            }
            length /= 2.0;
            if length < STEP_MIN {
                return Some(at);
            }
        };
        let is_done = loss - next_loss < STEP_MIN * (1.0 + loss.abs());
        (at, loss) = (next, next_loss);
        if is_done {
            return Some(at);
        }
    }
    None
}

fn inputs((score, _): Case) -> [f64; 3] {
    let [low, high] = Calibration::logs(score);
    [low, high, 1.0]
}

fn odds(at: [f64; 3], inputs: [f64; 3]) -> f64 {
    at.iter().zip(inputs).map(|(weight, input)| weight * input).sum()
}

/// Distance of the parameters from a map that changes nothing.
fn distances(at: [f64; 3]) -> [f64; 3] {
    [at[0] - 1.0, at[1] - 1.0, at[2]]
}

fn loss_of(cases: &[Case], at: [f64; 3]) -> f64 {
    let of_label = |case: &Case| {
        let odds = odds(at, inputs(*case));
        // ln (1 + e^odds), without overflow.
        let log = odds.max(0.0) + (-odds.abs()).exp().ln_1p();
        if case.1 { log - odds } else { log }
    };
    let penalty: f64 = distances(at).iter().zip(PENALTY).map(|(by, weight)| 0.5 * weight * by * by).sum();
    cases.iter().map(of_label).sum::<f64>() + penalty
}

/// Returns the second derivatives and, as the last column, the first ones.
fn slopes(cases: &[Case], at: [f64; 3], is_free: [bool; 3]) -> [[f64; 4]; 3] {
    let mut table = [[0.0; 4]; 3];
    for case in cases {
        let inputs = inputs(*case);
        let probability = 1.0 / (1.0 + (-odds(at, inputs)).exp());
        let (error, weight) = (probability - f64::from(u8::from(case.1)), probability * (1.0 - probability));
        for (row, left) in table.iter_mut().zip(inputs) {
            row.iter_mut().zip(inputs).for_each(|(cell, right)| *cell += weight * left * right);
            row[3] += error * left;
        }
    }
    for (place, by) in distances(at).into_iter().enumerate() {
        table[place][place] += PENALTY[place];
        table[place][3] += PENALTY[place] * by;
        if !is_free[place] {
            table[place] = std::array::from_fn(|column| f64::from(u8::from(column == place)));
            (0..3).filter(|other| *other != place).for_each(|other| table[other][place] = 0.0);
        }
    }
    table
}

/// Solves three equations by elimination; `None` when they do not have one solution.
fn solve(mut table: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for place in 0..3 {
        let best = (place..3).max_by(|one, other| table[*one][place].abs().total_cmp(&table[*other][place].abs()))?;
        table.swap(place, best);
        let pivot = table[place];
        if !pivot[place].is_normal() {
            return None;
        }
        for (_, row) in table.iter_mut().enumerate().filter(|(other, _)| *other != place) {
            let factor = row[place] / pivot[place];
            row.iter_mut().zip(pivot).for_each(|(cell, above)| *cell -= factor * above);
        }
    }
    let solved: [f64; 3] = std::array::from_fn(|place| table[place][3] / table[place][place]);
    solved.iter().all(|value| value.is_finite()).then_some(solved)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Labels whose truth is what `truth` makes of the score.
    fn cases(count: usize, seed: u64, truth: impl Fn(f64) -> f64) -> Cases {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut cases = Cases::default();
        for _ in 0..count {
            let score: f64 = random.random_range(0.0_f64..1.0).powi(3);
            cases.keep(score, random.random_bool(truth(score).clamp(0.0, 1.0)));
        }
        cases
    }

    #[test]
    fn scores_that_promise_too_much_are_brought_down_and_the_map_is_found() {
        let truth = Calibration { slope_low: 0.8, slope_high: 1.3, shift: -1.2, labels: 0 };
        let fitted = cases(6_000, 1, |score| truth.probability(score)).fit(None).expect("a map");
        assert!(fitted.log_e > 20.0 && fitted.held_out > 200, "{fitted:?}");
        for score in [0.05, 0.2, 0.5, 0.9] {
            let (found, right) = (fitted.map.probability(score), truth.probability(score));
            assert!((found - right).abs() < 0.05, "{score}: {found} {right}");
        }
        // The same labels do not speak for a second map in its place.
        let again = cases(6_000, 2, |score| truth.probability(score)).fit(Some(fitted.map));
        assert!(again.is_err() || again.is_ok_and(|again| again.log_e < 8.0), "{again:?}");
    }

    #[test]
    fn scores_that_are_right_and_scores_that_say_nothing_get_no_map() {
        let false_maps = (0..200).filter(|seed| cases(3_000, *seed, |score| score).fit(None).is_ok()).count();
        assert!(false_maps <= 10, "at most 1 in 20: {false_maps} of 200");
        assert_eq!(cases(100, 3, |score| score).fit(None), Err(Unfit::TooFew));
        assert_eq!(Cases::default().fit(None), Err(Unfit::TooFew));
    }

    #[test]
    fn an_order_that_is_turned_round_is_not_fitted_by_a_falling_map() {
        if let Ok(fitted) = cases(4_000, 4, |score| 1.0 - score).fit(None) {
            assert!(fitted.map.is_sound(), "{fitted:?}");
        }
    }

    #[test]
    fn a_map_in_force_is_judged_by_what_matures_under_it() {
        let halved = Calibration { shift: -(2.0_f64.ln()), ..Calibration::IDENTITY };
        let judge = |truth: &dyn Fn(f64) -> f64| {
            let mut trial = Trial::default();
            cases(2_000, 5, truth).kept.iter().for_each(|case| trial.vote(&halved, *case));
            trial
        };
        assert!(judge(&|score| halved.probability(score)).log_e > 10.0);
        assert!(judge(&|score| score).log_e < -10.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_is_fitted_is_sound_and_better_on_what_it_was_fitted_on(
            slope_low in 0.1..3.0_f64, slope_high in 0.1..3.0_f64, shift in -3.0..2.0_f64, seed in any::<u64>(),
        ) {
            let truth = Calibration { slope_low, slope_high, shift, labels: 0 };
            let cases = cases(1_500, seed, |score| truth.probability(score));
            let kept: Vec<Case> = cases.kept.iter().copied().collect();
            if let Some(map) = fit(&kept) {
                prop_assert!(map.is_sound());
                let at = [map.slope_low, map.slope_high, map.shift];
                prop_assert!(loss_of(&kept, at) <= loss_of(&kept, [1.0, 1.0, 0.0]) + 1e-6);
            }
        }
    }
}

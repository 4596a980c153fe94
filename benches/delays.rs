//! How many votes it takes: delays of the detectors to named changes, and the classic rules beside them.
//!
//! `cargo bench --bench delays` prints the tables of `docs/detectors.md`. Votes do not depend on the machine; the
//! seeds are fixed and printed. Each run begins with votes as in training, then the change sets in; the delay is
//! from there to the first acting finding. A run without one within the bound counts as the bound, and is told.

#![expect(clippy::print_stdout, reason = "its tables are its purpose")]

use std::sync::Arc;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use fraudd::domain::{Outcome, Timestamp};
use fraudd::healing::drift::{Ceilings, InputProfile, Observation, Options, Profile, ScoresProfile, Standing, Watch};
use fraudd::healing::rates::{Direction, Learned};
use fraudd::healing::{Alarm, ModelRef, Verdict, quality};

const FEATURES: usize = 50;
const RUNS: u64 = 100;
const BEFORE: u64 = 500;
const ROWS: u64 = 150_000;
const ALERTS: f64 = 0.005;
const ALERT_EDGE: f64 = 0.9;

/// What changes, and how.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Shift(f64),
    ShiftAll(f64),
    Scale(f64),
    Null(f64),
    Stuck,
    Alerts(f64),
}

fn main() {
    println!("{RUNS} runs each, {FEATURES} features, {BEFORE} votes before the change, baseline of {ROWS} rows");
    println!("| change | alarm | median | p95 | not found |\n|---|---|---|---|---|");
    let inputs = Alarm::InputDrift;
    for (name, change, alarm, bound) in [
        ("one of 50 features, mean +0.25 sigma", Change::Shift(0.25), inputs, 40_000),
        ("one of 50 features, mean +0.5 sigma", Change::Shift(0.5), inputs, 20_000),
        ("one of 50 features, mean +1 sigma", Change::Shift(1.0), inputs, 5_000),
        ("one of 50 features, mean +2 sigma", Change::Shift(2.0), inputs, 5_000),
        ("all features, mean +0.25 sigma", Change::ShiftAll(0.25), inputs, 20_000),
        ("all features, mean +1 sigma", Change::ShiftAll(1.0), inputs, 5_000),
        ("one of 50 features, spread x 1.25", Change::Scale(1.25), inputs, 40_000),
        ("one of 50 features, spread x 1.5", Change::Scale(1.5), inputs, 20_000),
        ("one of 50 features, spread x 2", Change::Scale(2.0), inputs, 5_000),
        ("nulls of one of 50 features 1 % to 5 %", Change::Null(0.05), Alarm::BrokenFeature, 20_000),
        ("nulls of one of 50 features 1 % to 20 %", Change::Null(0.2), Alarm::BrokenFeature, 5_000),
        ("nulls of one of 50 features 1 % to 100 %", Change::Null(1.0), Alarm::BrokenFeature, 2_000),
        ("one of 50 features stands still", Change::Stuck, Alarm::BrokenFeature, 2_000),
        ("alert rate 0.5 % to 2 %", Change::Alerts(0.02), Alarm::AlertSurge, 40_000),
        ("alert rate 0.5 % to 5 %", Change::Alerts(0.05), Alarm::AlertSurge, 20_000),
        ("alert rate 0.5 % to 0", Change::Alerts(0.0), Alarm::AlertCollapse, 60_000),
    ] {
        let mut delays: Vec<u64> = (0..RUNS).map(|seed| delay(change, alarm, bound, seed)).collect();
        delays.sort_unstable();
        let missed = delays.iter().filter(|delay| **delay >= bound).count();
        let place = |percent: usize| delays[(delays.len() - 1) * percent / 100];
        println!("| {name} | {} | {} | {} | {missed} |", alarm.name(), place(50), place(95));
    }
    labels();
    let quiet = (0..10).filter(|seed| delay(Change::Nothing, inputs, 100_000, 1_000 + seed) < 100_000).count();
    println!("without a change: {quiet} of 10 runs of 100,000 votes raised an acting alarm of inputs");
}

/// Labels until lost precision or recall may be acted on, at the shipped run length of a million labels.
fn labels() {
    let options = quality::Options::default();
    let limit = (options.run_length_acting * 4.0).ln();
    println!("| labels | usual, to | median | p95 | not found |\n|---|---|---|---|---|");
    for (name, usual, now) in
        [("precision", 0.4, 0.2), ("precision", 0.4, 0.1), ("recall", 0.8, 0.6), ("recall", 0.8, 0.4)]
    {
        let one = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut learned = Learned::new(Direction::Falling, None, options.learning);
            let ceilings = Ceilings { acting: 1e30, ended: 1e30 };
            (0..1_000).for_each(|_| learned.vote(f64::from(u8::from(random.random_bool(usual))), ceilings));
            let lost = (1..20_000_u64).find(|_| {
                learned.vote(f64::from(u8::from(random.random_bool(now))), ceilings);
                learned.log() >= limit
            });
            lost.unwrap_or(20_000)
        };
        let mut delays: Vec<u64> = (0..RUNS).map(one).collect();
        delays.sort_unstable();
        let missed = delays.iter().filter(|delay| **delay >= 20_000).count();
        println!("| {name} | {usual} to {now} | {} | {} | {missed} |", delays[49], delays[94]);
    }
}

fn profile() -> Arc<Profile> {
    let edges: Vec<f64> = {
        let mut random = ChaCha8Rng::seed_from_u64(77);
        let mut values: Vec<f64> = (0..2_000_000).map(|_| StandardNormal.sample(&mut random)).collect();
        values.sort_by(f64::total_cmp);
        (1..32).map(|bin| values[bin * values.len() / 32]).collect()
    };
    let input = |place: usize| InputProfile {
        name: format!("f{place}"),
        edges: edges.clone(),
        shares: vec![0.99 / 32.0; 32],
        min: -6.0,
        max: 6.0,
        null: 0.01,
        non_finite: 0.0,
        calendar: false,
    };
    let edges = vec![0.1, 0.3, 0.5, 0.7, 0.8, ALERT_EDGE, 0.95];
    let mut shares: Vec<f64> = edges.windows(2).map(|pair| pair[1] - pair[0]).collect();
    shares.insert(0, edges[0]);
    shares.push(0.05);
    // Scores up to the edge are uniform on the rest of the mass.
    let below: f64 = shares[..6].iter().sum();
    shares[..6].iter_mut().for_each(|share| *share *= (1.0 - ALERTS) / below);
    shares[6] = ALERTS / 2.0;
    shares[7] = ALERTS / 2.0;
    let inputs = (0..FEATURES).map(input).collect();
    Arc::new(Profile::new(ROWS, inputs, ScoresProfile { edges, shares, review: ALERT_EDGE }))
}

fn delay(change: Change, alarm: Alarm, bound: u64, seed: u64) -> u64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let options = Options { uncalibrated: Standing::Acting, ..Options::default() };
    let model = ModelRef { name: "m".to_owned(), version: "1".to_owned(), sha256: "0".to_owned() };
    thread_local!(static PROFILE: Arc<Profile> = profile());
    let mut watch = Watch::new(model, PROFILE.with(Arc::clone), &options);
    let mut row = vec![0.0; FEATURES];
    for count in 0..BEFORE + bound {
        let change = if count < BEFORE { Change::Nothing } else { change };
        fill(&mut row, change, &mut random);
        let alerts = if let Change::Alerts(rate) = change { rate } else { ALERTS };
        let is_alert = random.random_bool(alerts);
        let score = if is_alert { random.random_range(0.901..1.0) } else { random.random_range(0.0..ALERT_EDGE) };
        let now = Timestamp::from_micros(1_780_000_000_000_000 + i64::try_from(count).unwrap_or(0) * 200);
        watch.observe(&Observation {
            received_at: now,
            occurred_at: now,
            entity: random.next_u64() | 1,
            merchant: 0,
            device: 0,
            row: &row,
            score: Some(score),
            outcome: Outcome::Approve,
            degraded: false,
        });
        let is_found =
            |finding: &fraudd::healing::Finding| finding.alarm == alarm && finding.verdict == Verdict::Acting;
        if (count + 1).is_multiple_of(25) && watch.open().iter().any(is_found) {
            return (count + 1).saturating_sub(BEFORE);
        }
    }
    bound
}

fn fill(row: &mut [f64], change: Change, random: &mut ChaCha8Rng) {
    for (place, cell) in row.iter_mut().enumerate() {
        let mut value: f64 = StandardNormal.sample(random);
        let mut null = 0.01;
        match change {
            Change::ShiftAll(by) => value += by,
            Change::Shift(by) if place == 0 => value += by,
            Change::Scale(by) if place == 0 => value *= by,
            Change::Null(rate) if place == 0 => null = rate,
            Change::Stuck if place == 0 => value = 0.0,
            _ => {}
        }
        *cell = if random.random_bool(null) { f64::NAN } else { value };
    }
}

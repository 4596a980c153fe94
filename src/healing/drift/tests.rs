//! The watch as a whole: faults and their look-alike twins, holds, ends, run lengths.

use std::sync::Arc;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::book::finding;
use super::*;
use crate::domain::{Outcome, Span, Timestamp};
use crate::healing::finding::{Alarm, Finding, Verdict};
use crate::healing::model::ModelRef;

const FEATURES: usize = 50;
const NULL: f64 = 0.01;
/// The baseline's scores are uniform squares: the review threshold is passed by 5 %.
const REVIEW: f64 = 0.95 * 0.95;

/// The defaults, as for a stream whose tolerances are known.
fn acting() -> Options {
    Options { uncalibrated: Standing::Acting, ..Options::default() }
}

fn model() -> ModelRef {
    ModelRef { name: "card".to_owned(), version: "1".to_owned(), sha256: "00".to_owned() }
}

/// Normal features with 1 % nulls and one calendar feature more; as a bundle of 150,000 rows would tell.
fn profile() -> Arc<Profile> {
    let normal_edges: Vec<f64> = (1..32).map(|bin| quantile(f64::from(bin) / 32.0)).collect();
    let normal = |place: usize| InputProfile {
        name: format!("f{place}"),
        edges: normal_edges.clone(),
        shares: vec![(1.0 - NULL) / 32.0; 32],
        min: -5.0,
        max: 5.0,
        null: NULL,
        non_finite: 0.0,
        calendar: place == FEATURES,
    };
    let ranks = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999];
    let edges = ranks.map(|rank| rank * rank).to_vec();
    let mut below = 0.0;
    let shares = ranks.iter().chain([&1.0]).map(|rank| rank - std::mem::replace(&mut below, *rank)).collect();
    let inputs = (0..=FEATURES).map(normal).collect();
    Arc::new(Profile::new(150_000, inputs, ScoresProfile { edges, shares, review: REVIEW }))
}

/// The normal quantile by bisection of the distribution's series: slow, and of another make than the product's.
fn quantile(rank: f64) -> f64 {
    let (mut low, mut high) = (-8.0_f64, 8.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let steps = 2_000;
        let width = (middle + 8.0) / f64::from(steps);
        let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let below: f64 = (0..steps).map(|step| density(-8.0 + (f64::from(step) + 0.5) * width) * width).sum();
        if below < rank { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// A stream of transactions, one a hundredth of a second.
struct Stream {
    watch: Watch,
    random: ChaCha8Rng,
    now: Timestamp,
    count: u64,
    changes: Vec<(u64, Finding)>,
}

/// One transaction before it is observed.
struct Draft {
    row: Vec<f64>,
    score: Option<f64>,
    entity: u64,
    merchant: u64,
}

impl Stream {
    fn new(seed: u64, options: &Options) -> Self {
        let watch = Watch::new(model(), profile(), options);
        let now = Timestamp::from_seconds(1_780_000_000);
        Self { watch, random: ChaCha8Rng::seed_from_u64(seed), now, count: 0, changes: Vec::new() }
    }

    fn draft(&mut self) -> Draft {
        let random = &mut self.random;
        let mut value = || {
            let is_null = random.random_bool(NULL);
            if is_null { f64::NAN } else { StandardNormal.sample(random) }
        };
        let row = (0..=FEATURES).map(|_| value()).collect();
        let rank: f64 = random.random();
        let (entity, merchant) = (random.next_u64() | 1, random.random_range(1..500));
        Draft { row, score: Some(rank * rank), entity, merchant }
    }

    /// Feeds so many transactions, each changed; a tick every ten.
    fn feed(&mut self, count: u64, mut change: impl FnMut(&mut Draft, &mut ChaCha8Rng)) -> &mut Self {
        for _ in 0..count {
            let mut draft = self.draft();
            change(&mut draft, &mut self.random);
            let (received_at, occurred_at) = (self.now, self.now);
            let Draft { row, score, entity, merchant } = &draft;
            let (entity, merchant, score) = (*entity, *merchant, *score);
            let seen = Observation {
                received_at,
                occurred_at,
                entity,
                merchant,
                device: 0,
                row,
                score,
                outcome: Outcome::Approve,
                degraded: false,
            };
            self.watch.observe(&seen);
            self.now = self.now.plus(Span::from_micros(10_000));
            self.count += 1;
            if self.count.is_multiple_of(10) {
                self.tick();
            }
        }
        self
    }

    fn tick(&mut self) {
        let changes = self.watch.tick(self.now);
        for change in &changes {
            assert!(super::assess::is_sound(change), "{change:?}");
        }
        self.changes.extend(changes.into_iter().map(|change| (self.count, change)));
    }

    fn first(&self, alarm: Alarm, verdict: Verdict) -> Option<u64> {
        let is_it = |found: &Finding| found.alarm == alarm && found.verdict == verdict;
        self.changes.iter().find(|(_, found)| is_it(found)).map(|(count, _)| *count)
    }

    fn told(&self) -> Vec<(Alarm, Verdict)> {
        self.changes.iter().map(|(_, found)| (found.alarm, found.verdict)).collect()
    }
}

fn nothing(_: &mut Draft, _: &mut ChaCha8Rng) {}

#[test]
fn a_stream_as_in_training_raises_nothing() {
    let mut stream = Stream::new(1, &acting());
    stream.feed(20_000, nothing);
    assert!(stream.told().is_empty(), "{:?}", stream.changes);
    let figures = stream.watch.figures();
    assert_eq!((figures.transactions, figures.inputs.len()), (20_000, FEATURES + 1));
    assert!(figures.inputs.iter().all(|input| input.psi.abs() < 0.01 && (input.null - NULL).abs() < 0.005));
    assert!(figures.alert_rate.is_some_and(|rate| (rate - 0.05).abs() < 0.01), "{:?}", figures.alert_rate);
    assert!(figures.inputs[FEATURES].excluded && !figures.inputs[0].excluded);
}

#[test]
fn one_feature_of_fifty_that_moves_is_found_named_and_over_again() {
    let mut stream = Stream::new(2, &acting());
    stream.feed(2_000, nothing).feed(600, |draft, _| draft.row[7] += 1.0);
    let found = stream.first(Alarm::InputDrift, Verdict::Acting).expect("found");
    assert!(found <= 2_000 + 300, "{found}");
    let open = stream.watch.open();
    let drift = open.iter().find(|finding| finding.alarm == Alarm::InputDrift).expect("open");
    assert_eq!(drift.model.as_ref(), Some(&model()));
    assert!(drift.evidence.values.contains_key("psi.f7") && drift.evidence.text.contains("f7"), "{drift:?}");
    assert!((drift.evidence.values["features_moved"] - 1.0).abs() < 1e-9, "{drift:?}");
    assert!(drift.evidence.log_e >= drift.evidence.log_threshold && drift.since < drift.at);
    stream.feed(3_000, nothing);
    assert!(stream.first(Alarm::InputDrift, Verdict::Ended).is_some(), "{:?}", stream.told());
    assert!(stream.watch.open().is_empty());
    stream.feed(600, |draft, _| draft.row[9] -= 1.0);
    assert!(stream.watch.open().iter().any(|finding| finding.evidence.values.contains_key("psi.f9")), "found again");
}

#[test]
fn without_a_calibration_distributions_advise_and_lost_values_act() {
    let mut stream = Stream::new(15, &Options::default());
    stream.feed(1_000, nothing).feed(1_000, |draft, _| draft.row[7] += 1.0);
    assert_eq!(stream.told(), [(Alarm::InputDrift, Verdict::Advisory)]);
    stream.feed(3_000, nothing);
    assert_eq!(stream.told().last(), Some(&(Alarm::InputDrift, Verdict::Ended)), "{:?}", stream.told());
    stream.feed(500, |draft, _| draft.row[7] = f64::NAN);
    assert!(stream.first(Alarm::BrokenFeature, Verdict::Acting).is_some(), "{:?}", stream.told());
}

#[test]
fn a_calendar_feature_and_an_excluded_one_do_not_drift() {
    let options = Options { excluded: ["f3".to_owned()].into(), ..acting() };
    let mut stream = Stream::new(3, &options);
    stream.feed(4_000, |draft, _| {
        draft.row[FEATURES] = 4.0;
        draft.row[3] += 3.0;
    });
    assert!(stream.first(Alarm::InputDrift, Verdict::Acting).is_none(), "{:?}", stream.told());
}

#[test]
fn a_feature_that_loses_its_values_is_broken_and_mends() {
    let mut stream = Stream::new(4, &acting());
    stream.feed(1_000, nothing).feed(300, |draft, _| draft.row[5] = f64::NAN);
    let found = stream.first(Alarm::BrokenFeature, Verdict::Acting).expect("found");
    assert!(found <= 1_100, "{found}");
    let open = stream.watch.open();
    assert!(open.iter().all(|finding| finding.subject.as_deref() == Some("f5")), "no drift of inputs: {open:?}");
    assert!(open[0].evidence.values["null"] > 0.5 && open[0].evidence.text.contains("null"));
    stream.feed(1_000, nothing);
    assert_eq!(stream.told(), [(Alarm::BrokenFeature, Verdict::Acting), (Alarm::BrokenFeature, Verdict::Ended)]);
    for broken in [f64::INFINITY, 400.0, -400.0, 0.25] {
        let mut stream = Stream::new(5, &acting());
        stream.feed(500, nothing).feed(200, |draft, _| draft.row[5] = broken);
        let found = stream.first(Alarm::BrokenFeature, Verdict::Acting);
        assert!(found.is_some_and(|found| found <= 600), "{broken}: {:?}", stream.told());
    }
}

#[test]
fn a_few_more_nulls_are_a_new_policy_not_a_broken_pipeline() {
    let mut stream = Stream::new(6, &acting());
    stream.feed(20_000, |draft, random| {
        if random.random_bool(0.008) {
            draft.row[5] = f64::NAN;
        }
    });
    assert!(stream.told().is_empty(), "{:?}", stream.told());
}

#[test]
fn a_surge_says_whether_few_are_behind_it() {
    let surge = |draft: &mut Draft, random: &mut ChaCha8Rng, few: bool| {
        if random.random_bool(0.25) {
            draft.score = Some(0.95);
            if few {
                (draft.entity, draft.merchant) = (1_000 + random.random_range(0..5), 77);
            }
        }
    };
    for few in [true, false] {
        let mut stream = Stream::new(7, &acting());
        stream.feed(3_000, nothing).feed(4_000, |draft, random| surge(draft, random, few));
        let open = stream.watch.open();
        let found = open.iter().find(|finding| finding.alarm == Alarm::AlertSurge).expect("a surge");
        let values = &found.evidence.values;
        assert_eq!(values["top10_entity_share"] > 0.5, few, "{values:?}");
        assert_eq!(values["top_merchant_share"] > 0.5, few, "{values:?}");
        stream.feed(6_000, nothing);
        assert!(stream.watch.open().is_empty(), "{:?}", stream.watch.open());
    }
}

#[test]
fn a_model_that_falls_silent_collapses_and_its_scores_drift() {
    let mut stream = Stream::new(8, &acting());
    stream.feed(2_000, nothing).feed(4_000, |draft, _| draft.score = draft.score.map(|score| score * 0.1));
    let told = stream.told();
    assert!(told.contains(&(Alarm::AlertCollapse, Verdict::Acting)), "{told:?}");
    assert!(told.contains(&(Alarm::ScoreDrift, Verdict::Acting)), "{told:?}");
    let mut stream = Stream::new(8, &acting());
    stream.feed(4_000, |draft, _| draft.score = None);
    assert!(stream.told().is_empty(), "no score is no score of 0: {:?}", stream.told());
}

#[test]
fn one_card_in_a_burst_is_one_vote() {
    let mut stream = Stream::new(9, &acting());
    let mut left = 0;
    let mut like: Option<(u64, Vec<f64>)> = None;
    // Bursts of forty like transactions of one card, between others: every second transaction.
    stream.feed(20_000, |draft, random| {
        if left == 0 {
            left = 40;
            like = Some((random.next_u64() | 1, draft.row.clone()));
        }
        if random.random_bool(0.5) {
            left -= 1;
            let (entity, row) = like.clone().expect("a burst");
            (draft.entity, draft.row) = (entity, row);
        }
    });
    assert!(stream.told().is_empty(), "{:?}", stream.told());
    // The same without the rule: each is a card of its own.
    let mut stream = Stream::new(9, &acting());
    let mut left = 0;
    let mut like = Vec::new();
    stream.feed(20_000, |draft, random| {
        if left == 0 {
            left = 40;
            like = draft.row.clone();
        }
        if random.random_bool(0.5) {
            left -= 1;
            draft.row = like.clone();
        }
    });
    assert!(!stream.told().is_empty(), "otherwise the rule would be idle");
}

#[test]
fn empty_windows_are_not_drift() {
    let mut stream = Stream::new(10, &acting());
    let warming: Vec<bool> = (0..=FEATURES).map(|place| place < 3).collect();
    stream.watch.warming(&warming);
    let cold = |draft: &mut Draft, _: &mut ChaCha8Rng| {
        draft.row[..3].fill(0.0);
        draft.score = draft.score.map(|score| score * 0.1);
    };
    stream.feed(5_000, cold);
    assert_eq!(stream.told(), [(Alarm::Volume, Verdict::Inconclusive)], "{:?}", stream.changes);
    assert!(stream.watch.open()[0].evidence.text.contains("3 of 51"));
    stream.watch.warming(&[false; FEATURES + 1]);
    stream.feed(5_000, nothing);
    assert_eq!(stream.told(), [(Alarm::Volume, Verdict::Inconclusive), (Alarm::Volume, Verdict::Ended)]);
}

#[test]
fn a_jumped_clock_and_a_starved_watch_hold() {
    let mut stream = Stream::new(11, &acting());
    stream.feed(1_000, nothing).feed(400, |draft, _| draft.row[0] += 2.0);
    assert_eq!(stream.watch.open()[0].verdict, Verdict::Acting);
    stream.now = stream.now.minus(Span::from_seconds(7_200));
    stream.tick();
    assert!(stream.watch.open().iter().all(|finding| finding.verdict == Verdict::Inconclusive));
    let votes = stream.watch.votes();
    stream.feed(1_000, nothing);
    assert_eq!(stream.watch.votes(), votes, "nothing votes while the clock settles");
    stream.now = stream.now.plus(Span::from_seconds(60));
    stream.tick();
    assert!(stream.watch.open().iter().any(|finding| finding.verdict == Verdict::Acting), "its own verdict is back");
    stream.now = stream.now.plus(Span::from_seconds(400));
    stream.tick();
    let open = stream.watch.open();
    assert!(open.iter().any(|finding| finding.subject.as_deref() == Some("silence")), "{open:?}");
    assert!(open.iter().filter(|finding| finding.alarm != Alarm::Volume).all(|f| f.verdict == Verdict::Inconclusive));
}

#[test]
fn armed_again_it_judges_what_comes_by_itself() {
    let mut stream = Stream::new(12, &acting());
    stream.feed(600, |draft, _| draft.row[0] += 1.0);
    assert!(!stream.watch.open().is_empty());
    let now = stream.now;
    stream.watch.rearm(now);
    assert!(stream.watch.open().is_empty());
    stream.feed(5_000, nothing);
    assert_eq!(stream.told().last(), Some(&(Alarm::InputDrift, Verdict::Ended)), "{:?}", stream.told());
}

#[test]
fn a_standby_in_control_is_told_from_one_that_is_not() {
    let judged = |shift: f64, count: u64| {
        let mut stream = Stream::new(13, &acting());
        let drafts: Vec<Draft> = (0..count).map(|_| stream.draft()).collect();
        let rows: Vec<Vec<f64>> =
            drafts.iter().map(|draft| draft.row.iter().map(|value| value + shift).collect()).collect();
        let seen = drafts.iter().zip(&rows).map(|(draft, row)| Observation {
            received_at: stream.now,
            occurred_at: stream.now,
            entity: draft.entity,
            merchant: draft.merchant,
            device: 0,
            row,
            score: draft.score,
            outcome: Outcome::Approve,
            degraded: false,
        });
        judge(&profile(), &acting(), seen)
    };
    assert_eq!(judged(0.0, 2_000).state, State::InControl);
    let out = judged(0.5, 2_000);
    assert_eq!(out.state, State::OutOfControl, "{out:?}");
    assert!(!out.suspects.is_empty());
    assert_eq!(judged(0.0, 200).state, State::Inconclusive, "empty windows tell nothing");
}

/// A day of a thousand transactions, over which one feature swings by half a standard deviation.
fn rhythm(count: u64, draft: &mut Draft) {
    draft.row[4] += 0.5 * (count as f64 / 1_000.0 * std::f64::consts::TAU).sin();
}

#[test]
fn calibration_gives_a_rhythm_what_it_needs_and_nothing_to_the_rest() {
    let mut stream = Stream::new(16, &acting());
    let mut calibration = Calibration::new(profile(), &acting());
    for count in 0..20_000 {
        let mut draft = stream.draft();
        rhythm(count, &mut draft);
        let Draft { row, score, entity, merchant } = &draft;
        calibration.observe(&Observation {
            received_at: stream.now,
            occurred_at: stream.now,
            entity: *entity,
            merchant: *merchant,
            device: 0,
            row,
            score: *score,
            outcome: Outcome::Approve,
            degraded: false,
        });
    }
    let found = calibration.calibrated();
    assert_eq!(found.tolerances.keys().collect::<Vec<_>>(), ["f4"], "{found:?}");
    assert!(found.excluded.is_empty() && found.alert_tolerance.is_some(), "{found:?}");
    let mut count = 0;
    let mut swings = |draft: &mut Draft, _: &mut ChaCha8Rng| {
        rhythm(count, draft);
        count += 1;
    };
    let mut uncalibrated = Stream::new(17, &acting());
    uncalibrated.feed(20_000, &mut swings);
    assert!(!uncalibrated.told().is_empty(), "otherwise there was nothing to calibrate");
    let mut calibrated = Stream::new(17, &Options { tolerances: found.tolerances, ..Options::default() });
    calibrated.feed(20_000, &mut swings);
    assert!(calibrated.told().is_empty(), "{:?}", calibrated.told());
    calibrated.feed(600, |draft, _| draft.row[9] += 1.0);
    assert!(calibrated.first(Alarm::InputDrift, Verdict::Acting).is_some(), "the others are watched as before");
}

#[test]
fn the_classic_rule_is_there_for_those_who_name_it() {
    let classic = Some(Classic { window: 1_000, distance: 0.15, standing: Standing::Acting });
    let mut stream = Stream::new(14, &Options { classic, ..acting() });
    stream.feed(2_000, nothing);
    assert!(stream.told().is_empty());
    stream.feed(1_500, |draft, _| draft.row[2] += 0.8);
    let open = stream.watch.open();
    assert!(open.iter().any(|finding| finding.subject.as_deref() == Some("classic_ks")), "{open:?}");
    stream.feed(2_000, nothing);
    assert!(!stream.watch.open().iter().any(|finding| finding.subject.as_deref() == Some("classic_ks")));
}

/// The promise itself, where it can be waited for: runs without any change, at short stated run lengths.
#[test]
fn the_mean_run_to_a_false_alarm_is_at_least_what_is_stated() {
    let shares = vec![1.0 / 32.0; 32];
    for (stated, runs, seed) in [(1_000_u32, 40, 21_u64), (10_000, 20, 22), (100_000, 6, 23)] {
        let blocks = f64::from(stated) / 25.0;
        // The law is at the edge of the tolerance set, in the direction of a tilt: the hardest benign one.
        let set = Tolerance::new(&shares, 10_000_000, 0.15, 0.0);
        let law: Vec<f64> = (0..32).map(|bin| if bin < 16 { set.bounds(bin).0 } else { set.bounds(bin).1 }).collect();
        let total: f64 = law.iter().sum();
        let mut votes = 0_u64;
        for run in 0..runs {
            let mut random = ChaCha8Rng::seed_from_u64(seed * 1_000 + run);
            let mut channel = Channel::new(Tolerance::new(&shares, 10_000_000, 0.15, 0.0), 25);
            let ceilings = Ceilings { acting: 1e30, ended: 1e30 };
            // Censored at ten times the stated length: that only lowers the mean.
            while channel.run() < blocks && channel.votes() < 10 * u64::from(stated) {
                let block: Vec<usize> = (0..25).map(|_| draw(&law, total, &mut random)).collect();
                channel.block(&block.iter().copied(), ceilings);
            }
            votes += channel.votes();
        }
        let mean = votes as f64 / runs as f64;
        println!("stated {stated}, observed mean run {mean} over {runs} runs, seed {seed}");
        assert!(mean >= f64::from(stated), "stated {stated}, observed {mean}, seed {seed}");
    }
}

fn draw(law: &[f64], total: f64, random: &mut ChaCha8Rng) -> usize {
    let mut at = random.random::<f64>() * total;
    for (bin, share) in law.iter().enumerate() {
        at -= share;
        if at < 0.0 {
            return bin;
        }
    }
    law.len() - 1
}

#[test]
fn a_finding_can_be_written_and_read() {
    let at = Timestamp::from_seconds(1);
    let made = finding((Alarm::Volume, None), None, Verdict::Acting, (at, at), crate::healing::Evidence::default());
    let text = serde_json::to_string(&made).expect("written");
    assert_eq!(serde_json::from_str::<Finding>(&text).expect("read"), made);
}

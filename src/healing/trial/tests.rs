//! Trials: each verdict by a fault and by its look-alike, and the stated chance to err.

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn side(score: f64) -> Side {
    let outcome = if score >= 0.9 {
        Outcome::Decline
    } else if score >= 0.3 {
        Outcome::Review
    } else {
        Outcome::Approve
    };
    Side { score, outcome }
}

/// A generator of evenly spread numbers within 0..1, the same at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((word ^ (word >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Runs a shadow trial: one in a hundred is stopped by the active model; returns when it is decided.
fn run(options: &Options, pairs: u64, mut candidate: impl FnMut(Side, &mut Dice) -> Option<Side>) -> (Verdict, u64) {
    let (mut trial, mut dice) = (Trial::new(options, 0, START), Dice(7));
    for number in 0..pairs {
        let at = START.plus(Span::from_micros(i64::try_from(number).expect("small") * 1_000_000));
        let active = side(if dice.roll() < 0.01 { 0.95 } else { 0.1 * dice.roll() });
        let candidate = candidate(active, &mut dice);
        trial.observe(&Pair { at, entity: number, active, candidate });
        let (verdict, _) = trial.judge(at, true);
        if verdict != Verdict::Going {
            return (verdict, number + 1);
        }
    }
    (Verdict::Going, pairs)
}

#[test]
fn the_same_model_wins_and_not_before_its_time() {
    let options = Options::default();
    assert_eq!(run(&options, 20_000, |active, _| Some(active)), (Verdict::Won, options.shadow_votes_min));
    let slow = Options { shadow_dwell_min: Span::from_seconds(15_000), ..Options::default() };
    assert_eq!(run(&slow, 20_000, |active, _| Some(active)).0, Verdict::Won);
    assert!(run(&slow, 20_000, |active, _| Some(active)).1 > 15_000);
}

#[test]
fn a_model_that_flips_within_its_band_wins_and_one_beyond_it_loses() {
    let flips =
        |share: f64| move |active: Side, dice: &mut Dice| Some(if dice.roll() < share { side(0.5) } else { active });
    assert_eq!(run(&Options::default(), 20_000, flips(0.005)).0, Verdict::Won);
    let (verdict, pairs) = run(&Options::default(), 20_000, flips(0.08));
    assert_eq!(verdict, Verdict::Lost);
    assert!(pairs < 1_000, "{pairs}");
}

#[test]
fn a_model_that_went_silent_loses_although_it_flips_only_one_in_a_hundred() {
    let (verdict, pairs) = run(&Options::default(), 20_000, |_, _| Some(side(0.01)));
    assert_eq!(verdict, Verdict::Lost);
    assert!(pairs < 5_000, "{pairs}");
    // Its twin lets a fifth of the alerts go, as a better model may.
    let twin =
        |active: Side, dice: &mut Dice| Some(if active.score > 0.9 && dice.roll() < 0.2 { side(0.1) } else { active });
    assert_eq!(run(&Options::default(), 40_000, twin).0, Verdict::Won);
}

#[test]
fn beside_a_model_that_stops_four_times_too_much_only_a_quarter_is_owed() {
    let lets_go = |share: f64| {
        move |active: Side, dice: &mut Dice| {
            Some(if active.score > 0.9 && dice.roll() < share { side(0.1) } else { active })
        }
    };
    let options = Options::default();
    assert_eq!(run(&options, 40_000, lets_go(0.7)).0, Verdict::Lost);
    assert_eq!(run(&options.beside(4.0), 400_000, lets_go(0.7)).0, Verdict::Won);
    // One that went silent loses there, too.
    assert_eq!(run(&options.beside(4.0), 400_000, lets_go(1.0)).0, Verdict::Lost);
    assert_eq!(options.beside(1.0), options);
    assert_eq!(options.beside(0.1), options);
    assert_eq!(options.beside(f64::NAN), options);
    assert!((options.beside(1e9).lost_alerts_max - 0.95).abs() < 1e-12);
}

#[test]
fn a_model_that_fails_loses_and_one_that_failed_once_does_not() {
    let (verdict, pairs) = run(&Options::default(), 20_000, |active, dice| (dice.roll() > 0.02).then_some(active));
    assert_eq!(verdict, Verdict::Lost);
    assert!(pairs < 2_000, "{pairs}");
    let mut failed = false;
    let once = move |active: Side, _: &mut Dice| std::mem::replace(&mut failed, true).then_some(active);
    assert_eq!(run(&Options::default(), 40_000, once).0, Verdict::Won);
}

#[test]
fn one_busy_entity_decides_nothing() {
    let mut trial = Trial::new(&Options::default(), 0, START);
    for number in 0..10_000_i64 {
        let at = START.plus(Span::from_micros(number * 1_000_000));
        // The one card the models differ on comes in bursts.
        let (entity, candidate) =
            if number % 10 == 0 { (u64::MAX, side(0.95)) } else { (number.unsigned_abs(), side(0.1)) };
        trial.observe(&Pair { at, entity, active: side(0.1), candidate: Some(candidate) });
    }
    let (verdict, figures) = trial.judge(START.plus(Span::from_seconds(10_000)), true);
    assert_ne!(verdict, Verdict::Lost, "{figures:?}");
    assert_eq!(figures.new_alerts.hits, 50);
    assert_eq!(figures.flips, 1_000);
}

#[test]
fn cold_windows_silence_and_a_clock_set_back_are_inconclusive() {
    let options = Options::default();
    let mut trial = Trial::new(&options, 1, START);
    assert_eq!(trial.judge(START, true).0, Verdict::Going);
    assert_eq!(trial.judge(START, false).0, Verdict::Inconclusive);
    assert_eq!(trial.judge(START.minus(Span::from_seconds(1)), true).0, Verdict::Inconclusive);
    assert_eq!(trial.judge(START.plus(Span::from_seconds(601)), true).0, Verdict::Inconclusive);
    trial.observe(&Pair {
        at: START.plus(Span::from_seconds(600)),
        entity: 1,
        active: side(0.1),
        candidate: Some(side(0.1)),
    });
    assert_eq!(trial.judge(START.plus(Span::from_seconds(601)), true).0, Verdict::Going);
    assert_eq!(trial.judge(START.plus(Span::from_days(8)), true).0, Verdict::Inconclusive);
}

#[test]
fn a_model_that_takes_too_long_loses_once_it_was_measured() {
    let mut trial = Trial::new(&Options::default(), 0, START);
    trial.timed(9.0, 3);
    assert_eq!(trial.judge(START, true).0, Verdict::Going);
    trial.timed(9.0, 20);
    assert_eq!(trial.judge(START, true).0, Verdict::Lost);
    trial.timed(2.0, 20);
    assert_eq!(trial.judge(START, true).0, Verdict::Going);
}

#[test]
fn a_rate_at_its_band_is_called_left_no_more_often_than_stated() {
    // 400 streams of 5,000: at an error rate of 1 in 20 at most 20 are expected to err; 40 would be six deviations more.
    for band in [0.02, 0.5] {
        let (mut left, mut kept) = (0, 0);
        for seed in 0..400 {
            let (mut rate, mut dice) = (Rate::new(band, 0.05), Dice(seed * 1_000_003));
            let mut was_kept = false;
            for _ in 0..5_000 {
                rate.observe(dice.roll() < band);
                was_kept |= rate.is_kept();
            }
            left += u32::from(rate.is_left());
            kept += u32::from(was_kept);
        }
        assert!(left < 40 && kept < 40, "band {band}: {left} left, {kept} kept of 400");
    }
}

proptest! {
    #[test]
    fn figures_are_finite_and_a_lost_band_stays_lost(
        band in 0.001_f64..0.999,
        hits in proptest::collection::vec(any::<bool>(), 0..400),
    ) {
        let mut rate = Rate::new(band, 0.01);
        let mut was_left = false;
        for hit in hits {
            rate.observe(hit);
            let figures = rate.figures();
            prop_assert!(figures.log_e_above.is_finite() && figures.log_e_below.is_finite());
            prop_assert!(!was_left || rate.is_left());
            prop_assert!(!(rate.is_left() && rate.is_kept()));
            was_left = rate.is_left();
        }
    }
}

#[test]
fn a_step_that_was_kept_goes_on_as_if_nothing_had_been_and_only_as_the_same_step() {
    let options = Options::default();
    let at = |number: u64| START.plus(Span::from_micros(i64::try_from(number).expect("small") * 1_000_000));
    let mut dice = Dice(11);
    let pairs: Vec<Pair> = (0..12_000)
        .map(|number| {
            let active = side(if dice.roll() < 0.01 { 0.95 } else { 0.1 * dice.roll() });
            let candidate = (dice.roll() > 0.0005).then_some(if dice.roll() < 0.005 { side(0.5) } else { active });
            Pair { at: at(number), entity: number % 700, active, candidate }
        })
        .collect();
    let mut whole = Trial::new(&options, 0, START);
    for pair in &pairs {
        whole.observe(pair);
    }
    let mut first = Trial::new(&options, 0, START);
    for pair in &pairs[..5_077] {
        first.observe(pair);
    }
    let kept = serde_json::to_string(&first).expect("JSON");
    let read = || -> Trial { serde_json::from_str(&kept).expect("the same again") };
    let mut second = read().resumed(&options, START, at(5_076)).expect("the same step");
    for pair in &pairs[5_077..] {
        second.observe(pair);
    }
    let (verdict, figures) = whole.judge(at(12_000), true);
    let (resumed, after) = second.judge(at(12_000), true);
    assert_eq!((verdict, resumed), (Verdict::Won, Verdict::Won), "{figures:?}");
    assert_eq!((figures.pairs, figures.votes, figures.flips), (after.pairs, after.votes, after.flips));
    assert!((figures.new_alerts.log_e_below - after.new_alerts.log_e_below).abs() < 1e-9);
    // Another step, or other bands: what was gathered says nothing of it.
    assert!(read().resumed(&options, at(1), at(6_000)).is_none());
    let stricter = Options { new_alerts_max: 0.01, ..Options::default() };
    assert!(read().resumed(&stricter, START, at(6_000)).is_none());
    // A night without the process is no starving.
    let late = at(5_076).plus(Span::from_seconds(8 * 3_600));
    assert_eq!(read().judge(late, true).0, Verdict::Inconclusive);
    assert_eq!(read().resumed(&options, START, late).expect("the same").judge(late, true).0, Verdict::Going);
}

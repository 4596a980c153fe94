//! Trials: a signed bundle goes from shadow over canary into force by healing alone, and only on evidence.

use std::collections::BTreeMap;

use fraudd::domain::Span;
use fraudd::healing::Stage;
use fraudd::healing::trial::{Options, Verdict};
use fraudd::runtime::release::bundle;

use super::support::{Setup, World, packed, repack, runtime_is_here, sign, world};

/// Evidence that a test can gather in a second.
fn quick() -> Options {
    Options {
        steps: vec![10, 50],
        shadow_votes_min: 100,
        canary_votes_min: 100,
        shadow_dwell_min: Span::from_seconds(60),
        canary_dwell_min: Span::from_seconds(60),
        errors_max: 0.1,
        new_alerts_max: 0.1,
        // The ratio of two times is not what is tested here.
        latency_ratio_max: 1e9,
        ..Options::default()
    }
}

async fn traffic(world: &World, numbers: std::ops::Range<u64>) {
    for number in numbers {
        world.decide(number).await;
    }
    world.fleet.compare();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_bundle_earns_its_place() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup { trial: quick(), standby_sample_percent: 50, ..Setup::default() });
    let mut files = packed("logistic_double", "logistic", "3");
    sign(&mut files);
    world.add(&files, "3");
    world.fleet.look();
    let model = world.model("3");
    world.fleet.shadow(&model).expect("in shadow");
    let mut from = 0;
    for (stage, percent, next) in [(Stage::Shadow, 0, 10), (Stage::Canary, 10, 50), (Stage::Canary, 50, 100)] {
        let trial = world.fleet.facts().trial.expect("a trial");
        assert_eq!((trial.stage, trial.percent, trial.next_percent), (stage, percent, next));
        assert_eq!((trial.verdict, trial.figures.pairs), (Verdict::Going, 0), "each step begins anew");
        world.wait(61);
        traffic(&world, from..from + 1_000).await;
        from += 1_000;
        let trial = world.fleet.facts().trial.expect("a trial");
        assert_eq!(trial.verdict, Verdict::Won, "{:?}", trial.figures);
        assert_eq!((trial.figures.pairs, trial.figures.flips), (1_000, 0), "{:?}", trial.figures);
        match next {
            100 => world.fleet.promote(&model).expect("promoted"),
            next => world.fleet.canary(&model, next).expect("a canary"),
        }
    }
    assert_eq!((world.stage("3"), world.stage("1"), world.stage("2")), ("active", "standby", "retired"));
    assert!(world.fleet.facts().trial.is_none());
    // What the standby and the candidate said to transactions they did not answer waits for whoever learns from it.
    let said = world.fleet.shadowed();
    assert!(said.iter().any(|shadowed| shadowed.model == model && shadowed.score.is_some()));
    assert!(said.iter().any(|shadowed| shadowed.model.version == "2" && shadowed.score.is_some()));
    assert_eq!(world.fleet.recent(usize::MAX).len(), 2_000);
    let again = world.fleet.score_recent(&world.model("1"), 500).expect("scored");
    assert_eq!(again.len(), 500);
    assert!(again.iter().all(|shadowed| shadowed.score.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_has_its_own_entities_and_keeps_them_when_its_share_grows() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup { trial: quick(), ..Setup::default() });
    let mut files = packed("logistic_double", "logistic", "3");
    sign(&mut files);
    world.add(&files, "3");
    world.fleet.look();
    let mut who = Vec::new();
    let mut from = 0;
    for percent in [10, 50] {
        world.fleet.canary(&world.model("3"), percent).expect("a canary");
        let mut roles: BTreeMap<u64, (String, String)> = BTreeMap::new();
        for number in from..from + 1_000 {
            let record = world.decide(number).await;
            let facts = &record.decision.release;
            let role = (facts.model_version.clone(), facts.model_role.clone());
            let known = roles.entry(number % 199).or_insert_with(|| role.clone());
            assert_eq!(*known, role, "one customer, one release");
        }
        from += 1_000;
        let is_canary = |role: &(String, String)| *role == ("3".to_owned(), "canary".to_owned());
        assert!(roles.values().all(|role| is_canary(role) || *role == ("1".to_owned(), "active".to_owned())));
        who.push(
            roles.into_iter().filter(|(_, role)| is_canary(role)).map(|(customer, _)| customer).collect::<Vec<_>>(),
        );
    }
    // Of 199 customers; five standard deviations either way.
    assert!((1..=41).contains(&who[0].len()) && (64..=135).contains(&who[1].len()), "{who:?}");
    assert!(who[0].iter().all(|customer| who[1].contains(customer)), "raising the share only adds");
    // And all is as before once it is withdrawn.
    world.fleet.withdraw(&world.model("3")).expect("withdrawn");
    assert_eq!(world.decide(9_999).await.decision.release.model_version, "1");
    assert_eq!(world.stage("3"), "validated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_stops_far_more_loses() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup { trial: quick(), ..Setup::default() });
    // Right in every probability, and with limits that stop nearly everything.
    let mut files = packed("logistic_double", "logistic", "3");
    repack(&mut files, |manifest| (manifest.thresholds.review, manifest.thresholds.decline) = (0.001, 0.002));
    files.remove(bundle::SIGNATURE);
    sign(&mut files);
    world.add(&files, "3");
    world.fleet.look();
    world.fleet.shadow(&world.model("3")).expect("in shadow");
    world.wait(61);
    traffic(&world, 0..500).await;
    let trial = world.fleet.facts().trial.expect("a trial");
    assert_eq!(trial.verdict, Verdict::Lost, "{:?}", trial.figures);
    world.fleet.quarantine(&world.model("3"), &trial.figures.text).expect("banned");
    assert_eq!((world.stage("3"), world.stage("1")), ("quarantined", "active"));
    assert!(world.fleet.facts().trial.is_none() && !world.fleet.facts().rolled_back);
}

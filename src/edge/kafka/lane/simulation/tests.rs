//! Thousands of seeds, two lanes that break a rule on purpose, and what a lane shows when it cannot work.

use super::*;

const HAPPENS: &[&str] = &[
    "offset committed",
    "crash",
    "drain",
    "intake paused or resumed",
    "freeze",
    "broker away",
    "partitions lost",
    "partitions revoked",
    "transaction timed out",
    "committed unstable",
    "commit retriable",
    "commit abortable",
    "commit fatal",
    "commit happened unseen",
    "offsets happened unseen",
    "abort happened unseen",
    "rebuild happened unseen",
    "flush retriable",
    "produce abortable",
    "commit failed (fenced): fenced",
    "offsets failed (stale_generation): illegal generation",
    "offsets failed (stale_generation): unknown member",
    "offsets failed (consumer_lost): fenced instance",
];

/// `FRAUDD_SIMULATION_SEEDS=from..to` runs others, or more.
fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let text = std::env::var("FRAUDD_SIMULATION_SEEDS").unwrap_or_default();
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.unwrap_or(default)
}

#[test]
fn exactly_once_whatever_happens() {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds(0..2_000) {
        let outcome = run(seed, RIGHT);
        let Outcome { violations, story, .. } = &outcome;
        assert!(violations.is_empty(), "{story}\nseed {seed}: {violations:#?}");
        outcome.counts.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    println!("{counts:#?}");
    // What never happened was not tried.
    for what in HAPPENS {
        assert!(counts.get(*what).is_some_and(|count| *count > 0), "{what} never happened: {counts:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let [first, second] = [run(7, RIGHT), run(7, RIGHT)];
    assert_eq!(first.story, second.story);
}

#[test]
fn a_generation_taken_at_commit_time_counts_twice() {
    let build = Build { capture: Capture::Commit, ..RIGHT };
    let is_twice = |violation: &String| violation.starts_with("KA-1: twice");
    let found = (0..500).find(|seed| run(*seed, build).violations.iter().any(is_twice));
    assert!(found.is_some(), "no seed of 500 shows the double count");
}

#[test]
fn a_commit_nobody_asks_about_counts_twice() {
    let build = Build { forgets: Forgets::ToSettle, ..RIGHT };
    let is_twice = |violation: &String| violation.starts_with("KA-1: twice");
    let found = (0..500).find(|seed| run(*seed, build).violations.iter().any(is_twice));
    assert!(found.is_some(), "no seed of 500 shows the double count");
}

/// A lane alone, with records to read.
fn alone() -> Simulation {
    let mut simulation = Simulation::new(2, RIGHT);
    simulation.start(0, None);
    (1..=200).for_each(|id| simulation.world.borrow_mut().append(Source::Transactions, 1, 0, id));
    simulation
}

fn steps(simulation: &mut Simulation, what: &str, holds: impl Fn(&Simulation) -> bool) {
    for _ in 0..20_000 {
        if holds(simulation) {
            return;
        }
        simulation.processes[0].lane.as_mut().expect("a lane").step();
    }
    panic!("{what}: not within 20,000 steps, {:?}", simulation.status().shown());
}

impl Simulation {
    fn status(&self) -> &Status {
        &self.processes[0].lane.as_ref().expect("a lane").status
    }
}

#[test]
fn a_record_waits_for_company_unless_it_lay_there_while_a_batch_was_published() {
    const WAIT: Duration = Duration::from_millis(1);
    let mut simulation = alone();
    let is_decided = |all: &Simulation| all.processes[0].lane.as_ref().is_some_and(|lane| lane.held.is_some());
    let now = |all: &Simulation| all.world.borrow().now;
    let append = |all: &Simulation, id| all.world.borrow_mut().append(Source::Transactions, 1, 0, id);
    steps(&mut simulation, "all read", |all| all.world.borrow().unfinished().is_empty() && !is_decided(all));
    append(&simulation, 201);
    let came = now(&simulation);
    steps(&mut simulation, "the first is decided", is_decided);
    assert!(now(&simulation).saturating_sub(came) >= WAIT, "it came to an idle lane");

    append(&simulation, 202);
    simulation.world.borrow_mut().now += 10 * WAIT;
    steps(&mut simulation, "the first is committed", |all| !is_decided(all));
    let free = now(&simulation);
    steps(&mut simulation, "the second is decided", is_decided);
    assert!(now(&simulation).saturating_sub(free) < WAIT / 2, "it had waited while the first was published");
}

#[test]
fn a_lane_that_keeps_failing_is_broken_says_why_and_heals() {
    let mut simulation = alone();
    steps(&mut simulation, "running", |all| all.status().is_ready() && !all.world.borrow().offsets.is_empty());
    simulation.world.borrow_mut().chances.fatal = 1_000;
    steps(&mut simulation, "broken", |all| all.status().shown().state == State::Broken);
    assert!(!simulation.status().is_ready() && !simulation.status().shown().reason.is_empty());
    simulation.world.borrow_mut().chances.fatal = 0;
    steps(&mut simulation, "healed", |all| all.status().is_ready() && all.world.borrow().unfinished().is_empty());
    assert_eq!(check::violations(&simulation.world.borrow(), PARTITIONS), Vec::<String>::new());
}

#[test]
fn a_batch_that_always_aborts_makes_a_lane_broken_too() {
    let mut simulation = alone();
    simulation.world.borrow_mut().chances.abortable = 1_000;
    steps(&mut simulation, "broken", |all| all.status().shown().state == State::Broken);
    simulation.world.borrow_mut().chances.abortable = 0;
    steps(&mut simulation, "healed", |all| all.status().is_ready() && all.world.borrow().unfinished().is_empty());
}

#[test]
fn a_drain_commits_what_is_in_hand_and_ends_in_time() {
    let mut simulation = alone();
    steps(&mut simulation, "a batch", |all| all.processes[0].lane.as_ref().is_some_and(|lane| lane.held.is_some()));
    let lane = simulation.processes[0].lane.as_mut().expect("a lane");
    lane.drain();
    while lane.step() {}
    assert!(lane.held.is_none() && lane.status.shown().state == State::Stopped);
    assert!(simulation.world.borrow().offsets.values().any(|committed| committed.offset > 0));

    let mut simulation = alone();
    steps(&mut simulation, "a batch", |all| all.processes[0].lane.as_ref().is_some_and(|lane| lane.held.is_some()));
    simulation.world.borrow_mut().away_until = Duration::from_secs(1_000);
    let started = simulation.world.borrow().now;
    let lane = simulation.processes[0].lane.as_mut().expect("a lane");
    lane.drain();
    while lane.step() {}
    let took = simulation.world.borrow().now.checked_sub(started).expect("later");
    assert!(took <= Duration::from_secs(11), "its time and one call: {took:?}");
}

#[test]
fn a_batch_waits_for_room_and_for_its_lane_to_be_let_on() {
    let mut simulation = alone();
    simulation.world.borrow_mut().halted = Some("too many dead letters".into());
    steps(&mut simulation, "halted", |all| all.status().shown().state == State::Halted);
    for _ in 0..500 {
        simulation.processes[0].lane.as_mut().expect("a lane").step();
    }
    assert!(simulation.world.borrow().offsets.is_empty() && !simulation.status().is_ready());
    assert_eq!(simulation.status().shown().reason, "too many dead letters");
    simulation.world.borrow_mut().halted = None;
    steps(&mut simulation, "on", |all| all.world.borrow().unfinished().is_empty());
}

#[test]
fn a_paused_lane_commits_what_it_took_stays_in_the_group_and_takes_no_more() {
    let mut simulation = alone();
    steps(&mut simulation, "running", |all| !all.world.borrow().offsets.is_empty());
    simulation.world.borrow_mut().paused = true;
    steps(&mut simulation, "paused", |all| all.status().shown().state == State::Paused);
    let committed = simulation.world.borrow().offsets.clone();
    let before = simulation.world.borrow().now;
    // Far longer than its session: it polls, so it keeps its partitions.
    while simulation.world.borrow().now < before + SESSION * 5 {
        simulation.processes[0].lane.as_mut().expect("a lane").step();
    }
    assert!(simulation.status().is_ready() && !simulation.status().shown().live.is_empty());
    assert_eq!(simulation.world.borrow().offsets, committed);
    assert!(simulation.processes[0].lane.as_ref().is_some_and(|lane| lane.held.is_none()));
    simulation.world.borrow_mut().paused = false;
    steps(&mut simulation, "all read", |all| all.world.borrow().unfinished().is_empty());
    assert_eq!(check::violations(&simulation.world.borrow(), PARTITIONS), Vec::<String>::new());
}

#[test]
fn a_paused_lane_can_be_drained() {
    let mut simulation = alone();
    simulation.world.borrow_mut().paused = true;
    steps(&mut simulation, "paused", |all| all.status().shown().state == State::Paused);
    let lane = simulation.processes[0].lane.as_mut().expect("a lane");
    lane.drain();
    while lane.step() {}
    assert_eq!(lane.status.shown().state, State::Stopped);
}

#[test]
fn a_partition_that_cannot_be_restored_is_not_read_and_said_so() {
    let mut simulation = alone();
    simulation.world.borrow_mut().lost = Some(2);
    steps(&mut simulation, "others", |all| all.world.borrow().unfinished().is_empty());
    steps(&mut simulation, "all known", |all| all.status().shown().restoring.is_empty());
    let shown = simulation.status().shown();
    assert_eq!((shown.live, shown.failed), (vec![0, 1, 3], vec![(2, "its changelog is gone".into())]));
    assert!(!simulation.status().is_ready());
}

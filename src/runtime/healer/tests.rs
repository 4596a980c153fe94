//! The loop with made-up sources and hands: an incident from finding to healthy, on the record, over a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::tick::Loop;
use super::{External, ExternalOptions, Feed, Found, HealingView, Options, Parts, Shared, Sources};
use crate::domain::{Span, Timestamp};
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};
use crate::healing::memory::Health;
use crate::healing::situation::{ActiveFacts, Cause, FleetFacts, Order, OrderKind, StandbyFacts, WatchFacts};
use crate::healing::{Action, Memory, ModelRef};
use crate::runtime::audit::{self, Audit};
use crate::runtime::clock::Clock;
use crate::runtime::executor::{self, Executor, Hand, Refused, Wish};
use crate::runtime::healer::memory_file;
use crate::tasks::Shutdown;

fn model(version: &str) -> ModelRef {
    ModelRef { name: "m".into(), version: version.into(), sha256: version.into() }
}

#[derive(Default)]
struct World {
    fleet: FleetFacts,
    findings: Vec<Finding>,
    performed: Vec<Action>,
    failing: Option<&'static str>,
    votes: u64,
}

/// A loop that tests turn by hand; the executor is the real one.
struct Rig {
    world: Arc<Mutex<World>>,
    turning: Loop,
    shared: Arc<Shared>,
    executor: Executor,
    clock: Clock,
    audit: Audit,
    shutdown: Shutdown,
}

fn hand(world: &Arc<Mutex<World>>, clock: &Clock) -> Hand {
    let (world, clock) = (Arc::clone(world), clock.clone());
    Arc::new(move |planned| {
        let action = &planned.action;
        let mut world = world.lock();
        if world.failing == Some(action.name()) {
            return Err("as the test has it".into());
        }
        world.performed.push(action.clone());
        if let Action::Swap { from, to } = action {
            let standby = StandbyFacts { model: from.clone(), golden_checked_at: None, is_warm: true, quality: None };
            let active = ActiveFacts { model: to.clone(), since: clock.now(), cause: Cause::Rollback, quality: None };
            world.fleet = FleetFacts { active: Some(active), standby: Some(standby), ..FleetFacts::default() };
            world.findings.clear();
            world.votes = 0;
        }
        Ok(())
    })
}

fn sources(world: &Arc<Mutex<World>>) -> Sources {
    let (fleet, found) = (Arc::clone(world), Arc::clone(world));
    Sources {
        fleet: Box::new(move || fleet.lock().fleet.clone()),
        found: Box::new(move |_| {
            let world = found.lock();
            let model = world.fleet.active.as_ref().map(|active| active.model.clone());
            let watch = WatchFacts { model, votes: world.votes, is_conclusive: world.votes > 100 };
            Found { findings: world.findings.clone(), watch }
        }),
        ..Sources::default()
    }
}

fn rig(directory: Option<&Path>, deadline: Duration) -> Rig {
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let now = clock.now();
    let active = ActiveFacts { model: model("new"), since: now, cause: Cause::Promotion, quality: None };
    let standby = StandbyFacts { model: model("old"), golden_checked_at: Some(now), is_warm: true, quality: None };
    let fleet = FleetFacts { active: Some(active), standby: Some(standby), ..FleetFacts::default() };
    let world = Arc::new(Mutex::new(World { fleet, ..World::default() }));
    let audit_options =
        audit::Options { directory: directory.map(|directory| directory.join("audit")), ..audit::Options::default() };
    let audit = Audit::open(audit_options, clock.clone()).expect("a record");
    let shutdown = Shutdown::default();
    let times = executor::Options { deadline, ..executor::Options::default() };
    let started = Executor::start(hand(&world, &clock), audit.clone(), (clock.clone(), times), shutdown.clone());
    let (executor, _) = started.expect("a thread");
    let memory_path = directory.map(|directory| directory.join("healing.json"));
    let memory: Memory = memory_path.as_deref().map(memory_file::load).unwrap_or_default();
    let shared = Arc::new(Shared {
        feed: Feed::new(1),
        orders: Mutex::default(),
        external: External::new(ExternalOptions { alarms: BTreeMap::new(), is_acting: false, age_max: Span::ZERO }),
        view: Mutex::new(Arc::new(HealingView::of(&memory, audit.view()))),
        audit: audit.clone(),
    });
    let parts =
        Parts { sources: sources(&world), executor: executor.clone(), audit: audit.clone(), clock: clock.clone() };
    let options = Options { memory_path, ..Options::default() };
    let mut turning = Loop::new(options, parts, (memory, Arc::clone(&shared)));
    turning.begin();
    Rig { world, turning, shared, executor, clock, audit, shutdown }
}

impl Rig {
    fn view(&self) -> Arc<HealingView> {
        Arc::clone(&self.shared.view.lock())
    }

    /// Turns the loop until something holds; the executor works meanwhile.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..20_000 {
            if holds(self) {
                return;
            }
            self.clock.advance(Span::from_micros(1_000));
            self.turning.tick();
            std::thread::yield_now();
        }
        panic!("{what}: {:#?}", self.view());
    }

    fn finds(&self, alarm: Alarm) {
        let (at, evidence) = (self.clock.now(), Evidence { text: "made up".into(), ..Evidence::default() });
        let verdict = Verdict::Acting;
        let finding = Finding { alarm, subject: None, model: Some(model("new")), verdict, since: at, at, evidence };
        self.world.lock().findings.push(finding);
    }

    fn kinds(&self) -> Vec<String> {
        let lines = self.audit.after(0, 10_000).expect("readable");
        let kind = |line: &Arc<str>| audit::Line::read(line).expect("whole").kind.name().to_owned();
        lines.iter().map(kind).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.ask();
        self.audit.close();
    }
}

#[test]
fn an_incident_goes_from_finding_to_healthy_and_is_on_the_record_before_it_is_done() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(Some(directory.path()), Duration::from_secs(20));
    rig.turning.tick();
    assert_eq!(rig.view().state, Health::Healthy);
    rig.finds(Alarm::ModelFault);
    rig.until("swapped", |rig| rig.world.lock().performed.len() == 3);
    rig.until("being checked", |rig| {
        rig.view().state == Health::Recovering && rig.view().last_actions.iter().all(|action| action.ended_at.is_some())
    });
    rig.world.lock().votes = 1_000;
    rig.clock.advance(Span::from_seconds(40));
    rig.until("healthy", |rig| rig.view().state == Health::Healthy);
    let kinds = rig.kinds();
    let first = |kind: &str| kinds.iter().position(|known| known == kind).unwrap_or(usize::MAX);
    assert!(first("alarm") < first("plan") && first("plan") < first("intent") && first("intent") < first("outcome"));
    assert_eq!(kinds.iter().filter(|kind| *kind == "intent").count(), 3);
    assert!(audit::reading::verify(&directory.path().join("audit")).expect("readable").faults.is_empty());
    // What the record says gives the same plans.
    let replayed = audit::replay::replay(&directory.path().join("audit")).expect("readable");
    assert!(replayed.plans >= 3 && replayed.differences.is_empty(), "{replayed:?}");
}

#[test]
fn a_lock_and_what_protects_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let order = |kind| Order { kind, by: "ops".into(), reason: "a drill".into() };
    {
        let mut rig = rig(Some(directory.path()), Duration::from_secs(20));
        rig.shared.orders.lock().extend([order(OrderKind::SafeMode), order(OrderKind::Lock)]);
        rig.until("in safe mode", |rig| !rig.world.lock().performed.is_empty());
        rig.until("known", |rig| rig.view().last_actions.iter().all(|action| action.ended_at.is_some()));
    }
    let mut rig = rig(Some(directory.path()), Duration::from_secs(20));
    assert_eq!(rig.view().state, Health::Locked);
    rig.until("in force again", |rig| rig.world.lock().performed == [Action::RulesOnly]);
    assert_eq!(rig.view().lock.as_ref().map(|lock| lock.by.clone()), Some("ops".into()));
}

#[test]
fn a_memory_that_cannot_be_read_is_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("healing.json");
    std::fs::write(&path, "nonsense").expect("written");
    assert_eq!(memory_file::load(&path), Memory::default());
    assert!(path.with_extension("json.unreadable").exists());
}

#[test]
fn an_action_that_does_not_come_back_fails_at_its_deadline_and_later_ones_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(Some(directory.path()), Duration::from_millis(20));
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let wish = |what: &str| Wish { what: what.into(), about: "x".into(), by: "ops".into(), reason: "test".into() };
    let stuck = rig.executor.wish(
        wish("stuck"),
        Box::new(move || held.recv().map_err(|e| e.to_string())),
        Duration::from_secs(30),
    );
    assert!(matches!(stuck, Err(Refused::Failed(_))), "{stuck:?}");
    let fine = rig.executor.wish(wish("fine"), Box::new(|| Ok(())), Duration::from_secs(30));
    assert_eq!(fine, Ok(()));
    let failed = rig.executor.wish(wish("bad"), Box::new(|| panic!("as planned")), Duration::from_secs(30));
    assert!(matches!(failed, Err(Refused::Failed(_))), "{failed:?}");
    drop(release);
    rig.turning.tick();
    let kinds = rig.kinds();
    assert_eq!(kinds.iter().filter(|kind| *kind == "override").count(), 3);
}

#[test]
fn what_fails_is_told_and_tried_again() {
    let mut rig = rig(None, Duration::from_secs(20));
    rig.world.lock().failing = Some("swap");
    rig.finds(Alarm::ModelFault);
    rig.until("failed", |rig| rig.view().last_actions.iter().any(|action| action.failure.is_some()));
    assert!(rig.view().held.iter().any(|held| held.action == "swap"));
    rig.world.lock().failing = None;
    rig.clock.advance(Span::from_seconds(31));
    rig.until("swapped", |rig| {
        let world = rig.world.lock();
        world.performed.iter().any(|action| matches!(action, Action::Swap { .. }))
    });
}

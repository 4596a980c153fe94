//! The course of a scene: wait until all is well, put something in, read from the record when it was found, what was done
//! and whether it helped, mend it, wait until all is well again.

use std::time::Duration;

use anyhow::{Context, bail};

use super::ground::{self, Ground};
use super::scenes::{Inject, Scene};
use super::traffic::{Tally, Traffic, Twist};
use super::watcher::{Line, Watcher, active, is_healthy};
use crate::domain::{Span, Timestamp};
use crate::runtime::clock::{Clock, Moment};
use crate::tasks::Shutdown;

/// How often the doors are asked.
const LOOK: Duration = Duration::from_millis(100);

/// What a scene gave.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) scene: Scene,
    pub(super) injected: Timestamp,
    /// What was found first, and when.
    pub(super) found: Option<(Timestamp, String)>,
    /// What was done, by which row, and when.
    pub(super) done: Vec<(Timestamp, String, String)>,
    /// When a change of model was found to have helped.
    pub(super) verified: Option<Timestamp>,
    /// When what was put in was mended.
    pub(super) mended: Option<Timestamp>,
    /// When all was well again.
    pub(super) over: Option<Timestamp>,
    pub(super) tally: Tally,
    /// Orders of this scene that change the model.
    orders: Vec<u64>,
}

impl Seen {
    /// Tells whether the scene went as it must.
    pub(super) fn is_passed(&self) -> bool {
        let is_answered = match self.scene.inject {
            Inject::Nothing => self.found.is_none() && self.done.is_empty(),
            Inject::Model(_) | Inject::BadRelease | Inject::Payments(_) => self.is_answered(),
        };
        is_answered && self.tally.failed == 0 && self.over.is_some()
    }

    /// Returns what was done that the scene is about: when, what, by which row.
    pub(super) fn decisive(&self) -> Option<&(Timestamp, String, String)> {
        self.done.iter().find(|(_, action, _)| self.scene.actions.contains(&action.as_str()))
    }

    /// Tells whether it was found and answered, and the answer was checked where it must be.
    fn is_answered(&self) -> bool {
        self.found.is_some() && self.decisive().is_some() && (!self.scene.swaps() || self.verified.is_some())
    }

    fn take(&mut self, line: &Line) {
        if line.at < self.injected {
            return;
        }
        let body = &line.body;
        match line.kind.as_str() {
            "alarm" if body["verdict"] == "acting" => {
                let alarm = body["alarm"].as_str().unwrap_or_default();
                let is_meant = self.scene.alarms.contains(&alarm) || self.scene.inject == Inject::Nothing;
                if is_meant && self.found.is_none() {
                    let subject = body["subject"].as_str().map(|subject| format!(" of {subject}")).unwrap_or_default();
                    self.found = Some((line.at, format!("{alarm}{subject}")));
                }
            }
            "breaker"
                if body["to"] == "open" && matches!(self.scene.inject, Inject::Model(_)) && self.found.is_none() =>
            {
                self.found = Some((line.at, "breaker opens".to_owned()));
            }
            "plan" => {
                for action in body["actions"].as_array().into_iter().flatten() {
                    self.orders.extend(action["order"].as_u64().filter(|_| action["action"] == "swap"));
                }
                for verified in body["verified"].as_array().into_iter().flatten() {
                    let is_ours = verified["order"].as_u64().is_some_and(|order| self.orders.contains(&order));
                    if is_ours && verified["is_good"] == true {
                        self.verified.get_or_insert(line.at);
                    }
                }
            }
            "outcome" if body["result"] == "done" => {
                let (action, row) = (&body["action"], body["row"].as_str().unwrap_or_default());
                if let Some(action) = action.as_str().filter(|action| *action != "page") {
                    self.done.push((line.at, action.to_owned(), row.to_owned()));
                }
            }
            _ => {}
        }
    }
}

/// What scenes are played with.
pub(super) struct Stage<'a> {
    pub(super) ground: &'a Ground,
    pub(super) traffic: &'a Traffic,
    pub(super) watcher: Watcher,
    pub(super) clock: Clock,
    /// How long a scene may take at most.
    pub(super) patience: Duration,
    /// Ctrl-C.
    pub(super) stop: &'a Shutdown,
    /// Hears what happens, for people.
    pub(super) tell: &'a dyn Fn(&str),
}

impl Stage<'_> {
    /// Plays a scene; `None` when it was interrupted.
    ///
    /// # Errors
    /// A service that does not answer at its doors, a bad release that cannot be made.
    pub(super) async fn play(&mut self, scene: Scene) -> anyhow::Result<Option<Seen>> {
        if !self.until_healthy(self.patience).await? {
            if self.stop.is_asked() {
                return Ok(None);
            }
            (self.tell)("  all is not well before it begins");
        }
        self.watcher.records().await?;
        let before = self.traffic.mark();
        let victim = active(&self.watcher.healing().await?);
        let mut seen = Seen {
            scene,
            injected: self.clock.now(),
            found: None,
            done: Vec::new(),
            verified: None,
            mended: None,
            over: None,
            tally: Tally::default(),
            orders: Vec::new(),
        };
        self.put_in(&mut seen, victim.as_deref()).await?;
        self.follow(&mut seen).await?;
        self.mend(scene.inject, victim.as_deref());
        seen.mended = Some(self.clock.now());
        if scene.inject == Inject::Nothing || self.until_healthy(self.patience).await? {
            seen.over = Some(self.clock.now());
        }
        for line in self.watcher.records().await? {
            seen.take(&line);
        }
        seen.tally = self.traffic.tally().since(&before);
        Ok((!self.stop.is_asked()).then_some(seen))
    }

    /// Reads the record until the scene is answered and has lasted, or takes too long.
    async fn follow(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let began = Moment::now();
        let mut answered: Option<Moment> = None;
        let mut told = (false, 0);
        while !self.stop.is_asked() && began.elapsed() < self.patience {
            for line in self.watcher.records().await? {
                seen.take(&line);
            }
            told = self.tell_news(seen, told);
            let is_answered = seen.scene.inject == Inject::Nothing || seen.is_answered();
            if is_answered && answered.get_or_insert_with(Moment::now).elapsed() >= seen.scene.lasts {
                break;
            }
            self.pause().await;
        }
        Ok(())
    }

    /// Tells what is new since so much was told: whether it was found, and how many things were done.
    fn tell_news(&self, seen: &Seen, (is_found, done): (bool, usize)) -> (bool, usize) {
        if let (false, Some((at, what))) = (is_found, &seen.found) {
            (self.tell)(&format!("  {} found: {what}", after(seen.injected, *at)));
        }
        for (at, action, row) in seen.done.iter().skip(done) {
            (self.tell)(&format!("  {} done: {action} (row {row})", after(seen.injected, *at)));
        }
        (seen.found.is_some(), seen.done.len())
    }

    async fn put_in(&mut self, seen: &mut Seen, victim: Option<&str>) -> anyhow::Result<()> {
        match seen.scene.inject {
            Inject::Nothing => {}
            Inject::Model(fault) => {
                let victim = victim.context("no model answers, so none can be made to fail")?;
                (self.tell)(&format!("  in {victim}"));
                if !self.ground.faults.begin(victim, fault) {
                    bail!("the engine was not started for faults");
                }
            }
            Inject::BadRelease => {
                let (name, version) = ground::bad_release(&self.ground.settings)?;
                let mut refused = String::new();
                let began = Moment::now();
                while began.elapsed() < self.patience && !self.stop.is_asked() {
                    match self.watcher.promote(&name, &version).await? {
                        Ok(()) => {
                            (self.tell)(&format!("  {name}/{version} is validated, and promoted by hand"));
                            return Ok(());
                        }
                        Err(why) => refused = why,
                    }
                    // Until it answers nothing is wrong.
                    seen.injected = self.clock.now();
                    self.pause().await;
                }
                bail!("the bad release was not let in: {refused}");
            }
            Inject::Payments(twist) => self.traffic.twist(twist),
        }
        Ok(())
    }

    fn mend(&self, inject: Inject, victim: Option<&str>) {
        match inject {
            Inject::Nothing | Inject::BadRelease => {}
            Inject::Model(_) => victim.into_iter().for_each(|victim| self.ground.faults.end(victim)),
            Inject::Payments(_) => self.traffic.twist(Twist::None),
        }
    }

    /// Waits until all is well; false when it takes too long or was interrupted.
    async fn until_healthy(&mut self, patience: Duration) -> anyhow::Result<bool> {
        let began = Moment::now();
        while began.elapsed() < patience && !self.stop.is_asked() {
            if is_healthy(&self.watcher.healing().await?) {
                return Ok(true);
            }
            self.pause().await;
        }
        Ok(false)
    }

    async fn pause(&self) {
        // Either way there is something to look at.
        let _ = tokio::time::timeout(LOOK, self.stop.asked()).await;
    }
}

/// Says how long after another instant one is.
pub(super) fn after(from: Timestamp, to: Timestamp) -> String {
    let span: Span = to.since(from);
    let seconds = span.as_seconds();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1_000.0) } else { format!("{seconds:.1} s") }
}

//! Wires healing: what the loop asks ([`sources`]) and which hand acts for it ([`hand`]).
//!
//! What nobody here can do is refused with its reason, which the planner takes as a failure: it protects instead, and
//! says so.

mod asking;
mod hand;
mod sources;

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;

use super::retraining::Outbound;
use crate::config::{Healing, Settings};
use crate::edge::http::Service;
use crate::edge::http::service::OrdersOf;
use crate::healing::lifecycle::{Mandate, Order};
use crate::runtime::audit::{Audit, Kind};
use crate::runtime::boot::BootGuard;
use crate::runtime::executor::{self, Executor, Refused, Wish};
use crate::runtime::fleet::{self, Fleet};
use crate::runtime::healer::{Healer, Parts, Turning};
use crate::runtime::reload::Reloaded;
use crate::runtime::watchers::{self, Watchers};
use crate::tasks::Shutdown;

/// How long a person's order may take before they are told that it takes longer.
const ORDER_WAIT: Duration = Duration::from_mins(1);

/// The parts of the service that healing works with.
pub(super) struct Site<'a> {
    pub(super) settings: &'a Settings,
    pub(super) service: &'a Arc<Service>,
    pub(super) outbound: &'a Arc<Outbound>,
    pub(super) boot: &'a Arc<BootGuard>,
    pub(super) executor: &'a Arc<OnceLock<Executor>>,
}

/// The threads of healing, to be waited for.
pub(super) struct Running {
    healer: Healer,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts healing where the settings want it.
    ///
    /// # Errors
    /// A record that cannot be opened, no threads.
    pub(super) fn start(site: &Site<'_>, shutdown: &Shutdown) -> anyhow::Result<Option<Self>> {
        let Some(healing) = &site.settings.healing else { return Ok(None) };
        let (_, parts, acting) = parts(site, healing, shutdown)?;
        let started = Healer::start(healing.healer.clone(), parts, shutdown.clone());
        let (healer, turning) = started.context("tried to start the healer")?;
        feed(site.service, &healer);
        Ok(Some(Self { healer, threads: vec![turning, acting] }))
    }

    /// Returns the record.
    pub(super) fn audit(&self) -> Audit {
        self.healer.audit().clone()
    }

    /// Waits for the threads, which end when the service stops, and closes the record behind them. Blocks.
    pub(super) fn close(self) {
        for thread in self.threads {
            // Its panic was logged by the hook.
            let _ = thread.join();
        }
        self.healer.audit().close();
    }
}

/// Healing without a thread of its own: whoever replays events lets its time pass.
pub(super) struct InLine {
    healer: Healer,
    turning: Turning,
    executor: Executor,
    acting: JoinHandle<()>,
    watchers: Arc<Mutex<Watchers>>,
}

impl InLine {
    /// Puts healing together; the settings have to want it.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub(super) fn start(site: &Site<'_>, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let healing = site.settings.healing.as_ref().context("healing.enabled = false: there is nothing to replay")?;
        let (watchers, parts, acting) = parts(site, healing, shutdown)?;
        let executor = parts.executor.clone();
        let (healer, mut turning) = Healer::in_line(healing.healer.clone(), parts);
        feed(site.service, &healer);
        turning.begin();
        Ok(Self { healer, turning, executor, acting, watchers })
    }

    /// Looks at what was decided and labelled since the last time.
    pub(super) fn take(&mut self) {
        self.turning.take();
    }

    /// Plans once, and waits until all that was planned is done. `false`: an action hangs. Blocks.
    #[must_use]
    pub(super) fn turn(&mut self, wait: Duration) -> bool {
        self.turning.turn();
        self.watchers.lock().settle();
        self.executor.settle(wait)
    }

    /// Waits for the executor, which ends when the service stops, and closes the record behind it. Blocks.
    pub(super) fn close(self) {
        // Its panic was logged by the hook.
        let _ = self.acting.join();
        self.healer.audit().close();
    }
}

/// Makes what the loop works with, and starts the executor.
fn parts(
    site: &Site<'_>,
    healing: &Healing,
    shutdown: &Shutdown,
) -> anyhow::Result<(Arc<Mutex<Watchers>>, Parts, JoinHandle<()>)> {
    let clock = site.service.clock.clone();
    let audit = Audit::open(healing.audit.clone(), clock.clone()).context("tried to open the record")?;
    let watchers = Arc::new(Mutex::new(watchers(site)));
    let times = (clock.clone(), executor::Options::default());
    let hand = hand::hand(site, &watchers);
    let (executor, acting) =
        Executor::start(hand, audit.clone(), times, shutdown.clone()).context("tried to start the executor")?;
    // The cell is new for each service: nobody else has set it.
    let _ = site.executor.set(executor.clone());
    let sources = sources::sources(site, &watchers);
    Ok((watchers, Parts { sources, executor, audit, clock }, acting))
}

/// Lets the loop see what is decided, and the doors see the loop.
fn feed(service: &Service, healer: &Healer) {
    service.scorer.feed_to(healer.feed().clone());
    healer.audit().note(Kind::Config, &Reloaded::at_start(&service.scorer.release()));
    // The cell is new for each service: nobody else has set it.
    let _ = service.healing.set(healer.clone());
}

fn watchers(site: &Site<'_>) -> Watchers {
    let options = watchers::Options {
        drift: site.settings.drift.clone(),
        labels: site.settings.labels.clone(),
        row_time_max: Duration::from_micros(site.settings.inference.breaker.slow_after_us),
        frauds_path: site.settings.state.as_ref().map(|state| state.directory.join("frauds.log")),
        age_max: site.settings.ledger.age_max,
    };
    let scorer = &site.service.scorer;
    let past = (scorer.entities_shared(), Arc::clone(scorer.ledger()));
    Watchers::new(options, Arc::clone(&site.service.fleet), past)
}

/// Takes the orders of people: through the executor where there is one, so that they are on the record.
pub(super) fn orders(fleet: &Arc<Fleet>, executor: &Arc<OnceLock<Executor>>, boot: &Arc<BootGuard>) -> OrdersOf {
    let (fleet, executor, boot) = (Arc::clone(fleet), Arc::clone(executor), Arc::clone(boot));
    Box::new(move |order, mandate, reason| {
        let before = fleet.facts().active;
        match executor.get() {
            Some(executor) => recorded(executor, &fleet, (order, mandate, reason)),
            None => fleet.perform(order, mandate, reason),
        }?;
        let Some(active) = fleet.facts().active else { return Ok(()) };
        if before.is_none_or(|before| before.model != active.model) {
            boot.begin(&active.model, active.since);
        }
        if let Order::Release { model } = order {
            boot.forgive(&model.sha256);
        }
        Ok(())
    })
}

fn recorded(
    executor: &Executor,
    fleet: &Arc<Fleet>,
    (order, mandate, reason): (&Order, &Mandate, &str),
) -> Result<(), fleet::Error> {
    let by = match mandate {
        Mandate::Healing => "healing".to_owned(),
        Mandate::Person { name } => name.clone(),
    };
    let wish = Wish {
        what: order.name().to_owned(),
        about: order.model().map(ToString::to_string).unwrap_or_default(),
        by,
        reason: reason.to_owned(),
    };
    let said: Arc<Mutex<Option<fleet::Error>>> = Arc::default();
    let work = {
        let (fleet, said) = (Arc::clone(fleet), Arc::clone(&said));
        let (order, mandate, reason) = (order.clone(), mandate.clone(), reason.to_owned());
        move || {
            fleet.perform(&order, &mandate, &reason).map_err(|error| {
                let text = error.to_string();
                *said.lock() = Some(error);
                text
            })
        }
    };
    match executor.wish(wish, Box::new(work), ORDER_WAIT) {
        Ok(()) => Ok(()),
        Err(refused) => Err(said.lock().take().unwrap_or_else(|| unrecorded(&refused))),
    }
}

fn unrecorded(refused: &Refused) -> fleet::Error {
    fleet::Error::Unsaved(refused.to_string())
}

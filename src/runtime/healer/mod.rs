//! The healing loop: decisions in, findings, a plan every tick, actions out; all of it on one thread, off the path.
//!
//! ```text
//! Scorer ──Feed::offer, lossy, bounded, counted──> a tap: nobody is woken
//! every 25 ms   what was offered ─> observe; breaker transitions ─> record      (they protected at once; recorded after)
//! every 100 ms  sources ─> Situation ─> plan ─> record ─> memory saved ─> executor ─> outcomes ─> next Situation
//! ```
//! The loop owns no judgement: detectors and planner are pure, sources and hands are closures that the roof gives.
//! What it remembers survives a restart: [`memory_file`], written before an action leaves.

mod external;
mod feed;
pub mod memory_file;
#[cfg(test)]
mod tests;
mod tick;
mod view;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use external::{Alert, External, ExternalOptions, Taken};
pub use feed::{Feed, Seen};
pub use tick::{AskingOf, Found, JudgeOf, Sources};
pub use view::{HealingView, IncidentView, LastAction};

use super::audit::{Audit, Kind};
use super::clock::{Clock, Moment};
use super::executor::Executor;
use crate::healing::situation::{Order, OrderKind};
use crate::healing::{Memory, Table};
use crate::tasks::{self, Shutdown};
use tick::Loop;

/// The most orders of people that wait for the next tick.
const ORDERS_MAX: usize = 32;

/// How the loop turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The table it acts by.
    pub table: Table,
    /// How often it plans.
    pub tick: Duration,
    /// How often it takes what was offered and looks at the breaker.
    pub poll: Duration,
    /// The most decisions a second it looks at; of more it takes every n-th.
    pub rate_max: u32,
    /// Where its memory is kept; `None`: nowhere.
    pub memory_path: Option<std::path::PathBuf>,
    /// Alarms of others.
    pub external: ExternalOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            table: Table::default(),
            tick: Duration::from_millis(100),
            poll: Duration::from_millis(25),
            rate_max: 5_000,
            memory_path: None,
            external: ExternalOptions::default(),
        }
    }
}

/// What doors and scorer share with the loop. Cheap to clone.
#[derive(Clone)]
pub struct Healer {
    inner: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) feed: Feed,
    pub(super) orders: Mutex<Vec<Order>>,
    pub(super) external: External,
    pub(super) view: Mutex<Arc<HealingView>>,
    audit: Audit,
}

/// The parts the loop works with.
pub struct Parts {
    /// What it asks.
    pub sources: Sources,
    /// What acts for it.
    pub executor: Executor,
    /// Where it writes what it does.
    pub audit: Audit,
    /// Wall time.
    pub clock: Clock,
}

impl Healer {
    /// Starts the loop; what it remembered and had in force is put in force again first.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn start(
        options: Options,
        parts: Parts,
        shutdown: Shutdown,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (tick, poll) = (options.tick, options.poll);
        let (healer, mut turning) = Self::in_line(options, parts);
        let thread = tasks::thread("healer", move || {
            turning.begin();
            let (mut next_tick, mut next_poll) = (Moment::now(), Moment::now());
            while !shutdown.is_asked() {
                std::thread::park_timeout(next_poll.remaining().min(next_tick.remaining()));
                if next_poll.has_passed() {
                    turning.take();
                    turning.turning.poll();
                    next_poll = Moment::now().after(poll);
                }
                if next_tick.has_passed() {
                    turning.turning.tick();
                    next_tick = Moment::now().after(tick);
                }
            }
            // What was done since the last look belongs to the record, too.
            turning.turning.poll();
        });
        Ok((healer, thread?))
    }

    /// Makes the loop without a thread: whoever replays events turns it, in their time.
    #[must_use]
    pub fn in_line(options: Options, parts: Parts) -> (Self, Turning) {
        let memory: Memory = options.memory_path.as_deref().map(memory_file::load).unwrap_or_default();
        let shared = Arc::new(Shared {
            feed: Feed::new(options.rate_max),
            orders: Mutex::default(),
            external: External::new(options.external.clone()),
            view: Mutex::new(Arc::new(HealingView::of(&memory, parts.audit.view()))),
            audit: parts.audit.clone(),
        });
        let healer = Self { inner: Arc::clone(&shared) };
        let turning = Loop::new(options, parts, (memory, shared));
        (healer, Turning { turning, seen: Vec::new() })
    }

    /// Returns the way in for decisions.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// Takes a person's order, recorded at once; `false`: too many wait, or it could not be written down. Blocks.
    #[must_use]
    pub fn order(&self, kind: OrderKind, by: &str, reason: &str) -> bool {
        let order = Order { kind, by: by.to_owned(), reason: reason.to_owned() };
        let protects = matches!(kind, OrderKind::Lock | OrderKind::SafeMode);
        let is_written = self.inner.audit.note_and_wait(Kind::Override, &order, Duration::from_secs(2));
        let mut orders = self.inner.orders.lock();
        let is_taken = (is_written || protects) && orders.len() < ORDERS_MAX;
        if is_taken {
            orders.push(order);
        }
        is_taken
    }

    /// Returns the way in for alarms of others.
    #[must_use]
    pub fn external(&self) -> &External {
        &self.inner.external
    }

    /// Shows how healing stands.
    #[must_use]
    pub fn view(&self) -> Arc<HealingView> {
        Arc::clone(&self.inner.view.lock())
    }

    /// Returns the record.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.inner.audit
    }
}

/// The loop with what it is fed, turned by whoever holds it.
pub struct Turning {
    turning: Loop,
    /// The buffer that takes turns with the feed's.
    seen: Vec<Seen>,
}

impl Turning {
    /// Begins as the thread would: what was remembered and in force is put in force again.
    pub fn begin(&mut self) {
        self.turning.begin();
    }

    /// Looks at all that has come since the last time.
    pub fn take(&mut self) {
        self.turning.look(&mut self.seen);
    }

    /// Looks at the breaker and plans once.
    pub fn turn(&mut self) {
        self.turning.poll();
        self.turning.tick();
    }
}

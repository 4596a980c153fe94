//! What the doors need, gathered by the roof.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;

use super::auth::Access;
use super::inference::Protocol;
use crate::domain::Timestamp;
use crate::edge::kafka::outbox::Outbox;
use crate::edge::wire::{Contract, DecisionWriter, Mappings};
use crate::healing::lifecycle::{Mandate, Order};
use crate::runtime::clock::Clock;
use crate::runtime::fleet::{self, Fleet};
use crate::runtime::healer::Healer;
use crate::runtime::host::Host;
use crate::runtime::scorer::{Effort, Scorer};
use crate::runtime::store::ListsFile;
use crate::telemetry::events::ReadinessChanged;

/// Bounds of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body of a decision, label or entry, in bytes.
    pub body_len_max: usize,
    /// The longest body of a batch or a rules file, in bytes.
    pub batch_body_len_max: usize,
    /// How much of a body that is too long is read away, so that the connection can be kept.
    pub discard_len_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The most transactions of one batch.
    pub batch_len_max: usize,
    /// How long a decision may take unless the caller says otherwise.
    pub deadline: Duration,
    /// The most requests at once; one more is told to come back.
    pub concurrency_max: usize,
    /// When more than this share of them is taken, in percent, new decisions are made by rules alone.
    pub rules_only_above_percent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_len_max: 64 << 10,
            batch_body_len_max: 2 << 20,
            discard_len_max: 16 << 20,
            body_timeout: Duration::from_secs(10),
            batch_len_max: crate::edge::wire::batch::TRANSACTIONS_MAX,
            deadline: Duration::from_millis(100),
            concurrency_max: 1_024,
            rules_only_above_percent: 75,
        }
    }
}

/// Where the service stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Loading.
    Starting,
    /// Loading was attempted, but the service must not answer yet.
    Unready,
    /// Answering.
    Ready,
    /// Still answering, but telling the world to look elsewhere.
    Leaving,
    /// Finishing what is in flight; new requests are refused.
    Draining,
}

/// A closure of the roof that takes people's orders about models: what, by whom, why. It blocks.
pub type OrdersOf = Box<dyn Fn(&Order, &Mandate, &str) -> Result<(), fleet::Error> + Send + Sync>;
/// A closure of the roof that tells numbers of state by name: entities, ledger, queue.
pub type VitalsOf = Box<dyn Fn() -> BTreeMap<&'static str, u64> + Send + Sync>;

/// A lane of the stream as `GET /v1/health` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaneView {
    /// Its number, or `rekey` for the lane that re-keys a foreign topic.
    pub lane: String,
    /// What it is doing: `running`, `broken`, `halted` ..
    pub state: &'static str,
    /// Why, when that is not obvious.
    pub reason: String,
    /// Whether it does its work: it runs, and no partition of it is given up.
    pub is_ready: bool,
    /// Partitions that are read.
    pub live: Vec<i32>,
    /// Partitions that are looked up or restored.
    pub restoring: Vec<i32>,
    /// Partitions that are given up.
    pub failed: Vec<FailedPartition>,
    /// Records not read yet, as the client's last statistics say.
    pub lag_records: u64,
    /// How long ago it last made a step.
    pub quiet_seconds: f64,
}

/// A partition that is not read until somebody looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedPartition {
    /// Its number.
    pub partition: i32,
    /// Why.
    pub reason: String,
}

/// Decisions of the REST door on their way into the stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutboxView {
    /// How many the broker does not have.
    pub waiting: u64,
    /// How long ago the oldest of them was made; 0 without any.
    pub age_seconds: f64,
}

/// The stream as `GET /v1/health` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamView {
    /// The consumer group.
    pub group: String,
    /// This instance in it.
    pub instance: String,
    /// Its lanes.
    pub lanes: Vec<LaneView>,
    /// How far the watermark of the partition most behind lies in the past; absent before the first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark_lag_seconds: Option<f64>,
    /// Decisions of the REST door on their way into it.
    pub outbox: OutboxView,
}

/// A closure of the roof that shows the stream.
pub type StreamOf = Box<dyn Fn() -> StreamView + Send + Sync>;

/// Everything a door may use.
pub struct Service {
    /// Scores, records and looks up.
    pub scorer: Scorer,
    /// Wall time.
    pub clock: Clock,
    /// What a transaction must be.
    pub contract: Contract,
    /// Foreign formats.
    pub mappings: Mappings,
    /// Who may do what.
    pub access: Access,
    /// Bounds.
    pub limits: Limits,
    /// The inference protocol, when it is served.
    pub protocol: Option<Arc<Protocol>>,
    /// Knows the models and their places.
    pub fleet: Arc<Fleet>,
    /// What the host counts.
    pub host: Arc<Host>,
    /// Takes people's orders about models.
    pub orders: OrdersOf,
    /// Tells numbers of state.
    pub vitals: VitalsOf,
    /// Writes decisions.
    pub writer: DecisionWriter,
    /// Requests that may run at once.
    pub permits: Semaphore,
    /// Where the service stands.
    pub life: Life,
    /// Where list entries of the API are kept; nowhere without a store.
    pub lists_file: Option<ListsFile>,
    /// Sends decisions to the stream, when there is one.
    pub outbox: Option<Arc<Outbox>>,
    /// Shows the stream, once it is read.
    pub stream: OnceLock<StreamOf>,
    /// Healing, once it runs; never where it is off.
    pub healing: OnceLock<Healer>,
}

/// The phase and its reason, changed by the roof and the server.
#[derive(Debug, Default)]
pub struct Life {
    phase: AtomicU8,
    was_started: AtomicBool,
    reason: parking_lot::Mutex<String>,
}

const PHASES: [Phase; 5] = [Phase::Starting, Phase::Unready, Phase::Ready, Phase::Leaving, Phase::Draining];

impl Life {
    /// Returns the phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire)).min(PHASES.len() - 1)]
    }

    /// Enters a phase, for a reason that operators read.
    pub fn enter(&self, phase: Phase, reason: &str) {
        reason.clone_into(&mut self.reason.lock());
        self.phase.store(phase as u8, Ordering::Release);
        if phase != Phase::Starting {
            self.was_started.store(true, Ordering::Release);
        }
        ReadinessChanged { ready: phase == Phase::Ready, reason }.emit();
    }

    /// Enters a phase from another one; from any other nothing changes.
    pub fn enter_if(&self, from: Phase, to: Phase, reason: &str) {
        if self.phase() == from {
            self.enter(to, reason);
        }
    }

    /// Tells more of why the phase is what it is, without a line in the log.
    pub fn tell(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock());
    }

    /// Tells whether loading was attempted.
    #[must_use]
    pub fn was_started(&self) -> bool {
        self.was_started.load(Ordering::Acquire)
    }

    /// Returns why the phase is what it is.
    #[must_use]
    pub fn reason(&self) -> String {
        self.reason.lock().clone()
    }
}

impl Service {
    /// Returns the wall time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells how much may be done for a new decision: rules answer first, and only then is anyone sent away.
    #[must_use]
    pub fn effort(&self) -> Effort {
        let Limits { concurrency_max, rules_only_above_percent, .. } = self.limits;
        let taken = concurrency_max.saturating_sub(self.permits.available_permits());
        // Rounded up: a request is never crowded by itself.
        let above = concurrency_max.saturating_mul(rules_only_above_percent).div_ceil(100);
        if taken > above { Effort::RulesOnly } else { Effort::Whole }
    }
}

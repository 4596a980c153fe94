//! The stream beside the REST door: what it needs before the service is built, its lanes, its outbox, its end.
//!
//! ```text
//! prepare   how many partitions, which of them were ours     -> Ownership, for the scorer
//! start     beside the store's restoring, which partitions wait for: lanes (threads), the re-key lane, outbox (task)
//! drain     lanes commit what is in hand, the outbox waits for its last acknowledgements; before the store closes
//! ```
//! Without `[kafka]` nothing of this is there.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::Settings;
use crate::domain::{Span, TextField};
use crate::edge::http::service::{OutboxView, StreamView};
use crate::edge::http::{Phase, Service};
use crate::edge::kafka::options::{Options, RestAck};
use crate::edge::kafka::outbox::{self, CursorFile, Outbox};
use crate::edge::kafka::signature::Key;
use crate::edge::kafka::{client, connect};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Ledger;
use crate::runtime::store::Store;
use crate::runtime::stream::{Ownership, Position};
use crate::scoring::feature::Schema;
use crate::tasks::{self, OnExit, Shutdown};
use crate::telemetry::events::{BrokerAway, BrokerUnverified, InexactKinds, StreamOpened};

mod lanes;
mod rekey;

use lanes::Lanes;

/// How long the very first start waits for a broker: it must say how many partitions there are.
const FIRST_PATIENCE: Duration = Duration::from_mins(1);
/// How long a later start waits: it can do without.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long readiness waits for partitions to be restored.
const READY_WAIT: Duration = Duration::from_mins(2);
/// How often readiness is kept to what the lanes say.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How long readiness waits for a broker that is away: the REST door can do without.
const AWAY_WAIT: Duration = Duration::from_secs(10);

/// A stream that is known and not yet read.
pub(super) struct Stream {
    options: Options,
    key: Option<Key>,
    file: Arc<CursorFile>,
    positions: std::collections::BTreeMap<u32, Position>,
    pub(super) ownership: Arc<Ownership>,
}

impl Stream {
    /// Finds out what the service must know of the stream before it is built; `None` without `[kafka]`.
    ///
    /// # Errors
    /// Topics that are missing or do not fit, a broker that refuses us, a first start without a broker.
    pub(super) fn prepare(settings: &Settings, store: Option<&Store>) -> anyhow::Result<Option<Self>> {
        let (Some(options), Some(store)) = (&settings.kafka, store) else { return Ok(None) };
        let options = options.clone();
        let path = store.directory().join("outbox.json");
        let known = CursorFile::open(path.clone())?;
        let found = partitions(&options, known.as_ref().map(CursorFile::partitions))?;
        let file = match known {
            Some(file) if file.partitions() != found => bail!(
                "{} has {found} partitions, and state here was kept for {}: keys lie elsewhere now. Give the topic its \
                 partitions back, or begin with a new group, new topics and an empty state.directory",
                options.topics.transactions,
                file.partitions()
            ),
            Some(file) => file,
            None => CursorFile::begin(path, store.stream_start()?, found)?,
        };
        let ownership = Ownership::new(found, options.partitioner, settings.partition_key.clone());
        let key = match &options.key {
            None => None,
            Some(secret) => Some(Key::new(secret.expose()).context("kafka.hmac_key is too short")?),
        };
        let positions = store.positions().clone();
        StreamOpened { group: &options.group, instance: &options.instance, partitions: found, known: positions.len() }
            .emit();
        Ok(Some(Self { options, key, file: Arc::new(file), positions, ownership: Arc::new(ownership) }))
    }

    /// Says which entities are exact on one instance only.
    pub(super) fn tell_inexact(schemas: &[Arc<Schema>], partition_key: &[TextField]) {
        let kinds = super::inexact_kinds(schemas, partition_key);
        if let (Some(first), false) = (partition_key.first(), kinds.is_empty()) {
            InexactKinds { key: first.path(), kinds: &kinds.join(", ") }.emit();
        }
    }

    /// Starts the lanes and the outbox. They join their group while the store is still read; no partition is restored, and
    /// so none is read, before that is done.
    ///
    /// # Errors
    /// A mapping that is not there, no thread to be had.
    pub(super) fn start(
        self,
        settings: &Settings,
        (service, schemas): (&Service, &[Arc<Schema>]),
        shutdown: &Shutdown,
    ) -> anyhow::Result<Running> {
        let lanes = Lanes::start(&self, settings, (service, schemas), shutdown)?;
        let outbox = service.outbox.as_ref().context("a stream has an outbox")?;
        let running = Running::start(lanes, outbox, shutdown);
        let (lanes, outbox) = (Arc::clone(&running.lanes), Arc::clone(outbox));
        let (group, instance) = (self.options.group.clone(), self.options.instance.clone());
        let show = move || StreamView {
            group: group.clone(),
            instance: instance.clone(),
            lanes: lanes.views(),
            watermark_lag_seconds: lanes.watermark_lag().map(|lag| lag.as_secs_f64()),
            outbox: OutboxView { waiting: outbox.waiting(), age_seconds: outbox.age().as_secs_f64() },
        };
        // A service starts its stream once.
        let _ = service.stream.set(Box::new(show));
        Ok(running)
    }

    /// Makes the outbox, and has the ledger keep account of what belongs into it. Before the store is started.
    ///
    /// # Errors
    /// An index of the ledger that cannot be read, a configuration that the client library refuses.
    pub(super) fn outbox(&self, ledger: &Arc<Ledger>) -> anyhow::Result<Arc<Outbox>> {
        ledger.track_unpublished(self.file.first())?;
        let options = outbox::Options {
            topic: self.options.topics.transactions.clone(),
            key: self.key.clone(),
            is_awaited: self.options.rest_ack == RestAck::Broker,
        };
        let parts = (Arc::clone(ledger), Arc::clone(&self.ownership));
        let client = client::outbox_producer(&self.options);
        let outbox = Outbox::new(options, &client, parts, Arc::clone(&self.file));
        Ok(Arc::new(outbox.context("tried to make the outbox's producer")?))
    }
}

/// Returns how many partitions the input has: by the broker, or as it is known when the broker is away.
fn partitions(options: &Options, known: Option<u32>) -> anyhow::Result<u32> {
    let patience = if known.is_some() { PATIENCE } else { FIRST_PATIENCE };
    let mut tell = |error: &connect::Error| BrokerAway { reason: &error.to_string() }.emit();
    match (connect::reach(options, patience, &mut tell), known.or(options.partitions)) {
        (Ok(cluster), _) => {
            if !cluster.features.is_verified() {
                BrokerUnverified.emit();
            }
            Ok(cluster.partitions(options)?)
        }
        (Err(error), Some(known)) if !error.is_final() => {
            BrokerAway { reason: &error.to_string() }.emit();
            Ok(known)
        }
        (Err(error), _) => Err(error).context("tried to reach Kafka"),
    }
}

/// The stream while the service runs.
pub(super) struct Running {
    lanes: Arc<Lanes>,
    watch: Option<tokio::task::JoinHandle<()>>,
    outbox: tokio::task::JoinHandle<()>,
    /// Asked after the lanes have ended.
    end: Shutdown,
}

impl Running {
    /// Starts the outbox beside lanes that run.
    pub(super) fn start(lanes: Lanes, outbox: &Arc<Outbox>, shutdown: &Shutdown) -> Self {
        let end = Shutdown::default();
        let task = tasks::spawn("outbox", OnExit::Restart { restarts_max: 10 }, shutdown.clone(), {
            let (outbox, end) = (Arc::clone(outbox), end.clone());
            move || {
                let (outbox, end) = (Arc::clone(&outbox), end.clone());
                async move { outbox.run(&end).await }
            }
        });
        Self { lanes: Arc::new(lanes), watch: None, outbox: task, end }
    }

    /// Keeps readiness to what the lanes say, from now on.
    pub(super) fn watch(&mut self, service: &Arc<Service>, shutdown: &Shutdown) {
        let (lanes, service, stop) = (Arc::clone(&self.lanes), Arc::clone(service), shutdown.clone());
        let on_exit = OnExit::Restart { restarts_max: 10 };
        self.watch = Some(tasks::spawn("stream-readiness", on_exit, shutdown.clone(), move || {
            let (lanes, service, stop) = (Arc::clone(&lanes), Arc::clone(&service), stop.clone());
            async move {
                let mut told = None;
                while !stop.is_asked() {
                    let trouble = lanes.trouble();
                    if trouble != told {
                        match &trouble {
                            Some(reason) => service.life.enter_if(Phase::Ready, Phase::Unready, reason),
                            None => service.life.enter_if(Phase::Unready, Phase::Ready, "the stream is read again"),
                        }
                        told = trouble;
                    }
                    let _ = tokio::time::timeout(WATCH_EVERY, stop.asked()).await;
                }
            }
        }));
    }

    /// Waits until partitions are restored, or the broker has been away for a while. `tell` hears how far it is.
    pub(super) async fn ready(&self, shutdown: &Shutdown, tell: impl Fn(&str)) {
        let started = Moment::now();
        while !shutdown.is_asked() && !self.lanes.are_ready() {
            let (limit, reason) = match self.lanes.restoring() {
                0 => (AWAY_WAIT, "waiting for partitions of the stream".to_owned()),
                count => (READY_WAIT, format!("restoring {count} partitions of the stream")),
            };
            if started.elapsed() >= limit {
                return;
            }
            tell(&reason);
            let _ = tokio::time::timeout(Duration::from_millis(50), shutdown.asked()).await;
        }
    }

    /// Ends it: lanes first, then the outbox.
    pub(super) async fn drain(self) {
        let Self { lanes, watch, outbox, end } = self;
        if let Some(watch) = watch {
            let _ = watch.await;
        }
        let _ = tokio::task::spawn_blocking(move || lanes.join()).await;
        end.ask();
        let _ = outbox.await;
    }
}

/// How far back the changelog must reach.
fn reach(settings: &Settings, schemas: &[Arc<Schema>]) -> Span {
    let window = schemas.iter().map(|schema| schema.longest_window()).max().unwrap_or(Span::ZERO);
    Span::from_micros(window.micros().saturating_add(settings.entities.lateness_max.micros()))
}

/// A thread of a lane.
type LaneThread = JoinHandle<()>;

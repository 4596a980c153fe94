//! The lanes of this instance: one thread each, with a desk over the scorer that all share.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{LaneThread, Stream, reach};
use crate::config::Settings;
use crate::edge::http::Service;
use crate::edge::kafka::changelog::changelog;
use crate::edge::kafka::client;
use crate::edge::kafka::desk::{
    Desk, IntakeOptions, Locals, Options as DeskOptions, Parts, RateOptions, RestoreOptions, ScribeOptions,
};
use crate::edge::kafka::lane::cluster::{Cluster, Topics};
use crate::edge::kafka::lane::{self, Options as LaneOptions, Sink, State, Status};
use crate::edge::kafka::options::Options;
use crate::edge::wire::{Contract, Mapping};
use crate::runtime::clock::Clock;
use crate::runtime::scorer::Scorer;
use crate::runtime::stream::{Ownership, StateSink, TimeBounds};
use crate::scoring::feature::Schema;
use crate::tasks::{self, Shutdown, crash};

/// How long a batch waits for the other door to settle an id, and for the model.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(1);

/// Lanes that run.
pub(in super::super) struct Lanes {
    statuses: Vec<Arc<Status>>,
    threads: Mutex<Vec<LaneThread>>,
}

/// What each new life of a lane is made of.
struct Plant {
    options: Options,
    desk: DeskOptions,
    scorer: Scorer,
    ownership: Arc<Ownership>,
    sink: StateSink,
    locals: Locals,
}

impl Plant {
    fn desk(&self, lane: usize) -> Desk {
        let parts = Parts {
            scorer: self.scorer.clone(),
            ownership: Arc::clone(&self.ownership),
            sink: self.sink.clone(),
            locals: self.locals.clone(),
            lane,
            clock: Clock::system(),
        };
        let reader = changelog(client::reader(&self.options), self.options.topics.state.clone());
        Desk::new(parts, self.desk.clone(), reader)
    }

    fn cluster(&self, lane: usize) -> Cluster {
        let names = &self.options.topics;
        let sinks = Sink::ALL.map(|sink| match sink {
            Sink::Scores => names.scores.clone(),
            Sink::Alerts => names.alerts.clone(),
            Sink::Features => names.features.clone(),
            Sink::Dead => names.dead.clone(),
            Sink::Late => names.late.clone(),
            Sink::State => names.state.clone(),
        });
        let topics = Topics { transactions: names.transactions.clone(), labels: names.labels.clone(), sinks };
        Cluster::new(lane, topics, client::consumer(&self.options, lane), client::producer(&self.options, lane))
    }

    fn lane(&self, lane: usize) -> LaneOptions {
        let Options { batch, timeouts, .. } = &self.options;
        LaneOptions {
            index: lane,
            name: self.options.member(lane),
            seed: Clock::system().now().micros().unsigned_abs().wrapping_add(lane as u64),
            rows_max: batch.len_max.get(),
            bytes_max: batch.bytes_max,
            linger_min: batch.linger_min,
            linger_max: batch.linger_max,
            publish_wait: timeouts.poll_interval_max / 3,
            generation_wait: timeouts.poll_interval_max,
            drain_wait: timeouts.drain,
            ..LaneOptions::default()
        }
    }
}

impl Lanes {
    /// Starts every lane on its thread.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub(super) fn start(
        stream: &Stream,
        settings: &Settings,
        (service, schemas): (&Service, &[Arc<Schema>]),
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let lanes = stream.options.lanes.get();
        let scorer = service.scorer.clone();
        let plant = Arc::new(Plant {
            desk: desk_options(stream, settings, (&service.contract, mapping(stream, service)?), schemas),
            locals: Locals::new(stream.positions.clone(), lanes, Arc::clone(&stream.ownership)),
            sink: StateSink::new(service.scorer.entities_shared(), Arc::clone(service.scorer.ledger())),
            ownership: Arc::clone(&stream.ownership),
            options: stream.options.clone(),
            scorer,
        });
        let statuses: Vec<Arc<Status>> = (0..lanes).map(|lane| Arc::new(Status::new(lane))).collect();
        let mut threads = Vec::with_capacity(lanes);
        for (lane, status) in statuses.iter().enumerate() {
            let (plant, status, shutdown) = (Arc::clone(&plant), Arc::clone(status), shutdown.clone());
            threads.push(tasks::thread(&format!("fraudd-lane-{lane}"), move || {
                crash::point("before-first-poll");
                let make = || (plant.lane(lane), plant.cluster(lane), plant.desk(lane));
                lane::run(make, &status, &shutdown);
            })?);
        }
        Ok(Self { statuses, threads: Mutex::new(threads) })
    }

    /// Tells whether every lane reads all of its partitions.
    pub(super) fn are_ready(&self) -> bool {
        self.statuses.iter().all(|status| status.is_ready() && status.shown().restoring.is_empty())
    }

    /// Says what keeps the stream from being read until somebody looks: records that cannot be taken, state that
    /// is lost. A broker that is away is not among it, for the REST door goes on without.
    pub(super) fn trouble(&self) -> Option<String> {
        self.statuses.iter().find_map(|status| {
            let shown = status.shown();
            match shown.failed.first() {
                _ if shown.state == State::Halted => Some(format!("the stream is halted: {}", shown.reason)),
                Some((_, reason)) => Some(format!("a partition of the stream cannot be read: {reason}")),
                None => None,
            }
        })
    }

    /// Returns how many partitions are being restored.
    pub(super) fn restoring(&self) -> usize {
        self.statuses.iter().map(|status| status.shown().restoring.len()).sum()
    }

    /// Waits until every lane has ended. Blocks.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A lane that panicked has told so, and asked for shutdown.
            let _ = thread.join();
        }
    }
}

fn mapping(stream: &Stream, service: &Service) -> anyhow::Result<Option<Mapping>> {
    let Some(name) = &stream.options.mapping else { return Ok(None) };
    let Some(mapping) = service.mappings.get(name) else {
        let names: Vec<&str> = service.mappings.names().collect();
        anyhow::bail!("kafka.mapping = {name:?} is not in files.mapping, which has: {}", names.join(", "))
    };
    Ok(Some(mapping.clone()))
}

fn desk_options(
    stream: &Stream,
    settings: &Settings,
    (contract, mapping): (&Contract, Option<Mapping>),
    schemas: &[Arc<Schema>],
) -> DeskOptions {
    let options = &stream.options;
    DeskOptions {
        intake: IntakeOptions {
            contract: Contract { unknown_fields: options.unknown_fields, ..contract.clone() },
            mapping,
            payload_len_max: settings.limits.batch_body_len_max,
            key: stream.key.clone(),
        },
        scribe: ScribeOptions {
            group: options.group.clone(),
            features: options.features_enabled,
            inputs: [options.topics.transactions.clone(), options.topics.labels.clone()],
            dead_len_max: options.dead.value_len_max,
        },
        rate: RateOptions {
            share_max: options.dead.share_max,
            window: crate::domain::Span::from_micros(
                i64::try_from(options.dead.window.as_micros()).unwrap_or(i64::MAX),
            ),
            count_min: options.dead.len_min.into(),
        },
        restore: RestoreOptions {
            start: options.start,
            on_lost_state: options.on_lost_state,
            reach: reach(settings, schemas),
        },
        bounds: TimeBounds {
            watermark_bound: options.watermark_bound,
            lateness_max: options.lateness,
            ahead_max: options.ahead_max,
        },
        deadline: DEADLINE,
    }
}

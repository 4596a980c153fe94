//! The lanes of this instance: one thread each, with a desk over the scorer that all share, and one that re-keys.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{LaneThread, Stream, reach, rekey};
use crate::config::Settings;
use crate::edge::http::Service;
use crate::edge::http::service::{FailedPartition, LaneView};
use crate::edge::kafka::changelog::changelog;
use crate::edge::kafka::client;
use crate::edge::kafka::desk::{
    Desk, IntakeOptions, Locals, Options as DeskOptions, Parts, RateOptions, RestoreOptions, ScribeOptions,
};
use crate::edge::kafka::lane::cluster::{Cluster, Topics};
use crate::edge::kafka::lane::{self, Options as LaneOptions, Sink, State, Status};
use crate::edge::kafka::options::{Options, Topics as Names};
use crate::edge::kafka::topics::{CHANGELOG_LEN_MAX, INPUT_LEN_MAX};
use crate::edge::wire::{Contract, Mapping};
use crate::runtime::clock::Clock;
use crate::runtime::scorer::Scorer;
use crate::runtime::stream::{Ownership, StateSink, TimeBounds};
use crate::scoring::feature::Schema;
use crate::tasks::{self, Shutdown, crash};
use crate::telemetry::events::WatermarkLag;
use crate::telemetry::metrics;
use crate::telemetry::stream_lane::REKEY_LANE;

/// How long a batch waits for the other door to settle an id, and for the model.
const DEADLINE: Duration = Duration::from_secs(1);

/// Lanes that run.
pub(in super::super) struct Lanes {
    /// Those of the stream, and that of the re-key lane when there is one.
    statuses: Vec<Arc<Status>>,
    locals: Locals,
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
        let topics = topics(names, names.transactions.clone(), Some(names.labels.clone()));
        Cluster::new(lane, topics, client::consumer(&self.options, lane), client::producer(&self.options, lane))
    }

    fn lane(&self, lane: usize) -> LaneOptions {
        lane_options(&self.options, lane, self.options.member(lane))
    }
}

/// Names the topics of a lane that reads these.
pub(super) fn topics(names: &Names, transactions: String, labels: Option<String>) -> Topics {
    let sinks = Sink::ALL.map(|sink| match sink {
        Sink::Scores => names.scores.clone(),
        Sink::Alerts => names.alerts.clone(),
        Sink::Features => names.features.clone(),
        Sink::Dead => names.dead.clone(),
        Sink::Late => names.late.clone(),
        Sink::State => names.state.clone(),
        Sink::Transactions => names.transactions.clone(),
    });
    Topics { transactions, labels, sinks }
}

/// Sets the bounds of a lane.
pub(super) fn lane_options(options: &Options, index: usize, name: String) -> LaneOptions {
    let Options { batch, timeouts, .. } = options;
    LaneOptions {
        index,
        name,
        seed: Clock::system().now().micros().unsigned_abs().wrapping_add(index as u64),
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
        let desk = desk_options(stream, settings, (&service.contract, mapping(stream, service)?), schemas);
        let rekey = rekey::options(&stream.options, &desk);
        let locals = Locals::new(stream.positions.clone(), lanes, Arc::clone(&stream.ownership));
        let plant = Arc::new(Plant {
            desk,
            locals: locals.clone(),
            sink: StateSink::new(service.scorer.entities_shared(), Arc::clone(service.scorer.ledger())),
            ownership: Arc::clone(&stream.ownership),
            options: stream.options.clone(),
            scorer,
        });
        let mut statuses: Vec<Arc<Status>> = (0..lanes).map(|lane| Arc::new(Status::new(lane))).collect();
        let mut threads = Vec::with_capacity(lanes);
        for (lane, status) in statuses.iter().enumerate() {
            let (plant, status, shutdown) = (Arc::clone(&plant), Arc::clone(status), shutdown.clone());
            threads.push(tasks::thread(&format!("fraudd-lane-{lane}"), move || {
                crash::point("before-first-poll");
                let make = || (plant.lane(lane), plant.cluster(lane), plant.desk(lane));
                lane::run(make, &status, &shutdown);
            })?);
        }
        if let Some(options) = rekey {
            let status = Arc::new(Status::new(REKEY_LANE));
            threads.push(rekey::start(options, stream, &status, shutdown)?);
            statuses.push(status);
        }
        metrics().before_scrape({
            let locals = locals.clone();
            move |_| WatermarkLag { lag: watermark_lag(&locals).unwrap_or_default() }.emit()
        });
        Ok(Self { statuses, locals, threads: Mutex::new(threads) })
    }

    /// Shows every lane, the re-key lane last.
    pub(super) fn views(&self) -> Vec<LaneView> {
        self.statuses.iter().map(|status| view(status)).collect()
    }

    /// Returns how far behind now the partition lies whose event time is furthest behind.
    pub(super) fn watermark_lag(&self) -> Option<Duration> {
        watermark_lag(&self.locals)
    }

    /// Tells whether every lane knows its partitions and reads all of them.
    pub(super) fn are_ready(&self) -> bool {
        let is_whole = |status: &Arc<Status>| status.is_ready() && status.shown().restoring.is_empty();
        self.locals.have_heard() && self.statuses.iter().all(is_whole)
    }

    /// Says what keeps the stream from being read until somebody looks: records that cannot be taken, state that
    /// is lost. A broker that is away is not among it, for the REST door goes on without.
    pub(super) fn trouble(&self) -> Option<String> {
        self.statuses.iter().find_map(|status| {
            let shown = status.shown();
            let what = if status.index() == REKEY_LANE { "topic that is re-keyed" } else { "stream" };
            match shown.failed.first() {
                _ if shown.state == State::Halted => Some(format!("the {what} is halted: {}", shown.reason)),
                Some((_, reason)) => Some(format!("a partition of the {what} cannot be read: {reason}")),
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

fn watermark_lag(locals: &Locals) -> Option<Duration> {
    locals.watermark_lag(Clock::system().now())
}

fn view(status: &Status) -> LaneView {
    let shown = status.shown();
    let failed = shown.failed.into_iter().map(|(partition, reason)| FailedPartition { partition, reason });
    LaneView {
        lane: if status.index() == REKEY_LANE { "rekey".into() } else { status.index().to_string() },
        state: shown.state.as_str(),
        reason: shown.reason,
        is_ready: status.is_ready(),
        live: shown.live,
        restoring: shown.restoring,
        failed: failed.collect(),
        lag_records: status.lag_records(),
        quiet_seconds: status.quiet_for().as_secs_f64(),
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
            payload_len_max: settings.limits.batch_body_len_max.min(INPUT_LEN_MAX),
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
        changelog_len_max: CHANGELOG_LEN_MAX,
    }
}

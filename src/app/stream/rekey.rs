//! The lane that re-keys a foreign topic into the stream's input, when the settings name one.

use std::sync::Arc;

use super::lanes::{lane_options, topics};
use super::{LaneThread, Stream};
use crate::edge::kafka::client;
use crate::edge::kafka::desk::Options as DeskOptions;
use crate::edge::kafka::lane::cluster::Cluster;
use crate::edge::kafka::lane::{self, Status};
use crate::edge::kafka::options::Options;
use crate::edge::kafka::rekey::{Options as RekeyOptions, Rekey};
use crate::runtime::clock::Clock;
use crate::tasks::{self, Shutdown};
use crate::telemetry::stream_lane::REKEY_LANE;

/// Returns how to re-key, when the settings say to: records are read as the stream's own are.
pub(super) fn options(options: &Options, desk: &DeskOptions) -> Option<RekeyOptions> {
    Some(RekeyOptions {
        source: options.rekey.clone()?,
        intake: desk.intake.clone(),
        rate: desk.rate,
        dead_len_max: options.dead.value_len_max,
        start: options.start,
        on_lost_state: options.on_lost_state,
    })
}

/// Starts the lane on its thread.
///
/// # Errors
/// The operating system's, when no thread can be had.
pub(super) fn start(
    rekey: RekeyOptions,
    stream: &Stream,
    status: &Arc<Status>,
    shutdown: &Shutdown,
) -> anyhow::Result<LaneThread> {
    let (options, ownership) = (stream.options.clone(), Arc::clone(&stream.ownership));
    let (status, shutdown) = (Arc::clone(status), shutdown.clone());
    let make = move || {
        let topics = topics(&options.topics, rekey.source.clone(), None);
        let (consumer, producer) = (client::rekey_consumer(&options), client::rekey_producer(&options));
        let cluster = Cluster::new(REKEY_LANE, topics, consumer, producer);
        let work = Rekey::new(rekey.clone(), Arc::clone(&ownership), Clock::system());
        (lane_options(&options, REKEY_LANE, options.rekey_member()), cluster, work)
    };
    Ok(tasks::thread("fraudd-rekey", move || lane::run(make, &status, &shutdown))?)
}

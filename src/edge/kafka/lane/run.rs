//! A lane's life on its thread: steps until it is asked to end, and a new start after a panic.
//!
//! A panic leaves clients and work in no known state, so both are made anew. What was decided and not committed is
//! gone with them, unseen by anybody, and is read again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::broker::Broker;
use super::core::Lane;
use super::options::Options;
use super::status::Status;
use super::work::Work;
use crate::runtime::clock::Moment;
use crate::tasks::{Shutdown, panic_text};
use crate::telemetry::stream_lane::LanePanicked;

/// How often a lane may panic in the life of the service.
const RESTARTS_MAX: u32 = 5;
/// How long a lane that panicked is left alone, times the number of panics.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Runs a lane on this thread until shutdown is asked for; `make` is called again after a panic. A lane that
/// panics too often shuts the service down.
pub fn run<B: Broker, W: Work>(mut make: impl FnMut() -> (Options, B, W), status: &Arc<Status>, shutdown: &Shutdown) {
    let mut restarts = 0;
    loop {
        let life = || {
            let (options, broker, work) = make();
            let mut lane = Lane::new(options, broker, work, Arc::clone(status));
            while lane.step() {
                if shutdown.is_asked() {
                    lane.drain();
                }
            }
        };
        let Err(panic) = catch_unwind(AssertUnwindSafe(life)) else { return };
        LanePanicked { index: status.index(), text: panic_text(panic.as_ref()) }.emit();
        restarts += 1;
        if shutdown.is_asked() || restarts > RESTARTS_MAX {
            return shutdown.ask();
        }
        let until = Moment::now().after(RESTART_PAUSE * restarts);
        while !until.has_passed() && !shutdown.is_asked() {
            std::thread::park_timeout(until.remaining());
        }
        status.begin_again();
    }
}

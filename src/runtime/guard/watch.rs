//! The watch over the models at hand: lets time pass for their guards, does work off the path, and replaces threads.
//!
//! ```text
//! every 25 ms:  host, now and then ─> each guard: tick ─> work off the path
//! every 100 ms: each engine: threads that hang or died ─> guard, and after too many of them: recycle the process
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::clock::Moment;
use crate::runtime::host::Host;
use crate::runtime::slot::Model;
use crate::tasks::Shutdown;
use crate::telemetry::guard::{ProcessRecycles, tell_places};

/// How often guards are looked at.
const TICK: Duration = Duration::from_millis(25);
/// How often threads and the host are.
const LOOK: Duration = Duration::from_millis(100);
/// Threads of one model that may be written off; with one more the process starts anew.
const WRITTEN_OFF_MAX: u64 = 1;

/// The models at hand, each with its place: active, canary, standby, candidates.
pub type Placed = Arc<dyn Fn() -> Vec<(&'static str, Arc<Model>)> + Send + Sync>;

/// What the watch works with.
#[derive(Clone)]
pub struct Watch {
    /// The models at hand.
    pub models: Placed,
    /// What the host counts.
    pub host: Arc<Host>,
    /// How long a call off the path may take.
    pub deadline: Duration,
}

/// Watches until shutdown is asked for. Cancel safe.
pub async fn watch(watch: Watch, shutdown: Shutdown) {
    let mut looked = Moment::now();
    while !shutdown.is_asked() {
        let models = (watch.models)();
        if looked.elapsed() >= LOOK {
            looked = Moment::now();
            look(&watch, &models, &shutdown).await;
        }
        let host = watch.host.state();
        for (_, model) in &models {
            model.guard.tick(&host);
            model.guard.work(&model.inference, watch.deadline).await;
        }
        drop(models);
        let _ = tokio::time::timeout(TICK, shutdown.asked()).await;
    }
}

/// Reads the host and looks after threads, off the async threads: files are read and sessions opened.
async fn look(watch: &Watch, models: &[(&'static str, Arc<Model>)], shutdown: &Shutdown) {
    let (host, models) = (Arc::clone(&watch.host), models.to_vec());
    let looked = tokio::task::spawn_blocking(move || {
        host.sample();
        let mut worst = None;
        for (_, model) in &models {
            let watched = model.inference.watch();
            if watched.hung > 0 {
                model.guard.hung(watched.hung);
            }
            if watched.hung > 0 && watched.hung_total > WRITTEN_OFF_MAX {
                worst = Some((Arc::clone(model), watched.hung_total));
            }
        }
        tell_places(models.iter().map(|(place, model)| (*place, model.guard.place())));
        worst
    });
    match looked.await {
        Ok(Some((model, threads))) => {
            ProcessRecycles { model: model.guard.model(), threads }.emit();
            shutdown.ask_to_recycle();
        }
        Ok(None) => {}
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

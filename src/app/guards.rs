//! What watches over models: the guard of starts, the guards of models and their threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::domain::Timestamp;
use crate::edge::http::Service;
use crate::runtime::boot::BootGuard;
use crate::runtime::clock::Clock;
use crate::runtime::guard::{self, Watch};
use crate::runtime::release::{bundle, sha256};
use crate::runtime::slot::Release;
use crate::tasks::{self, OnExit, Shutdown};
use crate::telemetry::guard::ModelCrashes;

/// How often the guard of starts looks at the time.
const LOOK: Duration = Duration::from_secs(1);

/// Opens the guard of starts. Where it bans the active model, the standby takes its place in the settings.
pub(super) fn boot(settings: &mut Settings) -> Arc<BootGuard> {
    let boot = BootGuard::open(settings.state.as_ref().map(|state| state.directory.as_path()));
    if !settings.models.enabled {
        return Arc::new(boot);
    }
    if is_banned(&boot, &settings.models.directory.join(&settings.models.active)) {
        let crashes = boot.verdict().map_or(0, |suspect| suspect.crashes);
        ModelCrashes { model: &settings.models.active, crashes }.emit();
        settings.models.active = std::mem::take(&mut settings.models.standby);
    }
    if is_banned(&boot, &settings.models.directory.join(&settings.models.standby)) {
        settings.models.standby.clear();
    }
    Arc::new(boot)
}

/// Tells whether the bundle in a folder is banned; one that cannot be read is told about when it is loaded.
fn is_banned(boot: &BootGuard, folder: &Path) -> bool {
    std::fs::read(folder.join(bundle::MANIFEST)).is_ok_and(|manifest| boot.is_banned(&sha256(&manifest)))
}

/// The model of a release is activated.
pub(super) fn begin(boot: &BootGuard, release: &Release, clock: &Clock) {
    if let Some(model) = &release.model {
        boot.begin(model.guard.model(), clock.now());
    }
}

/// Starts the tasks that watch until shutdown.
pub(super) fn watch(
    service: &Service,
    boot: Arc<BootGuard>,
    settings: &Settings,
    shutdown: &Shutdown,
) -> [JoinHandle<()>; 2] {
    let loaded = Arc::clone(&service.fleet);
    let watch = Watch {
        models: Arc::new(move || loaded.placed()),
        host: Arc::clone(&service.host),
        deadline: settings.model_deadline.to_std(),
    };
    let stop = shutdown.clone();
    let guards = tasks::spawn("guards", OnExit::Restart { restarts_max: 10 }, shutdown.clone(), move || {
        guard::watch(watch.clone(), stop.clone())
    });
    let (stop, clock) = (shutdown.clone(), service.clock.clone());
    let proofs = tasks::spawn("boot-guard", OnExit::Restart { restarts_max: 10 }, shutdown.clone(), move || {
        prove(Arc::clone(&boot), clock.clone(), stop.clone())
    });
    [guards, proofs]
}

/// Marks the model in force as proven once the process has lived with it, or when it is drained.
async fn prove(boot: Arc<BootGuard>, clock: Clock, shutdown: Shutdown) {
    loop {
        let _ = tokio::time::timeout(LOOK, shutdown.asked()).await;
        let is_over = boot.proven_at().is_some_and(|at: Timestamp| clock.now() >= at);
        // Threads that hang are the model's fault: such an end counts.
        if is_over || (shutdown.is_asked() && !shutdown.recycles()) {
            let boot = Arc::clone(&boot);
            let proven = tokio::task::spawn_blocking(move || boot.stable());
            if let Err(panic) = proven.await {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
        if shutdown.is_asked() {
            return;
        }
    }
}

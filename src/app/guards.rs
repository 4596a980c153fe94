//! What watches over models: the guard of starts, the guards of models and their threads.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::domain::Timestamp;
use crate::edge::http::Service;
use crate::healing::lifecycle::{Mandate, Order};
use crate::runtime::boot::BootGuard;
use crate::runtime::clock::Clock;
use crate::runtime::fleet::Register;
use crate::runtime::guard::{self, Watch};
use crate::runtime::release::{bundle, sha256};
use crate::runtime::slot::Release;
use crate::tasks::{self, OnExit, Shutdown};
use crate::telemetry::fleet::RegisterUnsaved;
use crate::telemetry::guard::ModelCrashes;

/// How often the guard of starts looks at the time.
const LOOK: Duration = Duration::from_secs(1);

/// Opens the guard of starts. A model that it bans is quarantined; one the register does not know leaves its place in the
/// settings, and the standby takes it.
pub(super) fn boot(settings: &mut Settings, register: Register, clock: &Clock) -> (Arc<BootGuard>, Register) {
    let directory = settings.state.as_ref().map(|state| state.directory.as_path());
    let boot = BootGuard::open_for(directory, settings.model_crashes_max);
    if !settings.models.enabled {
        return (Arc::new(boot), register);
    }
    let register = quarantine(&boot, register, (settings, clock));
    let is_out = |name: &str| {
        let folder = settings.models.directory.join(name);
        let hash = std::fs::read(folder.join(bundle::MANIFEST)).map(|manifest| sha256(&manifest));
        // One that cannot be read is told about when it is loaded.
        hash.is_ok_and(|hash| boot.is_banned(&hash) && register.lives().get(&hash).is_none())
    };
    let (is_active_out, is_standby_out) = (is_out(&settings.models.active), is_out(&settings.models.standby));
    if is_standby_out {
        settings.models.standby.clear();
    }
    if is_active_out {
        let crashes = boot.verdict().map_or(0, |suspect| suspect.crashes);
        ModelCrashes { model: &settings.models.active, crashes }.emit();
        settings.models.active = std::mem::take(&mut settings.models.standby);
    }
    (Arc::new(boot), register)
}

/// Quarantines the model with which the process ended too often, where the register knows it.
fn quarantine(boot: &BootGuard, register: Register, (settings, clock): (&Settings, &Clock)) -> Register {
    let Some(suspect) = boot.verdict().filter(|suspect| suspect.is_banned) else { return register };
    let order = Order::Quarantine { model: suspect.model.clone() };
    let cause = format!("the process ended {} times in a row soon after it was activated", suspect.crashes);
    let Ok(lives) = register.lives().after(&order, &Mandate::Healing, clock.now(), &cause) else { return register };
    ModelCrashes { model: &suspect.model.to_string(), crashes: suspect.crashes }.emit();
    if let Err(error) = register.save(&settings.models, &lives) {
        // It is banned all the same; the next start finds it out again.
        RegisterUnsaved { error: &error }.emit();
    }
    register.with_lives(lives)
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

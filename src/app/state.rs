//! State that survives: opens the store the settings name, restores from it while rules answer, closes it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;

use crate::config::Settings;
use crate::edge::http::{Phase, Service};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Ledger;
use crate::runtime::store::{Gate, RestoreProgress, Running, Store};
use crate::tasks::Shutdown;
use crate::telemetry::events::{Restoring, StateInMemory, StateRestored, StoreOpened};

/// How often the log tells how far restoring is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Hears how far restoring is.
pub(super) type Restores = Box<dyn Fn(&RestoreProgress) + Send>;

/// The ledger and the store behind it, when one is configured.
pub(super) struct State {
    pub(super) ledger: Arc<Ledger>,
    pub(super) store: Option<Store>,
    pub(super) gate: Arc<Gate>,
}

impl State {
    /// Opens what the settings name.
    ///
    /// # Errors
    /// A store that cannot be opened or is damaged: see [`crate::runtime::store::Error`].
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let Some(options) = &settings.state else {
            StateInMemory.emit();
            let ledger = Arc::new(Ledger::new(settings.ledger.clone()));
            return Ok(Self { ledger, store: None, gate: Arc::new(Gate::live()) });
        };
        let (store, kept) = Store::open(options.clone()).context("tried to open state.directory")?;
        let recovered = store.recovered();
        StoreOpened {
            directory: &options.directory.display(),
            decisions: kept.len(),
            cut_bytes: recovered.cut_bytes,
            rebuilt: recovered.rebuilt,
        }
        .emit();
        let ledger = Arc::new(Ledger::with_store(settings.ledger.clone(), &store, &kept));
        let gate = Arc::clone(store.gate());
        Ok(Self { ledger, store: Some(store), gate })
    }
}

/// Replays the event log into entity state, off the async threads, while the service answers by rules.
///
/// # Errors
/// An event log that cannot be read: state would be wrong.
pub(super) async fn restore(
    running: Arc<Running>,
    service: &Arc<Service>,
    shutdown: &Shutdown,
    tell: Restores,
) -> anyhow::Result<()> {
    service.life.enter(Phase::Starting, "restoring");
    let (service, stop) = (Arc::clone(service), shutdown.clone());
    let told = Mutex::new(Moment::now());
    let restored = tokio::task::spawn_blocking(move || {
        running.restore(&|progress| {
            let left = progress.left.as_secs() + 1;
            service.life.tell(&format!("restoring {:.0} %, about {left} s left", progress.share * 100.0));
            tell(&progress);
            let mut told = told.lock();
            if told.elapsed() >= TELL_EVERY {
                *told = Moment::now();
                let RestoreProgress { events, share, per_second, left } = progress;
                Restoring { events, share, per_second, left }.emit();
            }
            !stop.is_asked()
        })
    });
    let restored = restored.await?.context("tried to restore state from the event log")?;
    if let Some(restored) = restored {
        StateRestored { events: restored.events, took: restored.took }.emit();
    }
    Ok(())
}

/// Writes, syncs and seals what there is, and waits for it.
pub(super) async fn close(running: Option<Arc<Running>>) -> anyhow::Result<()> {
    if let Some(running) = running {
        tokio::task::spawn_blocking(move || running.close()).await?;
    }
    Ok(())
}

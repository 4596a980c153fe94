//! The process around a service: its time, its executable, its runtime and the signals that end it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::{App, BLOCKING_THREADS_MAX, History, Terminal};
use crate::config::Settings;
use crate::runtime::clock::Clock;
use crate::tasks::{self, OnExit, Shutdown};

/// What a service takes from the process it runs in; tests give it another time and another executable.
#[derive(Clone, Debug)]
pub struct Process {
    /// Wall time.
    pub clock: Clock,
    /// The executable that runs gates as a child.
    pub executable: PathBuf,
}

impl Process {
    /// Returns the real ones.
    ///
    /// # Errors
    /// An executable that the operating system does not name.
    pub fn here() -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("tried to find the running executable")?;
        Ok(Self { clock: Clock::system(), executable })
    }
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it was asked to.
    Drained,
    /// By itself, drained, to be started anew: threads of it hang.
    Recycles,
}

/// Runs a service on a runtime of its own until a signal asks it to stop.
///
/// # Errors
/// As [`App::build`] and [`App::run`].
pub fn serve(settings: Settings, history: History, terminal: Terminal) -> anyhow::Result<Ending> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = settings.threads {
        runtime.worker_threads(threads.get());
    }
    let runtime = runtime.thread_name("fraudd-http").max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build()?;
    let app = App::build(settings)?;
    let shutdown = Shutdown::default();
    let served = runtime.block_on(async {
        let _signals = watch_signals(&shutdown)?;
        app.run(history, shutdown.clone(), terminal).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    served.map(|()| if shutdown.recycles() { Ending::Recycles } else { Ending::Drained })
}

/// Asks for shutdown at SIGTERM or SIGINT; a second signal ends the process at once.
pub(super) fn watch_signals(shutdown: &Shutdown) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signals = Arc::new(tokio::sync::Mutex::new(signals));
    let asked = shutdown.clone();
    let watch = tasks::spawn("signals", OnExit::Finish, shutdown.clone(), move || {
        let (signals, asked) = (Arc::clone(&signals), asked.clone());
        async move {
            let mut signals = signals.lock().await;
            let (terminate, interrupt) = &mut *signals;
            loop {
                tokio::select! {
                    biased; // Either order is right: both do the same.
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if asked.is_asked() {
                    std::process::exit(130);
                }
                asked.ask();
            }
        }
    });
    if watch.is_finished() {
        bail!("tried to watch for signals, and the task ended");
    }
    Ok(watch)
}

//! Ctrl-C for commands that work for a while: the first asks them to end, the second ends them.

use std::io;

use crate::tasks::{self, Shutdown};

/// What a shell shows for a process ended by an interrupt: 128 and the signal's number.
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// Asks for shutdown at the first interrupt and ends the process at the second (a reader who neither reads nor
/// leaves would hold us for ever); ends itself when the work is done.
pub(super) fn watch(shutdown: Shutdown, done: Shutdown) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupts = async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            shutdown.ask();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(EXIT_INTERRUPTED.into());
        }
        // Without signals there is nothing to hear: the end of the work is waited for.
        std::future::pending::<()>().await;
    };
    tasks::thread("interrupt", move || {
        runtime.block_on(async {
            tokio::select! {
                // The end of the work first: an interrupt in the same instant has nothing left to stop.
                biased;
                () = done.asked() => {}
                () = interrupts => {}
            }
        });
    })
}

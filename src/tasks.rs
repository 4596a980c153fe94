//! Side stairs: the only place where tasks and threads start.
//!
//! Every one has a name and a rule for when it ends unasked: restart it, within a budget, or shut the
//! service down. A panic is caught, logged and treated as such an end.

pub mod crash;
pub mod faults;

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// What to do when a task ends although nobody asked it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// Start it again after a pause, at most `restarts_max` times, then shut down.
    Restart {
        /// How often in the life of the service.
        restarts_max: u32,
    },
    /// Shut the service down.
    ShutDown,
    /// Nothing: the task has an end of its own.
    Finish,
}

/// Tells every task to stop, and the roof that a task wants the service to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: std::sync::atomic::AtomicBool,
    recycles: std::sync::atomic::AtomicBool,
    notify: Notify,
}

impl Shutdown {
    /// Asks everyone to stop; asking twice is the same as once.
    pub fn ask(&self) {
        self.inner.asked.store(true, std::sync::atomic::Ordering::Release);
        self.inner.notify.notify_waiters();
    }

    /// Asks everyone to stop because the process must be started anew.
    pub fn ask_to_recycle(&self) {
        self.inner.recycles.store(true, std::sync::atomic::Ordering::Release);
        self.ask();
    }

    /// Tells whether the process must be started anew.
    #[must_use]
    pub fn recycles(&self) -> bool {
        self.inner.recycles.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Tells whether stopping was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.inner.asked.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Waits until stopping is asked for. Cancel safe.
    pub async fn asked(&self) {
        let notified = self.inner.notify.notified();
        tokio::pin!(notified);
        // Registered before the flag is read, so an ask between the two is not missed.
        notified.as_mut().enable();
        if !self.is_asked() {
            notified.await;
        }
    }
}

/// Starts an async task under a name. `make` is called again for each restart.
pub fn spawn<F, Fut>(name: &'static str, on_exit: OnExit, shutdown: Shutdown, make: F) -> tokio::task::JoinHandle<()>
where
    F: Fn() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the door the rule points to")]
    tokio::spawn(async move {
        let mut restarts = 0;
        loop {
            let ended = CatchUnwind(Box::pin(make())).await;
            if let Err(panic) = &ended {
                tracing::error!(task = name, panic = panic_text(panic.as_ref()), "task panicked");
            }
            if shutdown.is_asked() {
                return;
            }
            match on_exit {
                OnExit::Finish => return,
                OnExit::Restart { restarts_max } if restarts < restarts_max => restarts += 1,
                OnExit::Restart { .. } | OnExit::ShutDown => {
                    tracing::error!(task = name, restarts, "task ended: shutting down");
                    return shutdown.ask();
                }
            }
            tracing::warn!(task = name, restarts, "task ended: restarting");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

/// Starts an async task that ends by itself and needs no watching; its panic is logged and stays its own.
pub fn once<Fut>(name: &'static str, task: Fut) -> tokio::task::JoinHandle<()>
where
    Fut: Future<Output = ()> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the door the rule points to")]
    tokio::spawn(async move {
        if let Err(panic) = CatchUnwind(Box::pin(task)).await {
            tracing::error!(task = name, panic = panic_text(panic.as_ref()), "task panicked");
        }
    })
}

/// Starts an OS thread under a name (at most 15 bytes are visible to tools).
///
/// # Errors
/// The operating system's, when no thread can be had.
pub fn thread<F>(name: &str, body: F) -> io::Result<std::thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    std::thread::Builder::new().name(name.into()).spawn(body)
}

/// Returns the text of a panic, when it has one.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

/// Polls a future and turns its panic into an error.
struct CatchUnwind<Fut>(std::pin::Pin<Box<Fut>>);

impl<Fut: Future> Future for CatchUnwind<Fut> {
    type Output = Result<Fut::Output, Box<dyn std::any::Any + Send>>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)));
        match polled {
            Ok(std::task::Poll::Pending) => std::task::Poll::Pending,
            Ok(std::task::Poll::Ready(value)) => std::task::Poll::Ready(Ok(value)),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panicking_task_is_restarted_then_shuts_down() {
        let shutdown = Shutdown::default();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let task = spawn("test", OnExit::Restart { restarts_max: 2 }, shutdown.clone(), move || {
            let counted = Arc::clone(&counted);
            async move {
                counted.fetch_add(1, Ordering::Relaxed);
                panic!("as planned");
            }
        });
        shutdown.asked().await;
        task.await.expect("joined");
        assert_eq!(runs.load(Ordering::Relaxed), 3);
    }
}

//! Readers: the few threads that read records back, off the async threads.
//!
//! ```text
//! look-up ─> line (bounded; further ones wait with their request) ─> one of READERS threads ─> answer
//! ```
//! A thread per look-up would be simpler and cost memory: every thread that allocates keeps about a
//! mebibyte of its own for as long as it lives, and a batch looks up sixteen at once. What is read is the
//! caller's to say. The threads end when the last shelf goes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::tasks;

/// Threads that read, and so the most reads at once.
pub(super) const READERS: usize = 4;
/// Reads that wait in line; further ones wait with their request.
const WAITING_MAX: usize = 256;

type Read = Box<dyn FnOnce() + Send>;

/// The line before the readers. Shared by reference.
pub(crate) struct Readers {
    line: mpsc::Sender<Read>,
}

impl Readers {
    /// Starts the threads.
    pub(super) fn start() -> io::Result<Self> {
        let (line, reads) = mpsc::channel::<Read>(WAITING_MAX);
        let reads = Arc::new(Mutex::new(reads));
        for _ in 0..READERS {
            let reads = Arc::clone(&reads);
            tasks::thread("fraudd-reader", move || {
                // One waits at the line, the others for their turn to. The lock is free while one reads.
                while let Some(read) = next(&reads) {
                    read();
                }
            })?;
        }
        Ok(Self { line })
    }

    /// Reads on one of the threads, when its turn comes; a panic there is the caller's. Cancel safe: a
    /// read that nobody waits for any more is left out.
    pub(crate) async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move || {
            if !reply.is_closed() {
                // Whoever waited may be gone by now: then nobody needs it.
                let _ = reply.send(catch_unwind(AssertUnwindSafe(read)));
            }
        });
        if let Err(unread) = self.line.send(read).await {
            // The threads outlive the line, so this cannot be; reading here is right all the same.
            (unread.0)();
        }
        let found = answer.await.expect("a read in line is made while its caller waits");
        found.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

fn next(reads: &Mutex<mpsc::Receiver<Read>>) -> Option<Read> {
    reads.lock().blocking_recv()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn no_more_than_readers_read_at_once_and_every_read_is_answered() {
        let readers = Arc::new(Readers::start().expect("threads"));
        let (running, peak, threads) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<Mutex<BTreeSet<String>>>)>::default();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..WAITING_MAX * 4 {
            let readers = Arc::clone(&readers);
            let (running, peak, threads) = (Arc::clone(&running), Arc::clone(&peak), Arc::clone(&threads));
            waiting.spawn(async move {
                let read = readers.read(move || {
                    peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    threads.lock().insert(format!("{:?}", std::thread::current().id()));
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    number
                });
                assert_eq!(read.await, number);
            });
        }
        while let Some(read) = waiting.join_next().await {
            read.expect("answered");
        }
        assert!(peak.load(Ordering::SeqCst) <= READERS);
        assert!(threads.lock().len() <= READERS, "{:?}", threads.lock());
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_the_thread_lives_on() {
        let readers = Arc::new(Readers::start().expect("threads"));
        for _ in 0..READERS * 2 {
            let readers = Arc::clone(&readers);
            let mut told = tokio::task::JoinSet::new();
            told.spawn(async move { readers.read(|| panic!("as planned")).await });
            let told = told.join_next().await.expect("one");
            assert!(told.is_err_and(|error| error.is_panic()));
        }
        assert_eq!(readers.read(|| 7).await, 7);
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_is_left_out() {
        let readers = Readers::start().expect("threads");
        let (busy, made) = (Arc::new(Barrier::new(READERS + 1)), Arc::new(AtomicUsize::new(0)));
        let mut waiting = Vec::new();
        for _ in 0..READERS {
            let busy = Arc::clone(&busy);
            let mut read = Box::pin(readers.read(move || busy.wait().is_leader()));
            assert!(read.as_mut().now_or_never().is_none(), "it is in line");
            waiting.push(read);
        }
        let count = Arc::clone(&made);
        let mut given_up = Box::pin(readers.read(move || count.fetch_add(1, Ordering::SeqCst)));
        assert!(given_up.as_mut().now_or_never().is_none(), "all readers are busy");
        drop(given_up);
        busy.wait();
        for read in waiting {
            read.await;
        }
        readers.read(|| ()).await;
        assert_eq!(made.load(Ordering::SeqCst), 0);
    }
}

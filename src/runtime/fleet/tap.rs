//! The tap: decisions taken aside for whoever compares models, without making a decision wait.
//!
//! The hot path pays one short lock and a pointer; nobody is woken. Whoever compares comes by and takes what
//! has gathered. What does not fit is dropped and counted: a comparison may miss transactions, an answer may
//! not wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::runtime::decisions::Record;

/// The most decisions that wait.
const WAITING_MAX: usize = 8_192;

/// Takes decisions aside. Shut until somebody reads it.
#[derive(Debug, Default)]
pub struct Tap {
    is_open: AtomicBool,
    waiting: Mutex<Vec<Arc<Record>>>,
    dropped: AtomicU64,
}

impl Tap {
    /// Takes one decision aside, or drops it when too many wait or nobody reads.
    pub fn offer(&self, record: &Arc<Record>) {
        if !self.is_open.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push(Arc::clone(record));
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins to take decisions aside.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Takes all that wait, in the order they were decided.
    pub fn drain(&self) -> Vec<Arc<Record>> {
        let mut waiting = self.waiting.lock();
        let room = Vec::with_capacity(waiting.len());
        std::mem::replace(&mut waiting, room)
    }

    /// Returns how many were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

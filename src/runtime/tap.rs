//! The tap: what was decided, taken aside for a thread that comes by, without making a decision wait or waking anybody.
//!
//! The hot path pays one short lock and a pointer. A queue that wakes its reader would cost a system call for each
//! decision, and the processor would change hands with it. Whoever reads comes by and takes what has gathered. What does
//! not fit is dropped and counted: a reader may miss transactions, an answer may not wait for one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Takes things aside, up to a bound. Shut until somebody reads it.
#[derive(Debug)]
pub struct Tap<T> {
    is_open: AtomicBool,
    waiting: Mutex<Vec<T>>,
    waiting_max: usize,
    dropped: AtomicU64,
}

impl<T> Default for Tap<T> {
    /// A tap that nobody reads: it stays shut, and takes nothing were it opened.
    fn default() -> Self {
        Self::new(0)
    }
}

impl<T> Tap<T> {
    /// Returns a shut tap at which `waiting_max` things may wait.
    #[must_use]
    pub fn new(waiting_max: usize) -> Self {
        let waiting = Mutex::new(Vec::new());
        Self { is_open: AtomicBool::new(false), waiting, waiting_max, dropped: AtomicU64::new(0) }
    }

    /// Takes one thing aside, made only if the tap is open; `false`: too many wait, it was dropped and counted.
    pub fn offer(&self, thing: impl FnOnce() -> T) -> bool {
        if !self.is_open.load(Ordering::Relaxed) {
            return true;
        }
        let thing = thing();
        let mut waiting = self.waiting.lock();
        let has_room = waiting.len() < self.waiting_max;
        if has_room {
            waiting.push(thing);
        } else {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Begins to take things aside.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Swaps all that wait, in their order, for `taken`, which is emptied first: two buffers take turns.
    pub fn drain_into(&self, taken: &mut Vec<T>) {
        taken.clear();
        std::mem::swap(&mut *self.waiting.lock(), taken);
    }

    /// Returns how many were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_tap_keeps_the_order_and_counts_what_does_not_fit() {
        let tap = Tap::new(3);
        assert!(tap.offer(|| unreachable!("a shut tap makes nothing")));
        tap.open();
        let taken: Vec<bool> = (0..5).map(|thing| tap.offer(|| thing)).collect();
        assert_eq!((taken, tap.dropped()), (vec![true, true, true, false, false], 2));
        let mut drained = vec![9];
        tap.drain_into(&mut drained);
        assert_eq!(drained, [0, 1, 2]);
        assert!(tap.offer(|| 5));
        tap.drain_into(&mut drained);
        assert_eq!(drained, [5]);
    }
}

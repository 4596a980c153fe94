//! The gate between restoring and serving.
//!
//! ```text
//! Replaying  events of new decisions go to the log only: the replay reads them there, in order
//! Closing    they go to entity state at once; the replay reads what came before
//! Live       all is in: the model may score
//! ```
//! No event is lost at the change: the writer looks at the gate after its write, the replay looks at the
//! log after it moved the gate, each behind a fence. At least one of them sees the other, and an event
//! that both take counts once.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

const LIVE: u8 = 0;
const CLOSING: u8 = 1;
const REPLAYING: u8 = 2;

/// How far restoring is. Shared.
#[derive(Debug)]
pub struct Gate {
    state: AtomicU8,
    /// Share of the log that is read, in thousandths.
    share: AtomicU64,
}

impl Gate {
    /// Makes a gate for state that is whole: nothing is restored.
    #[must_use]
    pub const fn live() -> Self {
        Self { state: AtomicU8::new(LIVE), share: AtomicU64::new(1_000) }
    }

    /// Makes a gate for state that must be restored first.
    #[must_use]
    pub const fn replaying() -> Self {
        Self { state: AtomicU8::new(REPLAYING), share: AtomicU64::new(0) }
    }

    /// Tells whether features are incomplete, so that no model may score.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.state.load(Ordering::Acquire) != LIVE
    }

    /// Tells whether events must wait for the replay. Looked at after a write.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        fence(Ordering::SeqCst);
        self.state.load(Ordering::SeqCst) == REPLAYING
    }

    /// Returns the share of the log that is read, in thousandths.
    #[must_use]
    pub fn permille(&self) -> u64 {
        self.share.load(Ordering::Relaxed)
    }

    pub(super) fn set_share(&self, thousandths: u64) {
        self.share.store(thousandths.min(1_000), Ordering::Relaxed);
    }

    pub(super) fn close_replay(&self) {
        self.state.store(CLOSING, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn go_live(&self) {
        self.set_share(1_000);
        self.state.store(LIVE, Ordering::SeqCst);
    }
}

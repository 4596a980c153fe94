//! The REST door's hold on an id: a ticket that settles with a decision, and who waits for one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{Ledger, Record, Settled};
use crate::domain::{DegradedReason, Transaction};
use crate::runtime::clock::Moment;
use crate::runtime::store::{Decided, Message, OnFailure, Shelf, put_record, put_transaction};
use crate::telemetry::events::NotRecorded;

/// How long a decision waits for the writer at least, whatever is left of its deadline.
const WRITE_WAIT_MIN: Duration = Duration::from_millis(25);

/// The right and duty to decide one id. Dropped unsettled, it gives the id back.
pub struct Ticket<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) key: u128,
    /// The transaction as the event log has it, once entity state has seen it.
    pub(super) event: Vec<u8>,
    pub(super) deferred: bool,
    pub(super) settled: bool,
}

impl Ticket<'_> {
    /// Takes note that entity state has the transaction: from now on the event log must get it, whatever
    /// becomes of the request.
    pub fn observed(&mut self, transaction: &Transaction) {
        if self.ledger.shelf.is_some() {
            self.event.reserve(384);
            put_transaction(&mut self.event, transaction);
        }
    }

    /// Takes note that entity state has not seen the transaction: restoring will bring it there.
    pub fn deferred(&mut self, transaction: &Transaction) {
        self.observed(transaction);
        self.deferred = true;
    }

    /// Records the decision, answers everyone who waits for it and returns it with its cursor. Past
    /// `deadline`, or 25 ms where less is left, nobody waits for the disk: what the settings say of failures holds, and the record may
    /// still be written.
    pub async fn settle(mut self, record: Record, deadline: Moment) -> Settled {
        let (ledger, key) = (self.ledger, self.key);
        let record = Arc::new(record);
        let Some(shelf) = &ledger.shelf else {
            self.settled = true;
            ledger.keep(key, &record);
            return Settled::Kept(record);
        };
        let mut payload = Vec::with_capacity(1_536);
        put_record(&mut payload, &record);
        let (reply, answer) = oneshot::channel();
        let (event, deferred) = (std::mem::take(&mut self.event), self.deferred);
        let kept = Arc::clone(&record);
        let decided = Decided { key, record: kept, event, payload, deferred, reply: Some(reply) };
        let Ok(rouse) = shelf.queue.push(Message::Decided(Box::new(decided))) else {
            // The ticket gives the id back: nothing of this is on its way to the disk.
            return late(shelf, &record);
        };
        // From here on the writer settles it, also when this request is given up.
        self.settled = true;
        // Whoever is ready on this thread joins the group before the writer is woken for it.
        tokio::task::yield_now().await;
        drop(rouse);
        // A decision that took all of its time is still given that of a write: it will be there, and
        // saying that it is not would be wrong.
        let patience = deadline.instant().max(Moment::now().after(WRITE_WAIT_MIN).instant());
        let deadline = tokio::time::Instant::from_std(patience);
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(settled)) => {
                let is_unrecorded = match &settled {
                    Settled::Kept(record) => record.decision.degraded.contains(&DegradedReason::NotRecorded),
                    Settled::NotRecorded => true,
                };
                if is_unrecorded {
                    NotRecorded.emit();
                }
                settled
            }
            Ok(Err(_)) | Err(_) => late(shelf, &record),
        }
    }
}

/// What is answered when the disk did not say in time that it has the record.
fn late(shelf: &Shelf, record: &Record) -> Settled {
    NotRecorded.emit();
    match shelf.on_failure {
        OnFailure::Answer => Settled::Kept(Arc::new(record.with(DegradedReason::NotRecorded))),
        OnFailure::Refuse => Settled::NotRecorded,
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.ledger.give_up(self.key);
        if let Some(shelf) = self.ledger.shelf.as_ref().filter(|_| !self.event.is_empty() && !self.deferred) {
            // Entity state has the event, so the log must have it too. A full line has its own alarm.
            let _ = shelf.queue.push(Message::Event(std::mem::take(&mut self.event)));
        }
    }
}

/// Waits for somebody else's decision of the same id.
pub struct Waiter {
    pub(super) receiver: watch::Receiver<Option<Arc<Record>>>,
}

impl Waiter {
    /// Returns the decision; `None` when its request was given up. Cancel safe.
    pub async fn decided(mut self) -> Option<Arc<Record>> {
        let found = self.receiver.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}

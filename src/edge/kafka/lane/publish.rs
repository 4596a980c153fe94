//! Publishing a decided batch, as often as it takes.
//!
//! ```text
//! begin ─> emit ─> flush ─> offsets ─> commit ─> committed
//!   any of them: retriable     -> the same call again, until the attempt's time is up: producer anew
//!                abortable     -> abort, publish again
//!                stale         -> abort, wait for the group's new generation, publish what is left
//!                fenced, fatal -> producer anew, publish again
//!   commit:      anything else -> its outcome is not known: after abort or producer anew, ask the broker
//! ```

use std::time::Duration;

use super::broker::{Broker, Event};
use super::core::{Held, Lane, Stage};
use super::fault::{Class, Fault};
use super::record::Source;
use super::status::State;
use super::work::Work;
use crate::tasks::crash;
use crate::telemetry::stream_lane::{BatchAborted, BatchCommitted, ClientRebuilt, CommitSettled};

/// How long a full producer queue is given to drain before the next try.
const QUEUE_WAIT: Duration = Duration::from_millis(100);
/// How long to leave a call alone that has nothing to wait for by itself.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Crash points behind the steps, by their number.
const STEPS: [&str; 5] = ["", "after-produce", "after-flush", "after-offsets", "after-commit"];
const HELD: &str = "a stage that publishes has a batch";

impl<B: Broker, W: Work> Lane<B, W> {
    fn held(&mut self) -> &mut Held<W::Batch> {
        self.held.as_mut().expect(HELD)
    }

    pub(super) fn begin(&mut self) {
        let until = self.broker.now() + self.options.publish_wait;
        self.held().publish_until = until;
        crash::point("before-begin");
        match self.broker.begin() {
            Ok(()) => {
                crash::point("after-begin");
                self.stage = Stage::Emit;
            }
            Err(fault) => {
                // Nothing is open, so there is nothing to abort.
                self.report(&fault);
                self.producer_gone(fault.class);
            }
        }
    }

    pub(super) fn emit(&mut self) {
        let started = self.broker.now();
        let (broker, call_wait) = (&mut self.broker, self.options.call_wait);
        let held = self.held.as_ref().expect(HELD);
        let result = self.work.emit(&held.batch, &mut |output| {
            loop {
                match broker.produce(output) {
                    // The queue is full: what is in it has to go first.
                    Err(fault) if fault.class == Class::Retriable && broker.now() < started + call_wait => {
                        let _ = broker.flush(QUEUE_WAIT);
                    }
                    done => {
                        crash::point("mid-produce");
                        return done;
                    }
                }
            }
        });
        self.advance(result, 1, started, Stage::Flush);
    }

    pub(super) fn flush(&mut self) {
        let started = self.broker.now();
        let result = self.broker.flush(self.options.call_wait);
        self.advance(result, 2, started, Stage::Offsets);
    }

    pub(super) fn offsets(&mut self) {
        let started = self.broker.now();
        let held = self.held.as_mut().expect(HELD);
        held.offsets = self.work.offsets(&held.batch);
        let held = self.held.as_ref().expect(HELD);
        let result = self
            .check_forward(&held.offsets)
            .and_then(|()| self.broker.offsets(&held.offsets, &held.token, self.options.call_wait));
        self.advance(result, 3, started, Stage::Commit);
    }

    pub(super) fn commit(&mut self) {
        let started = self.broker.now();
        let result = self.broker.commit(self.options.call_wait);
        if result.is_err() {
            self.held().is_unsettled = true;
        }
        match result {
            Ok(()) => {
                crash::point(STEPS[4]);
                self.timed(4, started);
                self.committed();
            }
            result @ Err(_) => self.advance(result, 4, started, Stage::Commit),
        }
    }

    /// Goes on to `next`, makes the same call again, or leaves by the class of the fault.
    fn advance(&mut self, result: Result<(), Fault>, step: usize, started: Duration, next: Stage) {
        let Err(fault) = result else {
            crash::point(STEPS[step]);
            self.timed(step, started);
            self.stage = next;
            return;
        };
        self.report(&fault);
        self.show(State::Retrying, &fault.to_string());
        let is_over = self.broker.now() >= self.held().publish_until;
        match fault.class {
            // An emit that was cut short cannot be gone on with, only begun again.
            Class::Retriable if self.stage == Stage::Emit => self.stage = Stage::Abort(Class::Retriable),
            Class::Retriable if !is_over => {}
            Class::Retriable | Class::Fenced | Class::Fatal => self.producer_gone(fault.class),
            class @ (Class::Abortable
            | Class::StaleGeneration
            | Class::ConsumerLost
            | Class::Refused
            | Class::Denied) => self.stage = Stage::Abort(class),
        }
    }

    pub(super) fn abort(&mut self, class: Class) {
        match self.broker.abort(self.options.call_wait) {
            Ok(()) => {
                BatchAborted { index: self.options.index, class: class.as_str() }.emit();
                self.aborted(class);
            }
            Err(fault) => {
                self.report(&fault);
                let is_over = self.broker.now() >= self.held().publish_until;
                if fault.class != Class::Retriable || is_over {
                    self.has_consumer &= class != Class::ConsumerLost;
                    self.producer_gone(fault.class);
                }
            }
        }
    }

    fn aborted(&mut self, class: Class) {
        let now = self.broker.now();
        let held = self.held.as_mut().expect(HELD);
        held.attempts += 1;
        let attempts = held.attempts;
        match class {
            Class::StaleGeneration => {
                let until = now + self.options.generation_wait;
                self.stage = Stage::Wait { until, is_for_generation: true };
            }
            Class::ConsumerLost => self.consumer_gone(),
            Class::Refused | Class::Denied => {
                let reason = self.status.shown().reason;
                self.pause_broken(&reason);
            }
            Class::Retriable | Class::Abortable | Class::Fenced | Class::Fatal => {
                if attempts > self.options.attempts_max {
                    return self.pause_broken("one batch fails again and again");
                }
                let until = now + self.breaker.pause(attempts, self.options.again_wait_max);
                self.stage = Stage::Wait { until, is_for_generation: false };
            }
        }
    }

    /// The consumer was fenced: another process has this member's name. To come back at once would only fence that one,
    /// so the lane pauses first.
    pub(super) fn consumer_gone(&mut self) {
        self.has_consumer = false;
        self.pause_broken("another process is this member of the group");
    }

    fn producer_gone(&mut self, class: Class) {
        self.held().attempts += 1;
        self.has_producer = false;
        self.strike();
        if class == Class::Fenced && self.stage == Stage::Rebuild {
            let until = self.broker.now() + self.options.fenced_wait;
            self.stage = Stage::Wait { until, is_for_generation: false };
        }
    }

    pub(super) fn rebuild(&mut self) {
        match self.broker.rebuild(self.options.call_wait) {
            Ok(()) => {
                self.has_producer = true;
                if self.held.is_some() || self.has_consumer {
                    ClientRebuilt { index: self.options.index, client: "producer" }.emit();
                }
                self.resume();
            }
            Err(fault) => self.client_failed(&fault),
        }
    }

    pub(super) fn reopen(&mut self) {
        let owned = self.owned();
        if !owned.is_empty() {
            ClientRebuilt { index: self.options.index, client: "consumer" }.emit();
        }
        self.give_up(&owned, true);
        self.forget_flow();
        match self.broker.reopen() {
            Ok(()) => {
                self.has_consumer = true;
                self.resume();
            }
            Err(fault) => self.client_failed(&fault),
        }
    }

    /// A client could not be made: again soon, or as a broken lane.
    fn client_failed(&mut self, fault: &Fault) {
        self.report(fault);
        if fault.class == Class::Retriable {
            // The broker is away. Not a fault of the lane, but it does no work either.
            self.show(State::Broken, &fault.to_string());
            let until = self.broker.now() + RETRY_PAUSE;
            self.stage = Stage::Wait { until, is_for_generation: false };
        } else {
            self.pause_broken(&fault.to_string());
        }
    }

    /// Reads from the broker whether the batch was committed: only its own token says so. An equal offset may be
    /// somebody else's.
    pub(super) fn settle(&mut self) {
        #[cfg(test)]
        if self.forgets == super::core::Forgets::ToSettle {
            self.held().is_unsettled = false;
            return self.resume();
        }
        let held = self.held.as_ref().expect(HELD);
        let of_transactions = held.offsets.iter().filter(|next| next.source == Source::Transactions);
        let partitions: Vec<i32> = of_transactions
            .map(|next| next.partition)
            .filter(|partition| self.partitions.contains_key(partition))
            .collect();
        match self.broker.committed(&partitions) {
            Ok(committed) => {
                let has_token = |token: &Option<String>| token.as_ref() == Some(&held.token);
                let is_committed = committed.iter().any(|(_, at)| at.as_ref().is_some_and(|at| has_token(&at.token)));
                CommitSettled { index: self.options.index, is_committed }.emit();
                if is_committed {
                    return self.committed();
                }
                self.held().is_unsettled = false;
                self.resume();
            }
            Err(fault) => self.client_failed(&fault),
        }
    }

    /// The batch is committed: it becomes visible here, and the lane goes on.
    fn committed(&mut self) {
        let held = self.held.take().expect(HELD);
        for next in &held.offsets {
            if let Some(partition) = self.partitions.get_mut(&next.partition) {
                partition.commits(next);
            }
        }
        BatchCommitted { rows: held.rows }.emit();
        self.breaker.heal();
        self.work.committed(held.batch);
        self.resume();
    }

    /// Polls for events with the flow of records stopped, until the time has come or the group has spoken.
    pub(super) fn wait(&mut self, until: Duration, is_for_generation: bool) {
        let left = until.saturating_sub(self.broker.now());
        if left.is_zero() {
            if is_for_generation {
                // The group never told us: only a new consumer will learn.
                self.has_consumer = false;
                return self.strike();
            }
            return self.resume();
        }
        self.flow(false);
        let event = self.broker.poll(left.min(self.options.idle_wait));
        let has_spoken = matches!(event, Event::Assigned(_) | Event::Revoked { .. });
        let (stage, had_batch) = (self.stage, self.held.is_some());
        self.notice(event);
        // The batch may have gone with its partitions: then there is nothing left to wait for.
        let is_pointless = had_batch && self.held.is_none() && self.has_producer && self.has_consumer;
        if self.stage == stage && ((is_for_generation && has_spoken) || is_pointless) {
            self.resume();
        }
    }
}

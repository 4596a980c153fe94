//! The outbox: decisions of the REST door go to the transactions topic, from the journal they are in.
//!
//! ```text
//! journal (feed order) ─ owed to the stream? ─> record + sealed decision ─ acks=all ─> cursor moves on
//!                                   broker away: the journal grows, nothing else changes
//! ```
//! At least once: what was sent and not acknowledged is sent again, and the lane that reads it back knows the id.
//! The cursor lies beside the store, so that a restart goes on about where it was. It never decides anything.

mod cursor;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::{Notify, watch};

use super::signature::{DECISION_HEADER, Key, Subject};
use crate::domain::Timestamp;
use crate::edge::wire::record;
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::decisions::{Ledger, Origin, Record};
use crate::runtime::store::seal_record;
use crate::runtime::stream::Ownership;
use crate::tasks::{Shutdown, crash};
use crate::telemetry::events::{OutboxSent, OutboxStuck, OutboxWaits};
pub use cursor::{CursorFile, Error as CursorError};

/// The header that says in which form a record's payload is, whatever the topic's mapping.
pub const FORM_HEADER: &str = "fraudd-form";
/// Its value for the contract's own JSON.
pub const FORM_OWN: &str = "v1";
/// Decisions that are sent and not acknowledged.
const IN_FLIGHT_MAX: usize = 2_000;
/// Decisions looked up at once.
const PAGE_LEN: usize = 500;
/// How long the outbox rests when there is nothing to send.
const IDLE: Duration = Duration::from_millis(20);
/// The same when callers wait for the broker.
const IDLE_AWAITED: Duration = Duration::from_millis(2);
/// How often the cursor is written.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How long the end waits for acknowledgements.
const DRAIN: Duration = Duration::from_secs(2);

/// How an outbox works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topic decisions go to.
    pub topic: String,
    /// The group's key; without it decisions travel without a seal and only this instance knows them.
    pub key: Option<Key>,
    /// Whether callers wait until the broker has their decision.
    pub is_awaited: bool,
}

/// Sends decisions of the REST door to the stream.
pub struct Outbox {
    options: Options,
    producer: ThreadedProducer<Deliveries>,
    ledger: Arc<Ledger>,
    ownership: Arc<Ownership>,
    file: Arc<CursorFile>,
    acknowledged: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Up to which cursor everything was handed to the producer.
    sent: u64,
    in_flight: BTreeSet<u64>,
    /// The first decision that failed: sending goes on there once nothing is in flight any more, so that an outage
    /// makes each of them go twice at most.
    failed: Option<u64>,
    is_stuck: bool,
    /// When the oldest decision was made that the broker does not have.
    oldest: Option<Timestamp>,
}

/// Collects what became of sent records.
#[derive(Default)]
struct Deliveries {
    told: Mutex<Vec<(u64, Option<KafkaError>)>>,
    bell: Notify,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, cursor: Box<u64>) {
        let failure = result.as_ref().err().map(|(error, _)| error.clone());
        self.told.lock().push((*cursor, failure));
        self.bell.notify_one();
    }
}

impl Outbox {
    /// Builds an outbox that goes on from the cursor in its file.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn new(
        options: Options,
        client: &ClientConfig,
        (ledger, ownership): (Arc<Ledger>, Arc<Ownership>),
        file: Arc<CursorFile>,
    ) -> Result<Self, KafkaError> {
        let producer = client.create_with_context(Deliveries::default())?;
        let state = Mutex::new(State { sent: file.acknowledged(), ..State::default() });
        let (acknowledged, _) = watch::channel(file.acknowledged());
        Ok(Self { options, producer, ledger, ownership, file, acknowledged, state })
    }

    /// Tells whether callers wait until the broker has their decision.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.options.is_awaited
    }

    /// Waits until the broker has a decision; `false` at the deadline. One of the stream it has already. Cancel safe.
    pub async fn has(&self, record: &Record, deadline: Moment) -> bool {
        let cursor = record.cursor.get();
        if record.origin != Origin::Rest {
            return true;
        }
        // Without a cursor it is not in the journal, so it is not on its way either.
        if cursor == 0 {
            return false;
        }
        let mut acknowledged = self.acknowledged.subscribe();
        let deadline = tokio::time::Instant::from_std(deadline.instant());
        let waited = tokio::time::timeout_at(deadline, acknowledged.wait_for(|known| *known >= cursor)).await;
        waited.is_ok_and(|found| found.is_ok())
    }

    /// Sends until asked to stop, then waits a little for acknowledgements and keeps the cursor.
    pub async fn run(&self, shutdown: &Shutdown) {
        let mut kept = Moment::now();
        while !shutdown.is_asked() {
            let sent = self.send_some().await;
            self.settle();
            if kept.elapsed() >= KEEP_EVERY {
                kept = Moment::now();
                self.keep().await;
            }
            let rest = if self.options.is_awaited { IDLE_AWAITED } else { IDLE };
            if sent == 0 {
                let _ = tokio::time::timeout(rest, self.producer.context().bell.notified()).await;
            }
        }
        let end = Moment::now().after(DRAIN);
        while !end.has_passed() && !self.state.lock().in_flight.is_empty() {
            let _ = tokio::time::timeout(IDLE, self.producer.context().bell.notified()).await;
            self.settle();
        }
        self.keep().await;
    }

    /// Hands what comes next in the feed to the producer, as far as there is room.
    async fn send_some(&self) -> usize {
        let (from, room) = {
            let mut state = self.state.lock();
            if state.failed.is_some() && !state.in_flight.is_empty() {
                return 0;
            }
            if let Some(failed) = state.failed.take() {
                state.sent = state.sent.min(failed - 1);
            }
            (state.sent, IN_FLIGHT_MAX.saturating_sub(state.in_flight.len()))
        };
        if room == 0 {
            return 0;
        }
        // A record that cannot be read is told where it is read; it is tried again.
        let Ok(page) = self.ledger.unpublished_after(from, room.min(PAGE_LEN)).await else { return 0 };
        let mut sent = 0;
        for record in &page.records {
            match self.send(record) {
                Ok(()) => sent += 1,
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => return sent,
                Err(error) => {
                    self.stuck(&error.to_string());
                    return sent;
                }
            }
        }
        let mut state = self.state.lock();
        state.sent = state.sent.max(page.next);
        sent
    }

    fn send(&self, record: &Record) -> Result<(), KafkaError> {
        let transaction = &record.transaction;
        let payload = record::transaction(transaction).to_string();
        let key = self.ownership.key_of(transaction).unwrap_or_default();
        let partition = self.ownership.partition_of_key(key);
        let mut headers = OwnedHeaders::new().insert(Header { key: FORM_HEADER, value: Some(FORM_OWN) });
        if let Some(seal) = &self.options.key {
            let subject = Subject { transaction_id: transaction.id(), payload_hash: record.payload_hash };
            let sealed = seal.seal(&subject, &seal_record(record));
            headers = headers.insert(Header { key: DECISION_HEADER, value: Some(&sealed) });
        }
        let cursor = record.cursor.get();
        let message = BaseRecord::with_opaque_to(&self.options.topic, Box::new(cursor))
            .partition(i32::try_from(partition).unwrap_or(0))
            .key(key)
            .payload(&payload)
            .headers(headers);
        let mut state = self.state.lock();
        self.producer.send(message).map_err(|(error, _)| error)?;
        state.in_flight.insert(cursor);
        state.sent = cursor;
        Ok(())
    }

    /// Takes note of what the broker has. After a failure everything from there on is sent again.
    fn settle(&self) {
        let told = std::mem::take(&mut *self.producer.context().told.lock());
        if told.is_empty() {
            return;
        }
        let (mut count, mut failed) = (0, 0);
        let mut reason = None;
        let acknowledged = {
            let mut state = self.state.lock();
            for (cursor, failure) in told {
                state.in_flight.remove(&cursor);
                match failure {
                    None => count += 1,
                    Some(error) => {
                        failed += 1;
                        state.failed = Some(state.failed.map_or(cursor, |first| first.min(cursor)));
                        reason = Some(error.to_string());
                    }
                }
            }
            state.is_stuck &= count == 0;
            let open = state.in_flight.first().copied().into_iter().chain(state.failed).min();
            open.map_or(state.sent, |cursor| cursor - 1)
        };
        crash::point("outbox-after-ack");
        self.acknowledged.send_if_modified(|known| {
            let is_news = acknowledged > *known;
            *known = acknowledged.max(*known);
            is_news
        });
        OutboxSent { count, failed }.emit();
        if let Some(reason) = reason {
            self.stuck(&reason);
        }
    }

    fn stuck(&self, reason: &str) {
        let is_first = !std::mem::replace(&mut self.state.lock().is_stuck, true);
        OutboxStuck { reason, is_first }.emit();
    }

    /// Returns how many decisions the broker does not have yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.ledger.unpublished_since(*self.acknowledged.borrow())
    }

    /// Returns how long ago the oldest of them was made, as it was known a second ago; zero without any.
    #[must_use]
    pub fn age(&self) -> Duration {
        let oldest = self.state.lock().oldest;
        let micros = oldest.map_or(0, |oldest| Clock::system().now().micros().saturating_sub(oldest.micros()));
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// Looks up the oldest decision that the broker does not have.
    async fn look_at_oldest(&self) {
        let acknowledged = *self.acknowledged.borrow();
        let oldest = match self.waiting() {
            0 => None,
            // One that cannot be read has told so; its age is that of the last look.
            _ => match self.ledger.unpublished_after(acknowledged, 1).await {
                Ok(page) => page.records.first().map(|record| record.received_at),
                Err(_) => return,
            },
        };
        self.state.lock().oldest = oldest;
    }

    async fn keep(&self) {
        self.look_at_oldest().await;
        OutboxWaits { waiting: self.waiting(), age: self.age() }.emit();
        self.file.keep(*self.acknowledged.borrow());
    }
}

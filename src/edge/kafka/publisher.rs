//! The publisher: lines of the record and requests for a new model go to their topics, each at least once, in order.
//!
//! ```text
//! record (files) ── after the position ──┐
//! spool of requests (files) ── oldest ───┴─> batch ─ acks=all, idempotent ─> position kept, request let go
//!                           broker away: both wait where they are, counted; nobody else waits
//! ```
//! What was sent and whose acknowledgement was lost is sent again: a reader drops what it has seen by `ce_id`, which
//! for the record is chain and number, in the order of the topic's one partition. Nothing here decides anything.

mod place;
mod spool;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

pub use place::{Error as PlaceError, Place};
pub use spool::{SPOOLED_MAX, Spool};

use super::headers::{NamedValue, written};
use crate::runtime::audit::{Audit, Line};
use crate::runtime::clock::Moment;
use crate::tasks::{self, Shutdown};
use crate::telemetry::publisher::{LinesGone, Published, Waiting};

/// The type of an event that is a line of the record.
pub const RECORDED: &str = "fraudd.audit.recorded.v1";
/// The header that has the number of a line.
pub const SEQUENCE_HEADER: &str = "fraudd-sequence";
/// Lines sent at once.
pub const BATCH_LEN_MAX: usize = 256;
/// How often is looked for news.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long librdkafka is listened to at a time.
const POLL: Duration = Duration::from_millis(50);
/// How long a batch is waited for once the service ends.
const CLOSING: Duration = Duration::from_secs(2);
/// The pause after a failure; doubled each time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// One record for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The topic.
    pub topic: String,
    /// The key: what belongs together.
    pub key: String,
    /// The payload.
    pub payload: String,
    /// The headers.
    pub headers: Vec<NamedValue>,
}

/// Hands letters to the broker and waits until it has all of them, or says why not; hurries once it is asked to end.
pub type Send = Box<dyn FnMut(&[Letter], &Shutdown) -> Result<(), String> + std::marker::Send>;

/// What is published where; a topic that is absent gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The topic of the record.
    pub audit: Option<String>,
    /// The topic of requests for a new model.
    pub retrain: Option<String>,
    /// Who we are, in each event: a URI reference such as `fraudd/pod-0`.
    pub source: String,
    /// What signs each request; nothing is signed without.
    pub secret: Option<String>,
}

/// Where what is published comes from.
pub struct Sources {
    /// The record, when it is published.
    pub audit: Option<Audit>,
    /// How far it is published.
    pub place: Place,
    /// Requests that wait.
    pub spool: Arc<Spool>,
}

/// The work of the publisher, a step at a time.
pub struct Publisher {
    options: Options,
    sources: Sources,
    send: Send,
    /// Topics that did not take what was sent last.
    stuck: BTreeMap<&'static str, String>,
    closing: Shutdown,
}

impl Publisher {
    /// Makes a publisher over what sends.
    #[must_use]
    pub fn new(options: Options, sources: Sources, send: Send) -> Self {
        Self { options, sources, send, stuck: BTreeMap::new(), closing: Shutdown::default() }
    }

    /// Sends what comes next of both; returns how many were taken.
    ///
    /// # Errors
    /// Something was not taken: it is tried again with the next step.
    pub fn step(&mut self) -> Result<usize, String> {
        let requests = self.requests();
        let lines = self.lines();
        self.tell_waiting();
        Ok(requests? + lines?)
    }

    /// Sends requests that wait, oldest first; each is let go when the broker has it.
    fn requests(&mut self) -> Result<usize, String> {
        let Some(topic) = self.options.retrain.clone() else { return Ok(0) };
        let mut sent = 0;
        for waiting in self.sources.spool.waiting().map_err(|error| error.to_string())? {
            let letter = waiting.letter(&topic, &self.options);
            self.hand_over("retrain", &[letter])?;
            self.sources.spool.let_go(&waiting).map_err(|error| error.to_string())?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Sends the next lines of the record.
    fn lines(&mut self) -> Result<usize, String> {
        let (Some(topic), Some(audit)) = (self.options.audit.clone(), self.sources.audit.clone()) else { return Ok(0) };
        let view = audit.view();
        let from = self.sources.place.of(&view.chain);
        if view.seq <= from {
            return Ok(0);
        }
        let lines = audit.after(from, BATCH_LEN_MAX).map_err(|error| format!("tried to read the record: {error}"))?;
        let (mut letters, mut last) = (Vec::with_capacity(lines.len()), from);
        for text in &lines {
            // One that cannot be read is none to publish; `fraudd audit verify` tells of it.
            let Ok(line) = Line::read(text) else { continue };
            if line.chain != view.chain || line.seq <= last {
                continue;
            }
            if line.seq > last + 1 {
                LinesGone { from: last + 1, until: line.seq - 1 }.emit();
            }
            last = line.seq;
            letters.push(self.letter(&topic, &line, text));
        }
        if letters.is_empty() {
            return Ok(0);
        }
        self.hand_over("audit", &letters)?;
        self.sources.place.keep(&view.chain, last).map_err(|error| format!("tried to keep the position: {error}"))?;
        Ok(letters.len())
    }

    fn letter(&self, topic: &str, line: &Line<'_>, text: &str) -> Letter {
        let id = format!("{}:{}", line.chain, line.seq);
        let mut headers = events(RECORDED, &self.options.source, (&id, &line.at.to_string()));
        headers.push((SEQUENCE_HEADER.to_owned(), Some(line.seq.to_string().into_bytes())));
        Letter { topic: topic.to_owned(), key: line.chain.clone(), payload: text.to_owned(), headers }
    }

    fn hand_over(&mut self, what: &'static str, letters: &[Letter]) -> Result<(), String> {
        match (self.send)(letters, &self.closing) {
            Ok(()) => {
                let is_news = self.stuck.remove(what).is_some();
                Published::Taken { what, count: letters.len(), is_news }.emit();
                Ok(())
            }
            Err(reason) => {
                let is_news = self.stuck.insert(what, reason.clone()).as_ref() != Some(&reason);
                Published::Refused { what, reason: &reason, is_news }.emit();
                Err(reason)
            }
        }
    }

    fn tell_waiting(&self) {
        let lines = self.sources.audit.as_ref().filter(|_| self.options.audit.is_some()).map_or(0, |audit| {
            let view = audit.view();
            view.seq.saturating_sub(self.sources.place.of(&view.chain))
        });
        // A spool that cannot be read has told so above.
        let requests = self.sources.spool.waiting().map_or(0, |waiting| waiting.len());
        Waiting { lines, requests: requests as u64 }.emit();
    }

    /// Works until asked to stop, then sends what is left, once.
    fn run(&mut self, stopped: &Receiver<()>) {
        let mut pause = PAUSE;
        loop {
            let rest = match self.step() {
                // There may be more.
                Ok(1..) => Duration::ZERO,
                Ok(0) => LOOK_EVERY,
                Err(_) => pause,
            };
            pause = if rest == pause { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
            if stopped.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected) {
                while let Ok(1..) = self.step() {}
                return;
            }
        }
    }
}

/// A publisher with its thread.
pub struct Running {
    closing: Shutdown,
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn start(mut publisher: Publisher) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let closing = publisher.closing.clone();
        let thread = tasks::thread("fraudd-publish", move || publisher.run(&stopped))?;
        Ok(Self { closing, stop, thread })
    }

    /// Sends what is left, as far as the broker takes it within one try, and ends the thread. Blocks.
    pub fn close(self) {
        self.closing.ask();
        drop(self.stop);
        // Its panic was logged by the hook.
        let _ = self.thread.join();
    }
}

/// Makes what sends over a producer of librdkafka; each batch is waited for at most `wait`. After a failure the next
/// batch gets a new producer: one that has given up stays so, and nothing of the old batch comes late.
///
/// # Errors
/// A configuration that librdkafka refuses.
pub fn sender(client: &ClientConfig, wait: Duration) -> Result<Send, KafkaError> {
    let client = client.clone();
    let make = move || client.create_with_context::<_, BaseProducer<Deliveries>>(Deliveries::default());
    let mut producer = Some(make()?);
    Ok(Box::new(move |letters, closing| {
        let using = match producer.take() {
            Some(producer) => producer,
            None => make().map_err(|error| error.to_string())?,
        };
        send(&using, letters, (wait, closing))?;
        producer = Some(using);
        Ok(())
    }))
}

/// Collects what the broker did not take of a batch.
#[derive(Default)]
struct Deliveries {
    /// How many it took, and the first failure.
    told: Mutex<(usize, Option<String>)>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut told = self.told.lock();
        match result {
            Ok(_) => told.0 += 1,
            Err((error, _)) => drop(told.1.get_or_insert_with(|| error.to_string())),
        }
    }
}

fn send(
    producer: &BaseProducer<Deliveries>,
    letters: &[Letter],
    (wait, closing): (Duration, &Shutdown),
) -> Result<(), String> {
    *producer.context().told.lock() = (0, None);
    for letter in letters {
        let headers = written(&letter.headers);
        let record = BaseRecord::to(&letter.topic).key(&letter.key).payload(&letter.payload).headers(headers);
        producer.send(record).map_err(|(error, _)| error.to_string())?;
    }
    let (end, mut hurry) = (Moment::now().after(wait), None);
    while producer.in_flight_count() > 0 {
        producer.poll(POLL);
        if closing.is_asked() {
            let hurry = *hurry.get_or_insert_with(|| Moment::now().after(CLOSING));
            if hurry.has_passed() {
                break;
            }
        }
        if end.has_passed() {
            break;
        }
    }
    let (taken, failure) = producer.context().told.lock().clone();
    match failure {
        Some(reason) => Err(reason),
        None if taken < letters.len() => Err("the broker did not answer in time".to_owned()),
        None => Ok(()),
    }
}

/// The headers of an event in the binary mode of `CloudEvents`.
fn events(kind: &str, source: &str, (id, time): (&str, &str)) -> Vec<NamedValue> {
    let named = [
        ("ce_specversion", "1.0"),
        ("ce_type", kind),
        ("ce_source", source),
        ("ce_id", id),
        ("ce_time", time),
        ("content-type", "application/json"),
    ];
    named.into_iter().map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec()))).collect()
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(directory)?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;

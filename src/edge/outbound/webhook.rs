//! Events to somebody's URL: `CloudEvents` 1.0, structured JSON over HTTP, signed, tried again within a budget.
//!
//! ```text
//! send(event) ── queue of 64 ──> thread: POST ─ 2xx ─> delivered
//!     └ full: dropped, counted          ├ network, 408, 429, 5xx: again after 1, 2, 4 .. s, 6 tries, within the budget
//!                                       └ else: given up
//! ```
//! The header `x-fraudd-signature: sha256=HEX` is the HMAC-SHA256 (RFC 2104) of the body, when there is a secret. A
//! receiver may get an event twice and knows it by its id. Plain HTTP only: the build holds no TLS client, so an
//! `https` receiver is reached through a forwarder beside us.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::domain::Timestamp;
use crate::tasks;
use crate::telemetry::retraining::WebhookEvent;

/// Events that may wait.
const QUEUE_LEN_MAX: usize = 64;
/// How often one event is tried.
const TRIES_MAX: u32 = 6;
/// Retries there is room for at once, and how many each delivered event gives back.
const BUDGET_MAX: f64 = 20.0;
const BUDGET_BACK: f64 = 0.5;
/// The pause before the second try; doubled each time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest body of an event, in bytes.
const BODY_LEN_MAX: usize = 256 << 10;

/// Where events go.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The URL, `http://`.
    pub url: String,
    /// What signs each body; nothing is signed without.
    pub secret: Option<String>,
    /// How long one try may take.
    pub timeout: Duration,
    /// Who we are, in each event: a URI reference such as `fraudd/pod-0`.
    pub source: String,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = self.secret.as_ref().map(|_| "***");
        let Self { timeout, source, .. } = self;
        // What follows the host may be a token.
        let url: String = self.url.split_inclusive('/').take(3).collect();
        out.debug_struct("Options")
            .field("url", &url)
            .field("secret", &secret)
            .field("timeout", timeout)
            .field("source", source)
            .finish()
    }
}

/// One event, as `CloudEvents` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id: the same event again has the same one.
    pub id: String,
    /// Its type, such as `fraudd.retraining.requested.v1`.
    pub kind: &'static str,
    /// What it is about.
    pub subject: String,
    /// When it happened.
    pub time: Timestamp,
    /// What it says.
    pub data: Value,
}

impl Event {
    /// Writes the body.
    #[must_use]
    pub fn body(&self, source: &str) -> Vec<u8> {
        let Self { id, kind, subject, time, data } = self;
        let event = json!({
            "specversion": "1.0", "id": id, "source": source, "type": kind, "subject": subject,
            "time": time, "datacontenttype": "application/json", "data": data,
        });
        event.to_string().into_bytes()
    }
}

/// Why an event was not taken into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many wait.
    #[error("{QUEUE_LEN_MAX} events wait for the webhook already")]
    Full,
    /// The event is too long.
    #[error("the event is longer than {BODY_LEN_MAX} bytes")]
    TooLong,
    /// The thread has ended.
    #[error("the webhook is closed")]
    Closed,
}

/// A webhook with its thread. Cheap to clone.
#[derive(Clone)]
pub struct Webhook {
    inner: Arc<Inner>,
}

/// An event's id and body.
type Queued = (String, Vec<u8>);

struct Inner {
    source: String,
    queue: Mutex<Option<SyncSender<Queued>>>,
    /// Dropped to stop: a pause ends at once.
    stop: Mutex<Option<SyncSender<()>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Webhook {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's, when no thread can be had.
    pub fn start(options: Options) -> std::io::Result<Self> {
        Self::start_with(options, PAUSE)
    }

    fn start_with(options: Options, pause: Duration) -> std::io::Result<Self> {
        let (queue, events) = sync_channel::<Queued>(QUEUE_LEN_MAX);
        let (stop, stopped) = sync_channel(1);
        let source = options.source.clone();
        // The HTTP client wants to be built and dropped outside of any async runtime: on its own thread.
        let worker = tasks::thread("fraudd-webhook", move || {
            let client = Client::builder().timeout(options.timeout).no_proxy();
            let client = client.redirect(reqwest::redirect::Policy::none()).build();
            let mut caller = Caller { client: client.ok(), options, stopped, pause, budget: BUDGET_MAX };
            while let Ok((id, body)) = events.recv() {
                caller.deliver(&id, &body);
            }
        })?;
        let inner = Inner {
            source,
            queue: Mutex::new(Some(queue)),
            stop: Mutex::new(Some(stop)),
            worker: Mutex::new(Some(worker)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Queues an event; never blocks.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn send(&self, event: &Event) -> Result<(), Refused> {
        let body = event.body(&self.inner.source);
        if body.len() > BODY_LEN_MAX {
            return Err(Refused::TooLong);
        }
        let queue = self.inner.queue.lock();
        match queue.as_ref().map(|queue| queue.try_send((event.id.clone(), body))) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => {
                WebhookEvent::Dropped { id: &event.id }.emit();
                Err(Refused::Full)
            }
            Some(Err(TrySendError::Disconnected(_))) | None => Err(Refused::Closed),
        }
    }

    /// Tries what waits once more and ends the thread; at most one timeout for each of the few that wait. Twice is once.
    pub fn close(&self) {
        drop(self.inner.queue.lock().take());
        drop(self.inner.stop.lock().take());
        if let Some(worker) = self.inner.worker.lock().take() {
            // A thread that panicked has told so; there is nothing more to end.
            let _ = worker.join();
        }
    }
}

/// What the thread works with.
struct Caller {
    client: Option<Client>,
    options: Options,
    stopped: Receiver<()>,
    pause: Duration,
    budget: f64,
}

/// How one try ended.
enum Tried {
    Taken,
    Again(String),
    Never(String),
}

impl Caller {
    fn deliver(&mut self, id: &str, body: &[u8]) {
        let (mut tries, mut pause) = (0, self.pause);
        loop {
            tries += 1;
            let reason = match self.call(body) {
                Tried::Taken => {
                    self.budget = (self.budget + BUDGET_BACK).min(BUDGET_MAX);
                    return WebhookEvent::Delivered { id, tries }.emit();
                }
                Tried::Never(reason) => return WebhookEvent::GivenUp { id, reason: &reason }.emit(),
                Tried::Again(reason) => reason,
            };
            if tries >= TRIES_MAX || self.budget < 1.0 {
                return WebhookEvent::GivenUp { id, reason: &reason }.emit();
            }
            self.budget -= 1.0;
            WebhookEvent::Again { id, reason: &reason }.emit();
            // Nothing is ever sent: it is a pause that ends early when we are closed, and then there is no further try.
            if self.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return WebhookEvent::GivenUp { id, reason: &reason }.emit();
            }
            pause = pause.saturating_mul(2);
        }
    }

    fn call(&self, body: &[u8]) -> Tried {
        let Some(client) = &self.client else { return Tried::Never("no HTTP client can be had".into()) };
        let mut request =
            client.post(&self.options.url).header("content-type", "application/cloudevents+json; charset=utf-8");
        if let Some(secret) = &self.options.secret {
            request = request.header("x-fraudd-signature", signature(secret, body));
        }
        match request.body(body.to_vec()).send() {
            Ok(answer) if answer.status().is_success() => Tried::Taken,
            Ok(answer) => {
                let status = answer.status();
                let reason = format!("it answered {status}");
                let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
                if passes { Tried::Again(reason) } else { Tried::Never(reason) }
            }
            // The URL stays out of the text: it may hold a token.
            Err(error) => {
                let is_ours = error.is_builder();
                let reason = chain(&error.without_url());
                if is_ours { Tried::Never(reason) } else { Tried::Again(reason) }
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Returns what a receiver compares: `sha256=HEX` of the body under the secret.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let mut tag = String::from("sha256=");
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(tag, "{byte:02x}");
        }
    }
    tag
}

/// Tells what is wrong with a URL; `None` when nothing is.
#[must_use]
pub fn url_fault(url: &str) -> Option<&'static str> {
    match reqwest::Url::parse(url) {
        Ok(url) if url.scheme() == "http" && url.host_str().is_some() => None,
        Ok(url) if url.scheme() == "https" => {
            Some("this build speaks plain HTTP: name a forwarder beside it, such as \"http://127.0.0.1:9095/\"")
        }
        Ok(_) | Err(_) => Some("expected a URL, such as \"http://127.0.0.1:9095/hooks/fraud\""),
    }
}

#[cfg(test)]
mod tests;

//! Spans to a collector: built after the fact, queued, and sent by a thread of their own.
//!
//! ```text
//! answered request ── sampled? ──> try_send ──> bounded queue ──> thread ──batch──> OTLP/HTTP
//!                         no: nothing     full: dropped, counted        dead collector: failed, counted
//! ```
//! A request is one span with three children: features, model, rules. Their times come from the
//! decision's own latencies, so tracing adds nothing to the path it measures. A record of the stream is a consumer's
//! span with the same children, linked to its sender's span and ended by the commit.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};

use super::events::SpansLost;
use super::metrics::metrics;
use super::trace::{RemoteSpan, TraceContext, set_sample_ratio};
use crate::domain::{Decision, Timestamp};
use crate::tasks;

/// The most spans that wait.
pub const QUEUE_LEN_MAX: usize = 4_096;
/// The most spans of one export.
pub const BATCH_LEN_MAX: usize = 512;

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The collector's traces URL, such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: String,
    /// The share of traces that begin here and are exported, 0..=1.
    pub sample_ratio: f64,
    /// How long an export may take.
    pub timeout: Duration,
    /// How long spans wait for company.
    pub interval: Duration,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter refuses its configuration.
    #[error("spans cannot be exported to {endpoint}: {reason}")]
    Exporter {
        /// The endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The thread cannot be started.
    #[error("the thread that exports spans cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

static QUEUE: OnceLock<SyncSender<SpanData>> = OnceLock::new();

/// Starts the thread that exports spans; a second call changes nothing.
///
/// # Errors
/// [`Error`] when the exporter or its thread cannot be had.
pub fn start(options: &Options) -> Result<(), Error> {
    let refused = |reason: String| Error::Exporter { endpoint: options.endpoint.clone(), reason };
    let (sender, receiver) = sync_channel(QUEUE_LEN_MAX);
    let (told, answer) = sync_channel(1);
    let settings = options.clone();
    // The HTTP client wants to be built and dropped outside of any async runtime: on its own thread.
    tasks::thread("fraudd-otlp", move || {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(&settings.endpoint)
            .with_timeout(settings.timeout)
            .build();
        match exporter {
            Ok(mut exporter) => {
                exporter.set_resource(&Resource::builder_empty().with_service_name("fraudd").build());
                let _ = told.send(Ok(()));
                run(&receiver, &exporter, settings.interval);
            }
            Err(error) => {
                let _ = told.send(Err(error.to_string()));
            }
        }
    })?;
    answer.recv().map_err(|_| refused("its thread ended".into()))?.map_err(refused)?;
    if QUEUE.set(sender).is_ok() {
        set_sample_ratio(options.sample_ratio);
    }
    Ok(())
}

/// Tells whether spans of this trace are wanted.
#[must_use]
pub fn wants(trace: &TraceContext) -> bool {
    trace.sampled && QUEUE.get().is_some()
}

/// A record of the stream that was decided and committed.
pub struct Consumed<'a> {
    /// Our span over it.
    pub trace: &'a TraceContext,
    /// The sender's, when it told.
    pub sender: Option<&'a RemoteSpan>,
    /// The consumer group.
    pub group: &'a str,
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When deciding it began.
    pub received_at: Timestamp,
    /// When its transaction with the broker was committed.
    pub committed_at: Timestamp,
    /// What was decided.
    pub decision: &'a Decision,
}

/// Queues the spans of one decided request. Never waits.
pub fn record(trace: &TraceContext, decision: &Decision, received_at: Timestamp) {
    queue(spans(trace, decision, received_at));
}

/// Queues the spans of one record of the stream. Never waits.
pub fn consumed(consumed: &Consumed<'_>) {
    queue(consumer_spans(consumed));
}

fn queue(spans: impl IntoIterator<Item = SpanData>) {
    let Some(queue) = QUEUE.get() else { return };
    for span in spans {
        if queue.try_send(span).is_err() {
            metrics().spans[1].inc();
        }
    }
}

/// Builds a request's span and its three children, one after the other as they ran.
fn spans(trace: &TraceContext, decision: &Decision, received_at: Timestamp) -> [SpanData; 4] {
    let start = micros(received_at);
    let latency = decision.latency;
    let mut request = span(trace, trace.span_id, trace.parent_id.unwrap_or(0), "POST /v1/decisions");
    request.span_kind = SpanKind::Server;
    request.parent_span_is_remote = trace.parent_id.is_some();
    request.attributes = attributes(decision);
    set_times(&mut request, start, latency.total);
    let [features, model, rules] = children(trace, decision, start);
    [request, features, model, rules]
}

/// Builds the span of a record: the root of its trace, from the batch to its commit. A decision of another trace,
/// made by a REST door before, has its children there.
fn consumer_spans(consumed: &Consumed<'_>) -> Vec<SpanData> {
    let Consumed { trace, decision, .. } = *consumed;
    let start = micros(consumed.received_at);
    let mut process = span(trace, trace.span_id, 0, format!("process {}", consumed.topic));
    process.span_kind = SpanKind::Consumer;
    process.links.links.extend(consumed.sender.map(link));
    process.attributes = attributes(decision);
    process.attributes.extend([
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.destination.name", consumed.topic.to_owned()),
        KeyValue::new("messaging.destination.partition.id", consumed.partition.to_string()),
        KeyValue::new("messaging.kafka.offset", consumed.offset),
        KeyValue::new("messaging.consumer.group.name", consumed.group.to_owned()),
    ]);
    let took = micros(consumed.committed_at).saturating_sub(start);
    set_times(&mut process, start, u32::try_from(took).unwrap_or(u32::MAX));
    let mut spans = vec![process];
    if decision.trace_id == trace.trace_id {
        spans.extend(children(trace, decision, start));
    }
    spans
}

fn link(sender: &RemoteSpan) -> Link {
    let flags = if sender.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let trace_id = opentelemetry::trace::TraceId::from_bytes(sender.trace_id.0.to_be_bytes());
    let span_id = SpanId::from_bytes(sender.span_id.to_be_bytes());
    Link::with_context(SpanContext::new(trace_id, span_id, flags, true, TraceState::default()))
}

fn attributes(decision: &Decision) -> Vec<KeyValue> {
    vec![
        KeyValue::new("fraudd.transaction_id", decision.transaction_id.to_string()),
        KeyValue::new("fraudd.outcome", decision.outcome.name()),
        KeyValue::new("fraudd.decision_source", decision.source.name()),
        KeyValue::new("fraudd.degraded", !decision.degraded.is_empty()),
        KeyValue::new("fraudd.model_version", decision.release.model_version.clone()),
    ]
}

/// Builds the three children of a decision, one after the other as they ran.
fn children(trace: &TraceContext, decision: &Decision, start: u64) -> [SpanData; 3] {
    let latency = decision.latency;
    let model_at = start + u64::from(latency.features);
    let rules_at = model_at + u64::from(latency.model);
    let child = |name: &'static str, at: u64, micros: u32| {
        let mut child = span(trace, trace.child_id(), trace.span_id, name);
        set_times(&mut child, at, micros);
        child
    };
    [
        child("features", start, latency.features),
        child("model", model_at, latency.model),
        child("rules", rules_at, latency.rules),
    ]
}

fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.micros()).unwrap_or(0)
}

fn set_times(span: &mut SpanData, start_micros: u64, micros: u32) {
    span.start_time = UNIX_EPOCH + Duration::from_micros(start_micros);
    span.end_time = span.start_time + Duration::from_micros(micros.into());
}

fn span(trace: &TraceContext, id: u64, parent: u64, name: impl Into<Cow<'static, str>>) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            opentelemetry::trace::TraceId::from_bytes(trace.trace_id.0.to_be_bytes()),
            SpanId::from_bytes(id.to_be_bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: UNIX_EPOCH,
        end_time: UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("fraudd").build(),
    }
}

/// Sends batches until every sender is gone.
fn run(queue: &Receiver<SpanData>, exporter: &impl SpanExporter, interval: Duration) {
    loop {
        let (batch, is_open) = collect(queue, interval);
        let count = batch.len();
        if count > 0 {
            match block_on(exporter.export(batch)) {
                Ok(()) => metrics().spans[0].inc_by(count as u64),
                Err(error) => SpansLost { count, reason: &error }.emit(),
            }
        }
        if !is_open {
            return;
        }
    }
}

/// Waits for a first span, then up to `interval` for more; the flag tells whether more may come.
fn collect(queue: &Receiver<SpanData>, interval: Duration) -> (Vec<SpanData>, bool) {
    let Ok(first) = queue.recv() else { return (Vec::new(), false) };
    let until = crate::runtime::clock::Moment::now().after(interval);
    let mut batch = vec![first];
    while batch.len() < BATCH_LEN_MAX {
        match queue.recv_timeout(until.remaining()) {
            Ok(span) => batch.push(span),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return (batch, false),
        }
    }
    (batch, true)
}

/// Runs one future on this thread; the exporter's client blocks, so it is ready at once.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::domain::decision::samples::decision;

    fn sampled() -> TraceContext {
        let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        TraceContext::from_header(Some(header))
    }

    #[test]
    fn a_request_is_four_spans_in_a_row() {
        let trace = sampled();
        let [request, features, model, rules] = spans(&trace, &decision("t-1"), Timestamp::from_seconds(100));
        assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(request.end_time, request.start_time + Duration::from_micros(40));
        for child in [&features, &model, &rules] {
            assert_eq!(child.parent_span_id, request.span_context.span_id());
            assert_eq!(child.span_context.trace_id(), request.span_context.trace_id());
        }
        assert_eq!((features.end_time, model.end_time), (model.start_time, rules.start_time));
    }

    #[test]
    fn a_record_is_a_consumers_span_linked_to_its_sender() {
        let sender = RemoteSpan::from_header(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let trace = TraceContext::beside(sender.as_ref());
        let mut decision = decision("t-1");
        decision.trace_id = trace.trace_id;
        let consumed = Consumed {
            trace: &trace,
            sender: sender.as_ref(),
            group: "fraudd",
            topic: "transactions",
            partition: 3,
            offset: 42,
            received_at: Timestamp::from_seconds(100),
            committed_at: Timestamp::from_seconds(101),
            decision: &decision,
        };
        let spans = consumer_spans(&consumed);
        let process = &spans[0];
        assert_eq!((process.name.as_ref(), &process.span_kind), ("process transactions", &SpanKind::Consumer));
        assert_eq!(process.parent_span_id, SpanId::INVALID, "linked, not parented");
        let [link] = process.links.links.as_slice() else { panic!("{:?}", process.links) };
        assert_eq!(link.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(link.span_context.span_id().to_string(), "b7ad6b7169203331");
        assert_ne!(process.span_context.trace_id(), link.span_context.trace_id());
        assert_eq!(process.end_time, process.start_time + Duration::from_secs(1), "it ends with the commit");
        let said = |name: &str| {
            process.attributes.iter().find(|one| one.key.as_str() == name).map(|one| one.value.to_string())
        };
        for (name, value) in [
            ("messaging.system", "kafka"),
            ("messaging.destination.name", "transactions"),
            ("messaging.destination.partition.id", "3"),
            ("messaging.kafka.offset", "42"),
            ("messaging.consumer.group.name", "fraudd"),
            ("fraudd.transaction_id", "t-1"),
        ] {
            assert_eq!(said(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(spans.len(), 4);
        assert!(spans[1..].iter().all(|child| child.parent_span_id == process.span_context.span_id()));
        let trace = TraceContext::beside(None);
        let spans = consumer_spans(&Consumed { trace: &trace, sender: None, ..consumed });
        assert_eq!(
            (spans.len(), spans[0].links.links.len()),
            (1, 0),
            "decided elsewhere, by somebody who traces nothing"
        );
    }

    #[test]
    fn spans_reach_a_collector_and_a_dead_one_costs_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().expect("an address"));
        let second = Duration::from_secs(1);
        let options = Options { endpoint, sample_ratio: 1.0, timeout: second, interval: Duration::from_millis(1) };
        start(&options).expect("started");
        record(&sampled(), &decision("t-1"), Timestamp::from_seconds(100));
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut chunk = [0; 4_096];
        while !request.windows(8).any(|bytes| bytes == b"features") {
            let len = stream.read(&mut chunk).expect("bytes");
            assert_ne!(len, 0, "closed early");
            request.extend_from_slice(&chunk[..len]);
        }
        assert!(request.starts_with(b"POST /v1/traces"));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("answered");
        drop((stream, listener));
        let before = metrics().spans[1].get();
        for _ in 0..QUEUE_LEN_MAX {
            record(&sampled(), &decision("t-2"), Timestamp::from_seconds(100));
        }
        assert!(metrics().spans[1].get() > before, "a full queue must drop and count");
    }
}

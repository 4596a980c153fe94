//! Decisions: ask for one, for many, without consequence, and look at them again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{self, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::body::{self, Kind};
use super::frame::Caller;
use super::parameters::{Named, deadline, mapping, path, query, respond};
use super::service::Service;
use crate::domain::{DegradedReason, EvaluationStatus, Outcome};
use crate::edge::problem::{Code, Problem};
use crate::edge::wire::record;
use crate::edge::wire::reject::pointer_to_item;
use crate::edge::wire::writer::JsonWriter;
use crate::edge::wire::{Batch, Intake, Mapping};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::Record;
use crate::runtime::scorer::{Answer, Request as Scoring};
use crate::runtime::store::OnFailure;
use crate::telemetry::events::{DuplicateAnswered, FieldsIgnored};
use crate::telemetry::{TraceContext, otlp};

/// The most decisions of one page of the feed, and how many come unless asked for.
const PAGE_LEN_MAX: usize = 1_000;
const PAGE_LEN: usize = 100;
/// How many transactions of one batch are scored at the same time.
const BATCH_WIDTH_MAX: usize = 16;
/// A decision with twenty rules is about this long.
const DECISION_BYTES: usize = 3 << 10;

/// What a caller may say beside the body.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wishes {
    explain: bool,
    mapping: Option<String>,
}

/// How the transactions of one request are scored.
#[derive(Clone, Copy)]
struct Terms<'s> {
    mapping: Option<&'s Mapping>,
    explain: bool,
    trace: TraceContext,
    /// From when the deadline counts: the request's arrival, or a batch item's turn.
    arrived: Moment,
    budget: Duration,
}

pub(super) async fn decide(State(service): State<Arc<Service>>, request: Request) -> Response {
    let trace = trace_of(&request);
    decide_one(&service, request, trace).await
}

/// Answers one request for a decision, by whatever way it came in.
pub(super) async fn decide_one<B>(service: &Service, request: http::Request<B>, trace: TraceContext) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let answered = async {
        let terms = terms(service, &request, trace)?;
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Json, limits.body_len_max, limits).await?;
        let scoring = take_in(service, &bytes, terms)?;
        let mut out = Vec::with_capacity(DECISION_BYTES);
        score_into(service, scoring, terms, &mut out).await?;
        Ok(json(out))
    };
    respond(answered.await)
}

pub(super) async fn dry_run(State(service): State<Arc<Service>>, request: Request) -> Response {
    let answered = async {
        let terms = terms(&service, &request, trace_of(&request))?;
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Json, limits.body_len_max, limits).await?;
        let record = service.scorer.dry_run(take_in(&service, &bytes, terms)?).await;
        let mut out = Vec::with_capacity(DECISION_BYTES);
        service.writer.write(&mut out, &record.decision, EvaluationStatus::DryRun, None);
        Ok(json(out))
    };
    respond(answered.await)
}

pub(super) async fn batch(State(service): State<Arc<Service>>, request: Request) -> Response {
    let answered = async {
        let terms = terms(&service, &request, trace_of(&request))?;
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Json, limits.batch_body_len_max, limits).await?;
        let batch = Batch::read(&bytes, limits.batch_len_max)?;
        Ok(json(score_batch(&service, &batch, terms).await))
    };
    respond(answered.await)
}

/// Scores a batch in order, some at the same time, and writes each result or problem in its place.
async fn score_batch(service: &Service, batch: &Batch<'_>, terms: Terms<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(DECISION_BYTES * batch.items.len().max(1));
    out.extend_from_slice(b"{\"results\":[");
    for (chunk_index, chunk) in batch.items.chunks(BATCH_WIDTH_MAX).enumerate() {
        let running = chunk
            .iter()
            .enumerate()
            .map(|(index, item)| score_item(service, item, chunk_index * BATCH_WIDTH_MAX + index, terms));
        for written in join_all(running.map(Box::pin).collect()).await {
            JsonWriter::new(&mut out).item();
            out.extend_from_slice(&written);
        }
    }
    out.extend_from_slice(b"]}");
    out
}

async fn score_item(service: &Service, item: &str, index: usize, terms: Terms<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(DECISION_BYTES);
    let at = pointer_to_item("/transactions", index);
    let terms = Terms { arrived: Moment::now(), ..terms };
    let scored = async {
        let intake = service.contract.read(item.as_bytes(), terms.mapping, service.now());
        let scoring = scoring(service, intake.map_err(|reject| reject.below(&at))?, terms);
        out.extend_from_slice(b"{\"decision\":");
        score_into(service, scoring, terms, &mut out).await
    };
    match scored.await {
        Ok(()) => out.push(b'}'),
        Err(problem) => {
            out.clear();
            out.extend_from_slice(b"{\"problem\":");
            problem.write(&mut out);
            out.push(b'}');
        }
    }
    out
}

/// Waits for all of a bounded number of futures, in order.
async fn join_all<F: Future + Unpin>(mut running: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in running.iter_mut().zip(&mut done) {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = std::pin::Pin::new(future).poll(context)
            {
                *output = Some(ready);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Returns the trace that the frame has taken or begun.
fn trace_of(request: &Request) -> TraceContext {
    let trace = request.extensions().get::<Caller>().map(|caller| caller.trace);
    trace.unwrap_or_else(|| TraceContext::from_header(None))
}

fn terms<'s, B>(service: &'s Service, request: &http::Request<B>, trace: TraceContext) -> Result<Terms<'s>, Problem> {
    let arrived = Moment::now();
    let wishes: Wishes = match request.uri().query() {
        None => Wishes::default(),
        Some(_) => query(request.uri(), "expected explain=true or mapping=NAME")?,
    };
    let headers = request.headers();
    let mapping = mapping(headers, wishes.mapping.as_deref(), &service.mappings)?;
    let budget = deadline(headers, service.limits.deadline)?;
    Ok(Terms { mapping, explain: wishes.explain, trace, arrived, budget })
}

fn take_in(service: &Service, body: &[u8], terms: Terms<'_>) -> Result<Scoring, Problem> {
    let intake = service.contract.read(body, terms.mapping, service.now())?;
    Ok(scoring(service, intake, terms))
}

fn scoring(service: &Service, intake: Intake, terms: Terms<'_>) -> Scoring {
    FieldsIgnored { count: intake.fields_ignored }.emit();
    Scoring {
        transaction: intake.transaction,
        trace_id: terms.trace.trace_id,
        received_at: service.now(),
        started: Moment::now(),
        deadline: terms.arrived.after(terms.budget),
        explain: terms.explain,
        effort: service.effort(),
    }
}

async fn score_into(service: &Service, scoring: Scoring, terms: Terms<'_>, out: &mut Vec<u8>) -> Result<(), Problem> {
    let (received_at, deadline) = (scoring.received_at, scoring.deadline);
    match service.scorer.score(scoring).await {
        Answer::Decided { record, status } => {
            let record = acknowledged(service, record, deadline).await?;
            service.writer.write(out, &record.decision, status, None);
            match status {
                EvaluationStatus::New if otlp::wants(&terms.trace) => {
                    otlp::record(&terms.trace, &record.decision, received_at);
                }
                EvaluationStatus::New | EvaluationStatus::DryRun => {}
                EvaluationStatus::Duplicate => DuplicateAnswered { trace_id: terms.trace.trace_id }.emit(),
            }
            Ok(())
        }
        Answer::Conflict => {
            let detail = "this transaction id was decided with another payload: send the same, or another id";
            Err(Problem::new(Code::IdConflict, detail).at("/transaction_id", "stands for another payload"))
        }
        Answer::InFlight => {
            let detail = "the same transaction id was still being decided at the deadline: ask again";
            Err(Problem::new(Code::InFlight, detail).retry_after(1))
        }
        Answer::Elsewhere => {
            let detail = "another instance decided this transaction: its decision is in the topic of scores";
            Err(Problem::new(Code::DecidedElsewhere, detail))
        }
        Answer::NotRecorded => {
            let detail = "the decision could not be recorded, so it is not answered: send it again";
            Err(Problem::new(Code::NotRecorded, detail).retry_after(1))
        }
        Answer::Unreadable => Err(unreadable()),
    }
}

/// Waits until the broker has the decision, where the settings ask for that; past the deadline what they say of
/// records that could not be kept holds.
async fn acknowledged(service: &Service, record: Arc<Record>, deadline: Moment) -> Result<Arc<Record>, Problem> {
    let Some(outbox) = service.outbox.as_ref().filter(|outbox| outbox.is_awaited()) else { return Ok(record) };
    if outbox.has(&record, deadline).await {
        return Ok(record);
    }
    match service.scorer.ledger().on_failure() {
        OnFailure::Answer => Ok(Arc::new(record.with(DegradedReason::NotRecorded))),
        OnFailure::Refuse => {
            let detail = "the broker did not take the decision in time; it is kept here and will be sent: ask again";
            Err(Problem::new(Code::NotRecorded, detail).retry_after(1))
        }
    }
}

/// What is recorded and cannot be read; the log says why.
fn unreadable() -> Problem {
    let detail = "the record is kept and cannot be read from disk: the service's log says why";
    Problem::new(Code::Unreadable, detail)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Shown {
    features: bool,
}

pub(super) async fn look_up(State(service): State<Arc<Service>>, named: Named<String>, uri: Uri) -> Response {
    let found = async {
        let shown: Shown = query(&uri, "expected features=true")?;
        let id = path(named)?;
        let missing = || Problem::new(Code::NotFound, "no decision of this transaction id is kept");
        let record = service.scorer.ledger().find(&id).await.map_err(|_| unreadable())?.ok_or_else(missing)?;
        let mut out = Vec::with_capacity(DECISION_BYTES);
        write_recorded(&service, &record, shown.features, &mut out);
        Ok(json(out))
    };
    respond(found.await)
}

fn write_recorded(service: &Service, record: &Record, features: bool, out: &mut Vec<u8>) {
    let release = service.scorer.release();
    let names: Vec<&str> = release.schema.features().iter().map(|feature| feature.name.as_str()).collect();
    // Names are those of the schema in force; a vector of another schema is not shown under wrong names.
    let is_same_schema = release.facts.schema_hash == record.decision.release.schema_hash;
    if features && is_same_schema {
        record::write(&service.writer, out, record, &names);
    } else {
        service.writer.write(out, &record.decision, EvaluationStatus::New, None);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: u64,
    outcome: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn feed(State(service): State<Arc<Service>>, uri: Uri) -> Response {
    let listed = async {
        let asked: Page = query(&uri, "expected after=CURSOR, outcome=NAME and limit=1..1000")?;
        let outcome = asked.outcome.as_deref().map(|name| Outcome::parse(name).ok_or(name));
        let Ok(outcome) = outcome.transpose() else {
            let detail = "outcome: expected approve, review, challenge or decline";
            return Err(Problem::new(Code::InvalidParameter, detail));
        };
        let limit = asked.limit.unwrap_or(PAGE_LEN);
        if !(1..=PAGE_LEN_MAX).contains(&limit) {
            return Err(Problem::new(Code::InvalidParameter, "limit: expected 1 to 1000"));
        }
        let page = service.scorer.ledger().after(asked.after, outcome, limit).await.map_err(|_| unreadable())?;
        let mut out = Vec::with_capacity(DECISION_BYTES * page.records.len().max(1));
        out.extend_from_slice(b"{\"decisions\":[");
        for record in &page.records {
            JsonWriter::new(&mut out).item();
            write_recorded(&service, record, false, &mut out);
        }
        let mut json_out = JsonWriter::new(&mut out);
        json_out.close(b']');
        json_out.key("next");
        json_out.count(page.next);
        json_out.close(b'}');
        Ok(json(out))
    };
    respond(listed.await)
}

/// Answers with JSON that is written already.
pub(super) fn json(out: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], out).into_response()
}

//! The door of raw calls: permit, body, model, rows, answer; each call counted once, however it ends.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{self, Packing, Parts};
use super::errors;
use super::request::{self, Bounds};
use super::response::{self, Choice};
use super::tensor::{self, Rows};
use super::{Meant, Named, Options, Protocol, Room};
use crate::edge::http::body::{Kind, read};
use crate::edge::problem::{Code, Problem};
use crate::runtime::clock::Moment;
use crate::runtime::inference::ModelFailure;
use crate::runtime::inference::raw::Signature;
use crate::runtime::inference::tally::CallTimes;
use crate::runtime::slot::Model;
use crate::telemetry::inference::{CallAnswered, CallRefused, CallResult};

/// Bodies longer than this, and packed ones, are read off the async threads, in bytes.
const INLINE_LEN_MAX: usize = 32 << 10;
/// The most outputs a call may name, unless the model gives more.
const OUTPUTS_MAX: usize = 64;

pub(super) async fn infer(State(room): State<Room>, named: Named, request: Request) -> Response {
    let started = Moment::now();
    match answer(&room, named, request, started).await {
        Ok(response) => response,
        Err(Refusal { problem, result, model, reason }) => {
            CallRefused { result, reason: reason.as_deref() }.emit();
            if let Some(model) = model {
                model.inference.tally().failed(started.elapsed());
            }
            problem.into_response()
        }
    }
}

/// Why a call is not answered, and whose statistics say so.
struct Refusal {
    problem: Problem,
    result: CallResult,
    model: Option<Arc<Model>>,
    reason: Option<Arc<str>>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let is_late = problem.code() == Code::DeadlineExceeded;
        let result = if is_late { CallResult::Deadline } else { CallResult::Refused };
        Self { problem, result, model: None, reason: None }
    }
}

impl Refusal {
    fn of(model: &Arc<Model>) -> impl Fn(Problem) -> Self {
        let model = Arc::clone(model);
        move |problem| Self { model: Some(Arc::clone(&model)), ..problem.into() }
    }

    fn failed(model: Arc<Model>, failure: ModelFailure) -> Self {
        let problem = errors::from_failure(&failure);
        let (result, reason) = match failure {
            ModelFailure::QueueFull => (CallResult::Busy, None),
            ModelFailure::Timeout => (CallResult::Deadline, None),
            ModelFailure::Failed(reason) => (CallResult::Failed, Some(reason)),
            ModelFailure::NotFinite | ModelFailure::OutOfRange => (CallResult::Failed, None),
        };
        Self { problem, result, model: Some(model), reason }
    }
}

/// What a body asks for.
struct Asked {
    id: Option<String>,
    timeout: Option<u64>,
    rows: Rows,
    choice: Choice,
}

async fn answer(room: &Room, named: Named, request: Request, started: Moment) -> Result<Response, Refusal> {
    let (service, options) = (&room.service, &room.protocol.options);
    let headers = request.headers().clone();
    let Ok(_permit) = room.protocol.permits.try_acquire() else {
        // Read away, so that the connection can be used again.
        let _too_large = read(request, Kind::Any, 0, &service.limits).await;
        let problem = Problem::new(Code::TooManyRequests, "as many raw calls run as may at once: come back later");
        return Err(Refusal { result: CallResult::Busy, ..problem.retry_after(1).into() });
    };
    let bytes = read(request, Kind::Any, options.body_len_max, &service.limits).await?;
    let model = room.model(&Meant::read(named)?)?;
    let refused = Refusal::of(&model);
    let latest = started.after(options.deadline);
    let Asked { id, timeout, rows, choice } =
        decode(&room.protocol, &model, headers, bytes, latest).await.map_err(&refused)?;
    let decode = started.elapsed();
    let timeout = timeout.filter(|micros| *micros > 0).map(Duration::from_micros);
    let deadline = timeout.map_or(latest, |timeout| started.after(timeout).min(latest));
    let count = rows.count;
    let answered = model.inference.call(rows.cells, deadline).await;
    let answered = answered.map_err(|failure| Refusal::failed(Arc::clone(&model), failure))?;
    let ran = started.elapsed();
    let response = response::write(&model, id.as_deref(), &choice, count, &answered);
    let total = started.elapsed();
    let encode = total.saturating_sub(ran);
    let times = CallTimes { total, decode, queue: answered.queued, run: answered.ran, encode };
    let now_ms = u64::try_from(service.now().micros() / 1_000).unwrap_or(0);
    model.inference.tally().answered(times, count, answered.runs, now_ms);
    let not_finite = answered.outputs.iter().map(crate::runtime::inference::raw::Numbers::not_finite).sum();
    CallAnswered { times, rows: count, not_finite }.emit();
    Ok(response)
}

/// Reads a body: small ones here, others off the async threads, when their turn comes.
async fn decode(
    protocol: &Protocol,
    model: &Arc<Model>,
    headers: HeaderMap,
    bytes: Bytes,
    deadline: Moment,
) -> Result<Asked, Problem> {
    let packing = Packing::of(&headers)?;
    if packing == Packing::Plain && bytes.len() <= INLINE_LEN_MAX {
        return ask(model.inference.signature(), &headers, packing, bytes, &protocol.options);
    }
    let turn = turn(&protocol.readers, deadline).await?;
    let (model, options) = (Arc::clone(model), protocol.options.clone());
    let asked = tokio::task::spawn_blocking(move || {
        // Kept to the end of the work, also when the caller goes.
        let _turn = turn;
        ask(model.inference.signature(), &headers, packing, bytes, &options)
    });
    asked.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

async fn turn(readers: &Arc<Semaphore>, deadline: Moment) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = tokio::time::timeout(deadline.remaining(), Arc::clone(readers).acquire_owned()).await;
    // The semaphore is never closed; if it were, no turn could come any more.
    let late = || Problem::new(Code::DeadlineExceeded, "the call's deadline passed before its body was read");
    turn.ok().and_then(Result::ok).ok_or_else(late)
}

fn ask(
    signature: &Signature,
    headers: &HeaderMap,
    packing: Packing,
    bytes: Bytes,
    options: &Options,
) -> Result<Asked, Problem> {
    let unpacked = body::unpack(bytes, packing, options.body_len_max)?;
    match body::part(headers, &unpacked)? {
        Parts::Json(json, binary) => read_json(signature, json, binary, options.rows_max),
        Parts::Tensor(bytes) => {
            let rows = tensor::raw_rows(signature, bytes, options.rows_max)?;
            Ok(Asked { id: None, timeout: None, rows, choice: Choice::binary(signature) })
        }
    }
}

fn read_json(signature: &Signature, json: &[u8], binary: &[u8], rows_max: usize) -> Result<Asked, Problem> {
    let bounds = Bounds {
        inputs: signature.inputs.len(),
        outputs: OUTPUTS_MAX.max(signature.outputs.len()),
        cells: rows_max.saturating_mul(signature.width),
    };
    let mut request = request::Request::read(json, bounds)?;
    let choice = Choice::of(signature, &request.parameters, &request.outputs)?;
    let (id, timeout) = (request.id.take(), request.parameters.timeout);
    let rows = tensor::rows(signature, request, binary, rows_max)?;
    Ok(Asked { id, timeout, rows, choice })
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of the parser need of this door.

    use super::{HeaderMap, Options, Packing, Problem, Rows, Signature};

    /// Reads a body as the door does and returns its rows.
    pub(in super::super) fn rows(signature: &Signature, headers: &HeaderMap, body: &[u8]) -> Result<Rows, Problem> {
        let packing = Packing::of(headers)?;
        let body = body.to_vec().into();
        super::ask(signature, headers, packing, body, &Options::default()).map(|asked| asked.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_a_passed_deadline() {
        let readers = Arc::new(Semaphore::new(1));
        let soon = || Moment::now().after(Duration::from_secs(1));
        let held = turn(&readers, soon()).await.expect("the first turn");
        let late = turn(&readers, soon()).await.expect_err("nobody gave the turn back");
        assert_eq!((late.code(), Refusal::from(late).result), (Code::DeadlineExceeded, CallResult::Deadline));
        drop(held);
        assert!(turn(&readers, soon()).await.is_ok());
    }
}

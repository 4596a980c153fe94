//! A request's body: its type checked, its length bounded, its sender not waited for too long.
//!
//! A body that is too long is read away up to a bound before the answer, so that the connection can be
//! used again; beyond the bound, or when the sender waits for a word first, the connection is closed.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Bytes, HttpBody};
use axum::http::{self, HeaderMap, HeaderValue, header};

use super::service::Limits;
use crate::edge::problem::{Code, Problem};

/// What a door reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON.
    Json,
    /// TOML or plain text.
    Text,
    /// Anything, in any encoding: the door looks itself.
    Any,
}

/// Reads a whole body of at most `len_max` bytes.
pub(super) async fn read<B>(
    request: http::Request<B>,
    kind: Kind,
    len_max: usize,
    limits: &Limits,
) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    let read = async {
        let refused = check_type(&parts.headers, kind).err();
        match refused {
            Some(problem) => Err(discard(body, &parts.headers, problem, limits).await),
            None => collect(body, &parts.headers, len_max, limits).await,
        }
    };
    tokio::time::timeout(limits.body_timeout, read).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", limits.body_timeout.as_secs());
        Err(Problem::new(Code::RequestTimeout, detail).closing())
    })
}

fn check_type(headers: &HeaderMap, kind: Kind) -> Result<(), Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if kind != Kind::Any && encoding.is_some_and(|encoding| encoding != b"identity") {
        return Err(Problem::new(Code::UnsupportedMediaType, "send the body without a content encoding"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let (is_right, detail) = match kind {
        Kind::Json => (essence.eq_ignore_ascii_case(b"application/json"), "send Content-Type: application/json"),
        Kind::Text => {
            let known: [&[u8]; 3] = [b"text/plain", b"application/toml", b"text/toml"];
            (known.iter().any(|known| essence.eq_ignore_ascii_case(known)), "send Content-Type: application/toml")
        }
        Kind::Any => (true, ""),
    };
    if is_right { Ok(()) } else { Err(Problem::new(Code::UnsupportedMediaType, detail)) }
}

async fn collect<B>(mut body: B, headers: &HeaderMap, len_max: usize, limits: &Limits) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let too_large = || Problem::new(Code::BodyTooLarge, format!("the body is longer than {len_max} bytes: send less"));
    if body.size_hint().lower() > len_max as u64 {
        return Err(discard(body, headers, too_large(), limits).await);
    }
    let Some(first) = chunk(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() > len_max {
        return Err(discard(body, headers, too_large(), limits).await);
    }
    // Nearly every body is one chunk: it is used as it came.
    let Some(second) = chunk(&mut body).await? else { return Ok(first) };
    let mut whole = Vec::with_capacity(first.len() + second.len());
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(bytes) = next {
        if whole.len() + bytes.len() > len_max {
            return Err(discard(body, headers, too_large(), limits).await);
        }
        whole.extend_from_slice(&bytes);
        next = chunk(&mut body).await?;
    }
    Ok(whole.into())
}

/// Reads the rest of a body away and returns the problem, which closes the connection when too much is left.
async fn discard<B>(mut body: B, headers: &HeaderMap, problem: Problem, limits: &Limits) -> Problem
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let bound = limits.discard_len_max as u64;
    let waits_for_a_word = headers.contains_key(header::EXPECT);
    if waits_for_a_word || body.size_hint().lower() > bound {
        return problem.closing();
    }
    let mut read = 0;
    loop {
        match chunk(&mut body).await {
            Ok(None) => return problem,
            Ok(Some(bytes)) => read += bytes.len() as u64,
            Err(_) => return problem.closing(),
        }
        if read > bound {
            return problem.closing();
        }
    }
}

async fn chunk<B>(body: &mut B) -> Result<Option<Bytes>, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            // Trailers carry nothing for us.
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(_)) => {
                return Err(Problem::new(Code::MalformedJson, "the body broke off before its end").closing());
            }
        }
    }
}

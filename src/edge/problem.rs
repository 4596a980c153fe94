//! The one place where an error becomes a status code: RFC 9457 `application/problem+json`.
//!
//! ```text
//! wire::Reject, an answer of the runtime, a limit ──> Problem { code, detail, errors } ──> response
//! ```
//! Every code is stable, part of the API, and stands in one table ([`Code::ALL`]), which
//! `docs/api.md` repeats and a test compares. What the client reads here is not what the log says:
//! nothing of the inside, and no value the client sent, comes back.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::FieldErrorCode;
use crate::edge::wire::reject::{FAULTS_MAX, Subject};
use crate::edge::wire::writer::JsonWriter;
use crate::edge::wire::{Fault, Reject};

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is one row of `Code::ALL`")]
pub enum Code {
    MalformedJson,
    InvalidUtf8,
    NestingTooDeep,
    WrongShape,
    InvalidParameter,
    InvalidTensor,
    UnknownMapping,
    Unauthenticated,
    Forbidden,
    ForeignHost,
    ForeignOrigin,
    UnknownRoute,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    InFlight,
    DecidedElsewhere,
    BodyTooLarge,
    BatchTooLarge,
    UnsupportedMediaType,
    InvalidTransaction,
    CardNumber,
    FutureTransaction,
    IdConflict,
    InvalidLabel,
    InvalidListEntry,
    InvalidOverride,
    ListRefused,
    /// The entry belongs to the lists file.
    ListEntryFromFile,
    NotForced,
    ModelInUse,
    ModelRefused,
    OrderRefused,
    TooManyRequests,
    Internal,
    ModelFailed,
    NotServed,
    Draining,
    NotReady,
    NotRecorded,
    Unreadable,
    QueueFull,
    DeadlineExceeded,
}

/// A code's row: its name, its status, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The code.
    pub code: Code,
    /// Its name in JSON and metrics.
    pub name: &'static str,
    /// Its status.
    pub status: StatusCode,
    /// One sentence for people, the same for every occurrence.
    pub title: &'static str,
}

const fn row(code: Code, name: &'static str, status: StatusCode, title: &'static str) -> Row {
    Row { code, name, status, title }
}

impl Code {
    /// Every code, in the order of the enum.
    pub const ALL: [Row; 43] = [
        row(Self::MalformedJson, "malformed_json", StatusCode::BAD_REQUEST, "the body is not JSON"),
        row(Self::InvalidUtf8, "invalid_utf8", StatusCode::BAD_REQUEST, "the body is not UTF-8"),
        row(Self::NestingTooDeep, "nesting_too_deep", StatusCode::BAD_REQUEST, "the body nests too deep"),
        row(Self::WrongShape, "wrong_shape", StatusCode::BAD_REQUEST, "the body is not what this door takes"),
        row(Self::InvalidParameter, "invalid_parameter", StatusCode::BAD_REQUEST, "a parameter or header is wrong"),
        row(Self::InvalidTensor, "invalid_tensor", StatusCode::BAD_REQUEST, "a tensor of the call is wrong"),
        row(Self::UnknownMapping, "unknown_mapping", StatusCode::BAD_REQUEST, "no mapping has this name"),
        row(Self::Unauthenticated, "unauthenticated", StatusCode::UNAUTHORIZED, "an API key is needed"),
        row(Self::Forbidden, "forbidden", StatusCode::FORBIDDEN, "the API key lacks the scope"),
        row(Self::ForeignHost, "foreign_host", StatusCode::FORBIDDEN, "without keys only a loopback Host is served"),
        row(Self::ForeignOrigin, "foreign_origin", StatusCode::FORBIDDEN, "without keys no web page is served"),
        row(Self::UnknownRoute, "unknown_route", StatusCode::NOT_FOUND, "no such route"),
        row(Self::NotFound, "not_found", StatusCode::NOT_FOUND, "nothing is known under this name"),
        row(
            Self::MethodNotAllowed,
            "method_not_allowed",
            StatusCode::METHOD_NOT_ALLOWED,
            "the route has no such method",
        ),
        row(Self::RequestTimeout, "request_timeout", StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
        row(Self::InFlight, "in_flight", StatusCode::CONFLICT, "the same transaction id is being decided"),
        row(
            Self::DecidedElsewhere,
            "decided_elsewhere",
            StatusCode::CONFLICT,
            "another instance decided the same transaction id",
        ),
        row(Self::BodyTooLarge, "body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        row(Self::BatchTooLarge, "batch_too_large", StatusCode::PAYLOAD_TOO_LARGE, "too many items in one body"),
        row(
            Self::UnsupportedMediaType,
            "unsupported_media_type",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type is not served",
        ),
        row(
            Self::InvalidTransaction,
            "invalid_transaction",
            StatusCode::UNPROCESSABLE_ENTITY,
            "fields of the transaction are wrong",
        ),
        row(Self::CardNumber, "card_number", StatusCode::UNPROCESSABLE_ENTITY, "a full card number was sent"),
        row(
            Self::FutureTransaction,
            "future_transaction",
            StatusCode::UNPROCESSABLE_ENTITY,
            "the transaction lies in the future",
        ),
        row(
            Self::IdConflict,
            "id_conflict",
            StatusCode::UNPROCESSABLE_ENTITY,
            "the transaction id was decided with another payload",
        ),
        row(Self::InvalidLabel, "invalid_label", StatusCode::UNPROCESSABLE_ENTITY, "fields of a label are wrong"),
        row(
            Self::InvalidListEntry,
            "invalid_list_entry",
            StatusCode::UNPROCESSABLE_ENTITY,
            "fields of the list entry are wrong",
        ),
        row(
            Self::InvalidOverride,
            "invalid_override",
            StatusCode::UNPROCESSABLE_ENTITY,
            "fields of the override are wrong",
        ),
        row(Self::ListRefused, "list_refused", StatusCode::UNPROCESSABLE_ENTITY, "the list cannot take the change"),
        row(
            Self::ListEntryFromFile,
            "list_entry_from_file",
            StatusCode::CONFLICT,
            "the entry belongs to the lists file",
        ),
        row(Self::NotForced, "not_forced", StatusCode::CONFLICT, "there is no override to end"),
        row(Self::ModelInUse, "model_in_use", StatusCode::CONFLICT, "the model stays where it is"),
        row(Self::ModelRefused, "model_refused", StatusCode::CONFLICT, "the bundle did not pass its gates"),
        row(Self::OrderRefused, "order_refused", StatusCode::CONFLICT, "the order does not fit how things stand"),
        row(Self::TooManyRequests, "too_many_requests", StatusCode::TOO_MANY_REQUESTS, "the service is at its limit"),
        row(Self::Internal, "internal", StatusCode::INTERNAL_SERVER_ERROR, "the service failed"),
        row(Self::ModelFailed, "model_failed", StatusCode::INTERNAL_SERVER_ERROR, "the model failed"),
        row(Self::NotServed, "not_served", StatusCode::NOT_IMPLEMENTED, "this part of the protocol is not served"),
        row(Self::Draining, "draining", StatusCode::SERVICE_UNAVAILABLE, "the service is shutting down"),
        row(Self::NotReady, "not_ready", StatusCode::SERVICE_UNAVAILABLE, "the service cannot answer yet"),
        row(
            Self::NotRecorded,
            "not_recorded",
            StatusCode::SERVICE_UNAVAILABLE,
            "the disk does not take what must be recorded",
        ),
        row(
            Self::Unreadable,
            "unreadable",
            StatusCode::SERVICE_UNAVAILABLE,
            "what is recorded cannot be read from disk",
        ),
        row(Self::QueueFull, "queue_full", StatusCode::SERVICE_UNAVAILABLE, "the queue is full"),
        row(Self::DeadlineExceeded, "deadline_exceeded", StatusCode::GATEWAY_TIMEOUT, "the call's deadline passed"),
    ];

    /// Returns the code's row.
    #[must_use]
    pub const fn row(self) -> Row {
        Self::ALL[self as usize]
    }

    /// Returns the code's place in [`Self::ALL`], for metrics.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().status
    }
}

/// One problem, as told to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    faults: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The content type of problems.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl Problem {
    /// Builds a problem. The detail says what was tried and the cure, without the client's own values.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), faults: Vec::new(), headers: Vec::new() }
    }

    /// Adds one fault of the body.
    #[must_use]
    pub fn at(mut self, pointer: &str, detail: &str) -> Self {
        self.faults.push(Fault::new(pointer, self.code.name(), detail));
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Asks the client to come back after `seconds`.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Tells the client that the connection ends here.
    #[must_use]
    pub fn closing(self) -> Self {
        self.header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// Returns the code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Returns the faults of the body, all of them.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Appends the problem's JSON to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let row = self.code.row();
        let mut json = JsonWriter::new(out);
        json.open(b'{');
        json.key("type");
        json.shown(format_args!("urn:fraudd:problem:{}", row.name));
        json.key("title");
        json.text(row.title);
        json.key("status");
        json.whole(row.status.as_u16());
        json.key("code");
        json.text(row.name);
        json.key("detail");
        json.text(&self.detail);
        if !self.faults.is_empty() {
            json.key("errors");
            json.open(b'[');
            for fault in self.faults.iter().take(FAULTS_MAX) {
                json.item();
                json.open(b'{');
                json.key("pointer");
                json.text(&fault.pointer);
                json.key("code");
                json.text(fault.code);
                json.key("detail");
                json.text(&fault.detail);
                json.close(b'}');
            }
            json.close(b']');
            if self.faults.len() > FAULTS_MAX {
                json.key("errors_omitted");
                json.count((self.faults.len() - FAULTS_MAX) as u64);
            }
        }
        json.close(b'}');
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(256);
        self.write(&mut body);
        let mut headers = HeaderMap::with_capacity(2 + self.headers.len());
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.extend(self.headers);
        let mut response = (self.code.status(), headers, body).into_response();
        // What was refused, for the one place that counts refusals.
        response.extensions_mut().insert(self.code);
        response
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        let detail = reject.to_string();
        match reject {
            Reject::Utf8 { .. } => Self::new(Code::InvalidUtf8, detail).at("", "send UTF-8"),
            Reject::Syntax { pointer, detail: said } => Self::new(Code::MalformedJson, detail).at(&pointer, &said),
            Reject::TooDeep { pointer } => Self::new(Code::NestingTooDeep, detail).at(&pointer, "nests too deep"),
            Reject::Shape { expected } => Self::new(Code::WrongShape, detail).at("", &format!("expected {expected}")),
            Reject::TooMany { .. } => Self::new(Code::BatchTooLarge, detail).at("", "send it in parts"),
            Reject::Fields { subject, faults } => {
                let code = fields_code(subject, &faults);
                Self { faults, ..Self::new(code, detail) }
            }
        }
    }
}

/// Names a refusal of fields: a card number first, because it must be looked into; then the future.
fn fields_code(subject: Subject, faults: &[Fault]) -> Code {
    let has = |code: FieldErrorCode| faults.iter().any(|fault| fault.code == code.name());
    if has(FieldErrorCode::CardNumber) {
        return Code::CardNumber;
    }
    if has(FieldErrorCode::Future) {
        return Code::FutureTransaction;
    }
    match subject {
        Subject::Transaction => Code::InvalidTransaction,
        Subject::Label => Code::InvalidLabel,
        Subject::ListEntry => Code::InvalidListEntry,
        Subject::Override => Code::InvalidOverride,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_are_unique() {
        let mut names: Vec<_> = Code::ALL.iter().map(|row| row.name).collect();
        for (index, row) in Code::ALL.iter().enumerate() {
            assert_eq!(row.code.index(), index, "{}", row.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let page = include_str!("../../docs/api.md");
        let rows = Code::ALL.iter().map(|row| format!("| `{}` | {} | {} |", row.name, row.status.as_u16(), row.title));
        let documented: Vec<_> = page
            .lines()
            .skip_while(|line| !line.starts_with("| code | status |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(str::to_owned)
            .collect();
        assert_eq!(documented, rows.collect::<Vec<_>>());
    }

    #[test]
    fn faults_are_told_with_pointers_and_bounded() {
        let fault = |index: usize| Fault::new(&format!("/f{index}"), "wrong_type", "expected a string");
        let faults = (0..FAULTS_MAX + 3).map(fault).collect();
        let problem = Problem::from(Reject::Fields { subject: Subject::Transaction, faults });
        let mut out = Vec::new();
        problem.write(&mut out);
        let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(read["status"], 422);
        assert_eq!(read["code"], "invalid_transaction");
        assert_eq!(read["errors"][0]["pointer"], "/f0");
        assert_eq!(read["errors"].as_array().map(Vec::len), Some(FAULTS_MAX));
        assert_eq!(read["errors_omitted"], 3);
    }

    #[test]
    fn a_card_number_names_the_problem() {
        let faults = vec![Fault::new("/amount", "missing", ""), Fault::new("/card/token", "card_number", "")];
        assert_eq!(Problem::from(Reject::Fields { subject: Subject::Transaction, faults }).code(), Code::CardNumber);
    }
}

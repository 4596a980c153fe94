//! Allow and deny entries: show, add, remove; effective with the next transaction.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use compact_str::CompactString;
use serde::Deserialize;

use super::body::{self, Kind};
use super::decisions::json;
use super::frame::Caller;
use super::parameters::{Named, path, query, respond};
use super::service::Service;
use crate::edge::problem::{Code, Problem};
use crate::edge::wire::entry;
use crate::edge::wire::writer::JsonWriter;
use crate::runtime::audit;
use crate::runtime::slot::Release;
use crate::scoring::list::{Error, ListEntry, ListKind, Lists};
use crate::telemetry::events::{ListChanged, ListUnsaved};

pub(super) async fn show(State(service): State<Arc<Service>>, named: Named<String>) -> Response {
    let shown = || {
        let list = list(named)?;
        let release = service.scorer.release();
        let mut out = Vec::new();
        out.extend_from_slice(b"{\"entries\":[");
        for entry in release.lists.entries().into_iter().filter(|entry| entry.list == list) {
            JsonWriter::new(&mut out).item();
            write_entry(&mut out, entry);
        }
        out.extend_from_slice(b"]}");
        Ok(json(out))
    };
    respond(shown())
}

pub(super) async fn add(State(service): State<Arc<Service>>, named: Named<String>, request: Request) -> Response {
    let added = async {
        let list = list(named)?;
        let by = caller(&request);
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Json, limits.body_len_max, limits).await?;
        let entry = entry::read(&bytes, list, &by)?;
        let mut out = Vec::new();
        write_entry(&mut out, &entry);
        change(&service, move |release| release.lists.with(entry).map_err(refused)).await?;
        tell(&service, list, ("added", &by));
        Ok((StatusCode::CREATED, json(out)).into_response())
    };
    respond(added.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    value: String,
}

pub(super) async fn remove(State(service): State<Arc<Service>>, named: Named<String>, request: Request) -> Response {
    let uri: Uri = request.uri().clone();
    let by = caller(&request);
    let removed = async {
        let list = list(named)?;
        let listed: Listed = query(&uri, "expected value=VALUE")?;
        let without = move |release: &Release| {
            let is_listed = |entry: &&ListEntry| entry.list == list && entry.value == listed.value;
            if release.lists.entries().into_iter().filter(is_listed).any(|entry| entry.added_by.is_none()) {
                // The next reload would bring it back: who removes it must be told now.
                let detail = "the entry comes from the lists file: remove it there, the change is loaded by itself";
                return Err(Problem::new(Code::ListEntryFromFile, detail));
            }
            release.lists.without(list, &listed.value).map_err(refused)
        };
        change(&service, without).await?;
        tell(&service, list, ("removed", &by));
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    respond(removed.await)
}

/// Puts changed lists in force once they are on disk; off the async threads, because the disk may take its time.
async fn change(
    service: &Arc<Service>,
    make: impl FnOnce(&Release) -> Result<Lists, Problem> + Send + 'static,
) -> Result<(), Problem> {
    let service = Arc::clone(service);
    let changed = tokio::task::spawn_blocking(move || {
        service.scorer.slot().change(|release| {
            let lists = make(release)?;
            if let Some(file) = &service.lists_file {
                file.save(&lists).map_err(|error| unsaved(&error))?;
            }
            Ok(Release { lists: Arc::new(lists), ..release.clone() })
        })
    });
    let changed = changed.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    changed.map(drop)
}

/// Tells log and record; the value is not told, it may be personal.
fn tell(service: &Service, list: ListKind, (change, by): (&'static str, &str)) {
    ListChanged { list: list.name(), change, by }.emit();
    if let Some(healer) = service.healing.get() {
        let told = serde_json::json!({"list": list.name(), "change": change, "by": by});
        healer.audit().note(audit::Kind::List, &told);
    }
}

fn unsaved(error: &dyn std::fmt::Display) -> Problem {
    ListUnsaved { error }.emit();
    Problem::new(Code::NotRecorded, "the list could not be recorded, so nothing was changed: send it again")
        .retry_after(1)
}

fn list(named: Named<String>) -> Result<ListKind, Problem> {
    let unknown = || Problem::new(Code::NotFound, "no such list: there are allow and deny");
    ListKind::parse(&path(named)?).ok_or_else(unknown)
}

fn caller(request: &Request) -> CompactString {
    request.extensions().get::<Caller>().map_or(CompactString::const_new("anonymous"), |caller| caller.name.clone())
}

fn refused(error: Error) -> Problem {
    let code = match error {
        Error::Full => Code::ListRefused,
        Error::NotFound(_) => Code::NotFound,
    };
    Problem::new(code, error.to_string())
}

fn write_entry(out: &mut Vec<u8>, entry: &ListEntry) {
    let mut json = JsonWriter::new(out);
    json.open(b'{');
    for (key, text) in [("field", entry.field_path().as_str()), ("value", &entry.value), ("reason", &entry.reason)] {
        json.key(key);
        json.text(text);
    }
    if let Some(expires_at) = entry.expires_at {
        json.key("expires_at");
        json.shown(expires_at);
    }
    if let Some(by) = &entry.added_by {
        json.key("added_by");
        json.text(by);
    }
    json.close(b'}');
}

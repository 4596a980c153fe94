//! Entities: what is known of a card, a customer, a device now.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::decisions::json;
use super::parameters::{Named, path, respond};
use super::service::Service;
use crate::edge::problem::{Code, Problem};
use crate::edge::wire::writer::JsonWriter;

pub(super) async fn show(State(service): State<Arc<Service>>, named: Named<(String, String)>) -> Response {
    let shown = || {
        let (kind, id) = path(named)?;
        let release = service.scorer.release();
        let unknown = || Problem::new(Code::NotFound, "nothing is known of such an entity");
        let view = service.scorer.entities().describe(&kind, &id, service.now(), &release.plan).ok_or_else(unknown)?;
        let mut out = Vec::new();
        let mut json_out = JsonWriter::new(&mut out);
        json_out.open(b'{');
        json_out.key("kind");
        json_out.text(&kind);
        json_out.key("id");
        json_out.text(&id);
        json_out.key("events");
        json_out.count(view.events);
        for (key, instant) in [("first", view.first), ("last", view.last)] {
            if let Some(instant) = instant {
                json_out.key(key);
                json_out.shown(instant);
            }
        }
        json_out.key("capped");
        json_out.flag(view.capped);
        json_out.key("features");
        json_out.open(b'{');
        for (name, value) in &view.features {
            json_out.item();
            json_out.text(name);
            json_out.raw(b":");
            json_out.serde(value);
        }
        json_out.close(b'}');
        json_out.close(b'}');
        Ok(json(out))
    };
    respond(shown())
}

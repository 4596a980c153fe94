//! Labels: what became of transactions, one or up to 1,000 at once.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::body::{self, Kind};
use super::decisions::json;
use super::parameters::respond;
use super::service::Service;
use crate::edge::problem::{Code, Problem};
use crate::edge::wire::label;
use crate::edge::wire::writer::JsonWriter;
use crate::runtime::entities::LabelOutcome;
use crate::telemetry::events::LabelReceived;
use crate::telemetry::metrics::LABEL_OUTCOMES;

/// Takes labels; all of a body, or none of it when one is wrong.
pub(super) async fn take(State(service): State<Arc<Service>>, request: Request) -> Response {
    let taken = async {
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Json, limits.batch_body_len_max, limits).await?;
        let (labels, is_list) = label::read(&bytes)?;
        let mut out = Vec::with_capacity(96 * labels.len());
        if is_list {
            out.extend_from_slice(b"{\"results\":[");
        }
        let unrecorded = || {
            let detail = "the labels could not be recorded: send them again";
            Problem::new(Code::NotRecorded, detail).retry_after(1)
        };
        let outcomes = service.scorer.label(&labels).await.ok_or_else(unrecorded)?;
        for (label, outcome) in labels.iter().zip(outcomes) {
            let outcome = place(outcome);
            LabelReceived { kind: label.kind, outcome }.emit();
            let mut json = JsonWriter::new(&mut out);
            json.item();
            json.open(b'{');
            json.key("transaction_id");
            json.text(&label.transaction_id);
            json.key("result");
            json.text(LABEL_OUTCOMES[outcome]);
            json.close(b'}');
        }
        if is_list {
            out.extend_from_slice(b"]}");
        }
        Ok(json(out))
    };
    respond(taken.await)
}

const fn place(outcome: LabelOutcome) -> usize {
    match outcome {
        LabelOutcome::Applied => 0,
        LabelOutcome::Pending => 1,
        LabelOutcome::Unchanged => 2,
    }
}

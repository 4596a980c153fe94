//! A feature vector out: what a decision was made of, by name, for training and for people.
//!
//! ```text
//! {"transaction_id":..,"decision_id":..,"occurred_at":..,"schema_hash":..,"features":{NAME: number | null, ..},"missing":[NAME, ..]}
//! ```
//! A missing feature stands with the value the model was given in its place, and is named in `missing`.

use super::writer::JsonWriter;
use crate::runtime::decisions::Record;
use crate::scoring::feature::Schema;

/// Appends the vector of a record; `schema` is the one it was computed with.
pub fn write(out: &mut Vec<u8>, record: &Record, schema: &Schema) {
    let mut json = JsonWriter::new(out);
    json.open(b'{');
    json.key("transaction_id");
    json.text(record.transaction.id());
    json.key("decision_id");
    json.hex("dec_", record.decision.id.0);
    json.key("occurred_at");
    json.shown(record.transaction.occurred_at());
    json.key("schema_hash");
    json.text(schema.hash());
    json.key("features");
    json.open(b'{');
    for (feature, value) in schema.features().iter().zip(record.features.values()) {
        json.key(&feature.name);
        json.double(*value);
    }
    json.close(b'}');
    json.key("missing");
    json.open(b'[');
    for (index, feature) in schema.features().iter().enumerate() {
        if record.features.is_missing(index) {
            json.item();
            json.text(&feature.name);
        }
    }
    json.close(b']');
    json.close(b'}');
}

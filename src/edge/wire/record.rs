//! A recorded decision with its evidence: what `GET /v1/decisions/{id}?features=true` shows, and back.
//!
//! ```text
//! { ..decision.., "features": {..}, "transaction": {..}, "inputs": {"standin": {..}, "lists": [..]} }
//! ```
//! Enough to decide again (`fraudd audit reproduce`). Reading gives back only what reproduction looks at:
//! codes of reasons, not their texts.

use serde_json::{Map, Value, json};
use smallvec::SmallVec;
use std::sync::Arc;

use super::contract::Contract;
use super::decision::{DecisionWriter, FeatureNames};
use crate::domain::transaction::Attribute;
use crate::domain::{
    Decision, DecisionId, DecisionSource, DegradedReason, EvaluationStatus, FeatureVector, Field, FieldRef, Latency,
    Outcome, Reason, ReasonSource, ReleaseFacts, RuleVerdict, Score, Thresholds, Timestamp, TraceId, Transaction,
};
use crate::runtime::decisions::{Cursor, ListHit, Origin, Record};
use crate::scoring::list::ListKind;

/// Appends a record; `names` are those of its feature vector.
pub fn write(writer: &DecisionWriter, out: &mut Vec<u8>, record: &Record, names: FeatureNames<'_>) {
    writer.write(out, &record.decision, EvaluationStatus::New, Some((names, &record.features)));
    let lists: Vec<Value> = record.list_hits.iter().map(list_hit).collect();
    let evidence = json!({
        "transaction": transaction(&record.transaction),
        "inputs": {"standin": record.standin, "lists": lists, "received_at": record.received_at},
    });
    // The decision's closing brace gives way to the evidence.
    out.pop();
    out.push(b',');
    out.extend_from_slice(&evidence.to_string().as_bytes()[1..]);
}

fn list_hit(hit: &ListHit) -> Value {
    let field = match &hit.field {
        FieldRef::Known(field) => field.path().to_owned(),
        FieldRef::Attribute(name) => format!("attributes.{name}"),
    };
    json!({"list": hit.list.name(), "field": field, "reason": hit.reason})
}

/// Shows a transaction as the contract's JSON: reading it again gives the same one.
#[must_use]
pub fn transaction(transaction: &Transaction) -> Value {
    let mut root = Map::new();
    for (field, path, _) in Field::all() {
        let value = match (field, transaction.value(field)) {
            // Derived from the rates, not sent.
            (Field::BaseAmount, _) | (_, crate::domain::Value::Absent) => continue,
            (Field::OccurredAt, _) => json!(transaction.occurred_at()),
            (_, crate::domain::Value::Text(text)) => json!(text),
            (_, crate::domain::Value::Int(number)) => json!(number),
            (_, crate::domain::Value::Float(number)) => json!(number),
            (_, crate::domain::Value::Bool(flag)) => json!(flag),
        };
        match path.split_once('.') {
            None => drop(root.insert(path.into(), value)),
            Some((object, name)) => {
                let object = root.entry(object).or_insert_with(|| Value::Object(Map::new()));
                object[name] = value;
            }
        }
    }
    if !transaction.attributes().is_empty() {
        let attributes = transaction.attributes().iter().map(|(name, value)| (name.to_string(), attribute(value)));
        root.insert("attributes".into(), Value::Object(attributes.collect()));
    }
    Value::Object(root)
}

fn attribute(value: &Attribute) -> Value {
    match value {
        Attribute::Bool(flag) => json!(flag),
        Attribute::Int(number) => json!(number),
        Attribute::Float(number) => json!(number),
        Attribute::Text(text) => json!(text),
    }
}

/// Reads a record back; `names` are those of the schema it was made with.
///
/// # Errors
/// The first thing that is missing or not as [`write()`] writes it.
pub fn read(body: &[u8], contract: &Contract, names: FeatureNames<'_>) -> Result<Record, String> {
    let root: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let sent = need(&root, "transaction")?.to_string();
    let intake = contract.read(sent.as_bytes(), None, Timestamp::MAX);
    let transaction = intake.map_err(|reject| format!("transaction: {reject}"))?.transaction;
    let inputs = need(&root, "inputs")?;
    let payload_hash = transaction.payload_hash();
    Ok(Record {
        decision: decision(&root, payload_hash)?,
        payload_hash,
        features: features(need(&root, "features")?, names)?,
        standin: typed(inputs, "standin")?,
        list_hits: list_hits(need(inputs, "lists")?)?,
        received_at: typed(inputs, "received_at")?,
        transaction,
        cursor: Cursor::default(),
        origin: Origin::Rest,
    })
}

fn need<'a>(value: &'a Value, key: &str) -> Result<&'a Value, String> {
    value.get(key).ok_or_else(|| format!("{key} is missing: ask with ?features=true"))
}

fn typed<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> Result<T, String> {
    T::deserialize(need(value, key)?).map_err(|error| format!("{key}: {error}"))
}

fn optional<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> Result<Option<T>, String> {
    value.get(key).map(|_| typed(value, key)).transpose()
}

fn features(value: &Value, names: FeatureNames<'_>) -> Result<FeatureVector, String> {
    let mut vector = FeatureVector::with_capacity(names.len());
    for name in names {
        let feature = need(value, name)?;
        let number = feature["value"].as_f64().unwrap_or(f64::NAN);
        let computed = (!typed::<bool>(feature, "missing")?).then_some(number);
        vector.push(computed, number);
    }
    Ok(vector)
}

fn list_hits(value: &Value) -> Result<Vec<ListHit>, String> {
    let read = |hit: &Value| {
        let text = |key: &str| hit[key].as_str().unwrap_or_default();
        let list = ListKind::parse(text("list"))?;
        Some(ListHit { list, field: FieldRef::parse(text("field"))?, reason: text("reason").into() })
    };
    let hits = value.as_array().into_iter().flatten();
    hits.map(|hit| read(hit).ok_or_else(|| format!("inputs.lists: not a list hit: {hit}"))).collect()
}

fn decision(root: &Value, payload_hash: u128) -> Result<Decision, String> {
    let score: Option<f64> = root.get("score").and_then(Value::as_f64);
    let score = score.map(Score::new).transpose().map_err(|error| error.to_string())?;
    let degraded: SmallVec<[DegradedReason; 2]> =
        typed::<Vec<DegradedReason>>(root, "degraded_reasons")?.into_iter().collect();
    Ok(Decision {
        id: DecisionId(payload_hash),
        transaction_id: typed(root, "transaction_id")?,
        outcome: typed::<Outcome>(root, "outcome")?,
        score,
        risk_score: typed(root, "risk_score")?,
        reasons: reasons(need(root, "reasons")?)?,
        rules: need(root, "rules")?.as_array().into_iter().flatten().map(verdict).collect::<Result<_, _>>()?,
        explanation_omitted: None,
        release: Arc::new(release(root)?),
        source: typed::<DecisionSource>(root, "decision_source")?,
        degraded,
        latency: Latency::default(),
        trace_id: TraceId::default(),
        evaluated_at: typed(root, "evaluated_at")?,
    })
}

fn reasons(value: &Value) -> Result<SmallVec<[Reason; 4]>, String> {
    let read = |reason: &Value| {
        Ok(Reason {
            code: typed::<String>(reason, "code")?.into(),
            description: "".into(),
            contribution: reason["contribution"].as_f64(),
            source: typed::<ReasonSource>(reason, "source")?,
            decisive: typed(reason, "decisive")?,
        })
    };
    value.as_array().into_iter().flatten().map(read).collect()
}

fn verdict(rule: &Value) -> Result<RuleVerdict, String> {
    match (rule["outcome"].as_str(), rule["absent"].as_bool()) {
        (Some("hit"), _) => Ok(RuleVerdict::Hit),
        (Some("no_hit"), Some(true)) => Ok(RuleVerdict::Absent),
        (Some("no_hit"), _) => Ok(RuleVerdict::NoHit),
        (Some("error"), _) => Ok(RuleVerdict::Error),
        _ => Err(format!("rules: not a verdict: {rule}")),
    }
}

fn release(root: &Value) -> Result<ReleaseFacts, String> {
    let model = need(root, "model")?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    Ok(ReleaseFacts {
        model_name: text(model, "name"),
        model_version: text(model, "version"),
        model_sha256: text(model, "sha256"),
        model_role: text(model, "role"),
        rules_version: text(root, "rules_version"),
        policy_version: text(root, "policy_version"),
        schema_hash: text(root, "schema_hash"),
        rates_version: text(root, "rates_version"),
        thresholds: typed::<Thresholds>(root, "thresholds")?,
        rules: Vec::new(),
        second: optional(root, "second_model")?,
        calibration: optional(root, "calibration")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::samples;
    use crate::domain::transaction::samples::transaction_at;
    use crate::domain::{Currency, RateTable, TextField};
    use crate::scoring::decide::policy::StandinLoad;

    fn contract() -> Contract {
        Contract::new(Arc::new(RateTable::identity(Currency::EUR)))
    }

    fn record() -> Record {
        let transaction = transaction_at("t-1", "2026-03-01T10:00:00.25Z", 1_250, |draft| {
            draft.text(TextField::CustomerId, "c-1");
            draft.text(TextField::CardBin, "411111");
            draft.text(TextField::Channel, "pos");
            draft.latitude(48.85);
            draft.longitude(2.35);
            draft.attribute("tier", Attribute::Text("gold".into()));
            draft.attribute("visits", Attribute::Int(3));
        });
        let mut features = FeatureVector::with_capacity(3);
        features.push(Some(0.1 + 0.2), 0.0);
        features.push(None, f64::NAN);
        features.push(None, -1.0);
        let payload_hash = transaction.payload_hash();
        Record {
            decision: Decision { id: DecisionId(payload_hash), ..samples::decision("t-1") },
            payload_hash,
            transaction,
            features,
            standin: StandinLoad { entity_total: 5_000, review_share: 0.25 },
            list_hits: vec![ListHit {
                list: ListKind::Deny,
                field: FieldRef::parse("attributes.tier").expect("a field"),
                reason: "test".into(),
            }],
            received_at: Timestamp::from_seconds(1_772_359_200),
            cursor: Cursor::new(7),
            origin: Origin::Rest,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (record, names) = (record(), ["a", "b", "c"]);
        let mut out = Vec::new();
        write(&DecisionWriter::default(), &mut out, &record, &names);
        let again = read(&out, &contract(), &names).expect("readable");
        assert_eq!(again.transaction, record.transaction);
        assert_eq!((again.standin, &again.list_hits), (record.standin, &record.list_hits));
        assert_eq!(again.received_at, record.received_at);
        for place in 0..3 {
            assert_eq!(again.features.get(place), record.features.get(place));
            assert_eq!(again.features.values()[place].to_bits(), record.features.values()[place].to_bits());
        }
        let (then, now) = (&record.decision, &again.decision);
        assert_eq!((then.outcome, then.score, then.risk_score), (now.outcome, now.score, now.risk_score));
        assert_eq!((then.source, &then.rules, &then.degraded), (now.source, &now.rules, &now.degraded));
        assert_eq!(then.release.model_sha256, now.release.model_sha256);
        assert_eq!(then.reasons.len(), now.reasons.len());
    }

    #[test]
    fn a_decision_without_its_evidence_is_refused() {
        let mut out = Vec::new();
        DecisionWriter::default().write(&mut out, &samples::decision("t-1"), EvaluationStatus::New, None);
        let refused = read(&out, &contract(), &[]).expect_err("refused");
        assert!(refused.contains("?features=true"), "{refused}");
    }
}

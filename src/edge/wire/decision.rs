//! A decision out: the contract's JSON, field by field, in its order.
//!
//! ```text
//! Decision ──┬─ what is its own         written each time
//!            └─ what its release shares  written once per release, then copied (Fragments)
//! ```
//! `rules` tells every active rule. `outcome` is `hit`, `no_hit` or `error`; a rule that read something
//! absent is `no_hit` with `"absent": true`. `weight` is what the rule adds, by its outcome.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::writer::JsonWriter;
use crate::domain::{Decision, EvaluationStatus, FeatureVector, ReasonSource, ReleaseFacts, RuleFacts, RuleVerdict};

/// Writes decisions, remembering what those of one release share. One for the whole service.
#[derive(Debug, Default)]
pub struct DecisionWriter {
    latest: ArcSwapOption<Fragments>,
}

/// What all decisions of one release repeat, as JSON.
#[derive(Debug)]
struct Fragments {
    release: Arc<ReleaseFacts>,
    /// `"thresholds":{..},`
    thresholds: Vec<u8>,
    /// `"model":{..},"rules_version":..,` up to `rates_version`.
    versions: Vec<u8>,
    /// Per rule: one object for each verdict.
    rules: Vec<[Box<[u8]>; 4]>,
}

/// The names of the features of a vector, in its order.
pub type FeatureNames<'a> = &'a [&'a str];

impl DecisionWriter {
    /// Appends one decision to `out`; with `features`, also its vector by name.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        decision: &Decision,
        status: EvaluationStatus,
        features: Option<(FeatureNames<'_>, &FeatureVector)>,
    ) {
        let fragments = self.fragments(&decision.release);
        let mut json = JsonWriter::new(out);
        json.open(b'{');
        write_head(&mut json, decision);
        json.item();
        json.raw(&fragments.thresholds);
        write_reasons(&mut json, decision);
        json.key("rules");
        json.open(b'[');
        for (rule, verdict) in fragments.rules.iter().zip(&decision.rules) {
            json.item();
            json.raw(&rule[slot(*verdict)]);
        }
        json.close(b']');
        json.item();
        json.raw(&fragments.versions);
        write_tail(&mut json, decision, status);
        if let Some((names, vector)) = features {
            write_features(&mut json, names, vector);
        }
        json.close(b'}');
    }

    /// Returns the release's fragments, building them when the last written decision was of another.
    fn fragments(&self, release: &Arc<ReleaseFacts>) -> Arc<Fragments> {
        if let Some(latest) = &*self.latest.load()
            && Arc::ptr_eq(&latest.release, release)
        {
            return Arc::clone(latest);
        }
        let fragments = Arc::new(Fragments::new(release));
        self.latest.store(Some(Arc::clone(&fragments)));
        fragments
    }
}

impl Fragments {
    fn new(release: &Arc<ReleaseFacts>) -> Self {
        let mut thresholds = Vec::new();
        let mut json = JsonWriter::new(&mut thresholds);
        json.raw(b"\"thresholds\":");
        json.serde(&release.thresholds);
        let mut versions = Vec::new();
        let mut json = JsonWriter::new(&mut versions);
        json.raw(b"\"model\":");
        if release.model_name.is_empty() {
            json.raw(b"null");
        } else {
            write_model(&mut json, release);
        }
        for (key, text) in [
            ("rules_version", &release.rules_version),
            ("policy_version", &release.policy_version),
            ("schema_hash", &release.schema_hash),
            ("rates_version", &release.rates_version),
        ] {
            json.key(key);
            json.text(text);
        }
        if let Some(second) = &release.second {
            json.raw(b",\"second_model\":");
            json.serde(second);
        }
        if let Some(calibration) = &release.calibration {
            json.raw(b",\"calibration\":");
            json.serde(calibration);
        }
        let rules = release.rules.iter().map(rule_fragments).collect();
        Self { release: Arc::clone(release), thresholds, versions, rules }
    }
}

fn write_model(json: &mut JsonWriter<'_>, release: &ReleaseFacts) {
    json.open(b'{');
    for (key, text) in [
        ("name", &release.model_name),
        ("version", &release.model_version),
        ("sha256", &release.model_sha256),
        ("role", &release.model_role),
    ] {
        json.key(key);
        json.text(text);
    }
    json.close(b'}');
}

const fn slot(verdict: RuleVerdict) -> usize {
    match verdict {
        RuleVerdict::Hit => 0,
        RuleVerdict::NoHit => 1,
        RuleVerdict::Absent => 2,
        RuleVerdict::Error => 3,
    }
}

fn rule_fragments(rule: &RuleFacts) -> [Box<[u8]>; 4] {
    let fragment = |outcome: &str, weight: i32, absent: bool| {
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out);
        json.open(b'{');
        json.key("id");
        json.text(&rule.id);
        json.key("version");
        json.count(rule.version.into());
        json.key("outcome");
        json.text(outcome);
        if absent {
            json.key("absent");
            json.flag(true);
        }
        json.key("weight");
        json.whole(weight);
        if let Some(asked) = rule.asks_for {
            json.key("asks_for");
            json.text(asked.name());
        }
        json.close(b'}');
        out.into_boxed_slice()
    };
    [
        fragment("hit", rule.weight, false),
        fragment("no_hit", rule.weight, false),
        fragment("no_hit", rule.weight, true),
        fragment("error", rule.on_error_weight, false),
    ]
}

fn write_head(json: &mut JsonWriter<'_>, decision: &Decision) {
    json.key("decision_id");
    json.hex("dec_", decision.id.0);
    json.key("transaction_id");
    json.text(&decision.transaction_id);
    json.key("outcome");
    json.text(decision.outcome.name());
    // Absent on any model error: an error must not look like a score (`SC-5`).
    if let Some(score) = decision.score {
        json.key("score");
        json.double(score.get());
    }
    if let (Some(score), Some(map)) = (decision.score, &decision.release.calibration) {
        json.key("probability");
        json.double(map.probability(score.get()));
    }
    json.key("risk_score");
    json.whole(decision.risk_score);
}

fn write_reasons(json: &mut JsonWriter<'_>, decision: &Decision) {
    json.key("reasons");
    json.open(b'[');
    for reason in &decision.reasons {
        json.item();
        json.open(b'{');
        json.key("code");
        json.text(&reason.code);
        json.key("description");
        json.text(&reason.description);
        if let Some(contribution) = reason.contribution {
            json.key("contribution");
            json.double(contribution);
        }
        json.key("source");
        json.text(source_name(reason.source));
        json.key("decisive");
        json.flag(reason.decisive);
        json.close(b'}');
    }
    json.close(b']');
    if let Some(why) = decision.explanation_omitted {
        json.key("explanation_omitted");
        json.text(why);
    }
}

const fn source_name(source: ReasonSource) -> &'static str {
    match source {
        ReasonSource::Model => "model",
        ReasonSource::Rule => "rule",
        ReasonSource::List => "list",
        ReasonSource::Standin => "standin",
        ReasonSource::Policy => "policy",
    }
}

const fn status_name(status: EvaluationStatus) -> &'static str {
    match status {
        EvaluationStatus::New => "new",
        EvaluationStatus::Duplicate => "duplicate",
        EvaluationStatus::DryRun => "dry_run",
    }
}

fn write_tail(json: &mut JsonWriter<'_>, decision: &Decision, status: EvaluationStatus) {
    json.key("decision_source");
    json.text(decision.source.name());
    json.key("degraded");
    json.flag(!decision.degraded.is_empty());
    json.key("degraded_reasons");
    json.open(b'[');
    for reason in &decision.degraded {
        json.item();
        json.text(reason.name());
    }
    json.close(b']');
    json.key("evaluation_status");
    json.text(status_name(status));
    json.key("latency_us");
    json.open(b'{');
    let latency = decision.latency;
    for (key, micros) in
        [("total", latency.total), ("features", latency.features), ("rules", latency.rules), ("model", latency.model)]
    {
        json.key(key);
        json.count(micros.into());
    }
    json.close(b'}');
    json.key("trace_id");
    json.hex("", decision.trace_id.0);
    json.key("evaluated_at");
    json.shown(decision.evaluated_at);
}

fn write_features(json: &mut JsonWriter<'_>, names: FeatureNames<'_>, vector: &FeatureVector) {
    json.key("features");
    json.open(b'{');
    for (index, (name, value)) in names.iter().zip(vector.values()).enumerate() {
        json.item();
        json.text(name);
        json.raw(b":");
        json.open(b'{');
        json.key("value");
        json.double(*value);
        json.key("missing");
        json.flag(vector.is_missing(index));
        json.close(b'}');
    }
    json.close(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::samples::{decision, release};

    fn written(decision: &Decision, status: EvaluationStatus) -> String {
        let mut out = Vec::new();
        DecisionWriter::default().write(&mut out, decision, status, None);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_decision_is_the_contract_word_for_word() {
        let expected = concat!(
            r#"{"decision_id":"dec_00000000000000000000000000000001","transaction_id":"t-1","outcome":"review","#,
            r#""score":0.625,"risk_score":745,"thresholds":{"review":0.5,"decline":0.9},"#,
            r#""reasons":[{"code":"AMOUNT_HIGH","description":"amount is \"high\"","contribution":0.25,"#,
            r#""source":"model","decisive":true}],"#,
            r#""rules":[{"id":"velocity","version":3,"outcome":"hit","weight":120},"#,
            r#"{"id":"stolen","version":3,"outcome":"no_hit","absent":true,"weight":0,"asks_for":"decline"}],"#,
            r#""model":{"name":"card-fraud","version":"1","sha256":"ab","role":"active"},"#,
            r#""rules_version":"r","policy_version":"p","schema_hash":"s","rates_version":"x","#,
            r#""decision_source":"model","degraded":true,"degraded_reasons":["rate_missing"],"#,
            r#""evaluation_status":"new","latency_us":{"total":40,"features":5,"rules":2,"model":20},"#,
            r#""trace_id":"0000000000000000000000000000000a","evaluated_at":"2026-03-01T10:00:00Z"}"#,
        );
        assert_eq!(written(&decision("t-1"), EvaluationStatus::New), expected);
    }

    #[test]
    fn an_error_has_no_score_and_no_model_is_null() {
        let mut bare = decision("t-\"1\"");
        bare.score = None;
        bare.degraded.clear();
        bare.reasons.clear();
        bare.explanation_omitted = Some("budget");
        bare.release = Arc::new(ReleaseFacts { model_name: String::new(), rules: vec![], ..(*release()).clone() });
        let read: serde_json::Value = serde_json::from_str(&written(&bare, EvaluationStatus::Duplicate)).expect("JSON");
        assert!(read.get("score").is_none());
        assert_eq!(read["model"], serde_json::Value::Null);
        assert_eq!(read["transaction_id"], "t-\"1\"");
        assert_eq!(read["degraded"], false);
        assert_eq!(read["explanation_omitted"], "budget");
        assert_eq!(read["evaluation_status"], "duplicate");
        assert_eq!(read["rules"], serde_json::json!([]));
    }

    #[test]
    fn features_come_by_name() {
        let mut vector = FeatureVector::with_capacity(2);
        vector.push(Some(1.5), 0.0);
        vector.push(None, f64::NAN);
        let mut out = Vec::new();
        let named: FeatureNames<'_> = &["amount", "gap"];
        DecisionWriter::default().write(&mut out, &decision("t"), EvaluationStatus::New, Some((named, &vector)));
        let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(read["features"]["amount"], serde_json::json!({"value": 1.5, "missing": false}));
        assert_eq!(read["features"]["gap"], serde_json::json!({"value": null, "missing": true}));
    }

    #[test]
    fn decisions_of_two_releases_keep_their_own_rules() {
        let writer = DecisionWriter::default();
        let other = Arc::new(ReleaseFacts { rules: vec![release().rules[1].clone()], ..(*release()).clone() });
        let mut second = decision("t");
        second.release = other;
        let first = decision("t");
        for (decision, rules) in [(&first, 2), (&second, 1), (&first, 2)] {
            let mut out = Vec::new();
            writer.write(&mut out, decision, EvaluationStatus::New, None);
            let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(read["rules"].as_array().map(Vec::len), Some(rules));
        }
    }
}

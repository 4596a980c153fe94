//! Rules: which are in force and how often they hit; and whether a file would be accepted.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::body::{self, Kind};
use super::decisions::json;
use super::parameters::respond;
use super::service::Service;
use crate::edge::problem::{Code, Problem};
use crate::edge::wire::writer::JsonWriter;
use crate::scoring::rule::{Effect, Mode, Rule, RuleSet};

pub(super) async fn show(State(service): State<Arc<Service>>) -> Response {
    let release = service.scorer.release();
    let mut out = Vec::new();
    let mut json_out = JsonWriter::new(&mut out);
    json_out.open(b'{');
    json_out.key("rules_version");
    json_out.text(release.rules.version());
    json_out.key("rules");
    json_out.open(b'[');
    // Counters stand in the order of the rules that are evaluated.
    let mut evaluated = 0;
    for rule in release.rules.rules() {
        let counts = match rule.mode {
            Mode::Off => [0; 3],
            Mode::Active | Mode::Shadow => {
                evaluated += 1;
                release.rule_counters.counts(evaluated - 1)
            }
        };
        json_out.item();
        write_rule(&mut json_out, rule, counts);
    }
    json_out.close(b']');
    json_out.close(b'}');
    json(out)
}

fn write_rule(json: &mut JsonWriter<'_>, rule: &Rule, [hits, absences, errors]: [u64; 3]) {
    json.open(b'{');
    json.key("id");
    json.text(&rule.id);
    json.key("version");
    json.count(rule.version.into());
    json.key("mode");
    json.text(rule.mode.name());
    json.key("when");
    json.text(&rule.when);
    match rule.effect {
        Effect::Weight(weight) => {
            json.key("weight");
            json.whole(weight);
        }
        Effect::Outcome(outcome) => {
            json.key("asks_for");
            json.text(outcome.name());
        }
    }
    json.key("code");
    json.text(&rule.code);
    json.key("description");
    json.text(&rule.description);
    for (key, count) in [("hits", hits), ("absences", absences), ("errors", errors)] {
        json.key(key);
        json.count(count);
    }
    json.close(b'}');
}

/// Checks a rule file as TOML text against the schema in force; the answer is 200 either way.
pub(super) async fn validate(State(service): State<Arc<Service>>, request: Request) -> Response {
    let checked = async {
        let limits = &service.limits;
        let bytes = body::read(request, Kind::Text, limits.batch_body_len_max, limits).await?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            Problem::new(Code::InvalidUtf8, format!("not UTF-8 from byte {} on", error.valid_up_to()))
        })?;
        let release = service.scorer.release();
        let parsed = RuleSet::parse(text, &release.schema.environment(true));
        let mut out = Vec::new();
        let mut json_out = JsonWriter::new(&mut out);
        json_out.open(b'{');
        json_out.key("valid");
        json_out.flag(parsed.is_ok());
        if let Ok(rules) = &parsed {
            json_out.key("rules");
            json_out.count(rules.rules().len() as u64);
        }
        json_out.key("faults");
        json_out.open(b'[');
        for fault in parsed.err().into_iter().flatten() {
            json_out.item();
            json_out.open(b'{');
            json_out.key("line");
            json_out.count(fault.line as u64);
            if let Some(row) = &fault.row {
                json_out.key("rule");
                json_out.text(row);
            }
            json_out.key("message");
            json_out.text(&fault.message);
            json_out.key("cure");
            json_out.text(&fault.cure);
            json_out.close(b'}');
        }
        json_out.close(b']');
        json_out.close(b'}');
        Ok(json(out))
    };
    respond(checked.await)
}

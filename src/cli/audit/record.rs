//! The record of healing on the command line: whether it is whole, whether it follows, what it tells.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::runtime::audit::reading::{self, each_line, files_of};
use crate::runtime::audit::{Kind, Line, replay};

/// Checks the chain, and its end against a hash that was kept elsewhere.
pub(super) fn verify(path: &Path, head: Option<&str>) -> anyhow::Result<ExitCode> {
    let report = reading::verify(path).with_context(|| format!("tried to read {}", path.display()))?;
    let mut out = io::stdout().lock();
    let last = report.head.as_ref();
    let (chain, seq, hash) = last.map_or(("none", 0, "none"), |head| (&*head.chain, head.seq, &*head.hash));
    writeln!(out, "{} records, {} to {seq} of chain {chain}, head {hash}", report.lines, report.first_seq)?;
    if report.first_seq > 1 {
        writeln!(out, "older records were let go: the chain is checked from {} on", report.first_seq)?;
    }
    if report.chains > 1 {
        writeln!(out, "{} chains: a new one was begun after a file without a readable end", report.chains)?;
    }
    if report.torn_bytes > 0 {
        writeln!(out, "{} bytes of a last line that was never finished are left out", report.torn_bytes)?;
    }
    let mut faults = report.faults.clone();
    if let Some(kept) = head
        && !each_hash(path, kept)?
    {
        faults.push(format!("no record has the hash {kept}: the end was cut off, or this is another record"));
    }
    for fault in &faults {
        writeln!(out, "  {fault}")?;
    }
    let is_whole = faults.is_empty() && report.lines > 0;
    writeln!(out, "{}", if is_whole { "whole" } else { "not whole" })?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells whether any record has a hash.
fn each_hash(path: &Path, kept: &str) -> anyhow::Result<bool> {
    let mut is_there = false;
    each_line(&files_of(path)?, |text| {
        is_there = Line::read(text).is_ok_and(|line| line.hash == kept);
        !is_there
    })?;
    Ok(is_there)
}

/// Plans everything again.
pub(super) fn replay(path: &Path) -> anyhow::Result<ExitCode> {
    let replayed = replay::replay(path).with_context(|| format!("tried to read {}", path.display()))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{} plans made again", replayed.plans)?;
    if replayed.without_table > 0 {
        writeln!(out, "{} left out: the table they were made by was let go", replayed.without_table)?;
    }
    for difference in &replayed.differences {
        writeln!(out, "  {difference}")?;
    }
    let is_same = replayed.differences.is_empty();
    writeln!(out, "{}", if is_same { "the same actions" } else { "not the same" })?;
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells what happened, in order, for people.
pub(super) fn explain(path: &Path, incident: Option<u64>) -> anyhow::Result<ExitCode> {
    let files = files_of(path).with_context(|| format!("tried to read {}", path.display()))?;
    let mut teller = Teller { incident, alarm: None, orders: BTreeMap::new() };
    if incident.is_some() {
        // The alarm that an incident is about is known from its first action: found before anything is told.
        each_line(&files, |text| {
            teller.learn(text);
            teller.alarm.is_none()
        })?;
    }
    let mut out = io::stdout().lock();
    let (mut told, mut failed) = (0_u64, None);
    each_line(&files, |text| {
        for line in teller.tell(text) {
            told += 1;
            failed = writeln!(out, "{line}").err();
        }
        failed.is_none()
    })?;
    match failed {
        // Whoever read it had enough.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Some(error) => return Err(error.into()),
        None => {}
    }
    if told == 0 {
        writeln!(out, "the record tells of no such incident")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

struct Teller {
    incident: Option<u64>,
    alarm: Option<String>,
    /// The incident of each order.
    orders: BTreeMap<u64, Option<u64>>,
}

impl Teller {
    fn learn(&mut self, text: &str) {
        let Some((_, Kind::Plan, body)) = read(text) else { return };
        for action in items(&body, "actions") {
            if action["incident"].as_u64() == self.incident {
                let reason = word(action, "reason");
                let alarm = reason.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_')).next();
                self.alarm = alarm.map(str::to_owned);
                return;
            }
        }
    }

    fn tell(&mut self, text: &str) -> Vec<String> {
        let Some((at, kind, body)) = read(text) else { return vec!["(a record that cannot be read)".to_owned()] };
        let told = match kind {
            Kind::Alarm => self.alarm(&body),
            Kind::Plan => self.plan(&body),
            Kind::Held => self.held(&body),
            Kind::Intent => Vec::new(),
            Kind::Outcome => self.outcome(&body),
            Kind::Override if self.incident.is_none() => {
                let what = [word(&body, "kind"), word(&body, "what"), word(&body, "about")].join(" ");
                vec![format!("ordered   {} by {}: {}", what.trim(), word(&body, "by"), word(&body, "reason"))]
            }
            Kind::Model if self.incident.is_none() => vec![model(&body)],
            Kind::Breaker | Kind::List | Kind::Chain | Kind::Lost if self.incident.is_none() => {
                vec![format!("{:<9} {body}", kind.name())]
            }
            Kind::Config if self.incident.is_none() => vec![config(&body)],
            Kind::Override | Kind::Breaker | Kind::Model | Kind::List | Kind::Chain | Kind::Lost | Kind::Config => {
                Vec::new()
            }
        };
        told.into_iter().map(|line| format!("{at}  {line}")).collect()
    }

    fn alarm(&self, body: &Value) -> Vec<String> {
        let alarm = word(body, "alarm");
        if self.incident.is_some() && self.alarm.as_deref() != Some(alarm) {
            return Vec::new();
        }
        let about = body["subject"].as_str().map(|subject| format!(" of {subject}")).unwrap_or_default();
        let model = body["model"]["version"].as_str().map(|version| format!(", model {version}")).unwrap_or_default();
        let text = word(&body["evidence"], "text");
        vec![format!("found     {alarm}{about}{model}, {}: {text}", word(body, "verdict"))]
    }

    fn plan(&mut self, body: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        for verified in items(body, "verified") {
            let order = verified["order"].as_u64().unwrap_or_default();
            if self.is_meant(self.orders.get(&order).copied().flatten()) {
                let verdict = if verified["is_good"] == true { "good" } else { "wrong" };
                lines.push(format!("checked   change {order} is {verdict}: {}", word(verified, "text")));
            }
        }
        for action in items(body, "actions") {
            let (order, incident) = (action["order"].as_u64().unwrap_or_default(), action["incident"].as_u64());
            self.orders.insert(order, incident);
            if self.is_meant(incident) {
                let from_to = match (action["from"]["version"].as_str(), action["to"]["version"].as_str()) {
                    (Some(from), Some(to)) => format!(" {from} -> {to}"),
                    _ => action["feature"].as_str().map(|feature| format!(" {feature}")).unwrap_or_default(),
                };
                let number = incident.map(|number| format!("incident {number}, ")).unwrap_or_default();
                let (name, row) = (word(action, "action"), word(action, "row"));
                lines.push(format!("planned   {name}{from_to} ({number}row {row}): {}", word(action, "reason")));
            }
        }
        lines.extend(self.held(body));
        lines
    }

    fn held(&self, body: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        for held in items(body, "holds") {
            if self.is_meant(held["incident"].as_u64()) {
                let action = word(held, "action");
                let action = if action.is_empty() { "everything" } else { action };
                lines.push(format!("held      {action} of row {}: {}", word(held, "row"), word(held, "reason")));
            }
        }
        lines
    }

    fn outcome(&self, body: &Value) -> Vec<String> {
        let Some(order) = body["order"].as_u64() else {
            let is_told = self.incident.is_none();
            let line = format!("did       {} {}: {}", word(body, "what"), word(body, "about"), word(body, "result"));
            return is_told.then_some(line).into_iter().collect();
        };
        if !self.is_meant(self.orders.get(&order).copied().flatten()) {
            return Vec::new();
        }
        let failure = body["failure"].as_str().map(|failure| format!(": {failure}")).unwrap_or_default();
        vec![format!("did       {}: {}{failure}", word(body, "action"), word(body, "result"))]
    }

    fn is_meant(&self, incident: Option<u64>) -> bool {
        self.incident.is_none() || self.incident == incident
    }
}

/// Tells a step of a bundle.
fn model(body: &Value) -> String {
    let (model, percent) = (&body["model"], body["percent"].as_u64().filter(|percent| *percent > 0));
    let share = percent.map(|percent| format!(" of {percent} percent")).unwrap_or_default();
    let from = body["from"].as_str().map(|from| format!(", was {from}")).unwrap_or_default();
    let (name, version) = (word(model, "name"), word(model, "version"));
    let (what, by, reason) = (word(body, "what"), word(body, "by"), word(body, "reason"));
    format!("model     {name}/{version} {what}{share}{from}, by {by}: {reason}")
}

/// Tells which table, or which files, are in force.
fn config(body: &Value) -> String {
    if body["what"] != "files" {
        return format!("table     version {}", word(body, "version"));
    }
    let refused: Vec<&str> = items(body, "refused").iter().filter_map(Value::as_str).collect();
    let why = if refused.is_empty() { String::new() } else { format!(": {}", refused.join("; ")) };
    let (rules, policy, entries) = (word(body, "rules"), word(body, "policy"), &body["list_entries"]);
    let (by, reason) = (word(body, "by"), word(body, "reason"));
    format!("files     rules {rules}, policy {policy}, {entries} list entries, by {by}: {reason}{why}")
}

fn read(text: &str) -> Option<(String, Kind, Value)> {
    let line = Line::read(text).ok()?;
    Some((line.at.to_string(), line.kind, serde_json::from_str(line.body.get()).ok()?))
}

fn word<'a>(body: &'a Value, key: &str) -> &'a str {
    body[key].as_str().unwrap_or_default()
}

fn items<'a>(body: &'a Value, key: &str) -> &'a [Value] {
    body[key].as_array().map_or(&[], Vec::as_slice)
}

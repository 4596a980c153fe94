//! From `[[rule]]` tables to rules: every key checked, every condition compiled, all faults noted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use compact_str::CompactString;
use sha2::{Digest as _, Sha256};

use crate::domain::{Outcome, ValueKind, card_number};
use crate::scoring::document::{self, Format, Row};
use crate::scoring::expression::{Environment, Expression};

use super::{Effect, FILE_BYTES_MAX, Mode, RULES_MAX, Rule, RuleFault, WEIGHT_MAX};

const FORMAT: Format = Format { row: "rule", bytes_max: FILE_BYTES_MAX, rows_max: RULES_MAX };
const ID_LEN_MAX: usize = 64;
const DESCRIPTION_LEN_MAX: usize = 200;
const WORDS_MAX: usize = 16;

pub(super) fn rules(text: &str, environment: &Environment) -> Result<Vec<Rule>, Vec<RuleFault>> {
    let mut ids = BTreeSet::new();
    document::read_rows(text, &FORMAT, |row| rule(row, environment, &mut ids))
}

/// Returns the first 16 hex digits of the text's sha256.
pub(super) fn version(text: &str) -> Box<str> {
    let mut hex = String::with_capacity(16);
    for byte in &Sha256::digest(text.as_bytes())[..8] {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}

fn rule(row: &mut Row<'_>, environment: &Environment, ids: &mut BTreeSet<String>) -> Option<Rule> {
    // Every part is read before any is missed, so that one load shows all faults.
    let id = id(row, ids);
    let version = version_number(row);
    let mode = mode(row);
    let (when, condition) = condition(row, environment);
    let effect = effect(row);
    let on_error_weight = weight(row, "on_error_weight");
    let code = code(row);
    let description = description(row);
    let (channels, tags) = (words(row, "channels"), words(row, "tags"));
    Some(Rule {
        id: id?.into(),
        version: version?,
        mode: mode?,
        when: when?.into(),
        effect: effect?,
        on_error_weight: on_error_weight.unwrap_or(0),
        code: code?.into(),
        description: description?.into(),
        channels,
        tags,
        condition: condition?,
    })
}

fn id(row: &mut Row<'_>, ids: &mut BTreeSet<String>) -> Option<String> {
    let id = row.required_text("id")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if id.is_empty() || id.len() > ID_LEN_MAX || !id.bytes().all(plain) {
        let cure = "write 1 to 64 lower-case letters, digits and dashes, such as amount-high";
        row.fault("id", "id is not a rule id", cure);
        return None;
    }
    row.rename(format!("rule {id}"));
    if !ids.insert(id.clone()) {
        row.fault("id", "an earlier rule has the same id", "give each rule an id of its own");
        return None;
    }
    Some(id)
}

fn version_number(row: &mut Row<'_>) -> Option<u32> {
    if !row.has("version") {
        row.fault("", "version is missing", "write version = 1");
    }
    let number = row.integer("version")?;
    let version = u32::try_from(number).ok().filter(|version| *version > 0);
    if version.is_none() {
        row.fault("version", "version is beyond 1 to 4294967295", "write version = 1");
    }
    version
}

fn mode(row: &mut Row<'_>) -> Option<Mode> {
    let Some(name) = row.text("mode") else { return Some(Mode::Active) };
    let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name);
    if mode.is_none() {
        row.fault("mode", "mode is unknown", "write mode = \"active\", \"shadow\" or \"off\"");
    }
    mode
}

fn condition(row: &mut Row<'_>, environment: &Environment) -> (Option<String>, Option<Expression>) {
    let Some(when) = row.required_text("when") else { return (None, None) };
    match Expression::compile(&when, environment, ValueKind::Bool) {
        Ok(condition) => (Some(when), Some(condition)),
        Err(faults) => {
            for fault in faults {
                let line = row.line_within("when", fault.line);
                row.fault_at(line, &format!("when, column {}: {}", fault.column, fault.message), &fault.cure);
            }
            (None, None)
        }
    }
}

fn effect(row: &mut Row<'_>) -> Option<Effect> {
    let (weight, outcome) = (row.has("weight"), row.has("outcome"));
    let (weight_value, outcome_value) = (self::weight(row, "weight"), self::outcome(row));
    match (weight, outcome) {
        (true, false) => weight_value.map(Effect::Weight),
        (false, true) => outcome_value.map(Effect::Outcome),
        (true, true) => {
            row.fault("outcome", "a rule has a weight or an outcome, not both", "remove one of them");
            None
        }
        (false, false) => {
            row.fault("", "a rule needs an effect", "write weight = 150 or outcome = \"decline\"");
            None
        }
    }
}

fn weight(row: &mut Row<'_>, key: &'static str) -> Option<i32> {
    let number = row.integer(key)?;
    let weight = i32::try_from(number).ok().filter(|weight| (-WEIGHT_MAX..=WEIGHT_MAX).contains(weight));
    if weight.is_none() {
        let message = format!("{key} is beyond -{WEIGHT_MAX} to {WEIGHT_MAX}");
        row.fault(key, &message, "write points of risk out of 1000");
    }
    weight
}

fn outcome(row: &mut Row<'_>) -> Option<Outcome> {
    let name = row.text("outcome")?;
    let outcome = Outcome::parse(&name);
    if outcome.is_none() {
        let known = Outcome::ALL.map(Outcome::name).join(", ");
        row.fault("outcome", "outcome is unknown", &format!("write one of {known}"));
    }
    outcome
}

fn code(row: &mut Row<'_>) -> Option<String> {
    let code = row.required_text("code")?;
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let named =
        code.len() <= ID_LEN_MAX && code.bytes().all(plain) && code.starts_with(|c: char| c.is_ascii_uppercase());
    if !named {
        row.fault("code", "code is not a reason code", "write 1 to 64 capitals, digits and _, such as AMOUNT_HIGH");
        return None;
    }
    Some(code)
}

fn description(row: &mut Row<'_>) -> Option<String> {
    let description = row.required_text("description")?;
    if description.trim().is_empty() || description.len() > DESCRIPTION_LEN_MAX {
        row.fault("description", "description is empty or longer than 200 bytes", "write one sentence for people");
        return None;
    }
    if card_number::found_in(&description) {
        row.fault("description", "description holds a full card number", "remove it: descriptions are published");
        return None;
    }
    Some(description)
}

fn words(row: &mut Row<'_>, key: &'static str) -> Box<[CompactString]> {
    let words = row.texts(key);
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    let is_word = |word: &String| (1..=32).contains(&word.len()) && word.bytes().all(plain);
    if words.len() > WORDS_MAX || !words.iter().all(is_word) {
        let message = format!("{key} are not at most {WORDS_MAX} words");
        row.fault(key, &message, "write lower-case words of letters, digits, _, - or .");
    }
    words.into_iter().map(CompactString::from).collect()
}

//! The documentation that repeats the code is held to it.

/// Turns the documented defaults into rows: key, default, meaning. Keys that stand together under one
/// comment share it.
fn settings() -> Vec<String> {
    let defaults = include_str!("../config/default.toml");
    let (mut section, mut meaning, mut rows) = ("", Vec::new(), Vec::new());
    let mut told = false;
    for line in defaults.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if std::mem::take(&mut told) {
                meaning.clear();
            }
            meaning.push(comment);
        } else if let Some((name, default)) = line.split_once(" = ") {
            rows.push(format!("| `{section}.{name}` | `{default}` | {} |", meaning.join(" ")));
            told = true;
        } else {
            section = line.strip_prefix('[').map_or(section, |name| name.trim_end_matches(']'));
            meaning.clear();
        }
    }
    rows
}

#[test]
fn every_setting_is_documented_as_it_is() {
    let page = include_str!("../docs/configuration.md");
    let documented: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let expected = settings();
    assert!(expected.len() > 30, "the defaults cannot be read");
    assert_eq!(documented, expected, "\n{}\n", expected.join("\n"));
}

/// Turns the shipped table of healing into rows for people.
fn healing_rows() -> Vec<String> {
    use fraudd::healing::table::{Step, Table};
    let steps = |steps: &[Step]| {
        let step = |step: &Step| {
            let after =
                if step.after == fraudd::domain::Span::ZERO { String::new() } else { format!(" after {}", step.after) };
            format!("{}{after}", word(&step.act))
        };
        steps.iter().map(step).collect::<Vec<_>>().join(", ")
    };
    let row = |row: &fraudd::healing::table::Row| {
        let alarms: Vec<_> = row.alarm.iter().map(|alarm| alarm.name().to_owned()).collect();
        let trial = row.trial.map(|trial| format!("trial {}", word(&trial)));
        let about = trial.unwrap_or_else(|| alarms.join(", "));
        let when: Vec<_> = row.when.iter().map(word).collect();
        let mut then = steps(&row.then);
        if !row.otherwise.is_empty() {
            then = format!("{then}; otherwise {}", steps(&row.otherwise));
        }
        format!("| `{}` | {about} | {} | {then} | {} |", row.id, when.join(", "), row.explain)
    };
    Table::default().row.iter().map(row).collect()
}

/// The word that a closed set writes for one of its values.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a word").trim_matches('"').to_owned()
}

#[test]
fn the_table_of_healing_is_told_as_it_is() {
    let page = include_str!("../docs/healing.md");
    let (_, section) = page.split_once("\n## The table\n").expect("a section of the table");
    let section = section.split("\n## ").next().unwrap_or_default();
    let documented: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let expected = healing_rows();
    assert_eq!(documented, expected, "\n{}\n", expected.join("\n"));
}

#[test]
fn every_setting_says_what_it_means() {
    let silent: Vec<String> = settings().into_iter().filter(|row| row.ends_with("|  |")).collect();
    assert!(silent.is_empty(), "settings without a comment: {silent:?}");
}

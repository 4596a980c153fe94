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

#[test]
fn every_setting_says_what_it_means() {
    let silent: Vec<String> = settings().into_iter().filter(|row| row.ends_with("|  |")).collect();
    assert!(silent.is_empty(), "settings without a comment: {silent:?}");
}

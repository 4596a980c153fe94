//! The record of a story, read back from its files, and checked by the shipped commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use fraudd::runtime::audit::reading::{each_line, files_of};
use fraudd::runtime::audit::{Kind, Line};
use serde_json::Value;

/// One line: its number, kind and body.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
    pub(crate) body: Value,
}

fn place(directory: &Path) -> PathBuf {
    directory.join("state/audit")
}

/// Reads the whole record.
pub(crate) fn read(directory: &Path) -> Vec<Told> {
    let mut lines = Vec::new();
    each_line(&files_of(&place(directory)).expect("a directory"), |text| {
        let line = Line::read(text).unwrap_or_else(|fault| panic!("{fault}"));
        let body = serde_json::from_str(line.body.get()).expect("JSON");
        lines.push(Told { seq: line.seq, kind: line.kind, body });
        true
    })
    .expect("readable");
    lines
}

/// Runs `fraudd audit verify` and `fraudd audit replay` over the record.
pub(crate) fn is_whole(directory: &Path) {
    for what in ["verify", "replay"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
        let output = command.args(["audit", what]).arg(place(directory)).output().expect("the binary");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{what}: {said} {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Returns where the last intent of an action stands and where its outcome does, which must come after and be this.
pub(crate) fn done(lines: &[Told], action: &str, result: &str) -> (u64, u64) {
    // One that could not be written down was tried before it.
    let intent = lines.iter().rfind(|line| line.kind == Kind::Intent && line.body["action"] == action);
    let intent = intent.unwrap_or_else(|| panic!("no intent of {action}: {:#?}", actions(lines)));
    let is_its_outcome = |line: &&Told| line.kind == Kind::Outcome && line.body["order"] == intent.body["order"];
    let outcome = lines.iter().find(is_its_outcome).unwrap_or_else(|| panic!("no outcome of {action}"));
    assert!(intent.seq < outcome.seq, "{action}: the intent comes first");
    assert_eq!(outcome.body["result"], result, "{action}: {}", outcome.body);
    (intent.seq, outcome.seq)
}

/// Lists the actions that were begun: row and name.
pub(crate) fn actions(lines: &[Told]) -> Vec<(String, String)> {
    let intents = lines.iter().filter(|line| line.kind == Kind::Intent);
    let word = |line: &Told, key: &str| line.body[key].as_str().unwrap_or_default().to_owned();
    intents.map(|line| (word(line, "row"), word(line, "action"))).collect()
}

/// Lists the names of the actions that were begun.
pub(crate) fn names(lines: &[Told]) -> Vec<String> {
    actions(lines).into_iter().map(|(_, name)| name).collect()
}

/// Lists what became of a version, by the steps of bundles: what, by whom.
pub(crate) fn steps(lines: &[Told], version: &str) -> Vec<String> {
    let its = lines.iter().filter(|line| line.kind == Kind::Model && line.body["model"]["version"] == version);
    let word = |line: &Told, key: &str| line.body[key].as_str().unwrap_or_default().to_owned();
    its.map(|line| format!("{} by {}", word(line, "what"), word(line, "by"))).collect()
}

/// Returns what `fraudd audit explain` tells.
pub(crate) fn explained(directory: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
    let output = command.args(["audit", "explain"]).arg(place(directory)).output().expect("the binary");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Finds the first line of a plan in which a change of model was checked.
pub(crate) fn checked(lines: &[Told]) -> Option<&Value> {
    let verdicts = lines.iter().filter_map(|line| line.body.get("verified")?.as_array());
    verdicts.flatten().next()
}

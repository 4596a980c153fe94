//! The table at the end: a line a scene, every figure from the record of healing and from the clients.

use std::io::{self, Write};

use super::course::{Seen, after};

const HEADS: [&str; 8] = ["scene", "found", "after", "done (row)", "after", "well again", "failed", "by model / rules"];

/// Writes the table.
///
/// # Errors
/// A closed output.
pub(super) fn write(all: &[Seen], out: &mut impl Write) -> io::Result<()> {
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(all.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    let passed = all.iter().filter(|seen| seen.is_passed()).count();
    let (sent, failed) = all.iter().fold((0, 0), |sum, seen| (sum.0 + seen.tally.sent, sum.1 + seen.tally.failed));
    let longest = all.iter().map(|seen| seen.tally.longest_ms).max().unwrap_or(0);
    writeln!(
        out,
        "{passed} of {} scenes as they must be; {sent} requests, {failed} failed, the longest {longest} ms",
        all.len()
    )?;
    for seen in all.iter().filter(|seen| !seen.is_passed()) {
        writeln!(out, "not as it must be: {}: {}", seen.scene.name, fault(seen))?;
    }
    Ok(())
}

fn row(seen: &Seen) -> [String; 8] {
    let none = || "-".to_owned();
    let since = |at| after(seen.injected, at);
    let decisive = seen.decisive();
    let (model, others) = seen.tally.by();
    [
        seen.scene.name.to_owned(),
        seen.found.as_ref().map_or_else(none, |(_, what)| what.clone()),
        seen.found.as_ref().map_or_else(none, |(at, _)| since(*at)),
        decisive.map_or_else(none, |(_, action, row)| format!("{action} ({row})")),
        decisive.map_or_else(none, |(at, ..)| since(*at)),
        seen.over.map_or_else(|| "no".to_owned(), since),
        seen.tally.failed.to_string(),
        format!("{model} / {others}"),
    ]
}

fn fault(seen: &Seen) -> &'static str {
    if seen.tally.failed > 0 {
        "requests failed"
    } else if seen.scene.actions.is_empty() {
        "something was found or done"
    } else if seen.found.is_none() {
        "not found"
    } else if seen.decisive().is_none() {
        "not answered"
    } else if seen.over.is_none() {
        "not well again"
    } else {
        "not checked"
    }
}

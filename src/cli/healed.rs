//! What a replay with healing came to, as tables for people.

use std::fmt::Write as _;

use crate::app::{Acted, Changed, HealReport, Noticed, Slice, Trained};

/// The most findings, and the most actions, that are shown; the report file has them all.
const SHOWN_MAX: usize = 60;

/// Writes it all.
pub(super) fn shown(report: &HealReport) -> String {
    let mut text = String::new();
    weeks(&mut text, report);
    let models = report.models.iter().map(|Changed { at, model }| {
        let model = model.as_deref().unwrap_or("no model");
        format!("{at}  {model}")
    });
    section(&mut text, "answers", models);
    let trainings = report.trainings.iter().map(|Trained { asked_at, seconds, outcome, said }| {
        format!("{asked_at}  {outcome} after {seconds:.0} s: {said}")
    });
    section(&mut text, "asked for a model", trainings);
    let findings = report.findings.iter().map(|Noticed { at, alarm, subject, model, is_end, text }| {
        let subject = subject.as_deref().unwrap_or("-");
        let model = model.as_deref().unwrap_or("-");
        format!("{at}  {} {alarm} {subject} {model}: {text}", if *is_end { "over  " } else { "acting" })
    });
    section(&mut text, "found, and might be acted on", findings);
    let actions = report.actions.iter().map(|Acted { at, action, about, row, failure }| {
        let failure = failure.as_deref().map(|failure| format!(": {failure}")).unwrap_or_default();
        format!("{at}  {row}: {action} {about} {}{failure}", if failure.is_empty() { "done" } else { "failed" })
    });
    section(&mut text, "done", actions);
    let held = report.held.iter().map(|(what, times)| format!("{times} times  {what}"));
    section(&mut text, "held", held);
    if report.interrupted {
        line(&mut text, "interrupted");
    }
    text
}

fn weeks(text: &mut String, report: &HealReport) {
    line(text, "week of     transactions  frauds  average precision  stopped  of them frauds  unscored  answered by");
    let named = report.weeks.iter().map(|slice| (slice.from.to_string().chars().take(10).collect(), slice));
    for (name, slice) in named.chain([("all".to_owned(), &report.whole)]) {
        let Slice { transactions, frauds, stopped, stopped_frauds, unscored, .. } = slice;
        let precision = slice.average_precision.map_or_else(|| "-".into(), |figure| format!("{figure:.4}"));
        let by: Vec<String> = slice.by_model.iter().map(|(model, count)| format!("{model} {count}")).collect();
        let by = by.join(", ");
        line(
            text,
            &format!(
                "{name:<10}  {transactions:>12}  {frauds:>6}  {precision:>17}  {stopped:>7}  {stopped_frauds:>14}  {unscored:>8}  {by}"
            ),
        );
    }
    let HealReport { labels, refused, .. } = report;
    line(text, &format!("{labels} labels came; {refused} rows of the files were refused"));
}

fn section(text: &mut String, name: &str, lines: impl ExactSizeIterator<Item = String>) {
    let count = lines.len();
    line(text, &format!("{name}: {}", if count == 0 { "nothing".to_owned() } else { count.to_string() }));
    for shown in lines.take(SHOWN_MAX) {
        line(text, &format!("  {shown}"));
    }
    if count > SHOWN_MAX {
        line(text, &format!("  and {} more: see --report", count - SHOWN_MAX));
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{line}");
}

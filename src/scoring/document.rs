//! A TOML file of rows (`[[rule]]`, `[[entry]]`), read key by key so that every fault keeps its line.
//!
//! Derived deserialisers stop at the first fault; people who write rules want all of them at once. A
//! reader asks a `Row` for the keys it knows; a key nobody asked for is refused.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest::nearest;

/// One thing wrong with a file, with its place and its cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// 1-based line in the file.
    pub line: usize,
    /// The row it is about, such as `rule amount-high`; absent when it is about the file.
    pub row: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub cure: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: ", self.line)?;
        if let Some(row) = &self.row {
            write!(out, "{row}: ")?;
        }
        write!(out, "{}; {}", self.message, self.cure)
    }
}

/// What a file may cost, and what its rows are called.
pub(super) struct Format {
    pub(super) row: &'static str,
    pub(super) bytes_max: usize,
    pub(super) rows_max: usize,
}

/// Reads every row of a file; `read` notes faults in its row and may still return a value.
pub(super) fn read_rows<T>(
    text: &str,
    format: &Format,
    mut read: impl FnMut(&mut Row<'_>) -> Option<T>,
) -> Result<Vec<T>, Vec<Fault>> {
    let whole = |message: String, cure: &str| vec![Fault { line: 1, row: None, message, cure: cure.into() }];
    if text.len() > format.bytes_max {
        let message = format!("the file has {} bytes, more than {}", text.len(), format.bytes_max);
        return Err(whole(message, "shorten it"));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(text, error)).collect());
    }
    let mut faults = Vec::new();
    let mut values = Vec::new();
    for (key, value) in document.get_ref() {
        let line = line_of(text, key.span().start);
        let rows = value.get_ref().as_array().filter(|_| key.get_ref() == format.row);
        let Some(rows) = rows else {
            let message = format!("unknown key {}", key.get_ref());
            let cure = format!("the file holds [[{}]] tables only", format.row);
            faults.push(Fault { line, row: None, message, cure });
            continue;
        };
        if rows.len() > format.rows_max {
            let message = format!("the file has {} rows, more than {}", rows.len(), format.rows_max);
            return Err(whole(message, "remove what is no longer needed"));
        }
        for (index, row) in rows.iter().enumerate() {
            let mut row = Row::new(text, format, index, row);
            values.extend(read(&mut row));
            faults.extend(row.finish());
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

/// One table of the file, while it is read.
pub(super) struct Row<'a> {
    text: &'a str,
    start: usize,
    table: Option<&'a DeTable<'a>>,
    name: String,
    asked: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Row<'a> {
    fn new(text: &'a str, format: &Format, index: usize, value: &'a Spanned<DeValue<'a>>) -> Self {
        let (start, table) = (value.span().start, value.get_ref().as_table());
        let name = format!("{} {}", format.row, index + 1);
        let mut row = Self { text, start, table, name, asked: Vec::new(), faults: Vec::new() };
        if table.is_none() {
            row.fault("", "not a table", &format!("begin it with [[{}]]", format.row));
        }
        row
    }

    /// Calls the row by a better name than its number.
    pub(super) fn rename(&mut self, name: String) {
        self.name = name;
    }

    /// Notes a fault at a key, or at the row when it has no such key.
    pub(super) fn fault(&mut self, key: &str, message: &str, cure: &str) {
        let line = line_of(self.text, self.value(key).map_or(self.start, |value| value.span().start));
        self.fault_at(line, message, cure);
    }

    /// Notes a fault at a line of the file.
    pub(super) fn fault_at(&mut self, line: usize, message: &str, cure: &str) {
        let row = Some(self.name.clone());
        self.faults.push(Fault { line, row, message: message.into(), cure: cure.into() });
    }

    /// Reads text; a date-time without quotes counts as its text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.ask(key)? {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Datetime(instant) => Some(instant.to_string()),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.fault(key, &format!("{key} is not text"), &format!("write {key} = \"...\""));
                None
            }
        }
    }

    /// Reads text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<String> {
        if self.value(key).is_none() {
            self.asked.push(key);
            self.fault(key, &format!("{key} is missing"), &format!("write {key} = \"...\""));
            return None;
        }
        self.text(key)
    }

    /// Reads a whole number.
    pub(super) fn integer(&mut self, key: &'static str) -> Option<i64> {
        let value = self.ask(key)?;
        let number = value.as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        if number.is_none() {
            self.fault(key, &format!("{key} is not a whole number"), &format!("write {key} = 1"));
        }
        number
    }

    /// Reads a list of texts; empty when the key is absent.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        let texts = value.as_array().map(|array| array.iter().map(|item| item.get_ref().as_str().map(String::from)));
        let texts: Option<Vec<String>> = texts.and_then(Iterator::collect);
        if texts.is_none() {
            self.fault(key, &format!("{key} is not a list of texts"), &format!("write {key} = [\"...\"]"));
        }
        texts.unwrap_or_default()
    }

    /// Tells whether the row has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Returns the line in the file of a line within a text value.
    pub(super) fn line_within(&self, key: &str, line: usize) -> usize {
        let Some(value) = self.value(key) else { return line_of(self.text, self.start) };
        let raw = self.text.get(value.span()).unwrap_or_default();
        // A line break right after the opening quotes is not part of the text; folded lines are lost count of.
        let opened =
            usize::from(["\"\"\"\n", "'''\n", "\"\"\"\r\n", "'''\r\n"].iter().any(|quote| raw.starts_with(quote)));
        let within = if raw.contains("\\\n") { 0 } else { line - 1 + opened };
        line_of(self.text, value.span().start) + within
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a DeValue<'a>> {
        self.asked.push(key);
        self.value(key).map(Spanned::get_ref)
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.iter().find(|(known, _)| known.get_ref() == key).map(|(_, value)| value)
    }

    fn finish(mut self) -> Vec<Fault> {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref();
            if self.asked.iter().any(|asked| asked == name) {
                continue;
            }
            let cure = match nearest(name, self.asked.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known are {}", self.asked.join(", ")),
            };
            let line = line_of(self.text, key.span().start);
            self.fault_at(line, &format!("unknown key {name}"), &cure);
        }
        self.faults.sort_by_key(|fault| fault.line);
        self.faults
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    let line = line_of(text, error.span().map_or(0, |span| span.start));
    let message = format!("not TOML: {}", error.message());
    Fault { line, row: None, message, cure: "check quotes, brackets and repeated keys".into() }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).matches('\n').count() + 1
}

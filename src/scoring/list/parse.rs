//! Lists as a file: `[[entry]]` tables in, entries or all faults out; and back.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::domain::Timestamp;
use crate::scoring::document::{self, Format, Row};

use super::{ENTRIES_MAX, EntryDraft, ListEntry, ListFault};

/// The largest lists file in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

const FORMAT: Format = Format { row: "entry", bytes_max: FILE_BYTES_MAX, rows_max: ENTRIES_MAX };

pub(super) fn entries(text: &str) -> Result<Vec<ListEntry>, Vec<ListFault>> {
    let mut known = BTreeSet::new();
    document::read_rows(text, &FORMAT, |row| entry(row, &mut known))
}

fn entry(row: &mut Row<'_>, known: &mut BTreeSet<(super::ListKind, String, String)>) -> Option<ListEntry> {
    let texts = ["list", "field", "value", "reason"].map(|key| row.required_text(key));
    let expires_at = row.text("expires_at");
    let added_by = row.text("added_by");
    let [Some(list), Some(field), Some(value), Some(reason)] = texts else { return None };
    match ListEntry::check(EntryDraft { list, field, value, reason, expires_at, added_by }) {
        Ok(entry) => {
            let (list, field, value) = entry.key();
            if known.insert((list, field.into(), value.into())) {
                return Some(entry);
            }
            row.fault("value", "an earlier entry has the same list, field and value", "keep one of them");
            None
        }
        Err(faults) => {
            for fault in faults {
                row.fault(fault.key, &fault.message, &fault.cure);
            }
            None
        }
    }
}

#[derive(Serialize)]
struct File<'a> {
    entry: Vec<Written<'a>>,
}

#[derive(Serialize)]
struct Written<'a> {
    list: &'static str,
    field: String,
    value: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_by: Option<&'a str>,
}

pub(super) fn written(entries: &[&ListEntry]) -> String {
    let entry = entries.iter().map(|entry| Written {
        list: entry.list.name(),
        field: entry.field_path().into(),
        value: &entry.value,
        reason: &entry.reason,
        expires_at: entry.expires_at,
        added_by: entry.added_by.as_deref(),
    });
    toml::to_string(&File { entry: entry.collect() }).expect("texts and instants are always TOML")
}

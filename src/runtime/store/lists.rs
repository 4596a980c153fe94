//! List entries that came over the API: one small file, replaced whole.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::segment::write_whole;
use crate::scoring::list::{EntryDraft, ListEntry, Lists};

const VERSION: u32 = 1;

/// The file. Cheap to clone; callers change it one at a time.
#[derive(Clone, Debug)]
pub struct ListsFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    entries: Vec<KeptEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptEntry {
    list: String,
    field: String,
    value: String,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added_by: Option<String>,
}

impl ListsFile {
    /// Names the file; it is not touched.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Replaces the file by the entries of `lists` that came over the API. Blocks until they are synced.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there before stays.
    pub fn save(&self, lists: &Lists) -> Result<(), Error> {
        let of_api = lists.entries().into_iter().filter(|entry| entry.added_by.is_some());
        let entries = of_api.map(|entry| KeptEntry {
            list: entry.list.name().into(),
            field: entry.field_path().into(),
            value: entry.value.to_string(),
            reason: entry.reason.to_string(),
            expires_at: entry.expires_at.map(|at| at.to_string()),
            added_by: entry.added_by.as_ref().map(ToString::to_string),
        });
        let kept = Kept { version: VERSION, entries: entries.collect() };
        // Strings and numbers: writing them to memory cannot fail.
        let json = serde_json::to_vec_pretty(&kept).unwrap_or_default();
        write_whole(&self.path, &json).map_err(Error::io("replace", &self.path))
    }

    /// Adds the kept entries to `lists`; without a file there are none.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read or is not as [`Self::save`] writes it: an entry that
    /// was acknowledged is never dropped in silence.
    pub fn load_into(&self, mut lists: Lists) -> Result<Lists, Error> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(lists),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        };
        let wrong = |what: String| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, what);
            Error::io("read the list entries of", &self.path)(error)
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if kept.version != VERSION {
            return Err(wrong(format!("version {} is not {VERSION}: start the fraudd that wrote it", kept.version)));
        }
        for KeptEntry { list, field, value, reason, expires_at, added_by } in kept.entries {
            let entry = ListEntry::check(EntryDraft { list, field, value, reason, expires_at, added_by });
            let entry = entry.map_err(|faults| wrong(faults.iter().map(ToString::to_string).collect()))?;
            lists = lists.with(entry).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(value: &str, added_by: Option<&str>) -> ListEntry {
        ListEntry::check(EntryDraft {
            list: "deny".into(),
            field: "card.token".into(),
            value: value.into(),
            reason: "stolen".into(),
            expires_at: Some("2030-01-01T00:00:00Z".into()),
            added_by: added_by.map(Into::into),
        })
        .expect("an entry")
    }

    #[test]
    fn entries_of_the_api_survive_and_those_of_the_file_are_not_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = ListsFile::new(directory.path().join("lists.json"));
        assert!(file.load_into(Lists::default()).expect("no file").is_empty());
        let of_file = Lists::default().with(draft("tok_file", None)).expect("room");
        let lists = of_file.with(draft("tok_api", Some("ops"))).expect("room");
        file.save(&lists).expect("saved");
        let again = file.load_into(of_file).expect("readable");
        assert_eq!(again.version(), lists.version());
        assert_eq!(file.load_into(Lists::default()).expect("readable").len(), 1);

        let path = directory.path().join("lists.json");
        for wrong in ["{", r#"{"version":2,"entries":[]}"#, r#"{"version":1,"entries":[{"list":"x"}]}"#] {
            fs::write(&path, wrong).expect("written");
            let error = file.load_into(Lists::default()).expect_err(wrong).to_string();
            assert!(error.contains("lists.json"), "{error}");
        }
    }
}

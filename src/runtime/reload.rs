//! Rules, lists and policy files, and their hot reload.
//!
//! The three files are read together, checked together and put in force together: when one of them is
//! wrong, nothing changes, every fault is reported once and the release in force stays. Content is
//! compared, not time stamps, so a mounted configuration whose links are swapped is noticed too. Entries
//! added over the API stay in force across reloads of the file.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::scoring::decide::policy::Policy;
use crate::scoring::feature::Schema;
use crate::scoring::list::Lists;
use crate::scoring::rule::RuleSet;
use crate::telemetry::events;

use super::slot::{Release, Slot};

/// A file larger than this is not read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The most faults the record tells of one look.
const FAULTS_MAX: usize = 20;

/// Where the three files are; a missing setting means the text compiled into the binary.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The rules file.
    pub rules: Option<PathBuf>,
    /// The lists file.
    pub lists: Option<PathBuf>,
    /// The policy file.
    pub policy: Option<PathBuf>,
}

/// The three texts as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    rules: String,
    lists: String,
    policy: String,
}

/// The three texts, checked.
#[derive(Clone)]
pub struct Checked {
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// The entries of the file alone.
    pub lists: Lists,
    /// The policy.
    pub policy: Arc<Policy>,
}

/// Why the files cannot be put in force: every fault, each with its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.join("\n"))]
pub struct Error {
    /// One line per fault.
    pub faults: Vec<String>,
}

impl Texts {
    /// Reads the files.
    ///
    /// # Errors
    /// One fault for each file that cannot be read.
    pub fn read(paths: &Paths) -> Result<Self, Error> {
        let mut faults = Vec::new();
        let mut read = |path: &Option<PathBuf>, shipped: &str| match path {
            None => shipped.to_owned(),
            Some(path) => read_bounded(path).unwrap_or_else(|fault| {
                faults.push(fault);
                String::new()
            }),
        };
        let texts = Self {
            rules: read(&paths.rules, include_str!("../../config/rules.toml")),
            lists: read(&paths.lists, include_str!("../../config/lists.toml")),
            policy: read(&paths.policy, include_str!("../../config/policy.toml")),
        };
        if faults.is_empty() { Ok(texts) } else { Err(Error { faults }) }
    }

    /// Checks all three against a schema.
    ///
    /// # Errors
    /// Every fault of all three files.
    pub fn check(&self, schema: &Schema) -> Result<Checked, Error> {
        let rules = RuleSet::parse(&self.rules, &schema.environment(true));
        let lists = Lists::parse(&self.lists);
        let policy = Policy::parse(&self.policy);
        match (rules, lists, policy) {
            (Ok(rules), Ok(lists), Ok(policy)) => {
                Ok(Checked { rules: Arc::new(rules), lists, policy: Arc::new(policy) })
            }
            (rules, lists, policy) => {
                let named = |file: &str, fault: String| format!("{file}: {fault}");
                let mut faults = Vec::new();
                faults.extend(rules.err().into_iter().flatten().map(|fault| named("rules", fault.to_string())));
                faults.extend(lists.err().into_iter().flatten().map(|fault| named("lists", fault.to_string())));
                faults.extend(policy.err().into_iter().flatten().map(|fault| named("policy", fault)));
                Err(Error { faults })
            }
        }
    }
}

fn read_bounded(path: &PathBuf) -> Result<String, String> {
    let shown = path.display();
    let size = fs::metadata(path).map_err(|error| format!("{shown}: cannot be read: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{shown}: {size} bytes are more than {FILE_BYTES_MAX}"));
    }
    fs::read_to_string(path).map_err(|error| format!("{shown}: cannot be read: {error}"))
}

/// What the three files in force are, or why others are not put in force, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    what: &'static str,
    by: &'static str,
    reason: &'static str,
    /// The version of the rules in force.
    pub rules: String,
    /// The version of the policy in force.
    pub policy: String,
    /// The entries of the lists in force.
    pub list_entries: usize,
    /// Why what the files say is not in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

impl Reloaded {
    /// Tells what is in force at a start.
    #[must_use]
    pub fn at_start(release: &Release) -> Self {
        Self::of(release, ("start", "what was in the files at the start"), Vec::new())
    }

    fn of(release: &Release, (by, reason): (&'static str, &'static str), refused: Vec<String>) -> Self {
        let (rules, policy) = (release.facts.rules_version.clone(), release.facts.policy_version.clone());
        Self { what: "files", by, reason, rules, policy, list_entries: release.lists.entries().len(), refused }
    }
}

/// Watches the files by being asked.
pub struct Reloader {
    paths: Paths,
    /// What was last put in force or refused.
    seen: Result<Texts, Error>,
}

impl Reloader {
    /// Starts from what was put in force at start.
    #[must_use]
    pub const fn new(paths: Paths, in_force: Texts) -> Self {
        Self { paths, seen: Ok(in_force) }
    }

    /// Looks at the files once; puts a change in force or reports why not, once per change, and returns what is told.
    pub fn look(&mut self, slot: &Slot) -> Option<Reloaded> {
        let texts = Texts::read(&self.paths);
        if texts == self.seen {
            return None;
        }
        self.seen = texts;
        let outcome = match &self.seen {
            Ok(texts) => put_in_force(texts, slot),
            Err(error) => Err(error.clone()),
        };
        match outcome {
            Ok(release) => {
                events::RulesReloaded { version: &release.facts.rules_version }.emit();
                Some(Reloaded::of(&release, ("files", "a file was changed"), Vec::new()))
            }
            Err(error) => {
                events::ReloadRefused { faults: &error.faults }.emit();
                let refused = error.faults.into_iter().take(FAULTS_MAX).collect();
                Some(Reloaded::of(&slot.load(), ("files", "a file was changed, and is not put in force"), refused))
            }
        }
    }
}

fn put_in_force(texts: &Texts, slot: &Slot) -> Result<Arc<Release>, Error> {
    slot.change(|release| {
        let checked = texts.check(&release.schema)?;
        let lists = with_entries_of_api(checked.lists, &release.lists)?;
        Ok(Release { rules: checked.rules, lists: Arc::new(lists), policy: checked.policy, ..release.clone() })
    })
}

/// Carries the entries that came over the API into freshly read lists.
fn with_entries_of_api(mut lists: Lists, in_force: &Lists) -> Result<Lists, Error> {
    for entry in in_force.entries().into_iter().filter(|entry| entry.added_by.is_some()) {
        let with = lists.with(entry.clone());
        lists = with.map_err(|fault| Error { faults: vec![format!("lists: {fault}")] })?;
    }
    Ok(lists)
}

//! Layers of settings, read key by key so that every fault is found.
//!
//! ```text
//! default.toml ─┐
//! files ────────┼─> merged tree ─> keys nobody knows ─┐
//! environment ──┘              └─> get::<T>(key) ─────┴─> faults, all at once
//! ```
//! The defaults name every key: what they do not name is unknown, except below [`OPEN_TABLES`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::scoring::suggest;

const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Tables whose keys are the user's own.
const OPEN_TABLES: &[&str] = &["healing.alertmanager", "healing.drift.tolerances", "kafka.client", "rates.rates"];
/// Keys whose values are secrets.
const SECRETS: &[&str] =
    &["auth.keys", "kafka.hmac_key", "kafka.security.password", "retraining.webhook_secret", "retraining.webhook_url"];
/// Words in a user's own key that make its value a secret.
const SECRET_WORDS: &[&str] = &["password", "secret", "jaas", "key.pem"];

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Fault {
    /// The dotted key, or the file.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// The layers, and what was found wrong in them so far.
pub(super) struct Reader {
    layers: Vec<(String, Config)>,
    environment: Vec<(String, String)>,
    merged: Config,
    defaults: Config,
    faults: Vec<Fault>,
}

/// One setting in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The dotted key.
    pub key: String,
    /// Its value as TOML; secrets as `***`.
    pub value: String,
    /// `default`, a file's path, or `environment`.
    pub origin: String,
}

impl Reader {
    /// Reads all layers; `environment` are the process's variables.
    ///
    /// # Errors
    /// Files that cannot be read or are not TOML: nothing else can be told then.
    pub(super) fn open(files: &[PathBuf], environment: Vec<(String, String)>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut layers = Vec::new();
        let mut add = |origin: String, built: Result<Config, ConfigError>| match built {
            Ok(config) => layers.push((origin, config)),
            Err(error) => faults.push(Fault { key: origin, message: error.to_string() }),
        };
        let text = File::from_str(DEFAULTS, FileFormat::Toml);
        add("default".into(), Config::builder().add_source(text).build());
        for file in files {
            let source = File::from(file.as_path()).format(FileFormat::Toml);
            add(file.display().to_string(), Config::builder().add_source(source).build());
        }
        let variables = Environment::with_prefix("FRAUDD")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("contract.partition_key")
            .source(Some(environment.iter().cloned().collect()));
        add("environment".into(), Config::builder().add_source(variables).build());
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut merged = Config::builder();
        for (_, layer) in &layers {
            merged = merged.add_source(layer.clone());
        }
        let merged = merged.build().map_err(|error| vec![Fault { key: String::new(), message: error.to_string() }])?;
        let defaults = layers[0].1.clone();
        let mut reader = Self { layers, environment, merged, defaults, faults };
        reader.refuse_unknown();
        Ok(reader)
    }

    /// Reads one key; a value of another type is a fault, and the default stands in until all are told.
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &str) -> T {
        match self.merged.get::<T>(key) {
            Ok(value) => value,
            Err(error) => {
                let example = self.defaults.get::<Value>(key).map(|value| shown(&value)).unwrap_or_default();
                let message = format!("{}; write for example {example}", plain(&error));
                self.faults.push(Fault { key: key.into(), message });
                // The defaults are compiled in and a test reads every one of them.
                self.defaults.get::<T>(key).unwrap_or_else(|error| panic!("default of {key}: {error}"))
            }
        }
    }

    /// Reads a text that may be empty, which means not set.
    pub(super) fn optional(&mut self, key: &str) -> Option<String> {
        let text: String = self.get(key);
        (!text.is_empty()).then_some(text)
    }

    /// Reads a text that may be empty as it was given: what looks like a number in a variable stays text.
    pub(super) fn secret(&mut self, key: &str) -> Option<String> {
        let name = format!("FRAUDD__{}", key.to_ascii_uppercase().replace('.', "__"));
        let given = self.environment.iter().find(|(given, _)| given.eq_ignore_ascii_case(&name));
        match given.map(|(_, text)| text.clone()) {
            Some(text) => (!text.is_empty()).then_some(text),
            None => self.optional(key),
        }
    }

    /// Returns the variables of the environment as they are.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Reads a table whose keys are the user's own, dotted keys whole, values as text.
    pub(super) fn table(&mut self, key: &str) -> BTreeMap<String, String> {
        let prefix = format!("{key}.");
        let mut found = BTreeMap::new();
        for (name, value) in leaves(&self.merged) {
            let Some(name) = name.strip_prefix(&prefix) else { continue };
            match value.into_string() {
                Ok(text) => drop(found.insert(name.to_owned(), text)),
                Err(error) => self.fault(&format!("{prefix}{name}"), plain(&error)),
            }
        }
        found
    }

    /// Reads a path that may be empty, which means not set.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.optional(key).map(PathBuf::from)
    }

    /// Adds a fault when `holds` is false.
    pub(super) fn expect(&mut self, holds: bool, key: &str, message: &str) {
        if !holds {
            self.fault(key, message);
        }
    }

    /// Adds a fault.
    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(Fault { key: key.into(), message: message.into() });
    }

    /// Returns every fault found so far.
    #[must_use]
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Lists every setting in effect with its origin, in the order of its key.
    #[must_use]
    pub(super) fn effective(&self) -> Vec<Effective> {
        let keys = leaves(&self.merged);
        let names = |layer: &Config| leaves(layer).into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>();
        let layers: Vec<_> = self.layers.iter().map(|(origin, layer)| (origin, names(layer))).collect();
        let effective = keys.into_iter().map(|(key, value)| {
            let origin = layers.iter().rev().find(|(_, keys)| keys.contains(&key)).map_or("", |(origin, _)| origin);
            let is_empty = matches!(&value.kind, ValueKind::String(text) if text.is_empty());
            let value = if is_secret(&key) && !is_empty { "\"***\"".into() } else { shown(&value) };
            Effective { key, value, origin: origin.into() }
        });
        effective.collect()
    }

    fn refuse_unknown(&mut self) {
        let known: Vec<String> = leaves(&self.defaults).into_iter().map(|(key, _)| key).collect();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        for (key, _) in leaves(&self.merged) {
            let is_open = OPEN_TABLES.iter().any(|table| key.starts_with(&format!("{table}.")));
            if is_open || names.contains(&key.as_str()) {
                continue;
            }
            let hint = suggest::nearest(&key, names.iter().copied());
            let message = hint.map_or_else(
                || "no such setting; `fraudd config show` lists those there are".to_owned(),
                |near| format!("no such setting; did you mean {near}?"),
            );
            self.faults.push(Fault { key, message });
        }
    }
}

fn is_secret(key: &str) -> bool {
    let is_own = OPEN_TABLES.iter().any(|table| key.starts_with(&format!("{table}.")));
    SECRETS.contains(&key) || is_own && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Lists every leaf of a tree by its dotted key, in order.
fn leaves(config: &Config) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    walk(String::new(), &config.cache, &mut found);
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

fn walk(prefix: String, value: &Value, found: &mut Vec<(String, Value)>) {
    let ValueKind::Table(table) = &value.kind else {
        return found.push((prefix, value.clone()));
    };
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        walk(key, value, found);
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        _ => value.to_string(),
    }
}

/// Says what is wrong without the crate's frame around it.
fn plain(error: &ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => plain(error),
        ConfigError::Type { unexpected, expected, .. } => format!("expected {expected}, found {unexpected}"),
        _ => error.to_string(),
    }
}

//! The tables of a schema file as they are written, before anything is checked.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchema {
    pub(super) name: CompactString,
    #[serde(default = "one")]
    pub(super) version: u32,
    #[serde(default = "utc")]
    pub(super) time_zone: String,
    pub(super) missing: Option<RawMissing>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<CompactString, String>,
    #[serde(default)]
    pub(super) entity: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    pub(super) feature: Vec<Spanned<toml::Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEntity {
    pub(super) name: CompactString,
    pub(super) key: OneOrMany,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RawMissing {
    Number(f64),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAbove {
    pub(super) feature: CompactString,
    pub(super) times: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeature {
    pub(super) name: CompactString,
    pub(super) description: Option<String>,
    pub(super) code: Option<String>,
    #[serde(default = "yes")]
    pub(super) input: bool,
    pub(super) missing: Option<RawMissing>,
    pub(super) field: Option<String>,
    pub(super) calendar: Option<String>,
    pub(super) aggregate: Option<String>,
    pub(super) expr: Option<String>,
    pub(super) codes: Option<BTreeMap<CompactString, f64>>,
    pub(super) unseen: Option<f64>,
    pub(super) divide_by: Option<f64>,
    pub(super) entity: Option<String>,
    pub(super) column: Option<String>,
    pub(super) window: Option<String>,
    pub(super) delay: Option<String>,
    pub(super) last: Option<u32>,
    #[serde(rename = "where")]
    pub(super) predicate: Option<String>,
    pub(super) same: Option<String>,
    pub(super) labels: Option<String>,
    pub(super) above: Option<RawAbove>,
    pub(super) include_current: Option<bool>,
    pub(super) resolution: Option<String>,
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

fn utc() -> String {
    "UTC".into()
}

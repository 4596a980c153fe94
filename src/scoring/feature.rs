//! Features: the shape the edge needs; the feature engine replaces this file.
#![allow(missing_docs)]
use std::sync::Arc;

use compact_str::CompactString;

use super::expression::Environment;

#[derive(Clone, Debug)]
pub struct Feature {
    pub name: CompactString,
    pub input: bool,
    pub missing: f64,
    pub code: Arc<str>,
    pub description: Arc<str>,
}

#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub features: Vec<Feature>,
}

impl Schema {
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    pub fn environment(&self, score: bool) -> Environment {
        Environment { score, ..Environment::default() }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Plan;

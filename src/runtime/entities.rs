//! Entities: the shape the edge needs; the feature engine replaces this file.
#![allow(missing_docs)]
use compact_str::CompactString;

use crate::domain::Timestamp;
use crate::scoring::feature::Plan;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOutcome {
    Applied,
    Pending,
    Unchanged,
}

#[derive(Clone, Debug)]
pub struct EntityView {
    pub features: Vec<(CompactString, Option<f64>)>,
    pub events: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    pub capped: bool,
}

#[derive(Debug, Default)]
pub struct Entities;

impl Entities {
    pub fn describe(&self, kind: &str, id: &str, now: Timestamp, _plan: &Plan) -> Option<EntityView> {
        (kind == "card" && id == "tok 1").then(|| EntityView {
            features: vec![("count".into(), Some(1.0)), ("gap".into(), None)],
            events: 1,
            first: Some(now),
            last: Some(now),
            capped: false,
        })
    }
}

//! The release slot: the shape the edge needs; the scorer's own replaces this file.
#![allow(missing_docs, clippy::missing_errors_doc)]
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::ReleaseFacts;
use crate::scoring::feature::{Plan, Schema};
use crate::scoring::list::Lists;
use crate::scoring::rule::RuleSet;
use crate::telemetry::RuleCounters;

#[derive(Clone)]
pub struct Release {
    pub facts: Arc<ReleaseFacts>,
    pub schema: Arc<Schema>,
    pub plan: Arc<Plan>,
    pub rules: Arc<RuleSet>,
    pub lists: Arc<Lists>,
    pub rule_counters: Arc<RuleCounters>,
}

pub struct Slot {
    current: ArcSwap<Release>,
}

impl Slot {
    pub fn new(release: Release) -> Self {
        Self { current: ArcSwap::from_pointee(release) }
    }

    pub fn load(&self) -> Arc<Release> {
        self.current.load_full()
    }

    pub fn change<E>(&self, change: impl FnOnce(&Release) -> Result<Release, E>) -> Result<Arc<Release>, E> {
        let next = Arc::new(change(&self.current.load_full())?);
        self.current.store(Arc::clone(&next));
        Ok(next)
    }
}

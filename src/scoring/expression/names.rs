//! What names mean: `tx.PATH`, `features.NAME` and `score`, looked up in the environment.

use cel::IdedExpr;
use cel::common::ast::Expr;

use crate::domain::{Field, FieldRef, ValueKind};
use crate::scoring::suggest::nearest;

use super::Environment;
use super::check::{Checker, path};
use super::node::{Node, Number, Source, Text, Truth, Whole};

impl Checker<'_> {
    /// Checks a name that is read, or asked for with `has()`.
    pub(super) fn name(&mut self, expr: &IdedExpr) -> Option<Node> {
        let Some(name) = path(expr) else {
            return self.refuse(expr, "a value has no fields of its own", "name a field: tx.card.country");
        };
        let (source, kind) = self.source(expr, &name)?;
        if matches!(&expr.expr, Expr::Select(select) if select.test) {
            return Some(Node::Truth(Truth::Present(source)));
        }
        Some(read(source, kind))
    }

    /// Finds what a dotted name stands for.
    pub(super) fn source(&mut self, expr: &IdedExpr, name: &str) -> Option<(Source, ValueKind)> {
        if let Some(feature) = name.strip_prefix("features.") {
            return self.feature(expr, feature);
        }
        if let Some(found) = name.strip_prefix("tx.").and_then(|path| field(self.environment, path)) {
            return Some(found);
        }
        if name == "score" && self.environment.score {
            return Some((Source::Score, ValueKind::Float));
        }
        if name == "score" {
            return self.refuse(expr, "the score is not known here", "use fields and features only");
        }
        let message = format!("unknown name {name}");
        let cure = suggestion(name, &names(self.environment));
        self.refuse(expr, &message, &cure)
    }

    fn feature(&mut self, expr: &IdedExpr, name: &str) -> Option<(Source, ValueKind)> {
        if let Some(index) = self.environment.features.iter().position(|known| known == name) {
            self.features_read.insert(index);
            return Some((Source::Feature(index), ValueKind::Float));
        }
        if self.environment.features.is_empty() {
            return self.refuse(expr, "there are no features to read here", "use fields of the transaction only");
        }
        let message = format!("unknown feature {name}");
        let cure = suggestion(&format!("features.{name}"), &names(self.environment));
        self.refuse(expr, &message, &cure)
    }
}

fn field(environment: &Environment, path: &str) -> Option<(Source, ValueKind)> {
    let field = FieldRef::parse(path)?;
    let kind = match &field {
        FieldRef::Known(known) => known.kind(),
        FieldRef::Attribute(name) => *environment.attributes.get(name)?,
    };
    Some((Source::Field(field), kind))
}

fn read(source: Source, kind: ValueKind) -> Node {
    match source {
        Source::Feature(index) => Node::Number(Number::Feature(index)),
        Source::Score => Node::Number(Number::Score),
        Source::Field(FieldRef::Known(field)) => match kind {
            ValueKind::Int => Node::Whole(Whole::Field(field)),
            ValueKind::Float => Node::Number(Number::Field(field)),
            // No field of the contract is a bool; free attributes can be.
            ValueKind::Text | ValueKind::Bool => Node::Text(Text::Field(field)),
        },
        Source::Field(FieldRef::Attribute(name)) => match kind {
            ValueKind::Bool => Node::Truth(Truth::Attribute(name)),
            ValueKind::Int => Node::Whole(Whole::Attribute(name)),
            ValueKind::Float => Node::Number(Number::Attribute(name)),
            ValueKind::Text => Node::Text(Text::Attribute(name)),
        },
    }
}

/// Lists every name that can be read.
fn names(environment: &Environment) -> Vec<String> {
    let fields = Field::all().map(|(_, path, _)| format!("tx.{path}"));
    let attributes = environment.attributes.keys().map(|name| format!("tx.attributes.{name}"));
    let features = environment.features.iter().map(|name| format!("features.{name}"));
    fields.chain(attributes).chain(features).chain(environment.score.then(|| "score".into())).collect()
}

fn suggestion(name: &str, known: &[String]) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if name.starts_with("tx.attributes.") => "declare the attribute in the feature schema".into(),
        None => "names are tx.PATH, features.NAME and score".into(),
    }
}

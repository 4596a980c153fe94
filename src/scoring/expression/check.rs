//! The type checker: the parser's tree in, a typed tree out, with every fault on the way.
//!
//! Stricter than CEL on purpose: whole numbers and doubles never meet, not even in a comparison
//! (`features.count > 3` is refused, `> 3.0` is meant), both branches of a ternary are of one kind, and
//! lists hold literals. A part with a fault has no node (`None`); what is around it is still checked,
//! so that one load shows all faults.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, SourceInfo, operators};
use compact_str::CompactString;

use crate::domain::ValueKind;

use super::node::{Arithmetic, Choice, Node, Number, Relation, Text, Truth, Whole};
use super::{Environment, Fault};

/// How deep a tree may be: bounds the recursion here and in evaluation. Chains of `&&` and `||` are flat.
pub const DEPTH_MAX: usize = 64;

pub(super) struct Checker<'a> {
    pub(super) environment: &'a Environment,
    pub(super) source: &'a str,
    pub(super) places: &'a SourceInfo,
    pub(super) faults: Vec<Fault>,
    pub(super) features_read: BTreeSet<usize>,
    pub(super) depth: usize,
}

impl Checker<'_> {
    /// Checks one part; `None` when it has a fault, which is noted.
    pub(super) fn node(&mut self, expr: &IdedExpr) -> Option<Node> {
        if self.depth >= DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} operations one within another");
            return self.refuse(expr, &message, "group the chain with brackets, or split it");
        }
        self.depth += 1;
        let node = match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Call(call) => self.call(expr, call),
            Expr::Ident(_) | Expr::Select(_) => self.name(expr),
            Expr::List(_) => self.refuse(expr, "a list stands alone", "lists go to the right of in: x in ['a', 'b']"),
            Expr::Comprehension(_) => self.refuse(
                expr,
                "loops (all, exists, map, filter) are not part of the language",
                "compare fields one by one",
            ),
            Expr::Map(_) | Expr::Struct(_) => {
                self.refuse(expr, "maps and messages are not part of the language", "compare fields one by one")
            }
            // The parser leaves this behind only together with an error of its own.
            Expr::Unspecified => self.refuse(expr, "an empty part", "write an expression here"),
        };
        self.depth -= 1;
        node
    }

    fn literal(&mut self, expr: &IdedExpr, literal: &LiteralValue) -> Option<Node> {
        match literal {
            LiteralValue::Boolean(flag) => Some(Node::Truth(Truth::Constant(*flag.inner()))),
            LiteralValue::Int(number) => Some(Node::Whole(Whole::Constant(*number.inner()))),
            LiteralValue::Double(number) => Some(Node::Number(Number::Constant(*number.inner()))),
            LiteralValue::String(text) => Some(Node::Text(Text::Constant(CompactString::from(text.inner())))),
            LiteralValue::UInt(_) => self.refuse(expr, "unsigned numbers are not part of the language", "drop the u"),
            LiteralValue::Bytes(_) => self.refuse(expr, "bytes are not part of the language", "drop the b"),
            LiteralValue::Null => {
                self.refuse(expr, "null is not part of the language", "ask has(tx.field) for presence")
            }
        }
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Option<Node> {
        let args = call.args.as_slice();
        match (call.func_name.as_str(), args) {
            (operators::LOGICAL_AND, [_, _]) => self.junction(expr, operators::LOGICAL_AND).map(Truth::All),
            (operators::LOGICAL_OR, [_, _]) => self.junction(expr, operators::LOGICAL_OR).map(Truth::Any),
            (operators::LOGICAL_NOT, [inner]) => self.truth(inner).map(|inner| Truth::Not(Box::new(inner))),
            (operators::IN, [needle, list]) => self.membership(needle, list),
            (operators::CONDITIONAL, [condition, yes, no]) => return self.ternary(expr, [condition, yes, no]),
            (operators::NEGATE, [inner]) => return self.negation(expr, inner),
            (operators::INDEX, _) => {
                return self.refuse(expr, "indexing is not part of the language", "name the field: tx.card.bin");
            }
            (name, [left, right]) => {
                if let Some(relation) = relation(name) {
                    self.comparison(expr, relation, [left, right])
                } else if let Some((operator, sign)) = arithmetic(name) {
                    return self.arithmetic(expr, (operator, sign), [left, right]);
                } else {
                    return self.function(expr, call);
                }
            }
            _ => return self.function(expr, call),
        }
        .map(Node::Truth)
    }

    /// Checks a chain of one connective and flattens it.
    fn junction(&mut self, expr: &IdedExpr, operator: &str) -> Option<Box<[Truth]>> {
        let mut operands = Vec::new();
        flatten(expr, operator, &mut operands);
        let checked: Vec<Option<Truth>> = operands.into_iter().map(|operand| self.truth(operand)).collect();
        checked.into_iter().collect()
    }

    /// Checks a part that must be true or false.
    pub(super) fn truth(&mut self, expr: &IdedExpr) -> Option<Truth> {
        match self.node(expr)? {
            Node::Truth(truth) => Some(truth),
            other => {
                let message = format!("expected bool, found {}", other.kind().name());
                self.refuse(expr, &message, "compare it with something, such as tx.amount > 0")
            }
        }
    }

    fn ternary(&mut self, expr: &IdedExpr, parts: [&IdedExpr; 3]) -> Option<Node> {
        let [condition, yes, no] = parts;
        let (condition, left, right) = (self.truth(condition), self.node(yes), self.node(no));
        let condition = condition?;
        Some(match (left?, right?) {
            (Node::Truth(yes), Node::Truth(no)) => Node::Truth(Truth::Choice(Choice::boxed(condition, yes, no))),
            (Node::Whole(yes), Node::Whole(no)) => Node::Whole(Whole::Choice(Choice::boxed(condition, yes, no))),
            (Node::Number(yes), Node::Number(no)) => Node::Number(Number::Choice(Choice::boxed(condition, yes, no))),
            (Node::Text(yes), Node::Text(no)) => Node::Text(Text::Choice(Choice::boxed(condition, yes, no))),
            (left, right) => return self.mismatch(expr, "? :", [(yes, left.kind()), (no, right.kind())]),
        })
    }

    fn negation(&mut self, expr: &IdedExpr, inner: &IdedExpr) -> Option<Node> {
        match self.node(inner)? {
            Node::Whole(whole) => Some(Node::Whole(Whole::Negate(Box::new(whole)))),
            Node::Number(number) => Some(Node::Number(Number::Negate(Box::new(number)))),
            Node::Truth(_) => self.refuse(expr, "- of a bool", "write ! to negate a truth value"),
            Node::Text(_) => self.refuse(expr, "- of a text", "only numbers have a sign"),
        }
    }

    fn comparison(&mut self, expr: &IdedExpr, relation: Relation, sides: [&IdedExpr; 2]) -> Option<Truth> {
        let (left, right) = (self.node(sides[0]), self.node(sides[1]));
        match (left?, right?) {
            (Node::Whole(left), Node::Whole(right)) => Some(Truth::Wholes(relation, Box::new((left, right)))),
            (Node::Number(left), Node::Number(right)) => Some(Truth::Numbers(relation, Box::new((left, right)))),
            (Node::Text(left), Node::Text(right)) => Some(Truth::Texts(relation, Box::new((left, right)))),
            (Node::Truth(left), Node::Truth(right)) => match relation {
                Relation::Equal => Some(Truth::Alike(true, Box::new((left, right)))),
                Relation::NotEqual => Some(Truth::Alike(false, Box::new((left, right)))),
                Relation::Less | Relation::LessOrEqual | Relation::Greater | Relation::GreaterOrEqual => {
                    self.refuse(expr, "truth values have no order", "join them with && and ||, or compare with ==")
                }
            },
            (left, right) => self.mismatch(expr, "a comparison", [(sides[0], left.kind()), (sides[1], right.kind())]),
        }
    }

    fn arithmetic(
        &mut self,
        expr: &IdedExpr,
        (operator, sign): (Arithmetic, &str),
        sides: [&IdedExpr; 2],
    ) -> Option<Node> {
        let (left, right) = (self.node(sides[0]), self.node(sides[1]));
        match (left?, right?) {
            (Node::Whole(left), Node::Whole(right)) => {
                Some(Node::Whole(Whole::Arithmetic(operator, Box::new((left, right)))))
            }
            (Node::Number(_), Node::Number(_)) if operator == Arithmetic::Remainder => {
                self.refuse(expr, "% of doubles", "cut both to whole numbers: int(a) % int(b)")
            }
            (Node::Number(left), Node::Number(right)) => {
                Some(Node::Number(Number::Arithmetic(operator, Box::new((left, right)))))
            }
            (Node::Text(_), Node::Text(_)) if operator == Arithmetic::Add => {
                self.refuse(expr, "texts cannot be joined", "compare the parts one by one with &&")
            }
            (left, right) => self.mismatch(expr, sign, [(sides[0], left.kind()), (sides[1], right.kind())]),
        }
    }

    fn membership(&mut self, needle: &IdedExpr, list: &IdedExpr) -> Option<Truth> {
        let needle_node = self.node(needle);
        let Expr::List(elements) = &list.expr else {
            return self.refuse(list, "in needs a list of literals", "write it out: x in ['a', 'b']");
        };
        let mut constants = Vec::with_capacity(elements.elements.len());
        for element in &elements.elements {
            constants.push(match &element.expr {
                Expr::Literal(literal) => self.literal(element, literal),
                _ => self.refuse(element, "a list holds literals only", "compare with == and join with ||"),
            });
        }
        let needle_node = needle_node?;
        if constants.is_empty() {
            return self.refuse(list, "an empty list holds nothing", "name at least one value");
        }
        let kind = needle_node.kind();
        for (element, constant) in elements.elements.iter().zip(&constants) {
            if let Some(constant) = constant.as_ref().filter(|constant| constant.kind() != kind) {
                self.mismatch::<()>(element, "in", [(needle, kind), (element, constant.kind())]);
            }
        }
        let constants: Vec<Node> = constants.into_iter().collect::<Option<_>>()?;
        match needle_node {
            Node::Whole(needle) => Some(Truth::WholeIn(Box::new((needle, every(&constants, whole_constant)?)))),
            Node::Number(needle) => Some(Truth::NumberIn(Box::new((needle, every(&constants, number_constant)?)))),
            Node::Text(needle) => Some(Truth::TextIn(Box::new((needle, every(&constants, text_constant)?)))),
            Node::Truth(_) => self.refuse(needle, "in of a bool", "write the condition itself, or ! before it"),
        }
    }

    /// Notes that two kinds do not go together, with what to write instead.
    pub(super) fn mismatch<T>(&mut self, at: &IdedExpr, what: &str, sides: [(&IdedExpr, ValueKind); 2]) -> Option<T> {
        let [(_, left), (_, right)] = sides;
        let message = format!("{what} of {} and {}", left.name(), right.name());
        let cure = if (left, right) == (ValueKind::Int, ValueKind::Float) {
            widening(sides[0].0)
        } else if (left, right) == (ValueKind::Float, ValueKind::Int) {
            widening(sides[1].0)
        } else {
            "both sides must be of one kind".into()
        };
        self.refuse(at, &message, &cure)
    }

    /// Notes a fault at a part.
    pub(super) fn refuse<T>(&mut self, at: &IdedExpr, message: &str, cure: &str) -> Option<T> {
        let offset = self.places.offset_for(start(at).id).map_or(0, |(first, _)| first as usize);
        self.faults.push(Fault::at(self.source, offset, message, cure));
        None
    }
}

impl<T> Choice<T> {
    fn boxed(condition: Truth, yes: T, no: T) -> Box<Self> {
        Box::new(Self { condition, yes, no })
    }
}

/// Where a name begins: at its root, not at its last dot.
fn start(expr: &IdedExpr) -> &IdedExpr {
    let mut at = expr;
    while let Expr::Select(select) = &at.expr {
        at = &select.operand;
    }
    at
}

fn flatten<'e>(expr: &'e IdedExpr, operator: &str, operands: &mut Vec<&'e IdedExpr>) {
    match &expr.expr {
        Expr::Call(call) if call.func_name == operator && call.args.len() == 2 => {
            flatten(&call.args[0], operator, operands);
            flatten(&call.args[1], operator, operands);
        }
        _ => operands.push(expr),
    }
}

fn relation(name: &str) -> Option<Relation> {
    Some(match name {
        operators::EQUALS => Relation::Equal,
        operators::NOT_EQUALS => Relation::NotEqual,
        operators::LESS => Relation::Less,
        operators::LESS_EQUALS => Relation::LessOrEqual,
        operators::GREATER => Relation::Greater,
        operators::GREATER_EQUALS => Relation::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(name: &str) -> Option<(Arithmetic, &'static str)> {
    Some(match name {
        operators::ADD => (Arithmetic::Add, "+"),
        operators::SUBSTRACT => (Arithmetic::Subtract, "-"),
        operators::MULTIPLY => (Arithmetic::Multiply, "*"),
        operators::DIVIDE => (Arithmetic::Divide, "/"),
        operators::MODULO => (Arithmetic::Remainder, "%"),
        _ => return None,
    })
}

/// Says how to make a double of a whole number: a literal gets its `.0`, anything else is converted.
fn widening(whole: &IdedExpr) -> String {
    match &whole.expr {
        Expr::Literal(LiteralValue::Int(number)) => format!("write {}.0", number.inner()),
        Expr::Ident(_) | Expr::Select(_) => format!("write double({})", path(whole).unwrap_or_default()),
        _ => "wrap the whole number in double(..)".into(),
    }
}

/// Returns the dotted name an expression spells, when it is only a name.
pub(super) fn path(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => path(&select.operand).map(|parent| format!("{parent}.{}", select.field)),
        _ => None,
    }
}

fn every<T>(constants: &[Node], constant: impl Fn(&Node) -> Option<T>) -> Option<Box<[T]>> {
    constants.iter().map(constant).collect()
}

fn whole_constant(node: &Node) -> Option<i64> {
    if let Node::Whole(Whole::Constant(number)) = node { Some(*number) } else { None }
}

fn number_constant(node: &Node) -> Option<f64> {
    if let Node::Number(Number::Constant(number)) = node { Some(*number) } else { None }
}

fn text_constant(node: &Node) -> Option<CompactString> {
    if let Node::Text(Text::Constant(text)) = node { Some(text.clone()) } else { None }
}

//! The functions of the language, their arguments and kinds.

use cel::IdedExpr;
use cel::common::ast::CallExpr;

use crate::domain::ValueKind;
use crate::scoring::suggest::nearest;

use super::check::{Checker, path};
use super::node::{Arithmetic, Function, Node, Number, Text, TextTest, Truth, Whole};

/// How each function is written, for cures.
const SPELLINGS: [(&str, &str); 15] = [
    ("abs", "abs(number)"),
    ("min", "min(a, b)"),
    ("max", "max(a, b)"),
    ("sqrt", "sqrt(double)"),
    ("log1p", "log1p(double)"),
    ("pow", "pow(double, double)"),
    ("haversine_km", "haversine_km(lat, lon, lat, lon)"),
    ("int", "int(double)"),
    ("double", "double(int)"),
    ("present", "present(name)"),
    ("has", "has(tx.card.country)"),
    ("size", "size(text)"),
    ("startsWith", "text.startsWith(text)"),
    ("endsWith", "text.endsWith(text)"),
    ("contains", "text.contains(text)"),
];

impl Checker<'_> {
    pub(super) fn function(&mut self, expr: &IdedExpr, call: &CallExpr) -> Option<Node> {
        let name = call.func_name.as_str();
        match (name, call.target.as_deref(), call.args.as_slice()) {
            ("present", None, [inner]) => self.present(inner),
            ("abs", None, [inner]) => self.absolute(expr, inner),
            ("min", None, [left, right]) => self.extreme(expr, Arithmetic::Minimum, [left, right]),
            ("max", None, [left, right]) => self.extreme(expr, Arithmetic::Maximum, [left, right]),
            ("sqrt", None, [inner]) => self.of_number(Function::SquareRoot, inner),
            ("log1p", None, [inner]) => self.of_number(Function::LogOnePlus, inner),
            ("pow", None, [base, exponent]) => {
                let (base, exponent) = (self.number(base), self.number(exponent));
                Some(Node::Number(Number::Power(Box::new((base?, exponent?)))))
            }
            ("haversine_km", None, [a, b, c, d]) => {
                let points = [a, b, c, d].map(|argument| self.number(argument));
                let [Some(a), Some(b), Some(c), Some(d)] = points else { return None };
                Some(Node::Number(Number::HaversineKm(Box::new([a, b, c, d]))))
            }
            ("int", None, [inner]) => self.whole_of(expr, inner),
            ("double", None, [inner]) => self.number_of(expr, inner),
            ("size", None, [text]) | ("size", Some(text), []) => {
                let text = self.text(text)?;
                Some(Node::Whole(Whole::Size(Box::new(text))))
            }
            ("startsWith", Some(text), [part]) => self.text_test(TextTest::StartsWith, [text, part]),
            ("endsWith", Some(text), [part]) => self.text_test(TextTest::EndsWith, [text, part]),
            ("contains", Some(text), [part]) => self.text_test(TextTest::Contains, [text, part]),
            ("matches", _, _) => {
                let cure = "use startsWith, endsWith, contains or in";
                self.refuse(expr, "regular expressions are not part of the language", cure)
            }
            _ => self.unknown(expr, name),
        }
    }

    fn unknown(&mut self, expr: &IdedExpr, name: &str) -> Option<Node> {
        if let Some((_, spelling)) = SPELLINGS.iter().find(|(known, _)| *known == name) {
            return self.refuse(expr, &format!("wrong arguments for {name}"), &format!("write {spelling}"));
        }
        let cure = match nearest(name, SPELLINGS.iter().map(|(known, _)| *known)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known are {}", SPELLINGS.map(|(known, _)| known).join(", ")),
        };
        self.refuse(expr, &format!("unknown function {name}"), &cure)
    }

    fn present(&mut self, inner: &IdedExpr) -> Option<Node> {
        let Some(name) = path(inner) else {
            return self.refuse(inner, "present() takes a name", "write present(score) or present(tx.card.country)");
        };
        let (source, _) = self.source(inner, &name)?;
        Some(Node::Truth(Truth::Present(source)))
    }

    fn absolute(&mut self, expr: &IdedExpr, inner: &IdedExpr) -> Option<Node> {
        match self.node(inner)? {
            Node::Whole(whole) => Some(Node::Whole(Whole::Absolute(Box::new(whole)))),
            Node::Number(number) => Some(Node::Number(Number::Call(Function::Absolute, Box::new(number)))),
            Node::Truth(_) | Node::Text(_) => self.refuse(expr, "abs() takes a number", "give it an int or a double"),
        }
    }

    fn extreme(&mut self, expr: &IdedExpr, operator: Arithmetic, sides: [&IdedExpr; 2]) -> Option<Node> {
        let (left, right) = (self.node(sides[0]), self.node(sides[1]));
        match (left?, right?) {
            (Node::Whole(left), Node::Whole(right)) => {
                Some(Node::Whole(Whole::Arithmetic(operator, Box::new((left, right)))))
            }
            (Node::Number(left), Node::Number(right)) => {
                Some(Node::Number(Number::Arithmetic(operator, Box::new((left, right)))))
            }
            (left, right) => self.mismatch(expr, "min or max", [(sides[0], left.kind()), (sides[1], right.kind())]),
        }
    }

    fn of_number(&mut self, function: Function, inner: &IdedExpr) -> Option<Node> {
        let number = self.number(inner)?;
        Some(Node::Number(Number::Call(function, Box::new(number))))
    }

    fn whole_of(&mut self, expr: &IdedExpr, inner: &IdedExpr) -> Option<Node> {
        match self.node(inner)? {
            Node::Whole(whole) => Some(Node::Whole(whole)),
            Node::Number(number) => Some(Node::Whole(Whole::Cut(Box::new(number)))),
            Node::Truth(_) => self.refuse(expr, "int() of a bool", "write condition ? 1 : 0"),
            Node::Text(_) => self.refuse(expr, "int() of a text", "compare the text itself"),
        }
    }

    fn number_of(&mut self, expr: &IdedExpr, inner: &IdedExpr) -> Option<Node> {
        match self.node(inner)? {
            Node::Whole(whole) => Some(Node::Number(Number::Widened(Box::new(whole)))),
            Node::Number(number) => Some(Node::Number(number)),
            Node::Truth(_) => self.refuse(expr, "double() of a bool", "write condition ? 1.0 : 0.0"),
            Node::Text(_) => self.refuse(expr, "double() of a text", "compare the text itself"),
        }
    }

    fn text_test(&mut self, test: TextTest, sides: [&IdedExpr; 2]) -> Option<Node> {
        let (text, part) = (self.text(sides[0]), self.text(sides[1]));
        Some(Node::Truth(Truth::TextTest(test, Box::new((text?, part?)))))
    }

    fn number(&mut self, expr: &IdedExpr) -> Option<Number> {
        match self.node(expr)? {
            Node::Number(number) => Some(number),
            other => self.mismatch(expr, "an argument", [(expr, other.kind()), (expr, ValueKind::Float)]),
        }
    }

    fn text(&mut self, expr: &IdedExpr) -> Option<Text> {
        match self.node(expr)? {
            Node::Text(text) => Some(text),
            other => {
                let message = format!("expected text, found {}", other.kind().name());
                self.refuse(expr, &message, "give it a text field or a literal in quotes")
            }
        }
    }
}

//! The compiled expression: one tree per kind of value, so that evaluation never asks for a type.

use compact_str::CompactString;

use crate::domain::{Field, FieldRef, ValueKind};

/// A checked expression of any kind.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Truth(Truth),
    Whole(Whole),
    Number(Number),
    Text(Text),
}

impl Node {
    pub(super) const fn kind(&self) -> ValueKind {
        match self {
            Self::Truth(_) => ValueKind::Bool,
            Self::Whole(_) => ValueKind::Int,
            Self::Number(_) => ValueKind::Float,
            Self::Text(_) => ValueKind::Text,
        }
    }
}

/// An expression that is true or false.
#[derive(Clone, Debug)]
pub(super) enum Truth {
    Constant(bool),
    Attribute(CompactString),
    Present(Source),
    Not(Box<Truth>),
    /// `a && b && ..`, flattened.
    All(Box<[Truth]>),
    /// `a || b || ..`, flattened.
    Any(Box<[Truth]>),
    Choice(Box<Choice<Truth>>),
    /// Both sides alike (`true`) or not (`false`).
    Alike(bool, Box<(Truth, Truth)>),
    Wholes(Relation, Box<(Whole, Whole)>),
    Numbers(Relation, Box<(Number, Number)>),
    Texts(Relation, Box<(Text, Text)>),
    WholeIn(Box<(Whole, Box<[i64]>)>),
    NumberIn(Box<(Number, Box<[f64]>)>),
    TextIn(Box<(Text, Box<[CompactString]>)>),
    TextTest(TextTest, Box<(Text, Text)>),
}

/// An expression that is a whole number.
#[derive(Clone, Debug)]
pub(super) enum Whole {
    Constant(i64),
    Field(Field),
    Attribute(CompactString),
    Negate(Box<Whole>),
    Absolute(Box<Whole>),
    Arithmetic(Arithmetic, Box<(Whole, Whole)>),
    Choice(Box<Choice<Whole>>),
    /// A double cut towards zero.
    Cut(Box<Number>),
    /// Characters of a text.
    Size(Box<Text>),
}

/// An expression that is a double.
#[derive(Clone, Debug)]
pub(super) enum Number {
    Constant(f64),
    Feature(usize),
    Score,
    Field(Field),
    Attribute(CompactString),
    Negate(Box<Number>),
    Arithmetic(Arithmetic, Box<(Number, Number)>),
    Choice(Box<Choice<Number>>),
    Widened(Box<Whole>),
    Call(Function, Box<Number>),
    Power(Box<(Number, Number)>),
    /// Great-circle kilometres between two points: latitude, longitude, latitude, longitude.
    HaversineKm(Box<[Number; 4]>),
}

/// An expression that is text.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Constant(CompactString),
    Field(Field),
    Attribute(CompactString),
    Choice(Box<Choice<Text>>),
}

/// `condition ? yes : no`.
#[derive(Clone, Debug)]
pub(super) struct Choice<T> {
    pub(super) condition: Truth,
    pub(super) yes: T,
    pub(super) no: T,
}

/// A name that can be asked for its presence.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Field(FieldRef),
    Feature(usize),
    Score,
}

/// How two values of one kind are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    /// Compares; a pair with no order (NaN) is unequal and nothing else.
    #[inline]
    pub(super) fn holds<T: PartialOrd + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// What joins two numbers of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// Whole numbers only.
    Remainder,
    Minimum,
    Maximum,
}

/// A function of one double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Absolute,
    SquareRoot,
    /// The natural logarithm of one plus the argument.
    LogOnePlus,
}

/// A question about two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

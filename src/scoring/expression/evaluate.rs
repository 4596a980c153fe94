//! Evaluation: a walk over the typed tree, without allocation, with three outcomes: a value, absent, failed.
//!
//! ```text
//!  &&     true   false  none         ||     true  false  none
//!  true   true   false  none         true   true  true   true
//!  false  false  false  false        false  true  false  none
//!  none   none   false  none         none   true  none   none       (none: absent or failed)
//! ```
//! Of two operands without a value, `&&` and `||` report a failure before an absence; everything else
//! reports the first it meets, left to right. A ternary evaluates only the branch it takes. The walk's
//! depth is bounded by the checker.

use crate::domain::{Field, Value};

use super::node::{Arithmetic, Choice, Function, Number, Source, Text, TextTest, Truth, Whole};
use super::{NoValue, Scope};

const EARTH_RADIUS_KM: f64 = 6_371.008_8;

impl Truth {
    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<bool, NoValue> {
        Ok(match self {
            Self::Constant(flag) => *flag,
            Self::Attribute(name) => match scope.transaction.attribute(name) {
                Value::Bool(flag) => flag,
                Value::Absent | Value::Int(_) | Value::Float(_) | Value::Text(_) => return Err(NoValue::Absent),
            },
            Self::Present(source) => source.is_present(scope),
            Self::Not(inner) => !inner.evaluate(scope)?,
            Self::All(parts) => return fold(parts, scope, false),
            Self::Any(parts) => return fold(parts, scope, true),
            Self::Choice(choice) => return choice.taken(scope)?.evaluate(scope),
            Self::Alike(alike, sides) => (sides.0.evaluate(scope)? == sides.1.evaluate(scope)?) == *alike,
            Self::Wholes(relation, sides) => relation.holds(&sides.0.evaluate(scope)?, &sides.1.evaluate(scope)?),
            Self::Numbers(relation, sides) => relation.holds(&sides.0.evaluate(scope)?, &sides.1.evaluate(scope)?),
            Self::Texts(relation, sides) => relation.holds(sides.0.evaluate(scope)?, sides.1.evaluate(scope)?),
            Self::WholeIn(sides) => sides.1.contains(&sides.0.evaluate(scope)?),
            Self::NumberIn(sides) => sides.1.contains(&sides.0.evaluate(scope)?),
            Self::TextIn(sides) => {
                let text = sides.0.evaluate(scope)?;
                sides.1.iter().any(|known| known == text)
            }
            Self::TextTest(test, sides) => test.holds(sides.0.evaluate(scope)?, sides.1.evaluate(scope)?),
        })
    }
}

/// Joins truths of which one that is `decisive` decides alone, whatever the others are.
fn fold(parts: &[Truth], scope: &Scope<'_>, decisive: bool) -> Result<bool, NoValue> {
    let mut missing = None;
    for part in parts {
        match part.evaluate(scope) {
            Ok(flag) if flag == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(NoValue::Failed) => missing = Some(NoValue::Failed),
            Err(NoValue::Absent) => missing = missing.or(Some(NoValue::Absent)),
        }
    }
    missing.map_or(Ok(!decisive), Err)
}

impl<T> Choice<T> {
    fn taken(&self, scope: &Scope<'_>) -> Result<&T, NoValue> {
        Ok(if self.condition.evaluate(scope)? { &self.yes } else { &self.no })
    }
}

impl Whole {
    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<i64, NoValue> {
        match self {
            Self::Constant(number) => Ok(*number),
            Self::Field(field) => whole(field_value(scope, *field)),
            Self::Attribute(name) => whole(scope.transaction.attribute(name)),
            Self::Negate(inner) => inner.evaluate(scope)?.checked_neg().ok_or(NoValue::Failed),
            Self::Absolute(inner) => inner.evaluate(scope)?.checked_abs().ok_or(NoValue::Failed),
            Self::Arithmetic(operator, sides) => operator.wholes(sides.0.evaluate(scope)?, sides.1.evaluate(scope)?),
            Self::Choice(choice) => choice.taken(scope)?.evaluate(scope),
            Self::Cut(number) => cut(number.evaluate(scope)?),
            Self::Size(text) => i64::try_from(text.evaluate(scope)?.chars().count()).map_err(|_| NoValue::Failed),
        }
    }
}

impl Number {
    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<f64, NoValue> {
        match self {
            Self::Constant(number) => Ok(*number),
            Self::Feature(index) => scope.features.get(*index).ok_or(NoValue::Absent),
            Self::Score => scope.score.map(crate::domain::Score::get).ok_or(NoValue::Absent),
            Self::Field(field) => number(field_value(scope, *field)),
            Self::Attribute(name) => number(scope.transaction.attribute(name)),
            Self::Negate(inner) => Ok(-inner.evaluate(scope)?),
            Self::Arithmetic(operator, sides) => {
                Ok(operator.numbers(sides.0.evaluate(scope)?, sides.1.evaluate(scope)?))
            }
            Self::Choice(choice) => choice.taken(scope)?.evaluate(scope),
            Self::Widened(inner) => Ok(widened(inner.evaluate(scope)?)),
            Self::Call(function, inner) => Ok(function.call(inner.evaluate(scope)?)),
            Self::Power(sides) => Ok(sides.0.evaluate(scope)?.powf(sides.1.evaluate(scope)?)),
            Self::HaversineKm(points) => {
                let [from_lat, from_lon, to_lat, to_lon] = points.as_ref();
                let from = (from_lat.evaluate(scope)?, from_lon.evaluate(scope)?);
                Ok(haversine_km(from, (to_lat.evaluate(scope)?, to_lon.evaluate(scope)?)))
            }
        }
    }
}

impl Text {
    fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<&'a str, NoValue> {
        match self {
            Self::Constant(text) => Ok(text),
            Self::Field(field) => text(field_value(scope, *field)),
            Self::Attribute(name) => text(scope.transaction.attribute(name)),
            Self::Choice(choice) => choice.taken(scope)?.evaluate(scope),
        }
    }
}

impl Source {
    fn is_present(&self, scope: &Scope<'_>) -> bool {
        match self {
            Self::Field(field) => scope.transaction.read(field).is_present(),
            Self::Feature(index) => scope.features.get(*index).is_some(),
            Self::Score => scope.score.is_some(),
        }
    }
}

fn field_value<'a>(scope: &Scope<'a>, field: Field) -> Value<'a> {
    scope.transaction.value(field)
}

/// Reads a whole number; an attribute sent as another kind than declared is absent.
fn whole(value: Value<'_>) -> Result<i64, NoValue> {
    match value {
        Value::Int(number) => Ok(number),
        Value::Absent | Value::Bool(_) | Value::Float(_) | Value::Text(_) => Err(NoValue::Absent),
    }
}

/// Reads a double; a whole number is one too, since JSON writes 3.0 as 3.
fn number(value: Value<'_>) -> Result<f64, NoValue> {
    match value {
        Value::Float(number) => Ok(number),
        Value::Int(number) => Ok(widened(number)),
        Value::Absent | Value::Bool(_) | Value::Text(_) => Err(NoValue::Absent),
    }
}

fn text(value: Value<'_>) -> Result<&str, NoValue> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Absent | Value::Bool(_) | Value::Int(_) | Value::Float(_) => Err(NoValue::Absent),
    }
}

fn widened(number: i64) -> f64 {
    number as f64
}

/// Cuts towards zero; CEL excludes both ends of the range, which doubles cannot tell apart.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
pub(super) fn cut(number: f64) -> Result<i64, NoValue> {
    let inside = number > i64::MIN as f64 && number < i64::MAX as f64;
    if inside { Ok(number as i64) } else { Err(NoValue::Failed) }
}

impl Arithmetic {
    fn wholes(self, left: i64, right: i64) -> Result<i64, NoValue> {
        let result = match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::Remainder => left.checked_rem(right),
            Self::Minimum => Some(left.min(right)),
            Self::Maximum => Some(left.max(right)),
        };
        result.ok_or(NoValue::Failed)
    }

    fn numbers(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
            Self::Minimum => left.min(right),
            Self::Maximum => left.max(right),
        }
    }
}

impl Function {
    fn call(self, number: f64) -> f64 {
        match self {
            Self::Absolute => number.abs(),
            Self::SquareRoot => number.sqrt(),
            Self::LogOnePlus => number.ln_1p(),
        }
    }
}

impl TextTest {
    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            Self::StartsWith => text.starts_with(part),
            Self::EndsWith => text.ends_with(part),
            Self::Contains => text.contains(part),
        }
    }
}

/// Returns the great-circle distance of two points given as latitude and longitude in degrees.
fn haversine_km(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (from_lat, to_lat) = (from.0.to_radians(), to.0.to_radians());
    let half_lat = ((to_lat - from_lat) / 2.0).sin();
    let half_lon = ((to.1 - from.1).to_radians() / 2.0).sin();
    let chord = half_lat * half_lat + from_lat.cos() * to_lat.cos() * half_lon * half_lon;
    // Rounding can push the chord of two antipodes just above 1, where asin has no value.
    2.0 * EARTH_RADIUS_KM * chord.min(1.0).sqrt().asin()
}

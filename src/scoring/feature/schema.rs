//! The schema: what a release's features are called, in which order, and how each is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;

use super::calendar::{Calendar, CalendarFact};
use crate::domain::{FieldRef, Span, ValueKind};
use crate::scoring::expression::{Environment, Expression};
use crate::scoring::window::{Above, LabelFilter, Measure};

/// One thing wrong with a schema, with its cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {subject}: {message}; {cure}")]
pub struct SchemaFault {
    /// 1-based line of the table in the file.
    pub line: usize,
    /// The feature, entity or key it is about.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub cure: String,
}

/// An entity whose events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityKind {
    /// Its name in the schema and in `/v1/entities/{kind}`.
    pub name: CompactString,
    /// The text fields that make its key.
    pub key: Vec<FieldRef>,
}

/// A feature over the events of an entity.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Place in [`Schema::entities`].
    pub entity: usize,
    /// What is computed.
    pub measure: Measure,
    /// Of which field, where the measure needs one.
    pub column: Option<FieldRef>,
    /// Length of the window.
    pub window: Span,
    /// How long before the transaction the window ends.
    pub delay: Span,
    /// Only the newest events of the window.
    pub last: Option<u32>,
    /// The text of `where` and its compiled form.
    pub predicate: Option<(CompactString, Expression)>,
    /// Only events whose field equals the transaction's.
    pub same: Option<FieldRef>,
    /// Only events with such a label.
    pub labels: LabelFilter,
    /// Only events whose column lies above a factor of an earlier feature.
    pub above: Option<Above>,
    /// Whether the transaction itself is inside.
    pub include_current: bool,
    /// Length of a pane, for entities too hot for a log.
    pub resolution: Option<Span>,
    /// Divides values.
    pub divide_by: f64,
}

/// How a feature is made.
#[derive(Clone, Debug)]
pub enum Source {
    /// A number or truth value of the transaction.
    Field {
        /// Which.
        field: FieldRef,
        /// Divides it.
        divide_by: f64,
    },
    /// A number for each text of a dictionary.
    Codes {
        /// Which text.
        field: FieldRef,
        /// Its codes.
        codes: BTreeMap<CompactString, f64>,
        /// The code of every other text.
        unseen: f64,
    },
    /// A fact of the calendar.
    Calendar(CalendarFact),
    /// Something over an entity's events.
    Aggregate(Box<Aggregate>),
    /// Arithmetic over the transaction and earlier features.
    Expression(Expression),
}

/// One declared feature.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Its name, unique, read by rules as `features.NAME`.
    pub name: CompactString,
    /// Whether the model reads it; else it is for rules only.
    pub input: bool,
    /// What stands for it when there is nothing to compute from; may be NaN.
    pub missing: f64,
    /// The reason code it gives when it drives a decision.
    pub code: Arc<str>,
    /// What it is, for people.
    pub description: Arc<str>,
    /// How it is made.
    pub source: Source,
}

/// A checked schema.
#[derive(Clone, Debug)]
pub struct Schema {
    pub(super) name: CompactString,
    pub(super) version: u32,
    pub(super) hash: String,
    pub(super) calendar: Calendar,
    pub(super) attributes: BTreeMap<CompactString, ValueKind>,
    pub(super) entities: Vec<EntityKind>,
    pub(super) features: Vec<Feature>,
    pub(super) inputs: Vec<usize>,
}

impl Schema {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Returns the SHA-256 of its canonical text in hexadecimal: comments, spaces and the order of
    /// keys do not matter, everything else does.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the features in the order of the vector.
    #[must_use]
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Returns the places of the model's inputs in the vector, in the order of the model.
    #[must_use]
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Returns the declared free attributes.
    #[must_use]
    pub const fn attributes(&self) -> &BTreeMap<CompactString, ValueKind> {
        &self.attributes
    }

    /// Returns the entity kinds.
    #[must_use]
    pub fn entities(&self) -> &[EntityKind] {
        &self.entities
    }

    /// Returns the time zone's calendar.
    #[must_use]
    pub const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Returns how far back any feature looks: its window and its delay.
    #[must_use]
    pub fn longest_window(&self) -> Span {
        let reach = self.aggregates().map(|aggregate| aggregate.window.micros() + aggregate.delay.micros());
        Span::from_micros(reach.max().unwrap_or(0))
    }

    /// Returns what rules may read beside this schema: fields, attributes, features, and the score
    /// when `with_score`.
    #[must_use]
    pub fn environment(&self, with_score: bool) -> Environment {
        Environment {
            attributes: self.attributes.clone(),
            features: self.features.iter().map(|feature| feature.name.clone()).collect(),
            score: with_score,
        }
    }

    /// Returns the kind of a field, attributes as declared; `None` for an undeclared attribute.
    #[must_use]
    pub fn kind_of(&self, field: &FieldRef) -> Option<ValueKind> {
        kind_of(field, &self.attributes)
    }

    fn aggregates(&self) -> impl Iterator<Item = &Aggregate> {
        self.features.iter().filter_map(|feature| match &feature.source {
            Source::Aggregate(aggregate) => Some(&**aggregate),
            Source::Field { .. } | Source::Codes { .. } | Source::Calendar(_) | Source::Expression(_) => None,
        })
    }
}

pub(super) fn kind_of(field: &FieldRef, attributes: &BTreeMap<CompactString, ValueKind>) -> Option<ValueKind> {
    match field {
        FieldRef::Known(field) => Some(field.kind()),
        FieldRef::Attribute(name) => attributes.get(name).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_schemas_are_right() {
        let check = |text: &str, features: usize, inputs: usize, days: i64| {
            let schema = Schema::parse(text).unwrap_or_else(|faults| panic!("{faults:#?}"));
            assert_eq!((schema.features().len(), schema.inputs().len()), (features, inputs), "{}", schema.name());
            assert_eq!(schema.longest_window(), Span::from_days(days));
        };
        check(include_str!("../../../models/schemas/handbook.toml"), 15, 15, 37);
        check(include_str!("../../../models/schemas/handbook-rich.toml"), 50, 42, 60);
        check(include_str!("../../../models/schemas/card-fraud.toml"), 101, 55, 60);
    }
}

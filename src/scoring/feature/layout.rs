//! The layout: what one store keeps so that it can serve every resident schema.
//!
//! Entity kinds, columns and predicates are shared by name and meaning; places are only ever added, so
//! a plan compiled earlier stays right. An event's `where` is evaluated once, when it is inserted.

use std::collections::BTreeMap;

use compact_str::CompactString;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::schema::{EntityKind, Schema, kind_of};
use super::{ENTITY_KINDS_MAX, KEY_FIELDS_MAX};
use crate::domain::{EntityKey, FeatureVector, Field, FieldRef, TextField, Transaction, Value, ValueKind};
use crate::scoring::expression::{Expression, Scope};
use crate::scoring::window::{ABSENT, ColumnKind, HEADER_WORDS, PREDICATES_MAX, PaneSpec, id_word};

/// Why a schema cannot live in the same store as those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The same entity name with another key.
    #[error("entity {kind} has another key than in a resident schema: rename it")]
    Key {
        /// The entity.
        kind: CompactString,
    },
    /// Too many entity kinds in all resident schemas.
    #[error("more than {ENTITY_KINDS_MAX} entity kinds in all resident schemas: share or drop some")]
    Kinds,
    /// Too many different `where`.
    #[error("more than {PREDICATES_MAX} different where in all resident schemas: share or drop some")]
    Predicates,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Field(FieldRef, ColumnKind),
    LabelTime,
}

/// What is kept of one entity kind.
#[derive(Clone, Debug)]
pub struct KindLayout {
    kind: EntityKind,
    seed: u64,
    columns: Vec<Column>,
    pub(super) panes: Vec<PaneSpec>,
    pub(super) keeps_events: bool,
    pub(super) reach: i64,
}

#[derive(Clone, Debug)]
struct Predicate {
    text: CompactString,
    attributes: BTreeMap<CompactString, ValueKind>,
    expression: Expression,
}

/// What a store keeps.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    kinds: Vec<KindLayout>,
    predicates: Vec<Predicate>,
}

/// The words of one row.
pub type Row = SmallVec<[u64; 16]>;

impl Layout {
    /// Returns what is kept of each entity kind, in the order in which they came.
    #[must_use]
    pub fn kinds(&self) -> &[KindLayout] {
        &self.kinds
    }

    /// Returns how far back any feature of any kind looks, in microseconds.
    #[must_use]
    pub fn reach_max(&self) -> i64 {
        self.kinds.iter().map(KindLayout::kept).max().unwrap_or(0)
    }

    /// Returns a number that grows with everything a schema makes the store keep in addition.
    #[must_use]
    pub fn size(&self) -> (usize, i64) {
        let panes =
            |kind: &KindLayout| kind.panes.iter().map(|spec| 1 + usize::from(spec.column.is_some())).sum::<usize>();
        let parts = self.kinds.iter().map(|kind| 1 + kind.columns.len() + panes(kind)).sum::<usize>();
        (parts + self.predicates.len(), self.kinds.iter().map(KindLayout::kept).sum())
    }

    /// Evaluates every predicate once: bit n says whether the n-th held. One that cannot be evaluated
    /// because something it reads is absent did not hold.
    #[must_use]
    pub fn predicates(&self, transaction: &Transaction) -> u32 {
        let scope = Scope { transaction, features: &FeatureVector::default(), score: None };
        let mut bits = 0;
        for (place, predicate) in self.predicates.iter().enumerate() {
            bits |= u32::from(predicate.expression.evaluate_bool(&scope) == Ok(true)) << place;
        }
        bits
    }

    pub(super) fn add_kind(&mut self, kind: &EntityKind) -> Result<usize, Conflict> {
        if let Some(place) = self.kinds.iter().position(|known| known.kind.name == kind.name) {
            let same = self.kinds[place].kind == *kind;
            return if same { Ok(place) } else { Err(Conflict::Key { kind: kind.name.clone() }) };
        }
        if self.kinds.len() >= ENTITY_KINDS_MAX {
            return Err(Conflict::Kinds);
        }
        self.kinds.push(KindLayout {
            kind: kind.clone(),
            seed: xxh3_64(kind.name.as_bytes()),
            columns: Vec::new(),
            panes: Vec::new(),
            keeps_events: false,
            reach: 0,
        });
        Ok(self.kinds.len() - 1)
    }

    pub(super) fn kind_mut(&mut self, place: usize) -> &mut KindLayout {
        &mut self.kinds[place]
    }

    pub(super) fn add_predicate(
        &mut self,
        schema: &Schema,
        (text, expression): &(CompactString, Expression),
    ) -> Result<u8, Conflict> {
        let reads_attributes = text.contains("attributes");
        let known = self
            .predicates
            .iter()
            .position(|known| known.text == *text && (!reads_attributes || known.attributes == *schema.attributes()));
        let place = known.unwrap_or(self.predicates.len());
        if place >= PREDICATES_MAX {
            return Err(Conflict::Predicates);
        }
        if known.is_none() {
            let attributes = schema.attributes().clone();
            self.predicates.push(Predicate { text: text.clone(), attributes, expression: expression.clone() });
        }
        u8::try_from(place).map_err(|_| Conflict::Predicates)
    }
}

impl KindLayout {
    /// Returns the kind's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.kind.name
    }

    /// Returns how many columns a row has.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Returns the sets of panes of an entity.
    #[must_use]
    pub fn panes(&self) -> &[PaneSpec] {
        &self.panes
    }

    /// Tells whether events are kept at all, or only panes.
    #[must_use]
    pub const fn keeps_events(&self) -> bool {
        self.keeps_events
    }

    /// Returns how far back any window over events looks, in microseconds.
    #[must_use]
    pub const fn reach(&self) -> i64 {
        self.reach
    }

    /// Returns how far back events or panes are kept, in microseconds.
    #[must_use]
    pub fn kept(&self) -> i64 {
        let panes = self.panes.iter().map(|spec| spec.retention + spec.resolution);
        panes.fold(self.reach, i64::max)
    }

    /// Returns the word that holds a label's time, when any feature reads labels here.
    #[must_use]
    pub fn label_word(&self) -> Option<usize> {
        self.columns.iter().position(|column| *column == Column::LabelTime).map(|place| HEADER_WORDS + place)
    }

    /// Returns the key of an entity by its id; for a key of several fields, their texts joined by the
    /// unit separator U+001F.
    #[must_use]
    pub fn key_of(&self, id: &str) -> EntityKey {
        EntityKey::new(self.seed, id)
    }

    /// Tells whether the key is one field: then an entity's id is its text.
    #[must_use]
    pub fn is_of_one_field(&self) -> bool {
        self.kind.key.len() == 1
    }

    /// Returns the place of a text field in the key; `None` when it is no part of it.
    #[must_use]
    pub fn place_in_key(&self, field: TextField) -> Option<usize> {
        self.kind.key.iter().take(KEY_FIELDS_MAX).position(|part| *part == FieldRef::Known(Field::Text(field)))
    }

    /// Returns the transaction's entity; `None` when a field of the key was not sent.
    #[must_use]
    pub fn key(&self, transaction: &Transaction) -> Option<EntityKey> {
        if let [field] = self.kind.key.as_slice() {
            return text(transaction, field).map(|id| self.key_of(id));
        }
        let mut joined = SmallVec::<[u8; 160]>::new();
        for (place, field) in self.kind.key.iter().take(KEY_FIELDS_MAX).enumerate() {
            if place > 0 {
                joined.push(0x1f);
            }
            joined.extend_from_slice(text(transaction, field)?.as_bytes());
        }
        std::str::from_utf8(&joined).ok().map(|id| self.key_of(id))
    }

    /// Builds the transaction's row.
    #[must_use]
    pub fn row(&self, transaction: &Transaction, id_hash: u64, predicates: u32) -> Row {
        let mut row = Row::new();
        row.push(transaction.occurred_at().micros().cast_unsigned());
        row.push(id_word(id_hash, predicates));
        row.extend(self.columns.iter().map(|column| match column {
            Column::Field(field, kind) => kind.word(transaction.read(field)),
            Column::LabelTime => ABSENT,
        }));
        row
    }

    pub(super) fn add_column(&mut self, schema: &Schema, field: &FieldRef) -> (usize, ColumnKind) {
        // Undeclared attributes are refused at parse; text is the kind that reads no number from one.
        let kind = ColumnKind::of(kind_of(field, schema.attributes()).unwrap_or(ValueKind::Text));
        (self.place(Column::Field(field.clone(), kind)), kind)
    }

    pub(super) fn add_label_word(&mut self) -> usize {
        self.place(Column::LabelTime)
    }

    fn place(&mut self, column: Column) -> usize {
        let known = self.columns.iter().position(|known| *known == column);
        HEADER_WORDS
            + known.unwrap_or_else(|| {
                self.columns.push(column);
                self.columns.len() - 1
            })
    }
}

fn text<'a>(transaction: &'a Transaction, field: &FieldRef) -> Option<&'a str> {
    match transaction.read(field) {
        Value::Text(text) => Some(text),
        Value::Absent | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
    }
}

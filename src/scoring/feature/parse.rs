//! From the text of a schema to a [`Schema`], or to every fault in it at once.
//!
//! Each table is read by itself, so a typo in one feature does not hide those of the others. A feature
//! with a fault still takes its place and its name, so that what reads it is not blamed as well.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::aggregate::divisor;
use super::calendar::{Calendar, CalendarFact};
use super::raw::{OneOrMany, RawEntity, RawFeature, RawMissing, RawSchema};
use super::schema::{EntityKind, Feature, Schema, SchemaFault, Source, kind_of};
use super::{ENTITY_KINDS_MAX, FEATURES_MAX, KEY_FIELDS_MAX};
use crate::domain::{FieldRef, Span, ValueKind};
use crate::scoring::expression::{Environment, Expression, Fault};

const KINDS: [(ValueKind, &str); 4] =
    [(ValueKind::Bool, "bool"), (ValueKind::Int, "int"), (ValueKind::Float, "float"), (ValueKind::Text, "text")];

impl Schema {
    /// Parses and checks a schema.
    ///
    /// # Errors
    /// Every fault found, at least one, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, Vec<SchemaFault>> {
        let raw: RawSchema = toml::from_str(text).map_err(|error| vec![syntax(text, &error)])?;
        let mut checker = Checker::new(text, &raw);
        checker.entities(&raw.entity);
        checker.features(&raw);
        let Checker { attributes, entities, features, faults, .. } = checker;
        if !faults.is_empty() {
            return Err(faults);
        }
        let inputs = (0..features.len()).filter(|&place| features[place].input).collect();
        let calendar = Calendar::new(&raw.time_zone).unwrap_or_else(utc);
        let hash = canonical_hash(text);
        Ok(Self { name: raw.name, version: raw.version, hash, calendar, attributes, entities, features, inputs })
    }
}

fn utc() -> Calendar {
    Calendar::new("UTC").expect("UTC is compiled in")
}

/// Tables re-serialised with sorted keys: comments, spaces and spelling do not count.
fn canonical_hash(text: &str) -> String {
    let canonical = text.parse::<toml::Table>().ok().and_then(|table| toml::to_string(&table).ok());
    let digest = Sha256::digest(canonical.as_deref().unwrap_or(text));
    digest.iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).split('\n').count()
}

fn syntax(text: &str, error: &toml::de::Error) -> SchemaFault {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    let message = error.message().replace('\n', " ");
    SchemaFault {
        line,
        subject: "schema".into(),
        message,
        cure: "see docs/features.md for the keys of a schema".into(),
    }
}

/// What is wrong and its cure.
pub(super) type Wrong = (String, String);

pub(super) fn wrong<T>(message: impl Into<String>, cure: impl Into<String>) -> Result<T, Wrong> {
    Err((message.into(), cure.into()))
}

pub(super) fn choose<T: Copy>(what: &str, word: &str, choices: &[(T, &str)]) -> Result<T, Wrong> {
    if let Some((value, _)) = choices.iter().find(|(_, name)| *name == word) {
        return Ok(*value);
    }
    let names: Vec<_> = choices.iter().map(|(_, name)| *name).collect();
    wrong(format!("{what} = \"{word}\" is unknown"), format!("use one of {}", names.join(", ")))
}

pub(super) fn span(what: &str, text: &str) -> Result<Span, Wrong> {
    let Some(span) = Span::parse(text).filter(|span| span.micros() > 0) else {
        return wrong(
            format!("{what} = \"{text}\" is not a length of time above 0"),
            "write for example \"24h\" or \"7d\"",
        );
    };
    Ok(span)
}

fn missing_value(missing: &RawMissing) -> Result<f64, Wrong> {
    match missing {
        RawMissing::Number(number) if number.is_finite() => Ok(*number),
        RawMissing::Word(word) if word == "nan" => Ok(f64::NAN),
        RawMissing::Number(_) | RawMissing::Word(_) => {
            wrong("missing is neither a finite number nor \"nan\"", "write missing = 0.0 or missing = \"nan\"")
        }
    }
}

pub(super) struct Checker<'a> {
    text: &'a str,
    line: usize,
    subject: String,
    attributes: BTreeMap<CompactString, ValueKind>,
    pub(super) entities: Vec<EntityKind>,
    pub(super) features: Vec<Feature>,
    faults: Vec<SchemaFault>,
}

impl<'a> Checker<'a> {
    fn new(text: &'a str, raw: &RawSchema) -> Self {
        let mut checker = Self {
            text,
            line: 1,
            subject: "schema".into(),
            attributes: BTreeMap::new(),
            entities: Vec::new(),
            features: Vec::new(),
            faults: Vec::new(),
        };
        checker.head(raw);
        checker
    }

    fn fault(&mut self, (message, cure): Wrong) {
        self.faults.push(SchemaFault { line: self.line, subject: self.subject.clone(), message, cure });
    }

    fn note<T>(&mut self, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|found| self.fault(found)).ok()
    }

    fn head(&mut self, raw: &RawSchema) {
        if Calendar::new(&raw.time_zone).is_none() {
            let cure = "use an IANA name such as \"UTC\" or \"Europe/Paris\"";
            self.fault((format!("time_zone = \"{}\" is unknown", raw.time_zone), cure.into()));
        }
        for (name, kind) in &raw.attributes {
            if let Some(kind) = self.note(choose(&format!("attributes.{name}"), kind, &KINDS)) {
                self.attributes.insert(name.clone(), kind);
            }
        }
        let bounds =
            [("entity kinds", raw.entity.len(), ENTITY_KINDS_MAX), ("features", raw.feature.len(), FEATURES_MAX)];
        for (what, count, most) in bounds {
            if count > most {
                self.fault((format!("{count} {what} are more than {most}"), "split the schema".into()));
            }
        }
        if raw.feature.is_empty() {
            self.fault(("there is no feature".into(), "add a [[feature]] table".into()));
        }
    }

    /// Reads one table; remembers where it is and what it calls itself for the faults to come.
    fn table<T: DeserializeOwned>(&mut self, what: &str, table: &Spanned<toml::Table>) -> Option<T> {
        self.line = line_of(self.text, table.span().start);
        let name = table.get_ref().get("name").and_then(toml::Value::as_str);
        self.subject = name.map_or_else(|| what.to_owned(), |name| format!("{what} {name}"));
        let cure = "see docs/features.md for its keys";
        let read = table.get_ref().clone().try_into::<T>();
        self.note(read.map_err(|error| (error.message().replace('\n', " "), cure.into())))
    }

    fn entities(&mut self, tables: &[Spanned<toml::Table>]) {
        for table in tables {
            let Some(raw) = self.table::<RawEntity>("entity", table) else { continue };
            let paths = match raw.key {
                OneOrMany::One(path) => vec![path],
                OneOrMany::Many(paths) => paths,
            };
            if paths.is_empty() || paths.len() > KEY_FIELDS_MAX {
                let message = format!("a key of {} fields", paths.len());
                self.fault((message, format!("name 1 to {KEY_FIELDS_MAX} text fields")));
            }
            let fields: Vec<_> = paths.iter().map(|path| self.field("key", path, &[ValueKind::Text])).collect();
            let key = fields.into_iter().filter_map(|field| self.note(field)).collect();
            if self.entities.iter().any(|known| known.name == raw.name) {
                self.fault(("the same entity twice".into(), "rename or remove one".into()));
            }
            self.entities.push(EntityKind { name: raw.name, key });
        }
    }

    fn features(&mut self, raw: &RawSchema) {
        for table in &raw.feature {
            let Some(feature) = self.table::<RawFeature>("feature", table) else {
                self.placeholder(table);
                continue;
            };
            self.name(&feature.name);
            let missing = self.missing(&feature, raw.missing.as_ref());
            let source = self.source(&feature);
            let source = self.note(source).unwrap_or(Source::Calendar(CalendarFact::Hour));
            if feature.description.is_none() {
                self.fault(("description is missing".into(), "say in one sentence what it is".into()));
            }
            self.features.push(Feature {
                code: feature.code.unwrap_or_else(|| feature.name.to_ascii_uppercase().into()).into(),
                name: feature.name,
                input: feature.input,
                missing,
                description: feature.description.unwrap_or_default().into(),
                source,
            });
        }
        if !self.features.is_empty() && !self.features.iter().any(|feature| feature.input) {
            self.line = 1;
            self.subject = "schema".into();
            self.fault(("no feature is an input of the model".into(), "drop input = false from one at least".into()));
        }
    }

    fn placeholder(&mut self, table: &Spanned<toml::Table>) {
        let name = table.get_ref().get("name").and_then(toml::Value::as_str).unwrap_or_default();
        self.features.push(Feature {
            name: name.into(),
            input: true,
            missing: 0.0,
            code: "".into(),
            description: "".into(),
            source: Source::Calendar(CalendarFact::Hour),
        });
    }

    fn name(&mut self, name: &str) {
        let word = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !word || !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.len() > 64 {
            let cure = "use lower-case letters, digits and _, at most 64, a letter first";
            self.fault(("the name is not a word".into(), cure.into()));
        }
        if self.features.iter().any(|known| known.name == name) {
            self.fault(("the same feature twice".into(), "rename or remove one".into()));
        }
    }

    fn missing(&mut self, feature: &RawFeature, default: Option<&RawMissing>) -> f64 {
        let Some(missing) = feature.missing.as_ref().or(default) else {
            let cure = "write missing = 0.0 or missing = \"nan\" here or at the top of the schema";
            self.fault(("it is not said what a missing value becomes".into(), cure.into()));
            return 0.0;
        };
        self.note(missing_value(missing)).unwrap_or(0.0)
    }

    fn source(&mut self, raw: &RawFeature) -> Result<Source, Wrong> {
        match (&raw.field, &raw.calendar, &raw.aggregate, &raw.expr) {
            (Some(path), None, None, None) => self.field_source(path, raw),
            (None, Some(fact), None, None) => choose("calendar", fact, &CalendarFact::ALL).map(Source::Calendar),
            (None, None, Some(measure), None) => self.aggregate(measure, raw),
            (None, None, None, Some(text)) => {
                let features = self.features.iter().map(|feature| feature.name.clone()).collect();
                self.expression("expr", text, features, ValueKind::Float).map(Source::Expression)
            }
            _ => wrong("it needs exactly one of field, calendar, aggregate, expr", "keep one of them"),
        }
    }

    fn field_source(&self, path: &str, raw: &RawFeature) -> Result<Source, Wrong> {
        if let Some(codes) = &raw.codes {
            let field = self.field("field", path, &[ValueKind::Text])?;
            let Some(unseen) = raw.unseen else {
                return wrong("codes without a code for other texts", "add for example unseen = -1.0");
            };
            return Ok(Source::Codes { field, codes: codes.clone(), unseen });
        }
        let field = self.field("field", path, &[ValueKind::Bool, ValueKind::Int, ValueKind::Float])?;
        Ok(Source::Field { field, divide_by: divisor(raw)? })
    }

    pub(super) fn field(&self, what: &str, path: &str, kinds: &[ValueKind]) -> Result<FieldRef, Wrong> {
        let Some(field) = FieldRef::parse(path) else {
            return wrong(
                format!("{what} = \"{path}\" is no field"),
                "use a path such as \"card.token\" or \"attributes.NAME\"",
            );
        };
        let Some(kind) = kind_of(&field, &self.attributes) else {
            return wrong(format!("{what} = \"{path}\" is not declared"), "add its kind under [attributes]");
        };
        if !kinds.contains(&kind) {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            let cure = format!("use a field that is {}", names.join(" or "));
            return wrong(format!("{what} = \"{path}\" is {}", kind.name()), cure);
        }
        Ok(field)
    }

    pub(super) fn expression(
        &self,
        what: &str,
        text: &str,
        features: Vec<CompactString>,
        kind: ValueKind,
    ) -> Result<Expression, Wrong> {
        let environment = Environment { attributes: self.attributes.clone(), features, score: false };
        Expression::compile(text, &environment, kind).map_err(|faults| {
            let shown: Vec<_> = faults.iter().map(Fault::to_string).collect();
            (format!("{what} is wrong: {}", shown.join(" | ")), "only earlier features can be read".into())
        })
    }
}

//! The plan: a schema compiled against a layout, ready to be read for one transaction after another.
//!
//! ```text
//! begin   fields, calendar, codes        from the transaction alone
//! read    per entity kind: tracks, panes  under that entity's lock
//! finish  expressions, missing policy     a FeatureVector in declared order
//! ```

use std::sync::Arc;

use smallvec::SmallVec;

use super::layout::{Conflict, Layout};
use super::schema::{Aggregate, Schema, Source};
use crate::domain::{FeatureVector, Transaction, Value};
use crate::scoring::expression::Scope;
use crate::scoring::window::{AsOf, Filter, LabelFilter, Log, Measure, PaneSpec, PaneTrack, Reading, Seen, Track};

/// The features while they are computed; `None` is not computed or missing.
pub type Values = SmallVec<[Option<f64>; 128]>;

/// What a schema reads of one entity kind.
#[derive(Clone, Debug, Default)]
pub struct KindPlan {
    tracks: Vec<Track>,
    panes: Vec<PaneTrack>,
}

/// A schema compiled against a layout.
#[derive(Clone, Debug)]
pub struct Plan {
    schema: Arc<Schema>,
    kinds: Vec<KindPlan>,
}

impl KindPlan {
    /// Returns the tracks over the log, in the order in which they must be read.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Returns the tracks over panes.
    #[must_use]
    pub fn panes(&self) -> &[PaneTrack] {
        &self.panes
    }

    /// Returns the places of all features read here.
    pub fn features(&self) -> impl Iterator<Item = usize> {
        let tracks = self.tracks.iter().flat_map(|track| &track.readings);
        tracks.chain(self.panes.iter().flat_map(|track| &track.readings)).map(|reading| reading.feature)
    }

    /// Reads every track of a log; tells whether a window was incomplete.
    pub fn read(&self, log: &Log, as_of: &AsOf<'_>, seen: &mut Seen, values: &mut [Option<f64>]) -> bool {
        let mut capped = false;
        for track in &self.tracks {
            capped |= track.read(log, as_of, seen, values);
        }
        capped
    }
}

impl Plan {
    /// Compiles a schema; what it needs and `layout` does not keep yet is added to it.
    ///
    /// # Errors
    /// [`Conflict`], and then the layout may hold a part of the schema: compile against a copy.
    pub fn compile(schema: Arc<Schema>, layout: &mut Layout) -> Result<Self, Conflict> {
        let mut kinds: Vec<KindPlan> = Vec::new();
        for (feature, declared) in schema.features().iter().enumerate() {
            let Source::Aggregate(aggregate) = &declared.source else { continue };
            let kind = layout.add_kind(&schema.entities()[aggregate.entity])?;
            kinds.resize(kinds.len().max(kind + 1), KindPlan::default());
            Compiler { schema: &schema, layout, kind }.add(&mut kinds[kind], feature, aggregate)?;
        }
        for kind in &mut kinds {
            kind.join_counts();
            // A threshold reads what the other tracks wrote.
            kind.tracks.sort_by_key(|track| track.filter.above.is_some());
        }
        Ok(Self { schema, kinds })
    }

    /// Returns the schema it was compiled from.
    #[must_use]
    pub const fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns what is read of each entity kind, by its place in the layout; kinds that other schemas
    /// brought later are not there.
    #[must_use]
    pub fn kinds(&self) -> &[KindPlan] {
        &self.kinds
    }

    /// Computes what the transaction alone gives.
    #[must_use]
    pub fn begin(&self, transaction: &Transaction) -> Values {
        let features = self.schema.features().iter();
        features
            .map(|feature| match &feature.source {
                Source::Field { field, divide_by } => transaction.read(field).as_f64().map(|number| number / divide_by),
                Source::Codes { field, codes, unseen } => match transaction.read(field) {
                    Value::Text(text) => Some(codes.get(text).copied().unwrap_or(*unseen)),
                    Value::Absent | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
                },
                Source::Calendar(fact) => Some(self.schema.calendar().fact(*fact, transaction.occurred_at())),
                Source::Aggregate(_) | Source::Expression(_) => None,
            })
            .collect()
    }

    /// Evaluates expressions and applies the missing-value policies. A result that is not finite
    /// counts as missing.
    #[must_use]
    pub fn finish(&self, transaction: &Transaction, values: &Values, capped: bool) -> FeatureVector {
        let mut vector = FeatureVector::with_capacity(values.len());
        for (feature, value) in self.schema.features().iter().zip(values) {
            let computed = match &feature.source {
                Source::Expression(expression) => {
                    let scope = Scope { transaction, features: &vector, score: None };
                    expression.evaluate_number(&scope).ok()
                }
                Source::Field { .. } | Source::Codes { .. } | Source::Calendar(_) | Source::Aggregate(_) => *value,
            };
            vector.push(computed.filter(|value| value.is_finite()), feature.missing);
        }
        vector.capped = capped;
        vector
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    layout: &'a mut Layout,
    kind: usize,
}

impl Compiler<'_> {
    fn add(self, plan: &mut KindPlan, feature: usize, aggregate: &Aggregate) -> Result<(), Conflict> {
        let predicate = match &aggregate.predicate {
            Some(predicate) => Some(self.layout.add_predicate(self.schema, predicate)?),
            None => None,
        };
        let kind = self.layout.kind_mut(self.kind);
        let column = aggregate.column.as_ref().map(|field| kind.add_column(self.schema, field));
        let reading = reading(feature, aggregate);
        let reach = aggregate.window.micros() + aggregate.delay.micros();
        if let Some(resolution) = aggregate.resolution {
            let spec = PaneSpec { resolution: resolution.micros(), predicate, column, retention: reach };
            plan.add_panes(place_of(&mut kind.panes, spec), aggregate.delay.micros(), reading);
            return Ok(());
        }
        kind.keeps_events = true;
        kind.reach = kind.reach.max(reach);
        let reads_labels = aggregate.labels != LabelFilter::Any || aggregate.measure == Measure::RateOfFraud;
        plan.add_track(Track {
            filter: Filter {
                predicate,
                same: aggregate.same.as_ref().map(|field| kind.add_column(self.schema, field).0),
                labels: aggregate.labels,
                above: aggregate.above,
            },
            column,
            label_word: reads_labels.then(|| kind.add_label_word()),
            delay: aggregate.delay.micros(),
            readings: vec![reading],
        });
        Ok(())
    }
}

fn reading(feature: usize, aggregate: &Aggregate) -> Reading {
    Reading {
        feature,
        measure: aggregate.measure,
        window: aggregate.window.micros(),
        last: aggregate.last,
        of_values: aggregate.column.is_some(),
        include_current: aggregate.include_current,
        divide_by: aggregate.divide_by,
    }
}

/// Returns the place of a set of panes that serves both: it reaches as far back as either, and has a
/// column if either has one, for rows are counted beside it.
fn place_of(panes: &mut Vec<PaneSpec>, spec: PaneSpec) -> usize {
    let serves = |known: &PaneSpec| {
        let columns = known.column == spec.column || known.column.is_none() || spec.column.is_none();
        known.resolution == spec.resolution && known.predicate == spec.predicate && columns
    };
    let Some(place) = panes.iter().position(serves) else {
        panes.push(spec);
        return panes.len() - 1;
    };
    let known = &mut panes[place];
    known.retention = known.retention.max(spec.retention);
    known.column = known.column.or(spec.column);
    place
}

impl KindPlan {
    fn add_panes(&mut self, panes: usize, delay: i64, reading: Reading) {
        let known = self.panes.iter_mut().find(|track| track.panes == panes && track.delay == delay);
        match known {
            Some(track) => insert_sorted(&mut track.readings, reading),
            None => self.panes.push(PaneTrack { panes, delay, readings: vec![reading] }),
        }
    }

    fn add_track(&mut self, track: Track) {
        let known = self.tracks.iter_mut().find(|known| known.column == track.column && shares_pass(known, &track));
        match known {
            Some(known) => join(known, track),
            None => self.tracks.push(track),
        }
    }

    /// Lets tracks without a column ride along with one over the same rows.
    fn join_counts(&mut self) {
        let (with_column, without): (Vec<_>, Vec<_>) = self.tracks.drain(..).partition(|track| track.column.is_some());
        self.tracks = with_column;
        for track in without {
            match self.tracks.iter_mut().find(|known| shares_pass(known, &track)) {
                Some(known) => join(known, track),
                None => self.tracks.push(track),
            }
        }
    }
}

/// Tells whether two tracks go over the same rows in the same way.
fn shares_pass(left: &Track, right: &Track) -> bool {
    let (one, other) = (&left.readings[0], &right.readings[0]);
    let sums = |measure| !matches!(measure, Measure::Distinct | Measure::Last | Measure::TimeSince);
    let family = one.measure == other.measure || (sums(one.measure) && sums(other.measure));
    // Windows of the last k events nest only within one length of time.
    let nests = match (one.last, other.last) {
        (None, None) => true,
        (Some(_), Some(_)) => one.window == other.window && one.include_current == other.include_current,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let comparable = left.filter.above.is_none() || one.divide_by.to_bits() == other.divide_by.to_bits();
    let columns = left.column == right.column || (right.column.is_none() && sums(one.measure));
    left.filter == right.filter && left.delay == right.delay && family && nests && comparable && columns
}

fn join(known: &mut Track, track: Track) {
    known.label_word = known.label_word.or(track.label_word);
    for reading in track.readings {
        insert_sorted(&mut known.readings, reading);
    }
}

fn insert_sorted(readings: &mut Vec<Reading>, reading: Reading) {
    let key = |reading: &Reading| (reading.window, reading.last);
    let place = readings.partition_point(|known| key(known) <= key(&reading));
    readings.insert(place, reading);
}

//! The part of a schema's check that is about aggregates: what goes with what.

use super::WINDOW_DAYS_MAX;
use super::parse::{Checker, Wrong, choose, span, wrong};
use super::raw::{RawAbove, RawFeature};
use super::schema::{Aggregate, Source};
use crate::domain::{FieldRef, Span, ValueKind};
use crate::scoring::window::{Above, LabelFilter, Measure, PANES_MAX};

const MEASURES: [(Measure, &str); 10] = [
    (Measure::Count, "count"),
    (Measure::Sum, "sum"),
    (Measure::Mean, "mean"),
    (Measure::Std, "std"),
    (Measure::Min, "min"),
    (Measure::Max, "max"),
    (Measure::Distinct, "distinct"),
    (Measure::Last, "last"),
    (Measure::RateOfFraud, "rate_of_fraud"),
    (Measure::TimeSince, "time_since"),
];
const LABEL_FILTERS: [(LabelFilter, &str); 3] =
    [(LabelFilter::Known, "known"), (LabelFilter::Fraud, "fraud"), (LabelFilter::Genuine, "genuine")];

impl Checker<'_> {
    /// Reads and checks an aggregate.
    pub(super) fn aggregate(&self, measure: &str, raw: &RawFeature) -> Result<Source, Wrong> {
        let measure = choose("aggregate", measure, &MEASURES)?;
        let aggregate = Aggregate {
            entity: self.entity(raw)?,
            measure,
            column: self.column(measure, raw)?,
            window: match &raw.window {
                Some(text) => span("window", text)?,
                None => return wrong("window is missing", "say how far back it looks, for example window = \"24h\""),
            },
            delay: raw.delay.as_deref().map_or(Ok(Span::ZERO), |text| span("delay", text))?,
            last: raw.last,
            predicate: match &raw.predicate {
                Some(text) => Some((text.into(), self.expression("where", text, Vec::new(), ValueKind::Bool)?)),
                None => None,
            },
            same: raw.same.as_deref().map(|path| self.field("same", path, &[ValueKind::Text])).transpose()?,
            labels: raw
                .labels
                .as_deref()
                .map_or(Ok(LabelFilter::Any), |word| choose("labels", word, &LABEL_FILTERS))?,
            above: raw.above.as_ref().map(|above| self.above(above, raw)).transpose()?,
            include_current: include_current(measure, raw)?,
            resolution: raw.resolution.as_deref().map(|text| span("resolution", text)).transpose()?,
            divide_by: divisor(raw)?,
        };
        bounds(&aggregate)?;
        panes(&aggregate)?;
        Ok(Source::Aggregate(Box::new(aggregate)))
    }

    fn entity(&self, raw: &RawFeature) -> Result<usize, Wrong> {
        let Some(name) = &raw.entity else {
            return wrong("entity is missing", "name one of the [[entity]] tables");
        };
        let found = self.entities.iter().position(|entity| entity.name == *name);
        found.map_or_else(|| wrong(format!("entity = \"{name}\" is unknown"), "add an [[entity]] table for it"), Ok)
    }

    fn column(&self, measure: Measure, raw: &RawFeature) -> Result<Option<FieldRef>, Wrong> {
        let numbers = [ValueKind::Bool, ValueKind::Int, ValueKind::Float];
        let any = [ValueKind::Bool, ValueKind::Int, ValueKind::Float, ValueKind::Text];
        let kinds: &[ValueKind] = match measure {
            Measure::Sum | Measure::Mean | Measure::Std | Measure::Min | Measure::Max | Measure::Last => &numbers,
            Measure::Distinct | Measure::Count | Measure::TimeSince => &any,
            Measure::RateOfFraud => &[],
        };
        match (&raw.column, measure) {
            (Some(_), Measure::RateOfFraud) => wrong("rate_of_fraud reads labels, not a column", "drop column"),
            (Some(path), _) => self.field("column", path, kinds).map(Some),
            (None, Measure::Count | Measure::TimeSince | Measure::RateOfFraud) => Ok(None),
            (None, _) => wrong("column is missing", "say of which field, for example column = \"base_amount\""),
        }
    }

    fn above(&self, above: &RawAbove, raw: &RawFeature) -> Result<Above, Wrong> {
        let Some(feature) = self.features.iter().position(|known| known.name == above.feature) else {
            return wrong(format!("above names {}, which is not above it", above.feature), "name an earlier feature");
        };
        if raw.column.is_none() {
            return wrong("above without a column to compare", "add column, for example \"base_amount\"");
        }
        let own = raw.entity.as_deref();
        let early = match &self.features[feature].source {
            Source::Field { .. } | Source::Codes { .. } | Source::Calendar(_) => true,
            Source::Aggregate(known) => known.above.is_none() && own == Some(self.entities[known.entity].name.as_str()),
            Source::Expression(_) => false,
        };
        if !early || !above.times.is_finite() {
            let cure = "name a field feature, or an aggregate of the same entity that has no above itself";
            return wrong(format!("above cannot compare with {}", above.feature), cure);
        }
        Ok(Above { feature, times: above.times })
    }
}

pub(super) fn divisor(raw: &RawFeature) -> Result<f64, Wrong> {
    let divide_by = raw.divide_by.unwrap_or(1.0);
    if !divide_by.is_finite() || divide_by == 0.0 {
        return wrong("divide_by is not a finite number other than 0", "write for example divide_by = 100");
    }
    Ok(divide_by)
}

/// The current event is inside unless a delay, a label or the measure keeps it out.
fn include_current(measure: Measure, raw: &RawFeature) -> Result<bool, Wrong> {
    let never = raw.delay.is_some() || raw.labels.is_some() || measure == Measure::TimeSince;
    if never && raw.include_current == Some(true) {
        return wrong(
            "the current event has no label, lies after every delay and is no time ago",
            "drop include_current = true",
        );
    }
    Ok(!never && raw.include_current.unwrap_or(true))
}

fn bounds(aggregate: &Aggregate) -> Result<(), Wrong> {
    let reach = aggregate.window.micros().saturating_add(aggregate.delay.micros());
    if reach > Span::from_days(WINDOW_DAYS_MAX).micros() {
        return wrong(format!("it looks back more than {WINDOW_DAYS_MAX} days"), "shorten window or delay");
    }
    if aggregate.last == Some(0) {
        return wrong("last = 0 keeps no event", "write last = 1 or more");
    }
    let whole = matches!(aggregate.measure, Measure::Distinct | Measure::Last | Measure::TimeSince);
    if aggregate.last.is_some() && whole {
        return wrong("last does not go with distinct, last and time_since", "drop last = or change the aggregate");
    }
    Ok(())
}

fn panes(aggregate: &Aggregate) -> Result<(), Wrong> {
    let Some(resolution) = aggregate.resolution else { return Ok(()) };
    let summed = match aggregate.measure {
        Measure::Count | Measure::Sum | Measure::Mean | Measure::Std | Measure::Min | Measure::Max => true,
        Measure::Distinct | Measure::Last | Measure::RateOfFraud | Measure::TimeSince => false,
    };
    let plain = aggregate.last.is_none()
        && aggregate.same.is_none()
        && aggregate.above.is_none()
        && aggregate.labels == LabelFilter::Any;
    if !summed || !plain {
        let cure = "drop resolution, or use count, sum, mean, std, min or max with no more than where and delay";
        return wrong("panes keep sums, not events", cure);
    }
    if aggregate.measure == Measure::Count && aggregate.column.is_some() {
        return wrong("a count of panes is of rows", "drop column, or say has(tx.FIELD) in where");
    }
    let reach = aggregate.window.micros() + aggregate.delay.micros();
    if reach / resolution.micros() > i64::from(PANES_MAX) || aggregate.window < resolution {
        let cure = format!("choose a resolution between the window's {PANES_MAX}th part and the window");
        return wrong("the resolution does not fit the window", cure);
    }
    Ok(())
}

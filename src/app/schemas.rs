//! The schemas a service of these settings works with, and what follows from them for a stream.

use std::sync::Arc;

use crate::config::Settings;
use crate::domain::{Field, FieldRef, Span, TextField};
use crate::edge::kafka::topics::Retention;
use crate::runtime::release::bundle::Bundle;
use crate::scoring::feature::Schema;

/// Reads the schemas of the configured bundles; without models the one that names the features then.
///
/// # Errors
/// A bundle that cannot be read.
pub fn schemas(settings: &Settings) -> anyhow::Result<Vec<Arc<Schema>>> {
    let models = &settings.models;
    if !models.enabled {
        return Ok(vec![Arc::new(super::schema_without_bundle()?)]);
    }
    let named = [("models.active", &models.active), ("models.standby", &models.standby)];
    let mut schemas = Vec::new();
    for (key, name) in named.into_iter().filter(|(_, name)| !name.is_empty()) {
        let bundle = Bundle::load(&models.directory.join(name));
        let bundle = bundle.map_err(|error| anyhow::anyhow!("{key}: {error}"))?;
        schemas.push(bundle.schema);
    }
    Ok(schemas)
}

/// Says how long the topics of a stream must keep their records.
#[must_use]
pub fn retention(settings: &Settings, schemas: &[Arc<Schema>]) -> Retention {
    let window = schemas.iter().map(|schema| schema.longest_window()).max().unwrap_or(Span::ZERO);
    let lateness = settings.kafka.as_ref().map_or(settings.entities.lateness_max, |kafka| kafka.lateness);
    Retention { window, lateness, ledger: settings.ledger.age_max }
}

/// Names the entity kinds whose windows are exact on one instance only: those not keyed by the first field of
/// `contract.partition_key` alone, whose events lie in partitions of several instances. In order, each once.
#[must_use]
pub fn inexact_kinds(schemas: &[Arc<Schema>], partition_key: &[TextField]) -> Vec<String> {
    let own = partition_key.first().map(|field| FieldRef::Known(Field::Text(*field)));
    let is_own = |key: &[FieldRef]| key.len() == 1 && key.first() == own.as_ref();
    let kinds = schemas.iter().flat_map(|schema| schema.entities());
    let mut names: Vec<String> = kinds.filter(|kind| !is_own(&kind.key)).map(|kind| kind.name.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_another_key_are_named() {
        let schema = Arc::new(super::super::schema_without_bundle().expect("a schema"));
        let all: Vec<&str> = schema.entities().iter().map(|kind| kind.name.as_str()).collect();
        let found =
            inexact_kinds(&[Arc::clone(&schema), schema.clone()], &[TextField::CustomerId, TextField::CardToken]);
        let customer: Vec<_> = schema
            .entities()
            .iter()
            .filter(|kind| kind.key == [FieldRef::Known(Field::Text(TextField::CustomerId))])
            .map(|kind| kind.name.to_string())
            .collect();
        assert!(!customer.is_empty(), "the shipped schema has an entity of the customer: {all:?}");
        assert_eq!(found.len() + customer.len(), all.len());
        assert!(customer.iter().all(|name| !found.contains(name)), "{found:?}");
    }
}

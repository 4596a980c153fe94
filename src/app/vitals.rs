//! The numbers of state that operators ask first, for `/v1/health` and the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Settings;
use crate::runtime::decisions::Ledger;
use crate::runtime::entities::{Entities, Warmth};
use crate::runtime::slot::Slot;
use crate::scoring::feature::Schema;
use crate::telemetry::metrics;

/// Reads the numbers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Vitals {
    entities: Arc<Entities>,
    ledger: Arc<Ledger>,
    slot: Arc<Slot>,
    schemas: Vec<Arc<Schema>>,
}

impl Vitals {
    pub(super) fn new(
        entities: &Arc<Entities>,
        ledger: &Arc<Ledger>,
        slot: &Arc<Slot>,
        schemas: &[Arc<Schema>],
    ) -> Self {
        let (entities, ledger, slot) = (Arc::clone(entities), Arc::clone(ledger), Arc::clone(slot));
        Self { entities, ledger, slot, schemas: schemas.to_vec() }
    }

    /// Reads them all; visits every shard of the entity store once.
    pub(super) fn read(&self) -> BTreeMap<&'static str, u64> {
        let entities = self.entities.stats();
        let ledger = self.ledger.stats();
        let inference = self.slot.load().model.as_ref().map(|model| model.inference.stats()).unwrap_or_default();
        let warm = self.schemas.iter().filter(|schema| self.entities.warmth(schema) == Warmth::Warm).count();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        BTreeMap::from([
            ("entities", entities.entities),
            ("entity_events", entities.events),
            ("entity_bytes", entities.bytes),
            ("entity_events_expired", entities.expired_total),
            ("entity_events_capped", entities.capped_total),
            ("labels_pending", entities.labels_pending),
            ("ledger_records", number(ledger.records)),
            ("ledger_bytes", number(ledger.bytes)),
            ("ledger_evicted", ledger.evicted),
            ("ledger_kept", number(ledger.kept)),
            ("ledger_index_bytes", number(ledger.index_bytes)),
            ("ledger_disk_bytes", ledger.disk_bytes),
            ("event_disk_bytes", ledger.event_disk_bytes),
            ("restored_permille", ledger.restored_permille),
            ("ledger_waiting", number(ledger.waiting)),
            ("store_failing", metrics().store.failing.get().unsigned_abs()),
            ("inference_queue", number(inference.queue_len)),
            ("inference_raw_queue", number(inference.raw_queue_len)),
            ("schemas_warm", number(warm)),
        ])
    }

    /// Exports them with every scrape, and once the bounds that the settings give them.
    pub(super) fn export(&self, settings: &Settings) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        // With a store, memory only caches decisions: full is how it should be, and the disk has the bound.
        let ledger = match &settings.state {
            Some(store) => ("ledger_disk_bytes", Some(store.bytes_max)),
            None => ("ledger_bytes", Some(number(settings.ledger.bytes_max))),
        };
        let bounds = [
            ledger,
            ("entity_bytes", settings.entities.bytes_max.map(number)),
            ("labels_pending", Some(number(settings.entities.labels_pending_max))),
            ("inference_queue", Some(number(settings.inference.queue_len_max.get()))),
        ];
        for (part, bound) in bounds {
            let Some(bound) = bound else { continue };
            metrics().set_state_max(part, bound);
        }
        let vitals = self.clone();
        metrics().before_scrape(move |metrics| {
            for (part, value) in vitals.read() {
                metrics.set_state(part, value);
            }
        });
    }
}

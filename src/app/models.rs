//! The fleet under the roof: which bundles to start with, what the fleet is told, and who takes orders.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;

use crate::config::Settings;
use crate::edge::outbound::bundles;
use crate::runtime::clock::Clock;
use crate::runtime::fleet::{Fleet, Options, Parts, Register};
use crate::runtime::release::gates::Limits;
use crate::runtime::resident::Resident;
use crate::tasks::Shutdown;
use crate::telemetry::metrics;

/// Loads the bundles that had their places last, or those the settings name; none that is banned.
pub(super) fn resident(settings: &Settings, register: &Register) -> Resident {
    let chosen = register.choose(&settings.models);
    Resident::load_allowed(&chosen, &settings.inference, &limits(settings), &|model| register.allows(model))
}

/// Makes the fleet and exports how it stands.
pub(super) fn fleet(
    (settings, executable): (&Settings, PathBuf),
    parts: Parts,
    register: Register,
    resident: &Resident,
) -> Arc<Fleet> {
    let fleet = Arc::new(Fleet::new(options(settings, executable), parts, register, resident));
    export(&fleet);
    fleet
}

/// Starts fetching bundles out of the object store that the settings name.
pub(super) fn source(
    settings: &Settings,
    clock: &Clock,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(options) = &settings.source else { return Ok(None) };
    let options = bundles::Options { seed: clock.now().micros().unsigned_abs(), ..options.clone() };
    bundles::start(options, shutdown.clone()).context("tried to start fetching bundles").map(Some)
}

fn options(settings: &Settings, executable: PathBuf) -> Options {
    Options {
        settings: settings.fleet.clone(),
        models: settings.models.clone(),
        inference: settings.inference.clone(),
        limits: limits(settings),
        executable,
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits { trusted_keys: settings.fleet.trusted_keys.clone(), ..Limits::default() }
}

/// Exports how the fleet stands with every scrape.
fn export(fleet: &Arc<Fleet>) {
    let fleet = Arc::downgrade(fleet);
    metrics().before_scrape(move |_| {
        if let Some(fleet) = fleet.upgrade() {
            fleet.export();
        }
    });
}

//! Settings of the fleet: how bundles are watched, tried and trusted.

use super::bounded;
use super::reader::Reader;
use crate::domain::Span;
use crate::healing::trial;
use crate::runtime::fleet::Settings;
use crate::runtime::release::signature;

pub(super) fn read(reader: &mut Reader) -> Settings {
    let trusted_keys: Vec<String> = reader.get("fleet.trusted_keys");
    for key in &trusted_keys {
        if let Err(error) = signature::trusted_key(key) {
            reader.fault("fleet.trusted_keys", error.to_string());
        }
    }
    let percent = bounded(reader, "fleet.standby_sample_percent", 0, 100);
    Settings {
        watch_every: reader.get::<Span>("fleet.watch_every").to_std(),
        golden_every: reader.get::<Span>("fleet.golden_every").to_std(),
        standby_sample_percent: u8::try_from(percent).unwrap_or(100),
        trusted_keys,
        trial: trial(reader),
    }
}

fn trial(reader: &mut Reader) -> trial::Options {
    let options = trial::Options {
        steps: reader.get("fleet.trial.steps"),
        shadow_votes_min: reader.get("fleet.trial.shadow_votes_min"),
        shadow_dwell_min: reader.get("fleet.trial.shadow_dwell_min"),
        canary_votes_min: reader.get("fleet.trial.canary_votes_min"),
        canary_dwell_min: reader.get("fleet.trial.canary_dwell_min"),
        dwell_max: reader.get("fleet.trial.dwell_max"),
        starved_after: reader.get("fleet.trial.starved_after"),
        new_alerts_max: reader.get("fleet.trial.new_alerts_max"),
        lost_alerts_max: reader.get("fleet.trial.lost_alerts_max"),
        errors_max: reader.get("fleet.trial.errors_max"),
        latency_ratio_max: reader.get("fleet.trial.latency_ratio_max"),
        error_rate_max: reader.get("fleet.trial.error_rate_max"),
    };
    if let Some(fault) = options.fault() {
        reader.fault("fleet.trial", fault.to_owned());
    }
    options
}

//! Calibration: a history through the real scorer, and the detectors' tolerances from what was seen.

use std::sync::Arc;

use anyhow::{Context, bail};

use super::replay::{Happened, ReplayOptions, ReplayReport, replay_each};
use crate::config::Settings;
use crate::domain::Timestamp;
use crate::healing::drift::{Calibrated, Calibration};
use crate::runtime::observed::observation;
use crate::runtime::release::bundle::Bundle;

/// Replays a history and finds the tolerances of the active model, beside the hash of its schema. Transactions before `from` only fill windows.
///
/// # Errors
/// As [`super::replay()`], no bundle, and a history without a transaction from then on.
pub fn calibrate(
    settings: Settings,
    options: &ReplayOptions,
    from: Timestamp,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<(Calibrated, String, ReplayReport)> {
    let path = settings.models.directory.join(&settings.models.active);
    let bundle = Bundle::load(&path).with_context(|| format!("tried to read the bundle {}", path.display()))?;
    let mut calibration = Calibration::new(Arc::new(bundle.profile()), &settings.drift);
    let inputs = bundle.schema.inputs().to_vec();
    let mut row = Vec::with_capacity(inputs.len());
    let report = replay_each(settings, options, progress, &mut |happened| {
        if let Happened::Decided(record) = happened
            && record.transaction.occurred_at() >= from
        {
            calibration.observe(&observation(record, &inputs, &mut row));
        }
    })?;
    let calibrated = calibration.calibrated();
    if calibrated.votes == 0 {
        bail!("no transaction of the history counts: look at --from");
    }
    Ok((calibrated, bundle.schema.hash().to_owned(), report))
}

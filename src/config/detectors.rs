//! The `[healing.drift]` and `[healing.labels]` sections: key by key into the options of the detectors.

use serde::Deserialize;

use super::reader::Reader;
use super::{count, positive};
use crate::domain::Span;
use crate::healing::rates::Learning;
use crate::healing::{drift, quality};

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClassicSetting {
    Off,
    Advisory,
    Acting,
}

/// Reads `[healing.drift]`.
pub(super) fn drift(reader: &mut Reader) -> drift::Options {
    let block_votes = count(reader, "healing.drift.block_votes", 1_000).get();
    let figures_span = positive(reader, "healing.drift.figures_span");
    reader.expect(figures_span <= Span::from_days(1), "healing.drift.figures_span", "expected at most a day");
    let volume_factor = above(reader, "healing.drift.volume_factor", 1.0);
    drift::Options {
        run_length_acting: above(reader, "healing.drift.run_length_acting", block_votes as f64),
        run_length_advisory: above(reader, "healing.drift.run_length_advisory", block_votes as f64),
        run_length_ended: above(reader, "healing.drift.run_length_ended", block_votes as f64),
        block_votes,
        merchant_votes_max: count(reader, "healing.drift.merchant_votes_max", 1_000).get(),
        tolerance: above(reader, "healing.drift.tolerance", 0.0),
        tolerances: tolerances(reader),
        calibrated_for: reader.get("healing.drift.calibrated_for"),
        uncalibrated: reader.get("healing.drift.uncalibrated"),
        excluded: reader.get("healing.drift.excluded"),
        slack: share(reader, "healing.drift.slack"),
        lost_slack: share(reader, "healing.drift.lost_slack"),
        range_slack: share(reader, "healing.drift.range_slack"),
        alert_tolerance: above(reader, "healing.drift.alert_tolerance", 0.0),
        starved_after: positive(reader, "healing.drift.starved_after"),
        clock_jump: positive(reader, "healing.drift.clock_jump"),
        hold: positive(reader, "healing.drift.hold"),
        figures_span,
        silence: positive(reader, "healing.drift.silence"),
        lateness: positive(reader, "healing.drift.lateness"),
        volume_factor,
        classic: classic(reader),
    }
}

fn classic(reader: &mut Reader) -> Option<drift::Classic> {
    let window = count(reader, "healing.drift.classic_window", 100_000).get();
    let distance = share(reader, "healing.drift.classic_distance");
    let standing = match reader.get("healing.drift.classic") {
        ClassicSetting::Off => return None,
        ClassicSetting::Advisory => drift::Standing::Advisory,
        ClassicSetting::Acting => drift::Standing::Acting,
    };
    Some(drift::Classic { window, distance, standing })
}

fn tolerances(reader: &mut Reader) -> std::collections::BTreeMap<String, f64> {
    let tolerances: std::collections::BTreeMap<String, f64> = reader.get("healing.drift.tolerances");
    for (name, tolerance) in &tolerances {
        let key = format!("healing.drift.tolerances.{name}");
        reader.expect(tolerance.is_finite() && *tolerance > 0.0, &key, "expected a finite number above 0");
    }
    tolerances
}

/// Reads `[healing.labels]`.
pub(super) fn labels(reader: &mut Reader) -> quality::Options {
    let votes_min = u32::try_from(count(reader, "healing.labels.learn_min", 1_000_000).get()).unwrap_or(u32::MAX);
    let tolerance = above(reader, "healing.labels.tolerance", 0.0);
    quality::Options {
        run_length_acting: above(reader, "healing.labels.run_length_acting", 1.0),
        run_length_advisory: above(reader, "healing.labels.run_length_advisory", 1.0),
        run_length_ended: above(reader, "healing.labels.run_length_ended", 1.0),
        maturity: reader.get("healing.labels.maturity"),
        pending_max: count(reader, "healing.labels.pending_max", 10_000_000).get(),
        sampled_max: count(reader, "healing.labels.sampled_max", 10_000_000).get(),
        silence: positive(reader, "healing.labels.silence"),
        unlabelled: reader.get("healing.labels.unlabelled"),
        learning: Learning { votes_min, tolerance, ..Learning::default() },
        calibration_tolerance: above(reader, "healing.labels.calibration_tolerance", 0.0),
        feed_tolerance: above(reader, "healing.labels.feed_tolerance", 0.0),
    }
}

fn above(reader: &mut Reader, key: &str, least: f64) -> f64 {
    let number: f64 = reader.get(key);
    reader.expect(number.is_finite() && number > least, key, &format!("expected a finite number above {least}"));
    number
}

fn share(reader: &mut Reader, key: &str) -> f64 {
    let number: f64 = reader.get(key);
    reader.expect((0.0..1.0).contains(&number), key, "expected a share of 0 to below 1");
    number
}

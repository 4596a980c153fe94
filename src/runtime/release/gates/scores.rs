//! Gates that run the model: in time, as trained, in order, in range, good enough, calibrated.

use super::{Gate, Limits, RUN_GATES, Report};
use crate::runtime::clock::Moment;
use crate::runtime::inference::Session;
use crate::runtime::release::Bundle;
use crate::scoring::metrics::{self, Scored};

/// Rows of one batch while golden rows are scored.
const BATCH_LEN: usize = 256;
/// Single-row runs that are timed, after as many tenths to warm up.
const TIMED_RUNS: usize = 300;
/// The first run may take this many times the limit of a warm one, in microseconds.
const FIRST_RUN_FACTOR: f64 = 200.0;

pub(super) fn run(report: &mut Report, bundle: &Bundle, active: Option<&Bundle>, limits: &Limits) {
    let Some(mut session) = open(report, bundle) else {
        return report.skip(&RUN_GATES[1..], "not run: the model does not load");
    };
    if !report.add(Gate::Latency, latency(&mut session, bundle, active, limits)) {
        return report.skip(&RUN_GATES[2..], "not run: the model is too slow");
    }
    let scores = match score_golden(&mut session, bundle) {
        Ok(scores) => scores,
        Err(reason) => {
            report.add(Gate::Golden, Err(reason));
            return report.skip(&RUN_GATES[3..], "not run: the golden rows have no scores");
        }
    };
    let rows = scored(bundle, &scores);
    report.add(Gate::Golden, golden(bundle, &scores));
    report.add(Gate::Ranking, ranking(bundle, &rows, limits));
    report.add(Gate::Finite, finite(&mut session, bundle));
    report.add(Gate::Quality, quality(bundle, active, &rows, limits));
    report.add(Gate::Calibration, calibration(&rows, limits));
}

pub(super) fn quick(report: &mut Report, bundle: &Bundle) {
    let Some(mut session) = open(report, bundle) else { return };
    let golden = score_golden(&mut session, bundle).and_then(|scores| golden(bundle, &scores));
    report.add(Gate::Golden, golden);
    report.add(Gate::Finite, finite(&mut session, bundle));
}

fn open(report: &mut Report, bundle: &Bundle) -> Option<Session> {
    let session = Session::open(&bundle.model, &bundle.input_names(), &bundle.manifest.output);
    let output = &bundle.manifest.output;
    let said = format!("output {}, column {}", output.name, output.column);
    report.add(Gate::Loads, session.as_ref().map(|_| said).map_err(ToString::to_string));
    session.ok()
}

fn score_golden(session: &mut Session, bundle: &Bundle) -> Result<Vec<f64>, String> {
    score(session, bundle.golden.iter().map(|golden| golden.row.as_slice()))
}

/// Scores rows in batches.
pub(crate) fn score<'a>(session: &mut Session, rows: impl Iterator<Item = &'a [f64]>) -> Result<Vec<f64>, String> {
    score_rows(session, &rows.flatten().copied().collect::<Vec<f64>>())
}

/// Scores row-major cells in batches.
pub(crate) fn score_rows(session: &mut Session, cells: &[f64]) -> Result<Vec<f64>, String> {
    let mut scores = Vec::with_capacity(cells.len() / session.width().max(1));
    for batch in cells.chunks(BATCH_LEN * session.width().max(1)) {
        session.run(batch, &mut scores)?;
    }
    Ok(scores)
}

fn scored(bundle: &Bundle, scores: &[f64]) -> Vec<Scored> {
    let rows = bundle.golden.iter().zip(scores);
    rows.map(|(golden, score)| Scored { score: *score, fraud: golden.label, weight: golden.weight }).collect()
}

fn golden(bundle: &Bundle, scores: &[f64]) -> Result<String, String> {
    let tolerance = bundle.manifest.tolerance;
    if scores.len() != bundle.golden.len() || scores.is_empty() {
        return Err(format!("{} golden rows gave {} scores", bundle.golden.len(), scores.len()));
    }
    let off = bundle.golden.iter().zip(scores).map(|(golden, score)| (golden.probability - score).abs());
    let (mut moved, mut largest) = (0_usize, 0.0_f64);
    for distance in off {
        // NaN is the largest distance there is.
        let distance = if distance.is_nan() { f64::INFINITY } else { distance };
        moved += usize::from(distance > tolerance.close);
        largest = largest.max(distance);
    }
    let share = moved as f64 / scores.len() as f64;
    let said =
        format!("{moved} of {} rows off by more than {:e}, largest {largest:.1e}", scores.len(), tolerance.close);
    if share > tolerance.share || largest > tolerance.size {
        let (share, size) = (tolerance.share, tolerance.size);
        return Err(format!(
            "{said}; allowed are a share of {share} and a distance of {size}: wrong export or runtime"
        ));
    }
    Ok(said)
}

fn ranking(bundle: &Bundle, rows: &[Scored], limits: &Limits) -> Result<String, String> {
    let trainer: Vec<f64> = bundle.golden.iter().map(|golden| golden.probability).collect();
    let (Some(ours), Some(theirs)) = (metrics::roc_auc(rows), metrics::roc_auc(&scored(bundle, &trainer))) else {
        return Err("the golden rows are not of both kinds; pack with frauds and genuine rows".to_owned());
    };
    let said = format!("auc {ours:.4}, by the trainer's probabilities {theirs:.4}");
    if (ours - theirs).abs() > limits.auc_error_max {
        let swapped = if (ours + theirs - 1.0).abs() < 0.05 { ": the classes are swapped" } else { "" };
        return Err(format!("{said}{swapped}; pack it again with the right --output and --column"));
    }
    Ok(said)
}

fn finite(session: &mut Session, bundle: &Bundle) -> Result<String, String> {
    let rows = extremes(bundle);
    let scores = score(session, rows.iter().map(Vec::as_slice))?;
    for (row, score) in rows.iter().zip(&scores) {
        if !score.is_finite() || *score < 0.0 || *score > 1.0 + f64::from(f32::EPSILON) {
            let names = bundle.input_names();
            let shown: Vec<String> =
                names.iter().zip(row).take(4).map(|(name, value)| format!("{name}={value}")).collect();
            return Err(format!(
                "{score} is no probability, on {} ..; export calibrated probabilities",
                shown.join(" ")
            ));
        }
    }
    Ok(format!("{} extreme rows", rows.len()))
}

/// Makes rows no transaction has: everything at its ends and far beyond, together and one by one.
fn extremes(bundle: &Bundle) -> Vec<Vec<f64>> {
    let features = &bundle.baseline.features;
    let median = bundle.baseline.baselines();
    let ends: [fn(f64, f64) -> f64; 6] = [
        |min, _| min,
        |_, max| max,
        |min, max| min - 10.0 * (max - min).max(1.0),
        |min, max| max + 10.0 * (max - min).max(1.0),
        |_, _| 0.0,
        |_, max| max.abs().max(1.0) * 1e6,
    ];
    let mut rows = Vec::with_capacity((features.len() + 1) * (ends.len() + 1));
    for end in ends {
        rows.push(features.iter().map(|feature| end(feature.min, feature.max)).collect());
        for (place, feature) in features.iter().enumerate() {
            let mut row = median.clone();
            row[place] = end(feature.min, feature.max);
            rows.push(row);
        }
    }
    // What is missing reaches the model as its policy says, and only so.
    let schema = &bundle.schema;
    let missing: Vec<f64> = schema.inputs().iter().map(|place| schema.features()[*place].missing).collect();
    for (place, value) in missing.iter().enumerate() {
        let mut row = median.clone();
        row[place] = *value;
        rows.push(row);
    }
    rows.push(missing);
    rows
}

fn quality(bundle: &Bundle, active: Option<&Bundle>, rows: &[Scored], limits: &Limits) -> Result<String, String> {
    let frauds = rows.iter().filter(|row| row.fraud).count();
    if frauds < limits.frauds_min {
        return Err(format!("{frauds} golden frauds are fewer than {}; pack more", limits.frauds_min));
    }
    let (Some(auc), Some(precision)) = (metrics::roc_auc(rows), metrics::average_precision(rows)) else {
        return Err("the golden rows are not of both kinds".to_owned());
    };
    let said = format!("auc {auc:.4}, average precision {precision:.4} on {} rows, {frauds} frauds", rows.len());
    if auc < limits.auc_min {
        return Err(format!("{said}; the floor is an auc of {}: train it better", limits.auc_min));
    }
    let Some(active) = active.filter(|active| active.schema.hash() == bundle.schema.hash()) else { return Ok(said) };
    let beside = active_precision(bundle, active)?;
    if precision < beside * limits.precision_ratio_min {
        return Err(format!("{said}; the active model reaches {beside:.4} on the same rows"));
    }
    Ok(format!("{said}; the active model {beside:.4}"))
}

fn active_precision(bundle: &Bundle, active: &Bundle) -> Result<f64, String> {
    let session = Session::open(&active.model, &active.input_names(), &active.manifest.output);
    let mut session = session.map_err(|error| format!("the active model: {error}"))?;
    let scores = score_golden(&mut session, bundle)?;
    metrics::average_precision(&scored(bundle, &scores)).ok_or_else(|| "the golden rows hold no fraud".to_owned())
}

fn calibration(rows: &[Scored], limits: &Limits) -> Result<String, String> {
    let Some(ratio) = metrics::calibration(rows) else { return Err("the golden rows hold no fraud".to_owned()) };
    let said = format!("expects {ratio:.2} frauds for each one found");
    if ratio.is_nan() || ratio < limits.calibration_min || ratio > 1.0 / limits.calibration_min {
        let (least, most) = (limits.calibration_min, 1.0 / limits.calibration_min);
        return Err(format!("{said}; allowed are {least} to {most:.1}: calibrate it, thresholds mean probabilities"));
    }
    Ok(said)
}

fn latency(session: &mut Session, bundle: &Bundle, active: Option<&Bundle>, limits: &Limits) -> Result<String, String> {
    let first = time_one(session, &bundle.golden.first().ok_or("there are no golden rows")?.row)?;
    if first > limits.latency_us_max * FIRST_RUN_FACTOR {
        return Err(format!("the first row took {:.0} ms; make the model smaller", first / 1e3));
    }
    let own = median_us(session, bundle)?;
    let said = format!("{own:.1} µs a row");
    if own > limits.latency_us_max {
        return Err(format!("{said}; allowed are {} µs: make the model smaller", limits.latency_us_max));
    }
    let Some(active) = active else { return Ok(said) };
    let beside = Session::open(&active.model, &active.input_names(), &active.manifest.output);
    let beside = median_us(&mut beside.map_err(|error| format!("the active model: {error}"))?, active)?;
    let said = format!("{said}, the active model {beside:.1}");
    if own > limits.latency_us_free && own > beside * limits.latency_ratio_max {
        return Err(format!("{said}; allowed are {} times as much: make the model smaller", limits.latency_ratio_max));
    }
    Ok(said)
}

fn median_us(session: &mut Session, bundle: &Bundle) -> Result<f64, String> {
    let rows = bundle.golden.iter().map(|golden| golden.row.as_slice()).cycle();
    let mut times = Vec::with_capacity(TIMED_RUNS);
    for (run, row) in rows.take(TIMED_RUNS + TIMED_RUNS / 10).enumerate() {
        let time = time_one(session, row)?;
        if run >= TIMED_RUNS / 10 {
            times.push(time);
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().ok_or_else(|| "there are no golden rows".to_owned())
}

fn time_one(session: &mut Session, row: &[f64]) -> Result<f64, String> {
    let mut scores = Vec::with_capacity(1);
    let started = Moment::now();
    session.run(row, &mut scores)?;
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

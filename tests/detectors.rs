//! Detectors against the world: scipy's figures, and streams whose drifts are known.

#[path = "detectors/streams.rs"]
mod streams;

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde::Deserialize;

use fraudd::healing::drift::Ceilings;
use fraudd::healing::drift::figures::{js, ks, psi, shares, smoothed, w1};
use fraudd::healing::rates::{Direction, Learned, Learning};

/// How far a distance may be from scipy's: rounding only.
const CLOSE: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    scipy: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    actual: Vec<u64>,
    expected: Vec<u64>,
    psi: f64,
    js: f64,
    ks: f64,
    w1: f64,
}

#[test]
fn distances_are_those_of_scipy() {
    let golden: Golden = serde_json::from_str(include_str!("detectors/golden.json")).expect("golden figures");
    assert!(golden.cases.len() > 20 && golden.scipy.starts_with("1."));
    for case in &golden.cases {
        let (actual, expected) = (shares(&case.actual), shares(&case.expected));
        let pairs = [
            ("psi", psi(&smoothed(&case.actual), &smoothed(&case.expected)), case.psi),
            ("js", js(&actual, &expected), case.js),
            ("ks", ks(&actual, &expected), case.ks),
            ("w1", w1(&actual, &expected), case.w1),
        ];
        for (what, ours, theirs) in pairs {
            assert!((ours - theirs).abs() <= CLOSE * theirs.abs().max(1.0), "{}: {what} {ours} {theirs}", case.name);
        }
    }
}

/// Where the streams are; `None` says "skipped".
#[expect(clippy::print_stdout, reason = "tells why nothing was compared")]
fn drift_directory() -> Option<PathBuf> {
    let root = std::env::var_os("FRAUDD_REFERENCE_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = root.join("drift");
    if !path.is_dir() {
        println!("skipped: no drift streams at {}; set FRAUDD_REFERENCE_DATA", path.display());
        return None;
    }
    Some(path)
}

/// The errors of a learner on each stream, in order of rows.
fn error_streams(directory: &Path) -> Vec<(String, Vec<bool>)> {
    let file = File::open(directory.join("golden_error_streams.parquet")).expect("the error streams");
    let reader = SerializedFileReader::new(file).expect("a parquet file");
    let mut streams: Vec<(String, Vec<bool>)> = Vec::new();
    for row in reader.get_row_iter(None).expect("rows") {
        let (mut name, mut is_error) = (String::new(), false);
        for (column, field) in row.expect("a row").get_column_iter() {
            match (column.as_str(), field) {
                ("stream", Field::Str(text)) => name.clone_from(text),
                ("err", Field::Bool(error)) => is_error = *error,
                ("err", Field::Byte(error)) => is_error = *error != 0,
                ("err", Field::UByte(error)) => is_error = *error != 0,
                ("err", Field::Int(error)) => is_error = *error != 0,
                ("err", Field::Long(error)) => is_error = *error != 0,
                _ => {}
            }
        }
        match streams.last_mut() {
            Some((last, errors)) if *last == name => errors.push(is_error),
            _ => streams.push((name, vec![is_error])),
        }
    }
    streams
}

/// Row indices at which the learned rate alarms, up or down; it learns anew after each alarm.
fn alarms(errors: &[bool]) -> Vec<usize> {
    let learning = Learning { votes_min: 100, votes_max: 5_000.0, errors: 2.0, tolerance: 0.15 };
    let ceilings = Ceilings { acting: 1e30, ended: 1e30 };
    // Two directions share a mean run of 40,000 rows.
    let limit = 80_000.0_f64.ln();
    let mut sides = [Direction::Rising, Direction::Falling].map(|side| Learned::new(side, None, learning));
    let mut found = Vec::new();
    for (row, is_error) in errors.iter().enumerate() {
        for side in &mut sides {
            side.vote(f64::from(u8::from(*is_error)), ceilings);
        }
        if sides.iter().any(|side| side.log() >= limit) {
            found.push(row);
            sides.iter_mut().for_each(Learned::relearn);
        }
    }
    found
}

#[test]
fn drifts_of_the_abrupt_error_streams_are_found() {
    let Some(directory) = drift_directory() else { return };
    let streams: Vec<_> = error_streams(&directory).into_iter().filter(|(name, _)| name.ends_with("abrupt")).collect();
    assert_eq!(streams.len(), 5, "five abrupt streams");
    let (mut true_sum, mut false_sum) = (0, 0);
    for (name, errors) in &streams {
        let alarms = alarms(errors);
        let starts = [10_000, 20_000, 30_000];
        let is_due = |alarm: usize, start: usize| (start..=start + 1_000).contains(&alarm);
        let hits = starts.iter().filter(|start| alarms.iter().any(|alarm| is_due(*alarm, **start))).count();
        let delays: Vec<Option<usize>> = starts
            .iter()
            .map(|start| alarms.iter().find(|alarm| is_due(**alarm, *start)).map(|alarm| alarm - start))
            .collect();
        println!("{name}: {hits} of 3 found, {} false, delays {delays:?}, alarms {alarms:?}", alarms.len() - hits);
        true_sum += hits;
        false_sum += alarms.len() - hits;
    }
    let [found, wrong] = [true_sum, false_sum].map(|sum| sum as f64 / streams.len() as f64);
    println!("mean over {} streams: {found} of 3 found, {wrong} false alarms", streams.len());
    assert!(found >= 2.4 && wrong <= 2.6, "found {found}, false {wrong}");
}

/// Whose inputs move with the concept was measured beforehand: distances between concepts are 0 in `mixed`, below .017 in
/// `rt`, and .28 at the first change of `stagger`.
#[test]
fn inputs_of_the_known_streams_alarm_where_they_move() {
    let Some(directory) = drift_directory() else { return };
    for name in ["mixed_0101", "rt_8873985678962563", "sea_0123", "sine_0123", "stagger_0120"] {
        for kind in ["abrupt", "gradual"] {
            let stream = format!("{name}_{kind}");
            let raised = streams::watched(&directory, &stream);
            println!("{stream}: inputs {:?}, broken features {:?}", raised.inputs, raised.broken);
            let all: Vec<usize> = raised.inputs.iter().chain(&raised.broken).copied().collect();
            assert!(all.iter().all(|row| *row >= 9_400), "{stream}: before the first change");
            match name {
                "mixed_0101" | "rt_8873985678962563" => assert!(all.is_empty(), "{stream} does not move"),
                "stagger_0120" if kind == "abrupt" => {
                    assert!(all.iter().any(|row| (10_000..10_500).contains(row)), "{stream}: missed");
                }
                _ => {}
            }
        }
    }
}

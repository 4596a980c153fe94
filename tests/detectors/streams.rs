//! Real features of the streams whose drifts are known, through the watch: their drifts are in what is to be learned
//! (the class given the features), so inputs may alarm where they move, and must not where they do not.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use fraudd::domain::{Outcome, Thresholds, Timestamp};
use fraudd::healing::drift::{Observation, Options, Standing, Watch};
use fraudd::healing::{Alarm, ModelRef, Verdict};
use fraudd::runtime::release::baseline::Baseline;

/// Rows of the first concept that the baseline is made of; the first change begins at 9,400 or later.
const LEARNED: usize = 9_000;

/// What the inputs raised on a stream.
pub(super) struct Raised {
    /// Rows, counted from the first one of the file, at which inputs began to be worth acting on.
    pub(super) inputs: Vec<usize>,
    /// The same of single features that lost their values.
    pub(super) broken: Vec<usize>,
}

/// The features of a stream, row by row.
fn rows(directory: &Path, stream: &str) -> Vec<Vec<f64>> {
    let file = File::open(directory.join(format!("{stream}.parquet"))).expect("the stream");
    let reader = SerializedFileReader::new(file).expect("a parquet file");
    let cells = |row: parquet::record::Row| {
        let of = row.get_column_iter().filter(|(name, _)| *name != "class");
        of.filter_map(|(_, field)| if let Field::Double(value) = field { Some(*value) } else { None }).collect()
    };
    reader.get_row_iter(None).expect("rows").map(|row| cells(row.expect("a row"))).collect()
}

/// Watches a stream against its first rows, at the shipped run length and tolerance; what was found is forgotten each time.
pub(super) fn watched(directory: &Path, stream: &str) -> Raised {
    let rows = rows(directory, stream);
    let width = rows[0].len();
    let names: Vec<String> = (0..width).map(|place| format!("x{place}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cells: Vec<f64> = rows[..LEARNED].iter().flatten().copied().collect();
    let thresholds = Thresholds { review: 0.5, challenge: None, decline: 0.9 };
    let baseline = Baseline::of(&names, &cells, &vec![0.0; LEARNED], &thresholds);
    let profile = Arc::new(baseline.profile(&vec![false; width], &thresholds));
    let model = ModelRef { name: "stream".to_owned(), version: "1".to_owned(), sha256: String::new() };
    let options = Options { uncalibrated: Standing::Acting, ..Options::default() };
    let mut watch = Watch::new(model, profile, &options);
    let mut raised = Raised { inputs: Vec::new(), broken: Vec::new() };
    for (place, row) in rows.iter().enumerate().skip(LEARNED) {
        let now = Timestamp::from_seconds(1_000_000 + i64::try_from(place).expect("small"));
        watch.observe(&Observation {
            received_at: now,
            occurred_at: now,
            entity: 0,
            merchant: 0,
            device: 0,
            row,
            score: None,
            outcome: Outcome::Approve,
            degraded: false,
        });
        for finding in watch.tick(now).into_iter().filter(|finding| finding.verdict == Verdict::Acting) {
            match finding.alarm {
                Alarm::InputDrift => raised.inputs.push(place),
                Alarm::BrokenFeature => raised.broken.push(place),
                other => panic!("{stream}: {} without scores", other.name()),
            }
        }
    }
    raised
}

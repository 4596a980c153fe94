//! Retraining end to end: decisions and labels in a store, the shipped command with its Python, a signed bundle that
//! passes every gate. The parts that need Python say so and end when `make python` has not been run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use fraudd::domain::{Span, Timestamp};
use fraudd::healing::retraining::{self as asking, Ask, Declined, Incidents, LabelFeed, Outcome, Request, Situation};
use fraudd::healing::{Alarm, Evidence, Finding, ModelRef, Verdict};
use fraudd::runtime::retraining::{Doors, Ended, Options, Paths, Retraining, command};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

const BINARY: &str = env!("CARGO_BIN_EXE_fraudd");
const SCHEMA: &str = "models/schemas/card-fraud.toml";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fraudd(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.current_dir(directory).env("FRAUDD__MODELS__ENABLED", "false").args(arguments);
    command.output().expect("the binary")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Simulates a stream, and decides it into a store with its labels.
fn recorded(directory: &Path, world: &str) {
    let simulate = format!("simulate --seed 7 --label-delay 2d {world} --out t.jsonl --labels l.jsonl");
    done(&fraudd(directory, &simulate.split(' ').collect::<Vec<_>>()));
    done(&fraudd(directory, &["replay", "t.jsonl", "--store", "store", "--labels", "l.jsonl"]));
}

fn rows(path: &Path) -> Vec<Row> {
    let file = std::fs::File::open(path).expect("a set");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect()
}

fn cell<'a>(row: &'a Row, name: &str) -> &'a Field {
    row.get_column_iter().find(|(known, _)| *known == name).map(|(_, field)| field).expect("a column")
}

#[test]
fn a_training_set_is_what_was_recorded_and_has_matured() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path();
    recorded(folder, "--customers 60 --terminals 300 --days 6");
    let schema = root().join(SCHEMA);
    let schema = schema.to_str().expect("UTF-8");
    let make = |more: &[&str]| {
        let base = ["training-set", "--store", "store", "--schema", schema, "--out", "set.parquet"];
        fraudd(folder, &[&base[..], more].concat())
    };
    let said = done(&make(&["--maturity", "2d", "--leave-out", "2026-01-02T00:00:00Z..2026-01-02T12:00:00Z"]));
    let set = rows(&folder.join("set.parquet"));
    assert!(said.contains(&format!("{} rows", set.len())) && said.contains("without a mature label"), "{said}");
    assert!(said.contains("in a window left out"), "{said}");

    // Features and times are those of the history: computed once more, by the same code, from the same files.
    let history = ["--history", "t.jsonl", "--labels", "l.jsonl", "--out", "features.parquet"];
    done(&fraudd(folder, &[&["features", "--schema", schema][..], &history].concat()));
    let again = rows(&folder.join("features.parquet"));
    let known: std::collections::HashMap<String, &Row> =
        again.iter().map(|row| (cell(row, "transaction_id").to_string(), row)).collect();
    let names: Vec<String> = again[0].get_column_iter().map(|(name, _)| name.clone()).collect();
    let features: Vec<&String> =
        names.iter().filter(|name| !matches!(name.as_str(), "label" | "label_at" | "transaction_id")).collect();
    let newest = again.iter().map(time).max().expect("rows");
    for row in &set {
        let same = known[&cell(row, "transaction_id").to_string()];
        for name in &features {
            assert_eq!(cell(row, name).to_string(), cell(same, name).to_string(), "{name} of {row}");
        }
        assert_eq!(cell(row, "label").to_string(), cell(same, "label").to_string());
        assert_eq!(cell(row, "weight").to_string(), "1.0");
        assert!(newest - time(row) >= 2 * 86_400_000_000, "mature: {row}");
        let outside = !(1_767_312_000_000_000..1_767_355_200_000_000).contains(&time(row));
        assert!(outside, "left out: {row}");
    }
    let mature = again.iter().filter(|row| newest - time(row) >= 2 * 86_400_000_000).count();
    assert!(set.len() > 300 && set.len() < mature, "{} of {mature}", set.len());

    // Nothing is mature, a request that cannot be read, a directory that is no store: each is said.
    let young = make(&["--maturity", "60d"]);
    assert_eq!(young.status.code(), Some(1), "{}", text(&young.stderr));
    assert!(text(&young.stdout).starts_with("0 rows"), "{}", text(&young.stdout));
    std::fs::write(folder.join("request.json"), "{}").expect("written");
    let wrong = make(&["--request", "request.json"]);
    assert!(text(&wrong.stderr).contains("request.json is no request"), "{}", text(&wrong.stderr));
    let nowhere = fraudd(folder, &["training-set", "--store", "nowhere", "--schema", schema, "--out", "s.parquet"]);
    assert!(text(&nowhere.stderr).contains("nowhere"), "{}", text(&nowhere.stderr));
}

fn time(row: &Row) -> i64 {
    match cell(row, "occurred_at") {
        Field::TimestampMicros(micros) => *micros,
        other => panic!("no instant: {other}"),
    }
}

/// Asks as whoever heals would: labels show that the model lost quality.
fn asked(retraining: &Retraining, now: Timestamp) -> Request {
    let active = ModelRef { name: "card-fraud".into(), version: "0".into(), sha256: "ab".into() };
    let finding = Finding {
        alarm: Alarm::QualityLost,
        subject: None,
        model: Some(active.clone()),
        verdict: Verdict::Acting,
        since: now,
        at: now,
        evidence: Evidence::default(),
    };
    let answer = retraining.ask(&Situation {
        now,
        findings: &[finding],
        active: Some(&active),
        models: std::slice::from_ref(&active),
        labels: LabelFeed::Healthy { frauds: 900 },
        incidents: &Incidents::default(),
        is_trial_on: false,
    });
    match answer {
        Ask::Request(request) => *request,
        Ask::Hold(hold) => panic!("held: {hold}"),
    }
}

fn ended(retraining: &Retraining) -> Ended {
    loop {
        if let Some(ended) = retraining.outcomes().pop() {
            return ended;
        }
        std::thread::yield_now();
    }
}

fn options(folder: &Path) -> Options {
    Options {
        ask: asking::Options {
            is_enabled: true,
            persistence: Span::ZERO,
            backoff: Span::from_seconds(1),
            backoff_max: Span::from_days(1),
            per_day_max: 10,
            maturity: Span::from_days(2),
            history: Span::ZERO,
            frauds_min: 300,
            patience: Span::from_days(1),
            declined: Declined::Labelled,
        },
        command: Some(command::Options {
            command: vec![root().join("models/training/retrain.sh").to_str().expect("UTF-8").to_owned()],
            deadline: Duration::from_mins(20),
            grace: Duration::from_secs(5),
        }),
        directory: Some(folder.join("retraining")),
    }
}

#[test]
fn the_shipped_command_makes_a_signed_bundle_that_passes_every_gate() {
    if !root().join(".deps/python/bin/python").exists() {
        println!("skipped: there is no Python in .deps/python, which `make python` sets up");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path();
    recorded(folder, "--customers 250 --terminals 1500 --days 12");
    let trusted = done(&fraudd(folder, &["model", "keygen", "--out", "signing.key"]));
    // The active model's bundle: the command takes its schema from there.
    let active = folder.join("models/card-fraud/0");
    std::fs::create_dir_all(&active).expect("a directory");
    std::fs::copy(root().join(SCHEMA), active.join("features.toml")).expect("copied");
    let environment = [("FRAUDD_SIGNING_KEY", folder.join("signing.key")), ("FRAUDD_RETRAIN_SECONDS", "0".into())];
    let paths = Paths {
        binary: BINARY.into(),
        store: folder.join("store"),
        models: folder.join("models"),
        environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
    };
    let retraining = Retraining::start(options(folder), Doors::default(), paths).expect("started");
    let now = Timestamp::parse("2026-01-13T00:00:00Z").expect("an instant");
    let request = asked(&retraining, now);
    let ended_first = ended(&retraining);
    assert_eq!((&ended_first.id, ended_first.outcome), (&request.id, Outcome::Delivered), "{}", ended_first.said);
    let (name, version) = ended_first.bundle.expect("a bundle");
    assert_eq!(name, "card-fraud");
    let bundle = folder.join("models").join(&name).join(&version);
    // From the tree, where ONNX Runtime is found.
    let validated = fraudd(&root(), &["model", "validate", bundle.to_str().expect("UTF-8"), "--trust", trusted.trim()]);
    let said = done(&validated);
    assert!(said.contains("signed by a trusted key") && said.contains("every gate holds"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.join("models/.staging")).expect("a directory").collect();
    assert!(left.is_empty(), "nothing half made is left: {left:?}");

    // What is younger than its labels teaches nothing: the same command says so.
    let early = Timestamp::parse("2026-01-03T00:00:00Z").expect("an instant");
    let again = Retraining::start(
        Options { directory: Some(folder.join("again")), ..options(folder) },
        Doors::default(),
        Paths {
            binary: BINARY.into(),
            store: folder.join("store"),
            models: folder.join("models"),
            environment: vec![],
        },
    );
    let again = again.expect("started");
    asked(&again, early);
    let nothing = ended(&again);
    assert_eq!(nothing.outcome, Outcome::TooLittle, "{}", nothing.said);
}

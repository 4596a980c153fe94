//! Models of every kind we serve pass every gate and answer; every kind of bad model is refused with its reason.
//!
//! The small models and their golden rows are made by `tests/golden/models/make.py`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fraudd::domain::{Thresholds, Timestamp};
use fraudd::runtime::clock::Moment;
use fraudd::runtime::inference::{Inference, InferenceOptions, ModelFailure, OutputChoice};
use fraudd::runtime::release::bundle::{self, Files};
use fraudd::runtime::release::gates::{self, Gate, Limits, Outcome, Report, child};
use fraudd::runtime::release::manifest::{Manifest, Role, Tolerance, Training};
use fraudd::runtime::release::pack::{self, Facts, Packing};
use fraudd::runtime::release::{Bundle, golden, signature};

use onnx::runtime_is_here;

#[path = "shared/onnx.rs"]
mod onnx;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(directory().join(name)).expect(name)
}

fn model(name: &str) -> Bytes {
    std::fs::read(directory().join(format!("{name}.onnx"))).expect(name).into()
}

fn packing(name: &str, golden_name: &str) -> Packing {
    let cells = text("training.csv")
        .lines()
        .skip(1)
        .flat_map(|line| line.split(','))
        .map(|cell| cell.parse().expect("a number"))
        .collect();
    Packing {
        model: model(name),
        schema: text("features.toml"),
        golden: golden::parse(&text(&format!("golden_{golden_name}.jsonl")), 4).expect("golden rows"),
        training_cells: cells,
        card: None,
        output: None,
        facts: Facts {
            name: name.replace('_', "-"),
            version: "1".to_owned(),
            trainer: "make.py".to_owned(),
            role: Role::Candidate,
            created_at: Timestamp::from_seconds(1_700_000_000),
            thresholds: Thresholds { review: 0.3, challenge: None, decline: 0.8 },
            tolerance: Tolerance::DEFAULT,
            metrics: BTreeMap::new(),
            training: Training::default(),
        },
    }
}

fn good() -> Files {
    pack::pack(packing("logistic_tensor", "logistic")).expect("packed")
}

/// The good bundle with another model in it, hashed as if it had been packed so.
fn with_model(model: Bytes, output: &str, column: usize) -> Files {
    let mut files = good();
    files.insert(bundle::MODEL.to_owned(), model);
    edit_manifest(&mut files, |manifest| manifest.output = OutputChoice { name: output.to_owned(), column });
    files
}

fn edit_manifest(files: &mut Files, edit: impl FnOnce(&mut Manifest)) {
    let mut manifest = Manifest::parse(std::str::from_utf8(&files[bundle::MANIFEST]).expect("text")).expect("parsed");
    for name in bundle::HASHED {
        manifest.files.insert(name.to_owned(), bundle::sha256(&files[name]));
    }
    edit(&mut manifest);
    files.insert(bundle::MANIFEST.to_owned(), toml::to_string(&manifest).expect("written").into());
}

fn validate(files: &Files, limits: &Limits) -> Report {
    child::validate(Path::new(env!("CARGO_BIN_EXE_fraudd")), files, None, limits)
}

#[track_caller]
fn refused(files: &Files, limits: &Limits, gate: Gate, reason: &str) {
    let report = validate(files, limits);
    let check = report.failures().find(|check| check.gate == gate);
    let check = check.unwrap_or_else(|| panic!("{gate:?} did not fail: {report:#?}"));
    assert!(check.reason.contains(reason), "{}", check.reason);
    assert!(!report.passed());
}

#[test]
fn every_kind_of_classifier_is_served_and_passes_every_gate() {
    if !runtime_is_here() {
        return;
    }
    let kinds = [
        ("logistic_tensor", "logistic", "probabilities", 1),
        ("logistic_zipmap", "logistic", "output_probability", 1),
        ("logistic_text_zipmap", "logistic", "output_probability", 1),
        ("logistic_double", "logistic", "probabilities", 1),
        ("logistic_batch_one", "logistic", "probabilities", 1),
        ("logistic_columns", "logistic", "p", 0),
        ("hand_one_column", "logistic", "p", 0),
        ("hand_flat", "logistic", "flat", 0),
        ("forest_tensor", "forest", "probabilities", 1),
        ("xgboost_tensor", "xgboost", "probabilities", 1),
        ("lightgbm_tensor", "lightgbm", "probabilities", 1),
        ("lightgbm_zipmap", "lightgbm", "probabilities", 1),
    ];
    for (name, golden_name, output, column) in kinds {
        let files = pack::pack(packing(name, golden_name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bundle = Bundle::from_files(&files).expect(name);
        assert_eq!(bundle.manifest.output, OutputChoice { name: output.to_owned(), column }, "{name}");
        let report = gates::run(&bundle, None, &Limits::default());
        assert!(report.passed(), "{name}: {report:#?}");
        assert!(gates::quick(&bundle, &Limits::default()).passed(), "{name}");
    }
}

#[test]
fn a_child_process_comes_to_the_same_verdict() {
    if !runtime_is_here() {
        return;
    }
    let files = good();
    let report = child::validate(Path::new(env!("CARGO_BIN_EXE_fraudd")), &files, Some(&files), &Limits::default());
    assert!(report.passed(), "{report:#?}");
    let quality = report.checks.iter().find(|check| check.gate == Gate::Quality).expect("asked");
    assert!(quality.reason.contains("the active model"), "{}", quality.reason);
}

#[test]
fn a_truncated_model_is_refused() {
    if !runtime_is_here() {
        return;
    }
    let whole = model("forest_tensor");
    let limits = Limits::default();
    refused(&with_model(whole.slice(..whole.len() / 2), "probabilities", 1), &limits, Gate::Operators, "cut off");
    refused(&with_model(Bytes::from_static(b"<html>404</html>"), "p", 0), &limits, Gate::Operators, "no ONNX file");
}

#[test]
fn a_changed_file_is_refused_before_it_is_used() {
    if !runtime_is_here() {
        return;
    }
    let mut files = good();
    for name in bundle::HASHED {
        let mut changed = files.clone();
        let mut bytes = changed[name].to_vec();
        bytes.push(b'\n');
        changed.insert(name.to_owned(), bytes.into());
        let error = Bundle::from_files(&changed).expect_err("changed").to_string();
        assert!(error.contains(name) && error.contains("changed after packing"), "{error}");
    }
    files.remove(bundle::BASELINE);
    assert!(Bundle::from_files(&files).expect_err("incomplete").to_string().contains(bundle::BASELINE));
}

#[test]
fn a_model_with_other_inputs_or_outputs_is_refused() {
    if !runtime_is_here() {
        return;
    }
    let limits = Limits::default();
    refused(&with_model(model("bad_signature"), "p", 0), &limits, Gate::Loads, "takes 5 features");
    refused(&with_model(model("bad_text_input"), "p", 0), &limits, Gate::Loads, "takes text");
    refused(&with_model(model("hand_flat"), "p", 0), &limits, Gate::Loads, "no output p, only flat");
    refused(&with_model(model("hand_flat"), "flat", 1), &limits, Gate::Latency, "column 1");
}

#[test]
fn swapped_classes_are_refused() {
    if !runtime_is_here() {
        return;
    }
    let limits = Limits::default();
    let swapped = with_model(model("bad_swapped"), "probabilities", 1);
    refused(&swapped, &limits, Gate::Golden, "wrong export");
    refused(&swapped, &limits, Gate::Ranking, "swapped");
    // And packing finds the right column of the same file by itself.
    let mut packing = packing("bad_swapped", "logistic");
    packing.facts.name = "found".to_owned();
    let found = Bundle::from_files(&pack::pack(packing).expect("packed")).expect("loaded");
    assert_eq!(found.manifest.output.column, 0);
}

#[test]
fn a_wrong_output_is_refused() {
    if !runtime_is_here() {
        return;
    }
    refused(&with_model(model("bad_logit"), "logit", 0), &Limits::default(), Gate::Finite, "is no probability");
    let error = pack::pack(packing("bad_logit", "logistic")).expect_err("no probability").to_string();
    assert!(error.contains("tried every output (logit)"), "{error}");
    let error = pack::pack(packing("forest_tensor", "logistic")).expect_err("another model's rows").to_string();
    assert!(error.contains("golden rows of this very model"), "{error}");
}

#[test]
fn a_model_that_emits_nan_is_refused() {
    if !runtime_is_here() {
        return;
    }
    refused(&with_model(model("bad_nan"), "probability", 0), &Limits::default(), Gate::Finite, "NaN is no probability");
}

#[test]
fn forbidden_operators_and_external_tensors_are_refused_unrun() {
    if !runtime_is_here() {
        return;
    }
    let limits = Limits::default();
    refused(&with_model(model("bad_operator"), "probability", 0), &limits, Gate::Operators, "RandomUniformLike");
    let external = with_model(model("bad_external"), "p", 0);
    refused(&external, &limits, Gate::External, "export it as one file");
    let report = validate(&external, &limits);
    assert!(report.checks.iter().any(|check| check.gate == Gate::Loads && check.outcome == Outcome::Skip));
}

#[test]
fn a_slow_model_is_refused_by_its_latency_or_by_the_clock() {
    if !runtime_is_here() {
        return;
    }
    let slow = with_model(model("bad_slow"), "probability", 0);
    refused(&slow, &Limits { latency_us_max: 100.0, ..Limits::default() }, Gate::Latency, "make the model smaller");
    let patient = Limits { latency_us_max: 1e9, child_wall_seconds_max: 2, ..Limits::default() };
    refused(&slow, &patient, Gate::Limits, "within 2 s");
    let busy = Limits { latency_us_max: 1e9, child_cpu_seconds_max: 1, ..Limits::default() };
    refused(&slow, &busy, Gate::Limits, "processor time");
}

#[test]
fn a_model_that_wants_too_much_memory_is_refused() {
    if !runtime_is_here() {
        return;
    }
    let report = validate(&with_model(model("bad_hungry"), "probability", 0), &Limits::default());
    assert!(!report.passed() && report.failures().next().is_some(), "{report:#?}");
}

#[test]
fn too_few_frauds_poor_ranking_and_bad_calibration_are_refused() {
    if !runtime_is_here() {
        return;
    }
    let bundle = Bundle::from_files(&good()).expect("loaded");
    let fails = |limits: &Limits, gate| gates::run(&bundle, None, limits).failures().any(|check| check.gate == gate);
    assert!(fails(&Limits { frauds_min: 1000, ..Limits::default() }, Gate::Quality));
    assert!(fails(&Limits { auc_min: 0.999, ..Limits::default() }, Gate::Quality));
    assert!(fails(&Limits { calibration_min: 0.9999, ..Limits::default() }, Gate::Calibration));
}

#[test]
fn a_manifest_packed_for_another_schema_is_refused() {
    if !runtime_is_here() {
        return;
    }
    let limits = Limits::default();
    let mut files = good();
    edit_manifest(&mut files, |manifest| manifest.schema_hash = "other".to_owned());
    refused(&files, &limits, Gate::Schema, "packed for schema other");
    let mut files = good();
    edit_manifest(&mut files, |manifest| manifest.inputs.swap(0, 1));
    refused(&files, &limits, Gate::Schema, "in order");
    let mut files = good();
    edit_manifest(&mut files, |manifest| {
        manifest.missing.insert("amount".to_owned(), f64::NAN);
    });
    refused(&files, &limits, Gate::Schema, "missing-value policy of amount");
}

#[test]
fn signatures_count_when_a_key_is_trusted() {
    if !runtime_is_here() {
        return;
    }
    let (secret, other) = ([3; 32], [4; 32]);
    let mut files = good();
    let text = signature::sign(&files[bundle::MANIFEST], &signature::hex(&secret)).expect("signed");
    files.insert(bundle::SIGNATURE.to_owned(), text.into());
    let trusting = |key: &[u8; 32]| Limits { trusted_keys: vec![signature::public_key(key)], ..Limits::default() };
    let report = validate(&files, &trusting(&secret));
    assert!(report.passed() && report.checks[1].reason.contains("signed by a trusted key"), "{report:#?}");
    refused(&files, &trusting(&other), Gate::Signature, "not of a trusted key");
    edit_manifest(&mut files, |manifest| manifest.thresholds.decline = 0.99);
    refused(&files, &trusting(&secret), Gate::Signature, "not of a trusted key");
}

fn start(name: &str, golden_name: &str, options: InferenceOptions) -> (Bundle, Inference) {
    let files = pack::pack(packing(name, golden_name)).expect("packed");
    let bundle = Bundle::from_files(&files).expect("loaded");
    let inference = Inference::start(&bundle, options).expect("started");
    (bundle, inference)
}

fn bound(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("above 0")
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_rows_get_their_own_scores() {
    if !runtime_is_here() {
        return;
    }
    let options = InferenceOptions { threads: bound(2), batch_len_max: bound(7), ..InferenceOptions::default() };
    for (name, golden_name) in [("xgboost_tensor", "xgboost"), ("logistic_batch_one", "logistic")] {
        let (bundle, inference) = start(name, golden_name, options.clone());
        let deadline = Moment::now().after(Duration::from_secs(30));
        let asked: Vec<_> = bundle.golden.iter().map(|golden| inference.score(&golden.row, deadline)).collect();
        for (asked, golden) in asked.into_iter().zip(&bundle.golden) {
            let score = asked.await.expect("scored").get();
            assert!((score - golden.probability).abs() < 1e-5, "{name}: {score} {}", golden.probability);
        }
        let cells: Vec<f64> = bundle.golden.iter().flat_map(|golden| golden.row.clone()).collect();
        let scores = inference.score_rows(cells, deadline).await;
        assert_eq!(scores.len(), bundle.golden.len());
        for (score, golden) in scores.into_iter().zip(&bundle.golden) {
            assert!((score.expect("scored").get() - golden.probability).abs() < 1e-5);
        }
        let stats = inference.stats();
        assert_eq!((stats.rows_total, stats.queue_len), (2 * bundle.golden.len() as u64, 0));
    }
}

#[tokio::test]
async fn a_bad_score_is_a_failure_with_its_reason_and_spoils_no_neighbour() {
    if !runtime_is_here() {
        return;
    }
    let bundle = Bundle::from_files(&with_model(model("bad_nan"), "probability", 0)).expect("loaded");
    let inference = Inference::start(&bundle, InferenceOptions::default()).expect("started");
    let deadline = Moment::now().after(Duration::from_secs(30));
    let rows = vec![10.0, 3.0, 0.0, 1.0, 9999.0, 3.0, 0.0, 1.0, 20.0, 3.0, 0.0, 1.0];
    let scores = inference.score_rows(rows, deadline).await;
    assert!(scores[0].is_ok() && scores[2].is_ok());
    assert_eq!(scores[1], Err(ModelFailure::NotFinite));
    let bundle = Bundle::from_files(&with_model(model("bad_logit"), "logit", 0)).expect("loaded");
    let inference = Inference::start(&bundle, InferenceOptions::default()).expect("started");
    assert_eq!(inference.score(&[0.0; 4], deadline).await, Err(ModelFailure::OutOfRange));
    let wrong = inference.score(&[0.0; 3], deadline).await;
    assert!(matches!(wrong, Err(ModelFailure::Failed(_))), "{wrong:?}");
}

#[tokio::test]
async fn a_slow_model_times_out_and_a_full_line_refuses() {
    if !runtime_is_here() {
        return;
    }
    let bundle = Bundle::from_files(&with_model(model("bad_slow"), "probability", 0)).expect("loaded");
    let options = InferenceOptions { queue_len_max: bound(2), batch_len_max: bound(1), ..InferenceOptions::default() };
    let inference = Inference::start(&bundle, options).expect("started");
    let started = Moment::now();
    let deadline = started.after(Duration::from_millis(20));
    let asked: Vec<_> = (0..8).map(|_| inference.score(&[1.0, 2.0, 0.0, 1.0], deadline)).collect();
    let mut failures = Vec::new();
    for asked in asked {
        failures.push(asked.await.expect_err("slow"));
    }
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(failures[0], ModelFailure::Timeout);
    assert_eq!(failures[7], ModelFailure::QueueFull);
    let past = inference.score(&[1.0, 2.0, 0.0, 1.0], started).await;
    assert!(matches!(past, Err(ModelFailure::Timeout | ModelFailure::QueueFull)), "{past:?}");
}

#[test]
fn the_gates_leave_the_processor_to_others() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fraudd"));
    command.args(child::SUBCOMMAND).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("the binary");
    // It waits for its question: its priority is set before it reads.
    let stat = format!("/proc/{}/stat", child.id());
    let niceness = || {
        let stat = std::fs::read_to_string(&stat).expect("a process");
        let fields = stat.rsplit_once(") ").expect("fields behind the name").1;
        fields.split(' ').nth(16).expect("a nice value").to_owned()
    };
    let deadline = Moment::now().after(Duration::from_secs(30));
    while niceness() != "19" && !deadline.has_passed() {
        std::thread::yield_now();
    }
    let found = niceness();
    drop(child.stdin.take());
    child.wait().expect("ended");
    assert_eq!(found, "19");
}

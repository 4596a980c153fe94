//! Raw calls of every kind of model we serve: matrix or columns, float, double or maps, free batch or one row.

use std::time::Duration;

use fraudd::runtime::clock::Moment;
use fraudd::runtime::inference::raw::{Numbers, SLICE_ROWS};
use fraudd::runtime::inference::{Inference, InferenceOptions, ModelFailure, OutputChoice, RawAnswer, Session};
use fraudd::runtime::release::golden;

use super::support::{root, runtime_is_here};

const NAMES: [&str; 4] = ["amount", "hour", "is_weekend", "is_night"];
/// More rows than one slice has, and no whole number of slices.
const ROWS: usize = 2 * SLICE_ROWS + 3;

fn start(name: &str, (output, column): (&str, usize)) -> Inference {
    let model = std::fs::read(root().join(format!("tests/golden/models/{name}.onnx"))).expect(name);
    let output = OutputChoice { name: output.to_owned(), column };
    let session = Session::open(&model, &NAMES, &output).expect(name);
    Inference::with_sessions(vec![session], InferenceOptions::default()).expect("started")
}

fn rows(name: &str) -> (Vec<f64>, Vec<f64>) {
    let path = root().join(format!("tests/golden/models/golden_{name}.jsonl"));
    let text = std::fs::read_to_string(path).expect("golden rows");
    let rows = golden::parse(&text, NAMES.len()).expect("golden rows");
    let (cells, truth): (Vec<_>, Vec<_>) = rows.into_iter().take(ROWS).map(|row| (row.row, row.probability)).unzip();
    (cells.concat(), truth)
}

async fn call(inference: &Inference, cells: Vec<f64>) -> Result<RawAnswer, ModelFailure> {
    inference.call(cells, Moment::now().after(Duration::from_secs(30))).await
}

fn column(numbers: &Numbers, column: usize) -> Vec<f64> {
    let width = numbers.len() / ROWS;
    match numbers {
        Numbers::Float(numbers) => numbers.chunks(width).map(|row| f64::from(row[column])).collect(),
        Numbers::Double(numbers) => numbers.chunks(width).map(|row| row[column]).collect(),
    }
}

/// Model, golden rows, output with its fraud column, and its dimensions behind the rows.
type Kind<'k> = (&'k str, &'k str, (&'k str, usize), &'k [usize]);

#[tokio::test]
async fn every_kind_gives_its_probabilities_with_their_real_shapes() {
    if !runtime_is_here() {
        return;
    }
    let kinds: [Kind<'_>; 12] = [
        ("logistic_tensor", "logistic", ("probabilities", 1), &[2]),
        ("logistic_zipmap", "logistic", ("output_probability", 1), &[2]),
        ("logistic_text_zipmap", "logistic", ("output_probability", 1), &[2]),
        ("logistic_double", "logistic", ("probabilities", 1), &[2]),
        ("logistic_batch_one", "logistic", ("probabilities", 1), &[2]),
        ("logistic_columns", "logistic", ("p", 0), &[1]),
        ("hand_one_column", "logistic", ("p", 0), &[1]),
        ("hand_flat", "logistic", ("flat", 0), &[]),
        ("forest_tensor", "forest", ("probabilities", 1), &[2]),
        ("xgboost_tensor", "xgboost", ("probabilities", 1), &[2]),
        ("lightgbm_tensor", "lightgbm", ("probabilities", 1), &[2]),
        ("lightgbm_zipmap", "lightgbm", ("probabilities", 1), &[2]),
    ];
    for (name, golden_name, output, inner) in kinds {
        let inference = start(name, output);
        let signature = inference.signature();
        assert_eq!(signature.width, NAMES.len(), "{name}");
        assert_eq!(signature.inputs.iter().map(|input| input.places.len()).sum::<usize>(), NAMES.len(), "{name}");
        let place = signature.outputs.iter().position(|facts| facts.name == output.0).expect(name);
        assert_eq!(signature.outputs[place].inner, inner, "{name}");
        let (cells, truth) = rows(golden_name);
        let answer = call(&inference, cells).await.expect(name);
        assert_eq!(answer.runs, 3, "{name}");
        assert_eq!(answer.outputs[place].len(), ROWS * inner.iter().product::<usize>(), "{name}");
        for (found, truth) in column(&answer.outputs[place], output.1).into_iter().zip(truth) {
            assert!((found - truth).abs() <= 1e-5, "{name}: {found} is not {truth}");
        }
    }
}

#[tokio::test]
async fn numbers_that_are_not_finite_are_told_and_no_failure() {
    if !runtime_is_here() {
        return;
    }
    let inference = start("bad_nan", ("probability", 0));
    let rows = vec![10.0, 3.0, 0.0, 1.0, 9999.0, 3.0, 0.0, 1.0, 20.0, 3.0, 0.0, 1.0];
    let answer = call(&inference, rows).await.expect("an answer");
    assert_eq!(answer.outputs.iter().map(Numbers::not_finite).sum::<usize>(), 1, "{answer:?}");
}

#[tokio::test]
async fn a_call_of_no_whole_row_is_refused_and_a_late_one_is_dropped() {
    if !runtime_is_here() {
        return;
    }
    let inference = start("logistic_tensor", ("probabilities", 1));
    for cells in [vec![], vec![0.0; 3], vec![0.0; 5]] {
        assert!(matches!(call(&inference, cells).await, Err(ModelFailure::Failed(_))));
    }
    let late = inference.call(vec![0.0; NAMES.len()], Moment::now()).await;
    assert_eq!(late, Err(ModelFailure::Timeout));
    // The engine goes on, for raw calls and for decisions.
    assert!(call(&inference, vec![0.0; NAMES.len()]).await.is_ok());
    let scored = inference.score(&[0.0; 4], Moment::now().after(Duration::from_secs(30))).await;
    assert!(scored.is_ok(), "{scored:?}");
    assert_eq!(inference.stats().raw_queue_len, 0);
}
